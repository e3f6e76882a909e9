"""Weighted preference optimisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefassets.domain.training.methods import dpo
from prefassets.domain.training.methods.method import Method

if TYPE_CHECKING:
    from torch import Tensor


def weight(chosen_alignment: Tensor, rejected_alignment: Tensor) -> Tensor:
    return (chosen_alignment + rejected_alignment).exp().clamp(max=1)


METHOD = Method(
    name="wpo",
    description="Weighted preference optimisation: DPO with pairs weighted by how likely the policy is to write them.",
    equation="L = -w log sigmoid(m), w = min(1, exp(a(y_c) + a(y_r))), a(y) = mean_t [log pi(y_t) - log sum_v pi(v)^2],"
    " w without gradient; eq. 2 with the sampled alignment of section 3.2",
    source="Zhou et al. 2024, https://arxiv.org/abs/2406.11827",
    loss=dpo.loss,
    weight=weight,
    trl_options={"loss_type": ["sigmoid"], "use_weighting": True},
)
