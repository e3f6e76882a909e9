"""Synthetic battles look like the released ones, and hold what is said to be planted in them."""

import json

import numpy as np
import polars as pl
import pytest

from prefassets.domain.arena.synthetic_battles import planted_battles, synthetic_battles

WINNERS = ["winner_model_a", "winner_model_b", "winner_tie"]
COUNT = 8_000


@pytest.fixture(scope="module")
def battles():
    return planted_battles(seed=1, count=COUNT)


@pytest.fixture(scope="module")
def texts(battles):
    return {name: [json.loads(cell) for cell in battles.rows[name]] for name in ("prompt", "response_a", "response_b")}


@pytest.fixture(scope="module")
def winner(battles):
    return battles.rows.select(pl.col(WINNERS).cast(pl.Int64())).to_numpy()


def test_rows_have_the_columns_of_the_released_file_as_text_and_their_line(battles):
    assert battles.rows.schema == {
        "id": pl.String,
        "model_a": pl.String,
        "model_b": pl.String,
        "prompt": pl.String,
        "response_a": pl.String,
        "response_b": pl.String,
        "winner_model_a": pl.String,
        "winner_model_b": pl.String,
        "winner_tie": pl.String,
        "line": pl.Int64,
    }
    assert battles.rows["line"].to_list() == list(range(2, COUNT + 2))
    assert battles.rows["id"].n_unique() == COUNT


def test_one_of_three_won_and_as_often_as_in_the_released_file(winner):
    assert (winner.sum(axis=1) == 1).all()
    np.testing.assert_allclose(winner.mean(axis=0), [0.349, 0.342, 0.309], atol=0.02)


def test_the_longer_answer_wins_as_often_as_in_the_released_file(texts, winner):
    length_a, length_b = (np.array([sum(map(len, filter(None, of))) for of in texts[f"response_{x}"]]) for x in "ab")
    decided = (winner[:, 2] == 0) & (length_a != length_b)

    assert np.mean((length_a > length_b)[decided] == (winner[:, 0] == 1)[decided]) == pytest.approx(0.615, abs=0.02)


def test_oddities_of_the_released_file_are_there(battles, texts):
    turns = np.array([len(prompts) for prompts in texts["prompt"]])
    assert np.mean(turns > 1) == pytest.approx(0.13, abs=0.015)
    answers = set(battles.rows["response_a"]) | set(battles.rows["response_b"])
    assert {"[null]", "[]", '[""]'} <= answers
    for side in ("response_a", "response_b"):
        assert all(len(of) in (0, len(prompts)) for of, prompts in zip(texts[side], texts["prompt"], strict=True))
    equal = battles.rows.filter(pl.col("response_a") == pl.col("response_b"))
    assert len(equal) / COUNT == pytest.approx(0.012, abs=0.005)
    assert battles.rows["prompt"].n_unique() < 0.95 * COUNT
    assert 12 <= battles.rows["model_a"].n_unique() == battles.rows["model_b"].n_unique()
    assert not (battles.rows["model_a"] == battles.rows["model_b"]).any()


def test_texts_are_short(texts):
    openings = [prompts[0].split() for prompts in texts["prompt"]]
    assert {len(words) for words in openings} <= set(range(8, 24))
    answers = [text.split() for of in texts["response_a"] for text in of if text]
    assert {len(words) for words in answers} <= set(range(10, 41))


def test_winners_are_drawn_with_the_planted_probabilities(battles, winner):
    chances = battles.planted.select("a", "b", "tie").to_numpy()
    np.testing.assert_allclose(chances.sum(axis=1), 1)

    for place in range(3):  # in tenths by probability, as often as said
        order = np.argsort(chances[:, place], kind="stable")
        for some in np.array_split(order, 10):
            assert winner[some, place].mean() == pytest.approx(chances[some, place].mean(), abs=0.06)


def test_answers_adapt_and_begin_so_where_it_is_planted(battles, texts):
    def begins_adapted(sentences: list[str]) -> list[bool]:
        return [
            text.startswith(("Given what you told", "Since you mentioned", "For you personally")) for text in sentences
        ]

    for side in "ab":
        found = [[begins_adapted(text.split(". ")) for text in of if text] for of in texts[f"response_{side}"]]
        assert [bool(of) and all(map(any, of)) for of in found] == battles.planted[f"adapts_{side}"].to_list()
        assert [bool(of) and all(text[0] for text in of) for of in found] == battles.planted[f"begins_{side}"].to_list()


def test_words_alone_do_not_tell_which_answer_begins_so(battles, texts):
    began = {}
    for of, adapts, begins in zip(
        texts["response_a"], battles.planted["adapts_a"], battles.planted["begins_a"], strict=True
    ):
        for word in {word.strip(".,") for text in of if text for word in text.split()} if adapts else ():
            began.setdefault(word, []).append(begins)

    shares = [np.mean(those) for those in began.values() if len(those) > 400]
    assert len(shares) > 50
    assert np.std(shares) < 0.05


def test_stronger_models_win_more_often(battles, winner):
    won = battles.rows.with_columns(a=pl.Series(winner[:, 0]), b=pl.Series(winner[:, 1]))
    strong = won.filter(model_a="birch-large", model_b="larch-3b")
    weak = won.filter(model_a="larch-3b", model_b="birch-large")

    assert strong["a"].mean() > 2 * strong["b"].mean()
    assert weak["b"].mean() > 2 * weak["a"].mean()


def test_equal_arguments_give_equal_battles_and_others_do_not():
    assert synthetic_battles(3, 50).equals(synthetic_battles(3, 50))
    assert not synthetic_battles(3, 50).equals(synthetic_battles(4, 50))


def test_no_battle_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        synthetic_battles(0, 0)
