"""What may be said of who predicts preferences is decided by intervals: against the class prior, lengths and words."""

import polars as pl
import pytest

from prefassets.resources.sql_tables import all_tables

BASE = "tiny@256:float32:short"


def frame(table, rows):
    schema = all_tables()[table].schema
    return pl.DataFrame([dict.fromkeys(schema) | row for row in rows], schema=schema)


def scores(predictor, log_loss, accuracy, orders="given", prompts=400, **other):
    values = {"log_loss": (log_loss, 0.02), "accuracy": (accuracy, 0.03)} | other
    return [
        {"predictor": predictor, "orders": orders, "metric": metric, "estimate": value, "lower": value - half}
        | {"upper": value + half, "battles": 500, "prompts": prompts}
        for metric, (value, half) in values.items()
    ]


def apart(than, difference, half, orders="given", **other):
    """A difference whose widened interval is `half` to each side; without one if that is None."""
    row = {"predictor": "lora", "orders": orders, "than": than, "metric": "log_loss", "difference": difference}
    if half is not None:
        row |= {"lower": difference - half / 2, "upper": difference + half / 2}
        row |= {"widened_lower": difference - half, "widened_upper": difference + half}
    return row | other


def reading(run_sql, prior=(-0.08, 0.02), words=(-0.05, 0.02), longer=(-0.06, 0.02), prompts=400, **given):
    differences = {"prior": prior, "length_and_words": words, "longer": longer}
    rows = {
        "comparison": [
            *scores("prior", 1.097, 0.349, prompts=prompts),
            *scores("length_and_words", 1.067, 0.41, prompts=prompts),
            *scores("lora", 1.017, 0.473, prompts=prompts),
        ],
        "difference": [apart(than, *value) for than, value in differences.items() if value is not None],
        "recipe": [{"recipe": "lora"}],
    } | given
    (row,) = run_sql(
        "arena.reading", {f"arena.{table}": frame(f"arena.{table}", of) for table, of in rows.items()}
    ).to_dicts()
    return row


@pytest.mark.parametrize(
    ("state", "how"),
    [
        ("SIGNAL", {}),
        ("BASELINE", {"words": (-0.05, 0.05)}),  # the interval just holds 0
        ("BASELINE", {"words": (-0.05, 0.06)}),
        ("SIGNAL", {"words": (-0.05, 0.049)}),
        ("BASELINE", {"words": (0.05, 0.02)}),  # better than the prior, and worse than lengths and words
        ("NOT SHOWN", {"prior": (-0.08, 0.08)}),
        ("NOT SHOWN", {"prior": (0.01, 0.02)}),
        ("NOT SHOWN", {"prior": (0.02, 0.02)}),
        ("NOT SHOWN", {"prior": (0.01, 0.02), "words": None}),
        ("NOT SHOWN", {"prior": (-0.01, 0.02), "words": (-0.05, 0.02)}),
        ("WORSE", {"prior": (0.03, 0.02)}),
        ("CANNOT TELL", {"prior": None}),
        ("CANNOT TELL", {"prior": (-0.08, None)}),
        ("CANNOT TELL", {"words": None}),
        ("CANNOT TELL", {"words": (-0.05, None)}),
        ("CANNOT TELL", {"prompts": 29}),
        ("SIGNAL", {"prompts": 30}),
    ],
)
def test_a_state_is_decided_by_intervals(run_sql, state, how):
    row = reading(run_sql, **how)
    assert row["state"] == state
    assert row["sentence"].endswith(".")
    assert row["cautions"] is not None


def test_a_good_accuracy_alone_is_no_signal(run_sql):
    """Log loss decides: it is the competition's, and always naming the commonest winner has an accuracy too."""
    rows = [*scores("prior", 1.097, 0.349), *scores("lora", 1.2, 0.9)]
    assert reading(run_sql, prior=(0.1, 0.02), comparison=rows)["state"] == "WORSE"


def test_it_is_the_widened_interval_that_decides(run_sql):
    narrow = apart("prior", -0.08, 0.02) | {"widened_upper": 0.001}
    assert narrow["upper"] < 0
    assert reading(run_sql, difference=[narrow])["state"] == "NOT SHOWN"


def test_both_orders_are_read_where_there_are_both(run_sql):
    rows = [
        *scores("prior", 1.097, 0.349),
        *scores("length_and_words", 1.067, 0.41),
        *scores("lora", 1.01, 0.47),
        *scores("lora", 1.12, 0.35, "both"),
    ]
    differences = [apart(than, -0.08, 0.02) for than in ("prior", "length_and_words")]
    differences += [apart(than, 0.02, 0.03, "both") for than in ("prior", "length_and_words")]
    row = reading(run_sql, comparison=rows, difference=differences)
    assert (row["orders"], row["log_loss"], row["state"]) == ("both", 1.12, "NOT SHOWN")


