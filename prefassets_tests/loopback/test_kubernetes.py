"""The loopback cluster behaves as Kubernetes' documentation says, seen through the real client.

All pages are of https://kubernetes.io/docs/.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import kubernetes as k8s
import pytest
import urllib3
from kubernetes.client.rest import ApiException

from prefassets_tests.loopback.client import Loopback, job, loopback_clusters
from prefassets_tests.loopback.cluster import Node

GPU = {"limits": {"nvidia.com/gpu": "1"}}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Loopback]]:
    with loopback_clusters(tmp_path) as make:
        yield make


@pytest.fixture
def loopback(make: Any) -> Loopback:
    return make()


def refused(call: Any, *arguments: Any, **options: Any) -> ApiException:
    with pytest.raises(ApiException) as error:
        call(*arguments, **options)
    return error.value


def test_a_job_runs_its_command_and_is_complete(loopback: Loopback) -> None:
    loopback.run("greet", "echo hello; echo world >&2")
    assert loopback.finished("greet").type == "Complete"
    assert loopback.status("greet").succeeded == 1
    assert loopback.pod("greet").status.phase == "Succeeded"
    assert loopback.log("greet") == "hello\nworld\n"


def test_logs_can_be_cut_stamped_and_followed(loopback: Loopback) -> None:
    loopback.run("count", "for i in 1 2 3; do echo $i; sleep 0.2; done")
    loopback.wait(lambda: loopback.state("count").running)
    assert loopback.log("count", follow=True) == "1\n2\n3\n"
    assert loopback.log("count", tail_lines=1) == "3\n"
    moment, line = loopback.log("count", tail_lines=1, timestamps=True).split()
    assert line == "3"
    assert moment.startswith(time.strftime("%Y-", time.gmtime()))
    assert moment.endswith("Z")


def test_a_pod_that_has_not_started_has_no_logs(loopback: Loopback) -> None:
    loopback.run("waits", "true", resources=GPU)
    loopback.pod("waits")
    assert refused(loopback.log, "waits").status == 400


def test_a_pod_that_asks_for_a_gpu_that_no_node_has_stays_pending_and_says_why(make: Any) -> None:
    """tasks/manage-gpus/scheduling-gpus, concepts/scheduling-eviction/kube-scheduler"""
    loopback = make(Node("cpu-1"), Node("cpu-2"))
    loopback.run("train", "true", resources=GPU)
    pod = loopback.wait(lambda: loopback.pod("train").status.conditions and loopback.pod("train"))
    assert pod.status.phase == "Pending"
    assert [(c.type, c.reason, c.message) for c in pod.status.conditions] == [
        ("PodScheduled", "Unschedulable", "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")
    ]
    assert loopback.reasons(pod.metadata.name) == ["FailedScheduling"]
    loopback.cluster.add_node(Node("gpu-1", gpus=1))
    assert loopback.finished("train").type == "Complete"
    assert loopback.pod("train").spec.node_name == "gpu-1"


def test_pods_share_no_gpu(make: Any) -> None:
    loopback = make(Node("gpu-1", gpus=2))
    for n in range(5):
        loopback.run(f"train-{n}", "sleep 0.3", resources=GPU)
    for n in range(5):
        assert loopback.finished(f"train-{n}").type == "Complete"
    assert loopback.cluster.most_at_once({}) == 2


def test_pods_go_only_to_nodes_that_they_select_and_whose_taints_they_tolerate(make: Any) -> None:
    """concepts/scheduling-eviction/taint-and-toleration"""
    taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
    loopback = make(Node("a"), Node("b", gpus=1, taints=[taint], labels={"gpu": "h100"}))
    tolerates = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    loopback.run("anywhere", "true")
    loopback.run("picky", "true", nodeSelector={"gpu": "h100"}, tolerations=tolerates)
    loopback.run("refused", "true", nodeSelector={"gpu": "h100"})
    assert loopback.finished("anywhere").type == loopback.finished("picky").type == "Complete"
    assert loopback.pod("anywhere").spec.node_name == "a"
    assert loopback.pod("picky").spec.node_name == "b"
    assert loopback.pod("refused").status.conditions[0].message == (
        "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector,"
        " 1 node(s) had untolerated taint {nvidia.com/gpu: present}."
    )


def test_a_job_past_its_deadline_is_failed_with_deadline_exceeded(loopback: Loopback) -> None:
    """concepts/workloads/controllers/job: Pods are terminated, then Failed, DeadlineExceeded"""
    loopback.run("slow", "sleep 60", activeDeadlineSeconds=1)
    condition = loopback.finished("slow")
    assert (condition.type, condition.reason) == ("Failed", "DeadlineExceeded")
    assert loopback.status("slow").failed == 1
    loopback.wait(lambda: not loopback.pods("slow"))


def test_a_deadline_also_ends_a_job_whose_pod_never_started(loopback: Loopback) -> None:
    loopback.run("never", "true", resources=GPU, activeDeadlineSeconds=1)
    assert loopback.finished("never").reason == "DeadlineExceeded"
    assert loopback.status("never").failed == 1


def test_a_failed_pod_is_tried_again_up_to_the_backoff_limit(loopback: Loopback) -> None:
    """concepts/workloads/controllers/job#pod-backoff-failure-policy"""
    loopback.run("fails", "exit 3", backoffLimit=2)
    condition = loopback.finished("fails")
    assert (condition.type, condition.reason) == ("Failed", "BackoffLimitExceeded")
    assert [pod.status.container_statuses[0].state.terminated.exit_code for pod in loopback.pods("fails")] == [3, 3, 3]
    assert loopback.status("fails").failed == 3


