"""A stand-in for training and scoring: which held-out pairs an adapter gets right, without an adapter.

Fitted to the margins of real cells, it makes in milliseconds what a study would have measured had the groups differed
by so many points; power and calibration are counted on it.
"""

# C cohorts, S seeds, F folds, U users, P pairs

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

SCORED = ("seed", "adapter", "user_id", "user_group", "pairs", "correct", "margin")


@dataclass(frozen=True, kw_only=True)
class NoiseModel:
    """Where the variance of "this adapter prefers what the user preferred" comes from; a probit with random effects.

    A pair's margin, in units of its own spread, is normal around `probit(accuracy)` with shares of variance that users
    (`user`), pairs within them (`pair`) and what one seed's adapter makes of one pair (the rest) explain. Adapters of
    one cohort share a shift by whom they were trained on (standard deviation `training_pp`, points of accuracy) and
    each has one of its own by its seed (`seed_pp`).
    """

    accuracy: float = 0.6
    user: float = 0.04
    pair: float = 0.5
    seed_pp: float = 1.0
    training_pp: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.accuracy < 1:
            raise ValueError(f"accuracy {self.accuracy} must lie between 0 and 1")
        if min(self.user, self.pair, self.seed_pp, self.training_pp) < 0 or self.user + self.pair > 1:
            raise ValueError(f"{self}: shares of variance are at least 0 and at most 1 together, and no sd is negative")

    def with_design_effect(self, design_effect: float, pairs_per_user: NDArray[np.int64]) -> "NoiseModel":
        """The same model with users alike enough to give this design effect (Kish): the variance of a group's mean
        over what as many independent pairs would give, 1 + (m - 1) x ICC, m the pair-weighted pairs per user.

        Raises:
            ValueError: no correlation within users gives so large a design effect.
        """
        crowd = float((pairs_per_user**2).sum() / pairs_per_user.sum())
        wanted = (design_effect - 1) / (crowd - 1) if crowd > 1 else np.inf
        if not 0 <= wanted < 1:
            raise ValueError(
                f"a design effect of {design_effect} with {crowd:.1f} pairs per user needs a correlation within users "
                f"of {wanted:.2f}; it must be at least 0 and below 1"
            )
        user = _latent_correlation(self.accuracy, self.accuracy**2 + wanted * self.accuracy * (1 - self.accuracy))
        return replace(self, user=user, pair=min(self.pair, 1 - user))


def fit(scored_pairs: pl.DataFrame, seed_pp: float, training_pp: float) -> NoiseModel:
    """The model whose adapters agree with themselves, between seeds and within users, as often as real ones do.

    By moments: the share of pairs that two seeds' adapters both get right gives what pair and user explain together,
    the share of two pairs of one user that both are right what the user explains (each the correlation of two normals
    that both lie on one side of a threshold that often). Groups are fitted apart, so that a difference between them
    does not pass for users being alike, and averaged by pairs.

    Args:
        scored_pairs: one row per held-out pair, group and split of own-group adapters: `split`, `user_group`,
            `user_id`, `seeds` (adapters that scored it) and `correct` (how many got it right).
        seed_pp, training_pp: standard deviations of one adapter's accuracy, points; `verdicts.estimate` has those of a
            difference of two, which are sqrt(2) times as large.

    Raises:
        ValueError: no pair was scored by two seeds, or no user has two pairs.
    """
    share = pl.col("correct") / pl.col("seeds")
    groups = (
        scored_pairs.filter(pl.col("seeds") > 1)
        .with_columns(share=share, both=share * (pl.col("correct") - 1) / (pl.col("seeds") - 1))
        .group_by("split", "user_group", "user_id")
        .agg(
            pairs=pl.len().cast(pl.Int64),
            right=pl.col("share").sum(),
            both=pl.col("both").sum(),
            two_pairs=pl.col("share").sum() ** 2 - (pl.col("share") ** 2).sum(),
        )
        .group_by("split", "user_group")
        .agg(
            pl.col("pairs", "right", "both", "two_pairs").sum(),
            couples=(pl.col("pairs") * (pl.col("pairs") - 1)).sum(),
        )
        .filter((pl.col("couples") > 0) & (pl.col("right") > 0) & (pl.col("right") < pl.col("pairs")))
    )
    if groups.is_empty():
        raise ValueError("no group has pairs that two seeds scored and a user with two pairs; one seed shows no spread")
    weight = groups["pairs"].to_numpy()
    fitted = []
    for group in groups.iter_rows(named=True):
        accuracy = group["right"] / group["pairs"]
        user = _latent_correlation(accuracy, group["two_pairs"] / group["couples"])
        fitted.append((accuracy, user, max(user, _latent_correlation(accuracy, group["both"] / group["pairs"]))))
    accuracy, user, both = np.average(fitted, axis=0, weights=weight)
    return NoiseModel(
        accuracy=float(accuracy), user=float(user), pair=float(both - user), seed_pp=seed_pp, training_pp=training_pp
    )


