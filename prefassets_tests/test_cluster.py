"""A study from a backfill in the web page to its verdicts, on the loopback cluster, with its home in a bucket.

The tests are one story in order: each begins where the one before it ended.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from prefassets.resources.files import files_of
from prefassets.resources.store import Store
from prefassets_tests.conftest import SMALL, Home
from prefassets_tests.deployments.chart import NAMESPACE
from prefassets_tests.loopback.cluster import Node
from prefassets_tests.loopback.deployment import Deployment, deployed
from prefassets_tests.loopback.object_storage import ObjectStorage
from prefassets_tests.loopback.two_splits import SPLITS, STUDY

pytestmark = pytest.mark.k8s

COHORTS = ("everyone", "personalisation.A", "personalisation.B", "safety.A")
CELLS = [f"{cohort}|{seed}" for cohort in COHORTS for seed in STUDY.seed_keys]
OTHERS = [cell.key for cell in STUDY.cells if cell.key not in CELLS]
PACKS = {"PREFASSETS_CELLS_PER_PACK": "4"}
SAME_PACK = [key for key in CELLS if key.endswith(f"|{STUDY.seed_keys[0]}")]  # a run of the backfill is of a seed
GPUS = Node("gpu-1", gpus=2, taints=[{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}])
SITE = {"concurrency": {"pools": {"defaultLimit": 2}}}
INSTANCE = {
    "run_monitoring": {"poll_interval_seconds": 5},
    "run_coordinator": {"config": {"dequeue_interval_seconds": 1}},
}
HERE = """
import sys
from prefassets_tests.loopback.two_splits import instead_of_the_demo

instead_of_the_demo()
from prefassets.runs.here import Launcher
from prefassets.resources.cells import unfinished
from prefassets.studies import all_studies

launcher, study = Launcher(), all_studies()["demo"]
if sys.argv[1:] == ["prepare"]:
    list(launcher.prepare(study))
else:
    wanted = [state for state in unfinished(launcher.store, study) if state.cell.key in sys.argv]
    list(launcher.train(study, wanted))
    launcher.judge()
