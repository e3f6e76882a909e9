"""What a study expects is held against both tests, by the errors that know of users and by those that do not."""

import polars as pl
import pytest

from prefassets.resources.tables import TABLES

ROLE = {"A > B": "directional", "A < B": "directional", "A = B": "null control", "exploratory": "exploratory"}
CLEAR, UNCLEAR = 0.001, 0.7


def frame(table, rows):
    blank = dict.fromkeys(TABLES[table].columns)
    return pl.DataFrame([blank | row for row in rows], schema=TABLES[table].schema)


def evidence(test, predicted, naive_p, clustered_p):
    threshold = {"W2": 0.10, "OL": 0.05}[test]
    return {
        "test": test,
        "covariate": "age",
        "split": "age",
        "threshold": threshold,
        "predicted": predicted,
        "selected_naive": naive_p < threshold,
        "selected_clustered": clustered_p < threshold,
        "direction_naive_p": naive_p,
        "direction_clustered_p": clustered_p,
        "state": "ok",
    }


def judged(run_sql, expected, *found):
    split = {"study": "s", "split": "age", "role": ROLE[expected], "expected": expected}
    tables = {
        "studies.split": frame("studies.split", [split]),
        "evidence.selection": frame("evidence.selection", found),
    }
    (row,) = run_sql("verdicts.expectation", tables).to_dicts()
    return row


@pytest.mark.parametrize(
    ("expected", "w2", "ol", "naive", "clustered"),
    [
        ("A > B", ("A > B", CLEAR, CLEAR), ("A > B", CLEAR, CLEAR), "supported", "supported"),
        ("A > B", ("A > B", CLEAR, UNCLEAR), ("A > B", CLEAR, UNCLEAR), "supported", "not supported"),
        ("A > B", ("A < B", CLEAR, CLEAR), ("A < B", CLEAR, UNCLEAR), "contradicted", "contradicted"),
        ("A < B", ("A > B", CLEAR, CLEAR), ("A < B", CLEAR, CLEAR), "mixed", "mixed"),
        ("A < B", ("A < B", 0.07, 0.07), ("A < B", 0.07, 0.07), "supported", "supported"),  # W2 asks for p < .10
        ("A < B", ("A < B", 0.20, 0.20), ("A < B", 0.07, 0.07), "not supported", "not supported"),
        ("A = B", ("A > B", CLEAR, UNCLEAR), ("A > B", CLEAR, UNCLEAR), "contradicted", "not contradicted"),
        ("A = B", ("A > B", CLEAR, CLEAR), ("A > B", UNCLEAR, UNCLEAR), "contradicted", "contradicted"),
        ("exploratory", ("A > B", CLEAR, CLEAR), ("A > B", CLEAR, CLEAR), None, None),
    ],
)
def test_support_takes_direction_and_p(run_sql, expected, w2, ol, naive, clustered):
    row = judged(run_sql, expected, evidence("W2", *w2), evidence("OL", *ol))
    assert (row["naive_evidence"], row["clustered_evidence"]) == (naive, clustered)
    assert (row["w2_predicts"], row["ol_predicts"]) == (w2[0], ol[0])
    assert row["ol_selected_clustered"] == (ol[2] < 0.05)


@pytest.mark.parametrize("expected", ["A > B", "A = B"])
def test_a_split_without_evidence_is_not_tested(run_sql, expected):
    excluded = {"test": "W2", "split": "age", "threshold": 0.1, "state": "excluded, circular"}
    for found in ([], [excluded]):
        row = judged(run_sql, expected, *found)
        assert row["clustered_evidence"] == row["naive_evidence"] == "not tested"
        assert row["w2_predicts"] is None


def test_a_covariate_that_passes_through_levels_that_do_not_set_a_apart_from_b_supports_nothing(run_sql):
    passes = {"selected_naive": True, "selected_clustered": True}
    found = [evidence(test, "A > B", UNCLEAR, UNCLEAR) | passes for test in ("W2", "OL")]
    row = judged(run_sql, "A > B", *found)
    assert row["ol_selected_clustered"]
    assert row["clustered_evidence"] == row["naive_evidence"] == "not supported"
