"""One adapter on one unseen user: who is scored, by whom, and what the estimates of a study are made of."""

import polars as pl
import pytest

from prefassets.domain.prism.cohorts import Matching
from prefassets_tests.sql.small_study import frame, margins, tables

A = margins("age.A", 42, [1, 2, 3, -4, 1, -1, -1, -1, None, None])
B = margins("age.B", 42, [1, 1, -1, -1, 1, 0, -1, -1, None, None])
EVERYONE = margins("everyone", 42, [1, 1, 1, 1, -1, -1, -1, 1, 1, 1])


def scored(run_sql, *arguments, **options):
    rows = run_sql("verdicts.scored_users", tables(*arguments, **options)).to_dicts()
    return {
        (row["adapter"], row["seed"], row["user_id"]): (row["user_group"], row["pairs"], row["correct"], row["margin"])
        for row in rows
    }


def test_every_adapter_has_a_row_per_user_of_either_group(run_sql):
    rows = scored(run_sql, A + B + EVERYONE)
    assert set(rows) == {(adapter, 42, user) for adapter in ("A", "B", "everyone") for user in ("a1", "a2", "b1", "b2")}
    assert rows["A", 42, "a2"] == ("A", 2, 1, pytest.approx(-1.0))
    assert rows["A", 42, "b1"] == ("B", 2, 1, pytest.approx(0.0))
    assert rows["everyone", 42, "b2"] == ("B", 2, 1, pytest.approx(0.0))


def test_a_margin_of_zero_is_not_correct(run_sql):
    assert scored(run_sql, A + B)["B", 42, "b1"] == ("B", 2, 1, pytest.approx(1.0))


def test_beside_groups_of_equal_sources_the_baseline_is_judged_on_their_pairs_alone(run_sql):
    some = {"a1.1", "a2.2", "b1.1", "b2.1"}
    groups = [row for row in A + B if row["pair_id"] in some]
    rows = scored(run_sql, groups + EVERYONE, matching=Matching.SOURCES.value)
    assert {user: rows["everyone", 42, user][1:] for user in ("a1", "a2", "b1", "b2")} == {
        "a1": (1, 1, pytest.approx(1.0)),
        "a2": (1, 1, pytest.approx(1.0)),
        "b1": (1, 0, pytest.approx(-1.0)),
        "b2": (1, 0, pytest.approx(-1.0)),
    }
    assert {key: value for key, value in rows.items() if key[0] != "everyone"} == scored(run_sql, groups)
    for matching in (Matching.NONE, Matching.PAIRS):
        free = scored(run_sql, groups + EVERYONE, matching=matching.value)
        assert free["everyone", 42, "a1"] == ("A", 2, 2, pytest.approx(2.0))


def test_the_baseline_of_a_seed_is_not_judged_on_what_another_seed_s_adapters_were(run_sql):
    later = [row | {"seed": 123} for row in EVERYONE]
    rows = scored(run_sql, A + B + EVERYONE + later, matching=Matching.SOURCES.value)
    assert {seed for adapter, seed, _ in rows if adapter == "everyone"} == {42}


def test_cells_that_do_not_count_score_nobody(run_sql):
    assert not scored(run_sql, [row | {"seed": 7} for row in A + B])  # not planned
    assert not scored(run_sql, A + B, folds=(0, 1))  # half of a cross-fit
    replaced = [row | {"fingerprint": "new"} for row in A]
    assert {adapter for adapter, _, _ in scored(run_sql, A + B, cells=replaced + B)} == {"B"}


# ---- verdicts.basis


def digest(run_sql, given):
    return set(run_sql("verdicts.basis", given)["digest"])


def test_the_digest_changes_with_every_result_that_counts_and_with_the_plan(run_sql):
    whole = digest(run_sql, tables(A + B))
    assert len(whole) == 1
    assert digest(run_sql, tables(B + A)) == whole
    other_sign = [*A[:-1], A[-1] | {"margin": 1.0}]
    unscored = A[:-1]
    for changed in (A, A + B + EVERYONE, other_sign + B, unscored + B):
        assert digest(run_sql, tables(changed)).isdisjoint(whole)
    for column, value in (("role", "exploratory"), ("null_tolerance_pp", 3.0)):
        given = tables(A + B)
        given["studies.split"] = given["studies.split"].with_columns(pl.lit(value).alias(column))
        assert digest(run_sql, given).isdisjoint(whole)


def test_a_study_without_results_has_no_digest(run_sql):
    assert not digest(run_sql, tables([]))


def test_a_result_in_one_split_makes_the_others_of_the_study_outdated(run_sql):
    given = tables(A + B)
    safety = [row | {"cohort": "safety.A", "split": "safety"} for row in A]
    both = tables(A + B + safety)
    both["studies.cell"] = (
        both["studies.cell"]
        .extend(given["studies.cell"].with_columns(cohort=given["studies.cell"]["cohort"].str.replace("age", "safety")))
        .unique()
    )
    for name in ("studies.split", "splits.assignments"):
        both[name] = both[name].extend(both[name].with_columns(split=both[name]["split"].str.replace("age", "safety")))
    rows = dict(run_sql("verdicts.basis", both).select("split", "digest").rows())
    assert set(rows) == {"age", "safety"}
    assert digest(run_sql, given).isdisjoint(rows.values())


def test_the_digest_of_a_study_that_repeats_another_changes_with_that_ones_own_group_adapters(run_sql):
    def of(*rows, variant_of="before"):
        key = {"recipe": "r", "fold": 0, "fingerprint": "f", "user_group": "A", "pairs": 4, "correct": 2}
        study = [{"study": "after", "variant_of": variant_of}, {"study": "before"}, {"study": "other"}]
        split = [{"study": "after", "split": "age"}, {"study": "before", "split": "age"}]
        split += [{"study": "before", "split": "region"}]
        given = {
            "verdicts.scored_users": frame("verdicts.scored_users", [key | dict(row) for row in (own, *rows)]),
            "studies.study": frame("studies.study", study),
            "studies.split": frame("studies.split", split),
        }
        return dict(run_sql("verdicts.basis", given).select("study", "digest").rows()).get("after")

    own = {"study": "after", "split": "age", "seed": 1, "adapter": "A", "user_id": "u"}
    before = own | {"study": "before"}
    alone = of()
    assert alone is not None
    assert of(before) not in (None, alone)
    assert of(before | {"correct": 3}) != of(before)
    assert of(before | {"fingerprint": "trained again"}) != of(before)
    assert of(before, variant_of=None) == of(variant_of=None) == alone
    for not_compared in ({"adapter": "B"}, {"adapter": "everyone"}, {"split": "region"}, {"study": "other"}):
        assert of(before, before | {"user_id": "v"} | not_compared) == of(before)
