"""What may be said of a probe is decided by intervals: against chance, baselines and topics, for the best of many."""

import polars as pl
import pytest
from scipy.stats import norm

from prefassets.resources.sql_tables import all_tables

OF = {"experiment": "m", "target": "valence", "probe": "ridge", "layer": 12, "position": "response_last", "units": 400}
OF |= {"rows": 400, "seeds": 1, "interval": "units", "split": "unit", "features": "activations", "metric": "r_squared"}
CHANCE = {"r_squared": 0.0, "auc": 0.5, "pairwise_accuracy": 0.5}
KINDS = {"ridge": "r_squared", "logistic": "auc", "bradley_terry": "pairwise_accuracy"}


def frame(table, rows):
    schema = all_tables()[table].schema
    return pl.DataFrame([dict.fromkeys(schema) | row for row in rows], schema=schema)


def score(estimate, half=0.05, **other):
    ends = {"lower": None, "upper": None} if estimate is None else {"lower": estimate - half, "upper": estimate + half}
    return OF | {"estimate": estimate} | ends | other


def fitted(estimate=0.3, topic=0.1, within=0.2, **other):
    """One probe with everything beside it, above chance by `estimate`."""
    metric = KINDS[other.get("probe", "ridge")]
    chance = CHANCE[metric]
    of = {"metric": metric} | other
    rows = [score(None if estimate is None else chance + estimate, **of)]
    rows += [
        score(chance + value, 0.01, features=features, **of)
        for features, value in (("topic", topic), ("length", 0.02), ("text", 0.05), ("shuffled labels", -0.01))
        if value is not None
    ]
    rows.append(score(chance - 0.01, 0.02, features="random activations", **of))
    if within is not None:
        rows.append(score(within, metric="r_squared_within_topics", **other))
    return rows


def read(run_sql, rows, kind="measurement", sweep=(), predictions=()):
    given = {
        "probes.score": frame("probes.score", rows),
        "probes.experiment": frame("probes.experiment", [{"experiment": "m", "kind": kind}]),
        "probes.sweep": frame("probes.sweep", [OF | row for row in sweep]),
        "probes.prediction": frame("probes.prediction", [OF | row for row in predictions]),
    }
    return run_sql("probes.reading", given).to_dicts()


@pytest.mark.parametrize(
    ("state", "how"),
    [
        ("READABLE", {}),
        ("READABLE", {"within": None}),  # a target without topics
        ("READABLE", {"probe": "logistic"}),
        ("READABLE", {"probe": "bradley_terry"}),
        ("BASELINE", {"topic": 0.28}),  # above it, but not shown to be
        ("BASELINE", {"topic": 0.4}),
        ("BASELINE", {"within": 0.04}),  # its interval has 0 in it
        ("NOT SHOWN", {"estimate": 0.04}),
        ("NOT SHOWN", {"estimate": -0.3}),
        ("NOT SHOWN", {"estimate": 0.04, "probe": "logistic", "within": None}),
        ("CANNOT TELL", {"estimate": None}),
        ("CANNOT TELL", {"units": 29}),
        ("READABLE", {"units": 30}),
    ],
)
def test_a_state_is_decided_by_intervals(run_sql, state, how):
    (row,) = read(run_sql, fitted(**how))
    assert row["state"] == state
    assert row["sentence"].endswith(".")


def test_what_was_not_compared_with_any_baseline_cannot_be_told(run_sql):
    (row,) = read(run_sql, [score(0.3)])
    assert row["sentence"] == "It cannot be told whether valence can be read off: no baseline was fitted beside it."


@pytest.mark.parametrize("tried", [1, 2, 8, 200])
def test_the_best_of_many_has_an_interval_that_allows_for_looking_at_all_of_them(run_sql, tried):
    """Bonferroni: each at 1 - .05 / tried, so that all of them hold in 95 % of repetitions."""
    rows = [row for layer in range(tried) for row in fitted(0.3 + (layer == 0) * 0.01, layer=layer)]
    (row,) = read(run_sql, rows)
    assert (row["layer"], row["tried"]) == (0, tried)
    half = 0.05 * norm.isf(0.025 / tried) / norm.isf(0.025)
    assert (row["widened_lower"], row["widened_upper"]) == pytest.approx((0.31 - half, 0.31 + half), abs=1e-4)


def test_a_score_that_only_looks_good_beside_many_others_is_not_shown(run_sql):
    alone = read(run_sql, fitted(0.06, topic=0.0))
    among = read(run_sql, [row for layer in range(20) for row in fitted(0.06 * (layer == 3), topic=0.0, layer=layer)])
    assert (alone[0]["state"], among[0]["state"]) == ("BASELINE", "NOT SHOWN")
    assert among[0]["layer"] == 3
    assert "the best of 20 tried, layer 3, last response token, explains 6 %" in among[0]["sentence"]
    assert "its layer and position are the best of 20 that were looked at" in among[0]["cautions"]


