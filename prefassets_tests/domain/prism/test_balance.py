"""How alike the groups are: numbers from hand, scipy and statsmodels; the mix test by simulation."""

import numpy as np
import polars as pl
import pytest
import scipy.stats
from statsmodels.stats.meta_analysis import effectsize_smd

from prefassets.domain.prism.balance import (
    balance,
    covariate_balance,
    exposure,
    sample_ratio,
    source_mix,
    source_models,
)
from prefassets.domain.prism.splits import SPLITS, assign
from prefassets.resources.tables import TABLES
from prefassets_tests.domain.prism.small_prism import user

AGES = ["18-24 years old", "35-44 years old", "45-54 years old"]


def users_frame(*rows):
    return pl.DataFrame(rows, schema=TABLES["prism.users"].schema)


def assigned(split, groups):
    """A row of splits.assignments per character of `groups`, `-` for neither; users u0, u1, ..."""
    rows = [(split, f"u{number}", None if group == "-" else group, "") for number, group in enumerate(groups)]
    return pl.DataFrame(rows, schema=TABLES["splits.assignments"].schema, orient="row")


def only(rows, **what):
    (row,) = rows.filter(**what).to_dicts()
    return row


# ---- sizes


def test_balance_counts_users_and_pairs_of_each_group():
    users = [user("u0", region="Europe"), user("u1", region="Americas"), user("u2", region="Americas")]
    pairs = pl.DataFrame({"user_id": ["u0", "u0", "u1", "u2"], "score_gap": [1, 4, 10, 30]})
    found = balance(assign(users_frame(*users)), pairs)
    assert found.schema == TABLES["splits.balance"].schema
    assert found.filter(pl.col("split") == "region").rows() == [
        ("region", "A", "lives in Europe", 1, 2, 2.0, 2.5),
        ("region", "B", "lives in the Americas", 2, 2, 1.0, 20.0),
        ("region", "neither", "in neither group", 0, 0, None, None),
    ]
    assert len(found) == 3 * len(SPLITS)


# ---- covariates


def test_a_standardised_difference_is_that_of_its_definition():
    rng = np.random.default_rng(0)
    score, age = rng.normal(60, 12, 40), rng.choice(AGES, 40)
    users = users_frame(*(user(f"u{i}", mean_score=score[i], age=age[i]) for i in range(40)))
    found = covariate_balance(assigned("region", "A" * 15 + "B" * 20 + "-" * 5), users)
    a, b = slice(0, 15), slice(15, 35)  # the last five are in neither group

    row = only(found, covariate="mean_score")
    pooled = np.sqrt((np.var(score[a], ddof=1) + np.var(score[b], ddof=1)) / 2)
    assert row["standardised_difference"] == pytest.approx((score[a].mean() - score[b].mean()) / pooled)
    assert (row["category"], row["users_a"], row["users_b"]) == ("mean", 15, 20)
    assert row["value_a"] == pytest.approx(score[a].mean())

    for category in AGES:
        row = only(found, covariate="age", category=category)
        p, q = np.mean(age[a] == category), np.mean(age[b] == category)
        assert (row["value_a"], row["value_b"]) == pytest.approx((p, q))
        expected = (p - q) / np.sqrt((p * (1 - p) + q * (1 - q)) / 2)
        assert row["standardised_difference"] == pytest.approx(expected)
        assert row["imbalanced"] == (abs(expected) > 0.1)


def test_groups_of_one_size_have_the_cohen_s_d_of_statsmodels():
    score = np.random.default_rng(1).normal(60, 12, 40)
    users = users_frame(*(user(f"u{i}", mean_score=score[i]) for i in range(40)))
    row = only(covariate_balance(assigned("region", "AB" * 20), users), covariate="mean_score")
    a, b = score[::2], score[1::2]
    hedges, _ = effectsize_smd(a.mean(), a.std(ddof=1), 20, b.mean(), b.std(ddof=1), 20)
    small_sample = 1 - 3 / (4 * 40 - 9)  # Hedges' correction, which statsmodels applies
    assert row["standardised_difference"] == pytest.approx(hedges / small_sample)


