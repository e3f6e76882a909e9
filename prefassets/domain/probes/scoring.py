"""From what was held out of one column of labels to its metrics."""

# N items, P held out, U units

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefassets.domain.probes.kinds import Kind
from prefassets.domain.probes.metrics import (
    Drawn,
    Estimate,
    HeldOutChoices,
    HeldOutValues,
    differences,
    of_binary,
    of_choices,
    of_numbers,
)
from prefassets.domain.probes.nested import HeldOut
from prefassets.domain.probes.observed import Choices, Observed

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """Metrics of one target under one split from one kind of features; `unused` of `asked` could not be held out."""

    estimates: dict[str, Estimate]
    rows: int
    units: int
    unused: int
    drawn: Drawn | None
    choices: HeldOutChoices | None = None

    def minus(self, other: Scored) -> Scored:
        """The differences of two, of the same held out in the same draws."""
        assert self.drawn is not None
        found = differences(self.estimates, other.estimates, self.choices, self.drawn, self.units)
        return Scored(found, self.rows, self.units, self.unused, self.drawn, self.choices)

    def note(self, value: float | None) -> str | None:
        """What could not be told, and why."""
        parts = []
        if not self.rows:
            parts.append("nothing could be held out")
        elif value is None or not np.isfinite(value):
            parts.append("not defined: predictions, or values that are compared, are all the same")
        if self.unused:
            what = "answered pairs of items of two folds" if self.choices is not None else "items without a group"
            parts.append(f"{self.unused} {what} are neither fitted nor predicted")
        return "; ".join(parts) or None


def scored(
    kind: Kind,
    observed: Observed,
    held_out: HeldOut,
    column: int,
    unit_N: NDArray[np.int64],
    topic_N: NDArray[np.int64] | None,
    drawn_of: Callable[[int], Drawn] | None,
) -> Scored:
    """Metrics of one column of labels, with draws of the units that are held out if `drawn_of` gives them."""
    told = observed.of(held_out.observed_P)
    losses_P = kind.loss(told, held_out.predicted_PT)[:, column]
    predicted_P = held_out.predicted_PT[:, column]
    units, unit_N = _numbered(unit_N, told.named)
    drawn = drawn_of(units) if drawn_of else None
    if isinstance(told, Choices):
        choices = HeldOutChoices(
            wins_a_P=told.wins_a_P,
            wins_b_P=told.wins_b_P,
            predicted_P=predicted_P,
            losses_P=losses_P,
            unit_a_P=unit_N[told.a_P],
            unit_b_P=unit_N[told.b_P],
        )
        found = of_choices(choices, drawn, units)
        return Scored(found, len(told), units, len(observed) - len(told), drawn, choices)
    values = HeldOutValues(
        actual_P=told.values_PT[:, column],
        predicted_P=predicted_P,
        ignorant_P=held_out.ignorant_PT[:, column],
        losses_P=losses_P,
        fold_P=held_out.fold_P,
        unit_P=unit_N[told.items_P],
        topic_P=topic_N[told.items_P] if topic_N is not None else np.empty(0, dtype=np.int64),
    )
    found = (of_binary if kind.target == "binary" else of_numbers)(values, drawn, units)
    return Scored(found, len(told), units, len(observed) - len(told), drawn)


def actual_and_expected(kind: Kind, told: Observed, held_out: HeldOut, column: int) -> tuple[Array, Array]:
    """What is so and what is expected of everything held out: values, or the share of answers that chose a."""
    expected_P = kind.expected(held_out.predicted_PT[:, column])
    if isinstance(told, Choices):
        return told.wins_a_P / (told.wins_a_P + told.wins_b_P), expected_P
    return told.values_PT[:, column], expected_P


def _numbered(unit_N: NDArray[np.int64], named: NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
    """How many units `named` items are of, and the unit of every item by their numbers."""
    distinct = np.unique(unit_N[named])
    return len(distinct), np.searchsorted(distinct, unit_N)
