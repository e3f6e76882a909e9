"""Does A's adapter move the preference direction differently from B's?

A pair's difference is its chosen response's hidden state minus its rejected one's, h(chosen) - h(rejected). The
preference direction is the mean of differences over pairs, as in steering by difference of means (Marks and Tegmark
2023, "The geometry of truth"). It is linear in what each user adds, so leaving a user out is one subtraction and
drawing users again is a matter of weights. Every feature is first divided by the root mean square of the base model's
differences, the same for all adapters, as in `inference/heterogeneity.py`: a few large features would decide otherwise.

1. `shift`: (adapter's difference - base model's difference) along the base model's direction, in standard deviations of
   the base model's hidden states of responses along it. Above zero: the adapter moved chosen and rejected responses
   apart.
2. `separation`: share of pairs, in points, whose chosen response lies further along than the rejected, by the adapter.

The direction that judges a user is of the other users' pairs only, the means of A's and of B's weighing the same. Where
A and B prefer opposite things that direction vanishes, which is the very case that is asked about; so `own_shift` and
`own_separation` are along the direction of the other users of the user's own group. One group's direction may be better
known than the other's, so these are only told of adapters on the same pairs: interaction and advantages. The quantities
are those of `inference/two_way.py`: an interaction says that each adapter moves its own group's pairs further than the
other adapter does, and both advantages above zero that each is the better one at home. A direction is known from
finitely many pairs, which makes a shift smaller, for A and B alike, and never makes one.

3. `direction`: how alike the adapters' changes are. An adapter's change is v = mean over pairs of (its difference - the
   base model's). With S seeds, and <.,.> for what two changes have in common,

    within_a   = mean <v_As, v_As'> / mean <v_As, v_As>,  s and s' two seeds; within_b alike
    between    = mean <v_As, v_Bs'> / root of (mean <v_As, v_As> mean <v_Bs, v_Bs>)
    divergence = (within_a + within_b) / 2 - between

These are ratios of means rather than means of cosines, for which one seed that hardly moved would be enough to leave
nothing. A_s and B_s start alike and are fed in the same order, so they are never compared. <.,.> is the mean of that
over A's users' pairs and that over B's: where A and B prefer opposite things, what an adapter does to A's pairs it
undoes to B's. Cosines of noisy means are too small, and of means over the same pairs too large; neither
happens here, because <.,.> takes products of different users only, v_u . v_w, the lengths too, which leaves it without
bias (a U-statistic: Hoeffding 1948). Where the length is not told from zero, nothing is told. within_a and within_b are
what between could reach: seeds of one group agree no better.

If A's and B's adapters are interchangeable, divergence is zero. If not, it is above zero where they move in different
directions; it is also, but slightly, where the seeds of one agree better than those of the other: by (root within_a -
root within_b)^2 / 2. And adapters of random halves of the same people are not interchangeable, as they have learned
from other users: with cohorts that differed by that alone, 44 % of 50 simulated splits were said to diverge. Only
placebo splits show how far such halves diverge. With six in the study their mean square divergence is in the spread,
and 2 % were.

Intervals. Users are drawn again within each group, all their pairs for every adapter, and the directions that they
judge each other by are fitted again; a user does not meet their own copy. Per-user sums along a direction that is taken
as given, which `two_way.measure` could take, would not do: with opposite preferences their intervals of an interaction
that is zero covered it in 61 % of 150 simulations, because there the direction is mostly noise. Seeds spread as their
values do, of `direction` as their jackknife pseudo-values. If nothing diverges those spread wider than they should (a
U-statistic over pairs of seeds is degenerate then), so that the interval is on the wide side. Of 200 simulated splits
with interchangeable adapters, of 20 users a group and five seeds in studies of six, intervals of interactions and of
advantages held zero in 93 to 100 %, those of divergence in 99.5 %.
"""

