"""A Kubernetes cluster in this process: objects, the controllers that act on them, pods that are local processes.

Only what Jobs need: the job controller, a scheduler that counts resources, a kubelet (`kubelet.py`), TTL and garbage
collection by owner, node failure. What a manifest asks for beyond that is refused in words, never ignored. Names of
reasons and the order of events are those of the Kubernetes documentation; see the links at each.
"""

import base64
import copy
import hashlib
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubernetes.utils import parse_quantity

from prefassets_tests.loopback.kubelet import (
    SERVICE_ACCOUNT,
    ContainerProcess,
    NotYet,
    Root,
    environment,
    expand,
)
from prefassets_tests.loopback.objects import (
    KINDS,
    ApiError,
    Object,
    at_path,
    has_condition,
    now,
    seconds_since,
    set_condition,
    validate,
)

TRACKED = "batch.kubernetes.io/job-tracking"  # finalizer: the job controller has not counted this pod yet
LAST_EVENTS = 10_000
AS_THEY_ARE = {
    "PATH",
    "PYTHONPATH",
    "LOOPBACK_ROOT",
}  # lead to what the image stands for


@dataclass(frozen=True)
class Timing:
    """Seconds that a real cluster waits, by their defaults there; tests make them shorter where they say so."""

    image_pull_backoff: float = 10.0  # doubles with each failure, 300 at most
    pod_retry_backoff: float = 10.0  # of a Job with backoffLimit > 0; doubles, 360 at most
    node_monitor_grace: float = 50.0  # until a silent node counts as not ready
    unreachable_toleration: float = 300.0  # until its pods are given up


@dataclass(frozen=True)
class Node:
    """A machine of the cluster: what it can give, and to whom."""

    name: str
    gpus: int = 0
    pods: int = 110
    cpu: str = "64"
    memory: str = "256Gi"
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Mapping[str, str]] = ()

    def object(self) -> Object:
        allocatable = {"cpu": self.cpu, "memory": self.memory, "pods": str(self.pods)}
        if self.gpus:
            allocatable["nvidia.com/gpu"] = str(self.gpus)
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": {"kubernetes.io/hostname": self.name, **self.labels}},
            "spec": {"taints": [dict(taint) for taint in self.taints]},
            "status": {"capacity": allocatable, "allocatable": allocatable},
        }


@dataclass
class _Container:
    """What the kubelet remembers of one pod."""

    root: Root
    process: ContainerProcess | None = None
    try_at: float = 0.0
    failed_pulls: int = 0
    pulled: bool = False
    killed_for: str | None = None  # reason in the container's status instead of `Error`
    kill_at: float | None = None


@dataclass(frozen=True)
class Life:
    """When a pod's container ran, by the monotonic clock; `ended` is infinite while it runs."""

    pod: str
    labels: Mapping[str, str]
    node: str
    started: float
    ended: float = float("inf")


