"""Ask about pairs of tasks in rounds: a connected start, then the pairs about which the utilities so far say least.

Asking and fitting are given from outside, so that a plan runs the same on a model, on answers that were kept, and on a
chooser whose utilities are known.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.domain.preferences.pair_selection import (
    Chosen,
    Integers,
    close_pairs,
    degrees,
    pair_count,
    pair_numbers,
    pair_tasks,
    random_pairs,
    start_pairs,
)

Policy = Literal["active", "random", "all"]
Ask = Callable[[pl.DataFrame], pl.DataFrame]
Fit = Callable[[pl.DataFrame], NDArray[np.float64] | Mapping[str, float]]

QUESTION = ("task_a", "task_b", "round", "sample")
ROUNDS = {
    "policy": pl.String,
    "round": pl.Int64,
    "pairs_asked": pl.Int64,
    "pairs": pl.Int64,
    "comparisons": pl.Int64,
    "least_degree": pl.Int64,
    "candidates": pl.Int64,
    "closest_percent": pl.Float64,
    "least_asked_percent": pl.Float64,
    "rank_correlation": pl.Float64,
    "converged": pl.Boolean,
    "ended_by": pl.String,
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which pairs are asked, how often, and until when.

    The defaults are those of the villain data, as far as these show them, and of the Utility Engineering paper.

    Policies:
        active: a random regular graph, then close pairs that were asked little (`pair_selection.close_pairs`).
        random: the same graph, then pairs uniformly at random.
        all: every pair in random order, each once before any is asked again, in one round and without a fit.

    Args:
        start_degree: in how many pairs each task is in round 0; at least 2.
        pairs_per_round: pairs asked in each later round.
        closest_percent: the share of pairs, by |mu_i - mu_j|, that counts as close.
        least_asked_percent: the share of pairs, by how many pairs their two tasks were asked in, that counts as asked
            little.
        samples: how often each pair is asked, with each task first in half of them (one more if odd).
        stop_correlation: end when the ranks of mu before and after a whole round correlate (Spearman) above this; None:
            never. Both rest on mostly the same answers, so it says that utilities settled, not that they are right.
        most_comparisons: the budget; None: none. A pair that cannot be asked `samples` times within it is not asked,
            but by `all`.
    """

    policy: Policy = "active"
    start_degree: int = 5
    pairs_per_round: int = 1000
    closest_percent: float = 10.0
    least_asked_percent: float = 20.0
    samples: int = 5
    stop_correlation: float | None = 0.99
    most_comparisons: int | None = None

    def __post_init__(self) -> None:
        if self.policy not in get_args(Policy):
            raise ValueError(f"policy {self.policy!r} is unknown; one of {', '.join(get_args(Policy))} was wanted")
        if min(self.pairs_per_round, self.samples) < 1 or self.start_degree < 2:
            raise ValueError(f"{self}: a start degree of at least 2, and at least one pair and one sample are needed")
        if not (0 < self.closest_percent <= 100 and 0 < self.least_asked_percent <= 100):
            raise ValueError(f"{self}: percentages must be above 0 and at most 100")


@dataclass(frozen=True)
class Measured:
    """What was asked and how it went on.

    `choices` has the rows that `ask` gave back, round by round: `task_a`, `task_b`, `round` (0 is the start),
    `sample` (0 to samples - 1 of that pair), `choice`, and whatever else `ask` added. `rounds` has one row per round
    with the columns `ROUNDS`: `pairs_asked` in it; `pairs`, `comparisons` and `least_degree` (pairs of the task in
    fewest) so far; the number of `candidates` that it was drawn from with the percentages that gave so many (empty
    where none were applied); `rank_correlation` of mu with the round before; whether that passed the plan's
    (`converged`); and in the last row `ended_by`: converged, budget, or all pairs asked.
    """

    choices: pl.DataFrame
    rounds: pl.DataFrame


