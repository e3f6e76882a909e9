"""A fitted model of how large score gaps are: coefficients, naive and user-clustered errors, tests, marginal effects.

Both models of this package say P(a pair is above cut j | x) = sigma(x beta - theta_j), sigma(t) = 1 / (1 + exp(-t)):
the binary logit has one cut, the ordered logit one between every two bins. So one `Fit` describes both.
"""

# n pairs, k columns of covariates, c cuts, m = k + c parameters: the columns' first, then the cuts'

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SEPARATED_LOG_ODDS = 20.0  # fitted log odds that span more than this, odds of 1 to 500 million, grow without end
SINGULAR = 1e-10  # eigenvalue of a correlation matrix, or ratio of variances, below which it counts as zero
Z_95 = 1.959963984540054


class NotEstimable(ValueError):
    """The data cannot give these coefficients. `columns` are the positions of the columns at fault, if any are."""

    def __init__(self, problem: str, columns: Sequence[int] = ()) -> None:
        super().__init__(problem)
        self.columns = tuple(columns)


@dataclass(frozen=True)
class Standardised:
    """Columns with mean 0 and standard deviation 1, and the way back to the columns' own units."""

    values_nk: Array
    mean_k: Array
    sd_k: Array

    def to_own_units(self, cuts: int) -> Array:
        """The m x m matrix that takes parameters of the standardised columns to those of the original ones.

        beta = beta_z / sd, theta = theta_z + sum_k mean_k beta_k.
        """
        columns = len(self.sd_k)
        back = np.eye(columns + cuts)
        back[:columns, :columns] /= self.sd_k
        back[columns:, :columns] = self.mean_k / self.sd_k
        return back


@dataclass(frozen=True)
class Fit:
    """Coefficients (log odds per unit of a column), cuts, and both covariances of all m parameters.

    `naive` is the inverse of the observed information: right if pairs are independent. `clustered` is the CR1 sandwich
    over users: right if users are independent, whatever goes on within a user. Both treat covariates as fixed.
    """

    coefficients_k: Array
    cuts_c: Array
    naive_mm: Array
    clustered_mm: Array
    pairs: int
    users: int
    log_likelihood: float
    iterations: int

    def __post_init__(self) -> None:
        """Refuse errors that are zero, which is what CR1 gives where users do not differ or one user is all there is.

        Raises:
            NotEstimable: a clustered variance, or that of a combination of coefficients, vanishes.
        """
        if not len(self.coefficients_k):
            return
        problem = "clustered errors vanish: the users do not differ from what the model expects of each"
        if gone := np.nonzero(~(self.design_effect_k > SINGULAR))[0].tolist():
            raise NotEstimable(problem, gone)
        se_k = self.clustered_se_k
        if np.linalg.eigvalsh(self.clustered_mm[: len(se_k), : len(se_k)] / np.outer(se_k, se_k))[0] < SINGULAR:
            raise NotEstimable(problem)

    @property
    def naive_se_k(self) -> Array:
        return np.sqrt(np.diag(self.naive_mm))[: len(self.coefficients_k)]

    @property
    def clustered_se_k(self) -> Array:
        return np.sqrt(np.diag(self.clustered_mm))[: len(self.coefficients_k)]

    @property
    def design_effect_k(self) -> Array:
        """Clustered over naive variance: how many times fewer pairs the coefficient really rests on (Kish 1965)."""
        return (self.clustered_se_k / self.naive_se_k) ** 2

    def wald(self, weights_rk: Array, covariance_mm: Array) -> float:
        """p of the hypothesis that weights . beta is zero in every row, by the errors of `covariance_mm`.

        W = (R b)' (R V R')^-1 R b ~ chi squared with as many degrees of freedom as R has rows (Wald 1943); for one row
        the two-sided z-test. Large samples: with few users the clustered test says yes too often.
        """
        from scipy.stats import chi2  # half a second to import: only where it is used

        size = len(self.coefficients_k)
        estimate_r = weights_rk @ self.coefficients_k
        covariance_rr = weights_rk @ covariance_mm[:size, :size] @ weights_rk.T
        return float(chi2.sf(estimate_r @ np.linalg.solve(covariance_rr, estimate_r), len(weights_rk)))

    def marginal_effects(self, values_nk: Array, cut: int) -> tuple[Array, Array]:
        """Average marginal effect of each column on P(a pair is above `cut`), and its clustered standard error.

        AME_k = beta_k mean_n[q (1 - q)], q = sigma(x beta - theta_cut): the change of the probability (0-1) per unit of
        the column; for a category, the derivative along its column. Errors by the delta method with covariates fixed
        (Greene, Econometric Analysis, 8th ed., 17.3; what statsmodels' `get_margeff` gives).
        """
        beta = self.coefficients_k
        above_n = sigmoid(values_nk @ beta - self.cuts_c[cut])
        slope_n = above_n * (1 - above_n)
        bend_n = slope_n * (1 - 2 * above_n)
        jacobian_km = np.zeros((len(beta), len(self.naive_mm)))
        jacobian_km[:, : len(beta)] = slope_n.mean() * np.eye(len(beta)) + np.outer(
            beta, bend_n @ values_nk / self.pairs
        )
        jacobian_km[:, len(beta) + range(len(self.cuts_c))[cut]] = -beta * bend_n.mean()
        variance_k = np.einsum("km,ml,kl->k", jacobian_km, self.clustered_mm, jacobian_km)
        return beta * slope_n.mean(), np.sqrt(variance_k)


