"""How well held-out battles are predicted, beside what other prompts would have given.

The unit that is drawn again is the prompt, with all its battles: two battles of one prompt are alike in what was asked,
and prompts are what a new sample would have others of. Prompts are taken to be independent. Models and people are not
drawn again, so intervals hold for battles of these models; nor are adapters trained again, so that another training
seed would have given another adapter is in none of them.

A draw takes U - 1 of the U prompts with replacement, because the variance of such draws is unbiased for linear
statistics however few units there are (Rao and Wu 1988, "Resampling inference with complex survey data", JASA 83). The
draws are the same for all predictors, so differences are paired. Intervals are 95 % percentile intervals.
"""

# N battles, U prompts, Q predictors as shown in one order or both, K columns, D draws, n and u: some of N and U

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.domain.arena.battle_kinds import told_apart
from prefassets.domain.arena.recipe import WINNERS
from prefassets.domain.inference.two_way import drawn_counts

Array = NDArray[np.float64]
Places = NDArray[np.int64]

BASELINES = ("prior", "longer", "length_and_words")
DRAWS = 2_000
LEVEL = 0.95
BINS = 10
FEWEST_PROMPTS = 10  # fewer are drawn again in too few ways for an interval
FITS = ("all of it read", "cut")
COMPARED_BY = ("log_loss", "accuracy", "brier")
LEAST = float(np.finfo(np.float64).eps)  # a probability below it counts as this one, as in sklearn's log_loss
ROUNDING = 1e-6  # by how much three probabilities may miss 1
DRAWS_AT_ONCE = 200

GIVEN = [winner.lower() for winner in WINNERS]
SWAPPED = [f"{winner}_swapped" for winner in GIVEN]
INTERVAL = {"lower": pl.Float64, "upper": pl.Float64}
COUNTED = {"battles": pl.Int64, "prompts": pl.Int64}
JUDGED = {"predictor": pl.String, "orders": pl.String}


@dataclass(frozen=True)
class Judged:
    """The tables `arena.comparison`, `difference`, `breakdown`, `confusion` and `calibration`."""

    comparison: pl.DataFrame
    differences: pl.DataFrame
    breakdown: pl.DataFrame
    confusion: pl.DataFrame
    calibration: pl.DataFrame


def judge(
    predictions: pl.DataFrame,
    battles: pl.DataFrame,
    compared: Mapping[str, Sequence[str]],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    models_named: int | None = None,
) -> Judged:
    """Judge every predictor on the held-out battles, alone and beside others.

    A predictor is judged as shown in the order `given`, and where it has probabilities with the answers exchanged, also
    by the mean of `both`. Metrics:

    - log_loss: minus the log of the probability of what the person said, nats. One below 2.2e-16 counts as that, as in
      sklearn, so a winner that was given none costs 36 nats.
    - accuracy: share of battles whose likeliest winner is the one; of equally likely ones the first of A, B, tie.
    - brier: sum over the three winners of (probability - whether it won) squared, 0 to 2.
    - calibration_error: the battles are cut into tenths by the probability of their likeliest winner; battles with the
      same probability stay together, so tenths are uneven where there are ties. It is the sum over tenths of their
      share of battles x |mean probability - share that is right| (expected calibration error: Naeini et al. 2015, AAAI;
      equal-size bins: Nguyen and O'Connor 2015, EMNLP). Noise makes it larger, and drawing again adds as much noise
      once more, so draws lie too high: the interval is that of draws mirrored at the value (the basic bootstrap;
      Davison and Hinkley 1997, section 5.2), cut at 0, and holds the value. Still, with a true value of .03 such
      intervals hold it in 78 % of samples of 100 prompts and 90 % of 400 or more; with .15, in 96 % of 2,000.
    - swap_consistency (under `both`): share of battles whose likeliest winner stays when answers are exchanged.
    - first_shown (under `both`): probability that the answer shown first wins minus that of the second, mean over both
      orders, -1 to 1. Which answer is the better one cancels.

    Differences are widened for the number of models that could have been called better (Bonferroni): the interval's
    halves times z(1 - .05 / (2 m)) / z(.975), as of means over many prompts. Percentiles so far out would want a
    hundred times the draws.

    A breakdown's accuracy of exactly 0 or 1 has an interval without width: what was never seen cannot be drawn.

    Args:
        predictions: PREDICTION_COLUMNS; of each predictor one row per held-out battle.
        battles: BATTLE_COLUMNS; the held-out ones, each with a winner.
        compared: predictor -> those that it is compared with. One that has no predictions is passed over, on either
            side: a recipe that is not trained yet has no differences. Its order `both` is compared with the other's
            `both` if there is one, else with its `given`.
        draws: bootstrap draws.
        seed: of the draws.
        models_named: m of the widened intervals; by default the predictors in `predictions` that are no baseline. Those
            of a baseline are not widened, so empty.

    Returns:
        Predictors in the order in which `predictions` has them. Groups of fewer than ten prompts have no intervals.

    Raises:
        ValueError: no battles; a battle without a winner; a predictor that lacks a held-out battle, has one twice, or
            has one that is not held out; probabilities that are missing, not finite, negative, or do not add up to 1.
    """
    held = _HeldOut(battles, draws, seed)
    shown = [
        one for rows in predictions.partition_by("predictor", maintain_order=True) for one in _as_shown(rows, held)
    ]
    comparison, mean_draws = _comparison(shown, held)
    models = {one.predictor for one in shown} - set(BASELINES)
    return Judged(
        comparison=comparison,
        differences=_differences(shown, held, mean_draws, compared, models_named or max(len(models), 1)),
        breakdown=_breakdown(shown, held),
        confusion=_confusion(shown, held),
        calibration=_calibration(shown, held),
    )