@pytest.mark.parametrize(("out_of_memory", "reason"), [(False, "Error"), (True, "OOMKilled")])
def test_a_killed_container_ends_with_137_and_its_reason(loopback: Loopback, out_of_memory: bool, reason: str) -> None:
    """tasks/configure-pod-container/assign-memory-resource shows `exitCode: 137`, `reason: OOMKilled`"""
    loopback.run("victim", "sleep 60")
    loopback.wait(lambda: loopback.state("victim").running)
    loopback.cluster.kill("default", loopback.pod("victim").metadata.name, out_of_memory)
    assert loopback.finished("victim").type == "Failed"
    terminated = loopback.state("victim").terminated
    assert (terminated.exit_code, terminated.reason) == (137, reason)


def test_an_evicted_pod_is_failed_and_stays_to_be_read(loopback: Loopback) -> None:
    """concepts/scheduling-eviction/node-pressure-eviction: the kubelet sets the phase to Failed"""
    loopback.run("victim", "sleep 60")
    loopback.wait(lambda: loopback.state("victim").running)
    loopback.cluster.evict("default", loopback.pod("victim").metadata.name)
    assert loopback.finished("victim").type == "Failed"
    status = loopback.pod("victim").status
    assert (status.phase, status.reason) == ("Failed", "Evicted")


def test_an_image_that_cannot_be_pulled_is_waited_for_with_backoff(loopback: Loopback) -> None:
    """concepts/containers/images#imagepullbackoff: the pod stays Pending, and is not failed"""
    loopback.cluster.missing_images.add("ghost:1")
    loopback.run("ghost", "true", image="ghost:1")
    loopback.wait(lambda: loopback.state("ghost").waiting.reason == "ErrImagePull")
    loopback.wait(lambda: loopback.state("ghost").waiting.reason == "ImagePullBackOff")
    pod = loopback.pod("ghost")
    assert pod.status.phase == "Pending"
    assert loopback.status("ghost").failed is None
    assert {"Failed", "BackOff"} <= set(loopback.reasons(pod.metadata.name))
    loopback.cluster.missing_images.clear()
    assert loopback.finished("ghost").type == "Complete"


def test_a_pod_without_its_secret_waits_and_says_so(loopback: Loopback) -> None:
    """concepts/configuration/secret: a Pod does not start until the Secrets it needs are there"""
    key = {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "database", "key": "password"}}}
    loopback.run("needs", 'echo "$PASSWORD"', env=[key])
    loopback.wait(lambda: loopback.state("needs").waiting.reason == "CreateContainerConfigError")
    assert loopback.state("needs").waiting.message == 'secret "database" not found'
    loopback.cluster.add_secret("default", "database", {"password": "s3cret"})
    assert loopback.finished("needs").type == "Complete"
    assert loopback.log("needs") == "s3cret\n"


