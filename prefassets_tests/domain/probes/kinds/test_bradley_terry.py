"""Choices are fitted straight: the planted direction is found, and the optimum is an independent optimiser's."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from prefassets.domain.probes.kinds.bradley_terry import fit
from prefassets.domain.probes.observed import Choices
from prefassets.domain.probes.row_space import row_space

PENALTIES = np.logspace(0, 4, 5)


def a_problem(items: int, width: int, pairs: int, slot: float = 0.0):
    generator = np.random.default_rng(0)
    activations = generator.normal(size=(items, width)) + 5
    direction = generator.normal(size=width) / np.sqrt(width)
    a = generator.integers(0, items, pairs)
    b = (a + generator.integers(1, items, pairs)) % items
    chance = 1 / (1 + np.exp(-(2 * (activations[a] - activations[b]) @ direction + slot)))
    wins = generator.binomial(3, chance).astype(float)
    return activations, direction, a, b, wins, 3 - wins


@pytest.mark.parametrize(("items", "width", "pairs"), [(50, 8, 400), (150, 300, 600), (150, 300, 100)])
def test_optimum_is_that_of_sklearn_on_differences_without_intercept(items, width, pairs):
    """Directly, by way of utilities, and with fewer pairs than items."""
    activations, _, a, b, wins_a, wins_b = a_problem(items, width, pairs)
    space = row_space(activations, np.arange(items))
    path = fit(space, Choices(a, b, wins_a, wins_b), PENALTIES)
    scaled = (activations - activations.mean(axis=0)) / activations.std(axis=0)
    differences = scaled[a] - scaled[b]
    for place, penalty in enumerate(PENALTIES):
        theirs = LogisticRegression(C=1 / penalty, fit_intercept=False, tol=1e-10, max_iter=10_000).fit(
            np.vstack([differences, differences]),
            np.repeat([1, 0], pairs),
            sample_weight=np.concatenate([wins_a, wins_b]),
        )
        ours = space.weights(path.coefficients_ATR[place].T)[:, 0] * activations.std(axis=0)
        assert ours == pytest.approx(theirs.coef_[0], abs=1e-3 * np.abs(theirs.coef_).max())
        assert path.intercepts_AT[place] == pytest.approx([0], abs=0)


def test_a_planted_direction_and_what_being_shown_first_adds_are_recovered():
    activations, direction, a, b, wins_a, wins_b = a_problem(200, 10, 20_000, slot=0.5)
    space = row_space(activations, np.arange(200))
    path = fit(space, Choices(a, b, wins_a, wins_b, shown_in_order=True), np.array([1e-3]))
    assert space.weights(path.coefficients_ATR[0].T)[:, 0] == pytest.approx(2 * direction, abs=0.05)
    assert path.intercepts_AT[0, 0] == pytest.approx(0.5, abs=0.05)
