"""Held-out results by the ordered logit's outcome, and each group's clearest and most ambiguous pair."""

import polars as pl
import pytest

from prefassets_tests.sql.reported import by
from prefassets_tests.sql.small_study import EVERYONE, PAIRS, A, B, frame, margins, tables

GAPS = dict(zip(PAIRS, [6, 7, 14, 15, 29, 30, 99, 1, 50, 50], strict=True))  # both sides of every cut


@pytest.fixture
def given():
    both_seeds = A + margins("age.A", 123, [-1, 1, 1, -1, *[None] * 6])
    found = tables(both_seeds + B + EVERYONE)
    answers = {"prompt": [{"role": "user", "content": "first"}, {"role": "user", "content": "which?"}]}
    found["prism.pairs"] = frame(
        "prism.pairs",
        [
            answers | {"pair_id": pair, "user_id": pair[:-2], "score_gap": gap, "chosen": f"good {pair}"}
            for pair, gap in GAPS.items()
        ],
    )
    return found


def test_bins_are_the_ordered_logits_and_pairs_are_the_adapters_own_group(run_sql, given):
    found = by(run_sql("verdicts.score_gap", given), "cohort", "outcome")
    # A's own pairs have gaps 6, 7, 14, 15; margins 1, 1, 1, -1 with seed 42 and -1, 1, 1, -1 with seed 123.
    a = {outcome: row for (cohort, outcome), row in found.items() if cohort == "age.A"}
    assert {outcome: (row["score_gap"], row["held_out_pairs"], row["seeds_run"]) for outcome, row in a.items()} == {
        1: ("1-6", 1, 2),
        2: ("7-14", 2, 2),
        3: ("15-29", 1, 2),
    }
    assert [a[outcome]["pref_acc"] for outcome in (1, 2, 3)] == [0.5, 1.0, 0.0]
    assert [a[outcome]["mean_margin"] for outcome in (1, 2, 3)] == [0.0, 1.0, -1.0]
    everyone = {outcome: row["held_out_pairs"] for (cohort, outcome), row in found.items() if cohort == "everyone"}
    assert everyone == {1: 2, 2: 2, 3: 2, 4: 4}
    assert found["everyone", 4]["split"] is None


def test_notable_pairs_are_each_groups_own_extremes_with_their_texts(run_sql, given):
    found = by(run_sql("verdicts.notable_pairs", given), "user_group", "extreme")
    assert {key: (row["pair_id"], row["score_gap"]) for key, row in found.items()} == {
        ("A", "largest gap"): ("a2.2", 15),
        ("A", "smallest gap"): ("a1.1", 6),
        ("B", "largest gap"): ("b2.1", 99),
        ("B", "smallest gap"): ("b2.2", 1),
    }
    assert found["B", "largest gap"]["question"] == "which?"
    assert found["B", "largest gap"]["chosen"] == "good b2.1"


def test_of_equal_gaps_the_first_pair_id_is_notable_and_it_says_how_many_there_are(run_sql, given):
    given["prism.pairs"] = given["prism.pairs"].with_columns(score_gap=pl.lit(5, pl.Int64)).reverse()
    found = by(run_sql("verdicts.notable_pairs", given), "user_group", "extreme")
    assert {(row["pair_id"], row["equal_gaps"]) for key, row in found.items() if key[0] == "A"} == {("a1.1", 4)}
