"""Which pairs a cohort learns from, which it is judged on, and whose prompts the base model answers itself."""

import hashlib
from enum import Enum
from functools import cache

import polars as pl

from prefassets.domain.training.recipe import digest


class Matching(Enum):
    """What A and B of a split learn from alike."""

    NONE = "as large as they are"
    PAIRS = "equally many pairs"
    SOURCES = "equally many pairs of each source model"  # and they are judged on such pairs too


def training_pairs(
    pairs: pl.DataFrame,
    folds: pl.DataFrame,
    groups: pl.DataFrame,
    split: str | None,
    user_group: str | None,
    held_out_fold: int,
    max_pairs: int | None,
    matching: Matching = Matching.NONE,
) -> pl.DataFrame:
    """The pairs of one cohort outside the held-out fold, ordered by pair_id.

    Args:
        pairs, folds, groups: the tables `prism.pairs`, `prism.folds` and `splits.assignments`.
        split, user_group: the cohort; both None for everyone.
        max_pairs: at most this many. Which ones is decided by the hash of the pair_id: the same for every seed, a
            subset of what a larger cap takes, and blind to who or what is in the pair.
        matching: with PAIRS, at most as many as the smaller group of the split has. With SOURCES, of each source model
            (`model_name`) at most as many as the group with fewer of them has, and a cap takes from the models in
            proportion, the same from A and from B. Everyone is not matched: there is no other group.
    """
    seen = pairs.lazy().join(folds.lazy().filter(pl.col("fold") != held_out_fold), on="user_id", how="semi")
    if split is None:
        kept = seen.collect()
    else:
        members = groups.lazy().filter(pl.col("split") == split).select("user_id", "user_group")
        of_split = seen.join(members, on="user_id").collect()
        if matching is Matching.SOURCES:
            of_split = _of_equal_sources(of_split)
        kept = of_split.filter(pl.col("user_group") == user_group).select(pairs.columns)
        if matching is Matching.SOURCES:
            return kept.head(len(kept) if max_pairs is None else max_pairs).sort("pair_id")
        if matching is Matching.PAIRS:
            smaller = min(int((of_split["user_group"] == group).sum()) for group in "AB")
            max_pairs = smaller if max_pairs is None else min(smaller, max_pairs)
    if max_pairs is not None and len(kept) > max_pairs:
        by_hash = sorted(kept["pair_id"], key=_hash)
        kept = kept.filter(pl.col("pair_id").is_in(by_hash[:max_pairs]))
    return kept.sort("pair_id")


@cache  # a study asks for the same pairs once per cohort and fold
def _hash(pair_id: str) -> bytes:
    return hashlib.sha256(pair_id.encode()).digest()


def _of_equal_sources(of_split: pl.DataFrame) -> pl.DataFrame:
    """Of each source model equally many pairs of A as of B: all of the group with fewer, the first by hash of
    the other.

    The rows of a group are ordered such that its first n have the mix of all, and A's first n that of B's first n: the
    k-th of a model's m pairs stands at (k - 1/2) / m.
    """
    ordered = of_split.with_columns(hash=pl.Series(map(_hash, of_split["pair_id"]), dtype=pl.Binary)).sort("hash")
    fewer = pl.min_horizontal((pl.col("user_group") == group).sum().over("model_name") for group in "AB")
    place = pl.int_range(pl.len()).over("user_group", "model_name")
    return (
        ordered.with_columns(fewer=fewer, place=place)
        .filter(pl.col("place") < pl.col("fewer"))
        .sort((pl.col("place") + 0.5) / pl.col("fewer"), "model_name")
    )


def held_out_pairs(
    pairs: pl.DataFrame,
    folds: pl.DataFrame,
    groups: pl.DataFrame,
    split: str | None,
    held_out_fold: int,
    matching: Matching = Matching.NONE,
) -> pl.DataFrame:
    """The pairs that a cohort's adapter is scored on, ordered by pair_id: of both groups of its split.

    They are the same for A's adapter and for B's. With `Matching.SOURCES` they too are equally many of A as of B of
    each source model, because A's adapter on A's pairs is compared with B's on B's.
    """
    unseen = pairs.join(folds.filter(pl.col("fold") == held_out_fold), on="user_id", how="semi")
    if split is not None:
        members = groups.filter(pl.col("split") == split, pl.col("user_group").is_not_null())
        unseen = unseen.join(members.select("user_id", "user_group"), on="user_id")
        if matching is Matching.SOURCES:
            unseen = _of_equal_sources(unseen)
    return unseen.select(pairs.columns).sort("pair_id")


def sampled_prompts(pairs: pl.DataFrame, number: int) -> pl.DataFrame:
    """Pairs with `number` different prompts (all, if there are fewer), ordered by pair_id.

    Which ones is decided by the hash of the pair_id, so users and prompts are in it as often as among the pairs. A
    prompt that several pairs share is there once.
    """
    by_hash = pairs.select("pair_id", pl.col("prompt").hash()).sort(
        pl.col("pair_id").map_elements(_hash, return_dtype=pl.Binary)
    )
    first = by_hash.unique("prompt", keep="first", maintain_order=True).head(number)
    return pairs.join(first, on="pair_id", how="semi").sort("pair_id")


def probed_pairs(pairs: pl.DataFrame, folds: pl.DataFrame, held_out_fold: int, number: int) -> pl.DataFrame:
    """`number` pairs of a fold's users (all, if there are fewer), ordered by pair_id: what activations are kept of.

    Users take turns, so that as many of them as can be are among the pairs: what is said of activations rests on how
    many users there are. Which pair of a user, and who comes first, is decided by the hash of the pair_id; of a larger
    `number` the first are these.
    """
    unseen = pairs.join(folds.filter(pl.col("fold") == held_out_fold), on="user_id", how="semi")
    by_hash = unseen.select("pair_id", "user_id").sort(
        pl.col("pair_id").map_elements(_hash, return_dtype=pl.Binary), maintain_order=True
    )
    turn = pl.int_range(pl.len()).over("user_id")
    taken = by_hash.with_columns(turn=turn).sort("turn", maintain_order=True).head(number)
    return unseen.join(taken, on="pair_id", how="semi").sort("pair_id")


def pair_digests(pairs: pl.DataFrame) -> dict[str, str]:
    """Digest of what a trainer sees of each pair (prompt, chosen, rejected), by pair_id."""
    columns = ("pair_id", "prompt", "chosen", "rejected")
    return {pair_id: digest(seen) for pair_id, *seen in pairs.select(columns).iter_rows()}
