"""A Bradley-Terry model of choices whose utilities are linear in activations."""

# N items, P pairs answered, R coordinates, A penalties

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from prefassets.domain.probes.kinds.kind import Array, Kind, Path
from prefassets.domain.probes.kinds.logistic import expected
from prefassets.domain.probes.logistic_path import MOST_SOLVED_DIRECTLY, Likelihood, fitted_path
from prefassets.domain.probes.observed import Choices, Observed
from prefassets.domain.probes.row_space import RowSpace


def fit(
    space: RowSpace,
    observed: Observed,
    penalties_A: Array,
    start: Path | None = None,
    kept_PK: NDArray[np.bool_] | None = None,
) -> Path:
    """By Newton's method for all penalties together; the intercept is what being shown first adds, if that is known.

    Where there are more pairs than items, products go by way of the items' utilities.
    """
    assert isinstance(observed, Choices)
    kept_PK = np.ones((len(observed), 1), dtype=bool) if kept_PK is None else kept_PK
    answers_PK = kept_PK * (observed.wins_a_P + observed.wins_b_P)[:, None]
    ones_PK = kept_PK * observed.wins_a_P[:, None]
    items, places = np.unique(np.concatenate([observed.a_P, observed.b_P]), return_inverse=True)
    coordinates_nR, pairs = space.coordinates_NR[items], len(observed)
    a_P, b_P = places[:pairs], places[pairs:]
    first = float(observed.shown_in_order)
    if coordinates_nR.shape[1] < MOST_SOLVED_DIRECTLY or pairs <= len(items):
        design_PS = np.column_stack([coordinates_nR[a_P] - coordinates_nR[b_P], np.full(pairs, first)])
        return fitted_path(Likelihood.of_design(design_PS, answers_PK, ones_PK), penalties_A, start)
    signs, rows = np.repeat([1.0, -1.0], pairs), np.tile(np.arange(pairs), 2)
    difference_Pn = sparse.csr_array((signs, (rows, places)), shape=(pairs, len(items)))
    back_nP = difference_Pn.T.tocsr()
    answers_P1 = answers_PK.max(axis=1, keepdims=True)
    # the diagonal of Z' L Z, L the Laplacian of the graph of comparisons
    squares_R = (coordinates_nR * (back_nP @ (answers_P1 * (difference_Pn @ coordinates_nR)))).sum(axis=0)
    likelihood = Likelihood(
        times=lambda given_SC: difference_Pn @ (coordinates_nR @ given_SC[:-1]) + first * given_SC[-1],
        transposed=lambda given_PC: np.vstack([coordinates_nR.T @ (back_nP @ given_PC), first * given_PC.sum(axis=0)]),
        answers_PL=answers_PK,
        ones_PL=ones_PK,
        curvature_S=np.append(squares_R, first * answers_P1.sum()),
    )
    return fitted_path(likelihood, penalties_A, start)


def loss(observed: Observed, predicted: Array) -> Array:
    """Nats, over all answers to the pair."""
    assert isinstance(observed, Choices)
    answers_P1 = (observed.wins_a_P + observed.wins_b_P)[:, None]
    return answers_P1 * np.logaddexp(0, predicted) - observed.wins_a_P[:, None] * predicted


def ignorant(observed: Observed) -> Array:
    """Even odds."""
    return np.zeros(observed.columns)


KIND = Kind(
    name="bradley_terry",
    target="choices",
    description="Bradley-Terry straight on choices: utilities are w . x, with a penalty on the squared weights.",
    equation="P(a over b) = sigmoid(w . (x_a - x_b) + s), s if a was shown first; min -log likelihood + a / 2 |w|^2",
    source="Bradley and Terry 1952, Biometrika 39, https://doi.org/10.1093/biomet/39.3-4.324",
    penalties_A=np.logspace(0, 7, 20),  # each is a fit of its own
    fit=fit,
    loss=loss,
    ignorant=ignorant,
    expected=expected,
)
