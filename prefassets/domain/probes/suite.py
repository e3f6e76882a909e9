"""Everything that is asked of one set of activations: every target at every layer and position, beside the baselines.

What comes out are the rows of the tables of probes, less the column that names the experiment.
"""

# N items, P observed, D width, T columns of labels, A penalties

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.domain.probes.asked import Asked, NotProbed, Probed, Target, Where, asked, in_order
from prefassets.domain.probes.baselines import TextFeatures, log_length, one_hot, random_activations, shuffled_items
from prefassets.domain.probes.folds import Split, dealt_folds
from prefassets.domain.probes.kinds import KINDS
from prefassets.domain.probes.metrics import FOREMOST, METRICS, RANGE, Drawn
from prefassets.domain.probes.nested import Answer, Features, Question, cross_validated
from prefassets.domain.probes.observed import Choices, Observed, Values
from prefassets.domain.probes.scoring import Scored, actual_and_expected, scored

__all__ = ["Found", "Probed", "Target", "probe_suite"]

ACTIVATIONS, SHUFFLED, RANDOM = "activations", "shuffled labels", "random activations"
BY_UNIT = "unit"
LEAVE_OUT = {"topic": "leave_one_topic_out", "origin": "leave_one_origin_out"}  # column of items -> split
MOST_LEFT_OUT = 30  # topics or origins one by one; where there are more, several are left out at once
FEWEST_FOLDS = 3  # one is held out, one chooses the penalty, one is fitted
UNITS_DRAWN = "units drawn again (95 % of draws)"
OVER_SEEDS = "seeds of the baseline (where 95 % of draws would lie, by t)"
NO_INTERVAL = "none"

WHERE: dict[str, pl.DataType] = {
    "target": pl.String(),
    "probe": pl.String(),
    "layer": pl.Int64(),
    "position": pl.String(),
}
SCORES = WHERE | {
    **dict.fromkeys(("split", "features", "metric"), pl.String()),
    **dict.fromkeys(("estimate", "lower", "upper"), pl.Float64()),
    "interval": pl.String(),
    **dict.fromkeys(("rows", "units", "seeds"), pl.Int64()),
    "note": pl.String(),
}
SWEEP = WHERE | {
    "features": pl.String(),
    **dict.fromkeys(("alpha", "r_squared", "lower", "upper", "in_sample"), pl.Float64()),
    "chosen": pl.Int64(),
}
DIRECTION = {
    **dict.fromkeys(("alpha", "intercept"), pl.Float64()),
    **dict.fromkeys(("rows", "width"), pl.Int64()),
    "direction": pl.List(pl.Float32()),
}
PREDICTIONS = WHERE | {"item": pl.String(), "fold": pl.Int64(), "actual": pl.Float64(), "predicted": pl.Float64()}


@dataclass(frozen=True, kw_only=True)
class Found:
    """Rows of the tables of probes, without the column `experiment`.

    `fold_directions` are the directions that were fitted without each fold of `predictions`: what they say of any
    target of that fold's items is held out.
    """

    scores: pl.DataFrame
    sweep: pl.DataFrame
    directions: pl.DataFrame
    predictions: pl.DataFrame
    fold_directions: pl.DataFrame


