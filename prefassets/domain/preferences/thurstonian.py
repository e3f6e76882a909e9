"""Utilities of tasks from choices between two of them: the most probable ones, and those of the published fit.

Imports scipy: import it where it is used, not at the top of what definitions import.
"""

# n tasks, p pairs of slots, m parameters

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.optimize import minimize
from scipy.special import log_ndtr, ndtr

from prefassets.domain.preferences.comparisons import Comparisons, count_choices
from prefassets.domain.preferences.likelihood import DENSITY_0, Place, Posterior
from prefassets.domain.preferences.newton import minimise, solve

Array = NDArray[np.float64]
Objective = Literal["map", "published"]

# Chosen on 32,330 answers of Gemma-3-27B about 1,000 tasks, by the log loss of held-out pairs, which is flat around
# them: `benchmarks.utilities --choices` prints it for the values around these.
PRIOR_SD = 4.0
PENALTY = 3.0  # log sigma ~ N(0, .41^2)

# The published fit: tuning.md and thurstonian.py of the reports' repository, oscar-gilg/probing-persona-preferences
PUBLISHED_PENALTY = 1.0
MU_BOUNDS, LOG_SIGMA_BOUNDS = (-10.0, 10.0), (-2.0, 2.0)
CLIP = 1e-10
PUBLISHED_STOP = {"maxiter": 1_000, "maxfun": 50_000, "gtol": 1.0, "ftol": 1e-8}

ROUGH = 1.0  # nats, on the way to the repetition of answers

EXACT_PARAMETERS = 4_000  # up to so many the Hessian is inverted, seconds at most; it grows with their cube
PROBES, PROBES_AT_ONCE = 64, 8  # standard errors that are typically off by 3 %


@dataclass(frozen=True)
class Effect:
    """A number that a fit found beside the utilities, and its standard error."""

    value: float
    se: float


@dataclass(frozen=True)
class Fit:
    """Utilities, and how they were found.

    `utilities` has a row per task, in the order of the tasks: `task_id`, `mu`, `sigma`, `se` (of mu; empty in the
    published fit, which stops before its optimum, where curvature means nothing), `comparisons` (answers that chose).
    `objective_value` is what was minimised; `log_likelihood` that of the answers alone, in nats, each counted once.

    Of a map fit only: `repetition`, the intraclass correlation (0-1) of answers to the same two tasks that it went by;
    `se_exact`, whether standard errors are exact or estimated, None where there are none; `slot_bias`, `refusal_level`
    and `refusal_slope` where they were fitted. Without standard errors theirs is nan.
    """

    utilities: pl.DataFrame
    objective: Objective
    objective_value: float
    log_likelihood: float
    iterations: int
    converged: bool
    repetition: float | None = None
    se_exact: bool | None = None
    slot_bias: Effect | None = None
    refusal_level: Effect | None = None
    refusal_slope: Effect | None = None


