"""Ridge under all penalties is what scikit-learn fits one by one, also of folds that are never fitted again."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from prefassets.domain.probes.kinds.ridge import fit, left_out
from prefassets.domain.probes.observed import Values
from prefassets.domain.probes.row_space import row_space

PENALTIES = np.logspace(-1, 6, 15)


def a_problem(rows: int, width: int, seed: int = 0):
    generator = np.random.default_rng(seed)
    activations = generator.normal(size=(rows, width)) @ generator.normal(size=(width, width)) + 3
    return activations, generator.normal(size=(rows, 2)) + 1


@pytest.mark.parametrize(("rows", "width"), [(40, 7), (40, 200)])
def test_path_is_that_of_sklearn_at_each_penalty(rows, width):
    activations, values = a_problem(rows, width)
    fitted = np.arange(0, rows, 2)
    scaler = StandardScaler().fit(activations[fitted])
    space = row_space(activations, fitted)
    path = fit(space, Values(fitted, values[fitted]), PENALTIES)
    everything = Values(np.arange(rows), values)
    for place, penalty in enumerate(PENALTIES):
        theirs = Ridge(alpha=penalty, solver="svd").fit(scaler.transform(activations[fitted]), values[fitted])
        ours = path.at(np.array([place, place]))
        assert ours.predicted(space, everything)[0] == pytest.approx(
            theirs.predict(scaler.transform(activations)), abs=1e-7
        )
        weights = space.weights(ours.coefficients_ATR[0].T)
        assert weights * scaler.scale_[:, None] == pytest.approx(theirs.coef_.T, abs=1e-7)


@pytest.mark.parametrize(("rows", "width"), [(60, 5), (60, 30), (60, 300)])
def test_what_is_left_out_is_predicted_as_if_it_had_not_been_fitted(rows, width):
    """Both ways of solving: 12 rows a fold against a rank of 5, 30 and 59. Scaled by all 60, as said."""
    activations, values = a_problem(rows, width)
    folds = np.random.default_rng(1).permutation(rows) % 5
    scaled = StandardScaler().fit_transform(activations)
    space = row_space(activations, np.arange(rows))
    found = list(left_out(space, Values(np.arange(rows), values), folds, PENALTIES))
    assert len(found) == 5
    for fold, (inside, outside, predicted) in enumerate(found):
        assert set(outside.items_P) == set(np.flatnonzero(folds == fold))
        assert len(inside) + len(outside) == rows
        for place, penalty in enumerate(PENALTIES):
            theirs = Ridge(alpha=penalty, solver="svd").fit(scaled[folds != fold], values[folds != fold])
            assert predicted[place] == pytest.approx(theirs.predict(scaled[folds == fold]), abs=1e-6)


def test_a_number_that_never_differs_gets_no_weight():
    activations, values = a_problem(30, 4)
    activations[:, 2] = 17.3
    space = row_space(activations, np.arange(30))
    weights = space.weights(
        fit(space, Values(np.arange(30), values), PENALTIES).at(np.zeros(2, int)).coefficients_ATR[0].T
    )
    assert weights[2] == pytest.approx([0, 0], abs=0)
    assert np.isfinite(weights).all()
