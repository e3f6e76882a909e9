"""Battles come as the recipe says: each before any again, half exchanged, hard ones more often, easy ones first."""

from dataclasses import replace

import numpy as np
import pytest

from prefassets.domain.arena.recipe import ArenaRecipe
from prefassets.domain.arena.showing import showing

BATTLES = 60
RECIPE = ArenaRecipe(name="r", question="?", model="tiny", steps=30, batch_size=10, warmup_steps=0)
WINNER = np.random.default_rng(0).integers(3, size=BATTLES)
EASE = np.random.default_rng(1).normal(size=BATTLES) - 5.0 * WINNER  # as if the base model always said A


def epochs(places):
    return [places[begin : begin + BATTLES] for begin in range(0, len(places), BATTLES)]


def hardest_quarter():
    return {
        battle
        for winner in range(3)
        for battle in sorted(np.nonzero(winner == WINNER)[0], key=lambda b: EASE[b])[
            : int(np.ceil((winner == WINNER).sum() / 4))
        ]
    }


def test_every_battle_is_shown_once_before_any_is_shown_again():
    shown = showing(RECIPE, 0, WINNER)

    assert len(shown.battle) == RECIPE.steps * RECIPE.batch_size
    assert all(sorted(epoch) == list(range(BATTLES)) for epoch in epochs(shown.battle))
    assert not shown.swapped.any()


def test_half_of_each_epoch_is_exchanged_and_others_in_the_next():
    shown = showing(replace(RECIPE, swapped=True), 0, WINNER)

    assert [epoch.sum() for epoch in epochs(shown.swapped)] == [BATTLES // 2] * 5
    ways = {battle: set() for battle in range(BATTLES)}
    for battle, swapped in zip(shown.battle, shown.swapped, strict=True):
        ways[battle].add(bool(swapped))
    assert sum(len(way) == 2 for way in ways.values()) > 0.8 * BATTLES  # 15 in 16 are expected


def test_the_hard_quarter_of_each_winner_has_its_share_of_every_batch():
    shown = showing(replace(RECIPE, hard_share=0.5), 0, WINNER, EASE)

    hard = np.isin(shown.battle, list(hardest_quarter()))
    assert (hard.reshape(RECIPE.steps, RECIPE.batch_size).sum(axis=1) == 5).all()
    assert set(shown.battle) == set(range(BATTLES))


def test_winners_are_as_common_among_the_hard_as_among_all():
    shown = showing(replace(RECIPE, hard_share=0.5), 0, WINNER, EASE)

    share = np.bincount(WINNER[shown.battle], minlength=3) / len(shown.battle)
    np.testing.assert_allclose(share, np.bincount(WINNER) / BATTLES, atol=0.03)


def test_the_easiest_come_first_in_each_epoch_among_those_with_the_same_winner():
    shown = showing(replace(RECIPE, order="easiest first"), 0, WINNER, EASE)

    for epoch in epochs(shown.battle):
        assert sorted(epoch) == list(range(BATTLES))
        for winner in range(3):
            own = EASE[epoch[WINNER[epoch] == winner]]
            assert (np.diff(own) <= 0).all()
        begin = np.bincount(WINNER[epoch[: BATTLES // 2]], minlength=3) / (BATTLES // 2)
        np.testing.assert_allclose(begin, np.bincount(WINNER) / BATTLES, atol=0.05)


def test_a_seed_gives_one_order_and_another_seed_another():
    recipe = replace(RECIPE, swapped=True)
    once, again, other = (showing(recipe, seed, WINNER) for seed in (0, 0, 1))

    assert (once.battle == again.battle).all()
    assert (once.swapped == again.swapped).all()
    assert (once.battle != other.battle).any()
    assert (once.swapped != other.swapped).any()


def test_ease_is_asked_for_where_the_recipe_needs_it():
    with pytest.raises(ValueError, match="how easy"):
        showing(replace(RECIPE, hard_share=0.5), 0, WINNER)
