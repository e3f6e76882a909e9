"""Penalised logistic regression is scikit-learn's, under every penalty."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from prefassets.domain.probes.kinds.logistic import expected, fit
from prefassets.domain.probes.observed import Values
from prefassets.domain.probes.row_space import row_space

PENALTIES = np.logspace(0, 5, 6)


@pytest.mark.parametrize(("rows", "width"), [(80, 6), (80, 40), (150, 400)])  # solved directly, and by gradients
def test_path_is_that_of_sklearn_at_each_penalty(rows, width):
    generator = np.random.default_rng(0)
    activations = generator.normal(size=(rows, width)) @ generator.normal(size=(width, width)) - 2
    values = (activations[:, 0] + generator.normal(size=rows) * 5 > -2).astype(float)
    scaled = (activations - activations.mean(axis=0)) / activations.std(axis=0)
    space = row_space(activations, np.arange(rows))
    observed = Values(np.arange(rows), np.column_stack([values, values[::-1]]))
    path = fit(space, observed, PENALTIES)
    for place, penalty in enumerate(PENALTIES):
        theirs = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000).fit(scaled, values)
        linear = path.at(np.array([place, place])).predicted(space, observed)[0]
        assert linear[:, 0] == pytest.approx(theirs.decision_function(scaled), abs=1e-3)
        assert expected(linear[:, 0]) == pytest.approx(theirs.predict_proba(scaled)[:, 1], abs=1e-4)


def test_parts_are_fitted_as_if_the_rest_were_not_there():
    generator = np.random.default_rng(0)
    activations, values = generator.normal(size=(60, 5)), (generator.random((60, 2)) < 0.4).astype(float)
    space, kept = row_space(activations, np.arange(60)), generator.random(60) < 0.7
    observed = Values(np.arange(60), values)
    both = fit(space, observed, PENALTIES, None, np.column_stack([np.ones(60, bool), kept]))
    alone = fit(space, observed.of(kept), PENALTIES)
    assert both.coefficients_ATR[:, 2:] == pytest.approx(alone.coefficients_ATR, abs=1e-4)
    assert both.intercepts_AT[:, 2:] == pytest.approx(alone.intercepts_AT, abs=1e-4)


def test_rows_that_are_all_the_same_still_have_an_optimum():
    space = row_space(np.random.default_rng(0).normal(size=(20, 3)), np.arange(20))
    path = fit(space, Values(np.arange(20), np.ones((20, 1))), PENALTIES)
    assert np.isfinite(path.coefficients_ATR).all()
    assert (path.intercepts_AT > 10).all()
