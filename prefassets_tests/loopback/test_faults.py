"""What goes wrong in clusters ends well or says why: Dagster's daemon, queue and executor on a loopback cluster.

The steps are those of `toy.py`; GPU steps share one slot of the pool `gpu`, as shipped. What dagster_k8s' own launcher
and executor do instead is in the docstrings of `prefassets/resources/kubernetes_steps.py` and `kubernetes_runs.py`; the
job `bare` there shows it.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefassets_tests.deployments.chart import NAMESPACE
from prefassets_tests.loopback.deployment import Deployment, deployed
from prefassets_tests.loopback.faults import monitored, step_pod, work

pytestmark = pytest.mark.k8s

NOTICED_WITHIN = 20 + 20  # the executor asks every 20 s; the rest is what a busy machine of tests takes
START_SECONDS = 10
SLOT_WITHIN = 10 + 20  # a waiting step asks for a slot ever more seldom, every 10 s at last
CANNOT_START = {
    "too_large": "Unschedulable: 0/2 nodes are available: 2 Insufficient nvidia.com/gpu.",
    "ghost": 'ImagePullBackOff: Back-off pulling image "registry.example/ghost:1"',
}


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("faults")
    patience = {"PREFASSETS_START_SECONDS": str(START_SECONDS)}
    with deployed(folder, instance=monitored(5), settings=patience) as deployment:
        deployment.cluster.missing_images.add("registry.example/ghost:1")
        yield deployment


@pytest.fixture(scope="module")
def cannot_start(dagster: Deployment) -> dict[str, str]:
    """Runs of a step whose pod cannot start, by job; they wait while other tests are at work."""
    return {job: dagster.launch(job, {}) for job in CANNOT_START}


def at_work(dagster: Deployment, marks: Path, seconds: float) -> tuple[str, str]:
    """A run whose GPU step is at work, and that step's pod."""
    run = dagster.launch("toy", work(marks, train=seconds))
    pod = step_pod(dagster, run)
    dagster.cluster.wait(lambda: list(marks.iterdir()), 180, "the step at work")
    return run, pod


def test_a_killed_step_pod_is_noticed_and_tried_again_in_the_slot_that_it_had(
    dagster: Deployment, cannot_start: dict[str, str], tmp_path: Path
) -> None:
    run, pod = at_work(dagster, tmp_path, 5)
    killed = time.time()
    dagster.cluster.kill(NAMESPACE, pod, out_of_memory=True)
    assert dagster.wait_for(run, "SUCCESS", "FAILURE", seconds=150) == "SUCCESS"
    noticed = dagster.moment(run, "STEP_UP_FOR_RETRY")
    assert noticed - killed < NOTICED_WITHIN
    assert dagster.moment(run, "STEP_RESTARTED") - noticed < SLOT_WITHIN
    assert f"its pod {pod} on node gpu-1 ended with exit code 137 (OOMKilled)" in dagster.told(run)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("job", CANNOT_START)
def test_a_pod_that_cannot_start_is_given_up_in_time_and_says_why(
    dagster: Deployment, cannot_start: dict[str, str], job: str
) -> None:
    run = cannot_start[job]
    assert dagster.wait_for(run, "SUCCESS", "FAILURE", seconds=300) == "FAILURE"
    assert f"did not start within {START_SECONDS} s: {CANNOT_START[job]}" in dagster.told(run)
    waited = dagster.moment(run, "STEP_FAILURE") - dagster.moment(run, "STEP_WORKER_STARTING")
    assert waited < START_SECONDS + NOTICED_WITHIN
    pods = dagster.cluster.objects("pods", NAMESPACE)
    assert [pod for pod in pods if pod["metadata"]["labels"].get("dagster/run-id") == run and pending(pod)] == []


def pending(pod: dict) -> bool:
    return pod["status"]["phase"] == "Pending"


def test_a_killed_run_pod_is_replaced_and_its_step_goes_on(dagster: Deployment, tmp_path: Path) -> None:
    run, _ = at_work(dagster, tmp_path, 15)
    dagster.cluster.kill(NAMESPACE, str(dagster.pod(run, "run_worker")))
    assert dagster.wait_for(run, "SUCCESS", "FAILURE", seconds=150) == "SUCCESS"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_run_pod_and_a_step_pod_that_die_together_lose_no_run(dagster: Deployment, tmp_path: Path) -> None:
    run, pod = at_work(dagster, tmp_path, 10)
    for name in (str(dagster.pod(run, "run_worker")), pod):
        dagster.cluster.kill(NAMESPACE, name)
    assert dagster.wait_for(run, "SUCCESS", "FAILURE", seconds=150) == "SUCCESS"
    assert len(list(tmp_path.iterdir())) == 2
