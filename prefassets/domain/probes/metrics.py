"""How well held-out items are predicted, with what other units would have given."""

# P held out (values, or choices), U units, D draws, f held out in one fold

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from prefassets.domain.inference.two_way import drawn_counts

Array = NDArray[np.float64]
Places = NDArray[np.int64]

LEVEL = 0.95
ROWS_AT_ONCE = 1_000  # of the pairs of items that are compared at once
ROUNDING = 1e-11  # predictions closer than this, relative to the largest, are the same
METRICS = {  # what is told of each kind of target
    "number": ("r_squared", "r_squared_within_topics", "pearson_r", "mse", "pairwise_accuracy"),
    "binary": ("accuracy", "auc", "log_loss"),
    "choices": ("pairwise_accuracy", "log_loss"),
}
FOREMOST = {"number": ("r_squared", 1), "binary": ("log_loss", -1), "choices": ("log_loss", -1)}  # 1: more is better
RANGE = {
    **dict.fromkeys(("r_squared", "r_squared_within_topics"), (-np.inf, 1.0)),
    "pearson_r": (-1.0, 1.0),
    **dict.fromkeys(("mse", "log_loss"), (0.0, np.inf)),
    **dict.fromkeys(("pairwise_accuracy", "accuracy", "auc"), (0.0, 1.0)),
}


