"""Nothing that is held out has a say in what predicts it."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from prefassets.domain.probes.folds import Split, dealt_folds
from prefassets.domain.probes.kinds import KINDS
from prefassets.domain.probes.nested import Question, best_penalty, cross_validated
from prefassets.domain.probes.observed import Choices, Values
from prefassets_tests.domain.probes.planted import activations_with, names

ITEMS = 60


def a_question(kind: str, of: np.ndarray) -> Question:
    generator = np.random.default_rng(3)
    if kind == "choices":
        a, b = (places.ravel() for places in np.triu_indices(ITEMS, 1))
        wins = (generator.random(len(a)) < 1 / (1 + np.exp(of[b] - of[a]))).astype(float)
        return Question(KINDS[kind], Choices(a, b, wins, 1 - wins))
    values = of if kind == "number" else (of > 0).astype(float)
    return Question(KINDS[kind], Values(np.arange(ITEMS), values[:, None]))


@pytest.mark.parametrize("kind", ["number", "binary", "choices"])
def test_penalties_and_predictions_do_not_change_with_the_labels_and_activations_that_are_held_out(kind):
    activations, values = activations_with(ITEMS, 20, 0.5)
    folds = dealt_folds(names(ITEMS), 5)
    (clean,) = cross_validated(lambda fitted: activations, [a_question(kind, values)], Split.of(folds), folds)
    for fold in range(5):
        spoiled, strange = values.copy(), activations.copy()
        spoiled[folds == fold] = -spoiled[folds == fold] + 0.3
        strange[folds == fold] += 0.5
        questions = [a_question(kind, spoiled)]
        if kind == "choices":  # answers across the fold are not fitted either; those within the rest stay as they were
            before, after = a_question(kind, values).observed, questions[0].observed
            rest = before.among(folds != fold)
            wins = np.where(rest, before.wins_a_P, after.wins_a_P)
            questions = [Question(KINDS[kind], Choices(before.a_P, before.b_P, wins, 1 - wins))]
        (found,) = cross_validated(
            lambda fitted, strange=strange: strange, questions, Split.of(folds), folds, weights=True
        )
        assert (found.folds[fold].penalty_T == clean.folds[fold].penalty_T).all()
        assert found.folds[fold].inner_AT == pytest.approx(clean.folds[fold].inner_AT, nan_ok=True)
        others = [found.folds[other].inner_AT for other in range(5) if other != fold]
        assert any(not np.array_equal(score, clean.folds[fold].inner_AT, equal_nan=True) for score in others)


def test_predictions_are_those_of_sklearn_with_the_chosen_penalty_on_the_other_folds():
    activations, values = activations_with(ITEMS, 200, 0.8)
    folds = dealt_folds(names(ITEMS), 5)
    (answer,) = cross_validated(
        lambda fitted: activations, [a_question("number", values)], Split.of(folds), folds, weights=True
    )
    held = answer.held_out
    assert sorted(held.observed_P.tolist()) == list(range(ITEMS))
    for fold, fit in answer.folds.items():
        scaler = StandardScaler().fit(activations[folds != fold].astype(float))
        theirs = Ridge(alpha=KINDS["number"].penalties_A[fit.penalty_T[0]]).fit(
            scaler.transform(activations[folds != fold]), values[folds != fold]
        )
        inside = held.fold_P == fold
        expected = theirs.predict(scaler.transform(activations[held.observed_P[inside]].astype(float)))
        assert held.predicted_PT[inside, 0] == pytest.approx(expected, abs=1e-5)
        assert held.ignorant_PT[inside, 0] == pytest.approx(values[folds != fold].mean())
        direct = activations[held.observed_P[inside]] @ fit.weights_DT[:, 0] + fit.intercepts_T[0]
        assert direct == pytest.approx(expected, abs=1e-5)


def test_choices_across_folds_are_neither_fitted_nor_predicted():
    activations, values = activations_with(ITEMS, 20, 0.5)
    folds = dealt_folds(names(ITEMS), 5)
    question = a_question("choices", values)
    (answer,) = cross_validated(lambda fitted: activations, [question], Split.of(folds), folds)
    a, b = question.observed.a_P, question.observed.b_P
    assert set(answer.held_out.observed_P) == set(np.flatnonzero(folds[a] == folds[b]))
    for fold, fit in answer.folds.items():
        assert fit.rows == ((folds[a] != fold) & (folds[b] != fold)).sum()


def test_of_equal_penalties_the_largest_is_chosen():
    assert best_penalty(np.array([[0.1, np.nan], [0.1, np.nan], [0.0, np.nan]])).tolist() == [1, 2]