def test_a_difference_that_was_measured_over_the_same_draws_is_used_before_the_two_intervals(run_sql):
    """Without it, the two half-widths add as independent ones do: the root of .05^2 + .01^2."""
    apart = 0.05**2 + 0.01**2
    (row,) = read(run_sql, fitted(0.3, topic=0.26))
    assert (row["beyond_lower"], row["state"]) == (pytest.approx(0.04 - apart**0.5), "BASELINE")
    (row,) = read(run_sql, [*fitted(0.3, topic=0.26), score(0.04, 0.02, features="activations minus topic")])
    assert (row["beyond_lower"], row["state"]) == (pytest.approx(0.02), "READABLE")


def test_a_baseline_is_taken_from_the_same_layer_and_position(run_sql):
    rows = [*fitted(0.3, topic=0.1), score(0.29, 0.01, features="topic", layer=8), score(0.2, layer=8)]
    (row,) = read(run_sql, rows)
    assert (row["baseline"], row["baseline_estimate"]) == ("topic", pytest.approx(0.1))


SENTENCES = {
    "On tasks that it has not seen, a ridge probe of layer 12, last response token, explains 26 % of the variance of "
    "valence [21, 31]; topic alone explains 18 %; within topics it explains 9 % [4, 14].": fitted(0.26, 0.18, 0.09),
    "On tasks that it has not seen, a ridge probe of layer 12, last response token, explains 26 % of the variance of "
    "valence [21, 31]; no baseline is better than its mean.": [score(0.26), score(-0.004, 0.01, features="text")],
    "On tasks that it has not seen, a ridge probe of layer 12, last response token, explains 26 % of the variance of "
    "valence [21, 31], which is not shown to be more than topic alone explains, 24 % (difference 2 % [-3, 7]); within "
    "topics nothing is shown: 1 % [-4, 6].": fitted(0.26, 0.24, 0.01),
    "On tasks that it has not seen, no ridge probe is shown to predict valence better than its mean: the one of layer "
    "12, last response token, explains -1 % [-6, 4].": fitted(-0.01),
    "On tasks that it has not seen, a Bradley-Terry probe of layer 12, last response token, predicts 68.0 % of valence "
    "[63.0, 73.0] (a coin: 50 %); topic alone predicts 60.0 %.": fitted(0.18, 0.1, None, probe="bradley_terry"),
    "It cannot be told whether valence can be read off: 24 tasks are too few, at least 30 are wanted.": fitted(
        units=24
    ),
    "It cannot be told whether valence can be read off: all values are the same.": [
        score(None, note="all values are the same")
    ],
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_the_sentence_has_the_numbers_that_decided(run_sql, sentence):
    (row,) = read(run_sql, SENTENCES[sentence])
    assert row["sentence"] == sentence


def test_of_a_study_units_are_users_and_targets_have_words(run_sql):
    rows = [*fitted(0.13, 0.08, None, probe="logistic", target="group:age"), *fitted(probe="ridge", target="score_gap")]
    age, gap = read(run_sql, rows, kind="study")
    assert age["sentence"] == (
        "On pairs of users that it has not seen, a logistic probe of layer 12, last response token, predicts the "
        "user's group in age with an AUC of 0.63 [0.58, 0.68] (a coin: 0.50), which is not shown to be more than "
        "topic alone has, 0.58 (difference 0.05 [0.00, 0.10])."
    )
    assert "the variance of the score gap" in gap["sentence"]


def test_whether_it_carries_over_to_topics_and_origins_is_said_by_intervals(run_sql):
    rows = [
        *fitted(),
        score(0.12, split="leave_one_topic_out"),
        score(0.03, split="leave_one_origin_out"),
        score(0.5, split="leave_one_topic_out", features="text"),
    ]
    (row,) = read(run_sql, rows)
    assert row["sentence"].endswith(
        ". It carries over to topics that it has not seen: 12 % [7, 17]. It is not shown to carry over to origins that "
        "it has not seen: 3 % [-2, 8]."
    )


def test_nothing_limits_a_probe_that_was_tried_once_with_all_baselines_and_many_units(run_sql):
    assert read(run_sql, fitted())[0]["cautions"] == ""


def test_cautions_name_what_limits_it(run_sql):
    rows = [row for row in fitted(units=64) if row["features"] not in ("text", "shuffled labels")]
    rows.append(score(0.04, 0.01, features="shuffled labels", units=64))
    (row,) = read(
        run_sql,
        rows,
        sweep=[{"alpha": alpha, "chosen": chosen} for alpha, chosen in ((0.1, 0), (1.0, 2), (10.0, 3))],
        predictions=[{"item": f"t{n}", "fold": 0, "actual": float(n >= 87), "predicted": 0.5} for n in range(100)],
    )
    assert row["cautions"].split("; ") == [
        "shuffled labels are predicted too, so something of what is held out leaks",
        "of 64 tasks only, and intervals of so few are too narrow",
        "87 % of rows have one and the same valence",
        "not compared with text",
        "in 3 of 5 folds the penalty chosen is the first or last of those tried",
    ]


def test_each_target_and_kind_of_probe_is_read_by_itself(run_sql):
    rows = [*fitted(0.3), *fitted(0.2, 0.0, None, probe="logistic"), *fitted(-0.2, target="utility")]
    assert [(row["target"], row["probe"], row["state"]) for row in read(run_sql, rows)] == [
        ("utility", "ridge", "NOT SHOWN"),
        ("valence", "logistic", "READABLE"),
        ("valence", "ridge", "READABLE"),
    ]
