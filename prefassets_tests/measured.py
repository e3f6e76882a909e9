"""A small measurement of planted utilities at an endpoint, and what runs it on a home without all other assets.

`python -m prefassets_tests.measured HOME` measures it in a process that can be killed.
"""

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg
import polars as pl

from prefassets.assets.measurements import measurement_assets
from prefassets.assets.preferences import measurements
from prefassets.domain.preferences.active_learning import Plan
from prefassets.domain.preferences.measurement import Measurement, Revealed, Stated
from prefassets.domain.preferences.template import Template
from prefassets.measurements import all_measurements
from prefassets.resources import models
from prefassets.resources.store import Store
from prefassets.resources.tables import TABLES
from prefassets.runs.here import Launcher
from prefassets.runs.measuring import measure
from prefassets.settings import Settings

AT_ONCE = 4
ALL = Plan(policy="all", samples=2)
PLAIN, XML, TOOL = Template(), Template(response_format="xml"), Template(response_format="tool_use")


def planted(name: str = "planted", plan: Plan = ALL, templates: Any = (PLAIN, XML, TOOL), **how: Any) -> Measurement:
    """A measurement of `made_tasks` at the endpoint that the environment names."""
    same = {"question": "?", "model": "planted", "backend": "endpoint", "tasks": 20, "origins": ("MATH", "ALPACA")}
    return Measurement(name=name, revealed=Revealed(templates=templates, plan=plan), **{**same, **how})


SMALL = planted("small", templates=(PLAIN, XML), tasks=8, stated=Stated())


def made_tasks(count: int = 20) -> pl.DataFrame:
    """Rows of `tasks.tasks`, by turns of two origins."""
    rows = [
        {"task_id": f"task-{number:02}", "origin": ("MATH", "ALPACA")[number % 2], "text": f"Do thing {number:02}!"}
        for number in range(count)
    ]
    return pl.DataFrame([row | {"topic": None} for row in rows], schema=TABLES["tasks.tasks"].schema)


def utilities() -> dict[str, float]:
    """Planted utilities of the tasks, -2 to 2 in no order, by text."""
    return {text: -2 + 4 * (number * 7 % 20) / 19 for number, text in enumerate(made_tasks()["text"])}


class Measuring(Launcher):
    """`Launcher` with these measurements' assets alone, on a home and Dagster's record of its own."""

    def __init__(self, store: Store, instance: dg.DagsterInstance, *found: Measurement) -> None:
        self.store, self.instance = store, instance
        self.measurements = {measurement.name: measurement for measurement in found}
        assets = [asset for measurement in found for asset in measurement_assets(measurement)]
        definitions = dg.Definitions(assets=[*assets, measurements], resources={"store": self.store})
        self._job = definitions.resolve_implicit_global_asset_job_def()
        if not self.store.parts("tasks.tasks"):
            self.store.replace("tasks.tasks", made_tasks())

    def measure(self, name: str | None = None) -> list[str]:
        """The lines that are said while all (or one) of them are measured."""
        with self.as_files():
            wanted = [self.measurements[name]] if name else self.measurements.values()
            return [line for measurement in wanted for line in measure(self, measurement)]

    @contextmanager
    def as_files(self):
        """While these are the measurements that there are."""
        with (
            patch.dict(all_measurements(), self.measurements, clear=True),
            patch.object(models, "settings", lambda: Settings(**PATIENCE)),
        ):
            yield


PATIENCE = {"requests_at_once": AT_ONCE, "request_seconds": 5, "patience_seconds": 1}


@contextmanager
def measuring_in(folder: Path, *found: Measurement, home: str | None = None):
    """`Measuring` in a folder; with `home`, that is where it is, and the folder has what belongs to it."""
    store = Store(home=home or str(folder / "home"), local=str(folder / "local"))
    with dg.DagsterInstance.ephemeral(settings={"telemetry": {"enabled": False}}) as instance:
        yield Measuring(store, instance, *found)


if __name__ == "__main__":
    with measuring_in(Path(sys.argv[1]), SMALL) as process:
        process.measure()
