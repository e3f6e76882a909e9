"""WPO weights by the definition; means, errors and correlations as statsmodels and scipy have them."""

import numpy as np
import polars as pl
import pytest
import scipy.stats
import statsmodels.api as sm

from prefassets_tests.sql.reported import by
from prefassets_tests.sql.small_study import frame

PASS = {"reference": "tiny@96:float32", "base_model": "tiny", "revision": "r"}
USERS, PAIRS = 40, 600


@pytest.fixture(scope="module")
def drawn():
    """Pairs whose weights are alike within users and go with the score gap, under one base model."""
    rng = np.random.default_rng(0)
    user = rng.integers(USERS, size=PAIRS)
    gap = rng.integers(1, 100, size=PAIRS)
    alignment = -0.6 + 0.3 * rng.normal(size=USERS)[user] + 0.002 * gap + 0.2 * rng.normal(size=PAIRS)
    pairs = pl.DataFrame(
        {
            "pair_id": [f"c{pair}.1" for pair in range(PAIRS)],
            "user_id": [f"u{of}" for of in user],
            "model_name": [f"model {of}" for of in rng.integers(3, size=PAIRS)],
            "score_gap": gap,
            "weight": np.minimum(1, np.exp(2 * alignment)),
        }
    )
    tokens = rng.integers(5, 80, size=PAIRS)
    responses = [
        PASS | {"pair_id": pair_id, "response": response, "tokens": int(of), "alignment_sum": float(of * mean)}
        for pair_id, of, mean in zip(pairs["pair_id"], tokens, alignment, strict=True)
        for response in ("chosen", "rejected")
    ]
    groups = [{"split": "age", "user_id": f"u{of}", "user_group": "ABA"[of % 3] if of else None} for of in range(USERS)]
    tables = {
        "prism.pairs": frame("prism.pairs", pairs.drop("weight").to_dicts()),
        "model.reference": frame("model.reference", responses),
        "splits.assignments": frame("splits.assignments", groups),
    }
    return pairs.with_columns(tokens=tokens), tables


def clustered(weight, user):
    """Mean, standard error and interval of statsmodels' least squares on a constant, clustered by user."""
    groups = np.unique(user, return_inverse=True)[1]
    fit = sm.OLS(weight, np.ones(len(weight))).fit(cov_type="cluster", cov_kwds={"groups": groups})
    return fit.params[0], fit.bse[0], *fit.conf_int()[0]


def test_a_weight_is_the_exponential_of_both_mean_alignments_and_at_most_1(run_sql):
    log2 = np.log(2)
    responses = [
        ("low", "chosen", 4, -4 * log2),
        ("low", "rejected", 2, -4 * log2),
        ("high", "chosen", 3, 9 * log2),
        ("high", "rejected", 1, -log2),
        ("empty", "chosen", 0, 0.0),
        ("empty", "rejected", 1, -log2),
    ]
    rows = [PASS | dict(zip(("pair_id", "response", "tokens", "alignment_sum"), row, strict=True)) for row in responses]
    found = by(run_sql("model.wpo_weights", {"model.reference": frame("model.reference", rows)}), "pair_id")
    expected = {  # weights of chosen and rejected, of the pair, and log2 of their product
        "low": (1 / 2, 1 / 4, 1 / 8, -3),
        "high": (8, 1 / 2, 1, 2),
        "empty": (1, 1 / 2, 1 / 2, -1),
    }
    for pair, (chosen, rejected, weight, power) in expected.items():
        assert found[pair]["chosen_weight"] == pytest.approx(chosen)
        assert found[pair]["rejected_weight"] == pytest.approx(rejected)
        assert found[pair]["weight"] == pytest.approx(weight)
        assert found[pair]["log_weight"] == pytest.approx(power * log2)
    assert found["low"]["chosen_tokens"] == 4


def test_each_reference_pass_has_its_own_weights(run_sql):
    rows = [
        PASS | {"revision": revision, "pair_id": "p", "response": response, "tokens": 1, "alignment_sum": alignment}
        for revision, alignment in (("old", -1.0), ("new", -2.0))
        for response in ("chosen", "rejected")
    ]
    found = run_sql("model.wpo_weights", {"model.reference": frame("model.reference", rows)})
    assert by(found, "revision")["old"]["log_weight"] == -2
    assert found["log_weight"].to_list() == [-4, -2]


