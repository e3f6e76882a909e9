"""A minute without the API server, in each of the ways that one can be away, costs no run of Dagster's.

What dagster_k8s' own launcher and executor do then is in the docstrings of `prefassets/resources/kubernetes_steps.py`
and `kubernetes_runs.py`.
"""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from prefassets_tests.loopback.deployment import deployed
from prefassets_tests.loopback.faults import MONITORED_EVERY, monitored, step_pod, work

pytestmark = pytest.mark.k8s

FAULTS = ("refusing", "silent", "failing")
OUTAGE = 60
SITE = {"concurrency": {"pools": {"defaultLimit": 8}}}


@pytest.fixture(scope="module")
def outages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    """What came of each fault; a cluster for each, all three at the same time, since most of it is waiting."""
    with ThreadPoolExecutor(len(FAULTS)) as pool:
        yield {fault: pool.submit(_outage, tmp_path_factory.mktemp(fault), fault) for fault in FAULTS}


def _outage(folder: Path, fault: str) -> None:
    marks = folder / "marks"
    marks.mkdir()
    with deployed(folder, site=SITE, instance=monitored(MONITORED_EVERY), start_seconds=180) as dagster:
        at_work = dagster.launch("toy", work(marks, train=OUTAGE + 10))
        between = dagster.launch("toy", work(marks, prepare=20))
        step_pod(dagster, at_work)
        step_pod(dagster, between, "prepare")
        with getattr(dagster.server, fault)():
            starting = dagster.launch("toy", work(marks))
            time.sleep(OUTAGE)
        for run in (at_work, between, starting):
            assert dagster.wait_for(run, "SUCCESS", "FAILURE", seconds=400) == "SUCCESS", dagster.told(run)
        assert len(list(marks.iterdir())) == 3
        assert len(dagster.cluster.jobs_created) == 3 * 3  # a run, two steps: nothing was started twice


@pytest.mark.parametrize("fault", FAULTS)
def test_a_minute_without_an_api_server_costs_no_run(outages: dict[str, Future[None]], fault: str) -> None:
    """Whether a run is starting, about to start a step, or has one at work."""
    outages[fault].result()
