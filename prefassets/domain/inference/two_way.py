"""What the held-out margins of one split say, with an interval over users and seeds together.

Two ways of resampling, because there are two reasons why a repetition would differ: other users would be held out, and
the adapters would start and be fed in another order. Resampling seeds alone (the reports' mean and sd) takes the
held-out users for the whole population; resampling users alone takes these adapters for the only ones.
"""

# D draws, S seeds, U users of one group

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

DRAWS = 2_000

METRICS = {"pref_acc": "correct", "margin": "margin"}  # metric -> the column of per-user sums that it is the mean of
IN_POINTS = 100.0  # shares are told in percentage points

# Each quantity is a sum of mean values (adapter, whose pairs) with these signs.
QUANTITIES: Mapping[str, Mapping[tuple[str, str], int]] = {
    "contrast": {("A", "A"): 1, ("B", "B"): -1},
    "interaction": {("A", "A"): 1, ("A", "B"): -1, ("B", "A"): -1, ("B", "B"): 1},
    "advantage_on_a": {("A", "A"): 1, ("B", "A"): -1},
    "advantage_on_b": {("B", "B"): 1, ("A", "B"): -1},
    "difficulty": {("everyone", "A"): 1, ("everyone", "B"): -1},
    "change": {("A before", "A"): -1, ("B before", "B"): 1, ("A", "A"): 1, ("B", "B"): -1},
}


@dataclass(frozen=True)
class Measured:
    """One quantity of one split in one metric, and how its users and seeds spread: points for pref_acc, nats x beta
    for margin.

    `by_seed_S` has each seed's own value. `user_draws_D` are bootstrap draws of the mean over seeds when users are
    drawn again and seeds kept; `user_variances` the same variance by the delta method, group by group, each with its
    degrees of freedom. `user_by_seed_noise` is how much one seed's value would vary between seeds if only users' pairs
    fell differently under each. Where a group has one user, draws and variances are empty and `note` says so.
    """

    quantity: str
    metric: str
    by_seed_S: NDArray[np.float64]
    user_draws_D: NDArray[np.float64]
    user_variances: tuple[tuple[float, float], ...]
    user_by_seed_noise: float
    users: tuple[int, int]
    pairs: tuple[int, int]
    note: str

    @property
    def estimate(self) -> float:
        """The mean over seeds."""
        return float(self.by_seed_S.mean())

    @property
    def seeds(self) -> int:
        return len(self.by_seed_S)


def measure(
    scored: pl.DataFrame,
    draws: int = DRAWS,
    seed: int = 0,
    quantities: Sequence[str] = tuple(QUANTITIES),
    metrics: Sequence[str] = tuple(METRICS),
) -> list[Measured]:
    """Measure every quantity of one split for which adapters are there.

    `contrast` = A's adapter on A's pairs - B's on B's. `interaction` = (A on A - A on B) - (B on A - B on B), in which
    the difficulty of a group's pairs cancels; it is the sum of `advantage_on_a` = A on A - B on A and `advantage_on_b`
    = B on B - A on B. `difficulty` = the baseline adapter on A's pairs - on B's. `change` = the contrast - that of the
    adapters `A before` and `B before`, which are another study's; it is paired, by user and by seed. Each is a
    difference of means over pairs, pooled over the folds of a seed.

    A large interaction alone does not say that A and B want different things: where A is more consistent and so its
    adapter better taught, the better adapter gains more on the more consistent pairs, and the interaction is positive
    though both want the same (+7 points in the demo's `personalisation`, where none is planted). They want different
    things if each adapter is the better one at home: both advantages above zero, a qualitative interaction (Gail and
    Simon 1985, "Testing for qualitative interactions between treatment effects and patient subsets", Biometrics 41).

    A draw takes G - 1 of each group's G users with replacement, all their pairs for every adapter and seed at once. One
    less than there are, because the variance of such draws is unbiased for linear statistics however few units there
    are (Rao and Wu 1988, "Resampling inference with complex survey data", JASA 83).

    Args:
        scored: the table `verdicts.scored_users` of one study and split: `seed`, `adapter` (A, B, everyone; for
            `change` also A before, B before), `user_id`, `user_group` (A, B), `pairs`, `correct` (pairs with margin
            > 0), `margin` (their sum).
        draws: bootstrap draws.
        seed: of the draws.

    Returns:
        In the order of `quantities` x `metrics`. A quantity is left out if no seed has all its adapters. A user counts
        if every adapter and seed of the quantity scored them.
    """
    found = []
    for quantity in quantities:
        sums = _sums(scored, QUANTITIES[quantity])
        if sums is not None:
            generator = np.random.default_rng(seed)
            weights = {  # of a lone user no spread is known
                group: drawn_counts(generator, users, users - 1, draws) if users > 1 else None
                for group, users in sums.users.items()
            }
            found += [_measure(quantity, metric, sums, weights) for metric in metrics]
    return found


@dataclass(frozen=True)
class _Sums:
    """Per-user sums of what a quantity needs: (adapter, group) -> S x U, one column per user of that group."""

    of_metric: Mapping[str, Mapping[tuple[str, str], NDArray[np.float64]]]
    pairs: Mapping[tuple[str, str], NDArray[np.float64]]
    seeds: int
    users: Mapping[str, int]
    signs: Mapping[tuple[str, str], int]
    dropped: int


