"""What a policy's own weights were in training, off every step of its log."""

import polars as pl
import pytest

from prefassets_tests.sql.small_study import tables
from prefassets_tests.sql.test_group_metrics import logged


def weighted(cohort, means, seed=42, **cell):
    """Log rows of 100 steps whose mean weights are given by step; the smallest is half of it, a tenth is clamped."""
    rows = logged(cohort, dict.fromkeys(range(1, 101), (0.0, 0.0, 0.0)), seed=seed, **cell)
    return [
        row | {"weight_mean": means(row["step"]), "weight_min": means(row["step"]) / 2, "weight_clamped": 0.1}
        for row in rows
    ]


UNWEIGHTED = logged("age.B", dict.fromkeys(range(1, 101), (0.0, 0.0, 0.0)), seed=123)


def test_a_cells_weights_are_those_of_all_its_steps_and_of_its_first_and_last_tenth(run_sql):
    given = tables([], weighted("age.A", lambda step: step / 200) + UNWEIGHTED)
    (row,) = run_sql("weights.in_training", given).to_dicts()
    assert (row["cohort"], row["split"], row["user_group"], row["seed"], row["steps"]) == ("age.A", "age", "A", 42, 100)
    assert row["weight_mean"] == pytest.approx(50.5 / 200)
    assert row["weight_min"] == pytest.approx(1 / 400)
    assert row["weight_clamped"] == pytest.approx(0.1)
    assert row["weight_mean_first"] == pytest.approx(5.5 / 200)  # steps 1 to 10
    assert row["weight_mean_last"] == pytest.approx(95.5 / 200)  # steps 91 to 100
    assert row["weight_moved"] == pytest.approx(90 / 200)


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_fewer_than_ten_steps_have_a_first_and_a_last(run_sql, steps):
    log = weighted("everyone", lambda step: step / 200)[:steps]
    given = tables([], log)
    given["training.cells"] = given["training.cells"].with_columns(steps=pl.lit(steps, pl.Int64))
    (row,) = run_sql("weights.in_training", given).to_dicts()
    assert row["weight_mean_first"] == pytest.approx(1 / 200)
    assert row["weight_mean_last"] == pytest.approx(steps / 200)


def test_groups_stand_side_by_side_over_the_seeds_that_count(run_sql):
    """Mean of the means, smallest of the smallest. Seed 7 is not planned; `everyone` belongs to no split."""
    log = [
        *weighted("age.A", lambda step: 0.2),
        *weighted("age.A", lambda step: 0.3, seed=123),
        *weighted("age.A", lambda step: 0.9, seed=7),
        *weighted("age.B", lambda step: 0.5),
        *weighted("everyone", lambda step: 0.8),
    ]
    (row,) = run_sql("weights.by_group_in_training", tables([], log)).to_dicts()
    assert (row["study"], row["split"], row["seeds_a"], row["seeds_b"]) == ("s", "age", 2, 1)
    assert (row["w_mean_a"], row["w_mean_b"]) == pytest.approx((0.25, 0.5))
    assert (row["w_min_a"], row["w_min_b"]) == pytest.approx((0.1, 0.25))
    assert (row["clamped_a"], row["clamped_b"]) == pytest.approx((0.1, 0.1))
    assert (row["moved_a"], row["moved_b"]) == pytest.approx((0, 0))


def test_a_study_without_weights_has_no_rows(run_sql):
    given = tables([], UNWEIGHTED)
    assert run_sql("weights.in_training", given).is_empty()
    assert run_sql("weights.by_group_in_training", given).is_empty()
