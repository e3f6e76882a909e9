"""Do the users of a group prefer along one direction, or each along their own?

A pair's direction is its chosen answer minus its rejected one, in features D of the two. Over pairs p and q:

    kappa_within  = mean of D_p . D_q, p and q of one user, from different conversations
    kappa_between = mean of D_p . D_q, p and q of different users
    H             = 1 - kappa_between / kappa_within

This puts a number on "preferences differ within the group", with which the reports explain what they did not find (an
open question of the report of 2026-02-27).

What H estimates. Let m_u = E[D | u], users being a sample of the group. kappa_within estimates E|m_u|^2 and
kappa_between |E m_u|^2, both without bias (U-statistics: Hoeffding 1948, Ann. Math. Statist. 19:293), so H estimates
tr Var(m_u) / E|m_u|^2. 0: all users prefer along one direction, equally strongly; 1: they share nothing. Var(m_u) is
the between-user variance component of an intraclass correlation, by the method of moments; the denominator is not the
total variance but the part that a user repeats. What a pair has of its own (topic, wording, a whim) is never
multiplied by itself and cancels in expectation: it costs precision, not truth. H is not cut at 0 and 1; estimates
fall on both sides.

Assumptions. Users are independent of each other, and a user's conversations are once the user is given. Both means
run over pairs, so users with many pairs weigh more (n^2 within, n between): how many pairs users have must not go
with what they prefer. Pairs of one conversation are never multiplied, because they share topic and model: a taste for
this conversation is not one of the user. With planted tastes of that kind (h = 0, 200 simulations) H is .10 and its
intervals cover 90 % if they are multiplied, -.03 and 97 % if not; without such tastes leaving them out costs no
precision that could be measured. What a user comes back to in every conversation, a topic for one, counts as theirs.

Features. D is not centred: the common direction is what kappa_between measures. Each feature is divided by its root
mean square over all pairs, the same for all groups, so that a few large ones do not decide: one feature of pure
noise, 30 times the others, leaves H undefined in 200 of 200 simulations without that scale; with it, intervals cover
94 %. The scale is the same whichever answer was chosen, so no preference goes into it. H depends on it: over everyone
in the demo H is .49 unscaled, .53 scaled and .60 whitened. Whitening is worse (kappa_within 8 instead of 17 bootstrap
errors above zero): it gives the many features without signal the weight of the few with it.

What H cannot say. Users who follow one direction, but some more consistently than others, have H > 0 too. H is about
what these features show, in the base model's eyes. A difference in H between groups does not say that they want
different things; that is the transfer interaction of `verdicts.transfer`. H of both groups together above H of each
is what the split accounts for. Intervals are not adjusted for the number of splits.

On synthetic PRISM, `age` differs in direction, so H is small within age.A and within age.B (only strengths differ
there) and large over both. `personalisation` and `safety` part users by strength: the group that follows the common
direction more consistently has the smaller H. Other splits differ by chance and by what goes with those.

Interval. Users are drawn with replacement within each group (Davison and Hinkley 1997, Bootstrap Methods and their
Application, section 3.8); a user does not meet their own copy. Quantiles of a ratio of two means so drawn are
Fieller's interval (1954, JRSS B 16:175) with the bootstrap in the place of the normal, while the denominator stays
above zero; where it does not, H is undefined. Coverage of the 95 % interval: 95 % at h = 0, .25, .5, .75 (500
simulations each of 300 users); at h = 1 it is 100 %, as there kappa_between is degenerate and the interval too wide
(Arcones and Gine 1992, Ann. Statist. 20:655). H itself is low by .05 at h = 0 with 300 users, .01 with 700: the bias
of a ratio.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.domain.inference.two_way import drawn_counts

# P pairs, C conversations, U users, F features, D bootstrap draws; row 0 of D + 1 is the estimate itself

DRAWS = 2_000
LEVEL = 0.95
FEWEST_USERS = 20
FEWEST_DRAWS_ABOVE_ZERO = 0.995  # share of draws with kappa_within > 0, below which it is not told from zero
ESTIMATED = "estimated"


@dataclass(frozen=True)
class UserSums:
    """All that H needs of each user's pairs; made once, whatever the number of splits.

    `sum_UF` is the sum of a user's scaled directions. `same_conversation_U` is the sum of D_p . D_q over p and q of one
    conversation, p = q among them, and `same_conversation_products_U` how many products that is.
    """

    user_U: NDArray[Any]
    pairs_U: NDArray[np.int64]
    conversations_U: NDArray[np.int64]
    sum_UF: NDArray[np.float64]
    same_conversation_U: NDArray[np.float64]
    same_conversation_products_U: NDArray[np.float64]

    def of(self, users: NDArray[Any]) -> "UserSums":
        """The rows of `users`; those without pairs have none."""
        rows = np.isin(self.user_U, users)
        return UserSums(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Heterogeneity:
    """H of one group, or of a difference or union of two. What cannot be computed is None, and `state` says why."""

    pairs: int
    users: int
    users_within: int
    kappa_within: float | None
    kappa_between: float | None
    heterogeneity: float | None
    lower: float | None
    upper: float | None
    draws: int
    state: str


def user_sums(direction_PF: NDArray[Any], user_P: NDArray[Any], conversation_P: NDArray[Any]) -> UserSums:
    """Scale each feature by its root mean square over all pairs, and add the directions up by user.

    Args:
        direction_PF: features of the chosen minus features of the rejected answer, any unit.
        user_P, conversation_P: whose pair it is, and in which conversation; any order.

    Returns:
        One row per user, sorted by user.

    Raises:
        ValueError: a feature is not finite, or the lengths differ.
    """
    if not len(direction_PF) == len(user_P) == len(conversation_P):
        raise ValueError(
            f"{len(direction_PF)} directions, {len(user_P)} users and {len(conversation_P)} conversations were given; "
            "there must be one of each per pair"
        )
    if not np.isfinite(direction_PF).all():
        broken = int((~np.isfinite(direction_PF)).any(axis=1).sum())
        raise ValueError(f"{broken} of {len(direction_PF)} pairs have features that are not finite; make them again")
    users, user = np.unique(user_P, return_inverse=True)
    conversations, conversation = np.unique(conversation_P, return_inverse=True)
    block_C, block_P, pairs_C = np.unique(
        user * len(conversations) + conversation, return_inverse=True, return_counts=True
    )
    user_C = block_C // max(len(conversations), 1)
    by_block = np.argsort(block_P, kind="stable")
    sum_CF = np.add.reduceat(
        direction_PF[by_block], np.cumsum(pairs_C) - pairs_C, axis=0, dtype=np.float64
    ) / _root_mean_square(direction_PF)
    conversations_U = np.bincount(user_C, minlength=len(users))
    return UserSums(
        user_U=users,
        pairs_U=np.bincount(user, minlength=len(users)),
        conversations_U=conversations_U,
        sum_UF=np.add.reduceat(sum_CF, np.cumsum(conversations_U) - conversations_U, axis=0),
        same_conversation_U=_add_up(_squared_norm(sum_CF), user_C, len(users)),
        same_conversation_products_U=_add_up(np.square(pairs_C), user_C, len(users)),
    )


def _add_up(value_C: NDArray[Any], user_C: NDArray[np.int64], users: int) -> NDArray[np.float64]:
    return np.bincount(user_C, weights=value_C, minlength=users).astype(np.float64)


def _root_mean_square(direction_PF: NDArray[Any]) -> NDArray[np.float64]:
    if not len(direction_PF):
        return np.ones(direction_PF.shape[1])
    size_F = np.sqrt(np.square(direction_PF).mean(axis=0, dtype=np.float64))
    return np.where(size_F > 0, size_F, 1.0)  # a feature that is always equal stays zero


def _squared_norm(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.einsum("...f,...f->...", rows, rows)


@dataclass(frozen=True)
class _Drawn:
    """The two means of each draw as numerators and denominators. Groups drawn apart are joined by adding."""

    within_D: NDArray[np.float64]
    within_products_D: NDArray[np.float64]
    sum_DF: NDArray[np.float64]
    pairs_D: NDArray[np.float64]
    same_user_D: NDArray[np.float64]
    same_user_products_D: NDArray[np.float64]

    def __add__(self, other: "_Drawn") -> "_Drawn":
        return _Drawn(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    @property
    def kappa_within_D(self) -> NDArray[np.float64]:
        return _ratio(self.within_D, self.within_products_D)

    @property
    def kappa_between_D(self) -> NDArray[np.float64]:
        return _ratio(
            _squared_norm(self.sum_DF) - self.same_user_D, np.square(self.pairs_D) - self.same_user_products_D
        )

    @property
    def heterogeneity_D(self) -> NDArray[np.float64]:
        """Not a number where kappa_within is not above zero."""
        within_D = self.kappa_within_D
        above_zero_D = np.where(np.nan_to_num(within_D) > 0, within_D, np.nan)
        return 1 - self.kappa_between_D / above_zero_D


def _ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def _draw(sums: UserSums, draws: int, rng: np.random.Generator) -> _Drawn:
    """How often each user is drawn is a weight w: sums become W @ sums. Products of a user with itself or a copy of
    itself, w^2 |sum|^2 in all, are no products of different users.
    """
    users = len(sums.user_U)
    weight_DU = np.ones((draws + 1, users))
    if users:
        weight_DU[1:] = drawn_counts(rng, users, users, draws)
    squared_U = _squared_norm(sums.sum_UF)
    pairs_U = sums.pairs_U.astype(np.float64)
    squared_weight_DU = np.square(weight_DU)
    return _Drawn(
        within_D=weight_DU @ (squared_U - sums.same_conversation_U),
        within_products_D=weight_DU @ (np.square(pairs_U) - sums.same_conversation_products_U),
        sum_DF=weight_DU @ sums.sum_UF,
        pairs_D=weight_DU @ pairs_U,
        same_user_D=squared_weight_DU @ squared_U,
        same_user_products_D=squared_weight_DU @ np.square(pairs_U),
    )


def compare_groups(a: UserSums, b: UserSums, draws: int = DRAWS, seed: int = 0) -> dict[str, Heterogeneity]:
    """H of A, of B, of both together (`A + B`), and the difference `A - B`, all from the same draws of users.

    Returns:
        By those four names: H with the `LEVEL` interval of `draws` user bootstraps. `draws` of the result counts the
        draws behind the interval, which are those with kappa_within > 0. Counts of `A - B` are of both groups.
    """
    rng = np.random.default_rng(seed)
    drawn_a, drawn_b = _draw(a, draws, rng), _draw(b, draws, rng)
    of_a, of_b = _judge([a], drawn_a), _judge([b], drawn_b)
    return {
        "A": of_a,
        "B": of_b,
        "A - B": _difference(of_a, of_b, drawn_a.heterogeneity_D - drawn_b.heterogeneity_D),
        "A + B": _judge([a, b], drawn_a + drawn_b),
    }


def _judge(groups: list[UserSums], drawn: _Drawn) -> Heterogeneity:
    pairs = sum(int(group.pairs_U.sum()) for group in groups)
    users = sum(len(group.user_U) for group in groups)
    users_within = sum(int((group.conversations_U >= 2).sum()) for group in groups)
    within_D, between_D, heterogeneity_D = drawn.kappa_within_D, drawn.kappa_between_D, drawn.heterogeneity_D
    usable_D = np.isfinite(heterogeneity_D)
    if not pairs:
        why = "no pairs"
    elif users < FEWEST_USERS:
        why = f"users with pairs: {users}; an interval over users wants {FEWEST_USERS}"
    elif not users_within:
        why = "no user has pairs in two conversations"
    elif not usable_D[0] or usable_D.mean() < FEWEST_DRAWS_ABOVE_ZERO:
        why = "kappa_within is not told from zero, so users do not repeat themselves in these features"
    else:
        why = ""
    return Heterogeneity(
        pairs,
        users,
        users_within,
        _or_none(within_D[0]),
        _or_none(between_D[0]),
        *_estimate(heterogeneity_D, not why),
        state=f"undefined: {why}" if why else ESTIMATED,
    )


def _difference(a: Heterogeneity, b: Heterogeneity, difference_D: NDArray[np.float64]) -> Heterogeneity:
    undefined = [name for name, group in (("A", a), ("B", b)) if group.state != ESTIMATED]
    return Heterogeneity(
        a.pairs + b.pairs,
        a.users + b.users,
        a.users_within + b.users_within,
        None,
        None,
        *_estimate(difference_D, not undefined),
        state=f"undefined: so is {' and '.join(undefined)}" if undefined else ESTIMATED,
    )


def _estimate(value_D: NDArray[np.float64], defined: bool) -> tuple[float | None, float | None, float | None, int]:
    """Estimate, lower and upper end, and the draws behind the ends."""
    if not defined:
        return None, None, None, 0
    usable_D = value_D[1:][np.isfinite(value_D[1:])]
    lower, upper = np.quantile(usable_D, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(value_D[0]), float(lower), float(upper), len(usable_D)


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def split_heterogeneity(
    features: pl.DataFrame, assignments: pl.DataFrame, draws: int = DRAWS, seed: int = 0
) -> pl.DataFrame:
    """`compare_groups` for every split, on hidden states of the two answers of each pair.

    Args:
        features: one row per pair: `user_id`, `conversation_id`, `chosen` and `rejected` (lists of equal length).
        assignments: the table `splits.assignments`.
        seed: of the draws; they depend on nothing else, so a split's rows do not change when another is added.

    Returns:
        `split`, `user_group` (`A`, `B`, `A - B`, `A + B`) and the fields of `Heterogeneity`; splits in their order.

    Raises:
        ValueError: a hidden state is not finite, or two differ in length.
    """
    sums = user_sums(
        _matrix(features["chosen"]) - _matrix(features["rejected"]),
        features["user_id"].to_numpy(),
        features["conversation_id"].to_numpy(),
    )
    rows = []
    for split in assignments["split"].unique(maintain_order=True):
        a, b = (
            sums.of(assignments.filter(split=split, user_group=group)["user_id"].to_numpy()) for group in ("A", "B")
        )
        for group, found in compare_groups(a, b, draws, seed).items():
            rows.append({"split": split, "user_group": group, **vars(found)})
    return pl.DataFrame(rows, schema=_SCHEMA)


_SCHEMA = {
    "split": pl.String,
    "user_group": pl.String,
    **dict.fromkeys(("pairs", "users", "users_within"), pl.Int64),
    **dict.fromkeys(("kappa_within", "kappa_between", "heterogeneity", "lower", "upper"), pl.Float64),
    "draws": pl.Int64,
    "state": pl.String,
}


def _matrix(lists: pl.Series) -> NDArray[Any]:
    widths = lists.list.len().unique().to_list()
    if len(widths) > 1 or widths == [None]:
        raise ValueError(
            f"hidden states of {lists.name} answers have {widths} numbers; those of one base model have equally many"
        )
    return lists.list.explode().to_numpy().reshape(len(lists), *(widths or [0]))