def fit_utilities(
    choices: pl.DataFrame | Comparisons,
    objective: Objective = "map",
    *,
    tasks: Sequence[str] | None = None,
    prior_sd: float = PRIOR_SD,
    penalty: float | None = None,
    slot_bias: bool = False,
    refusals: bool = False,
    repetition: float | None = None,
    start_mu: Array | float = 0.0,
    start_sigma: Array | float = 1.0,
    mu_bounds: tuple[float, float] = MU_BOUNDS,
    log_sigma_bounds: tuple[float, float] = LOG_SIGMA_BOUNDS,
    standard_errors: bool = True,
) -> Fit:
    """Fit P(i > j) = Phi((mu_i - mu_j) / sqrt(sigma_i^2 + sigma_j^2)) to choices.

    "map": the most probable mu and sigma where mu ~ N(0, prior_sd^2) and log sigma ~ N(0, 1 / (2 penalty)), so that
    they exist whatever was chosen; see `likelihood.Posterior`. Standard errors are those of the normal law with the
    posterior's mode and curvature, other parameters being unknown too.

    "published": the reports' fit. mu of the first task is 0; -log likelihood + penalty x sum (log sigma)^2 is minimised
    within bounds by L-BFGS-B, with its exact gradient and gtol 1; probabilities are clipped to [1e-10, 1 - 1e-10],
    where the gradient is then 0; a refusal is a win for slot B. It stops well before its optimum, at one of several.

    Args:
        choices: as in `count_choices`, or already counted.
        objective: which of the two.
        tasks: their order, as in `count_choices`.
        prior_sd: of mu (map), in units of sigma.
        penalty: weight of sum (log sigma)^2; infinity makes every sigma 1 (map). Default: `PENALTY` (map) or
            `PUBLISHED_PENALTY`.
        slot_bias: also fit (map) what is added to mu_A - mu_B because A is shown first.
        refusals: also fit (map) log odds of a refusal, level + slope x (mu_A + mu_B) / 2. Assumes that refusing depends
            on the two tasks by their mean utility alone, so refusals then speak for how good tasks are. Otherwise
            they say nothing.
        repetition: intraclass correlation (0-1) of answers to the same two tasks, by which each counts for less (map);
            0 takes all for independent. Default: estimated from the choices by moments.
        start_mu: where mu starts; in "published" less that of the first task.
        start_sigma: where sigma starts.
        mu_bounds: of mu (published).
        log_sigma_bounds: of log sigma (published).
        standard_errors: whether to compute them (map), which takes longer than the fit.

    Raises:
        ValueError: an argument out of its range, or choices that `count_choices` refuses.
    """
    if objective not in ("map", "published"):
        raise ValueError(f"there is no objective {objective!r}; map and published are")
    if not 0 < prior_sd < math.inf:
        raise ValueError(f"the prior's standard deviation is {prior_sd:g}; a positive number was wanted")
    if penalty is None:
        penalty = PENALTY if objective == "map" else PUBLISHED_PENALTY
    if objective == "map" and not penalty > 0:
        raise ValueError(
            f"the penalty is {penalty:g}; map wants a positive one, without which a sigma may have no mode"
        )
    if objective == "published" and not 0 <= penalty < math.inf:
        raise ValueError(f"the penalty is {penalty:g}; the published objective wants a finite number from 0 up")
    if repetition is not None and not 0 <= repetition <= 1:
        raise ValueError(f"the repetition is {repetition:g}; a number from 0 to 1 was wanted")
    comparisons = choices if isinstance(choices, Comparisons) else count_choices(choices, tasks)
    count = len(comparisons.tasks)
    start_mu_n = np.broadcast_to(np.asarray(start_mu, dtype=float), count)
    start_log_sigma_n = np.log(np.broadcast_to(np.asarray(start_sigma, dtype=float), count))
    if objective == "published":
        return _published(
            comparisons,
            penalty,
            start_mu_n,
            start_log_sigma_n,
            mu_bounds,
            log_sigma_bounds,
        )
    return _most_probable(
        comparisons,
        prior_sd,
        penalty,
        slot_bias,
        refusals,
        repetition,
        start_mu_n,
        start_log_sigma_n,
        standard_errors,
    )


def said_of(fit: Fit, comparisons: Comparisons) -> list[str]:
    """What a reader of the utilities must know beside them, a line each."""
    choices, refused = int(comparisons.won_p.sum()), int(comparisons.refused_p.sum())
    lines = [
        f"{fit.objective}: objective {fit.objective_value:.4f} after {fit.iterations} iterations"
        f"{'' if fit.converged else ', NOT converged'}; log-likelihood {fit.log_likelihood:.4f} of {choices:,} choices"
        f"{f' and {refused:,} refusals' if refused and (fit.objective == 'published' or fit.refusal_level) else ''}"
    ]
    if fit.repetition is not None:
        lines.append(
            f"answers to the same two tasks repeat each other (intraclass correlation {fit.repetition:.2f}), "
            "so each counts for less the more of them there are"
            if fit.repetition
            else "answers to the same two tasks count as independent of each other"
        )
    if fit.se_exact is False:
        lines.append(f"standard errors are estimates from {PROBES} random probes, typically off by 3 %")
    if fit.slot_bias:
        lines.append(f"slot A is ahead by {fit.slot_bias.value:+.3f} (se {fit.slot_bias.se:.3f})")
    if fit.refusal_level and fit.refusal_slope:
        lines.append(
            f"log odds of a refusal: {fit.refusal_level.value:.2f} (se {fit.refusal_level.se:.2f}) where both mu are "
            f"0, {fit.refusal_slope.value:+.2f} (se {fit.refusal_slope.se:.2f}) per unit of their mean"
        )
    elif refused and fit.objective == "published":
        lines.append(f"{refused:,} refusals count as wins of the task in slot B, as in the published fit")
    elif refused:
        lines.append(f"{refused:,} refusals count for neither task")
    lines += [f"left out: {rows:,} rows: {reason}" for reason, rows in comparisons.dropped.items()]
    return lines