def test_unanswered_questions_are_left_out_of_their_covariate_only():
    stated = [10, 30, None, 20, 40, None]
    users = users_frame(*(user(f"u{i}", stated_safety=value) for i, value in enumerate(stated)))
    row = only(covariate_balance(assigned("region", "AAABBB"), users), covariate="stated_safety")
    assert (row["users_a"], row["users_b"], row["value_a"], row["value_b"]) == (2, 2, 20.0, 30.0)


@pytest.mark.parametrize(
    ("groups", "ages", "difference", "imbalanced", "reason"),
    [
        ("AABB", [0, 1, 0, 1], 0.0, False, None),
        ("AABB", [0, 0, 0, 0], 0.0, False, None),  # nobody differs at all
        ("AABB", [0, 0, 1, 1], None, True, "no user differs from the rest of its group, and the groups differ"),
        ("AA--", [0, 0, 1, 1], None, None, "nobody in B has an answer"),
        ("--BB", [1, 1, 0, 0], None, None, "nobody in A has an answer"),
    ],
)
def test_what_has_no_standardised_difference_says_why(groups, ages, difference, imbalanced, reason):
    users = users_frame(*(user(f"u{i}", age=AGES[age]) for i, age in enumerate(ages)))
    row = only(covariate_balance(assigned("region", groups), users), covariate="age", category=AGES[0])
    assert (row["standardised_difference"], row["imbalanced"], row["reason"]) == (difference, imbalanced, reason)


def test_a_group_of_one_user_has_no_variance():
    users = users_frame(*(user(f"u{i}", mean_score=value) for i, value in enumerate([10.0, 20.0, 30.0])))
    row = only(covariate_balance(assigned("region", "ABB"), users), covariate="mean_score")
    assert (row["standardised_difference"], row["reason"]) == (None, "a group of one user has no variance")


# ---- source models


def pairs_of(models_by_user):
    rows = [(f"u{number}", model) for number, models in enumerate(models_by_user) for model in models]
    return pl.DataFrame(rows, ["user_id", "model_name"], orient="row")


def test_source_models_are_shares_of_each_group_s_pairs():
    found = source_models(assigned("region", "AAB-"), pairs_of(["xx", "xy", "yz", "w"]))
    assert found.select("model_name", "pairs_a", "pairs_b", "share_a", "share_b", "difference_pp").rows() == [
        ("x", 3, 0, 0.75, 0.0, 75.0),
        ("y", 1, 1, 0.25, 0.5, -25.0),
        ("z", 0, 1, 0.0, 0.5, -50.0),
    ]
    alone = source_models(assigned("region", "AA--"), pairs_of(["x", "y", "z", "w"]))
    assert alone["share_b"].to_list() == [None, None]


def test_with_one_pair_a_user_the_mix_test_is_pearson_s():
    rng = np.random.default_rng(2)
    models = rng.choice(list("vwxyz"), 1_200, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    groups = rng.choice(list("AB"), 1_200)
    (row,) = source_mix(assigned("region", groups), pairs_of(models)).to_dicts()
    table = [[np.sum((models == m) & (groups == g)) for m in "vwxyz"] for g in "AB"]
    pearson = scipy.stats.chi2_contingency(table, correction=False)
    assert row["naive_p"] == pytest.approx(pearson.pvalue)
    assert row["statistic"] == pytest.approx(pearson.statistic, rel=0.02)
    assert row["df"] == pytest.approx(4, rel=0.02)


def test_repeating_every_user_s_pairs_tells_the_mix_test_nothing_new():
    rng = np.random.default_rng(3)
    models, groups = ["".join(rng.choice(list("xyz"), 2)) for _ in range(80)], rng.choice(list("AB"), 80)
    (once,) = source_mix(assigned("region", groups), pairs_of(models)).to_dicts()
    (five_times,) = source_mix(assigned("region", groups), pairs_of([5 * some for some in models])).to_dicts()
    assert five_times["p"] == pytest.approx(once["p"])
    assert five_times["naive_p"] < once["naive_p"]


def test_random_groups_of_users_differ_in_mix_by_chance_one_time_in_twenty():
    """1,000 random halves of 200 users with 1 to 30 pairs of one or two of twelve models: fewer users than a split of
    PRISM has, and more alike in themselves. The band is four standard errors of a rate of .05 over 1,000 draws."""
    rng = np.random.default_rng(4)
    chance = np.arange(12, 0, -1) / 78
    models = [
        rng.choice(rng.choice(12, size=rng.integers(1, 3), p=chance), size=rng.integers(1, 31)) for _ in range(200)
    ]
    pairs = pairs_of(models).with_columns(pl.col("model_name").cast(pl.String))
    halves = pl.concat([assigned(f"draw {draw}", rng.choice(list("AB"), 200)) for draw in range(1_000)])
    found = source_mix(halves, pairs)
    assert found["reason"].is_null().all()
    assert (found["p"] < 0.05).mean() == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 1_000))
    assert (found["naive_p"] < 0.05).mean() > 0.9, "pairs taken for independent: nearly every random half 'differs'"


