"""Every file of `sql/` as an asset: the path is the key, its FROM clauses are the dependencies."""

import dagster as dg

from prefassets.assets.automation import AFTER_ANY_CHANGE
from prefassets.assets.declared import declared
from prefassets.domain.training.recipe import digest
from prefassets.resources.sql_tables import SqlTable, sql_tables
from prefassets.resources.store import Store


def sql_asset(found: SqlTable) -> dg.AssetsDefinition:
    """The asset of one SQL file."""

    @dg.asset(
        **declared(found.table.name),
        deps=[name.split(".") for name in found.dependencies],
        group_name=found.table.name.split(".")[0],
        kinds={"sql", "duckdb"},
        code_version=digest(found.sql),
        automation_condition=AFTER_ANY_CHANGE,
    )
    def select(store: Store) -> dg.MaterializeResult:
        return store.replace(found.table.name, store.query(found.sql))

    return select


ASSETS = [sql_asset(found) for found in sql_tables().values()]


@dg.asset_check(asset=["verdicts", "reported_rule"])
def null_controls_hold(store: Store) -> dg.AssetCheckResult:
    """A null control with a difference above its tolerance says that the instrument finds what is not there."""
    broken = store.query(
        "select study, split, readout, mean_difference_pp from verdicts.reported_rule"
        " where reported_rule = 'UNEXPECTED'"
    )
    found = {
        f"{study} {split} {readout}": f"{points:+.2f} points" for study, split, readout, points in broken.iter_rows()
    }
    return dg.AssetCheckResult(
        passed=not found, severity=dg.AssetCheckSeverity.WARN, metadata={"beyond tolerance": found}
    )
