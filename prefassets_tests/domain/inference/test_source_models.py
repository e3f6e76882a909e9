"""What is planted is found: lengths alone leave the models nothing, and a model's own effect survives the lengths."""

import numpy as np
import patsy
import polars as pl
import pytest
import statsmodels.api as sm

from prefassets.domain.inference import source_models as module
from prefassets.domain.inference.source_models import PARTS, explained, natural_splines, source_models
from prefassets.resources.sql_tables import run_sql
from prefassets_tests.domain.inference.weighed import weighed_pairs
from prefassets_tests.sql.reported import by

LENGTH_ALONE = {"length_effect": 0.05, "length_by_model": 0.5, "user_sd": 0.02}


def test_models_that_differ_by_length_alone_have_nothing_beyond_it():
    pairs = weighed_pairs(0, users=600, models=12, **LENGTH_ALONE)
    found = by(explained(pairs), "part")
    assert found["source model"]["share"] > 0.05
    assert found["source model"]["p"] < 1e-6
    beyond = found["source model beyond length"]
    assert beyond["share"] < 0.01
    assert beyond["share"] < 2 * beyond["by_chance_p95"]
    assert beyond["p"] > 0.01
    models = source_models(pairs)
    assert models["mean_weight"].std() > 0.02
    assert models["adjusted_weight"].std() < 0.005
    holds = (models["adjusted_lower"] < models["adjusted_weight"].mean()) & (
        models["adjusted_upper"] > models["adjusted_weight"].mean()
    )
    assert holds.sum() >= 10


def test_a_models_own_effect_is_found_beyond_length():
    pairs = weighed_pairs(1, users=600, models=12, model_effect=0.04, **LENGTH_ALONE)
    found = by(explained(pairs), "part")
    beyond = found["source model beyond length"]
    planted, rest = 0.04**2 * np.linspace(-1, 1, 12).var(), 0.05**2 + 0.02**2
    total = np.var(pairs["weight"].to_numpy())
    assert beyond["share"] == pytest.approx(planted * (1 - 0.3) / total, rel=0.5), "less what goes with length, too"
    assert beyond["lower"] > beyond["by_chance_p95"]
    assert beyond["p"] < 1e-6
    assert found["response length"]["share"] < 1 - rest / total
    assert set(found) == set(PARTS)
    unrelated = weighed_pairs(2, users=600, models=12, model_effect=0.04)
    assert by(explained(unrelated), "part")["length beyond source model"]["p"] > 0.01


def test_adjusted_means_are_statsmodels_predictions_over_all_pairs_lengths():
    pairs = weighed_pairs(3, users=120, models=5, model_effect=0.03, **LENGTH_ALONE)
    of_lengths = [
        np.asarray(patsy.dmatrix("cr(x, knots=inner, lower_bound=low, upper_bound=high) - 1", _knots(x)))
        for x in (np.log(pairs["chosen_tokens"].to_numpy()), np.log(pairs["rejected_tokens"].to_numpy()))
    ]
    models = np.unique(pairs["model_name"])
    one_hot = (pairs["model_name"].to_numpy()[:, None] == models).astype(float)
    lengths = np.hstack([columns[:, 1:] - columns[:, 1:].mean(axis=0) for columns in of_lengths])
    groups = np.unique(pairs["user_id"], return_inverse=True)[1]
    fit = sm.OLS(pairs["weight"].to_numpy(), np.hstack([one_hot, lengths])).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}
    )
    found = source_models(pairs)
    assert found["model_name"].to_list() == models.tolist()
    assert found["adjusted_weight"].to_numpy() == pytest.approx(fit.params[:5])
    few_users = np.sqrt(found["users"].to_numpy() / (found["users"].to_numpy() - 1))
    half = 1.959964 * fit.bse[:5] * few_users
    assert found["adjusted_upper"].to_numpy() - found["adjusted_weight"].to_numpy() == pytest.approx(half, rel=1e-4)
    shares = by(explained(pairs, draws=50), "part")
    alone = sm.OLS(pairs["weight"].to_numpy(), sm.add_constant(lengths)).fit().rsquared
    assert shares["response length"]["share"] == pytest.approx(alone, abs=1e-9)
    assert shares["source model beyond length"]["share"] == pytest.approx(fit.rsquared - alone, abs=1e-9)


def _knots(x):
    low, *inner, high = np.quantile(x, module.KNOTS)
    return {"x": x, "inner": inner, "low": low, "high": high}


def test_splines_span_patsys_natural_splines():
    x = np.random.default_rng(0).normal(size=200)
    theirs = np.asarray(patsy.dmatrix("cr(x, knots=inner, lower_bound=low, upper_bound=high) - 1", _knots(x)))
    ours = np.column_stack([np.ones(200), natural_splines(x)])
    assert ours.shape == theirs.shape
    assert np.linalg.matrix_rank(np.hstack([ours, theirs])) == 5
    assert natural_splines(np.full(5, 2.0)).shape == (5, 0)
    assert np.linalg.matrix_rank(natural_splines(np.array([1.0] * 98 + [2.0, 3.0]))) == 1


