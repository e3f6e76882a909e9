"""A loopback cluster as tests of single Jobs see it: through the real client of the cluster's owner."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes as k8s

from prefassets_tests.loopback.cluster import Cluster, Node, Timing
from prefassets_tests.loopback.kubernetes import KubernetesServer

QUICK = Timing(image_pull_backoff=0.4, pod_retry_backoff=0.2, node_monitor_grace=0.3, unreachable_toleration=0.3)


@dataclass
class Loopback:
    """A cluster, its server, and the real client of its owner."""

    cluster: Cluster
    server: KubernetesServer
    batch: k8s.client.BatchV1Api
    core: k8s.client.CoreV1Api

    def run(self, name: str, script: str, **more: Any) -> None:
        self.batch.create_namespaced_job("default", job(name, script, **more))

    def pods(self, name: str) -> list[Any]:
        """The pods of a Job."""
        return self.core.list_namespaced_pod("default", label_selector=f"job-name={name}").items

    def pod(self, name: str) -> Any:
        """The only pod of a Job."""
        (only,) = self.wait(lambda: self.pods(name))
        return only

    def state(self, name: str) -> Any:
        """The container state of a Job's only pod, once it has one."""
        return self.wait(lambda: self.pod(name).status.container_statuses)[0].state

    def log(self, name: str, **options: Any) -> str:
        """What a Job's only pod printed."""
        pod = self.pod(name).metadata.name
        answer = self.core.read_namespaced_pod_log(pod, "default", _preload_content=False, **options)
        return answer.data.decode()

    def status(self, name: str) -> Any:
        return self.batch.read_namespaced_job_status(name, "default").status

    def reasons(self, about: str) -> list[str]:
        """Reasons of the events about one object, oldest first."""
        events = self.core.list_namespaced_event("default", field_selector=f"involvedObject.name={about}")
        return [event.reason for event in events.items]

    def finished(self, name: str) -> Any:
        """The condition that ended a Job."""

        def ended() -> Any:
            return [c for c in self.status(name).conditions or [] if c.type in ("Complete", "Failed")]

        return self.wait(ended)[0]

    def wait(self, condition: Any, seconds: float = 10) -> Any:
        return self.cluster.wait(condition, seconds)


def job(name: str, script: str, **more: Any) -> dict[str, Any]:
    """A Job of one shell script; `more` goes into the container, the pod's spec or the Job's, where it belongs."""
    container = {"name": "main", "image": "busybox:1", "command": ["sh", "-c", script]}
    pod: dict[str, Any] = {"restartPolicy": "Never", "containers": [container]}
    spec = {"backoffLimit": 0, "template": {"spec": pod}}
    for key, value in more.items():
        inner = ("env", "envFrom", "resources", "image", "command", "args", "volumeMounts")
        outer = ("backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished")
        (container if key in inner else spec if key in outer else pod)[key] = value
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


@contextmanager
def loopback_clusters(folder: Path) -> Iterator[Callable[..., Loopback]]:
    """A function that makes loopback clusters of the nodes it is given; all of them are gone afterwards."""
    with contextlib.ExitStack() as stack:
        made: list[Loopback] = []

        def make(*nodes: Node) -> Loopback:
            own = folder / str(len(made))
            cluster = Cluster(own / "pods", nodes or (Node("node-1"),), timing=QUICK)
            stack.callback(cluster.close)
            server = KubernetesServer(cluster, own / "api")
            stack.callback(server.close)
            client = server.client()
            made.append(Loopback(cluster, server, k8s.client.BatchV1Api(client), k8s.client.CoreV1Api(client)))
            return made[-1]

        yield make
