"""Curves by twentieths of the steps, and the group difference in mid-training with its interval over seeds."""

import polars as pl
import pytest
from scipy import stats

from prefassets_tests.sql.reported import by
from prefassets_tests.sql.test_contrast import tables
from prefassets_tests.sql.test_group_metrics import logged


def test_a_window_holds_a_twentieth_of_the_steps_and_all_its_batches(run_sql):
    steps = {step: (step / 100, -step / 100, float(step > 50)) for step in range(1, 101)}
    rows = run_sql("verdicts.learning_curve", tables([], logged("everyone", steps)))
    assert rows["step_window"].to_list() == list(range(1, 21))
    assert set(rows["batches"]) == {5}
    found = by(rows, "step_window")
    assert (found[1]["first_step"], found[1]["last_step"], found[1]["loss"]) == (1, 5, pytest.approx(0.03))
    assert found[20]["margin"] == pytest.approx(-0.98)
    assert (found[10]["pref_acc"], found[11]["pref_acc"]) == (0.0, 1.0)


def curves(difference_by_seed):
    """A's share is .5 in every window, B's lower by the seed's difference; windows of five steps."""
    schema = {"study": pl.String, "cohort": pl.String, "split": pl.String, "user_group": pl.String, "seed": pl.Int64}
    schema |= {"recipe": pl.String, "step_window": pl.Int64, "first_step": pl.Int64, "last_step": pl.Int64}
    rows = [
        ("s", f"age.{group}", "age", group, seed, "r", window, 5 * window - 4, 5 * window, 5, share)
        for seed, points in enumerate(difference_by_seed)
        for window in range(1, 21)
        for group, share in (("A", 0.5), ("B", 0.5 - points / 100))
    ]
    frame = pl.DataFrame(rows, schema | {"batches": pl.Int64, "pref_acc": pl.Float64}, orient="row")
    return {"verdicts.learning_curve": frame}


@pytest.mark.parametrize("points", [[1.0, 2.0, 6.0], [4.0, -3.0], [0.5 * seed for seed in range(12)]])
def test_the_interval_is_students_over_seeds(run_sql, points):
    found = by(run_sql("verdicts.mid_curve", curves(points)), "stretch", "step_window")
    assert [window for _, window in found] == [None, *range(3, 9), None, *range(9, 21)]
    expected = stats.ttest_1samp(points, 0).confidence_interval(0.95)
    for row in found.values():
        assert row["difference_pp"] == pytest.approx(sum(points) / len(points))
        assert (row["lower_pp"], row["upper_pp"]) == pytest.approx(tuple(expected), rel=1e-5)
        assert row["why_empty"] is None
    assert (found["middle", None]["first_step"], found["middle", None]["last_step"]) == (11, 40)
    assert (found["after", None]["first_step"], found["after", None]["last_step"]) == (41, 100)


def test_the_quantile_is_right_for_any_number_of_seeds(run_sql):
    for seeds in [*range(2, 15), 20, 50, 200]:
        points = [float(seed % 2) for seed in range(seeds)]
        row = run_sql("verdicts.mid_curve", curves(points)).to_dicts()[0]
        error = stats.sem(points)
        assert (row["upper_pp"] - row["difference_pp"]) / error == pytest.approx(
            stats.t.ppf(0.975, seeds - 1), abs=1e-5
        ), seeds


def test_one_seed_has_no_interval_and_says_why(run_sql):
    for row in run_sql("verdicts.mid_curve", curves([2.0])).to_dicts():
        assert (row["lower_pp"], row["upper_pp"]) == (None, None)
        assert row["why_empty"] == "one seed: its spread over seeds is unknown"
