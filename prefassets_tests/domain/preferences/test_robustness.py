"""The report's check: utilities from other starts, bounds and penalties, correlated."""

import polars as pl
import pytest

from prefassets.domain.preferences.comparisons import count_choices
from prefassets.domain.preferences.robustness import VARIANTS, Variant, robustness


def test_every_two_variants_are_correlated(villain_slice):
    choices, tasks = villain_slice
    found = robustness(count_choices(choices, tasks))
    assert found.fits["variant"].to_list() == [variant.name for variant in VARIANTS]
    assert len(found.correlations) == len(VARIANTS) * (len(VARIANTS) - 1) / 2
    assert found.smallest_pearson == found.correlations["pearson"].min()
    assert 0.8 < found.smallest_rank <= 1


def test_correlations_are_those_of_the_utilities(villain_slice):
    choices, tasks = villain_slice
    same = robustness(
        count_choices(choices, tasks), [Variant("one"), Variant("same"), Variant("other", penalty=10.0)]
    ).correlations
    assert same["variant_b"].to_list() == ["same", "other", "other"]
    assert same.row(0)[2:] == pytest.approx((1, 1))
    assert same.row(1)[2:] == pytest.approx(same.row(2)[2:])
    assert same["pearson"][1] < 1


def test_utilities_that_are_all_equal_have_no_correlation():
    refused = pl.DataFrame({"task_a": ["x"], "task_b": ["y"], "choice": ["unparseable"]})
    found = robustness(count_choices(refused), [Variant("one"), Variant("other", start_sigma=2.0)])
    assert found.correlations.select("pearson", "rank").row(0) == (None, None)
    assert found.smallest_pearson is None


def test_the_villains_utilities_hardly_depend_on_how_the_fit_is_run(villain):
    choices, published = villain
    found = robustness(count_choices(choices, published["task_id"].to_list()))
    assert found.smallest_pearson > 0.98
    assert found.smallest_rank > 0.99
