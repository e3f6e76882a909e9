"""What is noticed of a step's Job and pod, and how long the API server is waited for, on the loopback cluster."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import SimpleNamespace

import kubernetes as k8s
import pytest
import urllib3
from dagster_k8s.models import k8s_model_from_dict, k8s_snake_case_dict
from kubernetes.client.models import V1Job
from kubernetes.client.rest import ApiException

from prefassets.resources.kubernetes_steps import Patience, PatientClient, WatchedSteps, cause, has_failed, waiting
from prefassets_tests.loopback.client import Loopback, job, loopback_clusters
from prefassets_tests.loopback.cluster import Node

GPU = {"limits": {"nvidia.com/gpu": "1"}}


@pytest.fixture
def loopback(tmp_path: Path) -> Iterator[Loopback]:
    with loopback_clusters(tmp_path) as make:
        yield make(Node("node-1"))


def client(loopback: Loopback, token: str | None = None, **patience: float) -> PatientClient:
    k8s.client.Configuration.set_default(loopback.server.client(token).configuration)
    return PatientClient.of_default_cluster(Patience(between=0.1, **patience))


def made(name: str, script: str) -> V1Job:
    """A Job as dagster_k8s hands it over: a model, not a manifest."""
    return k8s_model_from_dict(V1Job, k8s_snake_case_dict(V1Job, job(name, script)))


def failed(loopback: Loopback, name: str) -> str:
    """What is said of a Job once it has failed."""
    loopback.finished(name)
    return cause(loopback.batch.read_namespaced_job(name, "default"), loopback.pods(name))


def test_a_pod_that_no_node_has_room_for_waits_for_that_and_is_not_broken(loopback: Loopback) -> None:
    loopback.run("train", "true", resources=GPU)
    loopback.wait(lambda: loopback.pod("train").status.conditions)
    found = waiting(loopback.pod("train"))
    assert found
    assert found.reason == "Unschedulable: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    assert (found.broken, found.seconds < 10) == (False, True)


def test_a_pod_whose_image_or_secret_is_missing_is_broken_and_says_what(loopback: Loopback) -> None:
    loopback.cluster.missing_images.add("ghost:1")
    loopback.run("ghost", "true", image="ghost:1")
    loopback.wait(lambda: loopback.state("ghost").waiting.reason == "ImagePullBackOff")
    found = waiting(loopback.pod("ghost"))
    assert found
    assert (found.broken, "ghost:1" in found.reason) == (True, True)
    loopback.run("bare", "true", envFrom=[{"secretRef": {"name": "keys"}}])
    loopback.wait(lambda: loopback.state("bare").waiting.reason == "CreateContainerConfigError")
    found = waiting(loopback.pod("bare"))
    assert found
    assert (found.broken, found.reason) == (True, 'CreateContainerConfigError: secret "keys" not found')


def test_a_pod_that_runs_or_is_being_deleted_does_not_wait(loopback: Loopback) -> None:
    loopback.run("runs", "sleep 60")
    loopback.wait(lambda: loopback.state("runs").running)
    assert waiting(loopback.pod("runs")) is None


def test_a_failed_job_says_what_ended_its_pod(loopback: Loopback) -> None:
    for name in ("hungry", "evicted", "lost"):
        loopback.run(name, "sleep 60")
        loopback.wait(lambda name=name: loopback.state(name).running)
    pods = {name: loopback.pod(name).metadata.name for name in ("hungry", "evicted", "lost")}
    loopback.cluster.kill("default", pods["hungry"], out_of_memory=True)
    loopback.cluster.evict("default", pods["evicted"])
    assert failed(loopback, "hungry") == f"its pod {pods['hungry']} on node node-1 ended with exit code 137 (OOMKilled)"
    assert failed(loopback, "evicted").endswith("failed: Evicted: The node was low on resource: memory.")
    loopback.cluster.kill_node("node-1")
    assert "DeletionByTaintManager" in failed(loopback, "lost")


def test_a_job_past_its_deadline_says_so_though_its_pod_is_gone(loopback: Loopback) -> None:
    loopback.run("slow", "sleep 60", activeDeadlineSeconds=1)
    loopback.finished("slow")
    loopback.wait(lambda: not loopback.pods("slow"))
    assert "DeadlineExceeded: Job was active longer than specified deadline" in failed(loopback, "slow")


@pytest.mark.parametrize("fault", ["refusing", "failing", "silent"])
def test_a_job_is_made_once_the_api_server_is_back(loopback: Loopback, fault: str) -> None:
    patient = client(loopback, outage=20, request=0.3)
    with ThreadPoolExecutor(1) as thread:
        with getattr(loopback.server, fault)():
            making = thread.submit(patient.create_namespaced_job_with_retries, made("late", "true"), "default")
            assert wait([making], timeout=1.5).not_done
        making.result(timeout=10)
    assert loopback.cluster.jobs_created == ["late"]
    assert loopback.finished("late").type == "Complete"


def test_an_outage_longer_than_the_patience_is_an_error(loopback: Loopback) -> None:
    patient = client(loopback, outage=0.5)
    with loopback.server.refusing(), pytest.raises(urllib3.exceptions.HTTPError, match="refused"):
        patient.create_namespaced_job_with_retries(made("late", "true"), "default")


def test_what_is_forbidden_is_an_error_at_once(loopback: Loopback) -> None:
    token = loopback.cluster.add_service_account("default", "nobody")
    with pytest.raises(ApiException, match="forbidden"):
        client(loopback, token).create_namespaced_job_with_retries(made("late", "true"), "default")


@pytest.mark.parametrize("script", ["sleep 60", "exit 1"])
def test_a_job_that_is_there_already_is_kept_whatever_became_of_it(loopback: Loopback, script: str) -> None:
    """Made by a request whose answer was lost, or by a run's pod that has died since."""
    loopback.run("there", script)
    client(loopback).create_namespaced_job_with_retries(made("there", "true"), "default")
    assert loopback.cluster.jobs_created == ["there"]


