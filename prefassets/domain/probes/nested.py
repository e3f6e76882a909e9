"""Nested cross-validation: outer folds are predicted, inner folds of the rest choose the penalty."""

# N items, P observed, T columns of labels, A penalties, F outer folds, D width, R coordinates

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefassets.domain.probes.folds import NOWHERE, Split
from prefassets.domain.probes.kinds import Kind, LeftOut, Path
from prefassets.domain.probes.observed import Choices, Observed
from prefassets.domain.probes.row_space import RowSpace, row_space

Array = NDArray[np.float64]
Features = Callable[[NDArray[np.int64]], NDArray[np.floating]]  # of the items fitted, the features of all items

PENALTIES_AT_ONCE = 5  # of kinds that have to be fitted again without each inner fold
LOST = 0.05  # of explained log likelihood, below the best so far: smaller penalties are not tried


@dataclass(frozen=True)
class Question:
    """What is to be predicted, and by which kind of probe."""

    kind: Kind
    observed: Observed


@dataclass(frozen=True)
class Fitted:
    """One fit with the penalty that cross-validation within its rows chose, per column of labels.

    `inner_AT` and `in_sample_AT` are 1 - loss / loss of the best constant (R^2; of binary targets and choices,
    McFadden's), of left-out inner folds and of the rows fitted. `weights_DT` are per unit of activation, `intercepts_T`
    what is predicted of an activation of zeros; of choices, where utilities have no origin, the mean item's is 0.
    """

    penalty_T: NDArray[np.int64]
    inner_AT: Array
    in_sample_AT: Array
    weights_DT: Array | None
    intercepts_T: Array
    rows: int


@dataclass(frozen=True)
class HeldOut:
    """What is predicted of everything held out, fold by fold: `observed_P` are places in what was asked.

    `predicted_PT` is on the linear scale; `ignorant_PT` is what the fitted rows predict without activations.
    """

    observed_P: NDArray[np.int64]
    fold_P: NDArray[np.int64]
    predicted_PT: Array
    ignorant_PT: Array


@dataclass(frozen=True)
class Answer:
    """`held_out` and the fits of the outer folds behind it; `whole` is fitted to everything, if that was wanted."""

    held_out: HeldOut
    folds: dict[int, Fitted]
    whole: Fitted | None


def cross_validated(
    features: Features,
    questions: Sequence[Question],
    outer: Split,
    inner_fold_N: NDArray[np.int64],
    whole: bool = False,
    weights: bool = False,
) -> list[Answer]:
    """Predict each outer fold by fits that have seen nothing of it, their penalty chosen within the rest.

    The rows that an outer fold may be fitted to are standardised and decomposed once, for all questions, all their
    columns and all inner folds. Inner folds thus share the scale of the outer fold's fitted rows; nothing held out is
    in either.

    Args:
        features: by the items that are fitted (rising places), the features of all N items; activations ignore them,
            what is itself fitted (TF-IDF) does not.
        questions: all about the same items.
        outer: what is held out together, and what may then be fitted; items that are `NOWHERE` are neither.
        inner_fold_N: the folds that choose the penalty, of what an outer fold's fit may see.
        whole: also fit everything, with the penalty that the inner folds of all choose.
        weights: also give weights per unit of activation.
    """
    about_N = np.zeros(len(outer.fold_N), dtype=bool)
    for question in questions:
        about_N |= _items(question.observed, len(about_N))
    about_N &= outer.fold_N != NOWHERE
    fits: list[dict[int, Fitted]] = [{} for _ in questions]
    held: list[list[HeldOut]] = [[] for _ in questions]
    for fold in [*np.unique(outer.fold_N[about_N]).tolist(), *([NOWHERE] if whole else [])]:
        fitted_N = about_N if fold == NOWHERE else about_N & outer.fitted_FN[fold]
        fitted_n = np.flatnonzero(fitted_N)
        if not len(fitted_n):
            continue
        space = row_space(features(fitted_n), fitted_n)
        for place, (kind, observed) in enumerate((question.kind, question.observed) for question in questions):
            inside = observed.of(observed.among(fitted_N))
            if not len(inside):
                continue
            found, path = _fit(kind, space, inside, inner_fold_N, weights)
            fits[place][fold] = found
            if fold == NOWHERE:
                continue
            outside_P = np.flatnonzero(observed.among(about_N & (outer.fold_N == fold)))
            outside = observed.of(outside_P)
            predicted_PT = path.predicted(space, outside)[0]
            ignorant_PT = np.broadcast_to(kind.ignorant(inside), predicted_PT.shape)
            held[place].append(HeldOut(outside_P, np.full(len(outside_P), fold), predicted_PT, ignorant_PT))
    return [
        Answer(
            _joined(parts, question.observed.columns),
            {fold: fit for fold, fit in of.items() if fold != NOWHERE},
            of.get(NOWHERE),
        )
        for parts, of, question in zip(held, fits, questions, strict=True)
    ]