@dataclass(frozen=True)
class Estimate:
    """A value, nan where it cannot be told, and bootstrap draws of it, empty where none were wanted.

    `influence_P` is kept where answers tell of two units, so that a difference of two is spread as such.
    """

    value: float
    draws_D: Array = field(default_factory=lambda: np.empty(0))
    influence_P: Array | None = None

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """The 95 % percentile interval."""
        known_D = self.draws_D[np.isfinite(self.draws_D)]
        if not len(known_D) or not np.isfinite(self.value):
            return None, None
        lower, upper = np.quantile(known_D, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(lower), float(upper)


class Drawn:
    """Units drawn again: one less than there are, with replacement, the same draws for all that is compared.

    One less makes the variance of such draws unbiased for linear statistics however few units there are (Rao and Wu
    1988, JASA 83). An interval of them says how a value would vary with other units held out, the probes being what
    they are; that other probes would have been fitted to other units is not in it.
    """

    def __init__(self, units: int, draws: int, seed: int) -> None:
        self.counts_DU = (
            drawn_counts(np.random.default_rng(seed), units, units - 1, draws) if units > 1 else np.empty((0, units))
        )

    def sums(self, of_units_UK: Array) -> Array:
        """D x K sums over the units drawn."""
        return self.counts_DU @ of_units_UK

    def shifts(self, influence_U: Array) -> Array:
        """By how much a value moves in each draw, to first order."""
        units = self.counts_DU.shape[1]
        return self.counts_DU @ (influence_U - influence_U.mean()) * (units / max(units - 1, 1))


@dataclass(frozen=True, kw_only=True)
class HeldOutValues:
    """Values and what was predicted of them by a probe that had not seen them.

    `predicted_P` and `ignorant_P`, the prediction from no activations (the mean of the rows that were fitted), are on
    the linear scale; `losses_P` is that of the kind of probe. `topic_P` is empty without topics.
    """

    actual_P: Array
    predicted_P: Array
    ignorant_P: Array
    losses_P: Array
    fold_P: Places
    unit_P: Places
    topic_P: Places


@dataclass(frozen=True, kw_only=True)
class HeldOutChoices:
    """Answers, `wins_a_P` and `wins_b_P`, and what was predicted of them: log odds of a over b, nats lost."""

    wins_a_P: Array
    wins_b_P: Array
    predicted_P: Array
    losses_P: Array
    unit_a_P: Places
    unit_b_P: Places


def of_numbers(held: HeldOutValues, drawn: Drawn | None, units: int) -> dict[str, Estimate]:
    """Metrics of numbers.

    - r_squared: 1 - sum (y - p)^2 / sum (y - m)^2, m the mean of the rows that the fold's probe was fitted to, not of
      those held out: what is gained over predicting without activations. A probe that knows nothing has 0 or less.
    - r_squared_within_topics: the same with the mean of each topic within each fold taken out of y and of p. A
      prediction that follows from the topic alone is then exactly 0, and so is its score, however few items a topic
      has; a topic that has one item in a fold says nothing there.
    - pearson_r: of y - m and p - m, since otherwise the fold's mean, which is low where those held out are high, would
      count against it.
    - mse, in squared units of the target.
    - pairwise_accuracy: of items with different values that were held out together, so that one probe predicted both,
      the share of pairs that it puts in their order; a half, where it puts them level.
    """
    y_P, p_P = held.actual_P, held.predicted_P
    about_P = y_P - held.ignorant_P
    ahead_P = p_P - held.ignorant_P
    ahead_P = np.where(np.abs(ahead_P) <= ROUNDING * np.abs(p_P).max(initial=0), 0.0, ahead_P)
    ones_P = np.ones_like(y_P)
    found = {
        "r_squared": _one_minus(held, drawn, units, held.losses_P, about_P**2),
        "pearson_r": _correlation(held, drawn, units, about_P, ahead_P),
        "mse": _ratio(held, drawn, units, held.losses_P, ones_P),
        "pairwise_accuracy": _in_order(held, drawn, units),
    }
    if len(held.topic_P):
        cell_P = np.unique(np.stack([held.topic_P, held.fold_P]), axis=1, return_inverse=True)[1].ravel()
        within_P, predicted_P = _centred(y_P, cell_P), _centred(p_P, cell_P)
        found["r_squared_within_topics"] = _one_minus(
            held, drawn, units, (within_P - predicted_P) ** 2, np.where(within_P**2 > 1e-24, within_P**2, 0.0)
        )
    return found


def of_binary(held: HeldOutValues, drawn: Drawn | None, units: int) -> dict[str, Estimate]:
    """Metrics of 0 / 1: accuracy at a probability of one half; auc, over items that were held out together; log_loss,
    nats per item."""
    right_P = np.where(held.predicted_P == 0, 0.5, (held.predicted_P > 0) == (held.actual_P == 1))
    ones_P = np.ones_like(right_P)
    return {
        "accuracy": _ratio(held, drawn, units, right_P, ones_P),
        "auc": _in_order(held, drawn, units),
        "log_loss": _ratio(held, drawn, units, held.losses_P, ones_P),
    }


def of_choices(held: HeldOutChoices, drawn: Drawn | None, units: int) -> dict[str, Estimate]:
    """Metrics of choices: pairwise_accuracy, the share of answers that chose what the probe puts first (a half, where
    it puts neither), and log_loss, nats per answer."""
    answers_P = held.wins_a_P + held.wins_b_P
    right_P = np.select([held.predicted_P > 0, held.predicted_P < 0], [held.wins_a_P, held.wins_b_P], answers_P / 2)
    return {
        "pairwise_accuracy": _of_answers(held, drawn, units, right_P, answers_P),
        "log_loss": _of_answers(held, drawn, units, held.losses_P, answers_P),
    }


def differences(
    ours: Mapping[str, Estimate],
    theirs: Mapping[str, Estimate],
    choices: HeldOutChoices | None,
    drawn: Drawn,
    units: int,
) -> dict[str, Estimate]:
    """Ours minus theirs, of the same held out in the same draws."""
    found = {}
    for metric in ours.keys() & theirs.keys():
        a, b = ours[metric], theirs[metric]
        value = a.value - b.value
        if choices is not None and a.influence_P is not None and b.influence_P is not None:
            found[metric] = _spread(value, a.influence_P - b.influence_P, choices, drawn, units)
        else:
            with np.errstate(invalid="ignore"):
                found[metric] = Estimate(value, a.draws_D - b.draws_D)
    return found


def _by_unit(held: HeldOutValues, units: int, *columns_P: Array) -> Array:
    return np.column_stack([np.bincount(held.unit_P, column_P, units) for column_P in columns_P])


def _sums(held: HeldOutValues, drawn: Drawn | None, units: int, *columns_P: Array) -> tuple[Array, Array]:
    of_units_UK = _by_unit(held, units, *columns_P)
    return of_units_UK.sum(axis=0), drawn.sums(of_units_UK) if drawn else np.empty((0, len(columns_P)))


def _ratio(held: HeldOutValues, drawn: Drawn | None, units: int, above_P: Array, below_P: Array) -> Estimate:
    whole_K, draws_DK = _sums(held, drawn, units, above_P, below_P)
    with np.errstate(divide="ignore", invalid="ignore"):
        return Estimate(float(whole_K[0] / whole_K[1]), draws_DK[:, 0] / draws_DK[:, 1])


def _one_minus(held: HeldOutValues, drawn: Drawn | None, units: int, above_P: Array, below_P: Array) -> Estimate:
    ratio = _ratio(held, drawn, units, above_P, below_P)
    return Estimate(1 - ratio.value if np.isfinite(ratio.value) else np.nan, 1 - ratio.draws_D)


def _correlation(held: HeldOutValues, drawn: Drawn | None, units: int, x_P: Array, y_P: Array) -> Estimate:
    whole_K, draws_DK = _sums(held, drawn, units, np.ones_like(x_P), x_P, y_P, x_P * x_P, y_P * y_P, x_P * y_P)

    def correlation(sums: Array) -> Array:
        n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return (xy - x * y / n) / np.sqrt((xx - x * x / n) * (yy - y * y / n))

    return Estimate(float(correlation(whole_K)), correlation(draws_DK))


def _centred(values_P: Array, cell_P: Places) -> Array:
    return values_P - (np.bincount(cell_P, values_P) / np.bincount(cell_P))[cell_P]


def _in_order(held: HeldOutValues, drawn: Drawn | None, units: int) -> Estimate:
    """The share of pairs put in order; draws to first order, by what each unit's pairs add (Hoeffding's projection)."""
    lead_U, pairs_U, lead, pairs = np.zeros(units), np.zeros(units), 0, 0  # lead: right less wrong
    crowded = len(np.unique(held.unit_P)) < len(held.unit_P)
    for fold in np.unique(held.fold_P):
        inside = np.flatnonzero(held.fold_P == fold)
        y_f, p_f, unit_f = held.actual_P[inside], held.predicted_P[inside], held.unit_P[inside]
        level = ROUNDING * np.abs(p_f).max(initial=0)
        for start in range(0, len(inside), ROWS_AT_ONCE):
            some = slice(start, start + ROWS_AT_ONCE)
            above = y_f[some, None] > y_f
            ahead = p_f[some, None] - p_f
            right, wrong = above & (ahead > level), above & (ahead < -level)
            lead += int(right.sum()) - int(wrong.sum())
            pairs += int(above.sum())
            if drawn is None:
                continue
            for total_U, counted, sign in ((lead_U, right, 1), (lead_U, wrong, -1), (pairs_U, above, 1)):
                total_U += sign * np.bincount(unit_f[some], np.count_nonzero(counted, axis=1), units)
                if crowded:  # a pair within one unit comes and goes with it once
                    counted = counted & (unit_f[some, None] != unit_f)
                total_U += sign * np.bincount(unit_f, np.count_nonzero(counted, axis=0), units)
    if not pairs:
        return Estimate(np.nan)
    value = (1 + lead / pairs) / 2
    shifts_D = drawn.shifts(((lead_U + pairs_U) / 2 - value * pairs_U) / pairs) if drawn else np.empty(0)
    return Estimate(value, np.clip(value + shifts_D, 0, 1))


def _of_answers(held: HeldOutChoices, drawn: Drawn | None, units: int, above_P: Array, answers_P: Array) -> Estimate:
    total = answers_P.sum()
    if not total:
        return Estimate(np.nan)
    value = float(above_P.sum() / total)
    influence_P = (above_P - value * answers_P) / total
    return _spread(value, influence_P, held, drawn, units) if drawn else Estimate(value, influence_P=influence_P)


def _spread(value: float, influence_P: Array, held: HeldOutChoices, drawn: Drawn, units: int) -> Estimate:
    """Draws of units, to first order, with the variance of answers that may move together where they share a unit.

    That is the sum over units of the squared sum of what touches them, less what an answer between two units is in
    twice (Aronow, Samii and Assenova 2015, "Cluster-robust variance estimation for dyadic data", Political Analysis
    23); at least that of independent answers.
    """
    between_P = held.unit_a_P != held.unit_b_P
    touching_U = np.bincount(held.unit_a_P, influence_P, units).astype(np.float64)
    touching_U += np.bincount(held.unit_b_P[between_P], influence_P[between_P], units)
    of_units, alone = float((touching_U**2).sum()), float((influence_P**2).sum())
    variance = max(of_units - float((influence_P[between_P] ** 2).sum()), alone)
    wider = np.sqrt(variance / of_units) if of_units else 0.0
    return Estimate(value, value + wider * drawn.shifts(touching_U), influence_P)
