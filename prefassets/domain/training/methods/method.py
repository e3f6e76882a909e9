"""What a method is: `Method`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Method:
    """One preference loss: its equation and where it comes from, for the packed trainer and for TRL's DPOTrainer.

    In an equation y_c is the chosen and y_r the rejected answer, m the margin
    beta ((log pi - log pi_ref)(y_c) - (log pi - log pi_ref)(y_r)). `loss` maps margins to losses, pair by pair.
    `weight`, if there is one, maps the mean sampled alignment of the chosen and of the rejected answers (nats per
    token; mean of log pi(y_t) - log sum_v pi(v)^2) to a factor of each pair's loss that has no gradient, above 0 and at
    most 1. Whatever a method cuts to that is exactly 1, which the log counts as clamped.
    `trl_options` make TRL compute the same.
    """

    name: str
    description: str
    equation: str
    source: str
    loss: Callable[[Tensor], Tensor]
    weight: Callable[[Tensor, Tensor], Tensor] | None = None
    trl_options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