def sigmoid(t: Array) -> Array:
    """1 / (1 + exp(-t)), for any t without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * t))


def standardised(values_nk: Array, users_n: NDArray, bins_n: NDArray[np.int64], bins: int) -> Standardised:
    """The columns standardised, once it is certain that a model of `bins` bins can be fitted to them.

    Raises:
        NotEstimable: fewer than two users, no more users than parameters (the clustered covariance would be singular),
            an empty bin, a constant column, or columns that are linearly dependent.
    """
    pairs, columns = values_nk.shape
    users = len(np.unique(users_n))
    if users < 2:
        raise NotEstimable(f"clustered errors need at least 2 users; there are {users}")
    in_bin = np.bincount(bins_n, minlength=bins)
    if empty := [number for number in range(bins) if not in_bin[number]]:
        raise NotEstimable(f"no pair is in bin {empty[0] + 1} of {bins}; choose other cuts or more pairs")
    if users <= columns + bins - 1:
        raise NotEstimable(
            f"{users} users cannot give errors to {columns + bins - 1} parameters; take fewer covariates"
        )
    mean_k, sd_k = values_nk.mean(axis=0), values_nk.std(axis=0)
    if constant := np.nonzero(sd_k <= 1e-12 * (1 + np.abs(mean_k)))[0].tolist():
        raise NotEstimable("every pair has the same value", constant)
    scaled_nk = (values_nk - mean_k) / sd_k
    size, direction = np.linalg.eigh(scaled_nk.T @ scaled_nk / pairs)
    if columns and size[0] < SINGULAR:
        alike = np.nonzero(np.abs(direction[:, 0]) > 1e-3)[0].tolist()
        raise NotEstimable("singular design: these columns cannot be told apart", alike)
    return Standardised(scaled_nk, mean_k, sd_k)


def refuse_separated(log_odds_n: Array) -> None:
    """Raise where covariates predict the outcome perfectly for some pairs, so that no finite coefficient is best.

    Raises:
        NotEstimable: the fitted log odds span more than `SEPARATED_LOG_ODDS`.
    """
    if len(log_odds_n) and not np.ptp(log_odds_n) < SEPARATED_LOG_ODDS:
        raise NotEstimable("separated: a combination of covariates predicts the outcome of some pairs perfectly")


def clustered_covariance(scores_nm: Array, inverse_information_mm: Array, users_n: NDArray) -> Array:
    """CR1 sandwich: c H^-1 (sum_g s_g s_g') H^-1, s_g the sum of a user's scores, c = G/(G-1) (n-1)/(n-m).

    Users are independent; pairs of one user may depend on each other in any way. Source: Cameron and Miller (2015), A
    Practitioner's Guide to Cluster-Robust Inference, eq. 11-12; the correction is Stata's, and that of R's
    `sandwich::vcovCL` with type HC1.
    """
    _, user_of_n = np.unique(users_n, return_inverse=True)
    score_of_user_gm = np.column_stack([np.bincount(user_of_n, weights=score_n) for score_n in scores_nm.T])
    groups, (pairs, parameters) = len(score_of_user_gm), scores_nm.shape
    correction = groups / (groups - 1) * (pairs - 1) / (pairs - parameters)
    half_gm = score_of_user_gm @ inverse_information_mm
    return correction * half_gm.T @ half_gm
