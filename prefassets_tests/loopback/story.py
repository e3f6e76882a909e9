"""Studies on the loopback cluster with their home in a bucket, beside a laptop that trains the same cells by itself.

Tests of a story are in order: each begins where the one before it ended.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from prefassets.resources.files import files_of
from prefassets.resources.store import Store
from prefassets_tests.conftest import Home, made_once
from prefassets_tests.deployments.chart import NAMESPACE
from prefassets_tests.loopback.cluster import Node
from prefassets_tests.loopback.deployment import Deployment, deployed
from prefassets_tests.loopback.fork_server import TRAINING
from prefassets_tests.loopback.object_storage import ObjectStorage
from prefassets_tests.loopback.short_study import SPLITS, STUDY

COHORTS = ("everyone", "personalisation.A", "personalisation.B", "safety.A", "safety.B", "age.A")
CELLS = [f"{cohort}|{seed}" for cohort in COHORTS for seed in STUDY.seed_keys]
OTHERS = [cell.key for cell in STUDY.cells if cell.key not in CELLS]
CELLS_PER_PACK = 6
SCALE = "0.05"  # of PRISM: three hundred pairs in each group, with which all splits are found
SAME_PACK = [key for key in CELLS if key.endswith(f"|{STUDY.seed_keys[0]}")]  # a run of a backfill is of a seed
OTHER_SEED = [key for key in CELLS if key not in SAME_PACK]
OTHER_PACKS = OTHER_SEED[::2], OTHER_SEED[1::2]
GPUS = Node("gpu-1", gpus=2, taints=[{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}])
SITE = {"concurrency": {"pools": {"defaultLimit": 2}}}
INSTANCE = {
    "run_monitoring": {"poll_interval_seconds": 5},
    "run_coordinator": {"config": {"dequeue_interval_seconds": 1}},
}
HERE = """
import sys
from prefassets_tests.loopback.short_study import instead_of_the_demo

instead_of_the_demo()
from prefassets.runs.here import Launcher
from prefassets.resources.cells import unfinished
from prefassets.studies import all_studies

launcher, study = Launcher(), all_studies()["demo"]
if sys.argv[1:] == ["prepare"]:
    list(launcher.prepare(study))
else:
    for pack in sys.argv[1:]:
        wanted = [state for state in unfinished(launcher.store, study) if state.cell.key in pack.split()]
        list(launcher.train(study, wanted))
    launcher.judge()
