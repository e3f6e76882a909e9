"""`reports/<measurement>.html`: what a home holds of a measurement, read for its page, and the page."""

from datetime import UTC, datetime

import duckdb
import polars as pl

from prefassets.domain.preferences.measurement import Measurement
from prefassets.resources.measuring import MeasurementData
from prefassets.resources.reports import PROBES, page_name
from prefassets.resources.store import Store

TASKS = "tasks.tasks"
READS = (
    "preferences.answered",
    "preferences.reading",
    "preferences.reliability",
    "preferences.current_fit",
    "preferences.transitivity",
    "preferences.current_utilities",
    "preferences.mean_utility",
    "preferences.utility_correlation",
    "preferences.sensitivity",
    "preferences.sensitivity_fit",
    "preferences.positivity",
    "preferences.efficiency",
    "preferences.rounds",
    *PROBES,
    TASKS,
)


def wants_page(store: Store, measurement: Measurement) -> bool:
    """Whether a page goes with what is believed in a home: something was answered, or a page is there to keep true."""
    answered = store.query(
        "select count(*) from preferences.answered where measurement = $name", name=measurement.name
    ).item()
    return bool(answered) or store.size(page_name(measurement.name)) is not None


def write_page(
    store: Store, measurement: Measurement, connection: duckdb.DuckDBPyConnection
) -> tuple[str, dict[str, int]]:
    """Make a measurement's page from the tables `READS` of `connection`; returns its path, configurations by state."""
    # matplotlib takes a second: only where a page is made
    from prefassets.report.measurement_page import MeasurementFindings, render

    states = pl.DataFrame(
        [
            (state.configuration.name, state.state, state.reason)
            for state in MeasurementData(store, measurement).states()
        ],
        {"configuration": pl.String, "state": pl.String, "reason": pl.String},
        orient="row",
    )
    tables = {table: _rows(connection, table, measurement) for table in READS}
    page = render(MeasurementFindings(measurement, store.source().of_tasks, states, tables), datetime.now(UTC))
    path = store.write_file(page_name(measurement.name), page.encode())
    return path, {str(state): count for state, count in states["state"].value_counts(sort=True).iter_rows()}


def _rows(connection: duckdb.DuckDBPyConnection, table: str, measurement: Measurement) -> pl.DataFrame:
    """The measurement's own rows; of the tasks, those that have utilities."""
    own = f"where {'experiment' if table in PROBES else 'measurement'} = $name"
    if table == TASKS:
        own = f"where task_id in (select task_id from preferences.current_utilities {own})"
    return connection.sql(f"from {table} {own}", params={"name": measurement.name}).pl()
