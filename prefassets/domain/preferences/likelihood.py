"""The Thurstonian likelihood of counted choices with its priors: value, gradient and curvature at one place.

A task's utility is drawn anew at each comparison, U_i ~ N(mu_i, sigma_i^2), and the larger of two is chosen:
P(i > j) = Phi((mu_i - mu_j) / sqrt(sigma_i^2 + sigma_j^2)) (Thurstone 1927, A Law of Comparative Judgment, case III).
"""

# n tasks, p pairs of slots, m parameters: see `Layout`

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import erfcx, expit

from prefassets.domain.preferences.comparisons import Comparisons

Array = NDArray[np.float64]

SQRT_HALF, DENSITY_0 = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi)
REFUSAL_START = -0.1  # the slope's
REFUSAL_PRIOR_SD = 10.0  # of the refusal's level and slope, in log odds: only keeps them finite where nobody refused


class Losses(NamedTuple):
    """-log likelihood of the choices of each pair, and its derivatives by z = difference / spread."""

    value_p: Array
    first_p: Array
    second_p: Array


def choice_losses(z_p: Array, a_p: Array, b_p: Array) -> Losses:
    """-(a log Phi(z) + b log Phi(-z)) and two derivatives by z, with no digits lost in either tail.

    Phi(-x) = t exp(-x^2 / 2) with t = erfcx(x / sqrt 2) / 2, for x = |z|: the tail's logarithm and phi / Phi are those
    of t, which never vanishes. `log_ndtr` gives the same in twice the time.
    """
    x_p, is_a_likely_p = np.abs(z_p), z_p >= 0
    likely_p, unlikely_p = np.where(is_a_likely_p, a_p, b_p), np.where(is_a_likely_p, b_p, a_p)
    t_p, bell_p = 0.5 * erfcx(x_p * SQRT_HALF), np.exp(-0.5 * x_p * x_p)
    tail_p = t_p * bell_p
    by_unlikely_p, by_likely_p = DENSITY_0 / t_p, DENSITY_0 * bell_p / (1 - tail_p)  # phi / Phi of -x and of x
    first_p = unlikely_p * by_unlikely_p - likely_p * by_likely_p
    return Losses(
        -(likely_p * np.log1p(-tail_p) + unlikely_p * (np.log(t_p) - 0.5 * x_p * x_p)),
        np.where(is_a_likely_p, first_p, -first_p),
        likely_p * by_likely_p * (by_likely_p + x_p) + unlikely_p * by_unlikely_p * (by_unlikely_p - x_p),
    )


class Layout:
    """Where each parameter stands in the vector of all of them; a part that is not fitted is empty.

    log sigma comes first, so that the end of a Cholesky factor holds what is known of all else when it is not known.
    """

    def __init__(self, tasks: int, shared_sigma: bool, slot_bias: bool, refusals: bool) -> None:
        ends = np.cumsum([0, 0 if shared_sigma else tasks, tasks, int(slot_bias), 2 * refusals]).tolist()
        self.log_sigma, self.mu, self.slot_bias, self.refusal = (slice(start, stop) for start, stop in pairwise(ends))
        self.size: int = ends[-1]
        self.shared_sigma, self.refusals = shared_sigma, refusals


