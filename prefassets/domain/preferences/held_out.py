"""How well utilities predict choices between pairs that they were not fitted to."""

# n tasks, p pairs of slots, g unordered pairs

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri

from prefassets.domain.preferences.comparisons import Comparisons, count_choices
from prefassets.domain.preferences.thurstonian import Effect, Fit, fit_utilities

Array = NDArray[np.float64]

FOLDS = 5
Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Score:
    """How well utilities predict choices, with 95 % intervals whose unit is the unordered pair of tasks.

    `accuracy` is the share (0-1) of choices that went to the task of higher utility, an equal utility counting half;
    with a slot bias, which is added to the lead of slot A, what utilities and position get right together. Its interval
    is Wilson's, at as many independent answers as have its variance. `log_loss` is the mean of -log P(the choice) in
    nats: log 2 = .693 is a coin's. All answers to a pair are one observation, since a model asked twice about the same
    two tasks repeats itself; that pairs share tasks is ignored. `pairs` and `choices` are counts; refusals are not
    scored.
    """

    accuracy: float
    accuracy_lower: float
    accuracy_upper: float
    log_loss: float
    log_loss_lower: float
    log_loss_upper: float
    pairs: int
    choices: int


def log_probabilities(
    utilities: pl.DataFrame, comparisons: Comparisons, slot_bias: float = 0.0
) -> tuple[Array, Array, Array]:
    """Of each pair of slots: the utility's lead of slot A, log P(slot A is chosen), log P(slot B is).

    Where utilities have an `se`, P is averaged over what is not known of them: Phi(lead / sqrt(sigma_a^2 + sigma_b^2 +
    se_a^2 + se_b^2)), which is exact for independent normal errors. A sure wrong guess costs more than a hesitant one.
    """
    placed = pl.DataFrame({"task_id": pl.Series(comparisons.tasks, dtype=pl.String)}).join(
        utilities, on="task_id", how="left", maintain_order="left"
    )
    if placed["mu"].null_count():
        lacking = placed.filter(pl.col("mu").is_null())["task_id"][0]
        raise ValueError(f"the utilities lack task {lacking!r}, which the choices have; score choices of their tasks")
    mu_n = placed["mu"].to_numpy()
    variance_n = placed["sigma"].to_numpy() ** 2
    if "se" in placed.columns:
        variance_n = variance_n + placed["se"].fill_null(0).to_numpy() ** 2
    lead_p = mu_n[comparisons.slot_a_p] - mu_n[comparisons.slot_b_p] + slot_bias
    z_p = lead_p / np.sqrt(variance_n[comparisons.slot_a_p] + variance_n[comparisons.slot_b_p])
    return lead_p, log_ndtr(z_p), log_ndtr(-z_p)


def score(utilities: pl.DataFrame, choices: pl.DataFrame | Comparisons, slot_bias: float = 0.0) -> Score:
    """Score utilities (`task_id`, `mu`, `sigma`, optionally `se`) on choices; see `Score`.

    Raises:
        ValueError: a task has no utility, or no answer chose.
    """
    comparisons = choices if isinstance(choices, Comparisons) else count_choices(choices)
    return _score(comparisons, *log_probabilities(utilities, comparisons, slot_bias))


def _score(comparisons: Comparisons, lead_p: Array, log_a_p: Array, log_b_p: Array) -> Score:
    a_p, b_p = comparisons.a_p, comparisons.b_p
    right_p = a_p * (lead_p > 0) + b_p * (lead_p < 0) + 0.5 * (a_p + b_p) * (lead_p == 0)
    loss_p = -(a_p * log_a_p + b_p * log_b_p)
    pairs = len(np.unique(comparisons.pair_p[comparisons.won_p > 0]))
    choices = int(comparisons.won_p.sum())
    return Score(*_share(comparisons, right_p, pairs), *_per_choice(comparisons, loss_p), pairs, choices)


def _share(comparisons: Comparisons, of_p: Array, pairs: int) -> tuple[float, float, float]:
    """A share of answers, and Wilson's interval at as many independent answers as have its variance over pairs."""
    value, _, upper = _per_choice(comparisons, of_p)
    variance = ((upper - value) / Z_95) ** 2
    worth = value * (1 - value) / variance if 0 < variance < math.inf and 0 < value < 1 else float(pairs)
    middle, scale = value + Z_95**2 / (2 * worth), 1 + Z_95**2 / worth
    reach = Z_95 * math.sqrt(value * (1 - value) / worth + Z_95**2 / (4 * worth**2))
    return value, (middle - reach) / scale, (middle + reach) / scale