def _most_probable(
    comparisons: Comparisons,
    prior_sd: float,
    penalty: float,
    slot_bias: bool,
    refusals: bool,
    repetition: float | None,
    start_mu_n: Array,
    start_log_sigma_n: Array,
    standard_errors: bool,
) -> Fit:
    used = comparisons if slot_bias else comparisons.regardless_of_slots()
    if repetition is None:
        first = Posterior(used, prior_sd, math.inf, slot_bias)
        rough = minimise(first, first.start(start_mu_n, start_log_sigma_n), converged=ROUGH)
        start_mu_n = rough.parameters_m[first.layout.mu]
        repetition = _repetition(used, ndtr(first.difference_pm @ rough.parameters_m / math.sqrt(first.fixed_variance)))
    posterior = Posterior(used, prior_sd, penalty, slot_bias, refusals, repetition)
    layout = posterior.layout
    found = minimise(posterior, posterior.start(start_mu_n, start_log_sigma_n), posterior.longest)
    place = found.point
    exact = layout.size <= EXACT_PARAMETERS
    se_m, at_a_minimum = np.full(layout.size, np.nan), True
    if standard_errors:
        variance_m = _variances(place) if exact else _probed_variances(place)
        if at_a_minimum := bool((variance_m[layout.mu.start :] > 0).all()):
            se_m = np.sqrt(variance_m)
    known = standard_errors and at_a_minimum
    mu_n = found.parameters_m[layout.mu]
    sigma_n = np.ones_like(mu_n) if layout.shared_sigma else np.exp(found.parameters_m[layout.log_sigma])

    def effects(at: slice) -> list[Effect]:
        return [Effect(float(value), float(se)) for value, se in zip(found.parameters_m[at], se_m[at], strict=True)]

    bias, level_and_slope = effects(layout.slot_bias), effects(layout.refusal)
    return Fit(
        _utilities(comparisons, mu_n, sigma_n, se_m[layout.mu] if known else None),
        "map",
        objective_value=place.value,
        log_likelihood=Posterior(used, prior_sd, penalty, slot_bias, refusals)(found.parameters_m).log_likelihood,
        iterations=found.iterations,
        converged=found.converged and at_a_minimum,
        repetition=repetition,
        se_exact=exact if known else None,
        slot_bias=bias[0] if bias else None,
        refusal_level=level_and_slope[0] if level_and_slope else None,
        refusal_slope=level_and_slope[1] if level_and_slope else None,
    )


def _repetition(comparisons: Comparisons, chance_a_p: Array) -> float:
    """The intraclass correlation of answers to the same two tasks, by moments, given the chance of slot A in each pair.

    A pair's residual is its choices of one task less those expected; with m answers of standard deviation s its
    variance is m s^2 + m (m - 1) repetition s^2. As the chances were fitted to the same answers, this is a little low.
    """
    pair_p, won_p = comparisons.pair_p, comparisons.won_p
    sign_p = np.where(comparisons.slot_a_p < comparisons.slot_b_p, 1.0, -1.0)
    sd_p = np.sqrt(chance_a_p * (1 - chance_a_p))
    residual_g = np.bincount(pair_p, sign_p * (comparisons.a_p - won_p * chance_a_p))
    independent_g = np.bincount(pair_p, won_p * sd_p**2)
    alike_g = np.bincount(pair_p, won_p * sd_p) ** 2 - independent_g
    if not (repeated := float(alike_g.sum())) > 0:
        return 0.0
    return float(np.clip((residual_g**2 - independent_g).sum() / repeated, 0, 1))


def _utilities(comparisons: Comparisons, mu_n: Array, sigma_n: Array, se_n: Array | None) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "task_id": pl.Series(comparisons.tasks, dtype=pl.String),
            "mu": mu_n,
            "sigma": sigma_n,
            "se": pl.Series([None] * len(mu_n) if se_n is None else se_n, dtype=pl.Float64),
            "comparisons": comparisons.per_task_n,
        }
    )


def _variances(place: Place) -> Array:
    """The diagonal of the Hessian's inverse, but for log sigma; zeros where there is none because this is no minimum.

    With H = L L', the inverse's last rows and columns are those of L^-T L^-1 of L's last rows and columns alone.
    """
    first = place.posterior.layout.mu.start
    hessian_mm = place.matrix().toarray()
    variance_m = np.zeros(len(hessian_mm))
    factor_mm, failed = lapack.dpotrf(hessian_mm, lower=1, overwrite_a=1)
    if not failed:
        inverse_mm, _ = lapack.dtrtri(factor_mm[first:, first:], lower=1)
        variance_m[first:] = np.square(np.tril(inverse_mm)).sum(axis=0)
    return variance_m


