"""The daemon's view of a run's Job, on the loopback cluster."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.launcher.base import WorkerStatus
from dagster._core.test_utils import instance_for_test

from prefassets.resources.kubernetes_runs import PatientRunLauncher
from prefassets_tests.loopback.client import Loopback, loopback_clusters
from prefassets_tests.loopback.cluster import Node

RUN = DagsterRun(job_name="any", run_id=str(uuid.uuid4()), status=DagsterRunStatus.STARTED)
JOB = f"dagster-run-{RUN.run_id}"


@pytest.fixture
def loopback(tmp_path: Path) -> Iterator[Loopback]:
    with loopback_clusters(tmp_path) as make:
        yield make(Node("node-1"))


@pytest.fixture
def launcher(loopback: Loopback, tmp_path: Path) -> Iterator[PatientRunLauncher]:
    config = {
        "service_account_name": "default",
        "instance_config_map": "any",
        "load_incluster_config": False,
        "kubeconfig_file": str(loopback.server.kubeconfig(tmp_path / "kubeconfig")),
        "dagster_home": str(tmp_path),
    }
    settings = {"module": "prefassets.resources.kubernetes_runs", "class": "PatientRunLauncher", "config": config}
    with instance_for_test(overrides={"run_launcher": settings}) as instance:
        yield launcher_of(instance)


def launcher_of(instance: DagsterInstance) -> PatientRunLauncher:
    assert isinstance(instance.run_launcher, PatientRunLauncher)
    return instance.run_launcher


def status(launcher: PatientRunLauncher) -> WorkerStatus:
    return launcher.check_run_worker_health(RUN).status


def test_a_run_whose_pod_died_or_whose_job_is_gone_is_resumed(loopback: Loopback, launcher: PatientRunLauncher) -> None:
    """Run monitoring resumes what is neither running nor successful."""
    assert status(launcher) is WorkerStatus.UNKNOWN
    loopback.run(JOB, "sleep 60")
    loopback.wait(lambda: loopback.state(JOB).running)
    assert status(launcher) is WorkerStatus.RUNNING
    loopback.cluster.kill("default", loopback.pod(JOB).metadata.name)
    loopback.finished(JOB)
    assert status(launcher) is WorkerStatus.FAILED


def test_a_run_that_cannot_be_asked_for_is_not_taken_for_dead(loopback: Loopback, launcher: PatientRunLauncher) -> None:
    loopback.run(JOB, "sleep 60")
    with loopback.server.refusing():
        assert status(launcher) is WorkerStatus.RUNNING
    assert status(launcher) is WorkerStatus.RUNNING