class Posterior:
    """-log posterior of utilities, given counted choices: what a MAP fit minimises.

    mu ~ N(0, prior_sd^2); log sigma ~ N(0, 1 / (2 penalty)), so that `penalty` is the weight of sum (log sigma)^2, and
    with an infinite one every sigma is 1. The unit of mu is therefore the median task's own spread. A slot bias, added
    to the difference in favour of slot A, has mu's prior. Where `refusals` are modelled, a comparison is refused with
    log odds level + slope x (the mean mu of its two tasks), both with a wide prior. Answers to the same two tasks count
    less the more of them there are, as `repetition` has it: 0, each counts once; 1, all of them together do.
    """

    def __init__(
        self,
        comparisons: Comparisons,
        prior_sd: float,
        penalty: float,
        slot_bias: bool = False,
        refusals: bool = False,
        repetition: float = 0.0,
    ) -> None:
        self.layout = layout = Layout(len(comparisons.tasks), math.isinf(penalty), slot_bias, refusals)
        weight_p = comparisons.discount_p(repetition)
        self.a_p, self.b_p = comparisons.a_p * weight_p, comparisons.b_p * weight_p
        self.refused_p = comparisons.refused_p * weight_p
        pairs = len(self.a_p)
        slots_2p = np.column_stack([comparisons.slot_a_p, comparisons.slot_b_p])
        mus = slots_2p + layout.mu.start
        bias_p1 = np.full((pairs, int(slot_bias)), layout.slot_bias.start)
        self.difference_pm = self.rows(
            np.hstack([mus, bias_p1]), np.hstack([np.tile([1.0, -1.0], (pairs, 1)), np.ones(bias_p1.shape)])
        )
        sigmas = slots_2p[:, :0] if layout.shared_sigma else slots_2p
        self.both_sigma_pm = self.rows(sigmas, np.ones(sigmas.shape))
        self.difference_mp, self.both_sigma_mp = self.difference_pm.T.tocsr(), self.both_sigma_pm.T.tocsr()
        self.fixed_variance = 2.0 if layout.shared_sigma else 0.0  # of two sigmas of 1
        self.mean_pm = self.rows(mus, np.full(mus.shape, 0.5))
        self.precision_m = np.full(layout.size, 1 / prior_sd**2)
        self.precision_m[layout.log_sigma] = 2 * penalty
        self.precision_m[layout.refusal] = 1 / REFUSAL_PRIOR_SD**2

    def rows(self, columns: NDArray, values: Array) -> sparse.csr_array:
        """A sparse p x m matrix whose rows hold equally many values, in these columns."""
        pairs, each = columns.shape
        ends = each * np.arange(pairs + 1)
        return sparse.csr_array((values.ravel(), columns.ravel(), ends), shape=(pairs, self.layout.size))

    def start(self, mu_n: Array, log_sigma_n: Array) -> Array:
        """Parameters with these utilities, no bias, and every comparison about equally likely to be refused.

        A little likelier where tasks are worse: at a slope of exactly 0 nothing says in which direction to leave it.
        """
        layout = self.layout
        parameters_m = np.zeros(layout.size)
        parameters_m[layout.mu] = mu_n
        parameters_m[layout.log_sigma] = log_sigma_n[: 0 if layout.shared_sigma else None]
        refused, won = self.refused_p.sum(), self.a_p.sum() + self.b_p.sum()
        if layout.refusals:
            parameters_m[layout.refusal] = math.log((refused + 0.5) / (won + 0.5)), REFUSAL_START
        return parameters_m

    def longest(self, step_m: Array) -> float:
        """The fraction of a step after which no sigma has changed more than e-fold: beyond, curvature says nothing."""
        return 1 / max(1.0, float(np.abs(step_m[self.layout.log_sigma]).max(initial=0)))

    def __call__(self, parameters_m: Array) -> "Place":
        layout = self.layout
        variance_m = np.zeros(layout.size)
        variance_m[layout.log_sigma] = np.exp(2 * parameters_m[layout.log_sigma])
        variance_p = self.both_sigma_pm @ variance_m + self.fixed_variance
        spread_p = np.sqrt(variance_p)
        z_p = (self.difference_pm @ parameters_m) / spread_p
        loss = choice_losses(z_p, self.a_p, self.b_p)
        by_variance_m = self.both_sigma_mp @ (-loss.first_p * z_p / (2 * variance_p))
        log_likelihood = -float(loss.value_p.sum())
        gradient_m = self.difference_mp @ (loss.first_p / spread_p) + 2 * variance_m * by_variance_m
        refusal = self._refusals(parameters_m) if layout.refusals else None
        if refusal:
            log_likelihood += refusal.log_likelihood
            gradient_m += refusal.gradient_m
        return Place(
            self,
            value=0.5 * float(parameters_m @ (self.precision_m * parameters_m)) - log_likelihood,
            log_likelihood=log_likelihood,
            gradient_m=gradient_m + self.precision_m * parameters_m,
            by_difference_twice_p=loss.second_p / variance_p,
            by_both_p=-(loss.second_p * z_p + loss.first_p) / (2 * variance_p * spread_p),
            by_variance_twice_p=z_p * (loss.second_p * z_p + 3 * loss.first_p) / (4 * variance_p**2),
            twice_variance_m=2 * variance_m,
            diagonal_m=self.precision_m + 4 * variance_m * by_variance_m,
            refusal=refusal,
        )

    def _refusals(self, parameters_m: Array) -> "Refusals":
        at = self.layout.refusal
        level, slope = parameters_m[at]
        mean_p = self.mean_pm @ parameters_m
        log_odds_p = level + slope * mean_p
        asked_p = self.a_p + self.b_p + self.refused_p
        expected_p = expit(log_odds_p)
        surplus_p = asked_p * expected_p - self.refused_p
        by_mean_m = self.mean_pm.T @ surplus_p
        gradient_m = slope * by_mean_m
        gradient_m[at] = surplus_p.sum(), mean_p @ surplus_p
        own_pm = self.rows(np.tile([at.start, at.start + 1], (len(mean_p), 1)), np.column_stack([mean_p**0, mean_p]))
        return Refusals(
            log_likelihood=float(self.refused_p @ log_odds_p - asked_p @ np.logaddexp(0, log_odds_p)),
            gradient_m=gradient_m,
            log_odds_pm=slope * self.mean_pm + own_pm,
            weight_p=asked_p * expected_p * (1 - expected_p),
            slope_at=at.start + 1,
            mixed_m=by_mean_m,
        )


