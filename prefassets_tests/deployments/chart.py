"""What Dagster's Helm chart makes of the values that we ship: dagster.yaml, and what the code location is told of runs.

The chart cannot be part of this repository, so this repeats its templates `configmap-instance.yaml` (with helpers)
and `k8sContainerContext`, for exactly the keys that our values use: an unknown key is an error, not ignored. They are
those of chart 1.12.19, the newest that could be read. It names Dagster's own modules `dagster.core`, which Dagster 1.13
no longer has, so here they are called what they are called there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

KUBERNETES = Path(__file__).parents[2] / "deployments/kubernetes"
RELEASE, NAMESPACE = "dagster", "prefassets"

Values = dict[str, Any]

# What the chart's own values.yaml says where ours are silent, of the keys that are read here.
CHART_DEFAULTS: Values = {
    "global": {"dagsterHome": "/opt/dagster/dagster_home"},
    "dagster-user-deployments": {"imagePullSecrets": []},
    "postgresql": {"postgresqlHost": "", "postgresqlParams": {}, "service": {"port": 5432}},
    "dagsterDaemon": {
        "sensors": {"useThreads": True, "numWorkers": 4},
        "schedules": {"useThreads": True, "numWorkers": 4},
    },
}

_TRANSLATED = {
    "global.dagsterHome", "global.postgresqlSecretName", "global.serviceAccountName",
    "additionalInstanceConfig", "computeLogManager.type", "telemetry.enabled",
    "concurrency.enabled", "concurrency.pools", "concurrency.runs",
    "dagsterDaemon.runCoordinator", "dagsterDaemon.runMonitoring", "dagsterDaemon.runRetries",
    "dagsterDaemon.schedules", "dagsterDaemon.sensors",
    "postgresql.enabled", "postgresql.postgresqlDatabase", "postgresql.postgresqlHost", "postgresql.postgresqlParams",
    "postgresql.postgresqlScheme", "postgresql.postgresqlUsername", "postgresql.service",
    "retention", "runLauncher.type", "runLauncher.config.customRunLauncher",
    "dagster-user-deployments.deployments", "dagster-user-deployments.imagePullSecrets",
}  # fmt: skip
_OF_PODS_ONLY = {  # the chart puts these into Deployments and the like: nothing of them is in dagster.yaml
    "dagster-user-deployments.enableSubchart", "dagster-user-deployments.enabled",
    "dagster-user-deployments.rbacEnabled", "dagster-user-deployments.serviceAccount",
    "dagsterDaemon.image", "dagsterDaemon.podSecurityContext", "dagsterDaemon.resources",
    "dagsterDaemon.securityContext", "dagsterDaemon.volumeMounts", "dagsterDaemon.volumes",
    "dagsterWebserver", "generateCeleryConfigSecret", "generatePostgresqlPasswordSecret", "imagePullSecrets",
    "postgresql.existingSecret", "postgresql.shmVolume", "postgresql.volumePermissions", "rbacEnabled",
    "serviceAccount.create",
}  # fmt: skip
_RUN_MONITORING = {
    "enabled": "enabled",
    "startTimeoutSeconds": "start_timeout_seconds",
    "cancelTimeoutSeconds": "cancel_timeout_seconds",
    "maxResumeRunAttempts": "max_resume_run_attempts",
    "pollIntervalSeconds": "poll_interval_seconds",
    "freeSlotsAfterRunEndSeconds": "free_slots_after_run_end_seconds",
}
_QUEUE = {
    "dequeueIntervalSeconds": "dequeue_interval_seconds",
    "dequeueUseThreads": "dequeue_use_threads",
    "dequeueNumWorkers": "dequeue_num_workers",
}
_THREADS = {"useThreads": "use_threads", "numWorkers": "num_workers"}
_POOLS = {
    "granularity": "granularity",
    "defaultLimit": "default_limit",
    "opGranularityRunBuffer": "op_granularity_run_buffer",
}
_RUNS = {"maxConcurrentRuns": "max_concurrent_runs"}
_DEPLOYMENT = {
    "name", "image", "dagsterApiGrpcArgs", "port", "includeConfigInLaunchedRuns", "env", "envConfigMaps", "envSecrets",
    "volumes", "volumeMounts", "podSecurityContext", "securityContext", "resources", "readinessProbe",
}  # fmt: skip


class UnknownKey(ValueError):
    """The values have a key that is not translated here."""


def merged(*layers: Mapping[str, Any]) -> Values:
    """One set of values, as Helm makes it of several `--values` files: maps are merged, all else is replaced."""
    whole: Values = {}
    for layer in layers:
        for key, value in layer.items():
            both_are_maps = isinstance(value, Mapping) and isinstance(whole.get(key), dict)
            whole[key] = merged(whole[key], value) if both_are_maps else value
    return whole


def shipped(*more: str) -> Values:
    """The values that we ship, and those of further files beside values.yaml, e.g. `storage/volume-values.yaml`."""
    return merged(*(yaml.safe_load((KUBERNETES / name).read_text()) for name in ("values.yaml", *more)))


def _renamed(values: Mapping[str, Any], names: Mapping[str, str], where: str) -> Values:
    unknown = set(values) - set(names)
    if unknown:
        raise UnknownKey(f"{where}: {', '.join(sorted(unknown))}: translated are {', '.join(names)}")
    return {new: values[old] for old, new in names.items() if old in values}


def _paths(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in values.items():
        path = f"{above}{key}"
        if path in _TRANSLATED or path in _OF_PODS_ONLY or not isinstance(value, Mapping) or not value:
            yield path
        else:
            yield from _paths(value, f"{path}.")


def _complete(values: Mapping[str, Any]) -> Values:
    unknown = sorted(set(_paths(values)) - _TRANSLATED - _OF_PODS_ONLY)
    if unknown:
        raise UnknownKey(f"{', '.join(unknown)}: neither translated into dagster.yaml nor known to be of pods only")
    return merged(CHART_DEFAULTS, values)


def _names(sources: list[Mapping[str, str]]) -> list[str]:
    return [source["name"] for source in sources]


def _postgres(values: Values, release: str) -> Values:
    postgresql = values["postgresql"]
    return {
        "postgres_db": {
            "username": postgresql["postgresqlUsername"],
            "password": {"env": "DAGSTER_PG_PASSWORD"},
            "hostname": postgresql["postgresqlHost"] or f"{release}-postgresql",
            "db_name": postgresql["postgresqlDatabase"],
            "port": postgresql["service"]["port"],
            "params": postgresql["postgresqlParams"],
            "scheme": postgresql["postgresqlScheme"],
        }
    }


def _expect(what: object, wanted: object) -> None:
    if what != wanted:
        raise UnknownKey(f"{what!r}: only {wanted!r} is translated")


def dagster_yaml(values: Mapping[str, Any], release: str = RELEASE, namespace: str = NAMESPACE) -> Values:
    """The dagster.yaml that the chart gives the web server and the daemon.

    Raises:
        UnknownKey: a value would be rendered by the chart in a way that is not repeated here.
    """
    values = _complete(values)
    daemon, queue = values["dagsterDaemon"], values["dagsterDaemon"]["runCoordinator"]
    _expect(values["runLauncher"]["type"], "CustomRunLauncher")
    _expect(values["computeLogManager"]["type"], "NoOpComputeLogManager")
    _expect((queue["enabled"], queue["type"]), (True, "QueuedRunCoordinator"))
    _expect(daemon["runRetries"], {"enabled": False})
    _expect((values["concurrency"]["enabled"], values["retention"]["enabled"]), (True, True))
    retention = {name: kind["purgeAfterDays"] for name, kind in values["retention"].items() if name != "enabled"}
    storage = {"module": "dagster_postgres", "config": _postgres(values, release)}
    return {
        "scheduler": {"module": "dagster._core.scheduler", "class": "DagsterDaemonScheduler"},
        "schedule_storage": storage
        | {"module": "dagster_postgres.schedule_storage", "class": "PostgresScheduleStorage"},
        "run_storage": storage | {"module": "dagster_postgres.run_storage", "class": "PostgresRunStorage"},
        "event_log_storage": storage | {"module": "dagster_postgres.event_log", "class": "PostgresEventLogStorage"},
        "run_launcher": values["runLauncher"]["config"]["customRunLauncher"],
        "run_coordinator": {
            "module": "dagster._core.run_coordinator",
            "class": "QueuedRunCoordinator",
            "config": _renamed(queue["config"]["queuedRunCoordinator"], _QUEUE, "queuedRunCoordinator"),
        },
        "compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"},
        "run_monitoring": _renamed(daemon["runMonitoring"], _RUN_MONITORING, "runMonitoring"),
        "sensors": _renamed(daemon["sensors"], _THREADS, "sensors"),
        "schedules": _renamed(daemon["schedules"], _THREADS, "schedules"),
        "telemetry": {"enabled": values["telemetry"]["enabled"]},
        "retention": {
            name: {"purge_after_days": retention[key]}
            for key, name in (("sensor", "sensor"), ("schedule", "schedule"), ("autoMaterialize", "auto_materialize"))
            if key in retention
        },
        "concurrency": {
            "pools": _renamed(values["concurrency"]["pools"], _POOLS, "concurrency.pools"),
            "runs": _renamed(values["concurrency"]["runs"], _RUNS, "concurrency.runs"),
        },
        **values["additionalInstanceConfig"],
    }


@dataclass(frozen=True)
class CodeLocation:
    """How the chart starts the gRPC server that serves our definitions, and what it tells it of runs and steps."""

    name: str
    image: str
    arguments: tuple[str, ...]
    port: int
    environment: dict[str, str]  # set here; those of `env_config_maps` and `env_secrets` come on top
    container_context: Values  # {"k8s": ...}, in dagster_k8s's words


def code_location(values: Mapping[str, Any], release: str = RELEASE, namespace: str = NAMESPACE) -> CodeLocation:
    """The one code location of the values.

    Raises:
        UnknownKey: a value would be rendered by the chart in a way that is not repeated here.
    """
    values = _complete(values)
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    if set(deployment) - _DEPLOYMENT:
        raise UnknownKey(f"deployment {deployment['name']}: {', '.join(sorted(set(deployment) - _DEPLOYMENT))}")
    _expect(deployment["includeConfigInLaunchedRuns"], {"enabled": True})
    image = deployment["image"]
    by_digest = f"@{image['digest']}" if image.get("digest") else f":{image['tag']}"
    full_name, port = f"{release}-dagster-user-deployments", deployment["port"]
    context = {
        "image_pull_policy": image["pullPolicy"],
        "image_pull_secrets": values["dagster-user-deployments"]["imagePullSecrets"],
        "env_config_maps": [
            f"{full_name}-{deployment['name']}-user-env",
            *_names(deployment.get("envConfigMaps", [])),
        ],
        "env_secrets": _names(deployment.get("envSecrets", [])),
        "volume_mounts": deployment.get("volumeMounts"),
        "volumes": deployment.get("volumes"),
        "resources": deployment.get("resources"),
        "namespace": namespace,
        "service_account_name": values["global"]["serviceAccountName"],
        "env": deployment.get("env"),
        "run_k8s_config": {"pod_spec_config": {"automount_service_account_token": True}},
    }
    return CodeLocation(
        name=deployment["name"],
        image=f"{image['repository']}{by_digest}",
        arguments=("dagster", "api", "grpc", "-h", "0.0.0.0", "-p", str(port), *deployment["dagsterApiGrpcArgs"]),
        port=port,
        environment={
            "DAGSTER_HOME": values["global"]["dagsterHome"],
            "DAGSTER_K8S_PIPELINE_RUN_NAMESPACE": namespace,
            "DAGSTER_K8S_PIPELINE_RUN_ENV_CONFIGMAP": f"{full_name}-pipeline-env",
            **{variable["name"]: variable["value"] for variable in deployment.get("env", [])},
        },
        container_context={"k8s": {key: value for key, value in context.items() if value}},
    )