def probe_suite(
    probed: Probed,
    *,
    folds: int = 5,
    seeds: int = 5,
    draws: int = 1000,
    seed: int = 0,
    lone_target: Literal["refuse", "note"] = "refuse",
    on_fit: Callable[[int, int], None] | None = None,
) -> Found:
    """Fit a probe to every target at every layer and position, by nested cross-validation, and score what it predicts.

    Folds are of units, dealt by name; the folds that are not held out choose the penalty. With two or more topics or
    origins each is also left out in turn, with penalties chosen by unit among the rest. Where units have items in
    several, a topic's items are predicted fold by fold of units, from other topics' items of other units: a probe that
    knows a user by what was said under another topic has not generalised. Beside `activations`, every target is
    predicted from
    - `shuffled labels` (those of other units) and `random activations` (normal numbers of the same shape), by unit
      only, over `seeds` seeds each;
    - `topic`, `length` and `text` (see `baselines`), where items have them. These know nothing of layers and positions,
      and random activations only the width: they are fitted once, and stand again beside each layer and position.
    `activations minus topic` (or length, or text: whichever predicts best, by R^2 or log loss, under that split) is how
    much activations predict beyond it, of the same items in the same draws of units.

    Answers to choices between items of two folds are neither fitted nor predicted, as they would tell of both.

    Args:
        folds: of units, at least 3.
        seeds: of the drawn baselines, at least 2.
        draws: of units, for intervals.
        seed: of folds, draws and baselines; the order of items changes nothing.
        lone_target: what becomes of the only target, if it cannot be probed: an error, or a note as of one of several.
        on_fit: told how many of how many matrices of features are done.

    Raises:
        ValueError: see `in_order` and `asked`; or the only target cannot be probed, unless that is to be noted. Of
            several, one that cannot gets a row without an estimate, and a note.
    """
    if folds < FEWEST_FOLDS or seeds < 2 or draws < 1:
        raise ValueError(
            f"probes: {folds} folds, {seeds} seeds, {draws} draws; wanted are {FEWEST_FOLDS}, 2, 1 or more"
        )
    return _Suite(in_order(probed), folds, seeds, draws, seed, lone_target).run(on_fit or (lambda done, total: None))


@dataclass(frozen=True)
class _Column:
    """What became of one column of labels: a target's own, or a shuffle of it."""

    asked: Asked
    shuffle: int | None
    observed: Observed
    answer: Answer
    column: int

    @property
    def curves(self) -> list[tuple[NDArray[np.float64], NDArray[np.float64], int]]:
        """Inner and in-sample scores by penalty, and the place of the chosen one, of each outer fold."""
        at = self.column
        return [
            (fit.inner_AT[:, at], fit.in_sample_AT[:, at], int(fit.penalty_T[at])) for fit in self.answer.folds.values()
        ]


