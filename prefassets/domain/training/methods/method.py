"""What a method is: `Method`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Method:
    """One preference loss: its equation, where it comes from, and the options that make TRL's DPOTrainer compute it.

    In an equation y_c is the chosen and y_r the rejected answer, m the margin
    beta ((log pi - log pi_ref)(y_c) - (log pi - log pi_ref)(y_r)).
    """

    name: str
    description: str
    equation: str
    source: str
    trl_options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
