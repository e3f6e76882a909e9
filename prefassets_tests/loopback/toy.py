"""A code location of one job whose steps do what its run config says: the smallest user of the loopback cluster."""

import os
import time
from pathlib import Path

import dagster as dg
from dagster_k8s import k8s_job_executor

from prefassets.resources.kubernetes_jobs import kubernetes_jobs


class Work(dg.Config):
    """`seconds` a step takes; a file in `marks` for each attempt, so that a test can count them."""

    seconds: float = 0
    marks: str = ""
    fail: bool = False


GPU = {"container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}}


DEADLINE = int(os.environ.get("TOY_DEADLINE", "600"))


@dg.op
def prepare(config: Work) -> int:
    time.sleep(config.seconds)
    return 1


@dg.op(
    tags={"dagster-k8s/config": GPU | {"job_spec_config": {"active_deadline_seconds": DEADLINE}}},
    pool="gpu",
    retry_policy=dg.RetryPolicy(max_retries=1, delay=1),
)
def train(context: dg.OpExecutionContext, config: Work, prepared: int) -> int:
    print("training", flush=True)
    if config.marks:
        (Path(config.marks) / f"{context.run_id}-{context.retry_number}-{time.time():.1f}").touch()
    until = time.monotonic() + config.seconds
    while time.monotonic() < until:
        time.sleep(0.1)
    if config.fail:
        raise dg.Failure("told to fail", allow_retries=False)
    return prepared


def work() -> None:
    train(prepare())


@dg.op(tags={"dagster-k8s/config": {"container_config": {"resources": {"limits": {"nvidia.com/gpu": "99"}}}}})
def train_on_99_gpus() -> None:
    """No node has so many."""


@dg.op(tags={"dagster-k8s/config": {"container_config": {"image": "registry.example/ghost:1"}}})
def train_in_ghost_image() -> None:
    """Nobody can pull it."""


@dg.job(executor_def=kubernetes_jobs)
def too_large() -> None:
    train_on_99_gpus()


@dg.job(executor_def=kubernetes_jobs)
def ghost() -> None:
    train_in_ghost_image()


# The same steps under dagster_k8s' executor as it is, and under ours.
bare = dg.graph(name="bare_work")(work).to_job("bare", executor_def=k8s_job_executor.configured({"max_concurrent": 2}))
toy = dg.graph(name="toy_work")(work).to_job("toy", executor_def=kubernetes_jobs.configured({"max_concurrent": 2}))
defs = dg.Definitions(jobs=[bare, toy, too_large, ghost])
