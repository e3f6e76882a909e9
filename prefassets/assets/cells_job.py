"""One job per study, `<study>_cells`: a run trains and scores the cells it lists, whichever they are, and no other.

Dagster names a run's partitions by a range, so scattered cells would be as many runs and could not share a pack. These
jobs list them in their config instead, and tell Dagster of each cell what a run of the two assets would have told.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import dagster as dg
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent
from pydantic import Field

from prefassets.assets.activations import activations_made, read_adapters
from prefassets.assets.gpu import POOL, job_tags, retries
from prefassets.assets.training import adapter_made, make_adapters, margins_made, raise_for_failed, score
from prefassets.resources.cells import StudyData
from prefassets.resources.store import Store
from prefassets.settings import settings
from prefassets.studies import all_studies
from prefassets.studies.study import Cell, Study

HOME = "prefassets/home"  # tag of these jobs and their runs: the home that a code location writes to


class ListedCells(dg.Config):
    """Which cells a run is for."""

    cells: list[str] = Field(description="the study's cells, as `missing` prints them: age.A|42")


def job_name(study: Study) -> str:
    return f"{study.name}_cells"


def run_config(study: Study, keys: Sequence[str]) -> dict[str, Any]:
    """The config of a run for these cells."""
    return {"ops": {_op_name(study): {"config": {"cells": list(keys)}}}}


def listed_cells(config: Mapping[str, Any]) -> list[str]:
    """The cells that a run's config lists."""
    (op,) = config["ops"].values()
    return list(op["config"]["cells"])


def _op_name(study: Study) -> str:
    return f"train_and_score_{study.name}"


def cells_job(study: Study) -> dg.JobDefinition:
    """The job of one study."""

    @dg.op(name=_op_name(study), pool=POOL, tags=job_tags(study.hardware), retry_policy=retries())
    def train_and_score(context: dg.OpExecutionContext, config: ListedCells, store: Store) -> None:
        """Train the listed cells that have no adapter of today's recipe, then score and read all that have one."""
        cells = [study.cell(key) for key in dict.fromkeys(config.cells)]
        data = StudyData(store, study)
        _plan(context, study, cells)

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
        for cell, read in read_adapters(store, data, [cell for cell in cells if cell not in failures]):
            if isinstance(read, int):
                context.log_event(activations_made(cell, read))
            else:
                failures[cell] = read
        raise_for_failed(study, failures)

    @dg.job(
        name=job_name(study),
        tags={HOME: settings().home},
        description=f"Train and score the listed cells of {study.name}: `prefassets missing {study.name} --launch`.",
    )
    def job() -> None:
        train_and_score()

    return job


CELLS_JOBS = [cells_job(study) for study in all_studies().values()]


def _plan(context: dg.OpExecutionContext, study: Study, cells: Collection[Cell]) -> None:
    """Show the cells as in progress; one that is not made when this run ends shows as failed."""
    for cell in cells:
        for asset in study.assets_by_cell:
            planned = AssetMaterializationPlannedData(dg.AssetKey([cell.study, asset]), partition=cell.key)
            event = DagsterEvent.build_asset_materialization_planned_event(context.job_name, context.op.name, planned)
            context.instance.report_dagster_event(event, context.run_id, logging.DEBUG)
