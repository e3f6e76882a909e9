"""Dagster on the loopback cluster as its Helm chart deploys what we ship: daemon, webserver and code location as pods.

Each is a real process with what the chart gives its pod: the service account with the rights of `rbac.yaml`,
`dagster.yaml` from a ConfigMap, the password of PostgreSQL from a Secret, the image's environment. What runs and steps
get follows from the values. Only hosts, ports and what a test names differ.
"""

import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from prefassets_tests.deployments import chart
from prefassets_tests.deployments.chart import KUBERNETES, NAMESPACE, RELEASE
from prefassets_tests.loopback.cluster import Cluster, Node, Timing, image_environment
from prefassets_tests.loopback.fork_server import MORE, server_for
from prefassets_tests.loopback.kubernetes import KubernetesServer
from prefassets_tests.loopback.objects import Object
from prefassets_tests.loopback.postgres import Database, free_port, postgres

DIGEST = "sha256:" + "5e1f" * 16
IMAGE = {"repository": "registry.example/prefassets", "digest": DIGEST}
DOCKERFILE = KUBERNETES.parent / "docker/Dockerfile"
ASKED_EVERY = 1.0  # seconds
WRITABLE = ("/scratch", "/opt/dagster/dagster_home")  # folders that the image makes for its user
INSTANCE, ENVIRONMENT, WORKSPACE = f"{RELEASE}-instance", f"{RELEASE}-pipeline-env", f"{RELEASE}-workspace-yaml"


def image() -> dict[str, str]:
    """The environment of our image: this checkout's Python, and what the Dockerfile sets beside it."""
    set_there = "".join(re.findall(r"^ENV (HOME=(?:.*\\\n)*.*)$", DOCKERFILE.read_text(), flags=re.MULTILINE))
    assert "PREFASSETS_LOCAL=/scratch/" in set_there
    return image_environment() | dict(re.findall(r"(\w+)=(\S+)", set_there))


def manifests(name: str) -> dict[str, Object]:
    """The documents of a manifest that we ship, by kind."""
    return {document["kind"]: document for document in yaml.safe_load_all((KUBERNETES / name).read_text())}


