"""Simulated hidden states of pairs under a base model, and under adapters that move them in known directions."""

import numpy as np
import polars as pl

from prefassets.domain.probes.adapter_directions import ReadPairs

WIDTH = 12


def drawn_read(
    seed=0,
    users=(20, 20),
    seeds=5,
    width=WIDTH,
    moved=1.0,
    stronger=0.0,
    apart=0.0,
    noise=0.3,
    cohort=0.0,
    adapters=("A", "B"),
):
    """Users differ in how far along feature 0 they prefer; A's also prefer along feature 1, B's along 2.

    An adapter moves a pair along feature 0 by `moved` of what it differs there, A's by `stronger` more, along feature 1
    (A's) or 2 (B's) by `apart` of it, and in a direction of the seed's own, half of which A's and B's share. Pairs are
    moved at random too, all adapters alike by `noise`, and each by as much again. Features have all kinds of units. By
    `cohort`, all seeds of a cohort have in common whom they were trained on.
    """
    rng = np.random.default_rng(seed)
    unit_F = np.exp(rng.normal(size=width))
    group = np.repeat(["A", "B"], users)
    user_P = np.repeat(np.arange(len(group)), rng.integers(2, 7, size=len(group)))
    taste_P = 1 + 0.3 * rng.normal(size=len(group))[user_P]
    rejected_PF = rng.normal(size=(len(user_P), width))
    difference_PF = 0.7 * rng.normal(size=(len(user_P), width))
    difference_PF[:, 0] += taste_P
    difference_PF[:, 1] += group[user_P] == "A"
    difference_PF[:, 2] += group[user_P] == "B"
    alike_PF = noise * rng.normal(size=difference_PF.shape)
    found = {}
    cohorts = (
        {adapter: cohort * rng.normal(size=width) for adapter in adapters} if cohort else dict.fromkeys(adapters, 0.0)
    )
    for replicate in range(seeds):
        shared_F = rng.normal(size=width)
        for adapter in adapters:
            seed_F = cohorts[adapter] + 0.2 * (shared_F + rng.normal(size=width))
            moved_PF = taste_P[:, None] * seed_F + alike_PF + noise * rng.normal(size=difference_PF.shape)
            moved_PF[:, 0] += (moved + stronger * (adapter == "A")) * difference_PF[:, 0]
            moved_PF[:, 1] += apart * (adapter == "A") * difference_PF[:, 1]
            moved_PF[:, 2] += apart * (adapter == "B") * difference_PF[:, 2]
            found[adapter, replicate] = ((difference_PF + moved_PF) * unit_F).astype(np.float32)
    return ReadPairs(
        pairs=pl.DataFrame({"user_id": [f"u{user:03}" for user in user_P], "user_group": group[user_P]}),
        chosen_PF=((rejected_PF + difference_PF) * unit_F).astype(np.float32),
        rejected_PF=(rejected_PF * unit_F).astype(np.float32),
        adapters=found,
    )
