"""Direct preference optimisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefassets.domain.training.methods.method import Method

if TYPE_CHECKING:
    from torch import Tensor


def loss(margin: Tensor) -> Tensor:
    from torch.nn.functional import logsigmoid  # torch takes seconds to import

    return -logsigmoid(margin)


METHOD = Method(
    name="dpo",
    description="Direct preference optimisation: logistic loss on the margin, every pair with the same weight.",
    equation="L = -log sigmoid(m), eq. 7",
    source="Rafailov et al. 2023, https://arxiv.org/abs/2305.18290",
    loss=loss,
    trl_options={"loss_type": ["sigmoid"]},
)
