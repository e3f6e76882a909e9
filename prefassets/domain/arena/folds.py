"""Which battles are held out: ten folds by prompt, the same for every predictor.

P prompts, F folds, W winners
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.domain.arena.recipe import WINNERS

FOLDS = 10
PART_OF_FOLD = {0: "held_out", 1: "held_out", 2: "validation"}  # the others: training


def battle_folds(battles: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Put every battle in one of ten folds, so that no prompt is in two and every fold has as many of each winner.

    Stratified by winner, grouped by `prompt_digest`, as scikit-learn's StratifiedGroupKFold is, which takes 20 s for
    the 50,000 prompts of Chatbot Arena where this takes 1.

    Args:
        battles: those that somebody judged, with the columns of `BATTLE_SCHEMA`, in any order.
        seed: another seed gives other folds; the same seed and battles give the same.

    Returns:
        `battle`, `prompt_digest`, `fold` (0 to 9) and `part`, sorted by `battle`: folds 0 and 1, a fifth, are held_out,
        fold 2 is validation (for early stopping), the others are training. No fold is empty.

    Raises:
        ValueError: there are fewer different prompts than folds.
    """
    prompts = (
        battles.group_by("prompt_digest")
        .agg((pl.col("winner") == winner).sum().alias(winner) for winner in WINNERS)
        .sort("prompt_digest")
    )
    if len(prompts) < FOLDS:
        raise ValueError(
            f"the battles have {len(prompts)} different prompts, and {FOLDS} folds need at least {FOLDS}: battles of "
            "one prompt are never parted. Add battles."
        )
    fold_P = _dealt(prompts.select(WINNERS).to_numpy().astype(np.float64), np.random.default_rng(seed))
    folds = prompts.select("prompt_digest", pl.Series("fold", fold_P))
    return (
        battles.select("battle", "prompt_digest")
        .join(folds, on="prompt_digest")
        .with_columns(part=pl.col("fold").replace_strict(PART_OF_FOLD, default="training", return_dtype=pl.String))
        .sort("battle")
    )


def _dealt(won_PW: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.int64]:
    """The fold of each prompt: those with most battles first, each where its winners are rarest.

    That fold for which the sum of squared shares of every winner's battles stays smallest: where such folds are as
    good, the one with the fewest battles, so an empty one first.
    """
    shuffled = generator.permutation(len(won_PW))
    order = shuffled[np.argsort(-won_PW[shuffled].sum(axis=1), kind="stable")]
    weight_PW = won_PW / np.maximum(won_PW.sum(axis=0), 1) ** 2
    load_FW = np.zeros((FOLDS, won_PW.shape[1]))
    fold_P = np.empty(len(won_PW), dtype=np.int64)
    for prompt in order:
        fold = np.lexsort((load_FW.sum(axis=1), load_FW @ weight_PW[prompt]))[0]
        load_FW[fold] += won_PW[prompt]
        fold_P[prompt] = fold
    return generator.permutation(FOLDS)[fold_P]  # or the prompt with most battles would always be held out
