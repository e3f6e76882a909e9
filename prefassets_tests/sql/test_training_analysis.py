"""How a training went: the report's numbers of single steps, means beside them, and whether it went on too long."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import linregress, t

from prefassets.resources.sql_tables import all_tables


def analysis(run_sql, losses, accuracies=None, validation=None, adapter=0, best_steps=None):
    accuracies = accuracies or [0.5] * len(losses)
    rows = [
        {"recipe": "lora", "adapter": adapter, "step": step, "loss": loss, "accuracy": accuracy}
        | {"validation_log_loss": (validation or {}).get(step)}
        for step, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True), 1)
    ]
    given = {"arena.curve": pl.DataFrame(rows)}
    if best_steps is not None:
        schema = {name: all_tables()["arena.adapter"].schema[name] for name in ("recipe", "best_steps")}
        given["arena.adapter"] = pl.DataFrame([{"recipe": "lora", "best_steps": best_steps}], schema=schema)
    (row,) = run_sql("arena.training_analysis", given).to_dicts()
    return row


def test_of_the_reports_losses_it_says_what_the_report_said(run_sql):
    """From 1.6689 to 1.3199, "a 20.91% reduction"; the lowest loss .5943, the highest token accuracy 87.23 %."""
    row = analysis(run_sql, [1.6689, 1.4, 0.5943, 1.3199], [0.51, 0.8723, 0.6, 0.5])
    assert round(row["logged_reduction_percent"], 2) == 20.91
    assert (row["logged_first_loss"], row["logged_last_loss"]) == (1.6689, 1.3199)
    assert (row["lowest_loss"], row["lowest_loss_step"]) == (0.5943, 3)
    assert (row["highest_accuracy"], row["highest_accuracy_step"]) == (0.8723, 2)
    assert (row["logged_first_accuracy"], row["logged_last_accuracy"]) == (0.51, 0.5)
    assert row["steps"] == 4


def test_first_and_last_are_also_told_as_means_over_a_twentieth(run_sql):
    """Of 40 steps two: (3 + 1) / 2 and (1 + .5) / 2, whatever is between."""
    row = analysis(run_sql, [3.0, 1.0, *[9.0] * 36, 1.0, 0.5], [0.2, 0.4, *[0.9] * 36, 0.5, 0.6])
    assert (row["first_loss"], row["last_loss"]) == (2.0, 0.75)
    assert row["loss_reduction_percent"] == pytest.approx(62.5)
    assert (row["first_accuracy"], row["last_accuracy"]) == (pytest.approx(0.3), pytest.approx(0.55))


@pytest.mark.parametrize(("steps", "in_window"), [(1, 1), (19, 1), (20, 1), (21, 2), (1000, 50)])
def test_a_twentieth_is_at_least_one_step(run_sql, steps, in_window):
    losses = [float(step) for step in range(1, steps + 1)]
    row = analysis(run_sql, losses)
    assert row["first_loss"] == pytest.approx(np.mean(losses[:in_window]))
    assert row["last_loss"] == pytest.approx(np.mean(losses[-in_window:]))


@pytest.mark.parametrize("fall", [0.0, 0.001, 0.004])
def test_the_end_is_falling_where_its_slope_is_below_zero_with_an_interval(run_sql, fall):
    generator = np.random.default_rng(3)
    losses = [2.0] * 120 + [2 - fall * step + 0.05 * generator.normal() for step in range(40)]
    row = analysis(run_sql, losses)
    expected = linregress(np.arange(121, 161), losses[120:])
    half = t.ppf(0.975, 38) * expected.stderr
    assert row["end_slope"] == pytest.approx(100 * expected.slope)
    assert (row["end_slope_lower"], row["end_slope_upper"]) == pytest.approx(
        (100 * (expected.slope - half), 100 * (expected.slope + half)), rel=1e-5
    )
    assert row["still_falling"] is bool(expected.slope + half < 0)
    assert row["still_falling"] is (fall == 0.004)


def test_of_a_short_end_no_slope_is_told(run_sql):
    row = analysis(run_sql, [float(-step) for step in range(76)])
    assert (row["end_slope"], row["still_falling"]) == (None, None)


def test_training_past_the_best_validation_is_overfitting(run_sql):
    row = analysis(run_sql, [1.0] * 40, validation={10: 1.09, 20: 1.05, 30: 1.05, 40: 1.12}, best_steps=[20])
    assert (row["evaluations"], row["best_validation_step"], row["best_validation_log_loss"]) == (4, 20, 1.05)
    assert (row["last_validation_step"], row["last_validation_log_loss"]) == (40, 1.12)
    assert row["overfitting"] == pytest.approx(0.07)
    assert row["validation_still_falling"] is False
    assert row["kept_step"] == 20


def test_validation_that_was_best_at_its_last_may_fall_further(run_sql):
    row = analysis(run_sql, [1.0] * 45, validation={20: 1.05, 40: 1.02})
    assert (row["validation_still_falling"], row["overfitting"], row["last_validation_step"]) == (True, 0.0, 40)


@pytest.mark.parametrize("validation", [{}, {40: 1.0}])
def test_validation_seen_once_or_never_says_not_whether_it_falls(run_sql, validation):
    row = analysis(run_sql, [1.0] * 40, validation=validation)
    assert row["validation_still_falling"] is None
    assert row["evaluations"] == len(validation)


def test_each_adapter_of_a_recipe_has_its_own_row_and_step(run_sql):
    row = analysis(run_sql, [1.0, 0.5], adapter=2, best_steps=[10, 20, 30])
    assert (row["adapter"], row["kept_step"]) == (2, 30)