def test_means_and_intervals_are_statsmodels_clustered_by_user(run_sql, drawn):
    pairs, tables = drawn
    found = by(run_sql("weights.mean", tables), "dimension", "level")
    levels = {
        ("all pairs", "all pairs"): pairs,
        ("score gap", "1-9"): pairs.filter(pl.col("score_gap") < 10),
        ("score gap", "90-99"): pairs.filter(pl.col("score_gap") >= 90),
        ("source model", "model 1"): pairs.filter(model_name="model 1"),
        ("split", "age.B"): pairs.filter(pl.col("user_id").is_in([f"u{of}" for of in range(1, USERS, 3)])),
    }
    for level, expected in levels.items():
        row, weight = found[level], expected["weight"].to_numpy()
        mean, error, lower, upper = clustered(weight, expected["user_id"].to_numpy())
        assert (row["pairs"], row["users"]) == (len(expected), expected["user_id"].n_unique())
        numbers = [row[name] for name in ("mean_weight", "standard_error", "lower", "upper")]
        assert numbers == pytest.approx([mean, error, lower, upper])
        quantiles = [row[name] for name in ("min_weight", "p05", "p25", "median", "p75", "p95")]
        assert quantiles == pytest.approx(np.quantile(weight, [0, 0.05, 0.25, 0.5, 0.75, 0.95]))
        assert row["mean_tokens"] == pytest.approx(expected["tokens"].mean())
    assert [level for dimension, level in found if dimension == "score gap"][:2] == ["1-9", "10-19"]
    assert {level for dimension, level in found if dimension == "split"} == {"age.A", "age.B"}
    assert found["score gap", "90-99"]["level_order"] == 10


def test_of_one_user_no_spread_is_known(run_sql, drawn):
    pairs, tables = drawn
    lone = tables | {"prism.pairs": tables["prism.pairs"].filter(user_id="u1")}
    for table in ("weights.mean", "weights.score_gap"):
        assert all(row["lower"] is None for row in run_sql(table, lone).iter_rows(named=True))
    assert run_sql("weights.mean", lone)["mean_weight"][0] == pytest.approx(pairs.filter(user_id="u1")["weight"].mean())
    assert run_sql("weights.split", lone).is_empty()


def test_a_against_b_is_the_difference_of_two_groups_that_share_no_user(run_sql, drawn):
    pairs, tables = drawn
    (found,) = run_sql("weights.split", tables).iter_rows(named=True)
    number = pairs["user_id"].str.strip_prefix("u").cast(int)
    (mean_a, error_a, *_), (mean_b, error_b, *_) = (
        clustered(rows["weight"].to_numpy(), rows["user_id"].to_numpy())
        for rows in (pairs.filter((number % 3 != 1) & (number > 0)), pairs.filter(number % 3 == 1))
    )
    half = 1.959964 * np.hypot(error_a, error_b)
    assert found["difference"] == pytest.approx(mean_a - mean_b)
    assert (found["lower"], found["upper"]) == pytest.approx((mean_a - mean_b - half, mean_a - mean_b + half))
    assert found["differs"] == (abs(mean_a - mean_b) > half)
    assert found["users_a"] + found["users_b"] == USERS - 1


def test_correlations_are_scipys_and_their_errors_a_user_bootstraps(run_sql, drawn):
    pairs, tables = drawn
    found = by(run_sql("weights.score_gap", tables), "kind")
    weight, gap = pairs["weight"].to_numpy(), pairs["score_gap"].to_numpy()
    assert found["pearson"]["correlation"] == pytest.approx(scipy.stats.pearsonr(weight, gap).statistic)
    assert found["spearman"]["correlation"] == pytest.approx(scipy.stats.spearmanr(weight, gap).statistic)
    rng = np.random.default_rng(1)
    of_user = [np.flatnonzero(pairs["user_id"] == user) for user in pairs["user_id"].unique(maintain_order=True)]
    ranked = scipy.stats.rankdata(weight), scipy.stats.rankdata(gap)
    for kind, (x, y) in {"pearson": (weight, gap), "spearman": ranked}.items():
        drawn_again = []
        for _ in range(1_000):
            rows = np.concatenate([of_user[user] for user in rng.integers(len(of_user), size=len(of_user))])
            drawn_again.append(np.corrcoef(x[rows], y[rows])[0, 1])
        assert found[kind]["standard_error"] == pytest.approx(np.std(drawn_again), rel=0.12)
        assert found[kind]["lower"] < found[kind]["correlation"] < found[kind]["upper"]