class Refusals(NamedTuple):
    """What refusals add to log-likelihood, gradient and curvature: J' W J, and what slope and mu share beside it."""

    log_likelihood: float
    gradient_m: Array
    log_odds_pm: sparse.csr_array
    weight_p: Array
    slope_at: int
    mixed_m: Array

    def times(self, direction_m: Array) -> Array:
        curved_m = self.log_odds_pm.T @ (self.weight_p * (self.log_odds_pm @ direction_m))
        curved_m += self.mixed_m * direction_m[self.slope_at]
        curved_m[self.slope_at] += self.mixed_m @ direction_m
        return curved_m

    def matrix(self) -> sparse.csr_array:
        everything = np.arange(len(self.mixed_m))
        mixed_mm = sparse.csr_array(
            (self.mixed_m, (everything, np.full(len(everything), self.slope_at))), shape=(len(everything),) * 2
        )
        return self.log_odds_pm.T @ sparse.diags_array(self.weight_p) @ self.log_odds_pm + mixed_mm + mixed_mm.T


@dataclass(frozen=True)
class Place:
    """-log posterior at one vector of parameters, as `newton.Point` has it.

    Each pair's loss is a function of a difference and a variance, both simple in the parameters, so the Hessian is
    J' W J of a sparse J, with W two by two per pair, and a diagonal.
    """

    posterior: Posterior
    value: float
    log_likelihood: float
    gradient_m: Array
    by_difference_twice_p: Array
    by_both_p: Array
    by_variance_twice_p: Array
    twice_variance_m: Array
    diagonal_m: Array
    refusal: Refusals | None

    def times(self, direction_m: Array) -> Array:
        """The Hessian times a vector."""
        posterior = self.posterior
        difference_p = posterior.difference_pm @ direction_m
        variance_p = posterior.both_sigma_pm @ (self.twice_variance_m * direction_m)
        by_difference_p = self.by_difference_twice_p * difference_p + self.by_both_p * variance_p
        by_variance_p = self.by_both_p * difference_p + self.by_variance_twice_p * variance_p
        curved_m = posterior.difference_mp @ by_difference_p
        curved_m += self.twice_variance_m * (posterior.both_sigma_mp @ by_variance_p)
        curved_m += self.diagonal_m * direction_m
        return curved_m + self.refusal.times(direction_m) if self.refusal else curved_m

    @cached_property
    def preconditioner_m(self) -> Array:
        """The Hessian's diagonal; where that is below the prior's, the prior's."""
        posterior = self.posterior
        diagonal_m = self.diagonal_m + abs(posterior.difference_mp) @ self.by_difference_twice_p
        diagonal_m += self.twice_variance_m**2 * (posterior.both_sigma_mp @ self.by_variance_twice_p)
        if self.refusal:
            diagonal_m += self.refusal.log_odds_pm.power(2).T @ self.refusal.weight_p
        return np.maximum(diagonal_m, posterior.precision_m)

    def matrix(self) -> sparse.csr_array:
        """The whole Hessian."""
        difference_pm = self.posterior.difference_pm
        variance_pm = self.posterior.both_sigma_pm @ sparse.diags_array(self.twice_variance_m)
        mixed_mm = difference_pm.T @ sparse.diags_array(self.by_both_p) @ variance_pm
        hessian_mm = (
            difference_pm.T @ sparse.diags_array(self.by_difference_twice_p) @ difference_pm
            + variance_pm.T @ sparse.diags_array(self.by_variance_twice_p) @ variance_pm
            + mixed_mm
            + mixed_mm.T
            + sparse.diags_array(self.diagonal_m)
        )
        return (hessian_mm + self.refusal.matrix() if self.refusal else hessian_mm).tocsr()
