"""A page per study and per measurement, and one of Arena: what a reader needs, in one HTML file of the home."""

import dagster as dg

from prefassets.assets.automation import AFTER_ANY_CHANGE
from prefassets.domain.preferences.measurement import Measurement
from prefassets.measurements import all_measurements
from prefassets.resources import arena_reports, measurement_reports, reports
from prefassets.resources.store import Store
from prefassets.studies import all_studies
from prefassets.studies.study import Study

GROUP = "report"


def page_asset(study: Study) -> dg.AssetsDefinition:
    """The asset of one study's page."""

    @dg.asset(
        key=[GROUP, study.name],
        deps=[name.split(".") for name in reports.READS],
        group_name=GROUP,
        kinds={"matplotlib"},
        automation_condition=AFTER_ANY_CHANGE,
        description=f"`reports/{study.name}.html`: verdicts, figures, gates and cautions of {study.name}, in one file.",
    )
    def page(store: Store) -> dg.MaterializeResult:
        with store.connect(reports.READS) as connection:
            path, cells = reports.write_page(store, study, connection)
        return dg.MaterializeResult(metadata={"page": dg.MetadataValue.path(path), **cells})

    return page


def measurement_page_asset(measurement: Measurement) -> dg.AssetsDefinition:
    """The asset of one measurement's page; it goes with what is judged of answers, not with the verdicts of studies."""

    @dg.asset(
        key=[GROUP, measurement.name],
        deps=[name.split(".") for name in measurement_reports.READS],
        group_name="preferences",
        kinds={"matplotlib"},
        automation_condition=AFTER_ANY_CHANGE,
        description=f"`reports/{measurement.name}.html`: how far to believe what {measurement.name} found, and what it "
        "found, in one file.",
    )
    def page(store: Store) -> dg.MaterializeResult:
        with store.connect(measurement_reports.READS) as connection:
            path, configurations = measurement_reports.write_page(store, measurement, connection)
        return dg.MaterializeResult(metadata={"page": dg.MetadataValue.path(path), **configurations})

    return page


@dg.asset(
    key=[GROUP, arena_reports.NAME],
    deps=[name.split(".") for name in arena_reports.READS],
    group_name="arena",
    kinds={"matplotlib"},
    automation_condition=AFTER_ANY_CHANGE,
)
def arena_page(store: Store) -> dg.MaterializeResult:
    """`reports/arena.html`: what predicts the winners of battles, beside baselines, in one file."""
    with store.connect(arena_reports.READS) as connection:
        path, recipes = arena_reports.write_page(store, connection)
    return dg.MaterializeResult(metadata={"page": dg.MetadataValue.path(path), **recipes})


ASSETS = [
    *(page_asset(study) for study in all_studies().values()),
    *(measurement_page_asset(measurement) for measurement in all_measurements().values()),
    arena_page,
]