class _Suite:
    def __init__(
        self, probed: Probed, folds: int, seeds: int, draws: int, seed: int, lone_target: Literal["refuse", "note"]
    ) -> None:
        self.probed, self.folds, self.seeds, self.draws, self.seed = probed, folds, seeds, draws, seed
        self.names: list[str] = probed.items["item"].to_list()
        self.units: list[str] = probed.items["unit"].to_list()
        self.unit_N = np.unique(self.units, return_inverse=True)[1]
        self.unit_fold_N = dealt_folds(self.units, folds, seed)
        self.splits = {BY_UNIT: Split.of(self.unit_fold_N)}
        for column, split in LEAVE_OUT.items():
            values = self._values(column)
            if (groups := len(set(values) - {None})) > 1:
                group_N = dealt_folds(values, min(MOST_LEFT_OUT, groups), seed)
                self.splits[split] = Split.crossed(group_N, self.unit_N, self.unit_fold_N)
        topics = self._values("topic")
        self.topic_N = np.unique([f"{topic}" for topic in topics], return_inverse=True)[1] if topics else None
        self.scores: list[dict[str, Any]] = []
        self.sweep: list[dict[str, Any]] = []
        self.directions: list[dict[str, Any]] = []
        self.fold_directions: list[dict[str, Any]] = []
        self.predictions: list[pl.DataFrame] = []
        self.asked: list[Asked] = []
        for target in probed.targets:
            try:
                self.asked.append(asked(target, probed.items, folds, self.unit_fold_N))
            except NotProbed as error:
                if len(probed.targets) == 1 and lone_target == "refuse":
                    raise ValueError(f"probes: {error}") from error
                self._add_note(target, str(error))
        self.drawn: dict[int, Drawn] = {}
        # Each place is read once more than it need be, so that a broken one is refused before anything is fitted.
        self.widths = sorted({activations.shape[1] for activations in probed.activations.values()})

    def run(self, on_fit: Callable[[int, int], None]) -> Found:
        simple = self._simple_features()
        total, done = len(simple) + self.seeds * len(self.widths) + len(self.probed.activations), 0

        simple_scores: dict[tuple[str, str, str], Scored] = {}
        curves: dict[tuple[str, str], list] = defaultdict(list)
        for name, features in simple.items():
            for split in self.splits:
                for column in self._fitted(features, split):
                    target = column.asked.target.name
                    simple_scores[target, split, name] = self._scored(column)
                    if split == BY_UNIT:
                        curves[target, name] += column.curves
            on_fit(done := done + 1, total)

        random_scores: dict[tuple[str, int], list[Scored]] = defaultdict(list)
        for width in self.widths:
            for number in range(self.seeds):
                noise = random_activations(len(self.names), width, self.seed + number)
                for column in self._fitted(_always(noise), BY_UNIT):
                    target = column.asked.target.name
                    random_scores[target, width].append(self._scored(column, draws=False))
                    curves[target, f"{RANDOM} {width}"] += column.curves
                on_fit(done := done + 1, total)

        for where, activations in self.probed.activations.items():
            shuffled_scores: dict[str, list[Scored]] = defaultdict(list)
            shuffled_curves: dict[str, list] = defaultdict(list)
            for split in self.splits:
                by_unit = split == BY_UNIT
                for column in self._fitted(_always(activations), split, shuffles=by_unit, weights=by_unit):
                    target = column.asked.target.name
                    if column.shuffle is not None:
                        shuffled_scores[target].append(self._scored(column, draws=False))
                        shuffled_curves[target] += column.curves
                        continue
                    ours = self._scored(column)
                    theirs = {name: simple_scores[target, split, name] for name in simple}
                    self._add_scores(column.asked, where, split, ACTIVATIONS, ours)
                    for name, found in theirs.items():
                        self._add_scores(column.asked, where, split, name, found)
                    self._add_difference(column.asked, where, split, ours, theirs)
                    if by_unit:
                        self._add_sweep(column.asked, where, ACTIVATIONS, column.curves)
                        self._add_directions(column, where)
                        self._add_predictions(column, where)
            for one in self.asked:
                target, width = one.target.name, activations.shape[1]
                self._add_seeds(one, where, SHUFFLED, shuffled_scores[target])
                self._add_seeds(one, where, RANDOM, random_scores[target, width])
                self._add_sweep(one, where, SHUFFLED, shuffled_curves[target])
                self._add_sweep(one, where, RANDOM, curves[target, f"{RANDOM} {width}"])
                for name in simple:
                    self._add_sweep(one, where, name, curves[target, name])
            on_fit(done := done + 1, total)
        return Found(
            scores=pl.DataFrame(self.scores, schema=SCORES),
            sweep=pl.DataFrame(self.sweep, schema=SWEEP),
            directions=pl.DataFrame(self.directions, schema=WHERE | DIRECTION),
            predictions=pl.concat(self.predictions) if self.predictions else pl.DataFrame(schema=PREDICTIONS),
            fold_directions=pl.DataFrame(self.fold_directions, schema=WHERE | {"fold": pl.Int64()} | DIRECTION),
        )

    def _values(self, column: str) -> list[Any]:
        return self.probed.items[column].to_list() if column in self.probed.items.columns else []

    def _simple_features(self) -> dict[str, Features]:
        found: dict[str, Features] = {}
        if len(set(topics := self._values("topic")) - {None}) > 1:
            found["topic"] = _always(one_hot(topics))
        if (lengths := self._values("length")) and None not in lengths:
            found["length"] = _always(log_length(lengths))
        if any(texts := self._values("text")):
            found["text"] = TextFeatures(texts)
        return found

    def _fitted(
        self, features: Features, split: str, shuffles: bool = False, weights: bool = False
    ) -> Iterator[_Column]:
        """Every target, and its shuffles; those of the same items share each decomposition."""
        together: dict[bytes, list[Asked]] = defaultdict(list)
        for one in self.asked:
            together[one.observed.named.tobytes()].append(one)
        for group in together.values():
            given = self._given(group[0].observed.named) if shuffles else []
            questions: list[Question] = []
            columns: list[tuple[Asked, int | None, Observed, int, int]] = []
            for name in dict.fromkeys(one.kind.name for one in group):
                alike = [one for one in group if one.kind.name == name]
                for observed, of in _columns(alike, given):
                    columns += [(one, shuffle, observed, len(questions), at) for at, (one, shuffle) in enumerate(of)]
                    questions.append(Question(alike[0].kind, observed))
            answers = cross_validated(
                features, questions, self.splits[split], self.unit_fold_N, whole=weights, weights=weights
            )
            for one, shuffle, observed, question, at in columns:
                yield _Column(one, shuffle, observed, answers[question], at)

    def _given(self, named: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """For each seed, of each item the one whose label it is given."""
        units = [self.units[item] for item in named]
        found = []
        for number in range(self.seeds):
            given_N = np.arange(len(self.names))
            given_N[named] = named[shuffled_items(units, self.seed + number)]
            found.append(given_N)
        return found

    def _scored(self, column: _Column, draws: bool = True) -> Scored:
        return scored(
            column.asked.kind,
            column.observed,
            column.answer.held_out,
            column.column,
            self.unit_N,
            self.topic_N,
            self._drawn if draws else None,
        )

    def _drawn(self, units: int) -> Drawn:
        if units not in self.drawn:
            self.drawn[units] = Drawn(units, self.draws, self.seed)
        return self.drawn[units]

    def _add_note(self, target: Target, note: str) -> None:
        metric = FOREMOST[target.kind][0]
        for layer, position in self.probed.activations:
            self.scores.append(
                {"target": target.name, "probe": KINDS[target.kind].name, "layer": layer, "position": position}
                | {"split": BY_UNIT, "features": ACTIVATIONS, "metric": metric, "interval": NO_INTERVAL}
                | {"rows": 0, "units": 0, "seeds": 1, "note": note}
            )

    def _add_scores(self, one: Asked, where: Where, split: str, features: str, found: Scored) -> None:
        for metric in METRICS[one.target.kind]:
            estimate = found.estimates.get(metric)
            if estimate is None:
                continue
            lower, upper = estimate.interval
            self.scores.append(
                _of(one, where)
                | {"split": split, "features": features, "metric": metric, "estimate": _number(estimate.value)}
                | {"lower": lower, "upper": upper, "interval": NO_INTERVAL if lower is None else UNITS_DRAWN}
                | {"rows": found.rows, "units": found.units, "seeds": 1, "note": found.note(estimate.value)}
            )

    def _add_difference(self, one: Asked, where: Where, split: str, ours: Scored, theirs: Mapping[str, Scored]) -> None:
        metric, better = FOREMOST[one.target.kind]
        values = {name: better * found.estimates[metric].value for name, found in theirs.items()}
        if known := {name: value for name, value in values.items() if np.isfinite(value)}:
            best = max(known, key=lambda name: known[name])
            minus = ours.minus(theirs[best])
            self._add_scores(one, where, split, f"{ACTIVATIONS} minus {best}", minus)

    def _add_seeds(self, one: Asked, where: Where, features: str, found: Sequence[Scored]) -> None:
        from scipy.stats import t  # half a second to import: only where it is used

        for metric in METRICS[one.target.kind]:
            if metric not in found[0].estimates:
                continue
            values = np.array([each.estimates[metric].value for each in found])
            known = values[np.isfinite(values)]
            mean = float(known.mean()) if len(known) else None
            lower, upper = None, None
            if mean is not None and len(known) > 1:
                half = float(t.ppf(0.975, len(known) - 1) * known.std(ddof=1) * np.sqrt(1 + 1 / len(known)))
                least, most = RANGE[metric]
                lower, upper = max(least, mean - half), min(most, mean + half)
            self.scores.append(
                _of(one, where)
                | {"split": BY_UNIT, "features": features, "metric": metric, "estimate": mean}
                | {"lower": lower, "upper": upper, "interval": NO_INTERVAL if lower is None else OVER_SEEDS}
                | {"rows": found[0].rows, "units": found[0].units, "seeds": len(values), "note": found[0].note(mean)}
            )

    def _add_sweep(self, one: Asked, where: Where, features: str, curves: Sequence[tuple]) -> None:
        """Mean over outer folds, and seeds where there are several, and how much they differ: twice their standard
        deviation over the root of their number.

        Fits of outer folds share most of their rows, so their mean would vary by more in other samples: no confidence
        band.
        """
        # of a penalty that some folds did not come to, the others' mean would be of the luckier ones
        inner_FA, in_sample_FA = (np.array([curve[which] for curve in curves]) for which in (0, 1))
        mean_A, in_sample_A = inner_FA.mean(axis=0), in_sample_FA.mean(axis=0)
        half_A = 2 * inner_FA.std(axis=0, ddof=1) / np.sqrt(len(curves)) if len(curves) > 1 else np.nan * mean_A
        penalties_A = one.kind.penalties_A
        chosen_A = np.bincount([curve[2] for curve in curves], minlength=len(penalties_A))
        for at, alpha in enumerate(penalties_A):
            self.sweep.append(
                _of(one, where)
                | {"features": features, "alpha": float(alpha), "r_squared": _number(mean_A[at])}
                | {"lower": _number(mean_A[at] - half_A[at]), "upper": _number(mean_A[at] + half_A[at])}
                | {"in_sample": _number(in_sample_A[at]), "chosen": int(chosen_A[at])}
            )

    def _add_directions(self, column: _Column, where: Where) -> None:
        of = _of(column.asked, where)
        for fold, fit in [*column.answer.folds.items(), (None, column.answer.whole)]:
            assert fit is not None
            assert fit.weights_DT is not None
            direction = fit.weights_DT[:, column.column].astype(np.float32)
            row = {
                "alpha": float(column.asked.kind.penalties_A[fit.penalty_T[column.column]]),
                "intercept": float(fit.intercepts_T[column.column]),
                "rows": fit.rows,
                "width": len(direction),
                "direction": direction,
            }
            if fold is None:
                self.directions.append(of | row)
            else:
                self.fold_directions.append(of | {"fold": fold} | row)

    def _add_predictions(self, column: _Column, where: Where) -> None:
        held_out = column.answer.held_out
        observed = column.observed.of(held_out.observed_P)
        actual_P, expected_P = actual_and_expected(column.asked.kind, observed, held_out, column.column)
        if isinstance(observed, Choices):
            names = [f"{self.names[a]} over {self.names[b]}" for a, b in zip(observed.a_P, observed.b_P, strict=True)]
        else:
            names = [self.names[item] for item in observed.items_P]
        of = _of(column.asked, where)
        rows = {"item": names, "fold": held_out.fold_P, "actual": actual_P, "predicted": expected_P}
        found = pl.DataFrame(rows).with_columns(**{name: pl.lit(value) for name, value in of.items()})
        self.predictions.append(found.select(pl.col(name).cast(dtype) for name, dtype in PREDICTIONS.items()))


def _columns(
    alike: Sequence[Asked], given: Sequence[NDArray[np.int64]]
) -> Iterator[tuple[Observed, list[tuple[Asked, int | None]]]]:
    """What is fitted at once: values of all targets and their shuffles; choices one by one.

    A shuffle of choices tells them of other items.
    """
    values = [one for one in alike if isinstance(one.observed, Values)]
    if values:
        of_item = {one.target.name: _by_item(one.observed) for one in values}
        items_P = values[0].observed.named
        shuffles: list[tuple[int | None, NDArray[np.int64]]] = [(None, items_P)]
        shuffles += [(number, given_N[items_P]) for number, given_N in enumerate(given)]
        of = [(one, number) for one in values for number, _ in shuffles]
        labels = [of_item[one.target.name][taken_P] for one in values for _, taken_P in shuffles]
        yield Values(items_P, np.column_stack(labels)), of
    for one in alike:
        if isinstance(one.observed, Choices):
            yield one.observed, [(one, None)]
            for number, given_N in enumerate(given):
                yield one.observed.told_of(given_N), [(one, number)]


def _by_item(observed: Observed) -> NDArray[np.float64]:
    assert isinstance(observed, Values)
    found_N = np.full(observed.items_P.max() + 1, np.nan)
    found_N[observed.items_P] = observed.values_PT[:, 0]
    return found_N


def _always(features: NDArray[np.floating]) -> Features:
    return lambda fitted_n: features


def _of(one: Asked, where: Where) -> dict[str, Any]:
    return {"target": one.target.name, "probe": one.kind.name, "layer": where[0], "position": where[1]}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
