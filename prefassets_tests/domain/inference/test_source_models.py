"""What is planted is found: lengths alone leave the models nothing, and a model's own effect survives the lengths."""

import numpy as np
import polars as pl
import pytest

from prefassets.domain.inference.source_models import PARTS, explained, source_models
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
    assert beyond["share"] < 3 * beyond["by_chance"]
    assert beyond["p"] > 0.01
    models = source_models(pairs)
    assert models["mean_weight"].std() > 0.02
    assert models["adjusted_weight"].std() < 0.005
    at_all_lengths = np.average(models["adjusted_weight"], weights=models["pairs"])
    assert at_all_lengths == pytest.approx(pairs["weight"].mean())
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
    assert beyond["lower"] > 3 * beyond["by_chance"]
    assert beyond["p"] < 1e-6
    assert found["response length"]["share"] < 1 - rest / total
    assert set(found) == set(PARTS)
    unrelated = weighed_pairs(2, users=600, models=12, model_effect=0.04)
    assert by(explained(unrelated, draws=2), "part")["length beyond source model"]["p"] > 0.01


def test_two_models_that_write_differently_are_compared_at_the_same_length():
    """By hand: weight = .4 for short + .1 for long answers, + .02 for model b; 1 of 4 answers of a is long, 3 of 4 of
    b, so half of all. Of two lengths a curve is a line, and the odd pairs of +- .01 cancel in each model and length.
    """
    cells = [("a", 10, 30), ("a", 100, 10), ("b", 10, 10), ("b", 100, 30)]
    model, tokens = (np.repeat([cell[n] for cell in cells], [cell[2] for cell in cells]) for n in (0, 1))
    off = np.tile([0.01, -0.01], 40)
    weights = pl.DataFrame(
        {
            "pair_id": [f"{pair:02d}" for pair in range(80)],
            "user_id": [f"{pair:02d}" for pair in range(80)],
            "model_name": model,
            "weight": 0.4 + 0.1 * (tokens == 100) + 0.02 * (model == "b") + off,
            "chosen_tokens": tokens,
            "rejected_tokens": 50,
        }
    )
    found = by(source_models(weights), "model_name")
    assert found["a"]["mean_weight"] == pytest.approx(0.425)
    assert found["b"]["mean_weight"] == pytest.approx(0.495)
    assert found["a"]["adjusted_weight"] == pytest.approx(0.45)
    assert found["b"]["adjusted_weight"] == pytest.approx(0.47)
    shares = by(explained(weights, draws=50), "part")
    within = 80 * 0.01**2
    by_model = 80 * 0.035**2  # half the difference of .07
    by_length = 80 * 0.055**2  # of .11: short answers .405, long ones .515
    both = 80 * (0.05**2 + 0.01**2 + 2 * 0.05 * 0.01 * 0.5)  # variance of .1 long + .02 b, which correlate by .5
    assert shares["source model"]["share"] == pytest.approx(by_model / (both + within))
    assert shares["response length"]["share"] == pytest.approx(by_length / (both + within))
    assert shares["source model beyond length"]["share"] == pytest.approx((both - by_length) / (both + within))
    assert shares["response length"]["state"] == (
        "estimated, chosen answers too equally long for a curve, rejected answers too equally long for a curve"
    )
    assert shares["source model"]["state"] == "estimated"


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
    found = by(explained(pairs, draws=2), "part")
    assert found["source model"]["by_chance"] == pytest.approx(20 / (len(pairs) - 1), rel=0.15)
    assert found["response length"]["by_chance"] == pytest.approx(8 / (len(pairs) - 1), rel=0.25)
    assert found["source model"]["share"] < 3 * found["source model"]["by_chance"]


def test_p_of_nothing_is_uniform_and_intervals_hold_the_planted_mean():
    p, holds = [], []
    for seed in range(30):
        pairs = weighed_pairs(seed, users=80, models=5, **LENGTH_ALONE)
        found = by(explained(pairs, draws=2), "part")
        p.append(found["source model beyond length"]["p"])
        models = source_models(pairs)
        middle = np.average(models["adjusted_weight"], weights=models["pairs"])
        holds += ((models["adjusted_lower"] < middle) & (models["adjusted_upper"] > middle)).to_list()
    assert 0.3 < np.mean(p) < 0.7
    assert np.mean(np.array(p) < 0.05) < 0.15
    assert np.mean(holds) > 0.9


def test_intervals_of_shares_are_as_wide_as_shares_of_new_users_spread_and_hold_their_mean():
    planted = {"users": 80, "models": 4, "model_effect": 0.04, **LENGTH_ALONE}
    found = pl.concat([explained(weighed_pairs(seed, **planted), draws=100) for seed in range(30)])
    for part in PARTS:
        share, lower, upper = found.filter(part=part).select("share", "lower", "upper").to_numpy().T
        assert (upper - lower).mean() == pytest.approx(2 * 1.96 * share.std(), rel=0.3), part
        assert ((lower < share.mean()) & (share.mean() < upper)).mean() >= 0.85, part


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


def test_what_cannot_be_told_apart_is_said_not_guessed():
    pairs = weighed_pairs(8, users=60, models=3)
    length = pl.col("model_name").str.strip_prefix("model ").cast(pl.Int64) + 10
    of_one_length = pairs.with_columns(chosen_tokens=length, rejected_tokens=9)
    found = source_models(of_one_length)
    assert found["adjusted_weight"].null_count() == 3
    assert found["lower"].null_count() == 0
    shares = by(explained(of_one_length, draws=2), "part")
    assert shares["source model"]["share"] == pytest.approx(shares["response length"]["share"])
    assert shares["source model beyond length"]["share"] is None
    assert shares["source model beyond length"]["state"] == (
        "undefined: too few answers, or too equally long, to tell source models and lengths apart"
    )
    lone = source_models(pairs.head(1)).row(0, named=True)
    assert lone["mean_weight"] == pairs["weight"][0]
    assert (lone["lower"], lone["adjusted_weight"]) == (None, None)
