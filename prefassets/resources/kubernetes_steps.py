"""Steps as Kubernetes Jobs, watched: what dagster_k8s leaves to a Job's deadline is noticed here, and said.

`K8sStepHandler` of dagster_k8s 0.29 asks only whether a step's Job has failed. So a pod that no node has room for, or
whose image cannot be pulled, holds its run until the deadline, and the run says no more than that the Job failed. An
API server that is away for half a minute fails the run that wanted to start a step then, and with it the steps that ran
well; one that does not answer stops it for good, for there is no time limit. And if a step's pod dies together with
its run's, the run's new pod fails because the failed Job still has the name; were it gone, a new one would do nothing,
for Dagster starts no step twice in one attempt, and the run would wait for ever.
`prefassets_tests/loopback/test_faults.py` shows each.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import kubernetes
from dagster import DagsterEvent
from dagster._core.events import EngineEventData
from dagster._core.executor.step_delegating import CheckStepHealthResult, StepHandler, StepHandlerContext
from dagster_k8s.client import WHITELISTED_TRANSIENT_K8S_STATUS_CODES, DagsterKubernetesClient, PatchedApiClient
from dagster_k8s.executor import K8sStepHandler
from kubernetes.client.models import V1Job, V1Pod
from kubernetes.client.rest import ApiException
from urllib3 import Retry
from urllib3.exceptions import HTTPError

# A container that waits for one of these will not start without a change to the image, its registry or the namespace.
BROKEN = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
}
NOT_FOUND, ALREADY_EXISTS, TOO_MANY_REQUESTS = 404, 409, 429
PASSING = (*WHITELISTED_TRANSIENT_K8S_STATUS_CODES, ALREADY_EXISTS, TOO_MANY_REQUESTS)


@dataclass(frozen=True)
class Patience:
    """Seconds until something is given up."""

    start: float = 3600  # a pod that waits for a free GPU; in a shared cluster that is no fault
    broken: float = 300  # a pod that cannot start as it is: registries have bad minutes
    silent_success: float = 30  # a Job that is complete while its step has not told of its end
    outage: float = 600  # an API server that is away when a step wants to start
    request: float = 10  # one answer of the API server
    between: float = 10  # two tries


class WatchedSteps(StepHandler):
    """A `K8sStepHandler` that also looks at the pods, outlasts the API server's bad minutes, and says what happened."""

    def __init__(self, steps: K8sStepHandler, patience: Patience, client: "PatientClient | None" = None) -> None:
        """`client` is that of this process's cluster if not given; `steps` must have loaded its configuration."""
        self.steps, self.patience = steps, patience
        self.client = client or PatientClient.of_default_cluster(patience)
        steps._api_client = self.client
        self._said: dict[str, str] = {}  # Job -> what its pod waits for, as last told

    @property
    def name(self) -> str:
        return "WatchedSteps"

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        return self.steps.launch_step(step_handler_context)

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        return self.steps.terminate_step(step_handler_context)

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        """Whether the step's Job may still finish it; if not, why, in words of the cluster.

        While the API server does not answer, a step is held to be well: nobody has said otherwise.
        """
        name = self.steps._get_k8s_step_job_name(step_handler_context)
        namespace = self.steps._get_container_context(step_handler_context).namespace or "default"
        try:
            job = self.client.find_job(name, namespace)
            pods = self.client.get_pods_in_job(name, namespace)
        except (ApiException, HTTPError) as error:
            if not passing(error):
                raise
            self._say(step_handler_context, name, f"Kubernetes does not answer; the step may go on well: {error}")
            return CheckStepHealthResult.healthy()
        if job is None:
            return CheckStepHealthResult.unhealthy(f"its Kubernetes Job {name} is gone: somebody deleted it")
        if job.status.failed or has_failed(job):
            return CheckStepHealthResult.unhealthy(f"{cause(job, pods)}\n{self._details(name, namespace, pods)}")
        if job.status.succeeded and _seconds_since(job.status.completion_time) > self.patience.silent_success:
            return CheckStepHealthResult.unhealthy(f"its Kubernetes Job {name} is complete, but the step never said so")
        waits = [(f"its pod {pod.metadata.name}", wait) for pod in pods if (wait := waiting(pod)) is not None]
        if not pods and not job.status.succeeded:
            reason = "Kubernetes has made none yet; a quota may not let it"
            waits = [("a pod", Waiting(reason, _seconds_since(job.metadata.creation_timestamp), False))]
        for who, wait in waits:
            most = self.patience.broken if wait.broken else self.patience.start
            self._say(step_handler_context, name, f"{who} waits: {wait.reason}")
            if wait.seconds > most:
                details = self._details(name, namespace, pods)
                try:
                    self.client.delete_job(name, namespace)  # else it could start after all, beside the next try
                except (ApiException, HTTPError) as error:
                    if not passing(error):
                        raise
                    continue  # at the next look, then
                told = f"{who} did not start within {most:.0f} s: {wait.reason}"
                return CheckStepHealthResult.unhealthy(f"{told}\n{details}")
        return CheckStepHealthResult.healthy()

    def _say(self, context: StepHandlerContext, job: str, text: str) -> None:
        """Log what a pod waits for, once."""
        if self._said.get(job) != text:
            self._said[job] = text
            (step_key,) = context.execute_step_args.step_keys_to_execute or [""]
            DagsterEvent.engine_event(context.get_step_context(step_key), text, EngineEventData())

    def _details(self, name: str, namespace: str, pods: Sequence[V1Pod]) -> str:
        """States, last log lines and warnings of a Job's pods, or of the Job if it has none."""
        try:
            if pods:
                return "\n".join(self.client.get_pod_debug_info(pod.metadata.name, namespace, pod=pod) for pod in pods)
            return self.client.get_job_debug_info(name, namespace)
        except (ApiException, HTTPError) as error:  # the cause is known without them
            return f"Kubernetes said no more: {error}"


