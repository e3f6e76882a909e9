"""`reports/<study>.html`: what a home holds of a study, read for its page, and the page put in its place."""

from datetime import UTC, datetime

import duckdb
import polars as pl

from prefassets.resources.cells import StudyData, cell_states
from prefassets.resources.sql_tables import all_tables
from prefassets.resources.store import Store
from prefassets.studies.study import Study

PROBES = ("probes.reading", "probes.against_baselines", "probes.score", "probes.sweep", "probes.cross")
READS = (
    "training.cells",
    "verdicts.counted",
    "verdicts.gate",
    "verdicts.verdict",
    "verdicts.estimate",
    "verdicts.per_seed",
    "verdicts.transfer",
    "verdicts.learning_curve",
    "verdicts.mid_curve",
    "verdicts.score_gap",
    "verdicts.heterogeneity",
    "verdicts.method_change",
    "verdicts.method_change_count",
    "weights.yardstick",
    "weights.histogram",
    "weights.mean",
    "weights.score_gap",
    "weights.source_model",
    "weights.explained",
    "weights.split",
    "weights.in_training",
    *PROBES,
    "probes.adapter",
    "splits.balance",
    "prism.planted_truth",
)


def wants_page(store: Store, study: Study) -> bool:
    """Whether a page goes with the verdicts of a home: a record of the study is there, or a page to keep true.

    Of any other study all cells are missing, as `missing`, `doctor` and `training.states` say; `report` makes its page.
    """
    return store.size(page_name(study.name)) is not None or bool(store.records(study.name))


def page_name(of: str) -> str:
    """The home's file that is the page of a study or a measurement of this name."""
    return f"reports/{of}.html"


def write_page(store: Store, study: Study, connection: duckdb.DuckDBPyConnection) -> tuple[str, dict[str, int]]:
    """Make a study's page from the tables `READS` of `connection`; returns its path, and cells by state."""
    from prefassets.report.page import Findings, render  # matplotlib takes a second: only where a page is made

    states = cell_states(store, study)
    cells = pl.DataFrame(
        [(state.cell.cohort, state.cell.seed_key, state.state, state.reason) for state in states],
        {"cohort": pl.String, "seed": pl.String, "state": pl.String, "reason": pl.String},
        orient="row",
    )
    revision = StudyData(store, study).base_revision
    tables = {table: _rows(connection, table, study, revision) for table in READS}
    page = render(Findings(study, str(store.source()), cells, tables), datetime.now(UTC))
    path = store.write_file(page_name(study.name), page.encode())
    return path, {str(state): count for state, count in cells["state"].value_counts(sort=True).iter_rows()}


def _rows(connection: duckdb.DuckDBPyConnection, table: str, study: Study, revision: str | None) -> pl.DataFrame:
    """The study's own rows: by its name, its reference pass of this revision of the base model, or its splits."""
    columns = all_tables()[table].columns
    names: dict[str, object]
    if "study" in columns:
        whose, names = "study = $study", {"study": study.name}
    elif "experiment" in columns:
        whose, names = "experiment = $study", {"study": study.name}
    elif "reference" in columns:
        whose = "reference = $reference and revision = $revision"
        names = {"reference": study.reference, "revision": revision}
    else:
        whose, names = "list_contains($splits, split)", {"splits": list(study.expected)}
    return connection.sql(f"from {table} where {whose}", params=names).pl()
