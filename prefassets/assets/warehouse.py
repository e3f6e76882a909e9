"""`warehouse.duckdb`, the file that people open."""

import dagster as dg

from prefassets.assets.automation import AFTER_ANY_CHANGE
from prefassets.resources import warehouse
from prefassets.resources.sql_tables import all_tables
from prefassets.resources.store import Store


@dg.asset(
    key=["warehouse", "database"],
    deps=[name.split(".") for name in all_tables()],
    group_name="warehouse",
    kinds={"duckdb"},
    automation_condition=AFTER_ANY_CHANGE,
)
def database(store: Store) -> dg.MaterializeResult:
    """`warehouse.duckdb`: every table, commented. A copy gets the changed partitions and is renamed into place."""
    rows = warehouse.refresh(store)
    return dg.MaterializeResult(metadata={"dagster/row_count": sum(rows.values()), "tables": len(rows)})
