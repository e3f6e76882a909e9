"""Baselines find a preference for length, form or words where there is one, and nothing where there is none."""

from collections.abc import Callable
from functools import cache

import numpy as np
import polars as pl
import pytest

from prefassets.domain.arena.baselines import PREDICTION_SCHEMA, baseline_predictions
from prefassets.resources.arena_tables import PREDICTION_COLUMNS

VOCABULARY = [f"{first}{second}" for first in ("ba", "de", "ki", "lo", "mu") for second in ("n", "r", "s", "t", "x")]
Better = Callable[[list[str], list[str]], float]  # the log odds of A over B, of the words of both


def made_battles(count: int, better: Better, seed: int = 0, equal_lengths: bool = False) -> pl.DataFrame:
    """Battles of random words whose winner is drawn by Davidson's model of ties."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(count):
        lengths = generator.integers(5, 40, size=2) if not equal_lengths else [20, 20]
        a, b = ([str(word) for word in generator.choice(VOCABULARY, size=length)] for length in lengths)
        if equal_lengths:  # in characters, too
            b = [str(word) for word in generator.permutation(a)[:19]] + [str(generator.choice(["**yes**", "neither"]))]
            a = [*a[:19], str(generator.choice(["**yes**", "neither"]))]
        lead = better(a, b)
        weights = np.exp([lead / 2, -lead / 2, 0])
        found.append(
            {
                "battle": str(number),
                "prompts": [" ".join(generator.choice(VOCABULARY, size=6))],
                "answers_a": [" ".join(a)],
                "answers_b": [" ".join(b)],
                "winner": str(generator.choice(["A", "B", "tie"], p=weights / weights.sum())),
                "prompt_digest": f"{number % (count - count // 10):012x}",
            }
        )
    return pl.DataFrame(found).with_columns(
        turns=pl.lit(1),
        length_a=pl.col("answers_a").list.first().str.len_chars().cast(pl.Int64),
        length_b=pl.col("answers_b").list.first().str.len_chars().cast(pl.Int64),
    )


def nothing(a: list[str], b: list[str]) -> float:
    return 0.0


def length(a: list[str], b: list[str]) -> float:
    return 2.0 * float(np.log(len(a) / len(b)))


def bold(a: list[str], b: list[str]) -> float:
    return 2.0 * (("**yes**" in a) - ("**yes**" in b))


def word(a: list[str], b: list[str]) -> float:
    return 1.5 * (("lox" in a) - ("lox" in b))


@cache
def over_prior(better: Better, equal_lengths: bool = False) -> dict[str, tuple[float, float]]:
    """Log loss minus that of the prior on 700 battles, having learned from 1,500, and its standard error."""
    battles = made_battles(2_200, better, equal_lengths=equal_lengths)
    training, held_out = battles.head(1_500), battles.tail(700)
    losses = log_losses(baseline_predictions(training, held_out, seed=0), held_out)
    differences = losses.select(pl.col("longer", "length_and_words") - pl.col("prior"))
    return {column.name: (column.mean(), column.std() / np.sqrt(len(column))) for column in differences}


def log_losses(predictions: pl.DataFrame, battles: pl.DataFrame) -> pl.DataFrame:
    """One column per predictor."""
    said = predictions.join(battles.select("battle", "winner"), on="battle").with_columns(
        pl.coalesce(
            pl.when(winner=winner).then(pl.col(column)) for winner, column in (("A", "a"), ("B", "b"), ("tie", "tie"))
        ).alias("p")
    )
    return said.select("predictor", "battle", loss=-pl.col("p").log()).pivot("predictor", index="battle", values="loss")


def exchanged(battles: pl.DataFrame) -> pl.DataFrame:
    return battles.rename(
        {"answers_a": "answers_b", "answers_b": "answers_a", "length_a": "length_b", "length_b": "length_a"}
    )


def battle(name: str, winner: str, length_a: int, length_b: int) -> dict[str, object]:
    return {
        "battle": name,
        "prompts": ["Hi"],
        "answers_a": ["a" * length_a],
        "answers_b": ["b" * length_b],
        "winner": winner,
        "turns": 1,
        "length_a": length_a,
        "length_b": length_b,
        "prompt_digest": name,
    }


def test_prior_and_longer_are_shares_with_three_battles_more():
    won = [("A", 2, 1)] * 5 + [("B", 2, 1)] + [("B", 1, 2)] * 4 + [("tie", 1, 2)] * 2
    training = pl.DataFrame([battle(str(number), *each) for number, each in enumerate(won)])
    asked = pl.DataFrame([battle("longer a", "A", 9, 1), battle("longer b", "A", 1, 9), battle("equal", "A", 1, 1)])
    found = baseline_predictions(training, asked, seed=0)
    prior = np.array([5 + 1, 5 + 1, 2 + 1]) / (12 + 3)
    said = {key: found.filter(predictor=key).select("a", "b", "tie").to_numpy() for key in ("prior", "longer")}
    assert said["prior"] == pytest.approx(np.tile(prior, (3, 1)))
    assert said["longer"][0] == pytest.approx((np.array([5, 1, 0]) + 3 * prior) / (6 + 3))
    assert said["longer"][1] == pytest.approx((np.array([0, 4, 2]) + 3 * prior) / (6 + 3))
    assert said["longer"][2] == pytest.approx(prior), "of what was never seen, the prior"


def test_the_table_takes_what_is_predicted():
    battles = made_battles(300, length)
    found = baseline_predictions(battles.head(200), battles.tail(100), seed=0)
    assert found.schema == PREDICTION_SCHEMA == {name: column.dtype for name, column in PREDICTION_COLUMNS.items()}
    assert found["predictor"].unique(maintain_order=True).to_list() == ["prior", "longer", "length_and_words"]
    for _, of_one in found.group_by("predictor"):
        assert of_one["battle"].to_list() == battles.tail(100)["battle"].to_list()
    assert found.select(pl.sum_horizontal("a", "b", "tie")).to_series().to_list() == pytest.approx([1] * 300)
    assert found.select("a_swapped", "b_swapped", "tie_swapped", "tokens", "left_out").null_count().row(0) == (300,) * 5
    assert baseline_predictions(battles, battles.clear(), seed=0).equals(found.clear())


@pytest.mark.parametrize("predictor", ["longer", "length_and_words"])
def test_a_preference_for_longer_answers_is_found(predictor):
    difference, error = over_prior(length)[predictor]
    assert difference < -3 * error


@pytest.mark.parametrize(("better", "equal_lengths"), [(bold, True), (word, False)])
def test_a_preference_for_a_form_or_a_word_is_found(better, equal_lengths):
    difference, error = over_prior(better, equal_lengths)["length_and_words"]
    assert difference < -3 * error
    assert difference < over_prior(better, equal_lengths)["longer"][0]


@pytest.mark.parametrize("predictor", ["longer", "length_and_words"])
def test_nothing_is_found_where_there_is_nothing(predictor):
    difference, error = over_prior(nothing)[predictor]
    assert abs(difference) < 2 * error + 0.001  # one in a thousand: much less than any finding


def test_exchanging_the_answers_exchanges_what_length_and_words_say():
    battles = made_battles(900, length)
    asked = battles.tail(200)
    given, other = (
        baseline_predictions(battles.head(700), each, seed=0).filter(predictor="length_and_words")
        for each in (asked, exchanged(asked))
    )
    assert given.select("a", "b", "tie").to_numpy() == pytest.approx(other.select("b", "a", "tie").to_numpy())
    assert given["a"].std() > 0.01, "it has learned something"


def test_nothing_is_learned_from_the_battles_that_are_predicted():
    battles = made_battles(900, length)
    training, asked = battles.head(700), battles.tail(200)
    found = baseline_predictions(training, asked, seed=0)
    unjudged = asked.with_columns(winner=pl.lit(None, pl.String))
    assert baseline_predictions(training, unjudged, seed=0).equals(found)
    alone = baseline_predictions(training, asked.head(3), seed=0)
    assert alone.equals(found.filter(pl.col("battle").is_in(asked.head(3)["battle"].to_list())))


def test_neither_the_order_of_training_nor_the_names_of_models_matter():
    battles = made_battles(900, length)
    training, asked = battles.head(700), battles.tail(200)
    shuffled = training.sample(fraction=1, shuffle=True, seed=4).with_columns(model_a=pl.col("winner"))
    assert baseline_predictions(shuffled, asked, seed=0).equals(baseline_predictions(training, asked, seed=0))


@pytest.mark.parametrize("count", [1, 2, 9, 40])
@pytest.mark.parametrize("winners", [["A"], ["tie"], ["A", "A", "B"]])
def test_of_few_battles_and_absent_winners_every_probability_is_above_zero(count, winners):
    training = made_battles(count, nothing).with_columns(winner=pl.Series((winners * count)[:count]))
    found = baseline_predictions(training, made_battles(60, nothing, seed=1), seed=0)
    assert found.select(pl.min_horizontal("a", "b", "tie").min()).item() > 0
    assert found.select(pl.sum_horizontal("a", "b", "tie")).to_series().to_list() == pytest.approx([1] * 180)


def test_answers_without_a_word_are_predicted():
    silent = made_battles(100, nothing).with_columns(
        answers_a=pl.lit([""], pl.List(pl.String)), answers_b=pl.lit([""], pl.List(pl.String)), length_a=0, length_b=0
    )
    assert len(baseline_predictions(silent, silent, seed=0)) == 300


def test_without_training_there_is_no_baseline():
    battles = made_battles(5, nothing)
    with pytest.raises(ValueError, match="no battles to learn from"):
        baseline_predictions(battles.clear(), battles, seed=0)
