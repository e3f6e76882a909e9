"""Everything Dagster sees: assets, checks, jobs, the automation sensor and the store."""

import dagster as dg

from prefassets.assets import (
    activations,
    arena,
    cells_job,
    evidence,
    inference,
    measurements,
    model,
    preferences,
    prism,
    probes,
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
    *dg.load_assets_from_modules(
        [prism, tasks, evidence, splits, studies, model, inference, weights, probes, arena, warehouse]
    ),
    *training.STUDY_ASSETS,
    *training.COLLECTED_ASSETS,
    *activations.ACTIVATION_ASSETS,
    *measurements.MEASUREMENT_ASSETS,
    *preferences.PREFERENCE_ASSETS,
    *verdicts.ASSETS,
    *report.ASSETS,
]
CHECKS = dg.load_asset_checks_from_modules(
    [prism, tasks, evidence, splits, model, training, preferences, arena, verdicts]
)

# What is read of finished cells and passes: made anew after each run, whatever seeds there are.
JUDGED = dg.AssetSelection.groups(
    "training", "verdicts", "weights", "probes", "report", "warehouse"
) | dg.AssetSelection.assets(["model", "wpo_weights"])
# What is read of finished configurations: made anew after each measurement.
BELIEVED = dg.AssetSelection.groups("preferences", "probes") - dg.AssetSelection.assets(["tasks", "tasks"])
# What is read of Arena's predictions: made anew after each that is new.
COMPARED = dg.AssetSelection.groups("arena") - dg.AssetSelection.assets(*arena.MADE)


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
        dg.define_asset_job(
            "preferences",
            selection=BELIEVED | dg.AssetSelection.groups("warehouse"),
            description="Collect what models have answered, judge it, write pages, publish warehouse.duckdb.",
        ),
        dg.define_asset_job(
            "arena",
            selection=COMPARED | dg.AssetSelection.groups("warehouse"),
            description="Compare what predicts the winners of battles, write its page, publish warehouse.duckdb.",
        ),
        *cells_job.CELLS_JOBS,
    ],
    sensors=[
        dg.AutomationConditionSensorDefinition(
            "after_any_change",
            target=dg.AssetSelection.groups("evidence") | JUDGED | BELIEVED | COMPARED,
            default_status=dg.DefaultSensorStatus.RUNNING,
        )
    ],
    resources={"store": Store(home=settings().home)},
    executor=chosen_executor(),
)