def _per_choice(comparisons: Comparisons, of_p: Array) -> tuple[float, float, float]:
    """The sum over answers that chose, per answer, and its interval over unordered pairs."""
    won_g = np.bincount(comparisons.pair_p, comparisons.won_p)
    of_g = np.bincount(comparisons.pair_p, of_p)
    choices, pairs = int(won_g.sum()), int((won_g > 0).sum())
    if not choices:
        raise ValueError("no answer chose a task, so there is nothing to score")
    value = float(of_g.sum() / choices)
    spread = math.sqrt(pairs / (pairs - 1) * float(((of_g - value * won_g) ** 2).sum())) if pairs > 1 else math.inf
    return value, value - Z_95 * spread / choices, value + Z_95 * spread / choices


def held_out_score(
    choices: pl.DataFrame | Comparisons,
    fit: Callable[[Comparisons], Fit] = fit_utilities,
    folds: int = FOLDS,
    seed: int = 0,
) -> Score:
    """Score a fit by cross-validation over pairs: all answers to a pair, in both orders of slots, are on one side.

    Args:
        choices: as in `count_choices`.
        fit: makes the utilities of the training pairs.
        folds: into how many parts the pairs are dealt at random.
        seed: of the dealing.

    Raises:
        ValueError: fewer pairs than folds.
    """
    comparisons = choices if isinstance(choices, Comparisons) else count_choices(choices)
    return _score(comparisons, *_held_out(comparisons, fit, folds, seed))


def held_out_gain(
    choices: pl.DataFrame | Comparisons,
    fit: Callable[[Comparisons], Fit] = fit_utilities,
    folds: int = FOLDS,
    seed: int = 0,
) -> tuple[float, float, float]:
    """What utilities predict beyond position: nats per choice between held-out pairs, and its 95 % interval over pairs.

    The log loss of always giving slot A the share that it had in the training pairs, minus that of `fit`, pair by pair.
    A fit with a slot term is right about everything that position explains, and so is this rival, which knows no task:
    only what is above 0 is said by utilities.

    Raises:
        ValueError: as `held_out_score`.
    """
    comparisons = choices if isinstance(choices, Comparisons) else count_choices(choices)
    loss_2p = []
    for of in (position_only, fit):
        _, log_a_p, log_b_p = _held_out(comparisons, of, folds, seed)
        loss_2p.append(-(comparisons.a_p * log_a_p + comparisons.b_p * log_b_p))
    return _per_choice(comparisons, loss_2p[0] - loss_2p[1])


def position_only(comparisons: Comparisons) -> Fit:
    """A fit in which all tasks are alike and only the slot decides, with half a choice added to either slot."""
    a, b = float(comparisons.a_p.sum()) + 0.5, float(comparisons.b_p.sum()) + 0.5
    tasks = len(comparisons.tasks)
    alike = pl.DataFrame({"task_id": comparisons.tasks, "mu": np.zeros(tasks), "sigma": np.ones(tasks)})
    bias = math.sqrt(2) * float(ndtri(a / (a + b)))
    log_likelihood = a * math.log(a / (a + b)) + b * math.log(b / (a + b))
    return Fit(alike, "map", -log_likelihood, log_likelihood, 0, True, slot_bias=Effect(bias, math.nan))


def _held_out(comparisons: Comparisons, fit: Callable[[Comparisons], Fit], folds: int, seed: int) -> Array:
    """As `log_probabilities`, of each pair of slots by the fit that has not seen the pair."""
    pairs = int(comparisons.pair_p.max(initial=-1)) + 1
    if pairs < folds:
        raise ValueError(f"{pairs} pairs cannot be dealt into {folds} folds")
    fold_p = (np.random.default_rng(seed).permutation(pairs) % folds)[comparisons.pair_p]
    found_3p = np.empty((3, len(fold_p)))
    for fold in range(folds):
        out_p = fold_p == fold
        fitted = fit(comparisons.of(~out_p))
        bias = fitted.slot_bias.value if fitted.slot_bias else 0.0
        found_3p[:, out_p] = log_probabilities(fitted.utilities, comparisons.of(out_p), bias)
    return found_3p
