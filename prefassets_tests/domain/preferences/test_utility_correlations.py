"""How far utilities agree, and what of that the list position explains."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from prefassets.domain.preferences.utility_correlations import correlate, position_correlations, without_position

DATA = Path(__file__).parents[2] / "data" / "preferences"


def test_configurations_correlate_over_the_tasks_that_both_have():
    generator = np.random.default_rng(0)
    rows = pl.DataFrame(
        {
            "configuration": np.repeat(["x", "y", "z"], 30),
            "task_id": [f"t{place}" for place in range(30)] * 3,
            "mu": generator.normal(size=90) + 1e3,
        }
    ).filter(generator.random(90) < 0.7)
    found = correlate(rows)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        one, other = (rows.filter(configuration=found.names[place]) for place in (first, second))
        common = one.join(other, on="task_id")
        expected = stats.pearsonr(common["mu"], common["mu_right"]).statistic
        assert found.correlation_CC[first, second] == pytest.approx(expected, abs=1e-9)
        assert found.tasks_CC[first, second] == len(common)


def test_a_cubic_of_the_position_leaves_nothing_and_other_things_stay():
    place = np.arange(50.0)
    wave = np.where(place % 2 == 0, 1.0, -1.0)
    cubic = 3 - 0.2 * place + 0.01 * place**2 - 1e-4 * place**3
    assert np.abs(without_position(cubic, place)).max() < 1e-9
    assert np.corrcoef(without_position(cubic + wave, place), wave)[0, 1] > 0.99
    holes = np.where(place < 5, np.nan, cubic)
    assert np.isnan(without_position(holes, place)).sum() == 5


def test_the_published_utilities_fall_with_the_position_in_canonical_order_and_rise_in_reversed_order():
    rows = pl.read_parquet(DATA / "template_sensitivity_48runs.parquet")
    utilities = rows.select(
        "configuration", task_id=pl.int_ranges(0, 500), list_index=pl.int_ranges(0, 500), mu="thousandths"
    ).explode("task_id", "list_index", "mu")
    of_order = dict(
        position_correlations(utilities)
        .join(rows, on="configuration")
        .group_by("order")
        .agg(pl.col("correlation").mean())
        .iter_rows()
    )
    assert of_order["canonical"] == pytest.approx(-0.34, abs=0.005)
    assert of_order["reversed"] == pytest.approx(0.43, abs=0.006)
