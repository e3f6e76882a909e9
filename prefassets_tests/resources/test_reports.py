"""What a page is made of: a study's own rows, of the base model that the home has now."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from prefassets.resources.cells import artifact
from prefassets.resources.reports import READS, wants_page, write_page
from prefassets.resources.store import DataSource
from prefassets.resources.tables import TABLES
from prefassets.studies import demo, wpo_demo

STUDY = wpo_demo.STUDY
OF_PASS = {"reference": STUDY.reference, "base_model": STUDY.base_model, "pair_id": "c.1", "tokens": 1}
WEIGHT = {"old": "0.135", "new": "0.368"}  # exp(-2), exp(-1)


def put(store, table, rows, partition=()):
    """Rows of a table; columns that they leave out are blank."""
    blank = {
        name: None if column.nullable else [] if column.dtype.is_nested() else "" if column.dtype == pl.String else 0
        for name, column in TABLES[table].columns.items()
    }
    rows = pl.DataFrame([blank | row for row in rows], schema=TABLES[table].schema)
    store.replace(table, rows, list(partition))


@pytest.mark.parametrize("now", WEIGHT)
def test_weights_on_a_page_are_those_of_the_base_model_of_now(store, now):
    store.pin(DataSource())
    cell = STUDY.cells[0]
    store.put(artifact(cell), {}, {"fingerprint": "f"})
    of_cell = {"study": cell.study, "cohort": cell.cohort, "finished_at": datetime(2026, 3, 1, tzinfo=UTC)}
    put(store, "training.cells", [of_cell], cell.partition)
    passes = [
        OF_PASS | {"revision": "old", "alignment_sum": -1.0},
        OF_PASS | {"revision": "new", "alignment_sum": -0.5},
    ]
    answers = [row | {"response": response} for row in passes for response in ("chosen", "rejected")]
    own = [row | {"sampling": "T = 1", "answer": answer, "finished": True} for row in passes for answer in (1, 2)]
    put(store, "model.reference", answers, [STUDY.reference])
    put(store, "model.on_policy", own, [STUDY.reference])
    put(store, "model.base", [{"base_model": STUDY.base_model, "revision": now}], [STUDY.base_model])
    put(store, "prism.pairs", [{"pair_id": "c.1", "user_id": "u", "model_name": "m", "score_gap": 5}])

    with store.connect(READS, current=True) as connection:
        write_page(store, STUDY, connection)
    page = Path(store.home, "reports", f"{STUDY.name}.html").read_text()

    said = page[page.index("Pairs of PRISM have a mean weight of") : page.index("does not say how much of the data")]
    other = "old" if now == "new" else "new"
    assert (said.count(WEIGHT[now]), said.count(WEIGHT[other])) == (2, 0)  # PRISM's pairs, and the model's own


def test_a_page_goes_with_the_verdicts_once_a_cell_is_there_and_from_then_on(store):
    store.pin(DataSource())
    cell = STUDY.cells[0]
    assert not wants_page(store, STUDY)
    store.put(artifact(cell), {}, {"fingerprint": "f"})
    assert [wants_page(store, study) for study in (STUDY, demo.STUDY)] == [True, False]
    with store.connect(READS, current=True) as connection:
        write_page(store, STUDY, connection)
    store.discard(artifact(cell))
    assert wants_page(store, STUDY), "the page still says that a cell is finished"


def test_a_page_has_the_probes_of_its_own_study(store):
    store.pin(DataSource())
    cell = STUDY.cells[0]
    store.put(artifact(cell), {}, {"fingerprint": "f"})
    put(store, "training.cells", [{"study": cell.study, "cohort": cell.cohort}], cell.partition)
    for study, target in ((STUDY.name, "chosen"), (demo.STUDY.name, "somewhere_else")):
        scored = {"experiment": study, "target": target, "probe": "logistic", "layer": 2, "metric": "auc"}
        scored |= {"split": "unit", "features": "activations", "note": "one class has no item"}
        put(store, "probes.score", [scored], [study])
    with store.connect(READS, current=True) as connection:
        write_page(store, STUDY, connection)
    page = Path(store.home, "reports", f"{STUDY.name}.html").read_text()
    assert "whether which answer was chosen can be read off: one class has no item." in page
    assert "somewhere" not in page
