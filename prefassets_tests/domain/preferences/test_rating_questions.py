"""The rating questions are those of the positivity experiment, and its answers are read as it read them.

`post_task_6x4.parquet` and `binary_multimodel_by_origin.parquet` are all answers of the files `post_task_6x4.json` and
`binary_multimodel_by_origin_results.json` of probing-persona-preferences (MIT), as rows; `place` numbers the tasks of
an origin, which the second file does not name.
"""

from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from prefassets.domain.preferences.rating_questions import FRAMINGS, OPTIONS, Options, parse_rating, rating_question

DATA = Path(__file__).parents[2] / "data" / "preferences"
YES_NO, ENJOYED = OPTIONS["yes_somewhat_no"], OPTIONS["enjoyed_indifferent_disliked"]
GOOD = OPTIONS["good_neutral_bad"]


@pytest.fixture(scope="module")
def post_task():
    return pl.read_parquet(DATA / "post_task_6x4.parquet")


def test_every_question_is_worded_as_it_was_asked(post_task):
    asked = post_task.select("framing", "options", "question").unique()
    assert len(asked) == 24
    for framing, options, question in asked.iter_rows():
        assert rating_question(FRAMINGS[framing], OPTIONS[options]) == question


def test_all_1200_answers_are_read_as_they_were_read_and_nine_are_also_seen_to_decline(post_task):
    answers = post_task.filter(~pl.col("raw").str.starts_with("ERROR"))
    read = [parse_rating(raw, OPTIONS[options]) for options, raw in answers.select("options", "raw").iter_rows()]
    others = Counter((mine, theirs) for mine, theirs in zip(read, answers["parsed"], strict=True) if mine != theirs)
    assert (len(post_task), len(answers)) == (1200, 1100)
    assert others == {("refusal", None): 9}


def test_of_3600_binary_answers_one_was_read_as_a_word_it_denies():
    rows = pl.read_parquet(DATA / "binary_multimodel_by_origin.parquet")
    sides = {1: "positive", -1: "negative"}
    differing = []
    for name, raw, parsed in rows.select("options", "raw", "parsed").iter_rows():
        options = Options(name, tuple(name.split("_")))
        if sides.get(options.value(parse_rating(raw, options))) != parsed:
            differing.append((parsed, raw))
    assert differing == [
        ("positive", "I don't have personal experiences or emotions, so I neither enjoyed nor disliked completing")
    ]


@pytest.mark.parametrize(
    ("answer", "options", "rating"),
    [
        ("**Good**", GOOD, "good"),
        ("'good'", GOOD, "good"),
        ("Rating: neutral", GOOD, "neutral"),
        ("I would say it was bad.", GOOD, "bad"),
        ("As an AI, I don't have feelings, but I would rate it as good.", GOOD, "good"),
        ("I\u2019d say no.", YES_NO, "no"),
        ("No. It was somewhat dull.", YES_NO, "no"),
        ("Yes, I enjoyed it", YES_NO, "yes"),
        ("not bad", GOOD, "unparseable"),
        ("good, neutral, bad", GOOD, "unparseable"),
        ("yes, somewhat", YES_NO, "unparseable"),
        ("There is no task mentioned prior to this question.", YES_NO, "unparseable"),
        ("goodness", GOOD, "unparseable"),
        ("It was fun", ENJOYED, "unparseable"),
        ("", GOOD, "unparseable"),
        ("Neither.", ENJOYED, "refusal"),
        ("As an AI language model, I do not have good or bad experiences", GOOD, "refusal"),
        ("I can't rate that.", GOOD, "refusal"),
        ("<refusal>No", YES_NO, "refusal"),
        ("<refusal>I'm sorry. That was a bad request.", GOOD, "refusal"),
        ("<think>Did I enjoy it? it was good", GOOD, "unparseable"),
        ("<think>It was good.</think>Bad", GOOD, "bad"),
        ("It was good.</think>Bad", GOOD, "bad"),
        ("The task was hardly good", GOOD, "unparseable"),
        ("It was anything but good", GOOD, "unparseable"),
        ("It was no good", GOOD, "unparseable"),
    ],
)
def test_words_around_a_rating_do_not_matter_and_a_denied_word_is_none(answer, options, rating):
    assert parse_rating(answer, options) == rating


def test_the_first_word_is_the_most_positive_and_what_is_no_word_has_no_value():
    assert [YES_NO.value(word) for word in ("yes", "somewhat", "no", "refusal")] == [1, 0, -1, None]
    assert [Options("yes_no", ("yes", "no")).value(word) for word in ("yes", "no")] == [1, -1]
