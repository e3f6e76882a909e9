"""`reports/arena.html`: what a home holds of Arena, read for its page, and the page."""

from datetime import UTC, datetime

import duckdb

from prefassets.resources.reports import page_name
from prefassets.resources.store import Store

NAME = "arena"
READS = (
    "arena.part",
    "arena.dropped",
    "arena.recipe",
    "arena.adapter",
    "arena.curve",
    "arena.comparison",
    "arena.difference",
    "arena.breakdown",
    "arena.confusion",
    "arena.calibration",
    "arena.reading",
    "arena.sweep",
    "arena.training_analysis",
)


def write_page(store: Store, connection: duckdb.DuckDBPyConnection) -> tuple[str, dict[str, int]]:
    """Make the page from the tables `READS` of `connection`; returns its path, and how many recipes by state."""
    from prefassets.report.arena_page import ArenaFindings, render  # matplotlib takes a second: only where it is made

    tables = {table: connection.sql(f"from {table}").pl() for table in READS}
    page = render(ArenaFindings(store.source().of_battles, tables), datetime.now(UTC))
    path = store.write_file(page_name(NAME), page.encode())
    states = tables["arena.sweep"]["state"].value_counts(sort=True)
    return path, {str(state): count for state, count in states.iter_rows()}
