"""On the seed differences that the reports print, the SQL must say what the reports said."""

import csv
from pathlib import Path

import polars as pl
import pytest

with (Path(__file__).parent / "golden_verdicts.csv").open() as text:
    GOLDEN = list(csv.DictReader(line for line in text if not line.startswith("#")))

ROLE = {
    "A > B": ("directional", 1),
    "A < B": ("directional", -1),
    "A = B": ("null control", 0),
    "exploratory": ("exploratory", None),
}


def judged(run_sql, expected, differences, seeds_planned=5, role=None):
    usual_role, sign = ROLE[expected]
    contrast = pl.DataFrame(
        [("study", "split", seed, "tail", "pref_acc", points) for seed, points in enumerate(differences)],
        ["study", "split", "seed", "readout", "metric", "difference_pp"],
        orient="row",
    )
    split = pl.DataFrame(
        [("study", "split", role or usual_role, expected, sign, 5.0, seeds_planned)],
        {
            "study": pl.String,
            "split": pl.String,
            "role": pl.String,
            "expected": pl.String,
            "expected_sign": pl.Int64,
            "null_tolerance_pp": pl.Float64,
            "seeds_planned": pl.Int64,
        },
        orient="row",
    )
    (row,) = run_sql("verdicts.reported_rule", {"verdicts.contrast": contrast, "studies.split": split}).to_dicts()
    return row


@pytest.mark.parametrize(
    "golden", GOLDEN, ids=lambda row: f"{row['report']}-{row['version']}-{row['method']}-{row['split']}"
)
def test_rule_says_what_the_report_said(run_sql, golden):
    differences = [float(points) for points in golden["differences_pp"].split(";")]
    row = judged(run_sql, golden["expected"], differences)
    assert row["reported_rule"] == golden["published"]
    assert row["mean_difference_pp"] == pytest.approx(float(golden["mean_pp"]), abs=1e-4)
    assert row["seeds_in_direction"] == int(golden["seeds_in_direction"])
    if golden["sd_pp"]:
        assert row["sd_difference_pp"] == pytest.approx(float(golden["sd_pp"]), abs=1e-4)


def test_all_thirty_four_published_verdicts_are_here():
    assert len(GOLDEN) == 34


@pytest.mark.parametrize(
    ("expected", "differences", "rule"),
    [
        ("A > B", [1.0, 1.0, 1.0, 1.0, -9.0], "MISMATCH"),  # four of five agree, but the mean points the other way
        ("A > B", [5.0, 5.0, 5.0, 5.0, -5.0], "MATCH"),  # exactly 4/5
        ("A > B", [5.0, 5.0, 5.0, 0.0, 0.0], "LEAN"),  # a tie is on neither side
        ("A > B", [9.0, 1.0, -1.0, -1.0], "MISMATCH"),  # half is not a majority
        ("A > B", [1.9], "WEAK"),
        ("A > B", [2.0], "MATCH"),
        ("A < B", [0.0, 0.0], "MISMATCH"),
        ("A = B", [5.0, 5.0], "OK"),  # "within 5" includes 5
        ("A = B", [5.1, 5.0], "UNEXPECTED"),
        ("A = B", [100 * (0.7 - 0.6), 100 * (0.575 - 0.6), 100 * (0.45 - 0.675)], "OK"),  # 10 - 2.5 - 22.5: exactly -5
        ("A > B", [100 * (0.8 - 0.7), 100 * (0.6 - 0.65), 100 * (0.6 - 0.65)], "MISMATCH"),  # 10 - 5 - 5: exactly 0
        ("A > B", [100 * (0.6 - 0.7), 100 * (0.65 - 0.6), 100 * (0.65 - 0.6)], "MISMATCH"),
    ],
)
def test_the_edges_of_the_rule(run_sql, expected, differences, rule):
    assert judged(run_sql, expected, differences)["reported_rule"] == rule


@pytest.mark.parametrize("differences", [[5.0, 5.0], [5.1, 5.0]])
def test_a_placebo_is_judged_like_a_null_control(run_sql, differences):
    as_null = judged(run_sql, "A = B", differences)
    as_placebo = judged(run_sql, "A = B", differences, role="placebo")
    assert as_placebo == as_null | {"role": "placebo"}


def test_a_verdict_says_how_many_of_the_planned_seeds_it_stands_on(run_sql):
    row = judged(run_sql, "A > B", [1.0, 2.0, 3.0], seeds_planned=5)
    assert (row["seeds_run"], row["seeds_planned"]) == (3, 5)