class _HeldOut:
    """The held-out battles, those of a prompt beside each other, and prompts drawn again."""

    def __init__(self, battles: pl.DataFrame, draws: int, seed: int) -> None:
        if battles.is_empty():
            raise ValueError("there are no held-out battles to judge by; battles and their folds come first")
        if unsaid := (~battles["winner"].is_in(WINNERS)).fill_null(True).sum():
            raise ValueError(f"{unsaid} of {len(battles)} held-out battles have no winner that is one of {WINNERS}")
        if (twice := battles["battle"].is_duplicated()).any():
            raise ValueError(f"battle {battles.filter(twice)['battle'][0]} is among the held-out battles twice")
        self.battles = battles.sort("prompt_digest", "battle")
        self.winner_N = np.array([WINNERS.index(winner) for winner in self.battles["winner"]])
        self.prompt_N = self.battles["prompt_digest"].rle_id().to_numpy().astype(np.int64)
        self.all_N: Places = np.arange(len(self.battles))
        units = int(self.prompt_N[-1]) + 1
        generator = np.random.default_rng(seed)
        self._counts_DU = np.concatenate(
            [
                drawn_counts(generator, units, max(units - 1, 1), min(DRAWS_AT_ONCE, draws - start)).astype(np.uint16)
                for start in range(0, draws, DRAWS_AT_ONCE)
            ]
        )

    def prompts(self, some_n: Places) -> int:
        """Different prompts of some battles, which are in order."""
        return int(np.count_nonzero(np.diff(self.prompt_N[some_n]))) + 1

    def means(self, value_NK: Array, some_n: Places | None = None) -> tuple[Array, Array]:
        """Means over some battles, K, and over the same of each draw that has any, D x K; no draws of few prompts."""
        some_n = self.all_N if some_n is None else some_n
        value_nK, prompt_n = value_NK[some_n], self.prompt_N[some_n]
        start_u = np.flatnonzero(np.diff(prompt_n, prepend=-1))
        sum_uK = np.add.reduceat(value_nK, start_u, axis=0)
        battles_u = np.diff(start_u, append=len(some_n)).astype(np.float64)
        mean_K = sum_uK.sum(axis=0) / len(some_n)
        if len(start_u) < FEWEST_PROMPTS:
            return mean_K, np.empty((0, len(mean_K)))
        found = []
        for start in range(0, len(self._counts_DU), DRAWS_AT_ONCE):
            count_du = self._counts_DU[start : start + DRAWS_AT_ONCE, prompt_n[start_u]].astype(np.float64)
            battles_d = count_du @ battles_u
            some_d = battles_d > 0
            found.append((count_du[some_d] @ sum_uK) / battles_d[some_d, None])
        return mean_K, np.concatenate(found)


