"""What noise alone makes of A - B when a study is repeated with one thing changed: both studies, simulated.

A label better than before is no success of the method if it would have become better anyway. A split whose first label
is bad had bad luck on average, and without it the second is better: regression to the mean. How often that happens is
counted over simulated pairs of studies in which no split truly differs under either:

    before_i = u + v_i + e_i        after_i = u' + v_i + e'_i        for seed i

u and u' are what the held-out users make A - B be in every seed, alike as far as both methods make the same of the same
users. v_i is what both studies share at a seed that both have (initialisation, order of the data), e_i what each has of
its own; together they have the variance between seeds. Splits are taken for independent of each other, though they
divide the same users. Left out is what adapters of both studies share by whom they were trained on, so labels last a
little longer than simulated.

The weaker claim, that the change does nothing while splits may truly differ, has no such number: how many labels become
better then depends on how much the splits differ and which way, and labels do not tell. The paired interval (`change`
of `verdicts.estimate`) tests that claim split by split.
"""

# D draws, S seeds

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class UserSpread:
    """Standard deviations of u and u', points, and their correlation."""

    before_pp: float = 0.0
    after_pp: float = 0.0
    correlation: float = 0.0

    @property
    def change_variance(self) -> float:
        """Variance of u' - u, squared points."""
        return self.before_pp**2 + self.after_pp**2 - 2 * self.correlation * self.before_pp * self.after_pp


@dataclass(frozen=True, kw_only=True)
class SeedSpread:
    """Standard deviations of v + e, and of e, points."""

    between_pp: float
    own_pp: float


@dataclass(frozen=True, kw_only=True)
class Known:
    """What an estimate says of its users: standard deviations in points as in `verdicts.estimate`, and how many.

    `user_by_seed_sd_pp` is None where there is but one seed.
    """

    user_sd_pp: float
    user_by_seed_sd_pp: float | None
    seeds: int
    users: int

    def variance(self, else_by_seed_pp: float) -> float:
        """Of what users make of A - B in every seed: less what they make of each, which seeds have already."""
        by_seed_pp = else_by_seed_pp if self.user_by_seed_sd_pp is None else self.user_by_seed_sd_pp
        return max(0.0, self.user_sd_pp**2 - by_seed_pp**2 / self.seeds)


def user_spread(before: Known, after: Known, change: Known | None, common_users: int) -> UserSpread:
    """How u and u' spread, from what is known of A - B before, after, and of the change from one to the other.

    With n users, the variance of a mean is s / n. If c is the covariance of what one user is before and after,

        s - 2 c + s' = n_change Var(change),        correlation = c n_common / sqrt(s n_before s' n_after).

    What users make of each seed is no part of this. Where it is not known, because there is one seed, that of the other
    study stands for it; for the change too, as if the studies shared half of it.

    Args:
        change: None if it was not measured; a user is then taken to be the same before and after, c = sqrt(s s').
        common_users: users whom both studies scored.
    """
    by_seed_pp = next((one.user_by_seed_sd_pp for one in (before, after) if one.user_by_seed_sd_pp is not None), 0.0)
    of_before, of_after = before.variance(by_seed_pp), after.variance(by_seed_pp)
    spread = UserSpread(before_pp=of_before**0.5, after_pp=of_after**0.5)
    of_user, of_user_after = of_before * before.users, of_after * after.users
    size = (of_user * of_user_after) ** 0.5
    if not size:
        return spread
    covariance = size if change is None else (of_user + of_user_after - change.variance(by_seed_pp) * change.users) / 2
    same_user = min(1.0, max(-1.0, covariance / size))
    return replace(spread, correlation=same_user * min(1.0, common_users / (before.users * after.users) ** 0.5))


def seed_spread(
    before: Sequence[Mapping[int, float]], after: Sequence[Mapping[int, float]], change_user_variance: float = 0.0
) -> SeedSpread | None:
    """How seeds spread, pooled over splits and both studies.

    The variance between seeds is the within mean square of all. Where nothing truly differs, (after - before)^2 at a
    common seed is 2 Var(e) + Var(u' - u) on average; Var(e) is taken to be at least 0 and at most the variance between
    seeds. Without a common seed, nothing is shared.

    Args:
        before, after: per split, A - B by seed in points.
        change_user_variance: Var(u' - u), squared points, mean over splits.

    Returns:
        None if no split has two seeds in one study.
    """
    values = [np.array(list(by_seed.values())) for by_seed in (*before, *after) if len(by_seed) > 1]
    if not values:
        return None
    freedom = sum(len(value_S) - 1 for value_S in values)
    between = float(sum(((value_S - value_S.mean()) ** 2).sum() for value_S in values) / freedom)
    changes = [
        new[seed] - old[seed] for old, new in zip(before, after, strict=True) for seed in old.keys() & new.keys()
    ]
    own = (float(np.mean(np.square(changes))) - change_user_variance) / 2 if changes else between
    return SeedSpread(between_pp=between**0.5, own_pp=float(np.clip(own, 0.0, between)) ** 0.5)


def simulate(
    before_seeds: Iterable[int],
    after_seeds: Iterable[int],
    users: UserSpread,
    seeds: SeedSpread,
    draws: int,
    generator: np.random.Generator,
    step_pp: float | None = None,
) -> tuple[dict[int, NDArray[np.float64]], dict[int, NDArray[np.float64]]]:
    """A - B by seed in points, before and after, of `draws` splits that differ by noise alone.

    Args:
        step_pp: where A - B moves in steps (two shares of equally many pairs), their size: values are rounded to it,
            because exactly 0 is on neither side.
    """
    first_D, second_D = generator.standard_normal((2, draws))
    u_before_D = users.before_pp * first_D
    other = np.sqrt(1 - users.correlation**2)
    u_after_D = users.after_pp * (users.correlation * first_D + other * second_D)
    shared_pp = np.sqrt(seeds.between_pp**2 - seeds.own_pp**2)
    before_seeds, after_seeds = list(before_seeds), list(after_seeds)
    shared = {
        seed: shared_pp * generator.standard_normal(draws) for seed in dict.fromkeys([*before_seeds, *after_seeds])
    }

    def of_study(u_D: NDArray[np.float64], of: Iterable[int]) -> dict[int, NDArray[np.float64]]:
        values = {seed: u_D + shared[seed] + seeds.own_pp * generator.standard_normal(draws) for seed in of}
        if step_pp is None:
            return values
        return {seed: np.round(value_D / step_pp) * step_pp for seed, value_D in values.items()}

    return of_study(u_before_D, before_seeds), of_study(u_after_D, after_seeds)