def best_penalty(inner_AT: Array) -> NDArray[np.int64]:
    """The penalty with the best score of each column; of equals the largest, and the largest where nothing is known."""
    known_AT = np.where(np.isfinite(inner_AT), inner_AT, -np.inf)
    return len(inner_AT) - 1 - np.argmax(known_AT[::-1], axis=0)


def _fit(
    kind: Kind,
    space: RowSpace,
    observed: Observed,
    inner_fold_N: NDArray[np.int64],
    weights: bool,
) -> tuple[Fitted, Path]:
    if kind.left_out:
        path = kind.fit(space, observed, kind.penalties_A)
        inner_AT = _inner(kind, kind.left_out(space, observed, inner_fold_N, kind.penalties_A), path)
    else:
        path, inner_AT = _downwards(kind, space, observed, inner_fold_N)
    constant_PT = np.broadcast_to(kind.ignorant(observed), (len(observed), observed.columns))
    own_T = kind.loss(observed, constant_PT).sum(axis=0)
    in_sample_AT, known_A = np.full_like(inner_AT, np.nan), np.isfinite(path.intercepts_AT[:, 0])
    predicted_APT = path.under(known_A).predicted(space, observed)
    in_sample_AT[known_A] = _explained(kind.loss(observed, predicted_APT).sum(axis=1), own_T)
    chosen = best_penalty(inner_AT)
    at = path.at(chosen)
    weights_DT = space.weights(at.coefficients_ATR[0].T) if weights else None
    at_origin_T = np.zeros(observed.columns) if isinstance(observed, Choices) else at.intercepts_AT[0]
    intercepts_T = at_origin_T - (space.mean_D @ weights_DT if weights_DT is not None else 0)
    return Fitted(chosen, inner_AT, in_sample_AT, weights_DT, intercepts_T, len(observed)), at


def _inner(kind: Kind, parts: Iterable[LeftOut], path: Path) -> Array:
    """What is explained of inner folds, all together."""
    lost_AT, ignorant_T = np.zeros_like(path.intercepts_AT), np.zeros(path.intercepts_AT.shape[1])
    for inside, outside, predicted_APT in parts:
        lost_AT += kind.loss(outside, predicted_APT).sum(axis=1)
        constant_PT = np.broadcast_to(kind.ignorant(inside), predicted_APT.shape[1:])
        ignorant_T += kind.loss(outside, constant_PT).sum(axis=0)
    return _explained(lost_AT, ignorant_T)


def _downwards(kind: Kind, space: RowSpace, observed: Observed, inner_fold_N: NDArray[np.int64]) -> tuple[Path, Array]:
    """Fits, and what is explained of inner folds, from the largest penalty down.

    Each penalty starts from the last. Where the inner folds have fallen well below their best for all columns, smaller
    penalties, which cost most, are not fitted: nan.
    """
    fold_P = observed.fold_of(inner_fold_N)
    without = [fold for fold in np.unique(fold_P[fold_P != NOWHERE]) if observed.among(inner_fold_N != fold).any()]
    kept_PK = np.column_stack(
        [np.ones(len(observed), dtype=bool), *(observed.among(inner_fold_N != f) for f in without)]
    )
    parts = [(observed.of(observed.among(inner_fold_N != fold)), observed.of(fold_P == fold)) for fold in without]
    columns, penalties_A = observed.columns, kind.penalties_A
    inner_AT = np.full((len(penalties_A), columns), np.nan)
    intercepts_AT, coefficients_ATR = inner_AT.copy(), np.full((*inner_AT.shape, len(space.eigenvalues_R)), np.nan)
    descending = np.argsort(-penalties_A)
    found: Path | None = None
    for start in range(0, len(descending), PENALTIES_AT_ONCE):
        some = descending[start : start + PENALTIES_AT_ONCE]
        found = kind.fit(space, observed, penalties_A[some], found, kept_PK)
        path = found.columns(slice(0, columns))
        coefficients_ATR[some], intercepts_AT[some] = path.coefficients_ATR, path.intercepts_AT
        left_out = (
            (inside, outside, found.columns(slice(k * columns, (k + 1) * columns)).predicted(space, outside))
            for k, (inside, outside) in enumerate(parts, start=1)
        )
        inner_AT[some] = _inner(kind, left_out, path)
        known_AT = inner_AT[descending[: start + PENALTIES_AT_ONCE]]
        if (inner_AT[some].max(axis=0) < known_AT.max(axis=0) - LOST).all():
            break
    return Path(coefficients_ATR, intercepts_AT), inner_AT


def _explained(lost_AT: Array, ignorant_T: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(ignorant_T > 0, 1 - lost_AT / ignorant_T, np.nan)


def _items(observed: Observed, items: int) -> NDArray[np.bool_]:
    found_N = np.zeros(items, dtype=bool)
    found_N[observed.named] = True
    return found_N


def _joined(parts: Sequence[HeldOut], columns: int) -> HeldOut:
    nothing, no_numbers = np.empty(0, dtype=np.int64), np.empty((0, columns))
    parts = parts or [HeldOut(nothing, nothing, no_numbers, no_numbers)]
    return HeldOut(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("observed_P", "fold_P", "predicted_PT", "ignorant_PT")
        )
    )
