"""Everything Dagster sees: assets, checks, jobs, the automation sensor and the store."""

import dagster as dg

from prefassets.assets import (
    cells_job,
    evidence,
    inference,
    model,
    prism,
    report,
    splits,
    studies,
    training,
    verdicts,
    warehouse,
)
from prefassets.resources.store import Store
from prefassets.settings import settings

ASSETS = [
    *dg.load_assets_from_modules([prism, evidence, splits, studies, model, inference, warehouse]),
    *training.STUDY_ASSETS,
    *training.COLLECTED_ASSETS,
    *verdicts.ASSETS,
    *report.ASSETS,
]
CHECKS = dg.load_asset_checks_from_modules([prism, evidence, splits, training, verdicts])

EXECUTORS = {"in_process": dg.in_process_executor, "multiprocess": dg.multiprocess_executor}

defs = dg.Definitions(
    assets=ASSETS,
    asset_checks=CHECKS,
    jobs=[
        dg.define_asset_job(
            "data",
            selection=dg.AssetSelection.groups("prism", "splits", "evidence", "studies"),
            description="Raw PRISM to pairs, covariates, folds, splits and evidence, and the study files as tables.",
        ),
        dg.define_asset_job(
            "verdicts",
            selection=dg.AssetSelection.groups("training", "verdicts", "report", "warehouse"),
            description="Collect what is finished, judge it, write pages, publish warehouse.duckdb. Any seeds will do.",
        ),
        cells_job.cells_job,
    ],
    sensors=[
        dg.AutomationConditionSensorDefinition(
            "after_any_change",
            target=dg.AssetSelection.groups("evidence", "training", "verdicts", "report", "warehouse"),
            default_status=dg.DefaultSensorStatus.RUNNING,
        )
    ],
    resources={"store": Store(home=settings().home)},
    executor=EXECUTORS[settings().executor],
)
