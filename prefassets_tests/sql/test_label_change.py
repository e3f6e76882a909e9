"""What became of a label: the 2026-02-27 report's words, completed."""

from itertools import product

import polars as pl
import pytest

from prefassets_tests.sql.reported import by, differences, golden, judged

GOLDEN = golden("change")
VARIANT = {"wpo": "dpo"}


@pytest.fixture(scope="module")
def published():
    from prefassets.resources.sql_tables import run_sql

    studies = {"dpo": differences("002", "v3", "dpo"), "wpo": differences("002", "v3", "wpo")}
    return by(run_sql("verdicts.label_change", judged(studies, variant_of=VARIANT)), "split")


def test_all_seven_published_changes_are_here(published):
    assert len(GOLDEN) == len(published) == 7


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: row["split"])
def test_change_is_what_the_report_says(published, row):
    found = published[row["split"]]
    assert (found["study"], found["variant_of"]) == ("wpo", "dpo")
    assert (found["before_label"], found["after_label"]) == (row["dpo_label"], row["wpo_label"])
    assert (found["before_seeds"], found["after_seeds"]) == (int(row["dpo_seeds"]), int(row["wpo_seeds"]))
    assert found["before_pp"] == pytest.approx(float(row["dpo_mean_pp"]), abs=0.0051)
    assert found["after_pp"] == pytest.approx(float(row["wpo_mean_pp"]), abs=0.0051)
    assert found["change"] == row["published"]


TABLE = {  # before -> after
    "MATCH": {"MATCH": "STABLE", "LEAN": "WORSE", "WEAK": "WORSE", "MISMATCH": "WORSE"},
    "LEAN": {"MATCH": "IMPROVED", "LEAN": "UNCHANGED", "WEAK": "UNCHANGED", "MISMATCH": "WORSE"},
    "WEAK": {"MATCH": "IMPROVED", "LEAN": "UNCHANGED", "WEAK": "UNCHANGED", "MISMATCH": "WORSE"},
    "MISMATCH": {"MATCH": "FIXED", "LEAN": "IMPROVED", "WEAK": "IMPROVED", "MISMATCH": "UNCHANGED"},
}


def test_every_pair_of_labels_has_its_change(run_sql):
    labels = [*TABLE, "OK", "UNEXPECTED", "exploratory"]
    pairs = list(product(labels, labels))
    rule = pl.DataFrame(
        [
            (study, f"{before}-{after}", "tail", label)
            for before, after in pairs
            for study, label in (("dpo", before), ("wpo", after))
        ],
        ["study", "split", "readout", "reported_rule"],
        orient="row",
    )
    given = judged({"dpo": {}, "wpo": {}}, variant_of=VARIANT) | {"verdicts.reported_rule": rule}
    found = by(run_sql("verdicts.label_change", given), "split")
    for before, after in pairs:
        assert found[f"{before}-{after}"]["change"] == TABLE.get(before, {}).get(after, "no direction expected")


def test_labels_under_opposite_expectations_are_not_compared(run_sql):
    studies = {"dpo": {"age": ("A > B", [-3.0])}, "wpo": {"age": ("A < B", [-3.0])}}
    (row,) = run_sql("verdicts.label_change", judged(studies, variant_of=VARIANT)).to_dicts()
    assert (row["before_label"], row["after_label"]) == ("MISMATCH", "MATCH")  # the same numbers
    assert row["change"] == "no direction expected"


def test_a_study_that_repeats_no_other_has_no_row(run_sql):
    studies = {"dpo": {"age": ("A > B", [1.0])}, "wpo": {"age": ("A > B", [2.0])}}
    assert run_sql("verdicts.label_change", judged(studies)).is_empty()


def test_in_a_chain_each_study_is_compared_with_the_one_that_it_repeats(run_sql):
    studies = {name: {"age": ("A > B", [points])} for name, points in (("a", -3.0), ("b", 1.0), ("c", 3.0))}
    found = by(run_sql("verdicts.label_change", judged(studies, variant_of={"b": "a", "c": "b"})), "study")
    assert {study: (row["variant_of"], row["change"]) for study, row in found.items()} == {
        "b": ("a", "IMPROVED"),
        "c": ("b", "IMPROVED"),
    }
