"""Utilities are judged on pairs they were not fitted to, and a pair is one observation however often it was asked."""

import math
from functools import partial

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm

from prefassets.domain.preferences.comparisons import count_choices
from prefassets.domain.preferences.held_out import held_out_gain, held_out_score, position_only, score
from prefassets.domain.preferences.thurstonian import fit_utilities
from prefassets_tests.domain.preferences.planted import planted_choices

UTILITIES = pl.DataFrame({"task_id": ["x", "y", "z"], "mu": [1.0, 0.0, 0.0], "sigma": [1.0, 1.0, 2.0]})


def choices_of(*rows):
    return pl.DataFrame(rows, ["task_a", "task_b", "choice"], orient="row")


def test_a_score_is_what_it_says():
    found = score(UTILITIES, choices_of(("x", "y", "a"), ("y", "x", "a"), ("y", "z", "b"), ("x", "y", "refusal")))
    assert found.accuracy == pytest.approx((1 + 0 + 0.5) / 3), "x's lead was right once; y and z are equal"
    lead = norm.cdf(1 / math.sqrt(2))
    assert found.log_loss == pytest.approx(-(math.log(lead) + math.log(1 - lead) + math.log(0.5)) / 3)
    assert (found.pairs, found.choices) == (2, 3)


def test_a_slot_bias_and_standard_errors_enter_the_chance():
    with_se = UTILITIES.with_columns(se=pl.Series([0.3, 0.4, None]))
    found = score(with_se, choices_of(("x", "y", "a")), slot_bias=0.5)
    assert found.log_loss == pytest.approx(-norm.logcdf(1.5 / math.sqrt(2 + 0.3**2 + 0.4**2)))


def test_asking_everything_ten_times_does_not_narrow_the_intervals():
    choices = planted_choices([-1, 0, 0.5, 1], pairs=6, answers=4, seed=0)
    utilities = fit_utilities(choices).utilities
    once, often = score(utilities, choices), score(utilities, pl.concat([choices] * 10))
    assert often.choices == 10 * once.choices
    for end in ("accuracy_lower", "accuracy_upper", "log_loss_lower", "log_loss_upper"):
        assert getattr(often, end) == pytest.approx(getattr(once, end))


def test_all_answers_to_a_pair_are_on_one_side():
    choices = planted_choices(np.linspace(-1, 1, 8), pairs=28, answers=3, seed=0)
    both_orders = pl.concat([choices, choices.select(task_a="task_b", task_b="task_a", choice="choice")])
    everything = count_choices(both_orders)
    trained = []

    def fit(comparisons):
        trained.append({frozenset(pair) for pair in zip(comparisons.slot_a_p, comparisons.slot_b_p, strict=True)})
        assert len(comparisons.slot_a_p) == 2 * len(trained[-1]), "of each pair both orders"
        return fit_utilities(comparisons)

    found = held_out_score(everything, fit, folds=4)
    assert [len(pairs) for pairs in trained] == [21] * 4
    assert set.intersection(*trained) == set(), "each pair is held out once"
    assert (found.pairs, found.choices) == (28, 168)


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(ValueError, match="the utilities lack task 'w'"):
        score(UTILITIES, choices_of(("x", "w", "a")))
    with pytest.raises(ValueError, match="no answer chose a task"):
        score(UTILITIES, choices_of(("x", "y", "refusal")))
    with pytest.raises(ValueError, match="1 pairs cannot be dealt into 5 folds"):
        held_out_score(choices_of(("x", "y", "a")))


def test_real_choices_are_predicted_better_than_by_the_published_fit(villain):
    """The issue's bar is .48, and .72 or more for the published fit."""
    choices, _ = villain
    counted = count_choices(choices)
    ours = held_out_score(counted, seed=1)
    published = held_out_score(counted, partial(fit_utilities, objective="published"), seed=1)
    assert ours.log_loss < 0.48
    assert published.log_loss > 0.72
    assert (ours.pairs, ours.choices) == (7_471, 32_111)


def test_utilities_say_nothing_beyond_position_where_only_position_decides():
    generator = np.random.default_rng(0)
    names = [f"t{number}" for number in range(20)]
    pairs = [(one, other) for one in names for other in names if one != other]
    always_first = choices_of(*((one, other, "a") for one, other in pairs))
    nine_in_ten = choices_of(*((one, other, "ab"[int(generator.random() > 0.9)]) for one, other in pairs))
    fit = partial(fit_utilities, slot_bias=True)
    for choices in (always_first, nine_in_ten):
        assert held_out_score(choices, fit).accuracy >= 0.85, "which looks like preference"
        gain, lower, upper = held_out_gain(choices, fit)
        assert lower <= gain <= upper
        assert lower < 0.005


def test_utilities_say_something_beyond_position_where_tasks_decide():
    choices = planted_choices(np.linspace(-2, 2, 12), pairs=66, answers=6, seed=0)
    gain, lower, _ = held_out_gain(choices, partial(fit_utilities, slot_bias=True))
    assert lower > 0.1
    assert gain == pytest.approx(math.log(2) - held_out_score(choices).log_loss, abs=0.03), "slots were fair coins"


def test_position_alone_gives_each_slot_its_share():
    choices = choices_of(*[("x", "y", "a")] * 7, *[("y", "x", "b")] * 2)
    alone = position_only(count_choices(choices))
    assert norm.cdf(alone.slot_bias.value / math.sqrt(2)) == pytest.approx(7.5 / 10)
