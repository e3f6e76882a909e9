"""What goes wrong in clusters ends well or says why: Dagster's daemon, queue and executor on a loopback cluster.

The steps are those of `toy.py`. What dagster_k8s' own launcher and executor do instead is in the docstrings of
`prefassets/resources/kubernetes_steps.py` and `kubernetes_runs.py`; the job `bare` there shows it.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prefassets_tests.deployments.chart import NAMESPACE
from prefassets_tests.loopback.deployment import Deployment, deployed

pytestmark = pytest.mark.k8s
on_one_cluster = pytest.mark.xdist_group("faults")  # in one process of the test run, for they share a deployment

NOTICED_WITHIN = 20 + 5  # the executor asks every 20 s; a Job has failed within a second of its pod
OUTAGE = 60
MONITORED_EVERY = 15
SETTINGS = {
    "concurrency": {"pools": {"granularity": "op", "default_limit": 8}},
    "run_monitoring": {
        "enabled": True,
        "start_timeout_seconds": 900,
        "cancel_timeout_seconds": 300,
        "max_resume_run_attempts": 3,
        "poll_interval_seconds": MONITORED_EVERY,
    },
}


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("faults")
    with deployed(folder, instance=SETTINGS, settings={"PREFASSETS_START_SECONDS": "30"}) as deployment:
        deployment.cluster.missing_images.add("registry.example/ghost:1")
        yield deployment


def work(marks: Path, prepare: float = 0, train: float = 0) -> dict[str, Any]:
    """Run config: seconds that each step takes."""
    return {
        "ops": {
            "prepare": {"config": {"seconds": prepare}},
            "train": {"config": {"seconds": train, "marks": str(marks)}},
        }
    }


def step_pod(dagster: Deployment, run: str, step: str = "train") -> str:
    """The running pod of a step, as soon as it runs."""
    return dagster.cluster.wait(
        lambda: dagster.cluster.running(**{"dagster/run-id": run, "dagster/op": step}), 90, f"step {step}"
    )[-1]


def moment(dagster: Deployment, run: str, kind: str) -> float:
    """When Dagster logged the first event of this kind, in seconds since the epoch."""
    return next(float(event["timestamp"]) / 1000 for event in dagster.events(run) if event.get("eventType") == kind)


def said(dagster: Deployment, run: str) -> str:
    """All that Dagster logged of a run, errors too."""
    lines = []
    for event in dagster.events(run):
        lines += [str(event.get("message")), (event.get("error") or {}).get("message", "")]
    return "\n".join(lines)


@on_one_cluster
def test_a_killed_step_pod_is_noticed_within_the_interval_of_checks_and_tried_again(
    dagster: Deployment, tmp_path: Path
) -> None:
    run = dagster.launch("toy", work(tmp_path, train=15))
    pod = step_pod(dagster, run)
    dagster.cluster.wait(lambda: list(tmp_path.iterdir()), 60, "the step at work")
    killed = time.time()
    dagster.cluster.kill(NAMESPACE, pod, out_of_memory=True)
    assert dagster.wait_for(run, "SUCCESS", "FAILURE", seconds=120) == "SUCCESS"
    assert moment(dagster, run, "STEP_UP_FOR_RETRY") - killed < NOTICED_WITHIN
    assert f"its pod {pod} on node gpu-1 ended with exit code 137 (OOMKilled)" in said(dagster, run)
    assert len(list(tmp_path.iterdir())) == 2


@on_one_cluster
def test_a_killed_run_pod_is_replaced_and_its_step_goes_on(dagster: Deployment, tmp_path: Path) -> None:
    run = dagster.launch("toy", work(tmp_path, train=45))
    step_pod(dagster, run)
    dagster.cluster.wait(lambda: list(tmp_path.iterdir()), 60, "the step at work")
    dagster.cluster.kill(NAMESPACE, str(dagster.pod(run, "run_worker")))
    assert dagster.wait_for(run, "SUCCESS", "FAILURE", seconds=120) == "SUCCESS"
    assert len(list(tmp_path.iterdir())) == 1


@on_one_cluster
def test_a_run_pod_and_a_step_pod_that_die_together_lose_no_run(dagster: Deployment, tmp_path: Path) -> None:
    run = dagster.launch("toy", work(tmp_path, train=10))
    pod = step_pod(dagster, run)
    dagster.cluster.wait(lambda: list(tmp_path.iterdir()), 60, "the step at work")
    for name in (str(dagster.pod(run, "run_worker")), pod):
        dagster.cluster.kill(NAMESPACE, name)
    assert dagster.wait_for(run, "SUCCESS", "FAILURE", seconds=120) == "SUCCESS"
    assert len(list(tmp_path.iterdir())) == 2


@on_one_cluster
@pytest.mark.parametrize(
    ("job", "reason"),
    [
        ("too_large", "Unschedulable: 0/2 nodes are available: 2 Insufficient nvidia.com/gpu."),
        ("ghost", 'ImagePullBackOff: Back-off pulling image "registry.example/ghost:1"'),
    ],
)
def test_a_pod_that_cannot_start_is_given_up_in_time_and_says_why(dagster: Deployment, job: str, reason: str) -> None:
    run = dagster.launch(job, {})
    assert dagster.wait_for(run, "SUCCESS", "FAILURE", seconds=120) == "FAILURE"
    assert f"did not start within 30 s: {reason}" in said(dagster, run)
    assert moment(dagster, run, "STEP_FAILURE") - moment(dagster, run, "STEP_WORKER_STARTING") < 30 + NOTICED_WITHIN
    left = [pod for pod in dagster.cluster.objects("pods", NAMESPACE) if pod["status"]["phase"] == "Pending"]
    assert left == []


@pytest.mark.parametrize("fault", ["refusing", "silent", "failing"])
def test_a_minute_without_an_api_server_costs_no_run(tmp_path: Path, fault: str) -> None:
    """Whether a run is starting, about to start a step, or has one at work."""
    marks = tmp_path / "marks"
    marks.mkdir()
    with deployed(tmp_path, instance=SETTINGS) as dagster:
        at_work = dagster.launch("toy", work(marks, train=OUTAGE + 10))
        between = dagster.launch("toy", work(marks, prepare=20))
        step_pod(dagster, at_work)
        step_pod(dagster, between, "prepare")
        with getattr(dagster.server, fault)():
            starting = dagster.launch("toy", work(marks))
            time.sleep(OUTAGE)
        for run in (at_work, between, starting):
            assert dagster.wait_for(run, "SUCCESS", "FAILURE", seconds=120) == "SUCCESS"
        assert len(list(marks.iterdir())) == 3
        assert len(dagster.cluster.jobs_created) == 3 * 3  # a run, two steps: nothing was started twice
