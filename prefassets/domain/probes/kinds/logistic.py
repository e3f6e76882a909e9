"""Logistic regression of a binary target."""

# N items, P observed, T columns of labels, R coordinates, A penalties

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prefassets.domain.probes.kinds.kind import Array, Kind, Path
from prefassets.domain.probes.logistic_path import Likelihood, fitted_path
from prefassets.domain.probes.observed import Observed, Values
from prefassets.domain.probes.row_space import RowSpace

FEWEST_OF_A_CLASS = 0.5  # added to each, in what is predicted without activations: a class may be missing in a fold


def fit(
    space: RowSpace,
    observed: Observed,
    penalties_A: Array,
    start: Path | None = None,
    kept_PK: NDArray[np.bool_] | None = None,
) -> Path:
    """By Newton's method for all penalties together; see `logistic_path`."""
    assert isinstance(observed, Values)
    design_PS = np.column_stack([space.coordinates_NR[observed.items_P], np.ones(len(observed))])
    kept_PK = np.ones((len(observed), 1), dtype=bool) if kept_PK is None else kept_PK
    answers_PL = np.repeat(kept_PK.astype(np.float64), observed.columns, axis=1)
    ones_PL = answers_PL * np.tile(observed.values_PT, kept_PK.shape[1])
    return fitted_path(Likelihood.of_design(design_PS, answers_PL, ones_PL), penalties_A, start)


def loss(observed: Observed, predicted: Array) -> Array:
    """Nats."""
    assert isinstance(observed, Values)
    return np.logaddexp(0, predicted) - observed.values_PT * predicted


def ignorant(observed: Observed) -> Array:
    """Log odds of the share of ones."""
    assert isinstance(observed, Values)
    ones_T = observed.values_PT.sum(axis=0) + FEWEST_OF_A_CLASS
    return np.log(ones_T / (len(observed) + 2 * FEWEST_OF_A_CLASS - ones_T))


def expected(linear: Array) -> Array:
    """Probability of a one."""
    return np.exp(-np.logaddexp(0, -linear))


KIND = Kind(
    name="logistic",
    target="binary",
    description="Logistic regression with a penalty on the squared weights; the intercept has none.",
    equation="P(y = 1) = sigmoid(w . x + b); min -log likelihood + a / 2 |w|^2, eq. 4.20 and section 4.4.4",
    source="Hastie, Tibshirani and Friedman 2009, The Elements of Statistical Learning, https://hastie.su.domains/ElemStatLearn",
    penalties_A=np.logspace(0, 7, 20),  # each is a fit of its own
    fit=fit,
    loss=loss,
    ignorant=ignorant,
    expected=expected,
)
