"""How far the utilities of configurations agree, as fitted or without what the position in the task list explains.

A model that prefers a slot pulls up the utilities of the tasks that stood in it. Where the slot was not drawn at random
but follows from a task's position in the list (the 48 published configurations: slot A has the task that comes first,
or the one that comes last), utilities depend on the position, and configurations with the same rule agree for it.
"""

# C configurations, T tasks

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

Array = NDArray[np.float64]
Adjustment = Literal["none", "list position"]

FEWEST_TASKS = 3  # of both configurations; fewer always correlate perfectly, or not at all
DEGREE = 3  # of the polynomial in the position: a slot's pull is steepest at both ends of a list
NOTHING_LEFT = 1e-9  # of a configuration's standard deviation: rounding


@dataclass(frozen=True)
class Correlated:
    """Configurations of which every two have a correlation, in order of their names; and of the others, why not."""

    names: tuple[str, ...]
    correlation_CC: Array
    tasks_CC: NDArray[np.int64]
    left_out: dict[str, str]


def correlate(utilities: pl.DataFrame, adjustment: Adjustment = "none") -> Correlated:
    """Pearson correlation of every two configurations' utilities, over the tasks that both have.

    Configurations whose utilities do not differ are left out; then, one by one, those that lack most correlations.

    Args:
        utilities: `configuration`, `task_id`, `mu`; with "list position" also `list_index`, the task's position in its
            configuration's list, a polynomial of third degree in which is taken out of each configuration's mu.

    Raises:
        ValueError: a task occurs twice in a configuration, or there is no `list_index` to adjust for.
    """
    if utilities.select("configuration", "task_id").is_duplicated().any():
        raise ValueError("a configuration has a task twice; give one utility for each")
    if adjustment == "list position" and "list_index" not in utilities.columns:
        raise ValueError(f"utilities need a column list_index to adjust for it; they have {utilities.columns}")
    names, row = np.unique(utilities["configuration"].to_numpy(), return_inverse=True)
    tasks, column = np.unique(utilities["task_id"].to_numpy(), return_inverse=True)
    mu_CT = np.full((len(names), len(tasks)), np.nan)
    mu_CT[row, column] = utilities["mu"].to_numpy()
    spread_C = np.array([_spread(mu_T) for mu_T in mu_CT])
    if adjustment == "list position":
        index_CT = np.full_like(mu_CT, np.nan)
        index_CT[row, column] = utilities["list_index"].to_numpy()
        mu_CT = np.array([without_position(*of_one) for of_one in zip(mu_CT, index_CT, strict=True)]).reshape(
            mu_CT.shape
        )
    flat_C = np.array([_spread(mu_T) for mu_T in mu_CT]) <= NOTHING_LEFT * spread_C
    left_out = {str(name): "its utilities do not differ" for name, flat in zip(names, flat_C, strict=True) if flat}
    kept = np.flatnonzero(~flat_C)
    correlation_CC, tasks_CC = _pairwise(mu_CT[kept])
    while np.isnan(correlation_CC).any():
        worst = int(np.isnan(correlation_CC).sum(axis=1).argmax())
        left_out[str(names[kept[worst]])] = f"fewer than {FEWEST_TASKS} tasks that differ in common with another"
        kept = np.delete(kept, worst)
        correlation_CC, tasks_CC = _pairwise(mu_CT[kept])
    return Correlated(tuple(str(names[place]) for place in kept), correlation_CC, tasks_CC, left_out)


def without_position(mu_T: Array, index_T: Array) -> Array:
    """What a cubic in the position leaves of the utilities; tasks without a utility (NaN) stay so."""
    there = np.isfinite(mu_T)
    if not there.any():
        return mu_T
    index = index_T[there]
    scaled = 2 * (index - index.min()) / max(np.ptp(index), 1) - 1
    powers = np.polynomial.legendre.legvander(scaled, DEGREE)
    left_T = np.full_like(mu_T, np.nan)
    left_T[there] = mu_T[there] - powers @ np.linalg.lstsq(powers, mu_T[there], rcond=None)[0]
    return left_T


def position_correlations(utilities: pl.DataFrame) -> pl.DataFrame:
    """Per configuration, the Pearson correlation of its utilities with the position in the list: what a slot leaks.

    Where the list decided the slot, a correlation far from 0 says that the model preferred a slot, not a task: tasks
    that come first stood mostly in one slot. Where slots were drawn at random it says nothing about slots.

    Args:
        utilities: `configuration`, `task_id`, `mu`, `list_index`.

    Returns:
        `configuration`, `tasks`, `correlation`; empty where one of the two does not differ.
    """
    return (
        utilities.group_by("configuration")
        .agg(tasks=pl.len(), correlation=pl.corr("mu", "list_index").fill_nan(None))
        .sort("configuration")
    )


def _spread(mu_T: Array) -> float:
    return float(np.nanstd(mu_T)) if np.isfinite(mu_T).any() else 0.0


def _pairwise(mu_CT: Array) -> tuple[Array, NDArray[np.int64]]:
    """Correlations over the tasks that both have, NaN where there is none, and how many tasks those are."""
    there_CT = np.isfinite(mu_CT).astype(float)
    centred_CT = np.where(there_CT > 0, mu_CT - np.nanmean(mu_CT, axis=1, keepdims=True), 0.0)
    tasks_CC = there_CT @ there_CT.T
    sums_CC, squares_CC = centred_CT @ there_CT.T, centred_CT**2 @ there_CT.T
    with np.errstate(divide="ignore", invalid="ignore"):
        variance_CC = squares_CC - sums_CC**2 / tasks_CC
        variance_CC[variance_CC <= NOTHING_LEFT * np.diag(squares_CC)[:, None]] = np.nan
        covariance_CC = centred_CT @ centred_CT.T - sums_CC * sums_CC.T / tasks_CC
        correlation_CC = np.clip(covariance_CC / np.sqrt(variance_CC * variance_CC.T), -1, 1)
    correlation_CC[tasks_CC < FEWEST_TASKS] = np.nan
    np.fill_diagonal(correlation_CC, 1.0)
    return correlation_CC, tasks_CC.astype(np.int64)
