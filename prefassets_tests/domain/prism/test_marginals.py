"""A smaller study has PRISM's proportions: nothing is lost in rounding, and PRISM itself is unchanged."""

import numpy as np
import pytest

from prefassets.domain.prism.marginals import dealt, interleaved, repeated, scaled


def test_counts_that_already_have_the_total_are_unchanged():
    assert scaled([6241, 1545, 225], 8011).tolist() == [6241, 1545, 225]


@pytest.mark.parametrize("total", [0, 1, 7, 100, 801])
def test_scaled_counts_have_the_total_and_no_count_is_negative(total):
    counts = scaled([2730, 2410, 1414, 715, 53, 1], total)
    assert counts.sum() == total
    assert counts.min() >= 0


def test_neighbours_keep_their_sum_even_where_each_would_round_to_nothing():
    assert scaled([1] * 20 + [80], 10)[:20].sum() == 2


def test_categories_are_as_frequent_as_counted():
    counts = {"often": 6, "seldom": 3}
    assert repeated(counts, 3).tolist() == ["often", "often", "seldom"]
    assert sorted(dealt(np.random.default_rng(0), counts, 9)) == ["often"] * 6 + ["seldom"] * 3


def test_interleaving_spreads_every_group_over_the_whole():
    group = np.array(["A"] * 60 + ["B"] * 30, dtype=object)
    order = interleaved(np.random.default_rng(0), group)
    assert sorted(order) == list(range(90))
    for start in range(0, 90, 30):
        assert 19 <= (group[order[start : start + 30]] == "A").sum() <= 21
