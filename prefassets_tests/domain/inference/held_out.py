"""Held-out pairs of one split, written or drawn in a test, as pairs and as the per-user sums that are measured."""

import numpy as np
import polars as pl

SUMS = ["seed", "adapter", "user_id", "user_group", "pairs", "correct", "margin"]


def drawn_pairs(seed=0, users=(12, 9), seeds=3, adapters=("A", "B", "everyone"), pairs=None):
    """One row per (seed, adapter, pair): users of unequal size who differ, and so do adapters and seeds."""
    rng = np.random.default_rng(seed)
    rows = []
    for group, count in zip("AB", users, strict=True):
        for user in range(count):
            size = pairs or int(rng.integers(1, 12))
            own = rng.normal(0.3, 0.5)
            taste = rng.normal(size=size)
            for adapter in adapters:
                for replicate in range(seeds):
                    margin = (
                        own
                        + taste
                        + 0.3 * (adapter == group)
                        + 0.3 * np.sin(replicate + len(adapter))
                        + rng.normal(size=size)
                    )
                    rows += [(replicate, adapter, f"{group}{user:03}", group, float(value)) for value in margin]
    return pl.DataFrame(rows, ["seed", "adapter", "user_id", "user_group", "margin"], orient="row")


def per_user(pairs):
    """What `verdicts.scored_users` makes of pairs."""
    return (
        pairs.group_by("seed", "adapter", "user_id", "user_group", maintain_order=True)
        .agg(
            pairs=pl.len().cast(pl.Int64),
            correct=(pl.col("margin") > 0).sum().cast(pl.Int64),
            margin=pl.col("margin").sum(),
        )
        .select(SUMS)
    )


def scored(rows):
    """Per-user sums as (seed, adapter, user, group, pairs, correct); a pair's margin is 0.5, and -0.5 if wrong."""
    schema = dict(zip(SUMS, (int, str, str, str, int, int, float), strict=True))
    return pl.DataFrame([(*row, row[5] - row[4] / 2) for row in rows], schema, orient="row")
