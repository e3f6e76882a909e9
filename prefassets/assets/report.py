"""One page per study: figures and tables that a reader needs, in one HTML file of the home."""

import dagster as dg

from prefassets.assets.automation import AFTER_ANY_CHANGE
from prefassets.resources import reports
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


ASSETS = [page_asset(study) for study in all_studies().values()]
