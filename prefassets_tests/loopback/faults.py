"""What tests of faults do with the steps of `toy.py`."""

from pathlib import Path
from typing import Any

from prefassets_tests.loopback.deployment import Deployment

MONITORED_EVERY = 15  # seconds; as shipped it is a minute


def monitored(every: int) -> dict[str, Any]:
    """The instance with run monitoring that looks more often."""
    return {"run_monitoring": {"poll_interval_seconds": every}}


def work(marks: Path, prepare: float = 0, train: float = 0) -> dict[str, Any]:
    """Run config: seconds that each step takes, and a folder for a file of each attempt to train."""
    return {
        "ops": {
            "prepare": {"config": {"seconds": prepare}},
            "train": {"config": {"seconds": train, "marks": str(marks)}},
        }
    }


def step_pod(dagster: Deployment, run: str, step: str = "train") -> str:
    """The running pod of a step, as soon as it runs."""
    return dagster.cluster.wait(
        lambda: dagster.cluster.running(**{"dagster/run-id": run, "dagster/op": step}), 300, f"step {step}"
    )[-1]
