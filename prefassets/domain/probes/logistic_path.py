"""Penalised logistic likelihoods under many penalties at once, in the coordinates of a row space.

Fits that differ in penalty, labels or which answers they leave out are columns of one problem. A few coordinates are
solved for directly; many by conjugate gradients, which are few, since along principal axes the curvature is nearly
diagonal, and no matrix of the size of the rank is then made, let alone factored.
"""

# P observed, S = R + 1 coordinates and the intercept, L columns of answers, C fitted (each a penalty and a column)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefassets.domain.probes.kinds.kind import Array, Path

CONVERGED = 1e-4  # nats that the last Newton step promised; what it left is about the square of that
MOST_NEWTON_STEPS = 100
MOST_CG_STEPS = 200
SMALLEST_FRACTION = 2.0**-20
SUFFICIENT = 1e-4  # of the decrease that the slope promises (Armijo 1966)
INTERCEPT_PENALTY = 1e-6  # so that there is an optimum even where all answers are the same
MOST_NUMBERS = 200_000  # fitted at once, of coefficients or log odds; further penalties start from the last of these
MOST_SOLVED_DIRECTLY = 30  # coordinates: more cost less by gradients, many penalties and folds at once


@dataclass(frozen=True)
class Likelihood:
    """Binomial answers whose log odds are linear in coefficients: `times` maps S x C to P x C, `transposed` back.

    `answers_PL` and `ones_PL` count answers, and those that were 1. The intercept's column is the last. `design_PS` is
    what `times` multiplies by, where that is small enough to be at hand; `curvature_S` the sum of squares of each of
    its columns, over all answers.
    """

    times: Callable[[Array], Array]
    transposed: Callable[[Array], Array]
    answers_PL: Array
    ones_PL: Array
    curvature_S: Array
    design_PS: Array | None = None

    @staticmethod
    def of_design(design_PS: Array, answers_PL: Array, ones_PL: Array) -> Likelihood:
        curvature_S = answers_PL.max(axis=1) @ design_PS**2
        small = design_PS if design_PS.shape[1] <= MOST_SOLVED_DIRECTLY else None
        return Likelihood(
            lambda given_SC: design_PS @ given_SC,
            lambda given_PC: design_PS.T @ given_PC,
            answers_PL,
            ones_PL,
            curvature_S,
            small,
        )