@dataclass(frozen=True)
class _Shown:
    """One predictor's probabilities of one order, or the means of both, and what follows for each battle."""

    predictor: str
    orders: str
    probability_N3: Array
    winner_N: Places
    left_out_N: Places | None
    of_both_N2: Array | None  # whether the likeliest winner stays; the lead of the answer shown first

    @cached_property
    def predicted_N(self) -> Places:
        return self.probability_N3.argmax(axis=1)

    @cached_property
    def right_N(self) -> Array:
        return (self.predicted_N == self.winner_N).astype(np.float64)

    @cached_property
    def log_loss_N(self) -> Array:
        of_winner_N = self.probability_N3[np.arange(len(self.winner_N)), self.winner_N]
        return -np.log(np.clip(of_winner_N, LEAST, 1 - LEAST))

    @cached_property
    def brier_N(self) -> Array:
        return ((self.probability_N3 - np.eye(len(WINNERS))[self.winner_N]) ** 2).sum(axis=1)

    @cached_property
    def gap_NB(self) -> Array:
        """Probability of the likeliest winner minus whether it won, each in the column of its bin."""
        likeliest_N = self.probability_N3.max(axis=1)
        gap_NB = np.zeros((len(likeliest_N), BINS))
        gap_NB[np.arange(len(likeliest_N)), _bins(likeliest_N)] = likeliest_N - self.right_N
        return gap_NB

    @property
    def metrics_NK(self) -> dict[str, Array]:
        """What each metric is the mean of over battles; calibration_error adds ten means' absolute values up."""
        found = {
            "log_loss": self.log_loss_N[:, None],
            "accuracy": self.right_N[:, None],
            "brier": self.brier_N[:, None],
            "calibration_error": self.gap_NB,
        }
        if self.of_both_N2 is not None:
            found |= {"swap_consistency": self.of_both_N2[:, :1], "first_shown": self.of_both_N2[:, 1:]}
        return found


def _as_shown(rows: pl.DataFrame, held: _HeldOut) -> list[_Shown]:
    predictor = rows["predictor"][0]
    if (twice := rows["battle"].is_duplicated()).any():
        raise ValueError(f"{predictor} predicts battle {rows.filter(twice)['battle'][0]} more than once")
    others = rows.join(held.battles, on="battle", how="anti")
    if not others.is_empty():
        raise ValueError(
            f"{predictor} predicts {len(others)} battles that are not held out, {others['battle'][0]} for one; its "
            "predictions are of other battles or folds than there are now: make them again"
        )
    if lacking := len(held.battles) - len(rows):
        raise ValueError(
            f"{predictor} lacks predictions of {lacking} of {len(held.battles)} held-out battles, "
            f"{held.battles.join(rows, on='battle', how='anti')['battle'][0]} for one; predict those too"
        )
    rows = held.battles.select("battle").join(rows, on="battle", how="left", maintain_order="left")
    given_N3 = _probabilities(rows, GIVEN, predictor)
    left_out_N = None if rows["left_out"].null_count() else rows["left_out"].to_numpy()

    def shown(orders: str, probability_N3: Array, of_both_N2: Array | None = None) -> _Shown:
        return _Shown(predictor, orders, probability_N3, held.winner_N, left_out_N, of_both_N2)

    if all(rows[name].null_count() == len(rows) for name in SWAPPED):
        return [shown("given", given_N3)]
    swapped_N3 = _probabilities(rows, SWAPPED, predictor)
    stays_N = given_N3.argmax(axis=1) == swapped_N3.argmax(axis=1)
    lead_N3 = (given_N3 - swapped_N3) / 2
    of_both_N2 = np.column_stack([stays_N, lead_N3[:, 0] - lead_N3[:, 1]])
    return [shown("given", given_N3), shown("both", (given_N3 + swapped_N3) / 2, of_both_N2)]