def test_a_weight_that_never_changes_has_no_correlation(run_sql, drawn):
    _, tables = drawn
    equal = tables["model.reference"].with_columns(alignment_sum=-pl.col("tokens").cast(float))
    for row in run_sql("weights.score_gap", tables | {"model.reference": equal}).iter_rows(named=True):
        assert (row["correlation"], row["standard_error"], row["lower"]) == (None, None, None)


@pytest.fixture(scope="module")
def answered(drawn):
    """Two prompts that the base model answered itself, with weights that are easy to multiply."""
    answers = [
        ("c0.1", "T = 1", 1, 2, np.log(1 / 2)),
        ("c0.1", "T = 1", 2, 4, np.log(1 / 4)),
        ("c0.1", "greedy", 1, 3, np.log(1.5)),
        ("c1.1", "T = 1", 1, 2, np.log(2)),
        ("c1.1", "T = 1", 2, 2, np.log(1)),
        ("c1.1", "greedy", 1, 3, np.log(1.1)),
    ]
    rows = [
        PASS | {"pair_id": pair, "sampling": sampling, "answer": answer, "tokens": tokens, "alignment_sum": tokens * a}
        for pair, sampling, answer, tokens, a in answers
    ]
    return drawn[1] | {"model.on_policy": frame("model.on_policy", rows)}


def test_prisms_answers_stand_beside_the_base_models_own(run_sql, drawn, answered):
    found = by(run_sql("weights.yardstick", answered), "unit", "text")
    assert list(found) == [
        ("answer", "chosen"),
        ("answer", "rejected"),
        ("answer", "sampled at T = 1"),
        ("answer", "greedy"),
        ("pair", "chosen with rejected"),
        ("pair", "two sampled at T = 1"),
        ("pair", "greedy with itself"),
    ]
    sampled = found["answer", "sampled at T = 1"]
    assert sampled["mean_weight"] == pytest.approx((1 / 2 + 1 / 4 + 2 + 1) / 4), "not clamped"
    assert (sampled["number"], sampled["mean_tokens"], sampled["share_at_1"]) == (4, 2.5, 0.5)
    two = found["pair", "two sampled at T = 1"]
    assert (two["number"], two["mean_weight"], two["share_at_1"]) == (2, pytest.approx((1 / 8 + 1) / 2), 0.5)
    greedy = found["pair", "greedy with itself"]
    assert (greedy["min_weight"], greedy["share_at_1"]) == (1, 1)
    everyone = found["pair", "chosen with rejected"]
    mean, error, *_ = clustered(drawn[0]["weight"].to_numpy(), drawn[0]["user_id"].to_numpy())
    assert (everyone["mean_weight"], everyone["standard_error"]) == (pytest.approx(mean), pytest.approx(error))


def test_every_bin_is_there_and_shares_add_up(run_sql, drawn, answered):
    found = run_sql("weights.histogram", answered)
    assert found["bin"].to_list() == 2 * list(range(1, 51))
    prism, sampled = (found.filter(text=text) for text in ("pairs of PRISM", "two sampled at T = 1"))
    expected, _ = np.histogram(drawn[0]["weight"], bins=np.linspace(0, 1, 51))
    assert prism["number"].to_list() == expected.tolist()
    assert prism["share"].sum() == pytest.approx(1)
    # exp(ln 1/2 + ln 1/4) = .125, in the bin of .12 to .14; and min(1, 2) in the last
    assert sampled.filter(pl.col("number") > 0).select("bin", "lower", "share").rows() == [
        (7, 0.12, 0.5),
        (50, 0.98, 0.5),
    ]


@pytest.mark.parametrize("table", ["mean", "split", "score_gap", "histogram", "yardstick"])
def test_a_home_without_a_reference_pass_has_empty_tables(run_sql, table):
    assert run_sql(f"weights.{table}", {}).is_empty()