def test_baselines_are_not_read_and_base_models_are(run_sql):
    rows = [*scores("prior", 1.097, 0.349), *scores("longer", 1.09, 0.36), *scores(BASE, 1.5, 0.34)]
    row = reading(run_sql, comparison=rows, difference=[apart("prior", 0.4, 0.1, predictor=BASE)], recipe=[])
    assert (row["predictor"], row["state"]) == (BASE, "WORSE")


SENTENCES = {
    "lora predicts held-out battles better than the class prior, log loss 1.017 [0.997, 1.037] against 1.097 "
    "(difference -0.080 [-0.100, -0.060]), and better than lengths and words, 1.067 (difference -0.050 [-0.070, "
    "-0.030]); it names the winner of 47.3 % [44.3, 50.3], the class prior of 34.9 %.": {},
    "lora predicts held-out battles better than the class prior, log loss 1.017 [0.997, 1.037] against 1.097 "
    "(difference -0.080 [-0.100, -0.060]), but is not shown to know more than lengths and words, 1.067 (difference "
    "-0.010 [-0.030, +0.010]); it names the winner of 47.3 % [44.3, 50.3], the class prior of 34.9 %.": {
        "words": (-0.01, 0.02)
    },
    "lora is not shown to predict held-out battles better than the class prior: its log loss is 1.017 [0.997, 1.037], "
    "the prior's 1.097 (difference -0.080 [-0.180, +0.020]); it names the winner of 47.3 % [44.3, 50.3], the class "
    "prior of 34.9 %.": {"prior": (-0.08, 0.1)},
    "lora predicts held-out battles worse than the class prior does: its log loss is 1.017 [0.997, 1.037], the prior's "
    "1.097 (difference +0.080 [+0.060, +0.100]); it names the winner of 47.3 % [44.3, 50.3], the class prior of "
    "34.9 %.": {"prior": (0.08, 0.02)},
    "It cannot be told whether lora predicts whom people prefer: 12 prompts are too few, at least 30 are wanted.": {
        "prompts": 12
    },
    "It cannot be told whether lora predicts whom people prefer: it was not compared with length and words.": {
        "words": None
    },
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_the_sentence_has_the_numbers_that_decided(run_sql, sentence):
    assert reading(run_sql, **SENTENCES[sentence])["sentence"] == sentence


def test_cautions_name_what_limits_it(run_sql):
    both = {"swap_consistency": (0.61, 0.02), "first_shown": (-0.12, 0.03)}
    rows = [
        *scores("prior", 1.097, 0.349, prompts=64),
        *scores("length_and_words", 1.067, 0.41, prompts=64),
        *scores("lora", 1.017, 0.473, "both", prompts=64, **both),
    ]
    differences = [apart(than, -0.08, 0.02, "both") for than in ("prior", "length_and_words")]
    differences.append(apart("longer", -0.01, 0.02, "both"))
    fits = {"predictor": "lora", "orders": "both", "dimension": "fits"}
    row = reading(
        run_sql,
        comparison=rows,
        difference=differences,
        breakdown=[fits | {"value": "cut", "battles": 60}, fits | {"value": "all of it read", "battles": 440}],
        battles=[{"battle": str(number), "winner": winner} for number, winner in enumerate(("A", "B", "tie"))],
        predictions=[
            {"predictor": "lora", "battle": "0", "a": 0.0, "a_swapped": 0.0},
            {"predictor": "lora", "battle": "1", "b": 0.0, "b_swapped": 0.5},
            {"predictor": "lora", "battle": "2", "tie": 0.2, "tie_swapped": 0.2},
        ],
    )
    assert row["state"] == "SIGNAL"
    assert row["cautions"].split("; ") == [
        "of 64 prompts only, and intervals of so few are too narrow",
        "exchanging the answers changes the predicted winner in 39 % of battles",
        "the answer shown second is given 12 points more [9, 15] than the other",
        "not shown to be better than knowing which answer is longer (difference -0.010 [-0.030, +0.010])",
        "of 12 % of battles not all was read",
        "the winner was held to be impossible in 1 battles, which costs 36 nats each time",
        "trained once: what another training seed would give is in no interval",
    ]


def test_nothing_but_the_training_seed_limits_what_was_shown_both_ways_with_many_prompts(run_sql):
    good = {"swap_consistency": (0.9, 0.02), "first_shown": (0.02, 0.01)}
    rows = [*scores("prior", 1.097, 0.349), *scores("length_and_words", 1.067, 0.41)]
    differences = [apart(than, -0.08, 0.02, "both") for than in ("prior", "length_and_words", "longer")]
    given = {"comparison": rows + scores("lora", 1.017, 0.473, "both", **good), "difference": differences}
    assert (
        reading(run_sql, **given)["cautions"] == "trained once: what another training seed would give is in no interval"
    )
    assert reading(run_sql, **given, recipe=[])["cautions"] == ""


def test_one_order_says_nothing_of_position(run_sql):
    assert "answers were shown in one order only" in reading(run_sql)["cautions"]
