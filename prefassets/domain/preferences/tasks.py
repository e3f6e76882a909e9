"""Tasks: what a language model may be asked to do, whatever data set they are from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

ORIGINS = ("MATH", "ALPACA", "WILDCHAT", "BAILBENCH", "MT_BENCH")
SAMPLED = ORIGINS[:4]  # unless others are asked for
LONGEST = 4_000  # characters; a longer text is a document, and two of them leave no room for an answer
MOST_PER_ORIGIN = 5_000
TASK_SCHEMA = pl.Schema({"task_id": pl.String(), "origin": pl.String(), "topic": pl.String(), "text": pl.String()})


@dataclass(frozen=True)
class UsableTasks:
    """Tasks that can be asked, with the columns of `TASK_SCHEMA`, and how many others were dropped by reason."""

    tasks: pl.DataFrame
    dropped: Mapping[str, int]


def usable_tasks(found: pl.DataFrame, seed: int, most_per_origin: int = MOST_PER_ORIGIN) -> UsableTasks:
    """Leave out what cannot be asked or was asked before, and of large origins a random part.

    Args:
        found: tasks with the columns of `TASK_SCHEMA` and `language`, which is empty where nobody knows it.
        seed: of the tasks that are kept where there are more than `most_per_origin`.

    Returns:
        Tasks in the order found. A text is a duplicate if it differs from an earlier one only in case and white space;
        whatever its origin, the first stays.
    """
    normal = pl.col("text").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
    reasons = {
        "empty text": pl.col("text").str.strip_chars() == "",
        "not English": pl.col("language").fill_null("English") != "English",
        f"longer than {LONGEST:,} characters": pl.col("text").str.len_chars() > LONGEST,
        "duplicate text": ~normal.is_first_distinct(),
        f"more than {most_per_origin:,} of one origin": _rank(seed) >= most_per_origin,
    }
    kept, dropped = found, {}
    for reason, applies in reasons.items():  # one after another: what is dropped is nobody's duplicate
        left = kept.filter(~applies)
        if len(left) < len(kept):
            dropped[reason] = len(kept) - len(left)
        kept = left
    return UsableTasks(kept.select(TASK_SCHEMA.names()), dropped)


def sample_tasks(tasks: pl.DataFrame, count: int, origins: Sequence[str] = SAMPLED, seed: int = 0) -> pl.DataFrame:
    """Draw tasks at random, equally many of each origin; where an origin has too few, the others give more.

    The origins take turns, so of a larger sample with the same seed and origins the first `count` tasks are this one.

    Args:
        tasks: the table `tasks.tasks`, in any order.
        count: tasks wanted; if there are fewer, all come.

    Raises:
        ValueError: `count` is not positive, or there is no task of an origin.
    """
    if count < 1:
        raise ValueError(f"{count} tasks are no sample; at least 1 was wanted")
    if absent := sorted(set(origins) - set(tasks["origin"])):
        there = ", ".join(sorted(set(tasks["origin"]))) or "none at all"
        raise ValueError(f"there is no task of {', '.join(absent)}; there are tasks of {there}")
    return (
        tasks.filter(pl.col("origin").is_in(list(origins)))
        .sort(_rank(seed), pl.col("origin").cast(pl.Enum(list(origins))))
        .head(count)
    )


def _rank(seed: int) -> pl.Expr:
    """The place of each task in a random order of its origin, from 0, the same however the rows are sorted."""

    def shuffled(columns: Sequence[pl.Series]) -> pl.Series:
        origin, task_id = columns
        rng = np.random.default_rng([seed, *origin[0].encode()])  # another origin more or less changes nothing
        place: NDArray[np.int64] = np.empty(len(task_id), dtype=np.int64)
        place[task_id.arg_sort().to_numpy()] = rng.permutation(len(task_id))
        return pl.Series(place)

    return pl.map_groups(["origin", "task_id"], shuffled, return_dtype=pl.Int64, returns_scalar=False).over("origin")