def test_a_pod_has_the_environment_that_its_spec_says_and_none_of_the_tests(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """reference/kubernetes-api/workload-resources/pod-v1#environment-variables, .../define-interdependent-..."""
    monkeypatch.setenv("PREFASSETS_HOME", "of the test")
    loopback.cluster.add_config_map("default", "settings", {"COLOUR": "red", "SIZE": "small"})
    loopback.run(
        "env",
        "env; echo $0",
        args=["$(LINE)"],
        envFrom=[{"configMapRef": {"name": "settings"}}],
        env=[
            {"name": "COLOUR", "value": "blue"},
            {"name": "LINE", "value": "$(COLOUR) $(SIZE) $$(SIZE) $(NOBODY)"},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ],
    )
    assert loopback.finished("env").type == "Complete"
    *lines, argument = loopback.log("env").splitlines()
    said = dict(line.split("=", 1) for line in lines)
    name = loopback.pod("env").metadata.name
    expected = {"COLOUR": "blue", "SIZE": "small", "POD": name, "NAMESPACE": "default", "NODE": "node-1"}
    assert said.items() >= (expected | {"HOSTNAME": name}).items()
    assert said["LINE"] == argument == "blue small $(SIZE) $(NOBODY)"
    assert "PREFASSETS_HOME" not in said
    assert not {*os.environ} & {*said} - {"PATH", "HOME", "HOSTNAME", "LANG", "PWD", "SHLVL", "_", "PYTHONPATH"} - {
        "PYTHONUNBUFFERED",
        "TMPDIR",
        "OLDPWD",
    }


def test_volumes_are_where_the_pod_looks_for_them(loopback: Loopback, tmp_path: Path) -> None:
    """concepts/storage/volumes#using-subpath"""
    loopback.cluster.add_config_map("default", "instance", {"dagster.yaml": "telemetry:\n", "other": "x"})
    loopback.cluster.claims["home"] = tmp_path
    loopback.run(
        "reads",
        'cat "$AT/dagster.yaml"; ls "$AT"; echo kept > "$HOME_VOLUME/file"',
        env=[{"name": "AT", "value": "/opt/dagster"}, {"name": "HOME_VOLUME", "value": "/home/prefassets"}],
        volumes=[
            {"name": "instance", "configMap": {"name": "instance"}},
            {"name": "home", "persistentVolumeClaim": {"claimName": "home"}},
        ],
        volumeMounts=[
            {"name": "instance", "mountPath": "/opt/dagster/dagster.yaml", "subPath": "dagster.yaml"},
            {"name": "home", "mountPath": "/home/prefassets"},
        ],
    )
    assert loopback.finished("reads").type == "Complete"
    assert loopback.log("reads") == "telemetry:\ndagster.yaml\n"
    assert (tmp_path / "file").read_text() == "kept\n"


def test_the_pulled_image_is_named_by_its_digest(loopback: Loopback) -> None:
    loopback.run("image", "true", image="registry.example/prefassets:0.1.0")
    loopback.finished("image")
    image = loopback.pod("image").status.container_statuses[0].image_id
    assert image.startswith("registry.example/prefassets@sha256:")
    assert len(image.rsplit(":", 1)[1]) == 64


@pytest.mark.parametrize(
    ("at", "value"),
    [("spec", {"backOffLimit": 1}), ("metadata", {"labels": {"a": "not a label!"}}), ("metadata", {"name": "Capital"})],
)
def test_an_object_that_does_not_fit_is_refused_whole(loopback: Loopback, at: str, value: dict[str, Any]) -> None:
    body = job("odd", "true")
    body[at] |= value
    error = refused(loopback.batch.create_namespaced_job, "default", body)
    assert error.status == 422
    assert loopback.batch.list_namespaced_job("default").items == []


def test_the_same_name_twice_is_a_conflict_and_what_is_not_there_is_not_found(loopback: Loopback) -> None:
    loopback.run("one", "true")
    assert refused(loopback.run, "one", "true").status == 409
    assert refused(loopback.status, "two").status == 404
    assert refused(loopback.batch.create_namespaced_job, "nowhere", job("one", "true")).status == 404


def test_a_job_whose_service_account_is_missing_has_no_pod_and_says_why(loopback: Loopback) -> None:
    loopback.run("orphan", "true", serviceAccountName="nobody")
    loopback.wait(lambda: loopback.reasons("orphan"))
    assert set(loopback.reasons("orphan")) == {"FailedCreate"}
    assert loopback.pods("orphan") == []


def test_a_service_account_may_do_what_its_role_says_and_nothing_else(loopback: Loopback) -> None:
    """reference/access-authn-authz/rbac: permissions are purely additive, there are no deny rules"""
    rules = [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]}]
    token = loopback.cluster.add_service_account("default", "runner", rules)
    client = loopback.server.client(token)
    k8s.client.BatchV1Api(client).create_namespaced_job("default", job("mine", "true"))
    for call, arguments in (
        (k8s.client.BatchV1Api(client).read_namespaced_job_status, ("mine", "default")),
        (k8s.client.BatchV1Api(client).delete_namespaced_job, ("mine", "default")),
        (k8s.client.CoreV1Api(client).list_namespaced_pod, ("default",)),
        (k8s.client.BatchV1Api(client).create_namespaced_job, ("kube-system", job("mine", "true"))),
    ):
        assert refused(call, *arguments).status == 403
    assert refused(k8s.client.CoreV1Api(loopback.server.client("stolen")).list_namespaced_pod, "default").status == 401
    assert loopback.server.used_rights("system:serviceaccount:default:runner")["batch", "jobs", "create"] == 2


