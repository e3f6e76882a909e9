"""What a kind of probe is: `Kind`."""

# N items, P observed, T columns of labels, R coordinates, A penalties

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from prefassets.domain.probes.observed import Observed
    from prefassets.domain.probes.row_space import RowSpace

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Path:
    """Fits under every penalty: coefficients along the axes of a row space, and what is predicted at its origin."""

    coefficients_ATR: Array
    intercepts_AT: Array

    def predicted(self, space: RowSpace, observed: Observed) -> Array:
        """On the linear scale (log odds, of a logistic kind), A x P x T."""
        penalties, columns, rank = self.coefficients_ATR.shape
        flat_RC = self.coefficients_ATR.reshape(penalties * columns, rank).T
        linear_PC = observed.times(space.coordinates_NR, flat_RC)
        return linear_PC.reshape(-1, penalties, columns).transpose(1, 0, 2) + self.intercepts_AT[:, None, :]

    def under(self, some_A: NDArray[np.bool_]) -> Path:
        return Path(self.coefficients_ATR[some_A], self.intercepts_AT[some_A])

    def columns(self, some: slice) -> Path:
        return Path(self.coefficients_ATR[:, some], self.intercepts_AT[:, some])

    def at(self, penalty_T: NDArray[np.int64]) -> Path:
        """Of each column the one fit at the place of its penalty."""
        columns = np.arange(len(penalty_T))
        return Path(self.coefficients_ATR[penalty_T, columns][None], self.intercepts_AT[penalty_T, columns][None])


class Fit(Protocol):
    def __call__(
        self,
        space: RowSpace,
        observed: Observed,
        penalties_A: Array,
        start: Path | None = None,
        kept_PK: NDArray[np.bool_] | None = None,
    ) -> Path: ...


LeftOut = tuple["Observed", "Observed", Array]  # what was fitted, what was left out, and the predictions of that


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of probe: what it minimises, for which targets.

    In an equation y is the target, x the activation standardised by the rows fitted, w the weights, a the penalty, one
    of `penalties_A`, which rise.
    `fit` gives the fits under all penalties. It may begin at those under a larger one (`start`, its last), and fit to
    parts of what is observed (`kept_PK`; columns are then those of the first part, of the second, ...).
    `left_out`, where a kind has a cheaper way than to fit parts, gives for each inner fold what the fit without it
    predicts, on the linear scale; `inner_fold_N` has the fold of each item.
    `expected` turns the linear scale into what is expected of the target; `loss` says what an observation costs, and
    `ignorant` what to predict without activations, both of the linear scale, P x T and T.
    """

    name: str
    target: Literal["number", "binary", "choices"]
    description: str
    equation: str
    source: str
    penalties_A: Array
    fit: Fit
    loss: Callable[[Observed, Array], Array]
    ignorant: Callable[[Observed], Array]
    expected: Callable[[Array], Array]
    left_out: Callable[[RowSpace, Observed, NDArray[np.int64], Array], Iterable[LeftOut]] | None = None
