"""Whether two studies agree, by both of the reports' definitions, and how many of their cells are one and the same."""

import polars as pl
import pytest

from prefassets.resources.tables import TABLES
from prefassets_tests.sql.reported import SEEDS, by, differences, judged

BY_DIRECTION = {  # lines 133-136 of the 2026-02-24 report: v2 mean, v3 mean, Agree?
    "age": (1.25, 0.47, True),
    "personalisation": (-0.94, -1.72, True),
    "safety": (2.19, 2.50, True),
    "region": (-1.72, -0.78, True),
}
BY_LABEL = {  # lines 126-128 of the 2026-02-27 report: v2 WPO mean and verdict, v3 WPO mean and verdict, Agree?
    "personalisation": (2.34, "MATCH", 2.34, "MATCH", True),
    "safety": (-2.34, "MATCH", 0.00, "MISMATCH", False),
    "age": (3.39, "LEAN", 3.91, "MATCH", False),
}


def by_variable(splits):
    return {split.partition("_")[2]: found for split, found in splits.items()}


def cells(fingerprints):
    """`training.cells` and `studies.cell` of fold 0 for study -> {(cohort, seed): fingerprint}."""
    rows = [
        {"study": study, "cohort": cohort, "split": cohort[:-2], "seed": seed, "fold": 0, "fingerprint": found}
        for study, cells in fingerprints.items()
        for (cohort, seed), found in cells.items()
    ]
    blank = dict.fromkeys(TABLES["training.cells"].columns)
    return {
        "training.cells": pl.DataFrame(
            [blank | row | {"recipe": "r", "steps": 10} for row in rows], TABLES["training.cells"].schema
        ),
        "studies.cell": pl.DataFrame([{k: v for k, v in row.items() if k != "fingerprint"} for row in rows]),
    }


def adapters(prefix, seeds=SEEDS):
    return {(f"age.{group}", seed): f"{prefix}{group}{seed}" for group in "AB" for seed in seeds}


AGE = {"a": {"age": ("A > B", [1, 2, 3, 4, 5])}, "b": {"age": ("A > B", [2, 2, 4, 4, 6])}}


def test_directions_agree_where_the_report_says_so(run_sql):
    v2, v3 = (by_variable(differences("001", version, "dpo")) for version in ("v2", "v3"))
    found = by(run_sql("verdicts.cross_study", judged({"v2": v2, "v3": v3})), "split")
    assert set(found) == set(BY_DIRECTION)
    for split, (mean, other_mean, agree) in BY_DIRECTION.items():
        row = found[split]
        assert row["mean_difference_pp"] == pytest.approx(mean, abs=0.005)
        assert row["other_mean_difference_pp"] == pytest.approx(other_mean, abs=0.005)
        assert row["directions_agree"] is agree
    # With the later report's values for v3, age is -0.31: three of four.
    v3 = by_variable(differences("002", "v3", "dpo"))
    found = by(run_sql("verdicts.cross_study", judged({"v2": v2, "v3": v3})), "split")
    assert (found["age"]["directions_agree"], found["safety"]["directions_agree"]) == (False, True)


def test_labels_agree_where_the_report_says_so(run_sql):
    def direction(points):
        return "A > B" if points > 0 else "A < B" if points < 0 else "A = B"

    rule = pl.DataFrame(
        [
            (study, split, "tail", mean, direction(mean), label)
            for split, (mean, label, other_mean, other_label, _) in BY_LABEL.items()
            for study, mean, label in (("wpo_v2", mean, label), ("wpo_v3", other_mean, other_label))
        ],
        ["study", "split", "readout", "mean_difference_pp", "direction", "reported_rule"],
        orient="row",
    )
    found = by(run_sql("verdicts.cross_study", {"verdicts.reported_rule": rule}), "split")
    assert {split: row["labels_agree"] for split, row in found.items()} == {
        split: row[-1] for split, row in BY_LABEL.items()
    }
    assert found["age"]["directions_agree"] is True  # the two definitions differ: see age and safety
    assert found["safety"]["directions_agree"] is False


def test_correlation_is_pearsons_over_the_common_seeds(run_sql):
    (row,) = run_sql("verdicts.cross_study", judged(AGE)).to_dicts()
    assert (row["study"], row["other_study"], row["common_seeds"]) == ("a", "b", 5)
    # numpy.corrcoef([1, 2, 3, 4, 5], [2, 2, 4, 4, 6]) = 10 / sqrt(10 * 11.2)
    assert row["correlation"] == pytest.approx(10 / (10 * 11.2) ** 0.5)


@pytest.mark.parametrize(
    ("points", "common"), [([1, 2, None, None, None], 2), ([2, 2, 2, 2, 2], 5), ([None, None, None, None, None, 1], 0)]
)
def test_no_correlation_is_made_up_of_two_seeds_or_of_no_spread(run_sql, points, common):
    seeds = (*SEEDS, 7)
    (row,) = run_sql("verdicts.cross_study", judged(AGE | {"b": {"age": ("A > B", points)}}, seeds)).to_dicts()
    assert (row["correlation"], row["common_seeds"]) == (None, common)


@pytest.mark.parametrize(
    ("other", "shared", "evidence"),
    [
        (adapters("x"), 10, "a re-run: the same adapters in both"),
        (adapters("x", SEEDS[:3]), 6, "a re-run"),  # all that the smaller study has
        (adapters("y", SEEDS[:2]) | adapters("x", SEEDS[2:]), 6, "partly a re-run: 6 cells are the same"),
        (adapters("y"), 0, "no shared cells"),
    ],
)
def test_shared_cells_are_counted_and_are_not_evidence(run_sql, other, shared, evidence):
    given = judged(AGE) | cells({"a": adapters("x"), "b": other})
    (row,) = run_sql("verdicts.cross_study", given).to_dicts()
    assert (row["shared_cells"], row["cells"], row["other_cells"]) == (shared, 10, len(other))
    assert row["evidence"].startswith(evidence)
