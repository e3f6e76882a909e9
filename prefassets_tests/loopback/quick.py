"""For code locations of tests, before they read the definitions: what is not measured is not waited for."""

from typing import Any

import dagster as dg

from prefassets.assets import gpu
from prefassets.resources import kubernetes_jobs
from prefassets.resources.kubernetes_steps import Patience


def hurry() -> None:
    """A run looks at its steps' pods every 2 s, not every 20 s; a retry follows at once, not after half a minute."""
    gpu.RETRIES = dg.RetryPolicy(max_retries=gpu.RETRIES.max_retries, delay=0)
    watched = kubernetes_jobs.watched

    def often(executor: Any, patience: Patience) -> Any:
        executor._check_step_health_interval_seconds = 2
        return watched(executor, patience)

    kubernetes_jobs.watched = often
