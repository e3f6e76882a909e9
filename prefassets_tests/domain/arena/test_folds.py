"""Folds part no prompt, have equal shares of every winner, and follow from the seed alone."""

import numpy as np
import polars as pl
import pytest

from prefassets.domain.arena.folds import battle_folds
from prefassets.resources.tables import TABLES


def made_battles(count: int, prompts: int, seed: int = 0) -> pl.DataFrame:
    """Battles on so many prompts, of which few have most battles; 35 % are won by A, 34 % by B."""
    generator = np.random.default_rng(seed)
    popular = 1 / np.arange(1, prompts + 1)
    drawn = [*range(prompts), *generator.choice(prompts, size=count - prompts, p=popular / popular.sum())]
    return pl.DataFrame(
        {
            "battle": [str(number) for number in range(count)],
            "prompt_digest": [f"{prompt:012x}" for prompt in drawn],
            "winner": generator.choice(["A", "B", "tie"], size=count, p=[0.35, 0.34, 0.31]),
        }
    )


def uneven(folds: pl.DataFrame, battles: pl.DataFrame) -> float:
    """By how many battles of one winner a fold differs from a tenth, at most."""
    won = (
        folds.join(battles, on="battle")
        .group_by("fold", "winner")
        .len()
        .join(battles.group_by("winner").agg(tenth=pl.len() / 10), on="winner")
    )
    assert len(won) == 30
    return won.select((pl.col("len") - pl.col("tenth")).abs().max()).item()


def test_every_battle_is_in_one_fold_and_no_prompt_in_two():
    battles = made_battles(2_000, prompts=1_200)
    folds = battle_folds(battles, seed=0)
    assert folds.schema == TABLES["arena.folds"].schema
    assert folds["battle"].to_list() == sorted(battles["battle"])
    assert folds.select("battle", "prompt_digest").join(battles, on=["battle", "prompt_digest"]).height == 2_000
    assert folds.group_by("prompt_digest").agg(pl.col("fold").n_unique())["fold"].unique().to_list() == [1]


def test_two_folds_are_held_out_one_is_validation_and_seven_are_training():
    folds = battle_folds(made_battles(500, prompts=400), seed=0)
    assert set(folds.select("fold", "part").rows()) == {
        (0, "held_out"),
        (1, "held_out"),
        (2, "validation"),
        *((fold, "training") for fold in range(3, 10)),
    }
    assert folds["part"].value_counts().sort("count")["count"].to_list() == pytest.approx([50, 100, 350], abs=12)


def test_every_fold_has_its_share_of_each_winner():
    battles = made_battles(3_000, prompts=2_700)
    assert uneven(battle_folds(battles, seed=0), battles) < 10, "of some hundred"


def test_the_seed_alone_decides():
    battles = made_battles(400, prompts=300)
    assert battle_folds(battles.sample(fraction=1, shuffle=True, seed=9), seed=1).equals(battle_folds(battles, seed=1))
    assert not battle_folds(battles, seed=1).equals(battle_folds(battles, seed=2))


def test_the_prompt_with_most_battles_is_not_always_held_out():
    battles = made_battles(400, prompts=300)
    often = battles["prompt_digest"].mode().sort()[0]
    found = {battle_folds(battles, seed=seed).filter(prompt_digest=often)["fold"][0] for seed in range(40)}
    assert len(found) > 6


def test_too_few_prompts_or_battles_are_refused_in_words():
    battles = made_battles(60, prompts=60)
    assert set(battle_folds(battles, seed=0)["fold"]) == set(range(10))
    few = battles.with_columns(prompt_digest=pl.col("prompt_digest").str.head(11))
    with pytest.raises(ValueError, match=r"have 4 different prompts and \d+ of their .*10 of both.*Add battles"):
        battle_folds(few, seed=0)
    with pytest.raises(ValueError, match=r"have 9 different prompts and \d of their most frequent winner"):
        battle_folds(battles.head(9), seed=0)