class Cluster:
    """The state of a loopback cluster. `folder` gets every pod's files.

    `image` is what any image's environment is, `writable` the folders that any image has for its user to write to.
    """

    def __init__(
        self,
        folder: Path,
        nodes: Collection[Node] = (Node("node-1"),),
        namespace: str = "default",
        timing: Timing = Timing(),
        image: Mapping[str, str] | None = None,
        writable: Collection[str] = (),
    ) -> None:
        self.folder, self.timing = folder, timing
        self.image = image_environment() if image is None else dict(image)
        self.writable = writable
        self.missing_images: set[str] = set()
        self.claims: dict[str, Path] = {}  # persistent volume claims, and host paths, by name
        self.service: tuple[str, int] | None = None  # host and port of the API server
        self.certificate = ""  # of the authority that signed the API server's
        self.tokens: dict[str, tuple[str, str]] = {}  # of service accounts: namespace, name
        self.rules: dict[tuple[str, str], Sequence[Mapping[str, Sequence[str]]]] = {}
        self.lives: dict[str, Life] = {}  # by pod uid, also of pods long gone
        self.jobs_created: list[str] = []
        self.changed = threading.Condition(threading.RLock())
        self.history: list[tuple[int, str, str, Object]] = []  # revision, what happened, plural, the object
        self._objects: dict[tuple[str, str, str], Object] = {}  # plural, namespace, name
        self._containers: dict[str, _Container] = {}  # by pod uid
        self._dead_nodes: dict[str, float] = {}
        self._revision = 0
        self._closing = False
        for node in nodes:
            self.add_node(node)
        for name in dict.fromkeys(("default", namespace)):
            self.add_namespace(name)
        self._controllers = threading.Thread(target=self._control, name="controllers", daemon=True)
        self._controllers.start()

    # What a cluster's owner sets up.

    def add_node(self, node: Node) -> None:
        made = node.object()
        made["status"]["conditions"] = []
        set_condition(made, "Ready", "True", "KubeletReady", "kubelet is posting ready status")
        self._put("nodes", "", made)

    def add_namespace(self, name: str) -> None:
        self._put("namespaces", "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        self.add_service_account(name, "default")

    def add_service_account(self, namespace: str, name: str, rules: Sequence[Mapping[str, Sequence[str]]] = ()) -> str:
        """An account that may do what `rules` (of a Role) say and nothing else; returns its token."""
        self._put(
            "serviceaccounts", namespace, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
        )
        self.rules[namespace, name] = rules
        token = f"token-of-{namespace}-{name}-{uuid.uuid4().hex}"
        self.tokens[token] = (namespace, name)
        return token

    def add_config_map(self, namespace: str, name: str, data: Mapping[str, str]) -> None:
        self.create("configmaps", namespace, {"metadata": {"name": name}, "data": dict(data)})

    def add_secret(self, namespace: str, name: str, data: Mapping[str, str]) -> None:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        self.create("secrets", namespace, {"metadata": {"name": name}, "type": "Opaque", "data": encoded})

    # What the API server does.

    def create(self, plural: str, namespace: str, body: Object) -> Object:
        """Admit one object, as POST does.

        Raises:
            ApiError: 404 no such namespace, 409 the name is taken, 422 the object does not fit its schema, 403 its
                service account does not exist, 501 it asks for what this cluster does not have.
        """
        kind = KINDS[plural]
        made = copy.deepcopy(body)
        made.setdefault("apiVersion", kind.api_version)
        made.setdefault("kind", kind.name)
        metadata = made.setdefault("metadata", {})
        if "name" not in metadata and "generateName" in metadata:
            metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
        validate(kind, made)
        with self.changed:
            if kind.namespaced:
                self.get("namespaces", "", namespace)
            if self.find(plural, namespace, metadata["name"]):
                raise ApiError(409, "AlreadyExists", f'{kind.full_name} "{metadata["name"]}" already exists')
            if plural == "pods":
                self._admit_pod(namespace, made)
            if plural == "jobs":
                _admit_job(made)
                self.jobs_created.append(metadata["name"])
            return copy.deepcopy(self._put(plural, namespace, made))

    def get(self, plural: str, namespace: str, name: str) -> Object:
        """One object, a copy.

        Raises:
            ApiError: 404.
        """
        found = self.find(plural, namespace, name)
        if found is None:
            raise ApiError(404, "NotFound", f'{KINDS[plural].full_name} "{name}" not found')
        return found

    def find(self, plural: str, namespace: str, name: str) -> Object | None:
        with self.changed:
            return copy.deepcopy(self._objects.get((plural, namespace, name)))

    def objects(self, plural: str, namespace: str | None = None) -> list[Object]:
        """All objects of a kind, copies, oldest first."""
        with self.changed:
            return copy.deepcopy(list(self._every(plural, namespace)))

    @property
    def revision(self) -> int:
        return self._revision

    def delete(self, plural: str, namespace: str, name: str, policy: str | None, grace_seconds: int | None) -> Object:
        """Delete one object; `policy` says what becomes of what it owns.

        A Job deleted through batch/v1 without a policy leaves its pods behind ("child pods are preserved by default
        when jobs are deleted": the API server's warning); everything else takes its dependents along.
        https://kubernetes.io/docs/concepts/architecture/garbage-collection/#cascading-deletion
        """
        with self.changed:
            self.get(plural, namespace, name)
            thing = self._objects[plural, namespace, name]
            if plural == "pods":
                self._delete_pod(thing, grace_seconds)
            elif plural == "jobs" and (policy or "Orphan") == "Orphan":
                for pod in self._owned_by(thing):
                    pod["metadata"]["ownerReferences"] = []
                    pod["metadata"]["finalizers"] = []
                    self._touch("pods", pod)
                self._remove(plural, thing)
            else:
                self._remove(plural, thing)
            return copy.deepcopy(thing)

    def logs(self, namespace: str, name: str) -> ContainerProcess:
        """The process whose lines are a pod's logs.

        Raises:
            ApiError: 404, or 400 the container has not started.
        """
        with self.changed:
            pod = self.get("pods", namespace, name)
            process = self._container(pod).process
            if process is None:
                container = pod["spec"]["containers"][0]["name"]
                waiting = at_path(_first_status(pod), "state.waiting.reason") or "no host assigned"
                raise ApiError(
                    400, "BadRequest", f'container "{container}" in pod "{name}" is waiting to start: {waiting}'
                )
            return process

    # What goes wrong in clusters.

    def kill(self, namespace: str, name: str, out_of_memory: bool = False) -> None:
        """SIGKILL a pod's container: exit code 137, reason `Error`, or `OOMKilled` as the kernel's OOM killer does."""
        with self.changed:
            container = self._container(self.get("pods", namespace, name))
            container.killed_for = "OOMKilled" if out_of_memory else None
            assert container.process, f"{name} does not run"
            container.process.signal(signal.SIGKILL)

    @contextmanager
    def paused(self, namespace: str, name: str) -> Iterator[None]:
        """Let a pod's container stand still, as one that gets no processor, until the block ends."""
        process = self._container(self.get("pods", namespace, name)).process
        assert process, f"{name} does not run"
        process.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.signal(signal.SIGCONT)

    def evict(self, namespace: str, name: str) -> None:
        """End a pod as a kubelet short of memory does: phase Failed, reason `Evicted`, the object stays.

        https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/
        """
        with self.changed:
            pod = self._objects["pods", namespace, name]
            pod["status"] |= {"reason": "Evicted", "message": "The node was low on resource: memory."}
            self._event(pod, "Warning", "Evicted", "The node was low on resource: memory.", "kubelet")
            container = self._container(pod)
            if container.process:
                container.process.signal(signal.SIGKILL)
            else:
                pod["status"]["phase"] = "Failed"
            self._touch("pods", pod)

    def kill_node(self, name: str) -> None:
        """A node loses its power: its processes are gone at once, the cluster learns of it only by silence.

        Not ready after `node_monitor_grace`; its pods are deleted `unreachable_toleration` later, and stay
        Terminating until the node itself is removed, for nobody can say that they have ended.
        https://kubernetes.io/docs/concepts/architecture/nodes/#condition
        """
        with self.changed:
            self._dead_nodes[name] = time.monotonic()
            for pod in self._every("pods"):
                process = self._container(pod).process
                if pod["spec"].get("nodeName") == name and process:
                    process.signal(signal.SIGKILL)

    def remove_node(self, name: str) -> None:
        """Take a node away; pod garbage collection then removes what was bound to it."""
        with self.changed:
            self._remove("nodes", self._objects["nodes", "", name])
            for pod in list(self._every("pods")):
                if pod["spec"].get("nodeName") == name:
                    self._fail_lost_pod(pod)
                    self._delete_pod(pod, 0)
            self._dead_nodes.pop(name, None)

    # What tests ask.

    def running(self, **labels: str) -> list[str]:
        """Names of pods whose container runs now."""
        return [life.pod for life in list(self.lives.values()) if life.ended == float("inf") and _has(life, labels)]

    def most_at_once(self, labels: Mapping[str, str]) -> int:
        """The most pods with these labels whose containers ever ran at one moment."""
        lives = [life for life in list(self.lives.values()) if _has(life, labels)]
        return max((sum(other.started <= life.started < other.ended for other in lives) for life in lives), default=0)

    def wait(self, condition: Callable[[], Any], seconds: float, what: str = "it", every: float = 0) -> Any:
        """Wait until `condition` is true of the cluster, and return what it said.

        It is asked whenever something changes and ten times a second, or, if it takes long, `every` so many seconds.

        Raises:
            TimeoutError: it was not within so many seconds; says what every pod and Job was doing.
        """
        until = time.monotonic() + seconds
        while not (said := condition()):  # without the lock: it may well ask through the API
            if time.monotonic() >= until:
                raise TimeoutError(f"{what} did not happen within {seconds} s\n{self.describe()}")
            if every:
                time.sleep(every)
                continue
            with self.changed:
                self.changed.wait(0.1)
        return said

    def describe(self) -> str:
        """A line for every pod and Job, the end of failed pods' logs, and the last events."""
        with self.changed:
            pods = []
            for pod in self._every("pods"):
                name, phase, process = pod["metadata"]["name"], pod["status"]["phase"], self._container(pod).process
                pods.append(f"pod {name} {phase} {_first_status(pod).get('state', '')}")
                if phase == "Failed" and process:
                    pods += [f"  {line}" for _, line in process.lines[-20:]]
            jobs = [f"job {job['metadata']['name']} {job['status']}" for job in self._every("jobs")]
            events = [
                f"event {event['involvedObject']['name']} {event['reason']}: {event['message']}"
                for event in list(self._every("events"))[-30:]
            ]
            return "\n".join([*jobs, *pods, *events])

    def close(self) -> None:
        """End every pod and the controllers."""
        with self.changed:
            self._closing = True
            containers = [container.process for container in self._containers.values() if container.process]
            for process in containers:
                process.signal(signal.SIGKILL)
            self.changed.notify_all()
        self._controllers.join(5)
        left = [process for process in containers if not process.join(5)]
        assert not left, f"{len(left)} pods would not end"

    # Objects.

    def _every(self, plural: str, namespace: str | None = None) -> Iterator[Object]:
        for (kind, where, _), thing in list(self._objects.items()):
            if kind == plural and namespace in (None, where):
                yield thing

    def _put(self, plural: str, namespace: str, thing: Object) -> Object:
        with self.changed:
            metadata = thing["metadata"]
            metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": now(), "generation": 1}
            if KINDS[plural].namespaced:
                metadata["namespace"] = namespace
            self._objects[plural, namespace, metadata["name"]] = thing
            self._touch(plural, thing, "ADDED")
            return thing

    def _touch(self, plural: str, thing: Object, what: str = "MODIFIED") -> None:
        """Every change passes here: it gets a revision, and watchers and controllers hear of it."""
        self._revision += 1
        thing["metadata"]["resourceVersion"] = str(self._revision)
        self.history.append((self._revision, what, plural, copy.deepcopy(thing)))
        del self.history[: -10 * LAST_EVENTS]
        self.changed.notify_all()

    def _remove(self, plural: str, thing: Object) -> None:
        """Take an object away, and what it owns with it."""
        metadata = thing["metadata"]
        if self._objects.pop((plural, metadata.get("namespace", ""), metadata["name"]), None):
            self._touch(plural, thing, "DELETED")

    def _owned_by(self, owner: Object) -> list[Object]:
        uid = owner["metadata"]["uid"]
        return [
            thing
            for plural in ("pods", "jobs")
            for thing in self._every(plural)
            if any(reference["uid"] == uid for reference in thing["metadata"].get("ownerReferences", []))
        ]

    def _event(self, about: Object, kind: str, reason: str, message: str, component: str) -> None:
        """Tell an event; the same one again only counts up."""
        metadata = about["metadata"]
        for event in self._every("events", metadata.get("namespace", "default")):
            same = (event["involvedObject"]["uid"], event["reason"], event["message"])
            if same == (metadata["uid"], reason, message):
                event["count"] += 1
                event["lastTimestamp"] = now()
                self._touch("events", event)
                return
        involved = {"apiVersion": about["apiVersion"], "kind": about["kind"], "name": metadata["name"]}
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}"},
            "involvedObject": involved | {"namespace": metadata.get("namespace", ""), "uid": metadata["uid"]},
            "type": kind,
            "reason": reason,
            "message": message,
            "count": 1,
            "firstTimestamp": now(),
            "lastTimestamp": now(),
            "source": {"component": component},
            "reportingComponent": component,
            "reportingInstance": "",
        }
        self._put("events", metadata.get("namespace", "default"), event)

    # Controllers.

    def _control(self) -> None:
        with self.changed:
            while not self._closing:
                self._notice_dead_nodes()
                for job in list(self._every("jobs")):
                    self._sync_job(job)
                for pod in list(self._every("pods")):
                    self._sync_pod(pod)
                self._collect_garbage()
                self.changed.wait(0.1)

    def _sync_job(self, job: Object) -> None:
        """One step of the job controller.

        https://kubernetes.io/docs/concepts/workloads/controllers/job/#handling-pod-and-container-failures
        """
        status, spec = job["status"], job["spec"]
        before = copy.deepcopy(status)
        pods = [pod for pod in self._owned_by(job) if pod["kind"] == "Pod"]
        for pod in pods:
            if TRACKED in pod["metadata"].get("finalizers", []) and (over := _over(pod)):
                status[over] = status.get(over, 0) + 1
                pod["metadata"]["finalizers"].remove(TRACKED)
                self._touch("pods", pod)
        if has_condition(job, "Complete", "Failed"):
            ttl = spec.get("ttlSecondsAfterFinished")
            if ttl is not None and seconds_since(status["conditions"][-1]["lastTransitionTime"]) >= ttl:
                self._remove("jobs", job)
            return

        active = [pod for pod in pods if not _over(pod)]
        failed = status.get("failed", 0)
        deadline = spec.get("activeDeadlineSeconds")
        ending = [condition for condition in status.get("conditions", []) if condition["type"] == "FailureTarget"]
        if ending:
            self._finish(job, active, ending[0]["reason"], ending[0]["message"])
        elif failed > spec["backoffLimit"]:
            self._finish(job, active, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
        elif deadline is not None and seconds_since(status["startTime"]) >= deadline:
            self._finish(job, active, "DeadlineExceeded", "Job was active longer than specified deadline")
        elif status.get("succeeded", 0) >= 1:
            set_condition(
                job, "SuccessCriteriaMet", "True", "CompletionsReached", "Reached expected number of succeeded pods"
            )
            set_condition(job, "Complete", "True", "CompletionsReached", "Reached expected number of succeeded pods")
            status["completionTime"] = now()
            self._event(job, "Normal", "Completed", "Job completed", "job-controller")
        elif not active and self._may_try_again(job, failed):
            self._create_pod_of(job)
            active = [pod for pod in self._owned_by(job) if not _over(pod)]
        status["active"] = len(active)
        status["ready"] = sum(pod["status"]["phase"] == "Running" for pod in active)
        status["terminating"] = sum(1 for pod in self._owned_by(job) if _over(pod) and _has_process(self, pod))
        if status != before:
            self._touch("jobs", job)

    def _finish(self, job: Object, active: list[Object], reason: str, message: str) -> None:
        """Fail a Job: its running pods are deleted first, and count as failed."""
        for pod in active:
            self._event(job, "Normal", "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}", "job-controller")
            self._delete_pod(pod, None)
        active.clear()
        if not has_condition(job, "FailureTarget"):
            set_condition(job, "FailureTarget", "True", reason, message)
            self._event(job, "Warning", reason, message, "job-controller")
            self._touch("jobs", job)
        elif not any(_has_process(self, pod) for pod in self._owned_by(job)):
            set_condition(job, "Failed", "True", reason, message)
            self._touch("jobs", job)

    def _may_try_again(self, job: Object, failed: int) -> bool:
        """Failed pods of a Job come again after 10 s, 20 s, 40 s, ... 6 minutes at most."""
        if not failed:
            return True
        uid = job["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"]
        ends = [life.ended for life in self.lives.values() if life.labels.get("controller-uid") == uid]
        pause = min(self.timing.pod_retry_backoff * 2 ** (failed - 1), 360)
        return time.monotonic() - max(ends, default=0) >= pause

    def _create_pod_of(self, job: Object) -> None:
        metadata = job["metadata"]
        template = copy.deepcopy(job["spec"]["template"])
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{metadata['name'][:57]}-{uuid.uuid4().hex[:5]}",
                "generateName": f"{metadata['name']}-",
                "labels": template["metadata"]["labels"],
                "annotations": template["metadata"].get("annotations", {}),
                "finalizers": [TRACKED],
                "ownerReferences": [
                    {
                        "apiVersion": "batch/v1",
                        "kind": "Job",
                        "name": metadata["name"],
                        "uid": metadata["uid"],
                        "controller": True,
                        "blockOwnerDeletion": True,
                    }
                ],
            },
            "spec": template["spec"],
        }
        try:
            self.create("pods", metadata["namespace"], pod)
        except ApiError as error:
            self._event(job, "Warning", "FailedCreate", f"Error creating: {error.message}", "job-controller")
        else:
            message = f"Created pod: {pod['metadata']['name']}"
            self._event(job, "Normal", "SuccessfulCreate", message, "job-controller")

    def _admit_pod(self, namespace: str, pod: Object) -> None:
        """Refuse what cannot run here, fill in defaults, and give the pod its place in the kubelet's memory."""
        name, spec = pod["metadata"]["name"], pod["spec"]
        _refuse_unknown(spec)
        account = spec.setdefault("serviceAccountName", "default")
        if not self.find("serviceaccounts", namespace, account):
            what = f'error looking up service account {namespace}/{account}: serviceaccount "{account}" not found'
            raise ApiError(403, "Forbidden", f'pods "{name}" is forbidden: {what}')
        pod["status"] = {"phase": "Pending", "conditions": []}

    # Pods.

    def _container(self, pod: Object) -> _Container:
        uid = pod["metadata"]["uid"]
        if uid not in self._containers:
            self._containers[uid] = _Container(Root(self.folder / pod["metadata"]["name"], self.writable))
        return self._containers[uid]

    def _sync_pod(self, pod: Object) -> None:
        """One step of the scheduler and the kubelet for one pod."""
        container = self._container(pod)
        if "deletionTimestamp" in pod["metadata"]:
            node = pod["spec"].get("nodeName")
            if _has_process(self, pod):
                if container.process and container.kill_at and time.monotonic() >= container.kill_at:
                    container.process.signal(signal.SIGKILL)
            elif not pod["metadata"].get("finalizers") and node not in self._dead_nodes:
                self._remove("pods", pod)
        elif pod["status"]["phase"] == "Pending" and "nodeName" not in pod["spec"]:
            self._schedule(pod)
        elif (
            pod["status"]["phase"] == "Pending"
            and container.process is None
            and time.monotonic() >= container.try_at
            and pod["spec"]["nodeName"] not in self._dead_nodes
        ):
            self._start(pod, container)

    def _schedule(self, pod: Object) -> None:
        """Bind a pod to a node that fits, or say why none does.

        https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/
        """
        reasons: dict[str, int] = {}
        for node in self._every("nodes"):
            unfit = self._unfit(pod, node)
            if not unfit:
                pod["spec"]["nodeName"] = node["metadata"]["name"]
                set_condition(pod, "PodScheduled", "True")
                pod["status"] |= {"startTime": now(), "hostIP": "127.0.0.1"}
                _set_waiting(pod, "ContainerCreating")
                where = f"{pod['metadata']['namespace']}/{pod['metadata']['name']} to {node['metadata']['name']}"
                self._event(pod, "Normal", "Scheduled", f"Successfully assigned {where}", "default-scheduler")
                self._touch("pods", pod)
                return
            for reason in unfit:
                reasons[reason] = reasons.get(reason, 0) + 1
        nodes = sum(reasons.values()) and len(list(self._every("nodes")))
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        message = f"0/{nodes} nodes are available: {told}." if reasons else "no nodes available to schedule pods"
        known = [c.get("message") for c in pod["status"]["conditions"] if c["type"] == "PodScheduled"]
        if known != [message]:
            set_condition(pod, "PodScheduled", "False", "Unschedulable", message)
            self._event(pod, "Warning", "FailedScheduling", message, "default-scheduler")
            self._touch("pods", pod)

    def _unfit(self, pod: Object, node: Object) -> list[str]:
        """Why a pod cannot go to a node, in the scheduler's words; empty if it can."""
        labels = node["metadata"]["labels"]
        if any(labels.get(key) != value for key, value in pod["spec"].get("nodeSelector", {}).items()):
            return ["node(s) didn't match Pod's node affinity/selector"]
        for taint in node["spec"]["taints"]:
            if not any(_tolerates(toleration, taint) for toleration in pod["spec"].get("tolerations", [])):
                return [f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"]
        here = [
            other
            for other in self._every("pods")
            if other["spec"].get("nodeName") == node["metadata"]["name"]
            and other["status"]["phase"] in ("Pending", "Running")
        ]
        free = {name: parse_quantity(amount) for name, amount in node["status"]["allocatable"].items()}
        for other in here:
            for name, amount in _requests(other).items():
                free[name] = free.get(name, 0) - amount
        return [
            "Too many pods" if name == "pods" else f"Insufficient {name}"
            for name, amount in sorted(_requests(pod).items())
            if amount > free.get(name, 0)
        ]

    def _start(self, pod: Object, container: _Container) -> None:
        """Pull the image, mount the volumes, make the environment, run the container; or say what is missing.

        https://kubernetes.io/docs/concepts/containers/images/#imagepullbackoff
        """
        metadata, spec = pod["metadata"], pod["spec"]["containers"][0]
        namespace = metadata["namespace"]

        def find(plural: str, name: str) -> Object | None:
            return self.find(plural, namespace, name)

        try:
            container.root.mount(pod, spec, find, self.claims)
            self._mount_service_account(pod, container.root)
            self._pull(pod, container)
            made = environment(pod, spec, self._image_of(pod, container.root), find)
        except NotYet as problem:
            container.try_at = max(container.try_at, time.monotonic() + 0.5)
            waiting = at_path(_first_status(pod), "state.waiting") or {}
            if (waiting.get("reason"), waiting.get("message")) != (problem.reason, problem.message):
                reason = "FailedMount" if problem.reason == "ContainerCreating" else "Failed"
                message = problem.message if reason == "FailedMount" else f"Error: {problem.message or problem.reason}"
                self._event(pod, "Warning", reason, message, "kubelet")
                _set_waiting(pod, problem.reason, problem.message)
                self._touch("pods", pod)
            return
        words = [expand(word, made) for word in (*spec.get("command", []), *spec.get("args", []))]
        folder = container.root.folder / "work"
        folder.mkdir(exist_ok=True)
        started = now()
        try:
            container.process = ContainerProcess(
                [container.root.turned(word) for word in words],
                {name: value if name in AS_THEY_ARE else container.root.turned(value) for name, value in made.items()},
                folder,
                lambda code: self._ended(metadata["uid"], namespace, metadata["name"], started, code),
            )
        except OSError as error:
            message = f"failed to create containerd task: exec: {words[:1]}: {error}"
            self._event(pod, "Warning", "Failed", f"Error: {message}", "kubelet")
            pod["status"]["phase"] = "Failed"
            _set_state(pod, {"terminated": {"exitCode": 128, "reason": "StartError", "message": message}})
        else:
            life = Life(metadata["name"], metadata.get("labels", {}), pod["spec"]["nodeName"], time.monotonic())
            self.lives[metadata["uid"]] = life
            pod["status"]["phase"] = "Running"
            set_condition(pod, "Ready", "True")
            _set_state(pod, {"running": {"startedAt": started}})
            self._event(pod, "Normal", "Started", f"Started container {spec['name']}", "kubelet")
        self._touch("pods", pod)

    def _pull(self, pod: Object, container: _Container) -> None:
        image = pod["spec"]["containers"][0]["image"]
        if container.pulled:
            return
        if image in self.missing_images:
            if at_path(_first_status(pod), "state.waiting.reason") == "ErrImagePull":
                pause = min(self.timing.image_pull_backoff * 2 ** (container.failed_pulls - 1), 300)
                container.try_at = time.monotonic() + pause
                self._event(pod, "Normal", "BackOff", f'Back-off pulling image "{image}"', "kubelet")
                raise NotYet("ImagePullBackOff", f'Back-off pulling image "{image}"')
            container.failed_pulls += 1
            container.try_at = time.monotonic() + min(1.0, self.timing.image_pull_backoff / 2)
            message = f'failed to pull and unpack image "{image}": failed to resolve reference "{image}": not found'
            self._event(pod, "Warning", "Failed", f'Failed to pull image "{image}": {message}', "kubelet")
            raise NotYet("ErrImagePull", message)
        container.pulled = True
        self._event(pod, "Normal", "Pulled", f'Successfully pulled image "{image}"', "kubelet")

    def _mount_service_account(self, pod: Object, root: Root) -> None:
        if not pod["spec"].get("automountServiceAccountToken", True):
            return
        account = (pod["metadata"]["namespace"], pod["spec"]["serviceAccountName"])
        token = next(token for token, owner in self.tokens.items() if owner == account)
        files = {"token": token, "ca.crt": self.certificate, "namespace": account[0]}
        for name, text in files.items():
            root.write(f"{SERVICE_ACCOUNT}/{name}", text)

    def _image_of(self, pod: Object, root: Root) -> dict[str, str]:
        """What a container starts with before its own variables: the image's, and where the API server is."""
        home = root.at("/home")
        (home / "tmp").mkdir(parents=True, exist_ok=True)
        own = {"HOME": str(home), "TMPDIR": str(home / "tmp"), "HOSTNAME": pod["metadata"]["name"]}
        if self.service:
            host, port = self.service
            own |= {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": str(port)}
        return {**own, **self.image, "LOOPBACK_ROOT": str(root.folder)}

    def _ended(self, uid: str, namespace: str, name: str, started: str, code: int) -> None:
        with self.changed:
            life = self.lives[uid]
            self.lives[uid] = Life(life.pod, life.labels, life.node, life.started, time.monotonic())
            pod = self._objects.get(("pods", namespace, name))
            if pod is None or pod["metadata"]["uid"] != uid or life.node in self._dead_nodes:
                self.changed.notify_all()
                return  # a dead node tells nothing
            reason = self._containers[uid].killed_for or ("Completed" if code == 0 else "Error")
            pod["status"]["phase"] = "Succeeded" if code == 0 else "Failed"
            set_condition(pod, "Ready", "False", "PodCompleted" if code == 0 else "PodFailed")
            terminated = {"exitCode": code, "reason": reason, "startedAt": started, "finishedAt": now()}
            _set_state(pod, {"terminated": terminated})
            self._touch("pods", pod)

    def _delete_pod(self, pod: Object, grace_seconds: int | None) -> None:
        """SIGTERM, and SIGKILL after the grace period; the object stays until the container has ended.

        https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
        """
        container = self._container(pod)
        grace = pod["spec"].get("terminationGracePeriodSeconds", 30) if grace_seconds is None else grace_seconds
        if "deletionTimestamp" not in pod["metadata"]:
            pod["metadata"] |= {"deletionTimestamp": now(), "deletionGracePeriodSeconds": grace}
            if container.process:
                container.process.terminate()
                self._event(pod, "Normal", "Killing", "Stopping container", "kubelet")
        container.kill_at = min(container.kill_at or float("inf"), time.monotonic() + grace)
        self._touch("pods", pod)

    def _fail_lost_pod(self, pod: Object) -> None:
        if pod["status"]["phase"] in ("Pending", "Running"):
            pod["status"]["phase"] = "Failed"

    def _notice_dead_nodes(self) -> None:
        for name, died in self._dead_nodes.items():
            node = self._objects["nodes", "", name]
            silent = time.monotonic() - died
            if silent >= self.timing.node_monitor_grace and has_condition(node, "Ready"):
                set_condition(node, "Ready", "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")
                node["spec"]["taints"].append({"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"})
                self._event(
                    node, "Normal", "NodeNotReady", f"Node {name} status is now: NodeNotReady", "node-controller"
                )
                self._touch("nodes", node)
            if silent >= self.timing.node_monitor_grace + self.timing.unreachable_toleration:
                for pod in self._every("pods"):
                    if pod["spec"].get("nodeName") == name and "deletionTimestamp" not in pod["metadata"]:
                        self._event(pod, "Normal", "TaintManagerEviction", "Marking for deletion Pod", "taint-eviction")
                        message = "Taint manager: deleting due to NoExecute taint"
                        set_condition(pod, "DisruptionTarget", "True", "DeletionByTaintManager", message)
                        self._delete_pod(pod, None)

    def _collect_garbage(self) -> None:
        """Delete what is owned by something that is gone.

        https://kubernetes.io/docs/concepts/architecture/garbage-collection/#owners-dependents
        """
        uids = {thing["metadata"]["uid"] for thing in self._objects.values()}
        for plural in ("pods", "jobs"):
            for thing in list(self._every(plural)):
                owners = thing["metadata"].get("ownerReferences", [])
                if owners and not any(owner["uid"] in uids for owner in owners):
                    if plural == "pods":
                        thing["metadata"]["finalizers"] = []
                        if "deletionTimestamp" not in thing["metadata"]:
                            self._delete_pod(thing, None)
                    else:
                        self._remove(plural, thing)


def image_environment() -> dict[str, str]:
    """What an image of this checkout would set: where Python and the package are. Nothing of this process's own."""
    checkout = Path(__file__).parents[2]
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent / "image"), str(checkout)]),
        "PYTHONUNBUFFERED": "1",
        "LANG": "C.UTF-8",
    }