def passing(error: Exception) -> bool:
    """Whether the same request may well succeed in a while."""
    return isinstance(error, HTTPError) or (isinstance(error, ApiException) and error.status in PASSING)


@dataclass(frozen=True)
class Waiting:
    """Why a pod has not started, and for how long that has been so."""

    reason: str
    seconds: float
    broken: bool


def waiting(pod: V1Pod) -> Waiting | None:
    """What a pod waits for before it starts; None if it has started or is being deleted."""
    if pod.status.phase != "Pending" or pod.metadata.deletion_timestamp:
        return None
    for container in pod.status.container_statuses or []:
        state = container.state.waiting
        if state and state.reason in BROKEN:
            reason = f"{state.reason}: {state.message}" if state.message else state.reason
            # Before it had a node it waited for one, which is another matter.
            return Waiting(reason, _seconds_since(pod.status.start_time or pod.metadata.creation_timestamp), True)
    unplaced = [c for c in pod.status.conditions or [] if c.type == "PodScheduled" and c.status == "False"]
    reason = f"{unplaced[0].reason}: {unplaced[0].message}" if unplaced else "it is on a node that has not started it"
    return Waiting(reason, _seconds_since(pod.metadata.creation_timestamp), False)


def has_failed(job: V1Job) -> bool:
    """Whether a Job is over without success, even if it never had a pod that could be counted as failed."""
    ended = ("Failed", "FailureTarget")
    return any(found.type in ended and found.status == "True" for found in job.status.conditions or [])


def cause(job: V1Job, pods: Sequence[V1Pod]) -> str:
    """Why a Job has failed, in one line."""
    name = job.metadata.name
    for pod in pods:
        where = f"its pod {pod.metadata.name} on node {pod.spec.node_name}"
        if pod.status.reason:  # Evicted, NodeLost, ...: said of the pod, not of its container
            return f"{where} failed: {pod.status.reason}: {pod.status.message or 'no message'}"
        for condition in pod.status.conditions or []:
            if condition.type == "DisruptionTarget":  # the cluster took it away: a lost node, a drain, preemption
                return f"{where} was taken away: {condition.reason}: {condition.message}"
        for container in pod.status.container_statuses or []:
            ended = container.state.terminated
            if ended and ended.exit_code:
                return f"{where} ended with exit code {ended.exit_code} ({ended.reason})"
    for condition in job.status.conditions or []:
        if condition.type in ("FailureTarget", "Failed"):
            return f"its Kubernetes Job {name} failed: {condition.reason}: {condition.message}"
    return f"its Kubernetes Job {name} failed; its pod was deleted"


class PatientClient(DagsterKubernetesClient):
    """dagster_k8s' client, for a run that has other steps to lose: asks again for minutes, and never waits for ever."""

    patience: Patience

    @classmethod
    def of_default_cluster(cls, patience: Patience) -> "PatientClient":
        """A client of the cluster whose configuration was loaded last."""
        configuration = kubernetes.client.Configuration.get_default_copy()
        configuration.retries = Retry(total=1)  # of each request; urllib3's three would multiply the time limit
        return cls.of(_TimedApiClient(configuration), patience)

    @classmethod
    def of(cls, api: kubernetes.client.ApiClient, patience: Patience) -> "PatientClient":
        if isinstance(api, _TimedApiClient):
            api.seconds = patience.request
        batch, core = kubernetes.client.BatchV1Api(api), kubernetes.client.CoreV1Api(api)
        client = cls(batch_api=batch, core_api=core, logger=logging.info, sleeper=time.sleep, timer=time.monotonic)
        client.patience = patience
        return client

    def find_job(self, name: str, namespace: str) -> V1Job | None:
        """A Job with its status, asked once."""
        try:
            return self.batch_api.read_namespaced_job_status(name, namespace)
        except ApiException as error:
            if error.status == NOT_FOUND:
                return None
            raise

    def create_namespaced_job_with_retries(
        self, body: V1Job, namespace: str, wait_time_between_attempts: float | None = None
    ) -> None:
        """Make a Job, through outages of minutes.

        Raises:
            ApiException, HTTPError: it was refused, or there was no answer for `patience.outage`.
        """
        until = self.timer() + self.patience.outage
        while True:
            try:
                return self._create(body, namespace)
            except (ApiException, HTTPError) as error:
                if self.timer() >= until or not passing(error):
                    raise
            self.sleeper(self.patience.between if wait_time_between_attempts is None else wait_time_between_attempts)

    def _create(self, body: V1Job, namespace: str) -> None:
        """Make a Job unless it is there: from a request whose answer was lost, or from a run's pod that died since.

        If that one has failed, the next check says so, and the step's retry policy decides.
        """
        try:
            self.batch_api.create_namespaced_job(namespace, body)
        except ApiException as error:
            if error.status != ALREADY_EXISTS or self.find_job(body.metadata.name, namespace) is None:
                raise


class _TimedApiClient(PatchedApiClient):
    """Gives every request a time limit."""

    seconds: float = 10

    def call_api(self, *arguments: Any, _request_timeout: float | None = None, **options: Any) -> Any:
        return super().call_api(*arguments, _request_timeout=_request_timeout or self.seconds, **options)


def _seconds_since(moment: datetime | None) -> float:
    return 0.0 if moment is None else (datetime.now(UTC) - moment).total_seconds()