def _probed_variances(place: Place) -> Array:
    """About the diagonal of the Hessian's inverse: the mean of v * H^-1 v over random signs v (Bekas et al. 2007).

    What makes that noisy, and its equations slow to solve, is the level that all mu share. It is taken out of v, and
    its part, which is H^-1 1 / n, added exactly. Slot bias and refusals, few as they are, are solved for exactly.
    """
    generator = np.random.default_rng(0)
    hessian_mm, mu = place.matrix(), place.posterior.layout.mu
    size, tasks = hessian_mm.shape[0], mu.stop - mu.start
    exact_mk = np.eye(size, 1 + size - mu.stop, k=1 - mu.stop)
    exact_mk[mu, 0] = 1
    level_m, *others_m = solve(hessian_mm, exact_mk, place.preconditioner_m, tolerance=1e-5).T
    variance_m = np.zeros(size)
    variance_m[mu] = level_m[mu] / tasks
    for _ in range(PROBES // PROBES_AT_ONCE):
        signs_mk = generator.choice([-1.0, 1.0], (size, PROBES_AT_ONCE))
        without_level_mk = signs_mk.copy()
        without_level_mk[mu] -= signs_mk[mu].mean(axis=0)
        solved_mk = solve(hessian_mm, without_level_mk, place.preconditioner_m, tolerance=1e-2)
        variance_m += (signs_mk * solved_mk).sum(axis=1) / PROBES
    for at, solved_m in enumerate(others_m, start=mu.stop):
        variance_m[at] = solved_m[at]
    return variance_m


def _published(
    comparisons: Comparisons,
    penalty: float,
    start_mu_n: Array,
    start_log_sigma_n: Array,
    mu_bounds: tuple[float, float],
    log_sigma_bounds: tuple[float, float],
) -> Fit:
    """The objective of the reports, minimised as they did."""
    used = comparisons.regardless_of_slots(refusals_as_b=True)
    a_p, b_p = used.a_p.astype(float), used.b_p.astype(float)
    slot_a_p, slot_b_p, count = used.slot_a_p, used.slot_b_p, len(used.tasks)
    low, high = math.log(CLIP), math.log1p(-CLIP)

    def objective(parameters_m: Array) -> tuple[float, Array]:
        mu_n = np.concatenate([[0.0], parameters_m[: count - 1]])
        log_sigma_n = parameters_m[count - 1 :]
        variance_n = np.exp(2 * log_sigma_n)
        variance_p = variance_n[slot_a_p] + variance_n[slot_b_p]
        spread_p = np.sqrt(variance_p)
        z_p = (mu_n[slot_a_p] - mu_n[slot_b_p]) / spread_p
        log_up_p, log_down_p = log_ndtr(z_p), log_ndtr(-z_p)
        log_density_p = math.log(DENSITY_0) - 0.5 * z_p * z_p
        within_p = (log_up_p > low) & (log_down_p > low)
        up_p = np.exp(np.where(within_p, log_density_p - log_up_p, -np.inf))
        down_p = np.exp(np.where(within_p, log_density_p - log_down_p, -np.inf))
        first_p = b_p * down_p - a_p * up_p
        by_mu_p, by_variance_p = first_p / spread_p, -first_p * z_p / (2 * variance_p)
        gradient_mu_n = np.bincount(slot_a_p, by_mu_p, count) - np.bincount(slot_b_p, by_mu_p, count)
        by_variance_n = np.bincount(slot_a_p, by_variance_p, count) + np.bincount(slot_b_p, by_variance_p, count)
        value = -(a_p @ np.clip(log_up_p, low, high) + b_p @ np.clip(log_down_p, low, high))
        return value + penalty * float(log_sigma_n @ log_sigma_n), np.concatenate(
            [gradient_mu_n[1:], 2 * variance_n * by_variance_n + 2 * penalty * log_sigma_n]
        )

    found = minimize(
        objective,
        np.concatenate([start_mu_n[1:] - start_mu_n[:1], start_log_sigma_n]),
        jac=True,
        method="L-BFGS-B",
        bounds=[mu_bounds] * (count - 1) + [log_sigma_bounds] * count,
        options=PUBLISHED_STOP,
    )
    log_sigma_n = found.x[count - 1 :]
    return Fit(
        _utilities(used, np.concatenate([[0.0], found.x[: count - 1]]), np.exp(log_sigma_n), None),
        "published",
        objective_value=float(found.fun),
        log_likelihood=penalty * float(log_sigma_n @ log_sigma_n) - float(found.fun),
        iterations=int(found.nit),
        converged=bool(found.success),
    )