def _admit_job(job: Object) -> None:
    """A Job's defaults and labels, and a no to what this cluster does not run."""
    spec = job["spec"]
    policy = at_path(spec, "template.spec.restartPolicy")
    name = job["metadata"]["name"]
    if policy not in ("Never", "OnFailure"):
        what = 'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'
        raise ApiError(422, "Invalid", f'Job.batch "{name}" is invalid: {what}')
    _refuse_unknown(spec["template"]["spec"])
    odd = {"parallelism": 1, "completions": 1, "suspend": False, "completionMode": "NonIndexed"}
    for key, usual in odd.items():
        if spec.setdefault(key, usual) != usual:
            raise ApiError(501, "NotImplemented", f"the loopback cluster runs Jobs with {key} {usual} only")
    if "podFailurePolicy" in spec or "selector" in spec:
        raise ApiError(501, "NotImplemented", "the loopback cluster has no podFailurePolicy and no manual selector")
    spec.setdefault("backoffLimit", 6)
    uid = str(uuid.uuid4())
    labels = {"batch.kubernetes.io/job-name": name, "job-name": name}
    controller = {"batch.kubernetes.io/controller-uid": uid, "controller-uid": uid}
    template = spec["template"].setdefault("metadata", {})
    template["labels"] = {**(template.get("labels") or {}), **labels, **controller}
    spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    job["status"] = {"startTime": now()}


