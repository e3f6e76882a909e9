"""A study from a backfill in the web page to its verdicts, on the loopback cluster, with its home in a bucket.

The tests are one story in order: each begins where the one before it ended.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from prefassets.resources.files import files_of
from prefassets.resources.store import Store
from prefassets_tests.conftest import Home
from prefassets_tests.deployments.chart import NAMESPACE
from prefassets_tests.loopback.cluster import Node
from prefassets_tests.loopback.deployment import Deployment, deployed
from prefassets_tests.loopback.object_storage import ObjectStorage
from prefassets_tests.short_demo import demo

pytestmark = pytest.mark.k8s

COHORTS = ("everyone", "personalisation.A", "personalisation.B", "safety.A")
CELLS = [f"{cohort}|{seed}" for cohort in COHORTS for seed in demo.STUDY.seed_keys]
OTHERS = [cell.key for cell in demo.STUDY.cells if cell.key not in CELLS]
PACKS = {"PREFASSETS_CELLS_PER_PACK": "4"}
GPUS = Node("gpu-1", gpus=2, taints=[{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}])
SITE = {"concurrency": {"pools": {"defaultLimit": 2}}}
INSTANCE = {
    "run_monitoring": {"poll_interval_seconds": 5},
    "run_coordinator": {"config": {"dequeue_interval_seconds": 1}},
}
WITHOUT_CELLS = ("home.json", "tables/prism/", "tables/splits/", "tables/evidence/", "tables/studies/")
BASE_MODEL = ("tables/model/base/", "tables/model/reference/", "artifacts/models/")
ADAPTERS = "select cohort, seed, sha256 from training.adapters where study = 'demo'"
MARGINS = "select cohort, seed, pair_id, margin from training.margins where study = 'demo'"
STATES = "select split, state from verdicts.verdict where study = 'demo' order by split"

TRAIN_HERE = """
import sys
import prefassets_tests.short_demo
from prefassets.launch import Launcher
from prefassets.resources.cells import unfinished
from prefassets.studies import all_studies

launcher, study = Launcher(), all_studies()["demo"]
states = [state for state in unfinished(launcher.store, study) if state.cell.key in sys.argv]
for line in launcher.train(study, states):
    print(line)
"""


@dataclass
class Laptop:
    """A machine outside the cluster: it knows the home, the web server, and keys of the bucket."""

    folder: Path
    home: str
    dagster: str
    keys: Mapping[str, str]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "prefassets_tests.short_demo", *arguments]
        told = {"PREFASSETS_HOME": self.home, "PREFASSETS_DAGSTER": self.dagster, **self.keys}
        machine = {"HOME": str(self.folder), "PATH": os.environ["PATH"], "PYTHONPATH": os.getcwd()}
        done = subprocess.run(command, env=machine | told, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done

    def missing(self) -> list[str]:
        return self.run("missing", "demo").stdout.split()


@dataclass
class Story:
    """The deployment, its home in the bucket, a laptop, and the same cells trained here."""

    dagster: Deployment
    storage: ObjectStorage
    store: Store
    laptop: Laptop
    here: Store

    def query(self, sql: str) -> pl.DataFrame:
        return self.store.query(sql)

    def run_of(self, wanted: Callable[[dict[str, Any]], bool], seconds: float = 90) -> str:
        """Id of the newest run of this kind, once there is one."""
        return self.dagster.cluster.wait(
            lambda: [run["runId"] for run in self.dagster.runs() if wanted(run)], seconds, "such a run"
        )[-1]

    def ended(self, run: str, seconds: float = 240) -> str:
        return self.dagster.wait_for(run, "SUCCESS", "FAILURE", "CANCELED", seconds=seconds)

    def step_jobs(self, run: str) -> list[dict[str, Any]]:
        return [
            job for job in self.jobs(run) if job["metadata"]["labels"]["app.kubernetes.io/component"] == "step_worker"
        ]

    def jobs(self, run: str) -> list[dict[str, Any]]:
        every = self.dagster.cluster.objects("jobs", NAMESPACE)
        return [job for job in every if job["metadata"]["labels"]["dagster/run-id"] == run]

    def step_pod(self, run: str, but: str = "") -> str:
        """The running pod of the run's only step at work."""
        return self.dagster.cluster.wait(
            lambda: [
                pod
                for pod in self.dagster.cluster.running(
                    **{"dagster/run-id": run, "app.kubernetes.io/component": "step_worker"}
                )
                if pod != but
            ],
            90,
            "a step at work",
        )[-1]


@pytest.fixture(scope="module")
def story(demo_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("cluster")
    for name in files_of(str(demo_home.folder), "").listing():
        if name.startswith((*WITHOUT_CELLS, *BASE_MODEL)):
            copy = folder / "here" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(demo_home.folder / name, copy)
    environment = Home(folder / "here").environment | PACKS
    with ObjectStorage() as storage, pytest.MonkeyPatch.context() as patch:
        for name, value in storage.environment.items():
            patch.setenv(name, value)
        home = storage.new_home()
        bucket = files_of(home, str(folder / "seen"))
        for name in files_of(str(folder / "here"), "").listing():
            bucket.write(name, (folder / "here" / name).read_bytes())
        keys = {**storage.environment}
        with deployed(
            folder,
            "prefassets_tests.loopback.hurried_definitions",
            (Node("cpu-1"), GPUS),
            site=SITE,
            instance=INSTANCE,
            settings={"PREFASSETS_HOME": home, "PREFASSETS_GPU_NODES": "{}", **PACKS},
            secret=keys,
        ) as dagster:
            here = subprocess.Popen([sys.executable, "-c", TRAIN_HERE, *CELLS], env=environment, cwd=os.getcwd())
            yield Story(
                dagster,
                storage,
                Store(home=home, local=str(folder / "seen")),
                Laptop(folder / "laptop", home, dagster.url, keys),
                Store(home=str(folder / "here")),
            )
            assert here.wait(300) == 0


def test_a_backfill_of_twelve_cells_is_a_gpu_job_for_each_step(story: Story) -> None:
    """Although the object storage answers 503 to everything for a while, as soon as training begins."""
    story.dagster.backfill([("demo", "adapters"), ("demo", "margins")], CELLS)
    run = story.run_of(lambda run: "dagster/backfill" in run["tags"])
    story.step_pod(run)
    story.storage.forget()
    story.dagster.cluster.wait(lambda: story.storage.count("GET", "artifacts/models"), 60, "training")
    story.storage.busy(seconds=12)
    assert story.ended(run) == "SUCCESS"
    (run_job,) = [job for job in story.jobs(run) if job not in story.step_jobs(run)]
    steps = story.step_jobs(run)
    assert len(steps) == 2
    for job in steps:
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert job["spec"]["ttlSecondsAfterFinished"] > 0
    assert "nvidia.com/gpu" not in str(run_job)