def test_a_pod_finds_the_api_server_with_its_service_accounts_token(loopback: Loopback) -> None:
    """tasks/run-application/access-api-from-pod"""
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    loopback.cluster.add_service_account("default", "reader", rules)
    script = (
        "import kubernetes; kubernetes.config.load_incluster_config();"
        "print([pod.metadata.name for pod in kubernetes.client.CoreV1Api().list_namespaced_pod('default').items])"
    )
    loopback.run("looks", "", command=["python", "-c", script], serviceAccountName="reader")
    assert loopback.finished("looks").type == "Complete"
    assert loopback.log("looks") == f"['{loopback.pod('looks').metadata.name}']\n"


@pytest.mark.parametrize(("options", "left"), [({}, 1), ({"propagation_policy": "Background"}, 0)])
def test_a_deleted_job_leaves_its_pods_unless_asked_to_take_them(
    loopback: Loopback, options: dict[str, str], left: int
) -> None:
    """concepts/architecture/garbage-collection; for batch/v1 the API server orphans by default, and warns of it"""
    loopback.run("gone", "sleep 60")
    name = loopback.wait(lambda: loopback.state("gone").running) and loopback.pod("gone").metadata.name
    loopback.batch.delete_namespaced_job("gone", "default", **options)
    time.sleep(0.5)
    assert len(loopback.pods("gone")) == len(loopback.cluster.running()) == left
    if left:
        loopback.core.delete_namespaced_pod(name, "default", grace_period_seconds=0)
        loopback.wait(lambda: not loopback.pods("gone"))


def test_a_deleted_pod_is_asked_to_stop_and_then_killed(loopback: Loopback) -> None:
    """concepts/workloads/pods/pod-lifecycle#pod-termination"""
    loopback.run("stubborn", "trap 'echo asked' TERM; while true; do sleep 0.1; done", terminationGracePeriodSeconds=1)
    loopback.wait(lambda: loopback.state("stubborn").running)
    name = loopback.pod("stubborn").metadata.name
    process = loopback.cluster.logs("default", name)
    time.sleep(0.2)  # until the shell has set its trap
    loopback.core.delete_namespaced_pod(name, "default")
    assert loopback.pod("stubborn").metadata.deletion_timestamp
    loopback.wait(lambda: not loopback.pods("stubborn"))
    assert [line for _, line in process.lines] == ["asked"]
    assert loopback.status("stubborn").failed == 1


def test_a_finished_job_goes_with_its_pods_after_its_time(loopback: Loopback) -> None:
    """concepts/workloads/controllers/ttlafterfinished"""
    loopback.run("brief", "true", ttlSecondsAfterFinished=0)
    loopback.wait(lambda: not loopback.batch.list_namespaced_job("default").items)
    loopback.wait(lambda: not loopback.core.list_namespaced_pod("default").items)
    assert loopback.cluster.jobs_created == ["brief"]


def test_what_a_pod_owns_goes_with_it(loopback: Loopback) -> None:
    """concepts/overview/working-with-objects/owners-dependents"""
    loopback.run("owner", "sleep 60")
    owner = loopback.pod("owner").metadata
    owned = job("owned", "sleep 60")
    owned["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", "name": owner.name, "uid": owner.uid}]
    loopback.batch.create_namespaced_job("default", owned)
    loopback.wait(lambda: loopback.state("owned").running)
    loopback.core.delete_namespaced_pod(owner.name, "default", grace_period_seconds=0)
    loopback.wait(lambda: not loopback.pods("owned"))
    assert [item.metadata.name for item in loopback.batch.list_namespaced_job("default").items] == ["owner"]


def test_pods_of_a_dead_node_are_given_up_after_the_grace_periods_and_stay_until_it_is_removed(make: Any) -> None:
    """concepts/architecture/nodes#condition: pods on an unreachable node are Terminating, not deleted"""
    loopback = make(Node("a"))
    loopback.run("lost", "sleep 60")
    loopback.wait(lambda: loopback.state("lost").running)
    loopback.cluster.kill_node("a")
    assert loopback.status("lost").failed is None
    loopback.wait(lambda: loopback.status("lost").failed == 1)
    pod = loopback.pod("lost")
    assert pod.metadata.deletion_timestamp
    assert pod.status.phase == "Running"
    loopback.cluster.remove_node("a")
    loopback.wait(lambda: not loopback.pods("lost"))


