"""Cells in flight: those that a run which has not ended, here or on a Dagster elsewhere, is about to finish."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from prefassets.resources.cells import CellState
from prefassets.studies.study import Study

UNFINISHED = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")  # Dagster's words for a run's state
PARTITION = "dagster/partition"
FIRST, LAST = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@dataclass(frozen=True)
class Run:
    """A run that has not ended, as Dagster or its GraphQL tells of it. `assets` are those that it was asked for."""

    run_id: str
    status: str
    job: str
    config: Mapping[str, Any]
    assets: frozenset[tuple[str, ...]]
    tags: Mapping[str, str]

    def __str__(self) -> str:
        return f"run {self.run_id[:8]} ({self.status.lower().replace('_', ' ')})"

    def makes(self, assets: Iterable[dg.AssetKey], partition: str | None) -> bool:
        """Whether this run was asked for exactly these assets."""
        return self.assets == {tuple(key.path) for key in assets} and self.tags.get(PARTITION) == partition


def cells_in_flight(study: Study, states: Iterable[CellState], runs: Iterable[Run]) -> dict[str, Run]:
    """Which of these cells a run will finish, by key; of several runs the first.

    A cell that is only unscored or unread waits for a run that scores or reads it; any other for one that trains it.
    """
    made = [(run, *_made_by(study, run)) for run in runs]
    found = {}
    for state in states:
        needed = {"unscored": "margins", "unread": "activations"}.get(state.state, "adapters")
        run = next((run for run, assets, keys in made if needed in assets and state.cell.key in keys), None)
        if run is not None:
            found[state.cell.key] = run
    return found


def told(in_flight: Mapping[str, Run]) -> str:
    """One sentence: how many cells are in flight, in which runs."""
    runs = list(dict.fromkeys(map(str, in_flight.values())))
    named = ", ".join(runs[:5]) + (f" and {len(runs) - 5} more" if len(runs) > 5 else "")
    return f"{len(in_flight)} {'is' if len(in_flight) == 1 else 'are'} in flight: {named}"


def _made_by(study: Study, run: Run) -> tuple[Collection[str], Collection[str]]:
    """What a run makes of a study, some of its `assets_by_cell`, and of which cells."""
    from prefassets.assets.cells_job import job_name, listed_cells

    if run.job == job_name(study):
        return study.assets_by_cell, listed_cells(run.config)
    assets = [asset for asset in study.assets_by_cell if (study.name, asset) in run.assets]
    if PARTITION in run.tags:
        return assets, [run.tags[PARTITION]]
    if FIRST in run.tags and LAST in run.tags:
        return assets, _range(study, run.tags[FIRST], run.tags[LAST])
    return assets, []


def _range(study: Study, first: str, last: str) -> list[str]:
    """The cells between two corners of the grid of cohorts x seeds, as Dagster reads a range of such partitions."""
    (first_cohort, first_seed), (last_cohort, last_seed) = first.split("|"), last.split("|")
    return [
        f"{cohort}|{seed}"
        for cohort in _between(study.cohorts, first_cohort, last_cohort)
        for seed in _between(study.seed_keys, first_seed, last_seed)
    ]


def _between(keys: Iterable[str], first: str, last: str) -> list[str]:
    keys = list(keys)
    if first not in keys or last not in keys:
        return []  # a range of the study as it was before it changed
    return keys[keys.index(first) : keys.index(last) + 1]
