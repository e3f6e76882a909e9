"""The proportional-odds ordered logit by Newton's method, with user-clustered errors.

statsmodels' `OrderedModel` differentiates numerically: seconds to minutes on PRISM, needs standardised columns, and can
stop away from the optimum while reporting convergence. It is the oracle of the tests and of `benchmarks.ordered_logit`.
"""

# n pairs, k columns, c cuts, m = k + c parameters

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefassets.domain.evidence.fit import (
    Array,
    Fit,
    NotEstimable,
    clustered_covariance,
    refuse_separated,
    sigmoid,
    standardised,
)

CONVERGED_SE = 1e-8  # the optimum is this near, in standard errors, when Newton stops
MOST_ITERATIONS = 100
SMALLEST_STEP = 1e-10


@dataclass(frozen=True)
class _Likelihood:
    """The log-likelihood at one point, each pair's gradient of it, and the observed information (minus its Hessian)."""

    value: float
    scores_nm: Array
    information_mm: Array


def ordered_logit(values_nk: Array, bins_n: NDArray[np.int64], users_n: NDArray, bins: int) -> Fit:
    """Fit P(Y <= j | x) = sigma(theta_j - x beta), j = 0 .. bins-2, by maximum likelihood.

    A positive coefficient makes larger bins likelier, by the same log odds at every cut (proportional odds: the
    assumption). Columns are standardised for the arithmetic and the results returned in the columns' own units.

    Args:
        values_nk: covariates in any units, without a constant column.
        bins_n: the bin of each pair, 0 .. bins-1.
        users_n: who each pair belongs to (anything that can be compared).
        bins: how many bins there are; two make the binary logit.

    Raises:
        NotEstimable: fewer than two users, an empty bin, a singular design, a separated outcome, or no optimum found.

    Source: McCullagh (1980), Regression Models for Ordinal Data, JRSS B 42; see `clustered_covariance` for the errors.
    """
    columns = standardised(values_nk, users_n, bins_n, bins)
    size = values_nk.shape[1]
    share_below_c = np.bincount(bins_n, minlength=bins).cumsum()[:-1] / len(bins_n)
    parameters_m = np.concatenate([np.zeros(size), np.log(share_below_c / (1 - share_below_c))])  # best if beta = 0
    here = _likelihood(columns.values_nk, bins_n, parameters_m)
    for iteration in range(1, MOST_ITERATIONS + 1):  # noqa: B007  the count is reported
        gradient_m = here.scores_nm.sum(axis=0)
        try:
            step_m = np.linalg.solve(here.information_mm, gradient_m)
        except np.linalg.LinAlgError as error:
            raise NotEstimable("the likelihood is flat in some direction: separated or singular") from error
        if np.sqrt(abs(gradient_m @ step_m)) <= CONVERGED_SE:  # the gradient, measured in standard errors
            break
        parameters_m, here = _uphill(columns.values_nk, bins_n, parameters_m, here, step_m)
        refuse_separated(columns.values_nk @ parameters_m[:size])
    else:
        raise NotEstimable(f"no optimum found in {MOST_ITERATIONS} iterations")

    inverse_mm = np.linalg.inv(here.information_mm).astype(np.float64)
    back_mm = columns.to_own_units(bins - 1)
    own_units_m = back_mm @ parameters_m
    return Fit(
        coefficients_k=own_units_m[:size],
        cuts_c=own_units_m[size:],
        naive_mm=back_mm @ inverse_mm @ back_mm.T,
        clustered_mm=back_mm @ clustered_covariance(here.scores_nm, inverse_mm, users_n) @ back_mm.T,
        pairs=len(bins_n),
        users=len(np.unique(users_n)),
        log_likelihood=here.value,
        iterations=iteration,
    )


def _uphill(
    values_nk: Array, bins_n: NDArray[np.int64], parameters_m: Array, here: _Likelihood, step_m: Array
) -> tuple[Array, _Likelihood]:
    """The step, or its half, quarter, ..: the first that keeps the cuts in order and does not lower the likelihood."""
    size, fraction = values_nk.shape[1], 1.0
    slack = 1e-12 * abs(here.value)  # at the optimum rounding decides which of two equal values is larger
    while fraction > SMALLEST_STEP:
        tried_m = parameters_m + fraction * step_m
        if (np.diff(tried_m[size:]) > 0).all():
            there = _likelihood(values_nk, bins_n, tried_m)
            if there.value >= here.value - slack:
                return tried_m, there
        fraction /= 2
    raise NotEstimable("no step along Newton's direction raises the likelihood")


def _likelihood(values_nk: Array, bins_n: NDArray[np.int64], parameters_m: Array) -> _Likelihood:
    """With u, l the distances to the cuts above and below a pair, F = sigma, f = F (1 - F): P = F(u) - F(l).

    Derivatives of log P: by x beta  F(u) + F(l) - 1; by the upper cut  f(u) / P; by the lower  -f(l) / P; and of those
    once more. Open ends have infinite cuts, where f is zero.
    """
    size = values_nk.shape[1]
    log_odds_n = values_nk @ parameters_m[:size]
    cuts = np.concatenate([[-np.inf], parameters_m[size:], [np.inf]])
    upper_n, lower_n = cuts[bins_n + 1] - log_odds_n, cuts[bins_n] - log_odds_n
    below_upper_n, below_lower_n = sigmoid(upper_n), sigmoid(lower_n)
    # F(u) - F(l) = F(u) F(-l) (1 - exp(l - u)): no digits are lost where both are near 0 or 1
    probability_n = below_upper_n * sigmoid(-lower_n) * -np.expm1(lower_n - upper_n)
    upper_density_n = below_upper_n * sigmoid(-upper_n)
    lower_density_n = below_lower_n * sigmoid(-lower_n)
    by_upper_n, by_lower_n = upper_density_n / probability_n, -lower_density_n / probability_n

    cut_c = np.arange(len(cuts) - 2)
    is_upper_nc = (bins_n[:, None] == cut_c).astype(float)
    is_lower_nc = (bins_n[:, None] == cut_c + 1).astype(float)
    scores_nm = np.hstack(
        [
            values_nk * (below_upper_n + below_lower_n - 1)[:, None],
            is_upper_nc * by_upper_n[:, None] + is_lower_nc * by_lower_n[:, None],
        ]
    )

    twice_upper_n = by_upper_n * (1 - 2 * below_upper_n) - by_upper_n**2
    twice_lower_n = by_lower_n * (1 - 2 * below_lower_n) - by_lower_n**2
    cross_cc = is_upper_nc.T @ (is_lower_nc * (-by_upper_n * by_lower_n)[:, None])
    cuts_cc = np.diag(twice_upper_n @ is_upper_nc + twice_lower_n @ is_lower_nc) + cross_cc + cross_cc.T
    densities_nc = is_upper_nc * upper_density_n[:, None] + is_lower_nc * lower_density_n[:, None]
    mixed_kc = values_nk.T @ densities_nc
    columns_kk = -values_nk.T @ (values_nk * (upper_density_n + lower_density_n)[:, None])
    hessian_mm = np.block([[columns_kk, mixed_kc], [mixed_kc.T, cuts_cc]])
    return _Likelihood(float(np.log(probability_n).sum()), scores_nm, -hessian_mm)
