"""Choices counted: which two tasks were shown, in which slots, and how often each answer came."""

# n tasks, p pairs of slots (task in slot A, task in slot B)

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

Counts = NDArray[np.int64]

WINS = ("a", "b")
REFUSAL, UNPARSEABLE = "refusal", "unparseable"
CHOICES = (*WINS, REFUSAL, UNPARSEABLE)


@dataclass(frozen=True)
class Comparisons:
    """How often each task was chosen of each two, in each order of slots. Counting is all that a likelihood needs.

    `slot_a_p` and `slot_b_p` are positions in `tasks`; a pair that was asked in both orders stands twice. `a_p`, `b_p`
    and `refused_p` count the answers. `dropped` counts rows that are none of these, by reason.
    """

    tasks: tuple[str, ...]
    slot_a_p: Counts
    slot_b_p: Counts
    a_p: Counts
    b_p: Counts
    refused_p: Counts
    dropped: dict[str, int]

    @property
    def won_p(self) -> Counts:
        """Answers that chose a task, per pair of slots."""
        return self.a_p + self.b_p

    @cached_property
    def per_task_n(self) -> Counts:
        """Answers that chose, one task or the other, among the comparisons of each task."""
        both = np.concatenate([self.slot_a_p, self.slot_b_p])
        return np.bincount(both, np.concatenate([self.won_p, self.won_p]), len(self.tasks)).astype(np.int64)

    @cached_property
    def pair_p(self) -> Counts:
        """A number for each unordered pair, the same for both orders of slots."""
        low_p, high_p = np.minimum(self.slot_a_p, self.slot_b_p), np.maximum(self.slot_a_p, self.slot_b_p)
        return np.unique(low_p * len(self.tasks) + high_p, return_inverse=True)[1]

    def discount_p(self, repetition: float) -> NDArray[np.float64]:
        """How much each answer counts where those to the same two tasks have an intraclass correlation (0-1).

        1 / (1 + (m - 1) repetition), m the answers to the two tasks in both orders: Kish's design effect (1965).
        """
        asked_p = self.a_p + self.b_p + self.refused_p
        return 1 / (1 + (np.bincount(self.pair_p, asked_p)[self.pair_p] - 1) * repetition)

    def of(self, kept_p: NDArray[np.bool_]) -> "Comparisons":
        """Only these pairs of slots, of the same tasks."""
        return Comparisons(
            self.tasks,
            self.slot_a_p[kept_p],
            self.slot_b_p[kept_p],
            self.a_p[kept_p],
            self.b_p[kept_p],
            self.refused_p[kept_p],
            self.dropped,
        )

    def regardless_of_slots(self, refusals_as_b: bool = False) -> "Comparisons":
        """Both orders of a pair as one; the task that stands first in `tasks` is in slot A.

        With `refusals_as_b` a refusal is a win of whatever stood in slot B, as in the published fit.
        """
        b_p = self.b_p + self.refused_p if refusals_as_b else self.b_p
        turned_p = self.slot_a_p > self.slot_b_p
        low_p, high_p = np.minimum(self.slot_a_p, self.slot_b_p), np.maximum(self.slot_a_p, self.slot_b_p)
        pair_p = self.pair_p
        first_u = np.empty(pair_p.max(initial=-1) + 1, dtype=np.int64)
        first_u[pair_p] = np.arange(len(pair_p))  # any one of a pair's places

        def total(of_p: Counts) -> Counts:
            return np.bincount(pair_p, of_p, len(first_u)).astype(np.int64)

        return Comparisons(
            self.tasks,
            low_p[first_u],
            high_p[first_u],
            total(np.where(turned_p, b_p, self.a_p)),
            total(np.where(turned_p, self.a_p, b_p)),
            total(np.zeros_like(b_p) if refusals_as_b else self.refused_p),
            self.dropped,
        )


def count_choices(choices: pl.DataFrame, tasks: Sequence[str] | None = None) -> Comparisons:
    """Count the answers to each two tasks in each order of slots.

    Args:
        choices: one row per question asked: `task_a` (shown first), `task_b`, `choice` (one of `CHOICES`).
        tasks: the tasks and their order; default: all that occur, sorted, so that the order of rows changes nothing.
            A task that nobody compared is kept: a fit with a prior says what it knows of it, which is the prior.

    Returns:
        The counts. Dropped, and counted by reason: unparseable answers, a task compared with itself, and with `tasks`
        given rows that name another task.

    Raises:
        ValueError: an unknown choice, or a task listed twice.
    """
    choices = choices.select(pl.col("task_a", "task_b", "choice").cast(pl.String))
    other = choices.filter(~pl.col("choice").is_in(CHOICES) | pl.col("choice").is_null())
    if not other.is_empty():
        raise ValueError(f"{other['choice'][0]!r} is no choice; one of {', '.join(CHOICES)} was wanted")
    if tasks is None:
        listed = pl.concat([choices["task_a"], choices["task_b"].alias("task_a")]).drop_nulls().unique().sort()
    else:
        listed = pl.Series("task_a", list(tasks), pl.String)
        if listed.n_unique() < len(listed):
            twice = listed.filter(listed.is_duplicated())[0]
            raise ValueError(f"task {twice!r} is listed twice; each task has one place")
    place = pl.DataFrame({"task": listed, "place": pl.Series(range(len(listed)), dtype=pl.Int64)})
    reason = (
        pl.when(pl.col("task_a") == pl.col("task_b"))
        .then(pl.lit("a task compared with itself"))
        .when(pl.col("slot_a").is_null() | pl.col("slot_b").is_null())
        .then(pl.lit("a task that is not listed"))
        .when(pl.col("choice") == UNPARSEABLE)
        .then(pl.lit("unparseable"))
    )
    placed = (
        choices.join(place.rename({"task": "task_a", "place": "slot_a"}), on="task_a", how="left")
        .join(place.rename({"task": "task_b", "place": "slot_b"}), on="task_b", how="left")
        .with_columns(reason=reason)
    )
    dropped = placed.filter(pl.col("reason").is_not_null()).group_by("reason").len().sort("reason")
    counted = (
        placed.filter(pl.col("reason").is_null())
        .group_by("slot_a", "slot_b")
        .agg(*(pl.col("choice").eq(name).sum().cast(pl.Int64).alias(name) for name in (*WINS, REFUSAL)))
        .sort("slot_a", "slot_b")
    )
    slot_a_p, slot_b_p, a_p, b_p, refused_p = (
        counted[name].to_numpy() for name in ("slot_a", "slot_b", *WINS, REFUSAL)
    )
    return Comparisons(tuple(listed), slot_a_p, slot_b_p, a_p, b_p, refused_p, dict(dropped.iter_rows()))
