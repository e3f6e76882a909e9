"""Which battles are held out: ten folds by prompt, the same for every predictor."""

import numpy as np
import polars as pl

FOLDS = 10
PART_OF_FOLD = {0: "held_out", 1: "held_out", 2: "validation"}  # the others: training


def battle_folds(battles: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Put every battle in one of ten folds, so that no prompt is in two and every fold has its share of each winner.

    By scikit-learn's StratifiedGroupKFold, grouped by `prompt_digest` and stratified by `winner`.

    Args:
        battles: those that somebody judged, with the columns of `BATTLE_SCHEMA`, in any order.
        seed: another seed gives other folds; the same seed and battles give the same.

    Returns:
        `battle`, `prompt_digest`, `fold` (0 to 9) and `part`, sorted by `battle`: folds 0 and 1, a fifth, are held_out,
        fold 2 is validation (for early stopping), the others are training.

    Raises:
        ValueError: there are fewer than ten different prompts, or no winner of ten battles.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # takes seconds to import

    prompts = battles["prompt_digest"].n_unique()
    most = max(battles["winner"].value_counts()["count"], default=0)
    if min(prompts, most) < FOLDS:
        raise ValueError(
            f"the battles have {prompts} different prompts and {most} of their most frequent winner; {FOLDS} folds "
            f"need at least {FOLDS} of both, since battles of one prompt are never parted. Add battles."
        )
    ordered = battles.select("battle", "prompt_digest", "winner").sort("battle")
    winners, groups = ordered["winner"].to_numpy(), ordered["prompt_digest"].to_numpy()
    # Or else the prompt with most battles would be in the same fold whatever the seed.
    number = np.random.default_rng(seed).permutation(FOLDS)
    parts = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(winners, winners, groups)
    return (
        pl.concat(
            ordered[inside].select("battle", "prompt_digest", fold=pl.lit(fold, pl.Int64()))
            for fold, (_, inside) in zip(number, parts, strict=True)
        )
        .with_columns(part=pl.col("fold").replace_strict(PART_OF_FOLD, default="training", return_dtype=pl.String()))
        .sort("battle")
    )