def test_selectors_choose_by_label_and_by_field(loopback: Loopback) -> None:
    """concepts/overview/working-with-objects/labels, .../field-selectors"""
    for name, labels in (("a", {"size": "s"}), ("b", {"size": "m", "old": "yes"}), ("c", {})):
        body = job(name, "true")
        body["metadata"]["labels"] = labels
        loopback.batch.create_namespaced_job("default", body)

    def chosen(**selector: str) -> list[str]:
        return [item.metadata.name for item in loopback.batch.list_namespaced_job("default", **selector).items]

    assert chosen(label_selector="size=s") == ["a"]
    assert chosen(label_selector="size in (s, m),!old") == ["a"]
    assert chosen(label_selector="size notin (s)") == ["b", "c"]
    assert chosen(label_selector="size!=s,old") == ["b"]
    assert chosen(field_selector="metadata.name=c") == ["c"]
    assert refused(chosen, field_selector="spec.parallelism=1").status == 400


def test_events_are_told_by_both_apis(loopback: Loopback) -> None:
    loopback.run("told", "true")
    loopback.finished("told")
    events = k8s.client.EventsV1Api(loopback.server.client()).list_namespaced_event("default").items
    core = loopback.core.list_namespaced_event("default").items
    assert [(event.regarding.name, event.reason, event.note) for event in events] == [
        (event.involved_object.name, event.reason, event.message) for event in core
    ]
    assert loopback.reasons("told") == ["SuccessfulCreate", "Completed"]


def test_a_watch_sees_a_job_end(loopback: Loopback) -> None:
    """reference/using-api/api-concepts#efficient-detection-of-changes"""
    loopback.run("watched", "sleep 0.3")
    seen = []
    for event in k8s.watch.Watch().stream(loopback.batch.list_namespaced_job, "default", timeout_seconds=10):
        seen.append(event["type"])
        if event["object"].status.succeeded:
            break
    assert seen[0] == "ADDED"
    assert set(seen[1:]) == {"MODIFIED"}


def test_a_silent_server_carries_out_later_what_a_client_gave_up_on(loopback: Loopback) -> None:
    with loopback.server.silent(), pytest.raises(urllib3.exceptions.HTTPError):
        loopback.batch.create_namespaced_job("default", job("late", "true"), _request_timeout=0.5)
    loopback.wait(lambda: loopback.cluster.jobs_created)
    assert loopback.finished("late").type == "Complete"


def test_a_silent_server_answers_who_waits(loopback: Loopback) -> None:
    with loopback.server.silent():
        answers: list[Any] = []
        asks = threading.Thread(target=lambda: answers.append(loopback.core.list_namespaced_pod("default")))
        asks.start()
        asks.join(0.5)
        assert not answers
    asks.join(5)
    assert len(answers) == 1


def test_a_server_that_is_gone_refuses_and_is_back_at_the_same_place(loopback: Loopback) -> None:
    loopback.run("before", "true")
    with loopback.server.refusing(), pytest.raises(urllib3.exceptions.HTTPError, match="refused"):
        loopback.core.list_namespaced_pod("default")
    assert loopback.finished("before").type == "Complete"


def test_a_failing_server_says_so_with_a_status(loopback: Loopback) -> None:
    with loopback.server.failing(503):
        error = refused(loopback.core.list_namespaced_pod, "default")
    assert (error.status, "ServiceUnavailable" in error.body) == (503, True)
    assert loopback.core.list_namespaced_pod("default").items == []


def test_what_this_cluster_cannot_do_it_refuses_in_words(loopback: Loopback) -> None:
    two: Sequence[Any] = job("x", "true")["spec"]["template"]["spec"]["containers"] * 2
    error = refused(loopback.run, "two", "true", containers=list(two))
    assert (error.status, "one container" in error.body) == (501, True)


def test_nothing_is_left_when_a_cluster_is_closed(make: Any) -> None:
    loopback = make()
    loopback.run("stays", "sleep 60 & sleep 60")
    loopback.wait(lambda: loopback.state("stays").running)
    process = loopback.cluster.logs("default", loopback.pod("stays").metadata.name)
    loopback.cluster.close()
    assert process.over
    assert loopback.cluster.running() == []