@dataclass(frozen=True, kw_only=True)
class Design:
    """How a split is measured: users' pairs of each group, seeds, and the folds held out (of `FOLDS` equal ones)."""

    pairs_per_user_a: NDArray[np.int64]
    pairs_per_user_b: NDArray[np.int64]
    seeds: int
    folds: int = 1


FOLDS = 5  # as in `prism.folds`
SHARED_TRAINING = (FOLDS - 2) / (FOLDS - 1)  # of the users behind two folds' adapters


def simulate(model: NoiseModel, design: Design, contrast_pp: float, generator: np.random.Generator) -> pl.DataFrame:
    """What `verdicts.scored_users` would hold of one split whose groups truly differ by `contrast_pp` points.

    A's and B's adapters are interchangeable (a strength difference): each group's own users are easier or harder for
    both. Columns `SCORED`; `margin` is the pairs' mean margin in units of its spread, summed.

    Raises:
        ValueError: the difference would need an accuracy outside 0 to 1.
    """
    from scipy.stats import norm

    sides = {"A": model.accuracy + contrast_pp / 200, "B": model.accuracy - contrast_pp / 200}
    if not all(0 < side < 1 for side in sides.values()):
        raise ValueError(f"{contrast_pp} points around an accuracy of {model.accuracy} leave the range of 0 to 1")
    slope = float(norm.pdf(norm.ppf(model.accuracy)))
    training, seed = (points / 100 / slope for points in (model.training_pp, model.seed_pp))
    shift_CFS = _shifts(generator, design, training, seed)
    rest = np.sqrt(max(0.0, 1 - model.user - model.pair))

    parts: dict[str, list[NDArray]] = {name: [] for name in SCORED}
    for number, (group, all_pairs) in enumerate((("A", design.pairs_per_user_a), ("B", design.pairs_per_user_b))):
        users = generator.permutation(len(all_pairs))
        held_out = users[: round(len(users) * design.folds / FOLDS)]
        pairs_U = all_pairs[held_out]
        fold_U = np.arange(len(held_out)) % design.folds
        user_P = np.repeat(np.arange(len(held_out)), pairs_U)
        common_P = (
            float(norm.ppf(sides[group])) + np.sqrt(model.user) * generator.standard_normal(len(held_out))[user_P]
        )
        common_P = common_P + np.sqrt(model.pair) * generator.standard_normal(len(user_P))
        starts = np.cumsum(pairs_U) - pairs_U
        for cohort, adapter in enumerate(("A", "B")):
            for replicate in range(design.seeds):
                margin_P = common_P + shift_CFS[cohort, fold_U, replicate][user_P]
                margin_P = margin_P + rest * generator.standard_normal(len(user_P))
                columns = {
                    "seed": np.full(len(held_out), replicate),
                    "adapter": np.full(len(held_out), adapter),
                    "user_id": held_out + number * 1_000_000,
                    "user_group": np.full(len(held_out), group),
                    "pairs": pairs_U,
                    "correct": np.add.reduceat(margin_P > 0, starts, dtype=np.int64),
                    "margin": np.add.reduceat(margin_P, starts),
                }
                for name, values in columns.items():
                    parts[name].append(values)
    return pl.DataFrame({name: np.concatenate(values) for name, values in parts.items()})


def _shifts(generator: np.random.Generator, design: Design, training: float, seed: float) -> NDArray[np.float64]:
    """What each adapter is better or worse at everything, cohort x fold x seed.

    Adapters of one seed start alike in every fold and cohort trains on other users; folds share most of theirs.
    """
    of_cohort = generator.standard_normal((2, 1, 1)) * np.sqrt(SHARED_TRAINING)
    of_fold = generator.standard_normal((2, design.folds, 1)) * np.sqrt(1 - SHARED_TRAINING)
    return training * (of_cohort + of_fold) + seed * generator.standard_normal((2, 1, design.seeds))


def _latent_correlation(accuracy: float, both: float) -> float:
    """The correlation of two standard normals that both lie below probit(accuracy) with probability `both`."""
    from scipy.optimize import brentq
    from scipy.stats import multivariate_normal, norm

    limit = float(norm.ppf(accuracy))

    def excess(correlation: float) -> float:
        return float(multivariate_normal.cdf([limit, limit], cov=[[1, correlation], [correlation, 1]])) - both

    if excess(0.0) >= 0:
        return 0.0
    return float(brentq(excess, 0.0, 1 - 1e-9)) if excess(1 - 1e-9) > 0 else 1.0
