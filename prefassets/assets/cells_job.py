"""The job `cells`: one run that trains and scores the cells it lists, whichever they are, and touches no other.

Dagster names a run's partitions by a range, so scattered cells would be as many runs and could not share a pack. This
job lists them in its config instead, and tells Dagster of each cell what a run of the two assets would have told.
"""

import logging
from collections.abc import Collection, Sequence
from typing import Any

import dagster as dg
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent
from pydantic import Field

from prefassets.assets.training import adapter_made, make_adapters, margins_made, raise_for_failed, score
from prefassets.resources.cells import StudyData
from prefassets.resources.store import Store
from prefassets.studies import all_studies
from prefassets.studies.study import Cell, Study

JOB = "cells"


class ListedCells(dg.Config):
    """Which cells a run is for."""

    study: str = Field(description="name of the study")
    cells: list[str] = Field(description="its cells, as `missing` prints them: age.A|42")


@dg.op(pool="gpu")
def train_and_score(context: dg.OpExecutionContext, config: ListedCells, store: Store) -> None:
    """Train the listed cells that have no adapter of today's recipe, then score all that have one."""
    if config.study not in all_studies():
        raise ValueError(f"there is no study {config.study!r}; there are {', '.join(all_studies())}")
    study = all_studies()[config.study]
    cells = [study.cell(key) for key in dict.fromkeys(config.cells)]
    data = StudyData(store, study)
    _plan(context, cells)

    failures = {}
    for cell, reason in make_adapters(store, data, cells, context.run_id):
        if reason is None:
            context.log_event(adapter_made(store, cell))
        else:
            failures[cell] = reason
    for cell, scored in score(store, data, [cell for cell in cells if cell not in failures]):
        if isinstance(scored, int):
            context.log_event(margins_made(cell, scored))
        else:
            failures[cell] = scored
    raise_for_failed(study, failures)


def run_config(study: Study, keys: Sequence[str]) -> dict[str, Any]:
    """The config of a run for these cells."""
    return {"ops": {train_and_score.name: {"config": {"study": study.name, "cells": list(keys)}}}}


def _plan(context: dg.OpExecutionContext, cells: Collection[Cell]) -> None:
    """Show the cells as in progress; one that is not made when this run ends shows as failed."""
    for cell in cells:
        for asset in ("adapters", "margins"):
            planned = AssetMaterializationPlannedData(dg.AssetKey([cell.study, asset]), partition=cell.key)
            event = DagsterEvent.build_asset_materialization_planned_event(context.job_name, context.op.name, planned)
            context.instance.report_dagster_event(event, context.run_id, logging.DEBUG)


@dg.job(name=JOB, description="Train and score exactly the cells listed, as `prefassets missing STUDY --launch` does.")
def cells_job() -> None:
    train_and_score()