def measure(
    ask: Ask, fit: Fit, tasks: Sequence[str], plan: Plan, seed: int, held_out: pl.DataFrame | None = None
) -> Measured:
    """Ask about pairs of `tasks` as `plan` says, round by round.

    The same seed asks the same questions, as long as the answers and the fit are the same: a measurement that was
    killed goes on where it was if `ask` has kept its answers.

    Args:
        ask: takes questions (`QUESTION`), one row each, and gives back every one of them with its `choice`.
        fit: takes all choices so far and gives mu, in the order of `tasks` or by task.
        tasks: ids, each once.
        held_out: pairs (`task_a`, `task_b`, either order) that are never asked.

    Raises:
        ValueError: a task listed twice, a budget below the start, an answer that is missing or not asked for, or a mu
            that is missing or not finite.
    """
    asking = _Asking(ask, tasks, plan, seed, _numbers(held_out, tasks))
    free = pair_count(len(tasks)) - len(asking.never_C)
    if plan.policy == "all":
        asking.round(random_pairs(len(tasks), free, asking.never_C, asking.generator(0)))
        asking.tell(None, "all pairs asked" if len(asking.choices) == free * plan.samples else "budget")
        return asking.measured()

    start_C = start_pairs(len(tasks), plan.start_degree, asking.never_C, asking.generator(0))
    if plan.most_comparisons is not None and len(start_C) * plan.samples > plan.most_comparisons:
        raise ValueError(
            f"a start degree of {plan.start_degree} asks {len(start_C) * plan.samples:,} comparisons of {len(tasks):,} "
            f"tasks, more than the budget of {plan.most_comparisons:,}; lower the start degree or the samples per pair"
        )
    asking.round(start_C)
    mu_N = _in_order(fit(asking.choices), tasks)
    correlation, chosen = None, None
    while not (ended := asking.ended_by(correlation, free)):
        asking.tell(correlation, None, chosen)
        generator = asking.generator(asking.number)
        if plan.policy == "active":
            chosen = close_pairs(
                mu_N,
                np.sort(asking.asked_C),
                asking.never_C,
                plan.pairs_per_round,
                plan.closest_percent,
                plan.least_asked_percent,
                generator,
            )
            asking.round(chosen.pairs_C)
        else:
            taken_C = np.union1d(asking.asked_C, asking.never_C)
            asking.round(random_pairs(len(tasks), plan.pairs_per_round, taken_C, generator))
        before_N, mu_N = mu_N, _in_order(fit(asking.choices), tasks)
        correlation = _rank_correlation(before_N, mu_N)
    asking.tell(correlation, ended, chosen)
    return asking.measured()