def fitted_path(likelihood: Likelihood, penalties_A: Array, start: Path | None = None) -> Path:
    """Coefficients that minimise -log likelihood + penalty / 2 |w|^2, the intercept's penalty all but none.

    From the largest penalty down, a few at once, the next from where the last of them ended; the first from where
    `start`, of the next larger penalty, is.
    """
    columns, size = likelihood.ones_PL.shape[1], len(likelihood.curvature_S)
    at_once = max(1, MOST_NUMBERS // (columns * max(size, len(likelihood.ones_PL))))
    found_ALS = np.empty((len(penalties_A), columns, size))
    descending = np.argsort(-penalties_A)
    start_SL = np.zeros((size, columns))
    if start:
        start_SL = np.vstack([start.coefficients_ATR[-1].T, start.intercepts_AT[-1]])
    for first in range(0, len(descending), at_once):
        some = descending[first : first + at_once]
        penalty_C = np.repeat(penalties_A[some], columns)
        labels_C = np.tile(np.arange(columns), len(some))
        solved_SC = _minimise(likelihood, np.tile(start_SL, len(some)), penalty_C, labels_C)
        found_ALS[some] = solved_SC.T.reshape(len(some), columns, size)
        start_SL = solved_SC[:, -columns:]
    return Path(found_ALS[:, :, :-1], found_ALS[:, :, -1])


@dataclass
class _Columns:
    """The fits that have not converged: where each is, and the odds, chances and value there."""

    answers_PC: Array
    ones_PC: Array
    penalty_SC: Array
    here_SC: Array
    odds_PC: Array

    def __post_init__(self) -> None:
        self.chance_PC, self.value_C = self.at(self.odds_PC, self.here_SC)

    def at(self, odds_PC: Array, there_SC: Array) -> tuple[Array, Array]:
        small_PC = np.exp(-np.abs(odds_PC))
        chance_PC = np.where(odds_PC >= 0, 1, small_PC) / (1 + small_PC)
        lost_PC = self.answers_PC * (np.maximum(odds_PC, 0) + np.log1p(small_PC)) - self.ones_PC * odds_PC
        return chance_PC, lost_PC.sum(axis=0) + (self.penalty_SC * there_SC * there_SC).sum(axis=0) / 2

    def move(self, step_SC: Array, moved_PC: Array, promised_C: Array) -> NDArray[np.bool_]:
        """Go as far along the step as the value decreases enough; whether the whole step was taken."""
        fraction_C = np.ones(len(promised_C))
        while True:
            there_SC, odds_PC = self.here_SC + fraction_C * step_SC, self.odds_PC + fraction_C * moved_PC
            chance_PC, value_C = self.at(odds_PC, there_SC)
            enough_C = SUFFICIENT * fraction_C * promised_C - 1e-13 * np.abs(self.value_C)
            short_C = self.value_C - value_C < enough_C
            if not short_C.any() or fraction_C.min() < SMALLEST_FRACTION:
                break
            fraction_C[short_C] /= 2
        self.here_SC, self.odds_PC, self.chance_PC, self.value_C = there_SC, odds_PC, chance_PC, value_C
        return fraction_C == 1

    def keep(self, going_C: NDArray[np.bool_]) -> None:
        for name in ("answers_PC", "ones_PC", "penalty_SC", "here_SC", "odds_PC", "chance_PC"):
            setattr(self, name, getattr(self, name)[:, going_C])
        self.value_C = self.value_C[going_C]


def _minimise(likelihood: Likelihood, start_SC: Array, penalty_C: Array, labels_C: NDArray[np.int64]) -> Array:
    """Newton's method for every column at once; a column that has converged is left as it is."""
    solved_SC, going = start_SC.copy(), np.arange(start_SC.shape[1])
    penalty_SC = np.tile(penalty_C, (len(start_SC), 1))
    penalty_SC[-1] = INTERCEPT_PENALTY
    columns = _Columns(
        likelihood.answers_PL[:, labels_C],
        likelihood.ones_PL[:, labels_C],
        penalty_SC,
        start_SC,
        likelihood.times(start_SC),
    )
    for _ in range(MOST_NEWTON_STEPS):
        slope_SC = likelihood.transposed(columns.answers_PC * columns.chance_PC - columns.ones_PC)
        slope_SC += columns.penalty_SC * columns.here_SC
        weight_PC = columns.answers_PC * columns.chance_PC * (1 - columns.chance_PC)
        if likelihood.design_PS is not None:
            step_SC = _solved(likelihood.design_PS, weight_PC, columns.penalty_SC, slope_SC)
        else:
            step_SC = _by_conjugate_gradients(likelihood, weight_PC, columns, slope_SC)
        promised_C = -(slope_SC * step_SC).sum(axis=0)
        whole_C = columns.move(step_SC, likelihood.times(step_SC), promised_C)
        solved_SC[:, going] = columns.here_SC
        going_C = (promised_C / 2 > CONVERGED) | ~whole_C
        if not going_C.any():
            break
        if not going_C.all():
            going = going[going_C]
            columns.keep(going_C)
    return solved_SC


def _solved(design_PS: Array, weight_PC: Array, penalty_SC: Array, slope_SC: Array) -> Array:
    size = design_PS.shape[1]
    hessian_CSS = np.matmul(design_PS.T * weight_PC.T[:, None, :], design_PS)
    hessian_CSS[:, np.arange(size), np.arange(size)] += penalty_SC.T
    return np.linalg.solve(hessian_CSS, -slope_SC.T[:, :, None])[:, :, 0].T.astype(np.float64, copy=False)


def _by_conjugate_gradients(likelihood: Likelihood, weight_PC: Array, columns: _Columns, slope_SC: Array) -> Array:
    """Preconditioned by the curvature at the mean weight of an answer; as precise as the slope is small, so that
    Newton's method still converges faster than linearly."""
    mean_weight_C = weight_PC.sum(axis=0) / np.maximum(columns.answers_PC.sum(axis=0), 1)
    preconditioner_SC = likelihood.curvature_S[:, None] * mean_weight_C + columns.penalty_SC
    step_SC, residual_SC = np.zeros_like(slope_SC), -slope_SC
    scaled_SC = residual_SC / preconditioner_SC
    size_C = (residual_SC * scaled_SC).sum(axis=0)
    enough_C = size_C * np.minimum(1e-2, size_C)
    direction_SC = scaled_SC
    for _ in range(MOST_CG_STEPS):
        curved_SC = likelihood.transposed(weight_PC * likelihood.times(direction_SC))
        curved_SC += columns.penalty_SC * direction_SC
        along_C = _over(size_C, (direction_SC * curved_SC).sum(axis=0))
        step_SC += along_C * direction_SC
        residual_SC -= along_C * curved_SC
        scaled_SC = residual_SC / preconditioner_SC
        before_C, size_C = size_C, (residual_SC * scaled_SC).sum(axis=0)
        if (size_C <= enough_C).all():
            break
        direction_SC = scaled_SC + _over(size_C, before_C) * direction_SC
    return step_SC


def _over(above_C: Array, below_C: Array) -> Array:
    return np.divide(above_C, below_C, out=np.zeros_like(above_C), where=below_C > 0)
