"""Metrics are what their definitions and other libraries say, and intervals hold the truth as often as they say."""

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import log_loss, roc_auc_score

from prefassets.domain.probes.metrics import (
    Drawn,
    HeldOutChoices,
    HeldOutValues,
    differences,
    of_binary,
    of_choices,
    of_numbers,
)

NOTHING = np.empty(0, dtype=np.int64)


def held_out(actual, predicted, *, ignorant=0.0, folds=None, units=None, topics=NOTHING, losses=None) -> HeldOutValues:
    count = len(actual)
    return HeldOutValues(
        actual_P=actual,
        predicted_P=predicted,
        ignorant_P=np.broadcast_to(ignorant, count),
        losses_P=(actual - predicted) ** 2 if losses is None else losses,
        fold_P=np.zeros(count, dtype=np.int64) if folds is None else folds,
        unit_P=np.arange(count) if units is None else units,
        topic_P=topics,
    )


def noisy(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    actual = generator.normal(size=count)
    return actual, 0.5 * actual + 0.5 * generator.normal(size=count)


def test_metrics_of_numbers_are_their_definitions():
    actual, predicted = noisy(80)
    found = of_numbers(held_out(actual, predicted, ignorant=0.1), None, 80)
    assert found["r_squared"].value == pytest.approx(
        1 - ((actual - predicted) ** 2).sum() / ((actual - 0.1) ** 2).sum(), rel=1e-12
    )
    assert found["mse"].value == pytest.approx(((actual - predicted) ** 2).mean(), rel=1e-12)
    assert found["pearson_r"].value == pytest.approx(pearsonr(actual, predicted).statistic, rel=1e-12)
    right = [
        (actual[i] > actual[j]) == (predicted[i] > predicted[j]) for i in range(80) for j in range(i)
    ]  # no ties among these
    assert found["pairwise_accuracy"].value == pytest.approx(np.mean(right), rel=1e-12)


def test_metrics_of_binary_targets_are_those_of_sklearn():
    actual, odds = noisy(80)
    actual = (actual > 0).astype(float)
    losses = np.logaddexp(0, odds) - actual * odds
    found = of_binary(held_out(actual, odds, losses=losses), None, 80)
    assert found["auc"].value == pytest.approx(roc_auc_score(actual, odds), rel=1e-12)
    assert found["log_loss"].value == pytest.approx(log_loss(actual, 1 / (1 + np.exp(-odds))), rel=1e-9)
    assert found["accuracy"].value == pytest.approx(((odds > 0) == actual).mean(), rel=1e-12)


def test_accuracy_of_choices_counts_answers():
    choices = HeldOutChoices(
        wins_a_P=np.array([3.0, 0.0, 1.0]),
        wins_b_P=np.array([1.0, 2.0, 1.0]),
        predicted_P=np.array([0.4, 1.2, 0.0]),
        losses_P=np.array([4.0, 3.0, 1.0]),
        unit_a_P=np.array([0, 1, 2]),
        unit_b_P=np.array([1, 2, 0]),
    )
    found = of_choices(choices, None, 3)
    assert found["pairwise_accuracy"].value == (3 + 0 + 1) / 8
    assert found["log_loss"].value == 8 / 8


def test_a_prediction_that_knows_nothing_is_not_worse_than_chance_because_folds_have_other_means():
    """Each fold is predicted by the mean of the other: against it pooled correlation and order would be at -1 and 0."""
    actual = np.concatenate([np.full(20, -1.0), np.full(20, 1.0)]) + 0.01 * np.random.default_rng(0).normal(size=40)
    folds = np.repeat([0, 1], 20)
    known = np.where(folds == 0, actual[20:].mean(), actual[:20].mean())
    found = of_numbers(held_out(actual, known, ignorant=known, folds=folds), None, 40)
    assert found["r_squared"].value == 0
    assert np.isnan(found["pearson_r"].value)
    assert found["pairwise_accuracy"].value == 0.5


@pytest.mark.parametrize("of_topic", [2, 5, 50])
def test_what_follows_from_the_topic_alone_explains_nothing_within_topics(of_topic):
    """Whatever each fold takes a topic's mean to be, and however few items a topic has."""
    generator = np.random.default_rng(0)
    topics = np.repeat(np.arange(40), of_topic)
    actual = generator.normal(size=40)[topics] * 3 + generator.normal(size=len(topics))
    folds = generator.integers(0, 2, len(topics))
    predicted = generator.normal(size=(2, 40))[folds, topics]
    found = of_numbers(held_out(actual, predicted, folds=folds, topics=topics), None, len(topics))
    assert found["r_squared_within_topics"].value == pytest.approx(0, abs=1e-9)


def test_what_is_explained_within_topics_is_told_whatever_lies_between_them():
    generator = np.random.default_rng(0)
    topics, inside = np.arange(4_000) % 400, generator.normal(size=4_000)
    between = 3 * generator.normal(size=400)[topics]
    actual = between + inside + generator.normal(size=4_000)
    found = of_numbers(held_out(actual, inside - between, topics=topics), None, 4_000)
    assert found["r_squared_within_topics"].value == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("per_unit", [1, 6])
def test_intervals_hold_the_truth_as_often_as_they_say(per_unit):
    """200 samples of 60 units, whose items are alike; the truth is what 30,000 units give."""
    names = ("r_squared", "pearson_r", "mse", "pairwise_accuracy")
    drawn = Drawn(60, 300, seed=1)

    def sample(units: int, seed: int) -> HeldOutValues:
        generator = np.random.default_rng(seed)
        unit = np.repeat(np.arange(units), per_unit)
        shared = generator.normal(size=(2, units))[:, unit]
        own = generator.normal(size=(2, len(unit)))
        actual, predicted = 0.8 * shared + 0.6 * own
        predicted = 0.6 * actual + 0.4 * predicted
        return held_out(actual, predicted, units=unit, folds=unit % max(2, units // 30))

    truths = [of_numbers(sample(3_000, 10_000 + seed), None, 3_000) for seed in range(10)]
    truth = {name: np.mean([found[name].value for found in truths]) for name in names}
    inside = dict.fromkeys(names, 0)
    for seed in range(200):
        found = of_numbers(sample(60, seed), drawn, 60)
        for name in names:
            lower, upper = found[name].interval
            inside[name] += lower <= truth[name] <= upper
    assert all(0.88 <= count / 200 <= 0.99 for count in inside.values()), inside


@pytest.mark.parametrize("item_effect", [0.0, 0.8])
def test_intervals_of_choices_hold_the_truth_whether_or_not_answers_about_an_item_go_together(item_effect):
    far = np.random.default_rng(0)
    effects = item_effect * far.normal(size=(2, 500_000)).sum(axis=0)
    truth = (0.3 + effects + far.logistic(size=500_000) > 0).mean()
    drawn, inside = Drawn(40, 300, seed=1), 0
    for seed in range(300):
        generator = np.random.default_rng(seed)
        a = generator.integers(0, 40, 300)
        b = (a + generator.integers(1, 40, 300)) % 40
        of_item = item_effect * generator.normal(size=40)
        right = (0.3 + of_item[a] + of_item[b] + generator.logistic(size=300) > 0).astype(float)
        found = of_choices(
            HeldOutChoices(
                wins_a_P=right,
                wins_b_P=1 - right,
                predicted_P=np.ones(300),
                losses_P=right,
                unit_a_P=a,
                unit_b_P=b,
            ),
            drawn,
            40,
        )
        lower, upper = found["pairwise_accuracy"].interval
        inside += lower <= truth <= upper
    assert 0.9 <= inside / 300 <= 0.99


def test_a_difference_is_of_the_same_units_so_it_is_known_better_than_either():
    actual, predicted = noisy(100)
    drawn = Drawn(100, 500, seed=0)
    ours = of_numbers(held_out(actual, predicted), drawn, 100)
    theirs = of_numbers(held_out(actual, predicted - 0.05), drawn, 100)
    minus = differences(ours, theirs, None, drawn, 100)["mse"]
    assert minus.value == pytest.approx(ours["mse"].value - theirs["mse"].value)
    assert np.ptp(minus.interval) < 0.5 * np.ptp(ours["mse"].interval)
