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

    frames = []
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
                frames.append(
                    pl.DataFrame(
                        {
                            "seed": replicate,
                            "adapter": adapter,
                            "user_id": held_out + number * 1_000_000,
                            "user_group": group,
                            "pairs": pairs_U,
                            "correct": np.add.reduceat(margin_P > 0, starts, dtype=np.int64),
                            "margin": np.add.reduceat(margin_P, starts),
                        }
                    )
                )
    return pl.concat(frames)


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