"""


def here(home: Home, *arguments: str, **settings: str) -> subprocess.Popen[bytes]:
    """A process that works on a home on this machine: `prepare`s it, or trains packs of cells, then judges."""
    return subprocess.Popen([sys.executable, "-c", HERE, *arguments], env=home.environment | settings)


@pytest.fixture(scope="session")
def prepared_home(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Home:
    """A home with all that cells are trained from. Read-only: copy it."""

    def make(folder: Path) -> None:
        assert here(Home(folder), "prepare", PREFASSETS_SCALE=SCALE).wait(600) == 0

    return Home(made_once(tmp_path_factory, worker_id, "prepared", make))


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory: pytest.TempPathFactory, worker_id: str, prepared_home: Home) -> Home:
    """The same with twelve cells, trained in three packs, and what is judged of them. Read-only: copy it."""

    def make(folder: Path) -> None:
        shutil.copytree(prepared_home.folder, folder)
        assert here(Home(folder), *map(" ".join, (SAME_PACK, *OTHER_PACKS))).wait(600) == 0

    return Home(made_once(tmp_path_factory, worker_id, "trained", make))


@dataclass
class Laptop:
    """A machine outside the cluster: it knows the home, the web server, and keys of the bucket."""

    folder: Path
    home: str
    dagster: str
    keys: Mapping[str, str]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "prefassets_tests.loopback.short_study", *arguments]
        told = {"PREFASSETS_HOME": self.home, "PREFASSETS_DAGSTER": self.dagster, **self.keys}
        machine = {"HOME": str(self.folder), "PATH": os.environ["PATH"], "PYTHONPATH": os.getcwd()}
        done = subprocess.run(command, env=machine | told, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done

    def missing(self) -> list[str]:
        return self.run("missing", "demo").stdout.split()


@dataclass
class Story:
    """The deployment, its home in the bucket, and a laptop."""

    dagster: Deployment
    storage: ObjectStorage
    store: Store
    laptop: Laptop

    def new_run(self, known: Collection[str], seconds: float = 300, **tags: str) -> str:
        """Id of the newest run that is not `known` and has these tags, once there is one."""

        def found() -> list[str]:
            runs = [run for run in self.dagster.runs() if run["runId"] not in known]
            return [run["runId"] for run in runs if all(run["tags"].get(name) == tag for name, tag in tags.items())]

        return self.dagster.wait(found, seconds, f"a run with {tags}")[-1]

    def known(self) -> set[str]:
        return {run["runId"] for run in self.dagster.runs()}

    def ended(self, run: str, seconds: float = 480) -> str:
        return self.dagster.wait_for(run, "SUCCESS", "FAILURE", "CANCELED", seconds=seconds)

    def kinds(self, run: str) -> list[str]:
        """Kinds of events that Dagster logged of a run."""
        return [event["eventType"] for event in self.dagster.events(run) if "eventType" in event]

    def jobs(self, run: str, component: str) -> list[dict[str, Any]]:
        """A run's Jobs: its `run_worker`s or its `step_worker`s."""
        labels = {"dagster/run-id": run, "app.kubernetes.io/component": component}
        every = self.dagster.cluster.objects("jobs", NAMESPACE)
        return [job for job in every if labels.items() <= job["metadata"]["labels"].items()]

    def pod(self, run: str, component: str = "step_worker", but: Collection[str] = ()) -> str:
        """The running pod of a run, or of the step that it has at work."""

        def running() -> list[str]:
            labels = {"dagster/run-id": run, "app.kubernetes.io/component": component}
            return [pod for pod in self.dagster.cluster.running(**labels) if pod not in but]

        return self.dagster.cluster.wait(running, 300, f"a {component} of {run}")[-1]

    def logs(self, run: str) -> str:
        """What a run's pods printed."""
        pods = self.dagster.cluster.objects("pods", NAMESPACE)
        names = [pod["metadata"]["name"] for pod in pods if pod["metadata"]["labels"].get("dagster/run-id") == run]
        return "\n".join(line for name in names for _, line in self.dagster.cluster.logs(NAMESPACE, name).lines)

    def settled(self, seconds: float = 480) -> None:
        """Wait until verdicts have seen all that ever ran.

        Either a run of the sensor's began after all others had ended, or the sensor, which looks twice a minute, has
        looked since then and asks for nothing more.
        """

        def done() -> bool:
            runs = self.dagster.runs()
            if any(run["status"] not in ("SUCCESS", "FAILURE", "CANCELED") for run in runs):
                return False
            judging = [run for run in runs if "dagster/sensor_name" in run["tags"]]
            assert "FAILURE" not in [run["status"] for run in judging]
            if any(run["startTime"] > max(run["endTime"] for run in runs if run not in judging) for run in judging):
                return True
            tick = self.dagster.last_tick("after_any_change")
            return tick is not None and tick["timestamp"] > max(run["endTime"] for run in runs) and not tick["runIds"]

        self.dagster.wait(done, seconds, "verdicts")
        finished = "select count(*), (select count(*) from training.margins where study = 'demo') from training.cells"
        with duckdb.connect(str(self.store.local_file("warehouse.duckdb")), read_only=True) as database:
            assert database.execute(finished).fetchall() == self.store.query(finished).rows()

    def is_as_on(self, laptop: Store) -> None:
        """Margins and verdicts of the demo are those of a home on a laptop where the same cells were trained."""
        margins = "select cohort, seed, pair_id, margin from training.margins where study = 'demo' order by all"
        states = "select split, state from verdicts.verdict where study = 'demo' order by all"
        there, here = laptop, self.store
        both = there.query(margins).join(here.query(margins), on=["cohort", "seed", "pair_id"], validate="1:1")
        assert len(both) == len(there.query(margins)) == len(here.query(margins)) > 0
        assert both.select((pl.col("margin") - pl.col("margin_right")).abs().max()).item() < 1e-4
        assert here.query(states).rows() == there.query(states).rows()
        assert len(here.query(states)) == len(SPLITS)


@contextmanager
def begun(folder: Path, home: Home) -> Iterator[Story]:
    """A story whose home in the bucket begins with what `home` holds."""
    with ObjectStorage() as storage, pytest.MonkeyPatch.context() as patch:
        for name, value in storage.environment.items():
            patch.setenv(name, value)
        url, keys = storage.new_home(), {**storage.environment}
        bucket = files_of(url, str(folder / "seen"))
        for name in files_of(str(home.folder), "").listing():
            if not name.startswith("dagster/"):
                bucket.write(name, (home.folder / name).read_bytes())
        with deployed(
            folder,
            "prefassets_tests.loopback.hurried_definitions",
            (Node("cpu-1"), GPUS),
            site=SITE,
            instance=INSTANCE,
            settings={
                "PREFASSETS_HOME": url,
                "PREFASSETS_GPU_NODES": "{}",
                "PREFASSETS_CELLS_PER_PACK": str(CELLS_PER_PACK),
            },
            secret=keys,
            imports=TRAINING,
        ) as dagster:
            store = Store(home=url, local=str(folder / "seen"))
            yield Story(dagster, storage, store, Laptop(folder / "laptop", url, dagster.url, keys))