def _refuse_unknown(spec: Object) -> None:
    if len(spec["containers"]) != 1 or spec.get("initContainers"):
        raise ApiError(501, "NotImplemented", "the loopback cluster runs pods of one container only")
    if spec.get("restartPolicy") != "Never":
        raise ApiError(501, "NotImplemented", "the loopback cluster runs pods with restartPolicy Never only")
    if spec.get("affinity") or spec.get("topologySpreadConstraints"):
        raise ApiError(501, "NotImplemented", "the loopback scheduler knows nodeSelector and tolerations only")


def _requests(pod: Object) -> dict[str, Any]:
    """What a pod needs of a node; a limit without a request is the request."""
    resources = pod["spec"]["containers"][0].get("resources") or {}
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: parse_quantity(amount) for name, amount in asked.items()} | {"pods": 1}


def _tolerates(toleration: Object, taint: Object) -> bool:
    """https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#concepts"""
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", "")


def _over(pod: Object) -> str | None:
    """Where a Job counts this pod: `succeeded`, `failed`, or not yet. One that is being deleted has failed."""
    if pod["status"]["phase"] == "Succeeded":
        return "succeeded"
    if pod["status"]["phase"] == "Failed" or "deletionTimestamp" in pod["metadata"]:
        return "failed"
    return None