# P pairs, F features (the width), U users, S seeds; N = 2 S adapters: A's seeds, then B's
# R rows of weights: as observed, each user left out, then the draws

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.domain.inference.study import LEVEL, TRAINING, Estimate, SplitResult, study_estimates
from prefassets.domain.inference.two_way import IN_POINTS, QUANTITIES, Measured, drawn_counts, user_variance

DRAWS = 1_000
GROUPS = ("A", "B")
HOME_AND_AWAY = ("interaction", "advantage_on_a", "advantage_on_b")
ALONG = {  # metric -> its quantities
    "shift": ("contrast", *HOME_AND_AWAY, "difficulty"),
    "separation": ("contrast", *HOME_AND_AWAY, "difficulty"),
    "own_shift": HOME_AND_AWAY,
    "own_separation": HOME_AND_AWAY,
}
DIRECTION = "direction"
COSINES = ("within_a", "within_b", "between", "divergence")
EXPECTED = (  # what a split has rows of, measured or not; difficulty only where there are adapters of everyone
    *(
        (quantity, metric)
        for metric, quantities in ALONG.items()
        for quantity in quantities
        if quantity != "difficulty"
    ),
    *((quantity, DIRECTION) for quantity in COSINES),
)
FEWEST_SEEDS = 5  # whose labels are exchanged; of fewer no p is below 1 / 8
MOST_EXCHANGES = 2_048
FEWEST_DEFINED = 0.95  # share of draws that have a value, below which there is no interval
AT_ONCE = 4_000_000  # numbers in memory at one time while users are drawn

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ReadPairs:
    """Hidden states of one split's held-out pairs at one layer and position.

    `pairs` has P rows: `user_id`, `user_group` (A or B). `chosen_PF` and `rejected_PF` are the base model's.
    `adapters` has, for (adapter, seed), adapter being A, B or everyone, h(chosen) - h(rejected), P x F, the folds of a
    seed together; rows of pairs that it did not read are NaN.
    """

    pairs: pl.DataFrame
    chosen_PF: NDArray[Any]
    rejected_PF: NDArray[Any]
    adapters: Mapping[tuple[str, int], NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class SplitDirections:
    """What was measured of one split; of `EXPECTED` that was not, `missing` says why.

    `p_exchanged` is the share of exchanges of A's and B's adapters within seeds with a divergence as large as found.
    """

    split: str
    role: str
    measured: Sequence[Measured]
    missing: Mapping[tuple[str, str], str]
    p_exchanged: float | None = None


def measure_directions(
    split: str, role: str, read: ReadPairs | None, draws: int = DRAWS, seed: int = 0
) -> SplitDirections:
    """How each adapter of one split moves the preference direction, at one layer and position.

    A seed counts if A's and B's adapters have it, a pair if all of their adapters read it; those of everyone are looked
    at if there is one for each of these seeds.

    Args:
        split, role: as in `SplitResult`.
        read: None if nothing was read.
        draws: of users.
        seed: of the draws.

    Raises:
        ValueError: lengths or widths differ, a user is in neither or both groups, or a hidden state is not finite.
    """
    if read is None or read.pairs.is_empty():
        return _nothing(split, role, "no activations of its pairs")
    _check(read)
    seeds = sorted({of for adapter, of in read.adapters if adapter == "A" and ("B", of) in read.adapters})
    if not seeds:
        return _nothing(split, role, "no seed has adapters of both A and B")
    common = _common(read, seeds)
    if min(common.users.values()) < 2:
        counts = " and ".join(f"{count} of {group}" for group, count in common.users.items())
        return _nothing(split, role, f"every adapter read pairs of {counts} users; each group wants two")
    weight_RU = _weights(common, draws, seed)
    along = _along(common, weight_RU)
    cosine_RC, by_seed_RSC, p_exchanged = _direction(common, weight_RU, seed)

    measured, missing = [], {}
    for metric, quantities in ALONG.items():
        for quantity in quantities:
            signs = QUANTITIES[quantity]
            if quantity == "difficulty" and "everyone" not in common.adapters:
                continue
            value_RS = np.sum([sign * along[metric, *part] for part, sign in signs.items()], axis=0)
            groups = {group for _, group in signs}
            if np.isfinite(value_RS[0]).all():
                measured.append(_measured(quantity, metric, value_RS, common, groups))
            else:
                missing[quantity, metric] = "the base model's pairs have no direction, or nothing spreads along it"
    for number, quantity in enumerate(COSINES):
        if len(seeds) < 2:
            missing[quantity, DIRECTION] = "one seed; how seeds of one group agree wants two"
        elif not np.isfinite(cosine_RC[0]).all() or np.isfinite(cosine_RC).all(axis=1).mean() < FEWEST_DEFINED:
            missing[quantity, DIRECTION] = "how far the adapters move is not told from zero"
        else:
            one = _measured(quantity, DIRECTION, by_seed_RSC[..., number], common, set(GROUPS))
            measured.append(one if len(seeds) > 2 else _without_spread(one))
    if ("divergence", DIRECTION) in missing:
        p_exchanged = None
    return SplitDirections(split=split, role=role, measured=measured, missing=missing, p_exchanged=p_exchanged)


def adapter_rows(
    results: Mapping[tuple[int, str], Sequence[SplitDirections]], seed: int = 0
) -> list[dict[str, object]]:
    """Rows of `ADAPTER_COLUMNS`, without the study.

    Spread, intervals and p are those of `study_estimates`: the spread between seeds is pooled over the study's splits,
    that of training samples is from placebo splits, p is adjusted over the planned splits of the same role. It is not
    adjusted over layers and positions, quantities and metrics.

    Args:
        results: (layer, position) -> every planned split of the study.
        seed: of the draws of seeds.
    """
    rows = []
    for (layer, position), splits in results.items():
        found = study_estimates([SplitResult(one.split, one.role, one.measured) for one in splits], 0.0, seed)
        exchanged = {(one.split, "divergence"): one.p_exchanged for one in splits}
        of_one = [
            *(_row(one) | {"p_exchanged": exchanged.get((one.split, one.quantity))} for one in found),
            *(
                _empty_row(one.split, one.role, quantity, metric, why)
                for one in splits
                for (quantity, metric), why in one.missing.items()
            ),
        ]
        rows += [{"layer": layer, "position": position, **row} for row in of_one]
    return rows


# ---- users, left out and drawn


@dataclass(frozen=True, kw_only=True)
class _Common:
    """Pairs that every adapter read, by group and user; differences are divided by `_root_mean_square` of the base's.

    `first_U` is each user's first pair. `adapters` has the differences of each, S x P x F, in single precision: it is
    what takes most memory.
    """

    users: Mapping[str, int]
    user_P: NDArray[np.int64]
    first_U: NDArray[np.int64]
    pairs_U: Array
    base_PF: Array
    responses_RF: Array
    adapters: Mapping[str, NDArray[np.float32]]
    note: str

    def users_of(self, group: str) -> slice:
        return slice(0, self.users["A"]) if group == "A" else slice(self.users["A"], len(self.pairs_U))

    def pairs_of(self, group: str) -> slice:
        pairs_a = int(self.pairs_U[: self.users["A"]].sum())
        return slice(0, pairs_a) if group == "A" else slice(pairs_a, len(self.user_P))


def _common(read: ReadPairs, seeds: Sequence[int]) -> _Common:
    everyone = all(("everyone", of) in read.adapters for of in seeds)
    cohorts = (*GROUPS, "everyone") if everyone else GROUPS
    seen_P = np.all([np.isfinite(read.adapters[one, of]).all(axis=1) for one in cohorts for of in seeds], axis=0)
    ordered = read.pairs.with_row_index("row").filter(pl.Series(seen_P)).sort("user_group", "user_id", "row")
    user_P = ordered.select(pl.struct("user_group", "user_id").rle_id()).to_series().to_numpy().astype(np.int64)
    rows = ordered["row"].to_numpy()
    base_PF = read.chosen_PF.astype(np.float64) - read.rejected_PF
    scale_F = _root_mean_square(base_PF)
    pairs_U = np.bincount(user_P)
    left_out = read.pairs["user_id"].n_unique() - len(pairs_U)
    return _Common(
        users={group: ordered.filter(user_group=group)["user_id"].n_unique() for group in GROUPS},
        user_P=user_P,
        first_U=np.cumsum(pairs_U) - pairs_U,
        pairs_U=pairs_U.astype(np.float64),
        base_PF=base_PF[rows] / scale_F,
        responses_RF=np.concatenate([read.chosen_PF, read.rejected_PF]) / scale_F,
        adapters={
            one: np.stack([(read.adapters[one, of][rows] / scale_F).astype(np.float32) for of in seeds])
            for one in cohorts
        },
        note=f"users left out because not every adapter and seed scored them: {left_out}" if left_out else "",
    )


def _weights(common: _Common, draws: int, seed: int) -> Array:
    """How often each user is there, R x U; of each group one user fewer is drawn than there are, as in `measure`."""
    generator = np.random.default_rng(seed)
    users = len(common.pairs_U)
    drawn = [drawn_counts(generator, of_group, of_group - 1, draws) for of_group in common.users.values()]
    return np.vstack([np.ones((1, users)), 1 - np.eye(users), np.hstack(drawn)])


def _measured(quantity: str, metric: str, value_RS: Array, common: _Common, groups: set[str]) -> Measured:
    """From a quantity's value per seed as observed, without each user, and in each draw."""
    users, seeds = len(common.pairs_U), value_RS.shape[1]
    without_US, draws_DS = value_RS[1 : users + 1], value_RS[users + 1 :]
    defined_D = np.isfinite(draws_DS).all(axis=1)
    told = defined_D.mean() >= FEWEST_DEFINED and np.isfinite(without_US).all()
    draws_DS = draws_DS[defined_D]
    influence_U = (value_RS[0] - without_US).mean(axis=1)
    variances = [
        user_variance(influence_U[None, common.users_of(group)] * (1 - 1 / of_group))
        for group, of_group in common.users.items()
    ]
    apart_DS = draws_DS - draws_DS.mean(axis=1, keepdims=True)
    pairs = {group: int(common.pairs_U[common.users_of(group)].sum()) if group in groups else 0 for group in GROUPS}
    few = "" if told else "too few users to draw again, so the spread between users is unknown"
    return Measured(
        quantity=quantity,
        metric=metric,
        by_seed_S=value_RS[0],
        user_draws_D=draws_DS.mean(axis=1) if told else np.empty(0),
        user_variances=tuple(variances) if told else (),
        user_by_seed_noise=float(apart_DS.var(axis=0, ddof=1).sum()) / (seeds - 1) if told and seeds > 1 else 0.0,
        users=(common.users["A"] if "A" in groups else 0, common.users["B"] if "B" in groups else 0),
        pairs=(pairs["A"], pairs["B"]),
        note="; ".join(filter(None, [common.note, few])),
    )


def _without_spread(one: Measured) -> Measured:
    why = "two seeds of a group can be compared in one way, so the spread between seeds is unknown"
    note = "; ".join(filter(None, [one.note, why]))
    return replace(one, user_draws_D=np.empty(0), user_variances=(), user_by_seed_noise=0.0, note=note)


# ---- along the base model's direction


def _along(common: _Common, weight_RU: Array) -> dict[tuple[str, str, str], Array]:
    """(metric, adapter, whose pairs) -> mean over pairs, R x S, each pair along the direction of other users."""
    sum_UF = np.add.reduceat(common.base_PF, common.first_U, axis=0)
    mean = {group: _direction_of(sum_UF, common, group) for group in GROUPS}
    spread = _spread(common.responses_RF, (mean["A"] + mean["B"]) / 2)  # of all users', the yardstick of every draw
    found = {}
    for group in GROUPS:
        pairs = common.pairs_of(group)
        weight_RP = weight_RU[:, common.user_P[pairs]]
        share_RP = weight_RP / weight_RP.sum(axis=1, keepdims=True)
        own_spread = _spread(common.responses_RF, mean[group])
        base_RP, own_base_RP = _project(common.base_PF[pairs], group, common, sum_UF, weight_RU)
        for adapter, difference_SPF in common.adapters.items():
            values: dict[str, list[Array]] = {metric: [] for metric in ALONG}
            for difference_PF in difference_SPF[:, pairs]:
                both_RP, own_RP = _project(difference_PF, group, common, sum_UF, weight_RU)
                values["shift"].append(_mean((both_RP - base_RP) / spread, share_RP))
                values["own_shift"].append(_mean((own_RP - own_base_RP) / own_spread, share_RP))
                values["separation"].append(IN_POINTS * _mean(_further(both_RP / spread), share_RP))
                values["own_separation"].append(IN_POINTS * _mean(_further(own_RP / own_spread), share_RP))
            for metric, value_SR in values.items():
                found[metric, adapter, group] = np.stack(value_SR, axis=1)
    return found


def _project(
    difference_PF: NDArray[Any], group: str, common: _Common, sum_UF: Array, weight_RU: Array
) -> tuple[Array, Array]:
    """One group's pairs on the direction of the other users of both groups, and of the own group alone, R x P; NaN if
    there is no other user."""
    own = common.users_of(group)
    rest = common.users_of("B" if group == "A" else "A")
    user_P = common.user_P[common.pairs_of(group)]
    weight_RP = weight_RU[:, user_P]
    product_PU = difference_PF @ sum_UF.T
    themselves_P = product_PU[np.arange(len(user_P)), user_P]
    pairs_RP = (weight_RU[:, own] @ common.pairs_U[own])[:, None] - weight_RP * common.pairs_U[user_P]
    own_RP = weight_RU[:, own] @ product_PU[:, own].T - weight_RP * themselves_P
    own_RP = np.divide(own_RP, pairs_RP, out=np.full_like(own_RP, np.nan), where=pairs_RP > 0)
    rest_RP = weight_RU[:, rest] @ product_PU[:, rest].T / (weight_RU[:, rest] @ common.pairs_U[rest])[:, None]
    return (own_RP + rest_RP) / 2, own_RP


def _direction_of(sum_UF: Array, common: _Common, group: str) -> Array:
    of = common.users_of(group)
    return sum_UF[of].sum(axis=0) / common.pairs_U[of].sum()


def _further(along_RP: Array) -> Array:
    return np.where(np.isnan(along_RP), np.nan, along_RP > 0)


def _mean(value_RP: Array, share_RP: Array) -> Array:
    """Weighted; of users who are not there (share 0) a value may lack."""
    return np.where(share_RP > 0, value_RP * share_RP, 0.0).sum(axis=1)


def _spread(responses_RF: Array, direction_F: Array) -> float:
    """NaN if nothing spreads."""
    return float((responses_RF @ direction_F).std()) or float("nan")


# ---- changes of direction


def _direction(common: _Common, weight_RU: Array, seed: int) -> tuple[Array, Array, float | None]:
    """`COSINES` (R x 4), by seed (R x S x 4), and p by exchange."""
    change_NUF = np.concatenate(
        [np.add.reduceat(common.adapters[group], common.first_U, axis=1, dtype=np.float64) for group in GROUPS]
    ) - np.add.reduceat(common.base_PF, common.first_U, axis=0)
    common_RNN = np.zeros(())
    for group in GROUPS:
        of = common.users_of(group)
        weighed_RU = weight_RU[:, of] * common.pairs_U[of]
        count_R = weighed_RU.sum(axis=1) ** 2 - np.square(weighed_RU).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            common_RNN = common_RNN + products(change_NUF[:, of], weight_RU[:, of]) / count_R[:, None, None] / 2
    cosine_RC, by_seed_RSC = _by_seed(common_RNN)
    return cosine_RC, by_seed_RSC, _p_exchanged(common_RNN[0], np.random.default_rng(seed))


def products(change_NUF: Array, weight_RU: Array) -> Array:
    """What every two changes have in common, R x N x N: the sum of v_u . v_w over different users u and w, each as
    often as drawn. Copies of a user are no different users."""
    adapters, users, width = change_NUF.shape
    own_UNN = np.einsum("nuf,muf->unm", change_NUF, change_NUF, optimize=True)
    flat_UV = change_NUF.transpose(1, 0, 2).reshape(users, adapters * width)
    common_RNN = np.empty((len(weight_RU), adapters, adapters))
    step = max(1, AT_ONCE // (adapters * width))
    for start in range(0, len(weight_RU), step):
        sums_RNF = (weight_RU[start : start + step] @ flat_UV).reshape(-1, adapters, width)
        common_RNN[start : start + step] = sums_RNF @ sums_RNF.transpose(0, 2, 1)
    own_RV = np.square(weight_RU) @ own_UNN.reshape(users, adapters**2)
    return common_RNN - own_RV.reshape(common_RNN.shape)


def cosines(common_RNN: Array) -> Array:
    """`COSINES` (R x 4) of what changes have in common; NaN where a length is not above zero."""
    seeds = common_RNN.shape[-1] // 2
    different = ~np.eye(seeds, dtype=bool)

    def mean(block_RSS: Array, of: NDArray[np.bool_]) -> Array:
        return block_RSS[..., of].mean(axis=-1) if of.any() else np.full(len(block_RSS), np.nan)

    a_RSS, b_RSS = common_RNN[..., :seeds, :seeds], common_RNN[..., seeds:, seeds:]
    length_a_R, length_b_R = (
        np.where((square_R := mean(block, ~different)) > 0, square_R, np.nan) for block in (a_RSS, b_RSS)
    )
    within_a_R, within_b_R = mean(a_RSS, different) / length_a_R, mean(b_RSS, different) / length_b_R
    between_R = mean(common_RNN[..., :seeds, seeds:], different) / np.sqrt(length_a_R * length_b_R)
    return np.stack([within_a_R, within_b_R, between_R, (within_a_R + within_b_R) / 2 - between_R], axis=-1)


def _by_seed(common_RNN: Array) -> tuple[Array, Array]:
    """`cosines` (R x 4), and each seed's jackknife pseudo-value (R x S x 4), moved to have them as their mean; without
    a third seed all are the same."""
    whole_RC = cosines(common_RNN)
    seeds = common_RNN.shape[-1] // 2
    if seeds < 3:
        return whole_RC, np.repeat(whole_RC[:, None], seeds, axis=1)
    left_SRC = []
    for seed in range(seeds):
        kept = [place for place in range(2 * seeds) if place % seeds != seed]
        left_SRC.append(cosines(common_RNN[:, kept][:, :, kept]))
    pseudo_RSC = -(seeds - 1) * np.stack(left_SRC, axis=1)
    return whole_RC, whole_RC[:, None] + pseudo_RSC - pseudo_RSC.mean(axis=1, keepdims=True)


def _p_exchanged(common_NN: Array, generator: np.random.Generator) -> float | None:
    """Share of exchanges of A_s with B_s, seed by seed, whose divergence is at least as large as without; all of them,
    or as many as are drawn. If A's and B's adapters are interchangeable, each is as likely as the other."""
    seeds = len(common_NN) // 2
    if seeds < FEWEST_SEEDS:
        return None
    if 2 ** (seeds - 1) <= MOST_EXCHANGES:  # exchanging all seeds changes nothing, so the first one stays
        exchanged_ES = np.arange(2 ** (seeds - 1))[:, None] >> np.arange(seeds) & 1 == 1
    else:
        exchanged_ES = generator.random((MOST_EXCHANGES, seeds)) < 0.5
        exchanged_ES[0] = False
    place_S = np.arange(seeds)
    order_EN = np.hstack([place_S + seeds * exchanged_ES, place_S + seeds * ~exchanged_ES])
    divergence_E = cosines(common_NN[order_EN[:, :, None], order_EN[:, None, :]])[:, -1]
    return float((~(divergence_E < divergence_E[0] - 1e-12)).mean())


# ---- rows


def _row(found: Estimate) -> dict[str, object]:
    """The fields of an estimate, less equivalence, and its state.

    Without placebo splits a divergence above zero says nothing of the groups: any two sets of users may diverge.
    """
    row = asdict(found)
    del row["p_equivalence"]
    if found.p_adjusted is None:
        return {**row, "state": "no interval"}
    if found.p_adjusted > 1 - LEVEL:
        return {**row, "state": "not told from zero"}
    if found.quantity == "divergence" and TRAINING not in found.spread:
        note = "; ".join(filter(None, (found.note, "no placebo splits: any two sets of users may diverge as much")))
        return {**row, "note": note, "state": "cannot tell"}
    return {**row, "state": "above zero" if found.estimate > 0 else "below zero"}


def _empty_row(split: str, role: str, quantity: str, metric: str, why: str) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(Estimate.__dataclass_fields__)
    del row["p_equivalence"]
    row |= dict.fromkeys(("seeds", "users_a", "users_b", "pairs_a", "pairs_b"), 0)
    row |= {"split": split, "role": role, "quantity": quantity, "metric": metric, "adjustment": "", "spread": ""}
    return row | {"p_exchanged": None, "state": "undefined", "note": why}


def _nothing(split: str, role: str, why: str) -> SplitDirections:
    return SplitDirections(split=split, role=role, measured=[], missing=dict.fromkeys(EXPECTED, why))


# ---- arrays


def _check(read: ReadPairs) -> None:
    shape = read.chosen_PF.shape
    for name, given in (("rejected", read.rejected_PF), *read.adapters.items()):
        if given.shape != shape or shape[0] != len(read.pairs):
            raise ValueError(
                f"{name}: {given.shape} hidden states beside {shape} of the base model's chosen responses and "
                f"{len(read.pairs)} pairs; there must be one row per pair, all of one width"
            )
    if unknown := sorted(set(read.pairs["user_group"].unique().to_list()) - {"A", "B"}, key=str):
        raise ValueError(f"pairs are of users of group {unknown}; give those of A and B only")
    if read.pairs.select("user_id", "user_group").unique()["user_id"].is_duplicated().any():
        raise ValueError("a user is in both groups; give each user one")
    for name, given in (("chosen", read.chosen_PF), ("rejected", read.rejected_PF)):
        if broken := int((~np.isfinite(given)).any(axis=1).sum()):
            raise ValueError(
                f"{broken} of {len(given)} hidden states of the base model's {name} responses are not finite; "
                "read them again"
            )
    for adapter, given in read.adapters.items():
        broken_P = ~np.isfinite(given).all(axis=1) & ~np.isnan(given).all(axis=1)
        if broken_P.any():
            raise ValueError(
                f"{broken_P.sum()} of {len(given)} hidden states of adapter {adapter} are not finite; read them again"
            )


def _root_mean_square(difference_PF: Array) -> Array:
    size_F = np.sqrt(np.square(difference_PF).mean(axis=0))
    return np.where(size_F > 0, size_F, 1.0)  # a feature that is always equal stays zero