def test_a_question_to_a_silent_server_has_a_time_limit(loopback: Loopback) -> None:
    patient = client(loopback, request=0.2)
    started = time.monotonic()
    with loopback.server.silent(), pytest.raises(urllib3.exceptions.HTTPError):
        patient.find_job("any", "default")
    assert time.monotonic() - started < 5


def test_a_job_that_gets_no_pod_is_given_up_in_time_says_why_and_is_deleted(loopback: Loopback) -> None:
    """As where a quota or admission refuses its pod: nothing ever counts as failed then."""
    loopback.run("orphan", "true", serviceAccountName="nobody")
    handler = SimpleNamespace(
        _get_k8s_step_job_name=lambda _: "orphan",
        _get_container_context=lambda _: SimpleNamespace(namespace="default"),
    )
    steps = WatchedSteps(handler, Patience(start=4), client(loopback))  # type: ignore[arg-type]
    said: list[str] = []
    steps._say = lambda *told: said.append(told[-1])  # type: ignore[method-assign]
    assert steps.check_step_health(None).is_healthy  # type: ignore[arg-type]

    def given_up() -> bool:
        found = steps.check_step_health(None)  # type: ignore[arg-type]
        said.append(found.unhealthy_reason or "")
        return not found.is_healthy

    loopback.wait(given_up)
    assert said[-1].startswith("a pod did not start within 4 s: Kubernetes has made none yet")
    assert "FailedCreate" in said[-1]
    assert loopback.batch.list_namespaced_job("default").items == []


def test_a_job_that_failed_without_a_pod_to_count_has_failed(loopback: Loopback) -> None:
    loopback.run("orphan", "true", serviceAccountName="nobody", activeDeadlineSeconds=1)
    loopback.wait(lambda: has_failed(loopback.batch.read_namespaced_job("orphan", "default")))
    assert "DeadlineExceeded" in cause(loopback.batch.read_namespaced_job("orphan", "default"), [])