def _has_process(cluster: Cluster, pod: Object) -> bool:
    process = cluster._container(pod).process
    return process is not None and not process.over


def _has(life: Life, labels: Mapping[str, str]) -> bool:
    return all(life.labels.get(name) == value for name, value in labels.items())


def _first_status(pod: Object) -> Object:
    statuses = pod["status"].get("containerStatuses") or [{}]
    return statuses[0]


def _set_waiting(pod: Object, reason: str, message: str = "") -> None:
    _set_state(pod, {"waiting": {"reason": reason, **({"message": message} if message else {})}})


def _set_state(pod: Object, state: Object) -> None:
    """The only container's status; its image's digest is known once it was pulled."""
    container = pod["spec"]["containers"][0]
    image, ran = container["image"], "waiting" not in state
    name = image.rsplit("@", 1)[0].rsplit(":", 1)[0] if ":" in image.rsplit("/", 1)[-1] or "@" in image else image
    digest = hashlib.sha256(image.encode()).hexdigest()
    pod["status"]["containerStatuses"] = [
        {
            "name": container["name"],
            "image": image,
            "imageID": f"{name}@sha256:{digest}" if ran else "",
            "ready": "running" in state,
            "started": "running" in state,
            "restartCount": 0,
            "state": state,
            "lastState": {},
            **(
                {"containerID": f"containerd://{hashlib.sha256(pod['metadata']['uid'].encode()).hexdigest()}"}
                if ran
                else {}
            ),
        }
    ]
