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
    tasks,
    training,
    verdicts,
    warehouse,
    weights,
)
from prefassets.resources.store import Store
from prefassets.settings import settings

ASSETS = [
    *dg.load_assets_from_modules([prism, tasks, evidence, splits, studies, model, inference, weights, warehouse]),
    *training.STUDY_ASSETS,
    *training.COLLECTED_ASSETS,
    *verdicts.ASSETS,
    *report.ASSETS,
]
CHECKS = dg.load_asset_checks_from_modules([prism, tasks, evidence, splits, model, training, verdicts])

# What is read of finished cells and passes: made anew after each run, whatever seeds there are.
JUDGED = dg.AssetSelection.groups("training", "verdicts", "weights", "report", "warehouse") | dg.AssetSelection.assets(
    ["model", "wpo_weights"]
)


def chosen_executor() -> dg.ExecutorDefinition:
    """The executor of the settings; Kubernetes' client takes a second to import, so only where it is wanted."""
    if settings().executor == "k8s":
        from prefassets.resources.kubernetes_jobs import kubernetes_jobs

        return kubernetes_jobs.configured({"max_concurrent": settings().step_jobs}, name="k8s")
    return {"in_process": dg.in_process_executor, "multiprocess": dg.multiprocess_executor}[settings().executor]


defs = dg.Definitions(
    assets=ASSETS,
    asset_checks=CHECKS,
    jobs=[
        dg.define_asset_job(
            "data",
            selection=dg.AssetSelection.groups("prism", "splits", "evidence", "studies")
            | dg.AssetSelection.assets(["tasks", "tasks"]),
            description="Raw PRISM to pairs, covariates, folds, splits and evidence; tasks; the study files as tables.",
        ),
        dg.define_asset_job(
            "verdicts",
            selection=JUDGED,
            description="Collect what is finished, judge it, write pages, publish warehouse.duckdb. Any seeds will do.",
        ),
        *cells_job.CELLS_JOBS,
    ],
    sensors=[
        dg.AutomationConditionSensorDefinition(
            "after_any_change",
            target=dg.AssetSelection.groups("evidence") | JUDGED,
            default_status=dg.DefaultSensorStatus.RUNNING,
        )
    ],
    resources={"store": Store(home=settings().home)},
    executor=chosen_executor(),
)
