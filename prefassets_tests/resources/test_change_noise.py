"""How many labels noise alone makes better: by the report's own numbers, and where theory knows the answer."""

import math
from dataclasses import replace

import duckdb
import pytest

from prefassets.resources import change_noise as module
from prefassets.resources.change_noise import Repeated, change_noise, read_repeated
from prefassets.resources.sql_tables import all_tables, run_sql
from prefassets.studies import all_studies
from prefassets_tests.sql.reported import by, differences, judged

STUDY = replace(all_studies()["demo"], name="wpo", variant_of="dpo")
TAIL_PAIRS = 128  # behind each group's value on the tail, in the reports


def study_pair(before, after):
    """What the tables hold of `dpo` and of `wpo`, which repeats it, for A - B on the tail per split and seed."""
    given = judged({"dpo": before, "wpo": after}, variant_of={"wpo": "dpo"})
    pairs = {"pairs_a": TAIL_PAIRS, "pairs_b": TAIL_PAIRS}
    return given | {"verdicts.contrast": given["verdicts.contrast"].with_columns(**pairs)}


def repeated(given):
    """What a home with these tables has of `wpo`."""
    given = given | {"verdicts.label_change": run_sql("verdicts.label_change", given)}
    with duckdb.connect() as connection:
        connection.execute("create schema verdicts")
        for table in module.READS:
            rows = given.get(table, all_tables()[table].empty())  # noqa: F841  DuckDB reads the variable by name
            connection.execute(f"create table {table} as from rows")
        return read_repeated(connection, STUDY)


def one_split(before, after, label="MISMATCH", expected="A > B", readout="tail", step_pp=None, users=(), common=0):
    """A study and the one that it repeats, both of one split, with these differences by seed."""
    key = {"split": "age", "readout": readout}
    return Repeated(
        study="wpo",
        labels=[key | {"expected": expected, "before_label": label, "counts": True}],
        differences=[
            key | {"is_after": is_after, "seed": seed, "difference_pp": points, "step_pp": step_pp}
            for is_after, of in ((False, before), (True, after))
            for seed, points in of.items()
        ],
        users=[
            {"split": "age", "quantity": quantity, "is_after": is_after, "user_sd_pp": sd}
            | {"user_by_seed_sd_pp": None, "seeds": 1, "users": 100}
            for quantity, is_after, sd in users
        ],
        common_users=[{"split": "age", "users": common}],
    )


def only(rows):
    (row,) = rows.to_dicts()
    return row


# ---- the report of 2026-02-27


@pytest.fixture(scope="module")
def published():
    return study_pair(differences("002", "v3", "dpo"), differences("002", "v3", "wpo"))


def test_noise_alone_would_have_given_about_as_many_fixed_and_improved_as_the_report_counts(published):
    rows = change_noise(repeated(published))
    count = only(run_sql("verdicts.method_change_count", published | {"verdicts.change_noise": rows}))
    assert (count["splits"], count["not_match_before"], count["fixed"], count["improved"]) == (7, 6, 2, 1)
    assert 2.2 < count["better_by_noise"] < 2.9
    assert 0.4 < count["p_as_many_better"] < 0.6
    assert count["sentence"].startswith(
        "3 of 6 labels that were not MATCH before became better (FIXED or IMPROVED); noise alone would make 2."
    )


def test_each_published_split_has_its_probability_given_its_label_before(published):
    found = by(change_noise(repeated(published)), "split")
    assert len(found) == 7
    for row in found.values():
        assert row["draws"] > 2_500
        assert row["note"] == ""
    assert found["S7_diversity"]["before_label"] == "MATCH"
    assert found["S7_diversity"]["noise_better"] == 0.0
    # After MATCH in 4 of 5 seeds, one more seed, which is one of the five, falls on the other side or within 2 points.
    assert 0.5 < found["S7_diversity"]["noise_worse"] < 0.7
    assert all(0.38 < row["noise_better"] < 0.45 for row in found.values() if row["before_label"] == "MISMATCH")


# ---- where the answer is known


def correlation(own, between):
    return 1 - own**2 / between**2