def test_a_planted_difference_in_mix_is_found():
    rng = np.random.default_rng(5)
    groups = ["A", "B"] * 150
    of_group = {"A": [0.5, 0.3, 0.2], "B": [0.2, 0.3, 0.5]}
    models = [list(rng.choice(list("xyz"), p=of_group[group])) * rng.integers(1, 20) for group in groups]
    (row,) = source_mix(assigned("region", groups), pairs_of(models)).to_dicts()
    assert row["p"] < 0.001


@pytest.mark.parametrize(
    ("groups", "models", "reason"),
    [
        ("AAA-", ["x", "y", "xy", "x"], "a group has fewer than two users with pairs"),
        ("AAAB", ["x", "y", "xy", "x"], "a group has fewer than two users with pairs"),
        ("AABB", ["x", "x", "xx", "x"], "all pairs are of one model"),
        ("AABB", ["x", "xx", "y", "y"], "no user of a group differs from the rest in mix"),
    ],
)
def test_a_mix_that_cannot_be_tested_says_why(groups, models, reason):
    (row,) = source_mix(assigned("region", groups), pairs_of(models)).to_dicts()
    assert (row["statistic"], row["df"], row["p"], row["reason"]) == (None, None, None, reason)


# ---- exposure


def test_exposure_is_steps_times_batch_over_pairs():
    """Familiarity in the 2026-02-24 report: 2,000 steps of 8 pairs over 5,049 and 13,015 pairs, 3.2 epochs and 1.2."""
    training = pl.DataFrame(
        {
            "study": "dpo_w2",
            "split": "familiarity",
            "fold": 0,
            "user_group": ["A", "B"],
            "users": [390, 1_003],
            "pairs": [5_049, 13_015],
            "sources": [[{"model_name": "x", "pairs": 5_049}], [{"model_name": "x", "pairs": 13_015}]],
            "steps": 2_000,
            "batch_size": 8,
        }
    )
    (row,) = exposure(training).to_dicts()
    assert (round(row["epochs_a"], 1), round(row["epochs_b"], 1)) == (3.2, 1.2)
    assert row["exposure_ratio"] == pytest.approx(13_015 / 5_049)
    (swapped,) = exposure(training.with_columns(user_group=pl.Series(["B", "A"]))).to_dicts()
    assert swapped["exposure_ratio"] == row["exposure_ratio"]
    (empty,) = exposure(training.with_columns(pairs=pl.Series([0, 13_015]))).to_dicts()
    assert (empty["epochs_a"], empty["exposure_ratio"], empty["unlike_sources_pp"]) == (None, None, None)


