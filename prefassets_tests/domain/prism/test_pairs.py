"""A pair is two answers by one model to one later prompt of one user, the better-scored first."""

import polars as pl
import pytest

from prefassets.domain.prism.pairs import tied_pairs, within_model_pairs
from prefassets_tests.domain.prism.small_prism import CLAUDE, GPT, UTTERANCES, utterance, utterance_frame


def said(*texts: str) -> list[dict[str, str]]:
    """Messages of user and assistant in turn."""
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


def test_the_better_scored_answer_is_chosen(utterances):
    pairs = within_model_pairs(utterances).pairs
    assert pairs.drop("prompt").rows() == [
        ("c0.1", "user0", "c0", 1, CLAUDE, "answer 1b", "answer 1a", 90, 60, 30),
        ("c0.3", "user0", "c0", 3, CLAUDE, "answer 3a", "answer 3b", 70, 69, 1),
        ("c1.2", "user1", "c1", 2, GPT, "answer 2b", "answer 2a", 100, 1, 99),
    ]


def test_the_prompt_is_the_conversation_so_far(utterances):
    prompts = dict(within_model_pairs(utterances).pairs.select("pair_id", "prompt").iter_rows())
    assert prompts["c0.1"] == said("question 0", "answer 0b", "question 1")
    assert prompts["c0.3"] == said(
        "question 0", "answer 0b", "question 1", "answer 1b", "question 2", "the same", "question 3"
    )
    assert prompts["c1.2"] == said("question 0", "answer 0a", "question 1", "answer 1a", "question 2")


def test_ties_and_lone_answers_are_dropped_and_counted(utterances):
    assert within_model_pairs(utterances).dropped == {"ties": 1, "lone answers": 1}


def test_the_order_of_the_utterances_does_not_matter(utterances):
    shuffled = within_model_pairs(utterances.sample(fraction=1, shuffle=True, seed=3))
    assert shuffled.pairs.equals(within_model_pairs(utterances).pairs)


def test_of_several_chosen_answers_the_first_stands_in_the_prompt():
    lines = [
        utterance(0, "c0", 0, 1, GPT, 90, if_chosen=True),
        utterance(1, "c0", 0, 0, CLAUDE, 90, if_chosen=True),
        *UTTERANCES[2:4],
    ]
    (prompt,) = within_model_pairs(utterance_frame(lines)).pairs["prompt"].to_list()
    assert prompt == said("question 0", "answer 0a", "question 1")


def test_where_no_answer_is_marked_chosen_the_best_scored_stands_in_the_prompt():
    lines = [utterance(0, "c0", 0, 0, GPT, 40), utterance(1, "c0", 0, 1, CLAUDE, 80), *UTTERANCES[2:4]]
    (prompt,) = within_model_pairs(utterance_frame(lines)).pairs["prompt"].to_list()
    assert prompt == said("question 0", "answer 0b", "question 1")


def test_opening_answers_make_no_pairs_even_of_one_model():
    lines = [utterance(0, "c0", 0, 0, CLAUDE, 40), utterance(1, "c0", 0, 1, CLAUDE, 80)]
    found = within_model_pairs(utterance_frame(lines))
    assert found.pairs.is_empty()
    assert found.dropped == {"ties": 0, "lone answers": 0}


def test_single_answers_of_two_models_are_lone_answers():
    lines = [*UTTERANCES[:2], utterance(2, "c0", 1, 0, CLAUDE, 40), utterance(3, "c0", 1, 1, GPT, 80)]
    found = within_model_pairs(utterance_frame(lines))
    assert found.pairs.is_empty()
    assert found.dropped == {"ties": 0, "lone answers": 2}


def test_a_third_answer_by_one_model_is_refused():
    lines = [*UTTERANCES[:4], utterance(99, "c0", 1, 2, CLAUDE, 10)]
    with pytest.raises(ValueError, match="turn 1 of conversation c0 has more than two answers by one model"):
        within_model_pairs(utterance_frame(lines))


def test_pairs_of_two_models_at_one_turn_are_refused():
    lines = [*UTTERANCES[:4], utterance(98, "c0", 1, 2, GPT, 10), utterance(99, "c0", 1, 3, GPT, 20)]
    with pytest.raises(ValueError, match="turn 1 of conversation c0 has pairs of two models"):
        within_model_pairs(utterance_frame(lines))


def test_no_utterances_make_no_pairs(utterances):
    nothing = within_model_pairs(utterances.clear())
    assert nothing.pairs.is_empty()
    assert nothing.pairs.schema["prompt"] == pl.List(pl.Struct({"role": pl.String, "content": pl.String}))


def test_ties_can_be_had_apart(utterances):
    assert tied_pairs(utterances).rows() == [("c0.2", "user0", "c0", 2, CLAUDE, 0)]
    assert tied_pairs(utterances.clear()).is_empty()