def _probabilities(rows: pl.DataFrame, names: Sequence[str], predictor: str) -> Array:
    probability_N3 = rows.select(pl.col(names).cast(pl.Float64)).to_numpy()  # empty ones become nan
    wrong = {
        "are missing or not finite": ~np.isfinite(probability_N3).all(axis=1),
        "are negative": (probability_N3 < 0).any(axis=1),
        "do not add up to 1": np.abs(probability_N3.sum(axis=1) - 1) > ROUNDING,
    }
    for what, wrong_N in wrong.items():
        if wrong_N.any():
            raise ValueError(
                f"{predictor}: probabilities {', '.join(names)} of {wrong_N.sum()} of {len(rows)} held-out battles "
                f"{what}, of {rows['battle'][int(wrong_N.argmax())]} for one; predict them again"
            )
    return probability_N3


def _bins(probability_N: Array) -> Places:
    """The tenth that each is in, 0 to 9: by the mean rank of all that are equal to it."""
    _, place_N, equal = np.unique(probability_N, return_inverse=True, return_counts=True)
    middle = np.cumsum(equal) - (equal + 1) / 2
    return (middle[place_N] * BINS / len(probability_N)).astype(np.int64)


def _ends(draws_DK: Array) -> tuple[list[float | None], list[float | None]]:
    if not len(draws_DK):
        return [None] * draws_DK.shape[1], [None] * draws_DK.shape[1]
    lower_K, upper_K = np.quantile(draws_DK, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return lower_K.tolist(), upper_K.tolist()


def _comparison(shown: Sequence[_Shown], held: _HeldOut) -> tuple[pl.DataFrame, dict[tuple[str, str, str], Array]]:
    """The rows, and by (predictor, orders, metric) the value with its draws below it, of what is compared."""
    counted = len(held.all_N), held.prompts(held.all_N)
    found, kept = [], {}
    for one in shown:
        columns = one.metrics_NK
        mean_K, draws_DK = held.means(np.hstack(list(columns.values())))
        end = 0
        for metric, column_NK in columns.items():
            start, end = end, end + column_NK.shape[1]
            value, draws_D = mean_K[start], draws_DK[:, start]
            if metric == "calibration_error":
                value, draws_D = np.abs(mean_K[start:end]).sum(), np.abs(draws_DK[:, start:end]).sum(axis=1)
            (lower,), (upper,) = _ends(draws_D[:, None])
            if metric == "calibration_error" and lower is not None and upper is not None:
                lower, upper = min(max(2 * value - upper, 0.0), value), max(2 * value - lower, value)
            found.append((one.predictor, one.orders, metric, float(value), lower, upper, *counted))
            if metric in COMPARED_BY:
                kept[one.predictor, one.orders, metric] = np.concatenate([[value], draws_D])
    schema = {**JUDGED, "metric": pl.String, "estimate": pl.Float64, **INTERVAL, **COUNTED}
    return pl.DataFrame(found, schema, orient="row"), kept


def _differences(
    shown: Sequence[_Shown],
    held: _HeldOut,
    means: Mapping[tuple[str, str, str], Array],
    compared: Mapping[str, Sequence[str]],
    models: int,
) -> pl.DataFrame:
    counted = len(held.all_N), held.prompts(held.all_N)
    normal = NormalDist()
    wider = normal.inv_cdf(1 - (1 - LEVEL) / (2 * models)) / normal.inv_cdf((1 + LEVEL) / 2)
    known = {(one.predictor, one.orders) for one in shown}
    found: list[tuple[Any, ...]] = []
    for one in shown:
        for than in compared.get(one.predictor, ()):
            theirs = next((orders for orders in (one.orders, "given") if (than, orders) in known), None)
            if theirs is None:
                continue
            for metric in COMPARED_BY:
                apart = means[one.predictor, one.orders, metric] - means[than, theirs, metric]
                (lower,), (upper,) = _ends(apart[1:, None])
                difference, ends = float(apart[0]), (lower, upper)
                widened = (
                    (None, None)
                    if one.predictor in BASELINES
                    else tuple(None if end is None else difference + wider * (end - difference) for end in ends)
                )
                found.append((one.predictor, one.orders, than, metric, difference, *ends, *widened, *counted))
    schema = {**JUDGED, "than": pl.String, "metric": pl.String, "difference": pl.Float64, **INTERVAL}
    schema |= {"widened_lower": pl.Float64, "widened_upper": pl.Float64, **COUNTED}
    return pl.DataFrame(found, schema, orient="row")


def _breakdown(shown: Sequence[_Shown], held: _HeldOut) -> pl.DataFrame:
    found: dict[tuple[str, str], list[tuple[Any, ...]]] = {(one.predictor, one.orders): [] for one in shown}

    def add(kind: str, value: str, some_n: Places, some: Sequence[_Shown]) -> None:
        mean_K, draws_DK = held.means(
            np.column_stack([column_N for one in some for column_N in (one.right_N, one.log_loss_N)]), some_n
        )
        told = list(zip(mean_K.tolist(), *_ends(draws_DK), strict=True))
        for one, accuracy, log_loss in zip(some, told[::2], told[1::2], strict=True):
            counted = len(some_n), held.prompts(some_n)
            found[one.predictor, one.orders].append((kind, value, *counted, *accuracy, *log_loss))

    if shown:
        for kind, of_value in told_apart(held.battles).items():
            for value, some_n in of_value.items():
                add(kind, value, some_n, shown)
    for one in shown:
        if one.left_out_N is not None:
            for value, is_so_N in ((FITS[0], one.left_out_N == 0), (FITS[1], one.left_out_N > 0)):
                if is_so_N.any():
                    add("fits", value, np.flatnonzero(is_so_N), [one])
    schema = {**JUDGED, "dimension": pl.String, "value": pl.String, **COUNTED}
    for metric in ("accuracy", "log_loss"):
        schema |= {metric: pl.Float64, f"{metric}_lower": pl.Float64, f"{metric}_upper": pl.Float64}
    return pl.DataFrame([(*key, *row) for key, rows in found.items() for row in rows], schema, orient="row")


def _confusion(shown: Sequence[_Shown], held: _HeldOut) -> pl.DataFrame:
    found = []
    for one in shown:
        battles = np.bincount(held.winner_N * len(WINNERS) + one.predicted_N, minlength=len(WINNERS) ** 2)
        cells = zip(product(WINNERS, WINNERS), battles.tolist(), strict=True)
        found += [(one.predictor, one.orders, *cell, count) for cell, count in cells]
    schema = {**JUDGED, "winner": pl.String, "predicted": pl.String, "battles": pl.Int64}
    return pl.DataFrame(found, schema, orient="row")


def _calibration(shown: Sequence[_Shown], held: _HeldOut) -> pl.DataFrame:
    """Wilson's intervals take battles for independent: of battles that share prompts they are somewhat too narrow."""
    from statsmodels.stats.proportion import proportion_confint  # a second to import: only where it is used

    found = []
    for one in shown:
        for place, winner in enumerate(WINNERS):
            probability_N, won_N = one.probability_N3[:, place], held.winner_N == place
            bin_N = _bins(probability_N)
            bins = np.unique(bin_N)
            battles, won = np.bincount(bin_N)[bins], np.bincount(bin_N, won_N)[bins]
            lower, upper = proportion_confint(won, battles, alpha=1 - LEVEL, method="wilson")
            columns = (bins, np.bincount(bin_N, probability_N)[bins] / battles, won / battles, lower, upper, battles)
            rows = zip(*(column.tolist() for column in columns), strict=True)
            found += [(one.predictor, one.orders, winner, *row) for row in rows]
    schema = {**JUDGED, "winner": pl.String, "bin": pl.Int64, "probability": pl.Float64, "frequency": pl.Float64}
    return pl.DataFrame(found, {**schema, **INTERVAL, "battles": pl.Int64}, orient="row")
