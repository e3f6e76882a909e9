"""How positive ratings are by framing and option set: the published counts, and intervals by their definitions.

Where the two files of answers come from is said in `test_rating_questions.py`.
"""

from pathlib import Path

import polars as pl
import pytest
from scipy import stats

from prefassets.domain.preferences.positivity import POSITIVITY, positivity
from prefassets.domain.preferences.rating_questions import OPTIONS, parse_rating

DATA = Path(__file__).parents[2] / "data" / "preferences"


def rated(cells):
    """Ratings from (task_id, rating) pairs with the words good, neutral and bad."""
    return pl.DataFrame(
        [
            {"task_id": task, "framing": "f", "options": "good_neutral_bad", "rating": rating}
            | {"value": OPTIONS["good_neutral_bad"].value(rating) if rating else None}
            for task, rating in cells
        ],
        schema=dict.fromkeys(("task_id", "framing", "options", "rating"), pl.String) | {"value": pl.Int64},
    )


@pytest.fixture(scope="module")
def post_task():
    """The published answers, read by our own parser; failed calls have none."""
    answers = pl.read_parquet(DATA / "post_task_6x4.parquet")
    ratings = [
        None if raw.startswith("ERROR") else parse_rating(raw, OPTIONS[options])
        for options, raw in answers.select("options", "raw").iter_rows()
    ]
    values = [
        OPTIONS[name].value(rating) if rating else None
        for name, rating in zip(answers["options"], ratings, strict=True)
    ]
    return answers.with_columns(rating=pl.Series(ratings, dtype=pl.String), value=pl.Series(values, dtype=pl.Int64))


def cell(found, **key):
    (only,) = found.filter(**key).iter_rows(named=True)
    return only


@pytest.mark.parametrize(
    ("framing", "options", "side", "word", "percent", "valid"),
    [
        ("preference", "yes_somewhat_no", "positive", "yes", 94, 49),
        ("preference", "enjoyed_indifferent_disliked", "positive", "enjoyed", 28, 47),
        ("honest_ok_dislike", "yes_somewhat_no", "negative", "no", 93, 43),
    ],
)
def test_the_published_shares_come_out(post_task, framing, options, side, word, percent, valid):
    found = cell(positivity(post_task), framing=framing, options=options)
    assert (found["asked"], found["valid"], found[f"{side}_word"]) == (50, valid, word)
    assert round(100 * found[f"{side}_share"]) == percent
    assert found["interval"] == "each task once"


def test_all_1200_questions_are_accounted_for(post_task):
    found = positivity(post_task)
    assert len(found) == 24
    assert found["asked"].sum() == 1200
    kinds = ("valid", "refusals", "unparseable", "errors")
    assert found.select(pl.col(name).sum() for name in kinds).row(0) == (1091, 9, 0, 100)
    assert (found["valid"] == found["positive"] + found["middle"] + found["negative"]).all()


def test_binary_answers_of_several_models_are_told_by_origin_and_have_no_middle():
    rows = pl.read_parquet(DATA / "binary_multimodel_by_origin.parquet").with_columns(
        task_id=pl.format("{}-{}", "origin", "place"),
        rating=pl.coalesce("parsed", pl.lit("unparseable")),
        value=pl.col("parsed").replace_strict({"positive": 1, "negative": -1}, default=None),
    )
    found = positivity(rows, ("model", "origin"))
    assert len(found) == 4 * 3 * 3 * 4
    key = {"model": "llama-3.1-8b", "framing": "standard"}
    one = cell(found, origin="WILDCHAT", options="yes_no", **key)
    assert (one["positive"], one["negative"], one["middle"], one["positive_share"]) == (6, 19, None, 0.24)
    other = cell(found, origin="WILDCHAT", options="enjoyed_disliked", **key)
    assert (other["positive"], other["negative"], other["unparseable"], other["valid"]) == (19, 4, 2, 23)
    assert cell(positivity(rows, ("model",)), options="good_bad", **key)["positive_share"] == pytest.approx(58 / 75)


def test_each_task_once_gives_wilsons_interval_and_students():
    ratings = rated([(f"t{place}", "good" if place < 7 else "bad" if place < 9 else "neutral") for place in range(20)])
    (found,) = positivity(ratings).iter_rows(named=True)
    wilson = stats.binomtest(7, 20).proportion_ci(0.95, method="wilson")
    assert (found["positive_lower"], found["positive_upper"]) == pytest.approx((wilson.low, wilson.high))
    student = stats.ttest_1samp(ratings["value"].to_numpy(), 0).confidence_interval(0.95)
    assert (found["mean_lower"], found["mean_upper"]) == pytest.approx((student.low, student.high))


def test_a_task_that_always_gets_the_same_answer_counts_once_however_often_it_is_asked():
    once = [(f"t{place}", "good" if place < 7 else "bad") for place in range(20)]
    (single,) = positivity(rated(once)).iter_rows(named=True)
    (repeated,) = positivity(rated(once * 5)).iter_rows(named=True)
    assert (repeated["valid"], repeated["tasks"], repeated["interval"]) == (100, 20, "clustered by task")
    for name in ("positive_lower", "positive_upper", "mean_lower", "mean_upper"):
        assert repeated[name] == pytest.approx(single[name], abs=0.012)


def test_answers_that_have_nothing_to_do_with_the_task_count_each():
    """Each of 50 tasks gets good and bad once: tasks do not differ at all."""
    (found,) = positivity(rated([(f"t{place}", word) for place in range(50) for word in ("good", "bad")])).iter_rows(
        named=True
    )
    wilson = stats.binomtest(50, 100).proportion_ci(0.95, method="wilson")
    assert (found["positive_lower"], found["positive_upper"]) == pytest.approx((wilson.low, wilson.high))


def test_answers_that_are_all_equal_leave_room_for_others():
    (found,) = positivity(rated([(f"t{place}", "neutral") for place in range(49)])).iter_rows(named=True)
    room = 1 - stats.binomtest(49, 49).proportion_ci(0.95, method="wilson").low
    assert (found["mean_value"], found["mean_lower"], found["mean_upper"]) == pytest.approx((0, -room, room))
    assert (found["positive_share"], found["positive_lower"]) == (0, 0)
    assert found["positive_upper"] == pytest.approx(room)


def test_no_answer_is_no_zero():
    (found,) = positivity(rated([("a", "refusal"), ("b", "unparseable"), ("c", None)])).iter_rows(named=True)
    assert (found["asked"], found["valid"], found["refusals"], found["unparseable"], found["errors"]) == (3, 0, 1, 1, 1)
    assert (found["positive"], found["positive_share"], found["mean_value"]) == (0, None, None)
    assert found["interval"] == "no valid answer"
    (single,) = positivity(rated([("a", "good"), ("a", "bad")])).iter_rows(named=True)
    assert (single["mean_value"], single["mean_lower"]) == (0, None)
    assert positivity(rated([])).columns == list(POSITIVITY)


def test_a_refusal_with_a_value_is_refused():
    with pytest.raises(ValueError, match="1 ratings"):
        positivity(rated([("a", "good"), ("b", "refusal")]).with_columns(value=pl.lit(1)))