@pytest.mark.parametrize("expected", ["A > B", "A < B"])
def test_one_seed_of_each_study_is_better_as_often_as_the_arcsine_law_says(expected):
    """Two normals with correlation r have different signs with probability acos(r) / pi (Sheppard 1899).

    The spread comes from a split that is not counted: between seeds from seed 2, a study's own from what seeds changed.
    """
    counted = one_split({1: -1.0}, {1: 1.0}, expected=expected)
    spread = [
        {
            "split": "other",
            "readout": "tail",
            "is_after": is_after,
            "seed": seed,
            "difference_pp": points,
            "step_pp": None,
        }
        for is_after, of in ((False, {1: 0.0, 2: 8.0}), (True, {1: 2.0, 2: 8.0}))
        for seed, points in of.items()
    ]
    other = {"split": "other", "readout": "tail", "expected": "A = B", "before_label": "OK", "counts": False}
    row = only(
        change_noise(replace(counted, labels=[*counted.labels, other], differences=[*counted.differences, *spread]))
    )
    between, own = math.sqrt((32 + 18) / 2), math.sqrt((4 + 4 + 0) / 3 / 2)
    assert row["between_seeds_sd_pp"] == pytest.approx(between)
    assert row["own_seed_sd_pp"] == pytest.approx(own)
    assert row["noise_better"] == pytest.approx(math.acos(correlation(own, between)) / math.pi, abs=0.015)


def test_without_a_common_seed_every_other_label_becomes_better():
    row = only(change_noise(one_split({1: -1.0, 2: -3.0}, {3: 1.0})))
    assert row["noise_better"] == pytest.approx(0.5, abs=0.015)


def test_in_steps_a_difference_of_exactly_nothing_is_no_better():
    """With steps as wide as the spread, P(0) = P(|z| < 1/2) = .383; the other half of what is left is better."""
    row = only(change_noise(one_split({1: 0.0, 2: -2.0}, {3: 1.0}, step_pp=math.sqrt(2))))
    assert row["noise_better"] == pytest.approx((1 - 0.3829) / 2, abs=0.015)


def test_users_whom_both_studies_share_keep_labels_as_they_are():
    def better(change_sd, common=100):
        users = [("contrast", False, 3.0), ("contrast", True, 3.0)]
        users += [] if change_sd is None else [("change", True, change_sd)]
        seeds = {1: -0.1, 2: 0.1}, {3: -0.1, 4: 0.1}
        return only(change_noise(one_split(*seeds, readout="held_out", users=users, common=common)))["noise_better"]

    assert better(0.0) < 0.05  # the users' part is all there is, and the same
    assert better(3.0 * math.sqrt(2)) == pytest.approx(0.5, abs=0.02)  # uncorrelated
    assert better(None) < 0.05
    assert better(None, common=0) == pytest.approx(0.5, abs=0.02)


# ---- what cannot be told


def test_single_seeds_give_no_probability_and_say_why():
    row = only(change_noise(one_split({1: -1.0}, {1: 1.0})))
    assert (row["noise_better"], row["noise_worse"], row["draws"]) == (None, None, 0)
    assert row["note"] == "no split has two seeds in one study, so the spread between seeds is unknown"


def test_without_the_spread_of_users_held_out_labels_have_no_probability():
    row = only(change_noise(one_split({1: -1.0, 2: 1.0}, {1: 1.0}, readout="held_out")))
    assert row["noise_better"] is None
    assert row["note"] == "the spread of the held-out users is unknown in one study, see verdicts.estimate"


def test_a_label_that_noise_never_gives_has_no_probability():
    row = only(change_noise(one_split({1: -1.0, 2: 1.0}, {1: 1.0}, label="WEAK")))  # WEAK is a label of one seed
    assert (row["noise_better"], row["draws"], row["note"]) == (None, 0, "noise never gave WEAK before")


def test_splits_without_an_expected_direction_are_not_simulated():
    given = study_pair({"region": ("A = B", [1.0, -1.0])}, {"region": ("A = B", [2.0])})
    assert change_noise(repeated(given)).is_empty()


def test_while_either_study_has_no_label_there_are_no_rows():
    split = {"age": ("A > B", [1.0, -1.0])}
    assert change_noise(repeated(study_pair({}, split))).is_empty()
    assert change_noise(repeated(study_pair(split, {}))).is_empty()


def test_the_digest_changes_with_a_difference_of_either_study():
    def digest(before, after):
        return repeated(study_pair({"age": ("A > B", before)}, {"age": ("A > B", after)})).digest

    assert digest([-1.0, 2.0], [1.0]) == digest([-1.0, 2.0], [1.0])
    assert len({digest([-1.0, 2.0], [1.0]), digest([-1.0, 2.5], [1.0]), digest([-1.0, 2.0], [1.5])}) == 3
