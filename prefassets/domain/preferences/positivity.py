"""How positive a model's ratings are, by how it is asked: framing x option set, with intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from prefassets.domain.preferences.rating_questions import OPTIONS, REFUSAL, UNPARSEABLE

SIDES = {"positive": 1, "middle": 0, "negative": -1}  # side -> the value of its word
CONFIDENCE = 0.95

POSITIVITY: dict[str, Any] = {
    "framing": pl.String,
    "options": pl.String,
    "asked": pl.Int64,
    "valid": pl.Int64,
    "refusals": pl.Int64,
    "unparseable": pl.Int64,
    "errors": pl.Int64,
    "tasks": pl.Int64,
    **{
        name: dtype
        for side in SIDES
        for name, dtype in {
            f"{side}_word": pl.String,
            side: pl.Int64,
            f"{side}_share": pl.Float64,
            f"{side}_lower": pl.Float64,
            f"{side}_upper": pl.Float64,
        }.items()
    },
    "mean_value": pl.Float64,
    "mean_lower": pl.Float64,
    "mean_upper": pl.Float64,
    "interval": pl.String,
}
ONCE, CLUSTERED, NO_ANSWER = "each task once", "clustered by task", "no valid answer"


def positivity(ratings: pl.DataFrame, facets: Sequence[str] = ()) -> pl.DataFrame:
    """How often each framing and option set gets the most positive, the middle and the most negative word.

    Values compare within an option set. Between sets they do not: `no` says "not at all" and covers what is `neutral`
    elsewhere (`rating_questions`).

    Args:
        ratings: one row per question asked: `task_id`, `framing`, `options`, `rating` (an option word, `refusal`,
            `unparseable`, or empty where the call failed and there is no answer), `value` (1, 0, -1, or empty), and the
            facets.
        facets: columns, such as `origin`, by each value of which there are rows of their own.

    Returns:
        The facets and `POSITIVITY`, one row per combination that was asked, in order of appearance. Shares are of
        `valid` answers, 0 to 1. Intervals are of 95 %: Wilson's for shares, Student's for the mean value; where all
        answers are equal, the mean's is what Wilson's leaves to other answers. Where a task was rated more than once
        (`interval` says so) both are clustered by task: Wilson's is then at the effective number of answers, which
        gives the share its clustered variance and lies between the tasks and the answers. A set of two words has no
        middle.

    Raises:
        ValueError: a rating has a value but is a refusal, unparseable or empty, or has none but is a word.
    """
    is_word = pl.col("rating").is_not_null() & ~pl.col("rating").is_in([REFUSAL, UNPARSEABLE])
    if wrong := len(ratings.filter(is_word != pl.col("value").is_not_null())):
        raise ValueError(f"{wrong} ratings are a word without a value, or have a value without being a word")
    keys = [*facets, "framing", "options"]
    words = _words(ratings)
    schema = pl.Schema({**{name: ratings.schema[name] for name in facets}, **POSITIVITY})
    rows = []
    for values, cell in ratings.group_by(keys, maintain_order=True):
        key = dict(zip(keys, values, strict=True))
        rows.append(dict.fromkeys(schema) | key | _cell(cell, words[str(key["options"])]))
    return pl.DataFrame(rows, schema=schema)


def _words(ratings: pl.DataFrame) -> dict[str, dict[str, str]]:
    """Option set -> side -> its word: as declared, or of a set that is not, as they were answered."""
    found: dict[str, dict[str, str]] = {}
    for name in ratings["options"].unique():
        if name in OPTIONS:
            found[name] = dict(zip(SIDES, OPTIONS[name].words, strict=True))
            continue
        answered = ratings.filter(pl.col("options") == name, pl.col("value").is_not_null())
        by_value = dict(answered.group_by("value").agg(pl.col("rating").unique().sort().str.join(" / ")).iter_rows())
        found[name] = {side: by_value[value] for side, value in SIDES.items() if value in by_value}
    return found


def _cell(cell: pl.DataFrame, words: dict[str, str]) -> dict[str, Any]:
    valid = cell.filter(pl.col("value").is_not_null())
    value_N = valid["value"].to_numpy().astype(float)
    task_N = np.unique(valid["task_id"].to_numpy(), return_inverse=True)[1]
    tasks = int(task_N.max()) + 1 if len(value_N) else 0
    row: dict[str, Any] = {
        "asked": len(cell),
        "valid": len(valid),
        "refusals": int((cell["rating"] == REFUSAL).sum()),
        "unparseable": int((cell["rating"] == UNPARSEABLE).sum()),
        "errors": cell["rating"].null_count(),
        "tasks": tasks,
        "interval": NO_ANSWER if not tasks else ONCE if tasks == len(value_N) else CLUSTERED,
    }
    for side, value in SIDES.items():
        if side in words or (value_N == value).any():
            row |= {f"{side}_word": words.get(side), side: int((value_N == value).sum())}
            row |= _share((value_N == value).astype(float), task_N, side) if tasks else {}
    return row | (_mean(value_N, task_N) if tasks else {})


def _share(given_N: np.ndarray, task_N: np.ndarray, side: str) -> dict[str, float]:
    share = float(given_N.mean())
    lower, upper = _wilson(share, _effective(given_N, task_N))
    return {f"{side}_share": share, f"{side}_lower": lower, f"{side}_upper": upper}


def _effective(given_N: np.ndarray, task_N: np.ndarray) -> float:
    """How many independent answers the share is worth; if all are of one kind, as many as there are tasks."""
    answers, tasks, share = len(given_N), int(task_N.max()) + 1, float(given_N.mean())
    variance = _clustered_variance(given_N, task_N)
    if variance is None or not 0 < share < 1:
        return float(tasks)
    return float(np.clip(share * (1 - share) / variance, tasks, answers)) if variance > 0 else float(answers)


def _clustered_variance(value_N: np.ndarray, task_N: np.ndarray) -> float | None:
    """Of the mean over answers; tasks are independent, whatever goes on within one. None for a single task."""
    tasks = int(task_N.max()) + 1
    if tasks < 2:
        return None
    deviation_of_task = np.bincount(task_N, weights=value_N - value_N.mean())
    return float(tasks / (tasks - 1) * (deviation_of_task**2).sum() / len(value_N) ** 2)


def _wilson(share: float, answers: float) -> tuple[float, float]:
    from statsmodels.stats.proportion import proportion_confint  # a second to import: only where it is used

    lower, upper = proportion_confint(share * answers, answers, alpha=1 - CONFIDENCE, method="wilson")
    return float(lower) if share > 0 else 0.0, float(upper) if share < 1 else 1.0


def _mean(value_N: np.ndarray, task_N: np.ndarray) -> dict[str, float | None]:
    from scipy import stats

    mean, tasks = float(value_N.mean()), int(task_N.max()) + 1
    if (value_N == value_N[0]).all():
        others = 1 - _wilson(1.0, tasks)[0]
        lower, upper = mean - others * (mean + 1), mean + others * (1 - mean)
        return {"mean_value": mean, "mean_lower": lower, "mean_upper": upper}
    variance = _clustered_variance(value_N, task_N)
    if variance is None:
        return {"mean_value": mean}
    reach = float(stats.t(tasks - 1).ppf((1 + CONFIDENCE) / 2) * np.sqrt(variance))
    return {"mean_value": mean, "mean_lower": max(-1.0, mean - reach), "mean_upper": min(1.0, mean + reach)}
