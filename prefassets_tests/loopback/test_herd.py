"""Three hundred cells at once: never more pods than allowed, few requests to the API server, no Job left behind."""

from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from math import ceil
from pathlib import Path

import pytest

from prefassets.resources.cells import CellState
from prefassets.resources.store import Store
from prefassets.runs.elsewhere import DagsterElsewhere
from prefassets.settings import Settings, settings
from prefassets_tests.deployments.chart import NAMESPACE, shipped
from prefassets_tests.loopback.cluster import Node
from prefassets_tests.loopback.deployment import Deployment, deployed
from prefassets_tests.loopback.herd import STEPS, STEPS_AT_ONCE, STUDY
from prefassets_tests.loopback.object_storage import ObjectStorage

pytestmark = pytest.mark.k8s

GPU_PODS, CELLS_PER_JOB = 4, 64  # so that more runs want a GPU than there are
SITE = {"concurrency": {"pools": {"defaultLimit": GPU_PODS}}}
MOST_RUNS = shipped()["concurrency"]["runs"]["maxConcurrentRuns"]
COMPONENT = "app.kubernetes.io/component"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, dict[str, str]]]:
    """A home in a bucket with just enough for cells to have recipes, and the keys of the bucket."""
    from prefassets_tests.assets.test_cells_job import prepare  # it imports torch: only in the process that needs it

    with ObjectStorage() as storage, pytest.MonkeyPatch.context() as patch:
        for name, value in storage.environment.items():
            patch.setenv(name, value)
        patch.setenv("PREFASSETS_CELLS_PER_JOB", str(CELLS_PER_JOB))
        settings.cache_clear()
        store = Store(home=storage.new_home(), local=str(tmp_path_factory.mktemp("seen")))
        prepare(store)
        yield store, storage.environment
    settings.cache_clear()


@pytest.fixture(scope="module")
def dagster(home: tuple[Store, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    store, keys = home
    folder: Path = tmp_path_factory.mktemp("herd")
    definitions = "prefassets_tests.loopback.herd_definitions"
    nodes = Node("cpu-1"), Node("gpu-1", gpus=GPU_PODS)
    with deployed(folder, definitions, nodes, site=SITE, settings={"PREFASSETS_HOME": store.home}, secret=keys) as made:
        yield made


def test_three_hundred_cells_are_never_more_pods_than_there_are_gpus(
    dagster: Deployment, home: tuple[Store, dict[str, str]]
) -> None:
    store, _ = home
    assert len(STUDY.cells) > 300
    chosen = Settings(home=store.home, dagster=dagster.url)
    before = len(dagster.server.requests)
    list(DagsterElsewhere(chosen).queue(STUDY, [CellState(cell, "missing") for cell in STUDY.cells]))
    runs = [run["runId"] for run in dagster.runs()]
    assert len(runs) == ceil(len(STUDY.cells) / CELLS_PER_JOB) > GPU_PODS
    for run in runs:
        assert dagster.wait_for(run, "SUCCESS", "FAILURE", seconds=480) == "SUCCESS", dagster.told(run)

    cells = "select count(*), count(distinct (cohort, seed)) from training.cells"
    assert store.query(cells).rows() == [(len(STUDY.cells), len(STUDY.cells))]
    assert most_steps_at_once(dagster, *runs) <= GPU_PODS
    assert dagster.cluster.most_at_once({COMPONENT: "step_worker"}) == GPU_PODS
    assert dagster.cluster.most_at_once({COMPONENT: "run_worker"}) <= MOST_RUNS

    requests = dagster.server.requests[before:]
    in_a_second = Counter(int(request.at) for request in requests)
    print(f"{len(requests)} requests, {len(requests) / len(runs):.1f} a run, {max(in_a_second.values())} in a second")
    assert max(in_a_second.values()) <= 2 * MOST_RUNS
    nothing_is_left_behind(dagster, jobs=2 * len(runs))


def test_a_run_of_many_gpu_steps_has_no_more_at_once_than_it_may(dagster: Deployment) -> None:
    run = dagster.launch("crowd", {})
    assert dagster.wait_for(run, "SUCCESS", "FAILURE", seconds=480) == "SUCCESS", dagster.told(run)
    steps = {COMPONENT: "step_worker", "dagster/run-id": run}
    assert sum(steps.items() <= life.labels.items() for life in dagster.cluster.lives.values()) == STEPS
    assert most_steps_at_once(dagster, run) == STEPS_AT_ONCE
    nothing_is_left_behind(dagster, jobs=len(dagster.cluster.jobs_created))


def most_steps_at_once(dagster: Deployment, *runs: str) -> int:
    """The most steps that ever were between the start of their pod and their end.

    Not pods: one whose step has ended takes another second to exit, and holds its GPU until then.
    """
    moments = []
    for run in runs:
        for event in dagster.events(run):
            change = {"STEP_WORKER_STARTING": 1, "STEP_SUCCESS": -1}.get(event.get("eventType", ""), 0)
            moments.append((float(event["timestamp"]) if change else 0.0, change))
    return max(accumulate(change for _, change in sorted(moments)))


def nothing_is_left_behind(dagster: Deployment, jobs: int) -> None:
    """Every Job was made once, has ended, and will be removed by Kubernetes."""
    dagster.cluster.wait(lambda: not any(job["status"].get("active") for job in made(dagster)), 30, "the end of Jobs")
    assert len(made(dagster)) == len(dagster.cluster.jobs_created) == jobs
    assert all(job["spec"]["ttlSecondsAfterFinished"] > 0 for job in made(dagster))


def made(dagster: Deployment) -> list[dict]:
    return dagster.cluster.objects("jobs", NAMESPACE)