def test_means_as_they_are_equal_those_of_the_sql_table():
    pairs = weighed_pairs(4, users=60, models=4, model_effect=0.03, length_by_model=0.4)
    pass_ = {"reference": "r", "base_model": "b", "revision": "v"}
    weights = pairs.select("pair_id", "weight", "chosen_tokens", "rejected_tokens")
    tables = {
        "model.wpo_weights": weights.with_columns(pl.lit(value).alias(name) for name, value in pass_.items()),
        "prism.pairs": pairs.select("pair_id", "user_id", "model_name"),
    }
    expected = run_sql("weights.mean", tables).filter(dimension="source model").rename({"level": "model_name"})
    columns = ["model_name", "pairs", "users", "mean_tokens", "mean_weight", "lower", "upper"]
    for found, row in zip(source_models(pairs).select(columns).rows(), expected.select(columns).rows(), strict=True):
        assert found[0] == row[0]
        assert found[1:] == pytest.approx(row[1:])


def test_what_chance_gives_is_what_the_degrees_of_freedom_say_when_pairs_are_independent():
    pairs = weighed_pairs(5, users=400, models=21, conversations=3, turns=1)
    found = by(explained(pairs), "part")
    assert found["source model"]["by_chance"] == pytest.approx(20 / (len(pairs) - 1), rel=0.15)
    assert found["response length"]["by_chance"] == pytest.approx(8 / (len(pairs) - 1), rel=0.25)
    assert found["source model"]["share"] < 2 * found["source model"]["by_chance_p95"]


def test_p_of_nothing_is_uniform_and_intervals_hold_the_planted_mean():
    p, holds = [], []
    for seed in range(60):
        pairs = weighed_pairs(seed, users=80, models=5, **LENGTH_ALONE)
        found = by(explained(pairs, draws=2), "part")
        p.append(found["source model beyond length"]["p"])
        models = source_models(pairs)
        middle = np.average(models["adjusted_weight"], weights=models["pairs"])
        holds += ((models["adjusted_lower"] < middle) & (models["adjusted_upper"] > middle)).to_list()
    assert 0.3 < np.mean(p) < 0.7
    assert np.mean(np.array(p) < 0.05) < 0.15
    assert np.mean(holds) > 0.9


def test_one_model_equal_lengths_equal_weights_and_few_users_are_said_not_guessed():
    pairs = weighed_pairs(6, users=40, models=3, **LENGTH_ALONE)
    one_model = by(explained(pairs.with_columns(model_name=pl.lit("only"))), "part")
    assert one_model["source model"]["state"] == "undefined: all pairs are of one source model"
    assert one_model["response length"]["share"] > 0.1
    equal = pairs.with_columns(chosen_tokens=9, rejected_tokens=9)
    assert by(explained(equal), "part")["length beyond source model"]["state"] == (
        "undefined: all answers are equally long"
    )
    assert by(explained(equal), "part")["source model"]["p"] is not None
    found = source_models(equal)
    assert found["adjusted_weight"].to_numpy() == pytest.approx(found["mean_weight"].to_numpy())
    same = explained(pairs.with_columns(weight=pl.lit(0.2)))
    assert set(same["state"]) == {"undefined: all weights are equal"}
    assert same["share"].null_count() == 4
    few = explained(weighed_pairs(6, users=5, models=2))
    assert set(few["state"]) == {"undefined: users with pairs: 5; an interval over users wants 20"}
    assert explained(pairs.head(0)).is_empty()
    assert source_models(pairs.head(0)).is_empty()


def test_a_model_of_a_handful_of_pairs_of_one_user_has_no_interval_and_spoils_no_test():
    pairs = weighed_pairs(7, users=200, models=6, **LENGTH_ALONE)
    first = pairs.head(2)["pair_id"].to_list()
    rare = pl.when(pl.col("pair_id").is_in(first))
    with_rare = pairs.with_columns(model_name=rare.then(pl.lit("rare")).otherwise("model_name"))
    with_rare = with_rare.with_columns(weight=rare.then(0.99).otherwise("weight"))
    row = by(source_models(with_rare), "model_name")["rare"]
    assert (row["pairs"], row["users"], row["lower"], row["adjusted_lower"]) == (2, 1, None, None)
    assert row["mean_weight"] == pytest.approx(0.99)
    found = by(explained(with_rare), "part")["source model beyond length"]
    assert found["degrees_of_freedom"] == 5
    assert found["p"] > 0.001
    assert np.isfinite([found["lower"], found["upper"]]).all()


def test_models_that_each_write_one_length_cannot_be_adjusted_for_it():
    pairs = weighed_pairs(8, users=60, models=3)
    length = pl.col("model_name").str.strip_prefix("model ").cast(pl.Int64) + 10
    found = source_models(pairs.with_columns(chosen_tokens=length, rejected_tokens=length))
    assert found["adjusted_weight"].null_count() == 3
    assert found["mean_weight"].null_count() == 0
