"""Dagster on the loopback cluster as its Helm chart deploys it: daemon, webserver and code location as pods.

Each is a real process with what the chart gives its pod: the service account, `dagster.yaml` from a ConfigMap, the
password of PostgreSQL from a Secret.
"""

import json
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from prefassets_tests.loopback.cluster import Cluster, Node, Timing
from prefassets_tests.loopback.kubernetes import KubernetesServer
from prefassets_tests.loopback.objects import Object
from prefassets_tests.loopback.postgres import Database, free_port, postgres

NAMESPACE = "prefassets"
ACCOUNT = "prefassets"
IMAGE = "registry.example/prefassets:0.1.0"
DAGSTER_HOME = "/opt/dagster/dagster_home"

RIGHTS: Sequence[Mapping[str, Sequence[str]]] = (
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "delete", "list"]},
    {"apiGroups": ["batch"], "resources": ["jobs/status"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["delete", "get", "list"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
)


def dagster_yaml(database: Database, **changes: Any) -> Object:
    """The instance's settings, as the chart renders them; `changes` replace whole entries."""
    storage = {
        "postgres_db": {
            "username": database.user,
            "password": {"env": "DAGSTER_PG_PASSWORD"},
            "hostname": database.host,
            "port": database.port,
            "db_name": database.name,
            "scheme": "postgresql+psycopg2",  # SQLAlchemy 2.1 takes `postgresql` to mean psycopg 3
        }
    }
    return {
        "storage": {"postgres": storage},
        "run_launcher": {
            "module": "prefassets.resources.kubernetes_runs",
            "class": "PatientRunLauncher",
            "config": {
                "load_incluster_config": True,
                "job_namespace": NAMESPACE,
                "image_pull_policy": "IfNotPresent",
                "service_account_name": ACCOUNT,
                "dagster_home": {"env": "DAGSTER_HOME"},
                "instance_config_map": {"env": "DAGSTER_K8S_INSTANCE_CONFIG_MAP"},
                "postgres_password_secret": {"env": "DAGSTER_K8S_PG_PASSWORD_SECRET"},
                "env_config_maps": [{"env": "DAGSTER_K8S_PIPELINE_RUN_ENV_CONFIGMAP"}],
                "volume_mounts": [
                    {"name": "dagster-instance", "mountPath": f"{DAGSTER_HOME}/dagster.yaml", "subPath": "dagster.yaml"}
                ],
                "volumes": [{"name": "dagster-instance", "configMap": {"name": "dagster-instance"}}],
            },
        },
        "run_coordinator": {
            "module": "dagster.core.run_coordinator",
            "class": "QueuedRunCoordinator",
            "config": {"dequeue_interval_seconds": 5, "dequeue_use_threads": True, "dequeue_num_workers": 4},
        },
        "concurrency": {"pools": {"granularity": "op", "default_limit": 1}, "runs": {"max_concurrent_runs": 10}},
        "run_monitoring": {
            "enabled": True,
            "start_timeout_seconds": 900,
            "cancel_timeout_seconds": 300,
            "max_resume_run_attempts": 3,
            "poll_interval_seconds": 60,
        },
        "compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"},
        "telemetry": {"enabled": False},
        **changes,
    }


@dataclass
class Deployment:
    """Dagster on a loopback cluster, and a way to ask it things."""

    cluster: Cluster
    server: KubernetesServer
    database: Database
    module: str
    location: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    url: str = ""

    def install(self) -> None:
        """What `helm install` makes: configuration, then the three pods."""
        cluster = self.cluster
        cluster.add_namespace(NAMESPACE)
        cluster.add_service_account(NAMESPACE, ACCOUNT, RIGHTS)
        cluster.add_secret(NAMESPACE, "prefassets-postgresql", {"postgresql-password": self.database.password})
        settings = dagster_yaml(self.database, **self.settings)
        cluster.add_config_map(NAMESPACE, "dagster-instance", {"dagster.yaml": yaml.safe_dump(settings)})
        launching = {
            "DAGSTER_HOME": DAGSTER_HOME,
            "DAGSTER_K8S_PG_PASSWORD_SECRET": "prefassets-postgresql",
            "DAGSTER_K8S_INSTANCE_CONFIG_MAP": "dagster-instance",
            "DAGSTER_K8S_PIPELINE_RUN_NAMESPACE": NAMESPACE,
            "DAGSTER_K8S_PIPELINE_RUN_ENV_CONFIGMAP": "dagster-pipeline-env",
        }
        cluster.add_config_map(NAMESPACE, "dagster-pipeline-env", launching | dict(self.environment))
        code, web = free_port(), free_port()
        servers = [{"grpc_server": {"host": "127.0.0.1", "port": code, "location_name": self.location}}]
        cluster.add_config_map(
            NAMESPACE, "dagster-workspace", {"workspace.yaml": yaml.safe_dump({"load_from": servers})}
        )
        workspace = ["-w", "/dagster-workspace/workspace.yaml"]
        self.start("code", ["dagster", "api", "grpc", "-h", "127.0.0.1", "-p", str(code), "-m", self.module])
        self.start("daemon", ["dagster-daemon", "run", *workspace])
        self.start("webserver", ["dagster-webserver", "-h", "127.0.0.1", "-p", str(web), *workspace])
        self.url = f"http://127.0.0.1:{web}"

    def start(self, name: str, command: Sequence[str]) -> None:
        """One of the chart's own pods."""
        mounts = {f"{DAGSTER_HOME}/dagster.yaml": "dagster-instance", "/dagster-workspace": "dagster-workspace"}
        container = {
            "name": "dagster",
            "image": IMAGE,
            "command": list(command),
            "env": [
                {
                    "name": "DAGSTER_PG_PASSWORD",
                    "valueFrom": {"secretKeyRef": {"name": "prefassets-postgresql", "key": "postgresql-password"}},
                },
                {"name": "DAGSTER_CURRENT_IMAGE", "value": IMAGE},
            ],
            "envFrom": [{"configMapRef": {"name": "dagster-pipeline-env"}}],
            "volumeMounts": [
                {"name": name, "mountPath": path} | ({"subPath": "dagster.yaml"} if path.endswith("yaml") else {})
                for path, name in mounts.items()
            ],
        }
        spec = {
            "serviceAccountName": ACCOUNT,
            "restartPolicy": "Never",
            "containers": [container],
            "volumes": [{"name": name, "configMap": {"name": name}} for name in mounts.values()],
        }
        self.cluster.create("pods", NAMESPACE, {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec})

    def wait_until_up(self, seconds: float = 60) -> None:
        """Wait until the webserver has loaded the code location and the daemon has been heard of."""

        def up() -> bool:
            ended = [pod for pod in self.cluster.objects("pods", NAMESPACE) if pod["status"]["phase"] == "Failed"]
            assert not ended, self.cluster.describe()
            try:
                said = self.ask("{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")
            except OSError:
                return False
            return bool(said["repositoriesOrError"].get("nodes"))

        self.cluster.wait(up, seconds, "Dagster coming up")

    def ask(self, query: str, **variables: Any) -> Any:
        """One GraphQL request; its data."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            said = json.load(answer)
        assert "errors" not in said, said
        return said["data"]

    def launch(self, job: str, config: Mapping[str, Any]) -> str:
        """Start a run; its id."""
        said = self.ask(
            """mutation ($run: ExecutionParams!) { launchRun(executionParams: $run) {
                 __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }""",
            run={
                "selector": {
                    "repositoryLocationName": self.location,
                    "repositoryName": "__repository__",
                    "jobName": job,
                },
                "runConfigData": json.dumps(config),
            },
        )["launchRun"]
        assert said["__typename"] == "LaunchRunSuccess", said
        return said["run"]["runId"]

    def status(self, run: str) -> str:
        said = self.ask("query ($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }", run=run)
        return said["runOrError"]["status"]

    def events(self, run: str) -> list[dict[str, Any]]:
        """What Dagster logged of a run: type, step, message, seconds since the epoch."""
        said = self.ask(
            """query ($run: ID!) { logsForRun(runId: $run, limit: 1000) { ... on EventConnection { events {
                 ... on MessageEvent { eventType message stepKey timestamp }
                 ... on ErrorEvent { error { message cause { message } } } } } } }""",
            run=run,
        )
        return said["logsForRun"]["events"]

    def wait_for(self, run: str, *statuses: str, seconds: float = 60) -> str:
        """Wait until a run has one of these statuses.

        Raises:
            TimeoutError: with what the run's events and every pod's last lines say.
        """
        until = time.monotonic() + seconds
        while (status := self.status(run)) not in statuses:
            if time.monotonic() > until:
                told = "\n".join(f"{event.get('eventType')} {event.get('message')}" for event in self.events(run))
                raise TimeoutError(f"run {run} is {status} after {seconds} s\n{told}\n{self.cluster.describe()}")
            time.sleep(0.2)
        return status

    def pod(self, run: str, component: str) -> str | None:
        """Name of the newest running pod of a run: its `run_worker` or a `step_worker`."""
        running = self.cluster.running(**{"dagster/run-id": run, "app.kubernetes.io/component": component})
        return running[-1] if running else None


@contextmanager
def deployed(
    folder: Path,
    module: str = "prefassets_tests.loopback.toy",
    location: str = "toy",
    nodes: Sequence[Node] = (Node("cpu-1"), Node("gpu-1", gpus=2)),
    timing: Timing = Timing(),  # noqa: B008
    settings: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Deployment]:
    """A cluster with PostgreSQL and Dagster on it, all of it gone afterwards."""
    with postgres() as database:
        cluster = Cluster(folder / "pods", nodes, timing=timing)
        server = KubernetesServer(cluster, folder / "api")
        try:
            made = Deployment(cluster, server, database, module, location, settings or {}, environment or {})
            made.install()
            made.wait_until_up()
            yield made
        finally:
            cluster.close()
            server.close()
