"""User-disjoint folds: who is trained on and who is held out, the same for every cell of every study."""

import polars as pl

from prefassets.domain.prism.splits import OLDER, YOUNG


def user_folds(users: pl.DataFrame, seed: int, k: int = 5) -> pl.DataFrame:
    """Put every user with pairs in exactly one of `k` folds, so that the folds are alike.

    Stratified by age group x region x tercile of the number of pairs. A stratum of fewer than `k` users cannot be
    spread over `k` folds: its users join their tercile, and where that is still too few, the largest stratum.

    Args:
        users: the table `prism.users`, in any order; users without pairs get no fold.
        seed: another seed gives other folds; the same seed and users give the same.

    Returns:
        `user_id` and `fold`, 0 to k - 1, sorted by `user_id`.

    Raises:
        ValueError: there are fewer users with pairs than folds.
    """
    from sklearn.model_selection import StratifiedKFold  # takes a second to import: only where it is used

    with_pairs = users.filter(pl.col("pairs") > 0).sort("user_id")
    if len(with_pairs) < k:
        raise ValueError(f"{len(with_pairs)} users have pairs; {k} folds need at least {k}")
    strata = _strata(with_pairs, k)
    folds = [0] * len(with_pairs)
    for fold, (_, held_out) in enumerate(StratifiedKFold(k, shuffle=True, random_state=seed).split(strata, strata)):
        for user in held_out:
            folds[user] = fold
    return with_pairs.select("user_id", pl.Series("fold", folds, pl.Int64))


def _strata(users: pl.DataFrame, k: int) -> list[str]:
    pairs = pl.col("pairs")
    tercile = (pairs > pairs.quantile(1 / 3)).cast(pl.Int8) + (pairs > pairs.quantile(2 / 3)).cast(pl.Int8)
    age = (
        pl.when(pl.col("age").is_in(YOUNG)).then(pl.lit("young")).when(pl.col("age").is_in(OLDER)).then(pl.lit("older"))
    )
    strata = users.select(
        tercile=tercile.cast(pl.String),
        stratum=pl.concat_str(age.fill_null("unknown"), "region", tercile, separator="|"),
    )
    for coarser in (pl.col("tercile"), pl.col("stratum").mode().sort().first()):
        strata = strata.with_columns(stratum=pl.when(pl.len().over("stratum") >= k).then("stratum").otherwise(coarser))
    return strata["stratum"].to_list()