"""


@dataclass
class Laptop:
    """A machine outside the cluster: it knows the home, the web server, and keys of the bucket."""

    folder: Path
    home: str
    dagster: str
    keys: Mapping[str, str]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "prefassets_tests.loopback.two_splits", *arguments]
        told = {"PREFASSETS_HOME": self.home, "PREFASSETS_DAGSTER": self.dagster, **self.keys}
        machine = {"HOME": str(self.folder), "PATH": os.environ["PATH"], "PYTHONPATH": os.getcwd()}
        done = subprocess.run(command, env=machine | told, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done

    def missing(self) -> list[str]:
        return self.run("missing", "demo").stdout.split()


@dataclass
class Story:
    """The deployment, its home in the bucket, a laptop, and a home with the same data where cells are trained here."""

    dagster: Deployment
    storage: ObjectStorage
    store: Store
    laptop: Laptop
    trained_here: Callable[[], Store]
    all_trained_here: Callable[[], Store]

    def new_run(self, known: Collection[str], seconds: float = 300, **tags: str) -> str:
        """Id of the newest run that is not `known` and has these tags, once there is one."""

        def found() -> list[str]:
            runs = [run for run in self.dagster.runs() if run["runId"] not in known]
            return [run["runId"] for run in runs if all(run["tags"].get(name) == tag for name, tag in tags.items())]

        return self.dagster.cluster.wait(found, seconds, f"a run with {tags}")[-1]

    def known(self) -> set[str]:
        return {run["runId"] for run in self.dagster.runs()}

    def ended(self, run: str, seconds: float = 480) -> str:
        return self.dagster.wait_for(run, "SUCCESS", "FAILURE", "CANCELED", seconds=seconds)

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


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("cluster")
    here = Home(folder / "here")

    def start(*arguments: str, **settings: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", HERE, *arguments], env=here.environment | settings)

    assert start("prepare", PREFASSETS_SCALE=SMALL).wait(600) == 0
    with ObjectStorage() as storage, pytest.MonkeyPatch.context() as patch:
        for name, value in storage.environment.items():
            patch.setenv(name, value)
        home = storage.new_home()
        bucket = files_of(home, str(folder / "seen"))
        for name in files_of(str(here.folder), "").listing():
            if not name.startswith("dagster/"):
                bucket.write(name, (here.folder / name).read_bytes())
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
            training = start(*SAME_PACK, **PACKS)

            def trained_here() -> Store:
                assert training.wait(300) == 0
                return Store(home=str(here.folder))

            def all_trained_here() -> Store:
                assert start(*OTHERS, *CELLS).wait(300) == 0
                return Store(home=str(here.folder))

            store = Store(home=home, local=str(folder / "seen"))
            laptop = Laptop(folder / "laptop", home, dagster.url, keys)
            yield Story(dagster, storage, store, laptop, trained_here, all_trained_here)
            training.kill()


def test_a_backfill_of_twelve_cells_is_a_gpu_job_for_each_step(story: Story) -> None:
    """Although the object storage answers 503 to everything for a while, as soon as training begins.

    Dagster makes a run of each seed of a backfill: it names a run's cells by a range, and seeds come first in it.
    """
    backfill = story.dagster.backfill([("demo", "adapters"), ("demo", "margins")], CELLS)
    story.pod(story.new_run((), **{"dagster/backfill": backfill}))
    story.storage.forget()
    story.dagster.cluster.wait(lambda: story.storage.count("GET", "artifacts/models"), 300, "training")
    before = len(story.storage.requests)
    story.storage.busy(seconds=12)
    runs = [run["runId"] for run in story.dagster.runs() if run["tags"].get("dagster/backfill") == backfill]
    assert len(runs) == len(STUDY.seeds)
    for run in runs:
        assert story.ended(run) == "SUCCESS", story.dagster.told(run)
        (run_job,) = story.jobs(run, "run_worker")
        assert "nvidia.com/gpu" not in str(run_job)
        steps = story.jobs(run, "step_worker")
        assert len(steps) == 2
        for job in steps:
            (container,) = job["spec"]["template"]["spec"]["containers"]
            assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert len(story.storage.requests) > before


def test_each_cell_says_where_it_was_trained(story: Story) -> None:
    rows = story.store.query("from training.cells where study = 'demo'").to_dicts()
    assert sorted(f"{row['cohort']}|{row['seed']}" for row in rows) == sorted(CELLS)
    jobs = {job["metadata"]["name"] for run in story.known() for job in story.jobs(run, "step_worker")}
    runs = story.known()
    for row in rows:
        assert row["run_id"] in runs
        assert row["pod"].rpartition("-")[0] in jobs
        assert row["node"] == "gpu-1"
        assert row["image"].startswith("registry.example/prefassets@sha256:")
        assert row["device"] == "cpu"
        assert row["seconds"] > 0
        assert row["cells_in_pack"] == 4


def test_the_same_packs_give_the_same_adapters_as_here(story: Story) -> None:
    """Byte for byte, wherever they are trained."""
    digests = "select cohort, seed, sha256 from training.adapters where study = 'demo' order by all"
    here = story.trained_here().query(digests)
    assert len(here) == len(SAME_PACK) == int(PACKS["PREFASSETS_CELLS_PER_PACK"])
    assert set(here.rows()) <= set(story.store.query(digests).rows())


def test_verdicts_follow_in_one_pod_although_it_is_killed(story: Story) -> None:
    """The sensor starts a run without a GPU; run monitoring gives it another pod, and the run makes all of it."""
    run = story.new_run((), 300, **{"dagster/sensor_name": "after_any_change"})
    pod = story.pod(run, "run_worker")
    story.dagster.cluster.wait(lambda: "STEP_SUCCESS" in kinds(story, run), 300, "the run at work")
    killed = time.time()
    story.dagster.cluster.kill(NAMESPACE, pod)
    assert story.ended(run) == "SUCCESS", story.dagster.told(run)
    print(f"resumed: {time.time() - killed:.0f} s from the kill to the end of run {run}")
    assert len(story.jobs(run, "run_worker")) == 2
    assert story.jobs(run, "step_worker") == []
    settled(story)
    with duckdb.connect(str(story.store.local_file("warehouse.duckdb")), read_only=True) as database:
        cells = "select count(*), count(distinct (cohort, seed)) from training.cells where study = 'demo'"
        assert database.execute(cells).fetchall() == [(len(CELLS), len(CELLS))]
        assert database.execute("select count(*) from verdicts.verdict where study = 'demo'").fetchall() == [
            (len(SPLITS),)
        ]
    assert b"personalisation" in Path(story.store.local_file("reports/demo.html") or "").read_bytes()


def kinds(story: Story, run: str) -> list[str]:
    """Kinds of events that Dagster logged of a run."""
    return [event["eventType"] for event in story.dagster.events(run) if "eventType" in event]


def settled(story: Story, seconds: float = 240) -> None:
    """Wait until the sensor has nothing left to do: its last run has seen every cell that is finished."""
    finished = "select count(*), (select count(*) from training.margins where study = 'demo') from training.cells"

    def done() -> bool:
        runs = story.dagster.runs()
        if any(run["status"] not in ("SUCCESS", "FAILURE", "CANCELED") for run in runs):
            return False
        assert "FAILURE" not in [run["status"] for run in runs if "dagster/sensor_name" in run["tags"]]
        published = story.store.local_file("warehouse.duckdb")
        if published is None:
            return False
        with duckdb.connect(str(published), read_only=True) as database:
            return database.execute(finished).fetchall() == story.store.query(finished).rows()

    story.dagster.cluster.wait(done, seconds, "verdicts")


def test_cells_that_a_failed_pod_left_missing_are_finished_by_one_command(story: Story) -> None:
    """The pod dies at each of its tries; then two runs of the same cells, at once."""
    assert sorted(story.laptop.missing()) == sorted(OTHERS)
    known = story.known()
    story.laptop.run("missing", "demo", "--launch")
    run, killed = story.new_run(known, **{"prefassets/home": story.laptop.home}), []
    for _ in range(3):
        killed.append(story.pod(run, but=killed))
        story.dagster.cluster.kill(NAMESPACE, killed[-1])
    assert story.ended(run) == "FAILURE"
    assert f"its pod {killed[-1]} on node gpu-1 ended with exit code 137" in story.dagster.told(run)
    assert sorted(story.laptop.missing()) == sorted(OTHERS)

    known = story.known()
    first = story.laptop.run("missing", "demo", "--launch")
    one = story.new_run(known, **{"prefassets/home": story.laptop.home})
    assert f"run {one[:8]} is queued: {len(OTHERS)} cells of demo" in first.stderr
    assert (
        f"of {len(OTHERS)} cells {len(OTHERS)} are in flight: run {one[:8]}"
        in story.laptop.run("missing", "demo").stderr
    )
    story.laptop.run("missing", "demo", "--launch", "--again")
    two = story.new_run({*known, one}, **{"prefassets/home": story.laptop.home})
    assert [story.ended(one), story.ended(two)] == ["SUCCESS", "SUCCESS"]
    assert story.laptop.missing() == []
    for table in ("training.cells", "training.adapters"):
        cells = f"select count(*), count(distinct (cohort, seed)) from {table} where study = 'demo'"
        assert story.store.query(cells).rows() == [(len(STUDY.cells), len(STUDY.cells))]
    twice = "select cohort, seed, pair_id from training.margins where study = 'demo' group by all having count(*) > 1"
    assert story.store.query(twice).is_empty()
    print([line for run in (one, two) for line in story.logs(run).splitlines() if "its result stands" in line][:3])


def test_margins_and_verdicts_are_those_of_a_laptop(story: Story) -> None:
    """There, the cells that are not in a pack of four were trained in one pack; here, all in other packs of four."""
    settled(story)
    margins = "select cohort, seed, pair_id, margin from training.margins where study = 'demo' order by all"
    states = "select split, state from verdicts.verdict where study = 'demo' order by all"
    there, here = story.all_trained_here(), story.store
    both = there.query(margins).join(here.query(margins), on=["cohort", "seed", "pair_id"], validate="1:1")
    assert len(both) == len(there.query(margins)) == len(here.query(margins))
    assert both.select((pl.col("margin") - pl.col("margin_right")).abs().max()).item() < 1e-4
    assert here.query(states).rows() == there.query(states).rows()
    assert len(here.query(states)) == len(SPLITS)


PAGE = Path("deployments/README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("prefassets ")])
def test_the_owner_s_page_is_true_on_the_laptop(story: Story, command: str) -> None:
    done = story.laptop.run(*shlex.split(command)[1:])
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("kubectl") and " get " in line])
def test_the_owner_s_page_is_true_in_the_cluster(story: Story, tmp_path: Path, command: str) -> None:
    environment = os.environ | {"KUBECONFIG": str(story.dagster.server.kubeconfig(tmp_path / "config"))}
    done = subprocess.run(shlex.split(command), env=environment, capture_output=True, text=True, timeout=60, check=True)
    for pod in ("code", "daemon", "webserver"):
        assert re.search(rf"^(pod/)?{pod}\s", done.stdout, flags=re.MULTILINE)
