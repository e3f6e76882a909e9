"""A code location of 306 cells whose trainer leaves adapters of a few bytes at once, and a job of many small steps."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from types import ModuleType, SimpleNamespace
from typing import Any

import dagster as dg
import polars as pl

from prefassets.studies import demo
from prefassets_tests.loopback.herd import STEPS, STEPS_AT_ONCE, STUDY

demo.STUDY = STUDY

from prefassets import definitions  # noqa: E402
from prefassets.assets import cells_job, training  # noqa: E402
from prefassets.resources.cells import StudyData, artifact  # noqa: E402
from prefassets.resources.kubernetes_jobs import kubernetes_jobs  # noqa: E402
from prefassets.resources.store import Store  # noqa: E402
from prefassets.resources.tables import TABLES  # noqa: E402
from prefassets.settings import settings  # noqa: E402
from prefassets.studies.study import Cell  # noqa: E402


class FinishedCell(SimpleNamespace):
    """As `domain.training.train` has it."""


def train_cells(cells: Any, data: Any, **how: Any) -> Iterator[FinishedCell]:
    for cell in cells:
        yield FinishedCell(
            key=cell.key,
            files={training.WEIGHTS: cell.key.encode()},
            log=blank("training.log", {"step": 1}, {"step": 2}),
            seconds=0.1,
            engine="none",
            device="none",
            train_pairs=len(cell.pair_ids),
            steps=2,
            tokens=2,
            cells_in_pack=len(cells),
        )


def score(store: Store, data: StudyData, cells: list[Cell]) -> Iterator[tuple[Cell, int]]:
    for cell in cells:
        fingerprint = (store.record(artifact(cell)) or {})["fingerprint"]
        row = {**asdict(cell), "split": cell.split, "user_group": cell.user_group, "fingerprint": fingerprint}
        store.replace("training.margins", blank("training.margins", row), cell.partition)
        yield cell, 1


def blank(table: str, *rows: dict[str, Any]) -> pl.DataFrame:
    """Rows of a table; columns that they leave out are blank."""
    columns = TABLES[table].columns.items()
    empty = {
        name: "" if column.dtype == pl.String else [] if column.dtype.is_nested() else 0 for name, column in columns
    }
    return pl.DataFrame([empty | row for row in rows], schema=TABLES[table].schema)


def _trainer() -> ModuleType:
    """In place of the module that imports torch: with it, every pod would take seconds of a processor to start."""
    made = ModuleType("prefassets.domain.training.train")
    vars(made).update(train_cells=train_cells, FinishedCell=FinishedCell, CellToTrain=_cell_to_train)
    return made


def _cell_to_train(key: str, recipe: Any, pair_ids: tuple[str, ...]) -> SimpleNamespace:
    return SimpleNamespace(key=key, recipe=recipe, pair_ids=pair_ids)


sys.modules["prefassets.domain.training.train"] = _trainer()
vars(training).update(load_training_data=lambda *_: None)
vars(cells_job).update(score=score)

GPU = {"container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}}


@dg.job(executor_def=kubernetes_jobs.configured({"max_concurrent": STEPS_AT_ONCE}))
def crowd() -> None:
    for number in range(STEPS):
        dg.op(name=f"step_{number}", tags={"dagster-k8s/config": GPU})(lambda: None)()


# Without the sensor: verdicts on so many cells would take most of the time.
defs = dg.Definitions(
    jobs=[cells_job.cells_job(STUDY), crowd],
    resources={"store": Store(home=settings().home)},
    executor=definitions.chosen_executor(),
)
