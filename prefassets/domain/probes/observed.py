"""What a probe is fitted to: values of items, or choices between two of them."""

# N items, P observed (values, or pairs of items), T columns of labels, R coordinates, A penalties

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prefassets.domain.probes.folds import NOWHERE

Array = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Values:
    """One value per item and column: `values_PT` of the items at `items_P`. A column is a target, or one of its
    shuffles; all have the same items, so that they share a decomposition."""

    items_P: Places
    values_PT: Array

    @property
    def columns(self) -> int:
        return self.values_PT.shape[1]

    def __len__(self) -> int:
        return len(self.items_P)

    @property
    def named(self) -> Places:
        """The items it is about."""
        return np.unique(self.items_P)

    def of(self, kept_P: NDArray) -> Values:
        return Values(self.items_P[kept_P], self.values_PT[kept_P])

    def fold_of(self, fold_N: Places) -> Places:
        """The fold that each is in."""
        return fold_N[self.items_P]

    def among(self, kept_N: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether each is of an item that is kept."""
        return kept_N[self.items_P]

    def times(self, coordinates_NR: Array, coefficients_RC: Array) -> Array:
        """What coefficients predict of each, P x C, the intercept apart."""
        return coordinates_NR[self.items_P] @ coefficients_RC


@dataclass(frozen=True)
class Choices:
    """Answers to which of two items is preferred: `wins_a_P` and `wins_b_P` of the items at `a_P` and `b_P`.

    With `shown_in_order`, `a_P` was shown first each time, and a term for that is fitted.
    """

    a_P: Places
    b_P: Places
    wins_a_P: Array
    wins_b_P: Array
    shown_in_order: bool = False

    @property
    def columns(self) -> int:
        return 1

    def __len__(self) -> int:
        return len(self.a_P)

    @property
    def named(self) -> Places:
        """The items it is about."""
        return np.unique(np.concatenate([self.a_P, self.b_P]))

    def of(self, kept_P: NDArray) -> Choices:
        kept = {name: getattr(self, name)[kept_P] for name in ("a_P", "b_P", "wins_a_P", "wins_b_P")}
        return replace(self, **kept)

    def fold_of(self, fold_N: Places) -> Places:
        """The fold that both items are in; `NOWHERE` where they are in two, since such an answer tells of both."""
        return np.where(fold_N[self.a_P] == fold_N[self.b_P], fold_N[self.a_P], NOWHERE)

    def among(self, kept_N: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether each is between two items that are kept."""
        return kept_N[self.a_P] & kept_N[self.b_P]

    def told_of(self, given_N: Places) -> Choices:
        """The same answers, each told of the items that its own are given the places of."""
        told = replace(self, a_P=given_N[self.a_P], b_P=given_N[self.b_P])
        return told.of(told.a_P != told.b_P)

    def times(self, coordinates_NR: Array, coefficients_RC: Array) -> Array:
        """By how much coefficients put a before b, P x C, the slot apart."""
        utilities_NC = coordinates_NR @ coefficients_RC
        return utilities_NC[self.a_P] - utilities_NC[self.b_P]


Observed = Values | Choices