@dataclass
class _Asking:
    """What was asked so far, and the budget that is left."""

    ask: Ask
    tasks: Sequence[str]
    plan: Plan
    seed: int
    never_C: Integers
    number: int = 0  # of the next round
    pairs_before: int = 0  # the last one
    asked_C: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    answered: list[pl.DataFrame] = field(default_factory=list)
    told: list[dict[str, object]] = field(default_factory=list)

    def generator(self, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, number])

    @property
    def choices(self) -> pl.DataFrame:
        return pl.concat(self.answered)

    @property
    def comparisons(self) -> int:
        return sum(map(len, self.answered))

    def round(self, pairs_C: Integers) -> None:
        """Ask about these pairs, as far as the budget goes."""
        plan = self.plan
        left = None if plan.most_comparisons is None else plan.most_comparisons - self.comparisons
        if plan.policy != "all" and left is not None:
            pairs_C = pairs_C[: left // plan.samples]
        questions = _questions(pairs_C, self.tasks, plan, self.number, self.generator(self.number).spawn(1)[0])
        if left is not None:
            questions = questions.head(left)
            pairs_C = pairs_C[:left]
        answers = self.ask(questions)
        missing = questions.join(answers, on=QUESTION, how="anti")
        if len(answers) != len(questions) or not missing.is_empty():
            raise ValueError(
                f"round {self.number} asked {len(questions):,} questions and got {len(answers):,} answers, "
                f"{len(missing):,} missing; every question must come back once, with its {', '.join(QUESTION)}"
            )
        self.answered.append(answers)
        self.pairs_before = len(self.asked_C)
        self.asked_C = np.concatenate([self.asked_C, pairs_C])
        self.number += 1

    def ended_by(self, correlation: float | None, free: int) -> str | None:
        if self.converged(correlation):
            return "converged"
        if len(self.asked_C) >= free:
            return "all pairs asked"
        budget = self.plan.most_comparisons
        return "budget" if budget is not None and self.comparisons + self.plan.samples > budget else None

    def converged(self, correlation: float | None) -> bool:
        stop = self.plan.stop_correlation
        whole = len(self.asked_C) - self.pairs_before >= self.plan.pairs_per_round
        return whole and stop is not None and correlation is not None and correlation > stop

    def tell(self, correlation: float | None, ended_by: str | None, chosen: Chosen | None = None) -> None:
        """Note how the round that was just asked went."""
        self.told.append(
            {
                "policy": self.plan.policy,
                "round": self.number - 1,
                "pairs_asked": len(self.asked_C) - self.pairs_before,
                "pairs": len(self.asked_C),
                "comparisons": self.comparisons,
                "least_degree": int(degrees(self.asked_C, len(self.tasks)).min()),
                "candidates": chosen.candidates if chosen else None,
                "closest_percent": chosen.closest_percent if chosen else None,
                "least_asked_percent": chosen.least_asked_percent if chosen else None,
                "rank_correlation": correlation,
                "converged": self.converged(correlation),
                "ended_by": ended_by,
            }
        )

    def measured(self) -> Measured:
        return Measured(self.choices, pl.DataFrame(self.told, ROUNDS))


def _questions(
    pairs_C: Integers, tasks: Sequence[str], plan: Plan, number: int, generator: np.random.Generator
) -> pl.DataFrame:
    """Each pair `plan.samples` times, by turns with one and with the other task first, a coin saying which begins."""
    one_C, other_C = pair_tasks(pairs_C, len(tasks))
    turned_C = generator.random(len(pairs_C)) < 0.5
    place_Q = np.tile(np.arange(len(pairs_C)), plan.samples)
    sample_Q = np.repeat(np.arange(plan.samples), len(pairs_C))
    if plan.policy != "all":
        place_Q, sample_Q = (column.reshape(plan.samples, -1).T.ravel() for column in (place_Q, sample_Q))
    swapped_Q = turned_C[place_Q] ^ (sample_Q % 2 == 1)
    names = pl.Series(tasks, dtype=pl.String)
    return pl.DataFrame(
        {
            "task_a": names.gather(np.where(swapped_Q, other_C[place_Q], one_C[place_Q])),
            "task_b": names.gather(np.where(swapped_Q, one_C[place_Q], other_C[place_Q])),
            "round": pl.Series(np.full(len(place_Q), number), dtype=pl.Int64),
            "sample": pl.Series(sample_Q, dtype=pl.Int64),
        }
    )


def _numbers(pairs: pl.DataFrame | None, tasks: Sequence[str]) -> Integers:
    """The numbers of these pairs, sorted, each once; of pairs of other tasks, none."""
    places = {task: place for place, task in enumerate(tasks)}
    if len(places) < len(tasks):
        raise ValueError(f"{len(tasks) - len(places)} tasks are listed twice; each task has one place")
    if pairs is None:
        return np.empty(0, np.int64)
    sides = [pairs[name].replace_strict(places, default=None, return_dtype=pl.Int64) for name in ("task_a", "task_b")]
    known = pl.DataFrame({"one": sides[0], "other": sides[1]}).drop_nulls().filter(pl.col("one") != pl.col("other"))
    return np.unique(pair_numbers(known["one"].to_numpy(), known["other"].to_numpy(), len(tasks)))


def _in_order(fitted: NDArray[np.float64] | Mapping[str, float], tasks: Sequence[str]) -> NDArray[np.float64]:
    if isinstance(fitted, Mapping):
        lacking = [task for task in tasks if task not in fitted]
        if lacking:
            raise ValueError(f"the fit gave no mu for {len(lacking)} tasks, among them {lacking[0]!r}; all are needed")
        fitted = np.array([fitted[task] for task in tasks], np.float64)
    finite = int(np.isfinite(fitted).sum())
    if len(fitted) != len(tasks) or finite < len(tasks):
        raise ValueError(f"the fit gave {finite} finite mu for {len(tasks)} tasks; one for each is needed")
    return fitted


def _rank_correlation(before_N: NDArray[np.float64], now_N: NDArray[np.float64]) -> float | None:
    """Spearman's; None where one of them is the same for all tasks."""
    from scipy.stats import spearmanr

    if np.ptp(before_N) == 0 or np.ptp(now_N) == 0:
        return None
    return float(spearmanr(before_N, now_N).statistic)
