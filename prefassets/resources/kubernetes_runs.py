"""Runs as Kubernetes Jobs, started and watched by Dagster's daemon: an API server that is away is no dead run.

`K8sRunLauncher` of dagster_k8s 0.29 takes "cannot ask" for "is dead". If the API server refuses connections at the
moment when run monitoring looks, the daemon starts a second pod for a run that is well, or, if that fails too, marks
the run as failed while its steps go on; and a run that is started then fails. A Job that was made although its answer
came too late counts as a conflict, and the run as failed. `prefassets_tests/loopback/test_faults.py` shows each.
"""

from typing import Any

from dagster import DagsterRun
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster_k8s import K8sRunLauncher

from prefassets.resources.kubernetes_steps import Patience, PatientClient

GONE = "could not be found"  # how dagster_k8s says of a Job that it has asked, and there is none


class PatientRunLauncher(K8sRunLauncher):
    """`K8sRunLauncher`, with its config, whose runs outlast ten minutes without an API server.

    For `runLauncher` of the Helm chart; the daemon and the webserver must have this package in their image.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self._api_client = PatientClient.of_default_cluster(Patience())

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """As dagster_k8s says, but a run of which nobody can say anything is held to be running."""
        found = super().check_run_worker_health(run)
        if found.status is WorkerStatus.UNKNOWN and not (found.msg or "").endswith(GONE):
            return CheckRunHealthResult(WorkerStatus.RUNNING, f"the Kubernetes API server does not say: {found.msg}")
        return found
