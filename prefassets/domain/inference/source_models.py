"""Do WPO weights differ by source model because of the model, or because some models write longer answers?

A weight is the exponential of a mean over tokens, so its spread falls with the number of tokens, and models differ in
how much they write. So the pairs' weights w under one base model are regressed, by statsmodels' least squares, on

    w = model + f(log tokens of the chosen answer) + g(log tokens of the rejected answer) + rest,

f and g patsy's natural cubic splines: each model's mean weight at equal lengths, and the share of the variance of w
that goes with the models, with the lengths, and with each beyond the other.

Assumptions. Length matters equally for all models; a model that writes lengths that no other does is extrapolated to.
PRISM deals models out at random, but a conversation goes on with the one whose first answer the user liked best, so
what later turns are about may differ by model, and is not adjusted for. Length and model are told apart, not ranked.
Pairs of one user are not independent: errors and tests are clustered by user, and users are drawn with replacement.

What chance gives. R squared grows with every column, so a share must be read beside that of an unrelated factor with as
many columns. The coefficients of a part without effect have mean 0 and the clustered covariance V; with W^-1 what V is
for independent errors of variance 1, they add tr(W V) to the explained sum of squares in the mean. On a draw, in which
users repeat, chance adds its share once more; the interval is moved back by as much.

Simulated, 300 users x 12 pairs: of 8 or 21 models that differ by length alone or not at all (400 times each), p < .05
beyond length in 5 to 7 %, and the means of `by_chance` and `share` are within 3 %. The interval of an effect that was
planted (8 models, share .134) holds it in 94 % of 300.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.domain.inference.two_way import drawn_counts

# P pairs, U users, M source models, K columns, D draws

Array = NDArray[np.float64]

DRAWS = 1_000
Z_95 = 1.959963984540054
KNOTS = (0.05, 0.275, 0.5, 0.725, 0.95)  # quantiles (Harrell 2015, Regression Modeling Strategies, table 2.3)
FEWEST_USERS = 20  # without which there is no interval, and a model is not among those tested
LENGTH, MODEL = "length", "model"
PARTS = {  # what it is that is added, and to what
    "response length": (LENGTH, None),
    "source model": (MODEL, None),
    "source model beyond length": (MODEL, LENGTH),
    "length beyond source model": (LENGTH, MODEL),
}
_NUMBERS, _COUNTS = ("share", "lower", "upper", "by_chance", "p"), ("degrees_of_freedom", "pairs", "users")
_EXPLAINED = (
    dict.fromkeys(("part", "state"), pl.String) | dict.fromkeys(_NUMBERS, pl.Float64) | dict.fromkeys(_COUNTS, pl.Int64)
)


def source_models(weights: pl.DataFrame) -> pl.DataFrame:
    """Each source model's mean weight, as it is and at the lengths of all pairs' answers.

    Errors are statsmodels', clustered by user, times G / (G - 1), G the model's own users, as in `weights.mean`.

    Args:
        weights: one row per pair: `pair_id`, `user_id`, `model_name`, `weight` (0-1), `chosen_tokens`,
            `rejected_tokens`.

    Returns:
        By `model_name`: `pairs`, `users`, `mean_tokens` (of an answer), `mean_weight`, `lower`, `upper`,
        `adjusted_weight`, `adjusted_lower`, `adjusted_upper`. Intervals are empty for a model of one user; what is
        adjusted is empty if lengths and models cannot be told apart, say because each model writes one length.
    """
    found = _by_model(weights).sort("model_name")
    users_M, nothing_M = found["users"].to_numpy(), np.full(len(found), np.nan)
    few_users_M = np.sqrt(users_M / np.where(users_M > 1, users_M - 1, np.nan))
    of_model = _one_hot(weights, found["model_name"])
    with_lengths = np.hstack([of_model, *_curves(weights).values()])
    for names, columns, mean_M in (
        (("mean_weight", "lower", "upper"), of_model, found["mean_weight"].to_numpy()),
        (("adjusted_weight", "adjusted_lower", "adjusted_upper"), with_lengths, nothing_M),
    ):
        half_M = nothing_M
        if _told_apart(columns):
            fit = _fit(weights, columns, use_correction=False)
            mean_M, half_M = fit.params[: len(found)], Z_95 * fit.bse[: len(found)] * few_users_M
        values = zip(names, (mean_M, mean_M - half_M, mean_M + half_M), strict=True)
        found = found.with_columns(pl.Series(name, of_models).fill_nan(None) for name, of_models in values)
    return found


def explained(weights: pl.DataFrame, draws: int = DRAWS, seed: int = 0) -> pl.DataFrame:
    """How much of the variance of the weights goes with `PARTS`, and how much would by chance.

    The test is statsmodels' Wald test, F with G - 1 degrees of freedom below for G users, with its correction of the
    covariance, G / (G - 1) (P - 1) / (P - K), and Hotelling's for q coefficients, (G - 1) / (G - q), without which p <
    .05 for 21 models in 9 to 10 % (simulated as above). Source models of fewer than `FEWEST_USERS` users stay in the
    regression, but are not tested: what few users say has too small an error.

    Args:
        weights: as for `source_models`.
        draws: bootstrap draws of users.
        seed: of the draws.

    Returns:
        One row per part: `part`, `state`, `share` (0-1), `lower`, `upper` (95 %, not cut at 0), `by_chance` (mean share
        of an unrelated part), `p`, `degrees_of_freedom`, `pairs`, `users`.
    """
    if weights.is_empty():
        return pl.DataFrame(schema=_EXPLAINED)
    weights = weights.sort("user_id", "pair_id")
    models, curves = _by_model(weights), _curves(weights)
    of_model = _one_hot(weights, models["model_name"][1:])  # each beside the model of most users
    all_PK = np.hstack([np.ones((len(weights), 1)), of_model, *curves.values()])
    columns_K = range(all_PK.shape[1])
    at = {None: columns_K[:0], MODEL: columns_K[1 : len(models)], LENGTH: columns_K[len(models) :]}
    rare = [column for column in at[MODEL] if models["users"][column] < FEWEST_USERS]
    no_curve = [f"{answer} answers too equally long for a curve" for answer in curves if curves[answer].shape[1] < 2]
    users = weights["user_id"].n_unique()
    drawn_DKK = _drawn_products(weights, all_PK, draws, seed)
    rows = []
    for name, (added, base) in PARTS.items():
        row: dict[str, Any] = {"part": name, "pairs": len(weights), "users": users, "degrees_of_freedom": 0}
        before, columns = [0, *at[base]], [0, *at[base], *at[added]]
        lacking = {part for part in (added, base) if part and not at[part]}
        if why := _why_undefined(weights, lacking, all_PK[:, columns]):
            rows.append(row | {"state": f"undefined: {why}"})
            continue
        fit = _fit(weights, all_PK[:, columns])
        share = fit.rsquared - _fit(weights, all_PK[:, before]).rsquared
        share_D = _r_squared(drawn_DKK, columns) - _r_squared(drawn_DKK, before)
        lower, upper = np.quantile(share_D - share_D.mean() + share, [0.025, 0.975])
        part = slice(len(before), None)
        if_independent, covariance = fit.normalized_cov_params[part, part], fit.cov_params()[part, part]
        by_chance = np.trace(np.linalg.solve(if_independent, covariance)) / fit.centered_tss
        row |= {"share": share, "lower": lower, "upper": upper, "by_chance": by_chance}
        tested = [number for number, column in enumerate(columns) if column in at[added] and column not in rare]
        if 0 < len(tested) < users:
            hotelling = (users - 1) / (users - len(tested))
            test = fit.wald_test(np.eye(len(columns))[tested], cov_p=hotelling * fit.cov_params(), use_f=True)
            row |= {"degrees_of_freedom": len(tested), "p": float(test.pvalue)}
        rows.append(row | {"state": ", ".join(["estimated", *(no_curve if LENGTH in (added, base) else [])])})
    return pl.DataFrame(rows, schema=_EXPLAINED)


def _by_model(weights: pl.DataFrame) -> pl.DataFrame:
    """What is counted of each source model, that of most users first."""
    counted = weights.group_by("model_name").agg(
        pairs=pl.len().cast(pl.Int64),
        users=pl.col("user_id").n_unique().cast(pl.Int64),
        mean_tokens=(pl.col("chosen_tokens") + pl.col("rejected_tokens")).mean() / 2,
        mean_weight=pl.col("weight").mean(),
    )
    return counted.sort("users", "model_name", descending=[True, False])


def _one_hot(weights: pl.DataFrame, models: pl.Series) -> Array:
    return (weights["model_name"].to_numpy()[:, None] == models.to_numpy()).astype(np.float64)


def _curves(weights: pl.DataFrame) -> dict[str, Array]:
    return {answer: _curve(weights[f"{answer}_tokens"]) for answer in ("chosen", "rejected")}


def _curve(tokens: pl.Series) -> Array:
    """Columns of mean 0 that with a constant span the natural cubic splines of the log tokens.

    Knots are among the values, so that columns are independent; those that coincide count once. With fewer than three
    a line is left; of answers that are all equally long, no column.
    """
    from patsy import cr

    log_P = tokens.clip(1).log().to_numpy()
    if len(np.unique(log_P)) < 2:
        return np.empty((len(tokens), 0))
    knots = np.unique(np.quantile(log_P, KNOTS, method="nearest"))
    if len(knots) < 3:
        return (log_P - log_P.mean())[:, None]
    return cr(log_P, knots=knots[1:-1], lower_bound=knots[0], upper_bound=knots[-1], constraints="center")


def _fit(weights: pl.DataFrame, columns: Array, use_correction: bool = True) -> Any:
    """Least squares of the weight by statsmodels, with errors clustered by user."""
    from statsmodels.regression.linear_model import OLS  # slow to import: only where it is used

    groups = np.unique(weights["user_id"].to_numpy(), return_inverse=True)[1]
    clustered = {"groups": groups, "use_correction": use_correction}
    return OLS(weights["weight"].to_numpy(), columns).fit(cov_type="cluster", cov_kwds=clustered)


def _told_apart(columns: Array) -> bool:
    return len(columns) > columns.shape[1] == np.linalg.matrix_rank(columns)


def _why_undefined(weights: pl.DataFrame, lacking: set[str], columns: Array) -> str:
    if (users := weights["user_id"].n_unique()) < FEWEST_USERS:
        return f"users with pairs: {users}; an interval over users wants {FEWEST_USERS}"
    if weights["weight"].n_unique() == 1:
        return "all weights are equal"
    if MODEL in lacking:
        return "all pairs are of one source model"
    if lacking:
        return "all answers are equally long"
    alike = "too few answers, or too equally long, to tell source models and lengths apart"
    return "" if _told_apart(columns) else alike


def _drawn_products(weights: pl.DataFrame, all_PK: Array, draws: int, seed: int) -> Array:
    """Sums of products of the columns, and last the weight, over the pairs (ordered by user) of users drawn."""
    with_weight = np.column_stack([all_PK, weights["weight"] - weights["weight"].mean()])
    ends = weights["user_id"].rle().struct.field("len").cum_sum().to_numpy()
    products_UKK = np.stack([of_user.T @ of_user for of_user in np.split(with_weight, ends[:-1])])
    drawn_DU = drawn_counts(np.random.default_rng(seed), len(ends), len(ends), draws)
    return np.tensordot(drawn_DU, products_UKK, axes=1)


def _r_squared(products_DKK: Array, columns: list[int]) -> Array:
    """Of least squares of the weight on some of the columns, of which the first is a constant."""
    of_columns, of_weight = products_DKK[:, columns][:, :, columns], products_DKK[:, columns, -1]
    least_D = 1e-12 * np.trace(of_columns, axis1=1, axis2=2)  # a draw may lack a model altogether
    coefficients = np.linalg.solve(of_columns + np.multiply.outer(least_D, np.eye(len(columns))), of_weight[..., None])
    mean_only_D = of_weight[:, 0] ** 2 / of_columns[:, 0, 0]
    explained_D = (of_weight * coefficients[..., 0]).sum(axis=1) - mean_only_D
    return explained_D / (products_DKK[:, -1, -1] - mean_only_D)