def _sums(scored: pl.DataFrame, signs: Mapping[tuple[str, str], int]) -> _Sums | None:
    needed = pl.DataFrame(list(signs), ["adapter", "user_group"], orient="row")
    rows = scored.join(needed, on=["adapter", "user_group"], how="semi").filter(pl.col("pairs") > 0)
    per_seed = rows.group_by("seed").agg(parts=pl.struct("adapter", "user_group").n_unique())
    seeds = per_seed.filter(pl.col("parts") == len(signs))["seed"].to_list()
    rows = rows.filter(pl.col("seed").is_in(seeds))
    groups = sorted({group for _, group in signs})
    adapters = {group: sum(of == group for _, of in signs) for group in groups}
    wanted = pl.col("user_group").replace_strict(adapters, return_dtype=pl.UInt32) * len(seeds)
    complete = rows.filter(pl.len().over("user_id", "user_group") == wanted)
    if complete["user_group"].n_unique() < len(groups):
        return None
    ordered = complete.sort("adapter", "user_group", "seed", "user_id")
    users = {group: complete.filter(pl.col("user_group") == group)["user_id"].n_unique() for group in groups}
    parts = {
        (str(adapter), str(group)): part
        for (adapter, group), part in ordered.partition_by("adapter", "user_group", as_dict=True).items()
    }

    def arrays(column: str) -> dict[tuple[str, str], NDArray[np.float64]]:
        shape = {key: (len(seeds), users[key[1]]) for key in parts}
        return {key: part[column].cast(pl.Float64).to_numpy().reshape(shape[key]) for key, part in parts.items()}

    of_metric = {metric: arrays(column) for metric, column in METRICS.items()}
    dropped = rows["user_id"].n_unique() - complete["user_id"].n_unique()
    return _Sums(of_metric, arrays("pairs"), len(seeds), users, signs, dropped)


def _unevenly_scored(pairs: Mapping[tuple[str, str], NDArray[np.float64]]) -> int:
    uneven = 0
    for group in dict.fromkeys(group for _, group in pairs):
        of_group = np.concatenate([pairs_SU for (_, of), pairs_SU in pairs.items() if of == group])
        uneven += int((of_group != of_group[0]).any(axis=0).sum())
    return uneven


def drawn_counts(generator: np.random.Generator, units: int, drawn: int, draws: int) -> NDArray[np.float64]:
    """How often each of `units` is among `drawn` of them with replacement, D x U."""
    numbers = generator.integers(units, size=(draws, drawn)) + units * np.arange(draws)[:, None]
    return np.bincount(numbers.ravel(), minlength=draws * units).reshape(draws, units).astype(np.float64)


def _measure(quantity: str, metric: str, sums: _Sums, weights: Mapping[str, NDArray[np.float64] | None]) -> Measured:
    unit = IN_POINTS if metric == "pref_acc" else 1.0
    totals = sums.of_metric[metric]
    by_seed_S = np.zeros(sums.seeds)
    influence = {group: np.zeros((sums.seeds, users)) for group, users in sums.users.items()}
    draws_D: NDArray[np.float64] | float = 0.0
    for part, sign in sums.signs.items():
        pairs_S = sums.pairs[part].sum(axis=1)
        mean_S = totals[part].sum(axis=1) / pairs_S
        by_seed_S += sign * unit * mean_S
        influence[part[1]] += sign * unit * (totals[part] - mean_S[:, None] * sums.pairs[part]) / pairs_S[:, None]
        if (weight_DU := weights[part[1]]) is not None:
            mean_DS = (weight_DU @ totals[part].T) / (weight_DU @ sums.pairs[part].T)
            draws_D = draws_D + sign * unit * mean_DS.mean(axis=1)
    lone = [group for group, users in sums.users.items() if users < 2]
    notes = [f"group {group} has one scored user, so the spread between its users is unknown" for group in lone]
    if sums.dropped:
        notes.append(f"users left out because not every adapter and seed scored them: {sums.dropped}")
    if uneven := _unevenly_scored(sums.pairs):
        notes.append(f"users of whom not every adapter and seed scored equally many pairs: {uneven}")
    pairs = {group: int(sums.pairs[adapter, group][0].sum()) for adapter, group in sums.signs}
    return Measured(
        quantity=quantity,
        metric=metric,
        by_seed_S=by_seed_S,
        user_draws_D=np.empty(0) if lone else np.asarray(draws_D),
        user_variances=() if lone else tuple(user_variance(part_SU) for part_SU in influence.values()),
        user_by_seed_noise=0.0 if lone or sums.seeds < 2 else sum(map(_user_by_seed_noise, influence.values())),
        users=(sums.users.get("A", 0), sums.users.get("B", 0)),
        pairs=(pairs.get("A", 0), pairs.get("B", 0)),
        note="; ".join(notes),
    )


def user_variance(influence_SU: NDArray[np.float64]) -> tuple[float, float]:
    """Variance of the mean over seeds from one group's users, and its degrees of freedom.

    Those are (sum v)^2 / sum v^2 - 1 of the users' parts v, with what was observed in the place of what is expected
    (Satterthwaite 1946). Observed squares are more uneven than expected ones, so of U alike users they count about
    U / 3: on the wide side, which makes up for a variance that few and unequal users tend to underestimate.
    """
    users = influence_SU.shape[1]
    square_U = influence_SU.mean(axis=0) ** 2
    if not square_U.sum():
        return 0.0, users - 1.0
    alike = float(square_U.sum() ** 2 / (square_U**2).sum())
    return users / (users - 1) * float(square_U.sum()), max(1.0, alike - 1)


def _user_by_seed_noise(influence_SU: NDArray[np.float64]) -> float:
    users = influence_SU.shape[1]
    return users / (users - 1) * float(influence_SU.var(axis=0, ddof=1).sum())
