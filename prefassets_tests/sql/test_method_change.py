"""What a changed method did to the labels, as the 2026-02-27 report says, and the comparison at equal seeds."""

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
    return by(run_sql("verdicts.method_change", judged(studies, variant_of=VARIANT)), "split")


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


def test_at_the_one_common_seed_two_of_the_published_changes_look_different(published):
    # Seed 42 of both: age was on the expected side before, factuality moved away from it (recomputed from the report).
    age, factuality = published["S1_age"], published["S5_factuality"]
    assert (age["common_seeds"], age["before_common_pp"], age["after_common_pp"]) == (1, 1.5625, 3.90625)
    assert (factuality["change"], factuality["mean_change_pp"]) == ("UNCHANGED", 1.5625)  # A < B was expected
    assert age["sd_change_pp"] is None


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
    found = by(run_sql("verdicts.method_change", given), "split")
    for before, after in pairs:
        row = found[f"{before}-{after}"]
        assert row["change"] == TABLE.get(before, {}).get(after, "no direction expected")
        assert (row["common_seeds"], row["mean_change_pp"], row["sd_change_pp"]) == (0, None, None)


def test_the_paired_comparison_uses_the_seeds_that_both_have_and_no_other(run_sql):
    studies = {"dpo": {"age": ("A > B", [1.0, -5.0, 2.0, 40.0])}, "wpo": {"age": ("A > B", [2.0, -1.0, 6.0])}}
    (row,) = run_sql("verdicts.method_change", judged(studies, variant_of=VARIANT)).to_dicts()
    assert row["common_seeds"] == 3
    assert row["mean_change_pp"] == pytest.approx(3.0)  # 1, 4, 4
    assert row["sd_change_pp"] == pytest.approx(2**0.5)
    assert (row["before_common_pp"], row["after_common_pp"]) == (pytest.approx(-2 / 3), pytest.approx(7 / 3))


def test_a_study_that_repeats_no_other_has_no_row(run_sql):
    studies = {"dpo": {"age": ("A > B", [1.0])}, "wpo": {"age": ("A > B", [2.0])}}
    assert run_sql("verdicts.method_change", judged(studies)).is_empty()
