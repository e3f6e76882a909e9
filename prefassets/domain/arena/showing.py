"""In which order an adapter is shown its battles, and which of them with their answers exchanged."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefassets.domain.arena.recipe import ArenaRecipe
from prefassets.domain.training.order import data_order

HARD = 0.25  # share of the battles of each winner, those that the base model predicts worst


class Showing(NamedTuple):
    """Which battle stands at each place of a training, step after step, and whether its answers are exchanged."""

    battle: NDArray[np.int64]
    swapped: NDArray[np.bool_]


def showing(
    recipe: ArenaRecipe, seed: int, winner: NDArray[np.int64], ease: NDArray[np.float64] | None = None
) -> Showing:
    """What is shown in `recipe.steps` batches of `recipe.batch_size`; an epoch is as many places as there are battles.

    Every battle is shown once before any is shown twice (those of the hard quarter apart, if they have their share).
    What is hard and what is easy is told among battles with the same winner: a base model prefers one digit to the
    others, whatever it reads, so the easiest of all would be the battles with that winner.

    Args:
        seed: of the order and of which are exchanged.
        winner: of each battle, 0 to 2.
        ease: the base model's log-probability of each winner, where the recipe asks for it.

    Raises:
        ValueError: there is no battle, or the recipe asks for `ease` and there is none.
    """
    places = recipe.steps * recipe.batch_size
    if recipe.hard_share is None and recipe.order == "shuffled":
        battle = _in_turn(len(winner), places, seed)
    elif ease is None:
        raise ValueError(f"recipe {recipe.name} shows battles by how easy they are, and that was not given")
    else:
        battle = _by_ease(recipe, seed, _rank(winner, ease))
    return Showing(battle, _exchanged(len(winner), places, seed) if recipe.swapped else np.zeros(places, dtype=bool))


def _by_ease(recipe: ArenaRecipe, seed: int, rank: NDArray[np.float64]) -> NDArray[np.int64]:
    places = recipe.steps * recipe.batch_size
    if recipe.hard_share is None:
        battle = _in_turn(len(rank), places, seed)
    else:
        (hard,), (others,) = np.nonzero(rank < HARD), np.nonzero(rank >= HARD)
        due = np.floor(np.arange(places + 1) * recipe.hard_share)
        is_hard = np.diff(due) > 0  # evenly over all batches
        battle = np.empty(places, dtype=np.int64)
        for some, here in ((hard, is_hard), (others, ~is_hard)):
            battle[here] = some[_in_turn(len(some), int(here.sum()), seed)]
    if recipe.order == "easiest first":
        for begin in range(0, places, len(rank)):
            epoch = battle[begin : begin + len(rank)]
            battle[begin : begin + len(rank)] = epoch[np.argsort(-rank[epoch], kind="stable")]
    return battle


def _rank(winner: NDArray[np.int64], ease: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of battles with the same winner that are harder, 0 to below 1."""
    rank = np.empty(len(winner))
    for each in np.unique(winner):
        (same,) = np.nonzero(winner == each)
        rank[same[np.argsort(ease[same], kind="stable")]] = np.arange(len(same)) / len(same)
    return rank


def _in_turn(battles: int, places: int, seed: int) -> NDArray[np.int64]:
    return np.asarray(data_order(battles, 1, places, seed)[0], dtype=np.int64)


def _exchanged(battles: int, places: int, seed: int) -> NDArray[np.bool_]:
    """Half of each epoch's places, others in each epoch."""
    generator = np.random.default_rng(seed)
    epochs = [generator.permutation(np.arange(battles) % 2 == 1) for _ in range(0, places, battles)]
    return np.concatenate(epochs)[:places]