@dataclass
class Deployment:
    """Dagster on a loopback cluster, and a way to ask it things.

    `module` is served in place of prefassets.definitions. `site` are values as of a site.yaml, `instance` entries of
    dagster.yaml that a test changes, `settings` are put into settings.yaml, `environment` is for runs and steps only.
    """

    cluster: Cluster
    server: KubernetesServer
    database: Database
    module: str
    site: Mapping[str, Any] = field(default_factory=dict)
    instance: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    secret: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    location: str = ""

    def values(self) -> dict[str, Any]:
        """The values given to Helm: ours, where the home's keys are, the site's, and the image."""
        database = {
            "enabled": False,
            "postgresqlHost": self.database.host,
            "postgresqlUsername": self.database.user,
            "postgresqlDatabase": self.database.name,
            "service": {"port": self.database.port},
        }
        layers = ["storage/s3-keys-values.yaml"] if self.secret else []
        values = chart.merged(chart.shipped(*layers), {"postgresql": database}, self.site)
        (deployment,) = values["dagster-user-deployments"]["deployments"]
        deployment |= {"image": {**deployment["image"], **IMAGE}, "port": free_port()}
        deployment["dagsterApiGrpcArgs"] = ["--module-name", self.module]
        return values

    def install(self) -> None:
        """What `kubectl apply` and `helm install` make: configuration, then the three pods."""
        cluster, values = self.cluster, self.values()
        location = chart.code_location(values)
        self.location = location.name
        rights = manifests("rbac.yaml")
        cluster.add_namespace(NAMESPACE)
        cluster.add_service_account(NAMESPACE, rights["ServiceAccount"]["metadata"]["name"], rights["Role"]["rules"])
        cluster.add_config_map(NAMESPACE, "prefassets", manifests("settings.yaml")["ConfigMap"]["data"] | self.settings)
        cluster.add_secret(NAMESPACE, "prefassets-postgresql", {"postgresql-password": self.database.password})
        if self.secret:
            cluster.add_secret(NAMESPACE, "prefassets-s3", self.secret)

        settings = chart.merged(chart.dagster_yaml(values), self.instance)
        cluster.add_config_map(NAMESPACE, INSTANCE, {"dagster.yaml": yaml.safe_dump(settings)})
        cluster.add_config_map(NAMESPACE, ENVIRONMENT, {})
        cluster.add_config_map(NAMESPACE, location.container_context["k8s"]["env_config_maps"][0], location.environment)
        server = {"host": "127.0.0.1", "port": location.port, "location_name": location.name}
        cluster.add_config_map(
            NAMESPACE, WORKSPACE, {"workspace.yaml": yaml.safe_dump({"load_from": [{"grpc_server": server}]})}
        )
        self._start_code_location(location, values)
        home = chart.merged(chart.CHART_DEFAULTS, values)["global"]["dagsterHome"]
        workspace = ["-w", "/dagster-workspace/workspace.yaml"]
        self._start("daemon", ["dagster-daemon", "run", *workspace], home, values["dagsterDaemon"])
        port = free_port()
        web = ["dagster-webserver", "-h", "127.0.0.1", "-p", str(port), *workspace]
        self._start("webserver", web, home, values["dagsterWebserver"])
        self.url = f"http://127.0.0.1:{port}"

    def _start_code_location(self, location: chart.CodeLocation, values: Mapping[str, Any]) -> None:
        k8s = location.container_context["k8s"]
        (deployment,) = values["dagster-user-deployments"]["deployments"]
        environment = location.environment | {
            "DAGSTER_CURRENT_IMAGE": location.image,
            "DAGSTER_CONTAINER_CONTEXT": json.dumps(location.container_context),
        }
        container = {
            "image": location.image,
            "command": [*location.arguments],
            "env": [{"name": name, "value": value} for name, value in environment.items()] + [self._password()],
            "envFrom": [{"configMapRef": {"name": name}} for name in (ENVIRONMENT, *k8s["env_config_maps"])],
            "resources": deployment["resources"],
            "volumeMounts": deployment["volumeMounts"],
        }
        self._create("code", container, deployment["volumes"])

    def _start(self, name: str, command: Sequence[str], home: str, pod: Mapping[str, Any]) -> None:
        """The web server or the daemon."""
        container = {
            "image": f"{IMAGE['repository']}@{IMAGE['digest']}",
            "command": [*command],
            "env": [{"name": "DAGSTER_HOME", "value": home}, self._password()],
            "envFrom": [{"configMapRef": {"name": ENVIRONMENT}}],
            "resources": pod["resources"],
            "volumeMounts": [
                {"name": "dagster-instance", "mountPath": f"{home}/dagster.yaml", "subPath": "dagster.yaml"},
                {"name": "dagster-workspace", "mountPath": "/dagster-workspace"},
                *pod["volumeMounts"],
            ],
        }
        maps = [
            {"name": "dagster-instance", "configMap": {"name": INSTANCE}},
            {"name": "dagster-workspace", "configMap": {"name": WORKSPACE}},
        ]
        self._create(name, container, [*maps, *pod["volumes"]])

    def _create(self, name: str, container: Object, volumes: Sequence[Object]) -> None:
        spec = {
            "serviceAccountName": "prefassets",
            "restartPolicy": "Never",
            "containers": [{"name": "dagster", **container}],
            "volumes": [*volumes],
        }
        self.cluster.create("pods", NAMESPACE, {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec})

    def _password(self) -> Object:
        reference = {"name": "prefassets-postgresql", "key": "postgresql-password"}
        return {"name": "DAGSTER_PG_PASSWORD", "valueFrom": {"secretKeyRef": reference}}

    def wait_until_up(self, seconds: float) -> None:
        """Wait until the webserver has loaded the code location and the daemon has been heard of."""

        def up() -> bool:
            ended = [pod for pod in self.cluster.objects("pods", NAMESPACE) if pod["status"]["phase"] == "Failed"]
            assert not ended, self.cluster.describe()
            try:
                said = self.ask("{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")
            except OSError:
                return False
            return bool(said["repositoriesOrError"].get("nodes"))

        self.wait(up, seconds, "Dagster coming up")

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

    def backfill(self, assets: Sequence[Sequence[str]], partitions: Sequence[str]) -> str:
        """Start a backfill of assets, as the web page does; its id."""
        said = self.ask(
            """mutation ($backfill: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $backfill) {
                 __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }""",
            backfill={"assetSelection": [{"path": list(path)} for path in assets], "partitionNames": list(partitions)},
        )["launchPartitionBackfill"]
        assert said["__typename"] == "LaunchBackfillSuccess", said
        return said["backfillId"]

    def runs(self) -> list[dict[str, Any]]:
        """All runs, oldest first: id, status, when it began and ended, job, tags, and assets that were asked for."""
        said = self.ask(
            """{ runsOrError { ... on Runs { results {
                   runId status startTime endTime jobName tags { key value } assetSelection { path } } } } }"""
        )
        for run in said["runsOrError"]["results"]:
            run["tags"] = {tag["key"]: tag["value"] for tag in run["tags"]}
        return said["runsOrError"]["results"][::-1]

    def last_tick(self, sensor: str) -> dict[str, Any] | None:
        """The newest look of a sensor that is over: when it began (seconds since the epoch), and runs it asked for."""
        said = self.ask(
            """query ($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) { ... on Sensor {
                 sensorState { ticks(limit: 5) { timestamp status runIds } } } } }""",
            sensor={
                "repositoryLocationName": self.location,
                "repositoryName": "__repository__",
                "sensorName": sensor,
            },
        )
        over = [tick for tick in said["sensorOrError"]["sensorState"]["ticks"] if tick["status"] != "STARTED"]
        return max(over, key=lambda tick: tick["timestamp"], default=None)

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

    def told(self, run: str) -> str:
        """All that Dagster logged of a run, errors too."""
        lines = []
        for event in self.events(run):
            error = event.get("error") or {}
            lines += [
                str(event.get("message")),
                error.get("message", ""),
                (error.get("cause") or {}).get("message", ""),
            ]
        return "\n".join(filter(None, lines))

    def moment(self, run: str, kind: str) -> float:
        """When Dagster logged the first event of this kind, in seconds since the epoch."""
        return next(float(event["timestamp"]) / 1000 for event in self.events(run) if event.get("eventType") == kind)

    def wait(self, condition: Callable[[], Any], seconds: float, what: str) -> Any:
        """`Cluster.wait` for a condition that asks Dagster, of whose processor time an answer takes a good part."""
        return self.cluster.wait(condition, seconds, what, every=ASKED_EVERY)

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
            time.sleep(ASKED_EVERY)
        return status

    def pod(self, run: str, component: str) -> str | None:
        """Name of the newest running pod of a run: its `run_worker` or a `step_worker`."""
        running = self.cluster.running(**{"dagster/run-id": run, "app.kubernetes.io/component": component})
        return running[-1] if running else None


@contextmanager
def deployed(
    folder: Path,
    module: str = "prefassets_tests.loopback.toy",
    nodes: Sequence[Node] = (Node("cpu-1"), Node("gpu-1", gpus=2)),
    timing: Timing = Timing(),  # noqa: B008
    start_seconds: float = 120,
    imports: Sequence[str] = (),
    **more: Any,
) -> Iterator[Deployment]:
    """A cluster with PostgreSQL and Dagster on it, all of it gone afterwards; `more` are fields of the deployment.

    `imports` are what most pods will import, beside Dagster: it is then done once for all of them.
    """
    environment = image() | ({MORE: " ".join(imports)} if imports else {})
    server_for(environment)  # it imports while PostgreSQL starts
    with postgres() as database:
        cluster = Cluster(folder / "pods", nodes, timing=timing, image=environment, writable=WRITABLE)
        server = KubernetesServer(cluster, folder / "api")
        try:
            made = Deployment(cluster, server, database, module, **more)
            made.install()
            made.wait_until_up(start_seconds)
            yield made
        finally:
            cluster.close()
            server.close()
