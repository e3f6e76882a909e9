"""Do WPO weights differ by source model because of the model, or because some models write longer answers?

The report of 2026-02-27 found that weights differ by source model. A weight is the exponential of a mean over tokens,
so its spread falls with the number of tokens, and models differ in how much they write. Two things are asked here, of
the pairs' weights w under one base model:

    w = model + f(log tokens of the chosen answer) + g(log tokens of the rejected answer) + rest,

f and g natural cubic splines: each model's mean weight at equal lengths, and the share of the variance of w that goes
with the models, with the lengths, and with each beyond the other.

Assumptions. Length matters equally for all models (no interaction); a model that writes lengths that no other does is
extrapolated to. PRISM deals models out at random, but a conversation goes on with the one whose first answer the user
liked best, so what later turns are about may differ by model, and is not adjusted for. Length is no more a cause of a
weight than the model is: the two are told apart, not ranked.

Intervals and tests. Pairs of one user are not independent, so everything is clustered by user: sandwich errors for
means, Hotelling's T^2 for coefficients, users drawn with replacement for shares of variance.

What chance gives. R squared grows with every column, so a share must be read beside that of an unrelated factor with as
many columns. The coefficients b of a part without effect have mean 0 and the clustered covariance V, and add b' W b to
the sum of squares that is explained, W^-1 being their covariance over the variance of independent errors; so they add
tr(W V) in the mean, and a sum of squares of normal variables times the eigenvalues of W V in distribution. For
independent pairs that is the number of columns over the number of pairs. On a bootstrap draw, in which users repeat,
chance adds its share once more; the interval is moved back by as much.

Simulated (300 users x 12 pairs, weights alike within users, 8 or 21 models that differ by length alone or not at all,
400 times each): p < .05 for models beyond length in 5 to 6 %; their mean share is .0029, .0084 and .0040 where
`by_chance` says .0028, .0082 and .0038. With a planted effect (share .079), the interval holds it in 94 % of 300.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.domain.inference.two_way import drawn_counts

# P pairs, U users, M source models, L columns of lengths, K = M + L, D draws
# A product matrix has K + 1 rows and columns: the models', the lengths', and last the weight.

Array = NDArray[np.float64]

DRAWS = 1_000
CHANCES = 10_000  # draws of what chance gives
LEVEL = 0.95
Z_95 = 1.959963984540054
KNOTS = (0.05, 0.275, 0.5, 0.725, 0.95)  # quantiles (Harrell 2015, Regression Modeling Strategies, table 2.3)
FEWEST_USERS = 20  # without which there is no interval, and a model is not among those tested
SINGULAR = 1e-9  # relative to the largest
ESTIMATED = "estimated"
LENGTH, MODEL = "length", "model"
PARTS = {  # what it is that is added, and to what
    "response length": (LENGTH, None),
    "source model": (MODEL, None),
    "source model beyond length": (MODEL, LENGTH),
    "length beyond source model": (LENGTH, MODEL),
}


@dataclass(frozen=True)
class _Pairs:
    """The pairs of one base model, ordered by user and conversation.

    `length_PL` has columns of mean 0 that are uncorrelated, so a model's coefficient beside them is its mean weight at
    the lengths of all pairs.
    """

    names: list[str]
    model_P: NDArray[np.int64]
    user_P: NDArray[np.int64]
    length_PL: Array
    weight_P: Array

    @property
    def models(self) -> int:
        return len(self.names)

    @property
    def users(self) -> int:
        return int(self.user_P[-1]) + 1 if len(self.user_P) else 0

    @property
    def all_PK(self) -> Array:
        """The models' columns (1 for a pair of the model, else 0), the lengths' and the weight."""
        return np.column_stack([np.eye(self.models)[self.model_P], self.length_PL, self.weight_P])

    @property
    def users_M(self) -> NDArray[np.int64]:
        both = np.unique(self.user_P * self.models + self.model_P)
        return np.bincount(both % self.models, minlength=self.models)

    def products_UKK(self) -> Array:
        """Of each user: sums over pairs of products of the columns and the weight."""
        begins = np.flatnonzero(np.diff(self.user_P)) + 1
        return np.stack([of_user.T @ of_user for of_user in np.split(self.all_PK, begins)])


def _columns(pairs: _Pairs, part: str) -> NDArray[np.int64]:
    first, last = (0, pairs.models) if part == MODEL else (pairs.models, pairs.models + pairs.length_PL.shape[1])
    return np.arange(first, last)


def _pairs(weights: pl.DataFrame) -> _Pairs:
    ordered = weights.sort("user_id", "pair_id")
    names, model_P = np.unique(ordered["model_name"].to_numpy(), return_inverse=True)
    _, user_P = np.unique(ordered["user_id"].to_numpy(), return_inverse=True)
    lengths = [
        natural_splines(np.log(np.maximum(ordered[f"{answer}_tokens"].to_numpy(), 1).astype(np.float64)))
        for answer in ("chosen", "rejected")
    ]
    return _Pairs(
        names.tolist(), model_P, user_P, _uncorrelated(np.column_stack(lengths)), ordered["weight"].to_numpy()
    )


def natural_splines(values_P: Array) -> Array:
    """Columns that together with a constant span the natural cubic splines of some values with knots at `KNOTS`.

    A natural spline is linear beyond the outer knots (Hastie, Tibshirani and Friedman 2009, The Elements of Statistical
    Learning, eq. 5.4 and 5.5). Knots that coincide count once; there is no column if all values are equal.
    """
    if not len(values_P) or np.ptp(values_P) == 0:
        return np.empty((len(values_P), 0))
    knots = np.unique(np.quantile(values_P, KNOTS))
    if len(knots) < 3:
        return values_P[:, None]
    cubes = np.maximum(values_P[:, None] - knots, 0) ** 3
    slopes = (cubes[:, :-1] - cubes[:, -1:]) / (knots[-1] - knots[:-1])
    return np.column_stack([values_P, slopes[:, :-1] - slopes[:, -1:]])


def _uncorrelated(columns: Array) -> Array:
    """Columns of mean 0 and variance 1 that span the same as these do beside a constant."""
    if not columns.size:
        return columns
    centred = columns - columns.mean(axis=0)
    scaled = centred / np.maximum(centred.std(axis=0), np.finfo(float).tiny)
    left, size, _ = np.linalg.svd(scaled, full_matrices=False)
    return left[:, size > SINGULAR * size[0]] * np.sqrt(len(columns))


@dataclass(frozen=True)
class _Fit:
    """Least squares: coefficients, their covariance clustered by user without a correction for few users, and what it
    would be for independent errors of variance 1.
    """

    coefficients: Array
    covariance: Array
    inverse: Array


def _fit(products_UKK: Array, design: Array) -> _Fit:
    """Of the weight on the columns of `design` (K x columns: each a combination of the K)."""
    of_columns = design.T @ products_UKK[:, :-1, :-1] @ design
    of_weight = products_UKK[:, :-1, -1] @ design
    inverse = np.linalg.pinv(of_columns.sum(axis=0), rcond=SINGULAR, hermitian=True)
    coefficients = inverse @ of_weight.sum(axis=0)
    bread_U = (of_weight - of_columns @ coefficients) @ inverse
    return _Fit(coefficients, bread_U.T @ bread_U, inverse)


def source_models(weights: pl.DataFrame) -> pl.DataFrame:
    """Each source model's mean weight, as it is and at the lengths of all pairs' answers.

    Errors are clustered by user: the sandwich times G / (G - 1), G the model's own users.

    Args:
        weights: one row per pair: `pair_id`, `user_id`, `model_name`, `weight` (0-1), `chosen_tokens`,
            `rejected_tokens`.

    Returns:
        By `model_name`: `pairs`, `users`, `mean_tokens` (of an answer), `mean_weight`, `lower`, `upper`,
        `adjusted_weight`, `adjusted_lower`, `adjusted_upper`. Intervals are empty for a model of one user; what is
        adjusted is empty if no model's lengths differ where models' do, so that the two cannot be told apart.
    """
    counted = (
        weights.group_by("model_name")
        .agg(
            pairs=pl.len().cast(pl.Int64),
            users=pl.col("user_id").n_unique().cast(pl.Int64),
            mean_tokens=(pl.col("chosen_tokens") + pl.col("rejected_tokens")).mean() / 2,
        )
        .sort("model_name")
    )
    if weights.is_empty():
        return counted.with_columns(pl.lit(None, pl.Float64).alias(name) for name in _INTERVALS)
    pairs = _pairs(weights)
    products_UKK = pairs.products_UKK()
    design = np.eye(len(products_UKK[0]) - 1)
    as_they_are = _means(_fit(products_UKK, design[:, : pairs.models]), pairs)
    told_apart = _vary_within_models(products_UKK.sum(axis=0), pairs)
    adjusted = _means(_fit(products_UKK, design), pairs) if told_apart else np.full_like(as_they_are, np.nan)
    found = dict(zip(_INTERVALS, np.vstack([as_they_are, adjusted]), strict=True))
    return counted.with_columns(pl.Series(name, values).fill_nan(None) for name, values in found.items())


_INTERVALS = ("mean_weight", "lower", "upper", "adjusted_weight", "adjusted_lower", "adjusted_upper")


def _means(fit: _Fit, pairs: _Pairs) -> Array:
    """Three rows: the models' coefficients, and the lower and upper ends of their intervals."""
    mean_M, variance_M = fit.coefficients[: pairs.models], np.diag(fit.covariance)[: pairs.models]
    users_M = pairs.users_M.astype(np.float64)
    few_users_M = np.divide(users_M, users_M - 1, out=np.full(pairs.models, np.nan), where=users_M > 1)
    half_M = Z_95 * np.sqrt(variance_M * few_users_M)
    return np.stack([mean_M, mean_M - half_M, mean_M + half_M])


