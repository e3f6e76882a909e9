"""Contrasts and transfer, on margins small enough to count by hand."""

import polars as pl
import pytest

from prefassets.resources.tables import TABLES
from prefassets_tests.sql.small_study import EVERYONE, A, B, margins, tables


def test_held_out_contrast_is_each_adapter_on_its_own_group(run_sql):
    rows = run_sql("verdicts.contrast", tables(A + B + EVERYONE)).to_dicts()
    by_metric = {row["metric"]: row for row in rows}
    assert by_metric["pref_acc"]["value_a"] == 0.75
    assert by_metric["pref_acc"]["value_b"] == 0.5
    assert by_metric["pref_acc"]["difference_pp"] == 25.0
    assert by_metric["margin"]["difference"] == pytest.approx(0.5 - 0.0)
    assert by_metric["margin"]["difference_pp"] is None
    assert {row["readout"] for row in rows} == {"held_out"}
    assert {row["pairs_a"] for row in rows} == {4}


def test_transfer_scores_every_adapter_on_both_groups_and_its_interaction_cancels_difficulty(run_sql):
    (row,) = run_sql("verdicts.transfer", tables(A + B + EVERYONE)).filter(pl.col("metric") == "pref_acc").to_dicts()
    assert [row[name] for name in ("a_on_a", "a_on_b", "b_on_a", "b_on_b")] == [0.75, 0.25, 0.5, 0.5]
    assert [row["everyone_on_a"], row["everyone_on_b"]] == [1.0, 0.25]
    assert row["interaction_pp"] == pytest.approx(100 * ((0.75 - 0.25) - (0.5 - 0.5)))


def test_a_seed_without_both_groups_gives_no_contrast(run_sql):
    assert run_sql("verdicts.contrast", tables(A)).is_empty()


def test_folds_of_one_seed_are_pooled_pair_by_pair(run_sql):
    first = margins("age.A", 42, [1, 1, *[None] * 8], fold=0) + margins(
        "age.B", 42, [*[None] * 4, 1, -1, *[None] * 4], fold=0
    )
    second = margins("age.A", 42, [None, None, 1, -1, *[None] * 6], fold=1) + margins(
        "age.B", 42, [*[None] * 6, -1, -1, None, None], fold=1
    )
    (row,) = (
        run_sql("verdicts.contrast", tables(first + second, folds=(0, 1)))
        .filter(pl.col("metric") == "pref_acc")
        .to_dicts()
    )
    assert (row["value_a"], row["value_b"], row["pairs_a"]) == (0.75, 0.25, 4)


def test_a_seed_counts_only_when_every_planned_fold_is_in(run_sql):
    half = tables(A + B, folds=(0, 1))
    assert run_sql("verdicts.contrast", half).is_empty()
    assert run_sql("verdicts.transfer", half).is_empty()


def test_a_seed_that_the_study_no_longer_plans_does_not_count(run_sql):
    unplanned = [row | {"seed": 7} for row in A + B + EVERYONE]
    assert run_sql("verdicts.contrast", tables(unplanned)).is_empty()
    assert run_sql("verdicts.transfer", tables(unplanned)).is_empty()


def test_groups_that_were_trained_by_two_recipes_are_not_compared(run_sql):
    other = [row | {"recipe": "another"} for row in B]
    assert run_sql("verdicts.contrast", tables(A + B, cells=A + other)).is_empty()


def test_margins_of_an_adapter_that_was_since_replaced_do_not_count(run_sql):
    retrained = [row | {"fingerprint": "new"} for row in A]
    assert run_sql("verdicts.contrast", tables(A + B, cells=retrained + B)).is_empty()


def test_tail_is_the_last_fifth_of_the_logged_batches(run_sql):
    def log(cohort, accuracy_by_step):
        cell = margins(cohort, 42, [0] * 10)[0]
        cell = {name: cell[name] for name in list(TABLES["training.cells"].columns)[:7]}
        return [
            cell | {"step": step, "pref_acc": accuracy, "margin": 0.0} for step, accuracy in accuracy_by_step.items()
        ]

    # 100 steps, logged every 10: the tail is steps 90 and 100. Step 95 is stored but was not logged.
    rows = log("age.A", {80: 0.0, 90: 0.75, 95: 0.0, 100: 0.5}) + log("age.B", {80: 1.0, 90: 0.5, 95: 1.0, 100: 0.5})
    (row,) = run_sql("verdicts.contrast", tables([], rows)).filter(pl.col("metric") == "pref_acc").to_dicts()
    assert (row["readout"], row["value_a"], row["value_b"], row["difference_pp"]) == ("tail", 0.625, 0.5, 12.5)
    assert row["pairs_a"] == 16
