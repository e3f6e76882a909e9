"""The executor of a cluster: steps that ask for hardware are Kubernetes Jobs, all other steps run in the run's own pod.

Judging a study is some fifty steps of a second or less: a pod for each would take most of its time to start.
"""

from collections.abc import Iterator

import dagster as dg
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.events import DagsterEvent
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.execution.step_dependency_config import StepDependencyConfig
from dagster._core.executor.in_process import InProcessExecutor
from dagster._core.executor.step_delegating import StepDelegatingExecutor
from dagster_k8s import k8s_job_executor
from dagster_k8s.executor import K8sStepHandler

from prefassets.resources.kubernetes_steps import Patience, WatchedSteps
from prefassets.settings import settings

_ASKS = "dagster-k8s/config"


class JobsForSteps(dg.Executor):
    """Runs a plan in which any step asks for hardware as one Kubernetes Job a step, any other in this process."""

    def __init__(self, jobs: dg.Executor) -> None:
        self.jobs = jobs
        self.here = InProcessExecutor(jobs.retries)

    @property
    def retries(self) -> RetryMode:
        return self.jobs.retries

    @property
    def step_dependency_config(self) -> StepDependencyConfig:
        return self.jobs.step_dependency_config

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        steps = (execution_plan.get_step_by_key(key) for key in execution_plan.step_keys_to_execute)
        chosen = self.jobs if any(_ASKS in (step.tags or {}) for step in steps) else self.here
        return chosen.execute(plan_context, execution_plan)


@dg.executor(
    name="k8s",
    config_schema=k8s_job_executor.config_schema.as_field(),
    requirements=multiple_process_executor_requirements(),
)
def kubernetes_jobs(context: dg.InitExecutorContext) -> dg.Executor:
    """`k8s_job_executor`, and its config, for the steps that ask for hardware."""
    create = k8s_job_executor.executor_creation_fn
    assert create is not None
    most = settings().start_seconds
    return JobsForSteps(watched(create(context), Patience(start=most, broken=min(Patience.broken, most))))


def watched(executor: dg.Executor, patience: Patience) -> StepDelegatingExecutor:
    """A `k8s_job_executor` whose steps are watched; it has no argument for another handler of steps."""
    assert isinstance(executor, StepDelegatingExecutor)
    steps = executor._step_handler
    assert isinstance(steps, K8sStepHandler)
    executor._step_handler = WatchedSteps(steps, patience)
    return executor
