"""Synthetic tasks: several hundred of each kind, no two alike, the same for the same seed."""

import re

import polars as pl
import pytest

from prefassets.domain.preferences.synthetic_tasks import PATTERNS, TASKS_PER_ORIGIN, WORDS, synthetic_tasks
from prefassets.domain.preferences.tasks import usable_tasks

KINDS = {"MATH", "ALPACA", "WILDCHAT", "BAILBENCH"}


@pytest.fixture(scope="module")
def made() -> pl.DataFrame:
    return synthetic_tasks(0)


def test_equal_seeds_give_equal_tasks_and_others_others(made):
    assert made.equals(synthetic_tasks(0))
    assert not made.equals(synthetic_tasks(1))


def test_there_are_as_many_of_each_kind(made):
    assert dict(made.group_by("origin").len().rows()) == dict.fromkeys(KINDS, TASKS_PER_ORIGIN)
    assert made["task_id"].is_unique().all()


@pytest.mark.parametrize("seed", range(12))
def test_no_two_are_alike_and_all_can_be_asked(seed):
    usable = usable_tasks(synthetic_tasks(seed), seed)
    assert usable.dropped == {}
    assert usable.tasks.height == 4 * TASKS_PER_ORIGIN


def test_every_topic_of_every_kind_is_there_with_all_its_patterns(made):
    for origin, topics in PATTERNS.items():
        for topic, patterns in topics.items():
            texts = made.filter(origin=origin, topic=topic)["text"]
            assert len(texts) >= 20
            for pattern in patterns:
                shape = re.sub(r"\\{\w+\\}", ".+", re.escape(pattern))
                assert texts.str.contains(f"^{shape}$").any(), pattern


def test_every_word_is_used(made):
    texts = " ".join(made["text"])
    assert [word for words in WORDS.values() for word in words if str(word) not in texts] == []


def test_texts_are_short_and_have_no_unfilled_place(made):
    assert made["text"].str.len_chars().max() < 150
    assert not made["text"].str.contains(r"[{}]").any()