def _vary_within_models(products_KK: Array, pairs: _Pairs) -> bool:
    """Whether every column of lengths varies within models, too."""
    model, length = _columns(pairs, MODEL), _columns(pairs, LENGTH)
    if not len(length):
        return True
    across = products_KK[np.ix_(length, model)]
    within = products_KK[np.ix_(length, length)] - across / np.diag(products_KK)[model] @ across.T
    return bool(np.linalg.eigvalsh(within)[0] > SINGULAR * len(pairs.weight_P))


def explained(weights: pl.DataFrame, draws: int = DRAWS, seed: int = 0) -> pl.DataFrame:
    """How much of the variance of the weights goes with `PARTS`, and how much would by chance.

    The test is Hotelling's: with q coefficients b, of clustered covariance V from G users, b' V^-1 b (G - q) / (q (G -
    1)) has an F distribution with q and G - q degrees of freedom. Source models of fewer than `FEWEST_USERS` users stay
    in the regression, but are not tested: what few users say has too small an error.

    Args:
        weights: as for `source_models`.
        draws: bootstrap draws of users.
        seed: of all draws.

    Returns:
        One row per part: `part`, `share` (0-1), `lower`, `upper` (95 %, not cut at 0), `by_chance` and `by_chance_p95`
        (mean and 95 % quantile of an unrelated part's share), `degrees_of_freedom`, `p`, `pairs`, `users`, `state`.
    """
    if weights.is_empty():
        return pl.DataFrame(schema=_EXPLAINED)
    pairs = _pairs(weights)
    generator = np.random.default_rng(seed)
    products_UKK = pairs.products_UKK()
    weight_DU = np.vstack([np.ones(pairs.users), drawn_counts(generator, pairs.users, pairs.users, draws)])
    size = products_UKK.shape[1]
    drawn_DKK = (weight_DU @ products_UKK.reshape(pairs.users, -1)).reshape(-1, size, size)
    rows = []
    for name, (added, base) in PARTS.items():
        counts = {"part": name, "pairs": len(pairs.weight_P), "users": pairs.users}
        if why := _why_undefined(pairs, {added, base}):
            rows.append(counts | {"degrees_of_freedom": 0, "state": f"undefined: {why}"})
            continue
        share_D = _share(drawn_DKK, pairs, added, base)
        moved_D = share_D[1:] - share_D[1:].mean() + share_D[0]
        lower, upper = np.quantile(moved_D, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        fit = _fit(products_UKK, _design(pairs, added, base))
        chance = _by_chance(fit, pairs, added, generator)
        tested, p = _test(fit, pairs, added)
        numbers = {"share": share_D[0], "lower": lower, "upper": upper, "by_chance": chance.mean()}
        numbers |= {"by_chance_p95": np.quantile(chance, 0.95), "degrees_of_freedom": tested, "p": p}
        rows.append(counts | numbers | {"state": ESTIMATED})
    return pl.DataFrame(rows, schema=_EXPLAINED)


_EXPLAINED = {
    "part": pl.String,
    **dict.fromkeys(("share", "lower", "upper", "by_chance", "by_chance_p95"), pl.Float64),
    "degrees_of_freedom": pl.Int64,
    "p": pl.Float64,
    **dict.fromkeys(("pairs", "users"), pl.Int64),
    "state": pl.String,
}


def _why_undefined(pairs: _Pairs, wanted: set[str | None]) -> str:
    if pairs.users < FEWEST_USERS:
        return f"users with pairs: {pairs.users}; an interval over users wants {FEWEST_USERS}"
    if np.ptp(pairs.weight_P) == 0:
        return "all weights are equal"
    if MODEL in wanted and pairs.models == 1:
        return "all pairs are of one source model"
    if LENGTH in wanted and not pairs.length_PL.shape[1]:
        return "all answers are equally long"
    return ""


def _design(pairs: _Pairs, *parts: str | None) -> Array:
    """Which combinations of the K columns are there: a constant, and the columns of the parts."""
    columns = np.eye(pairs.models + pairs.length_PL.shape[1])
    constant = columns[:, : pairs.models].sum(axis=1, keepdims=True)  # the models' columns add up to it
    chosen = [columns[:, _columns(pairs, part)] for part in (MODEL, LENGTH) if part in parts]
    return np.hstack(chosen if MODEL in parts else [constant, *chosen])


def _share(products_DKK: Array, pairs: _Pairs, added: str, base: str | None) -> Array:
    """R squared with the part added minus R squared without, per product matrix."""
    left_D = _left(products_DKK, _design(pairs, added, base))
    before_D = _left(products_DKK, _design(pairs, base))
    total_D = _left(products_DKK, _design(pairs))
    return (before_D - left_D) / total_D


def _left(products_DKK: Array, design: Array) -> Array:
    """Sums of squares that least squares on the columns of `design` leave."""
    of_columns = design.T @ products_DKK[:, :-1, :-1] @ design
    of_weight = products_DKK[:, :-1, -1] @ design
    least = SINGULAR * np.trace(of_columns, axis1=1, axis2=2)[:, None, None]  # a draw may lack a model altogether
    coefficients = np.linalg.solve(of_columns + least * np.eye(design.shape[1]), of_weight[..., None])[..., 0]
    fitted = 2 * of_weight - (of_columns @ coefficients[..., None])[..., 0]
    return products_DKK[:, -1, -1] - (coefficients * fitted).sum(axis=1)


def _contrasts(pairs: _Pairs, part: str, columns: int, models: NDArray[np.int64]) -> Array:
    """What is zero if a part has no effect, a row each: differences of `models` to the first, or the lengths' own."""
    if part == LENGTH:
        return np.eye(columns)[columns - pairs.length_PL.shape[1] :]
    found = np.zeros((max(len(models) - 1, 0), columns))
    found[:, models[:1]] = -1
    found[np.arange(len(found)), models[1:]] = 1
    return found


def _by_chance(fit: _Fit, pairs: _Pairs, added: str, generator: np.random.Generator) -> Array:
    """Draws of the share that the part would have without an effect."""
    contrasts = _contrasts(pairs, added, len(fit.coefficients), np.arange(pairs.models))
    covariance = contrasts @ fit.covariance @ contrasts.T * pairs.users / (pairs.users - 1)
    independent = contrasts @ fit.inverse @ contrasts.T
    eigenvalues = np.linalg.eigvals(np.linalg.pinv(independent, rcond=SINGULAR, hermitian=True) @ covariance).real
    explained = generator.standard_normal((CHANCES, len(eigenvalues))) ** 2 @ eigenvalues
    return explained / (pairs.weight_P.var() * len(pairs.weight_P))


def _test(fit: _Fit, pairs: _Pairs, added: str) -> tuple[int, float | None]:
    """Degrees of freedom and p of the coefficients of the part that is added."""
    from scipy.stats import f as f_distribution  # half a second to import: only where it is used

    contrasts = _contrasts(pairs, added, len(fit.coefficients), np.flatnonzero(pairs.users_M >= FEWEST_USERS))
    degrees, users = len(contrasts), pairs.users
    estimate = contrasts @ fit.coefficients
    covariance = contrasts @ fit.covariance @ contrasts.T * users / (users - 1)
    if not 0 < degrees < users or np.linalg.matrix_rank(covariance, hermitian=True) < degrees:
        return 0, None
    statistic = estimate @ np.linalg.solve(covariance, estimate) * (users - degrees) / (degrees * (users - 1))
    return degrees, float(f_distribution.sf(statistic, degrees, users - degrees))