@pytest.mark.parametrize(
    ("a", "b", "unlike"),
    [
        ({"x": 30, "y": 10}, {"x": 60, "y": 20}, 0),
        ({"x": 30, "y": 10}, {"x": 10, "y": 30}, 50),
        ({"x": 10, "y": 10}, {"x": 10, "z": 10}, 50),
        ({"x": 4}, {"y": 40}, 100),
    ],
)
def test_groups_are_as_unlike_in_source_models_as_pairs_would_have_to_change_theirs(a, b, unlike):
    training = pl.DataFrame(
        [
            {
                "study": "s",
                "split": "age",
                "fold": 0,
                "user_group": group,
                "users": 1,
                "steps": 1,
                "batch_size": 1,
                "pairs": sum(mix.values()),
                "sources": [{"model_name": name, "pairs": pairs} for name, pairs in mix.items()],
            }
            for group, mix in (("A", a), ("B", b))
        ]
    )
    assert exposure(training)["unlike_sources_pp"].item() == pytest.approx(unlike)


# ---- sample ratio


def dealt(ages, group_of, fold_of):
    """Users of the given ages, all in Europe, dealt to `placebo_1` and to folds by their number."""
    users = users_frame(*(user(f"u{i}", age=age, region="Europe") for i, age in enumerate(ages)))
    names = [f"u{i}" for i in range(len(ages))]
    folds = pl.DataFrame({"user_id": names, "fold": [fold_of(i) for i in range(len(ages))]})
    return sample_ratio(assigned("placebo_1", [group_of(i) for i in range(len(ages))]), folds, users)


def test_sample_ratios_are_the_chi_squares_of_scipy():
    rng = np.random.default_rng(6)
    age, group, fold = rng.choice(AGES, 300), rng.choice(list("AB"), 300), rng.choice(5, 300)
    found = dealt(list(age), lambda i: group[i], lambda i: int(fold[i]))

    def one(**what):
        return found.filter(**what).select("statistic", "df", "p").unique().row(0)

    whole = scipy.stats.chisquare([np.sum(group == "A"), np.sum(group == "B")])
    assert one(assignment="placebo_1", within="all users") == pytest.approx((whole.statistic, 1, whole.pvalue))
    of_folds = scipy.stats.chisquare(np.bincount(fold))
    assert one(assignment="folds", within="all users") == pytest.approx((of_folds.statistic, 4, of_folds.pvalue))
    by_age = sum(scipy.stats.chisquare([np.sum((age == a) & (group == g)) for g in "AB"]).statistic for a in AGES)
    assert one(assignment="placebo_1", within="age") == pytest.approx((by_age, 3, scipy.stats.chi2.sf(by_age, 3)))
    assert found.filter(assignment="folds", within="fold").is_empty()


def test_a_deal_that_went_wrong_within_strata_alone_is_seen():
    found = dealt([AGES[i % 2] for i in range(200)], lambda i: "AB"[i % 2], lambda i: i // 2 % 5)
    p = dict(found.filter(assignment="placebo_1").select("within", "p").unique().iter_rows())
    assert p["all users"] == 1
    assert p["fold"] == 1
    assert p["age"] < 1e-6, "all the young in A, all the older in B"


def test_a_fold_that_lost_its_users_is_counted_as_empty():
    found = dealt([AGES[0]] * 100, lambda i: "AB"[i % 2], lambda i: i % 4)
    lost = only(found, assignment="folds", within="all users", assigned_to="4")
    assert (lost["users"], lost["expected_users"]) == (0, 20)
    assert lost["p"] < 0.001


def test_small_strata_are_pooled_and_what_is_still_small_is_left_out_with_the_reason():
    ages = [AGES[0]] * 50 + [AGES[1]] * 6 + [AGES[2]] * 6
    found = dealt(ages, lambda i: "AB"[i % 2], lambda i: i % 5)
    of_placebo = found.filter(assignment="placebo_1", within="age")
    assert dict(of_placebo.group_by("stratum").agg(pl.col("users").sum()).iter_rows()) == {AGES[0]: 50, "other": 12}
    assert of_placebo["reason"].is_null().all()
    other = found.filter(assignment="folds", within="age", stratum="other")
    assert other["p"].is_null().all()
    assert other["reason"].unique().to_list() == ["fewer than 5 users expected in each group: not in the test"]
    assert found.filter(assignment="folds", within="age", stratum=AGES[0])["df"].unique().to_list() == [4]
