"""The tiny base model: reproducible, trained on every response, blind to scores."""

import math

import polars as pl
import pytest

from prefassets.domain.training.tiny import conversations, train_tiny


def test_equal_corpus_and_seed_give_equal_weights(texts):
    first, again, other = (train_tiny(texts[:200], seed=seed, steps=2) for seed in (3, 3, 4))

    assert first.language_model.to_files() == again.language_model.to_files()
    assert first.final_loss == again.final_loss
    assert first.language_model.revision != other.language_model.revision


def test_training_learns_and_reports_what_it_saw(texts):
    steps = []
    trained = train_tiny(texts, seed=0, steps=25, on_step=lambda step, total: steps.append((step, total)))

    assert steps == [(step, 25) for step in range(1, 26)]
    assert trained.tokens_seen == 25 * 32 * 128
    assert trained.final_loss < math.log(trained.language_model.description()["vocabulary"]) - 1  # better than guessing


def test_any_text_can_be_written_in_its_tokens(tiny):
    text = "naïve 漢字 🙂 \t x = {'a': 1}\n\n"
    assert tiny.tokenizer.decode(tiny.tokenizer(text)["input_ids"]) == text


def test_chat_template_is_chatml_without_a_system_prompt(tiny):
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert tiny.tokenizer.apply_chat_template(messages, tokenize=False) == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
    )


def test_every_response_is_in_one_conversation_whatever_was_chosen():
    def utterance(turn: int, within_turn_id: int, score: int, if_chosen: bool) -> tuple:
        return "c0", turn, within_turn_id, f"question {turn}", f"answer {turn}.{within_turn_id}", score, if_chosen

    columns = ["conversation_id", "turn", "within_turn_id", "user_prompt", "model_response", "score", "if_chosen"]
    rows = [utterance(0, 0, 9, False), utterance(0, 1, 80, True), utterance(0, 2, 1, False)]
    rows += [utterance(1, 0, 5, False), utterance(1, 1, 7, True)]
    table = pl.DataFrame(rows, schema=columns, orient="row")

    found = [[message["content"] for message in text] for text in conversations(table)]
    assert found == [
        ["question 0", "answer 0.0", "question 1", "answer 1.0"],
        ["question 0", "answer 0.1", "question 1", "answer 1.1"],
        ["question 0", "answer 0.2"],
    ]
    judged_otherwise = table.with_columns(score=100 - pl.col("score"), if_chosen=~pl.col("if_chosen"))
    assert conversations(judged_otherwise) == conversations(table)


def test_no_text_is_an_error_that_says_what_is_missing():
    with pytest.raises(ValueError, match=r"prism\.utterances"):
        train_tiny([], seed=0, steps=1)
