"""A study from a backfill in the web page to its verdicts, on the loopback cluster, with its home in a bucket."""

import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest

from prefassets.resources.store import Store
from prefassets_tests.conftest import Home
from prefassets_tests.deployments.chart import NAMESPACE
from prefassets_tests.loopback.short_study import SPLITS, STUDY
from prefassets_tests.loopback.story import (  # noqa: F401  fixtures
    CELLS,
    CELLS_PER_PACK,
    SAME_PACK,
    Story,
    begun,
    prepared_home,
    trained_home,
)

pytestmark = pytest.mark.k8s


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, prepared_home: Home) -> Iterator[Story]:  # noqa: F811
    with begun(tmp_path_factory.mktemp("backfill"), prepared_home) as story:
        yield story


def test_a_backfill_of_twelve_cells_is_a_gpu_job_for_each_step(story: Story) -> None:
    """Although the object storage answers 503 to everything for a while, as soon as training begins.

    Dagster makes a run of each seed of a backfill: it names a run's cells by a range, and seeds come first in it.
    """
    backfill = story.dagster.backfill([("demo", "adapters"), ("demo", "margins")], CELLS)
    story.pod(story.new_run((), **{"dagster/backfill": backfill}))
    story.storage.forget()
    story.dagster.cluster.wait(lambda: story.storage.count("GET", "artifacts/models"), 300, "training")
    before = len(story.storage.requests)
    story.storage.busy(seconds=12)
    runs = [run["runId"] for run in story.dagster.runs() if run["tags"].get("dagster/backfill") == backfill]
    assert len(runs) == len(STUDY.seeds)
    for run in runs:
        assert story.ended(run) == "SUCCESS", story.dagster.told(run)
        (run_job,) = story.jobs(run, "run_worker")
        assert "nvidia.com/gpu" not in str(run_job)
        steps = story.jobs(run, "step_worker")
        assert len(steps) == 2
        for job in steps:
            (container,) = job["spec"]["template"]["spec"]["containers"]
            assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert len(story.storage.requests) > before


def test_verdicts_follow_in_one_pod_although_it_is_killed(story: Story) -> None:
    """The sensor starts a run without a GPU; run monitoring gives it another pod, and the run makes all of it."""
    run = story.new_run((), 300, **{"dagster/sensor_name": "after_any_change"})
    pod = story.pod(run, "run_worker")
    story.dagster.wait(lambda: "STEP_SUCCESS" in story.kinds(run), 300, "the run at work")
    killed = time.time()
    story.dagster.cluster.kill(NAMESPACE, pod)
    assert story.ended(run) == "SUCCESS", story.dagster.told(run)
    print(f"resumed: {time.time() - killed:.0f} s from the kill to the end of run {run}")
    assert len(story.jobs(run, "run_worker")) == 2
    assert story.jobs(run, "step_worker") == []
    story.settled()
    with duckdb.connect(str(story.store.local_file("warehouse.duckdb")), read_only=True) as database:
        cells = "select count(*), count(distinct (cohort, seed)) from training.cells where study = 'demo'"
        assert database.execute(cells).fetchall() == [(len(CELLS), len(CELLS))]
        assert database.execute("select count(*) from verdicts.verdict where study = 'demo'").fetchall() == [
            (len(SPLITS),)
        ]
    assert b"personalisation" in Path(story.store.local_file("reports/demo.html") or "").read_bytes()


def test_each_cell_says_where_it_was_trained(story: Story) -> None:
    rows = story.store.query("from training.cells where study = 'demo'").to_dicts()
    assert sorted(f"{row['cohort']}|{row['seed']}" for row in rows) == sorted(CELLS)
    jobs = {job["metadata"]["name"] for run in story.known() for job in story.jobs(run, "step_worker")}
    runs = story.known()
    for row in rows:
        assert row["run_id"] in runs
        assert row["pod"].rpartition("-")[0] in jobs
        assert row["node"] == "gpu-1"
        assert row["image"].startswith("registry.example/prefassets@sha256:")
        assert row["device"] == "cpu"
        assert row["seconds"] > 0
        assert row["cells_in_pack"] == CELLS_PER_PACK


def test_the_same_packs_give_the_same_adapters_as_on_a_laptop(story: Story, trained_home: Home) -> None:  # noqa: F811
    """Byte for byte, wherever they are trained."""
    digests = "select cohort, seed, sha256 from training.adapters where study = 'demo' order by all"
    laptop = Store(home=str(trained_home.folder)).query(digests)
    same = laptop.filter(pl.format("{}|{}", "cohort", "seed").is_in(SAME_PACK))
    assert len(same) == len(SAME_PACK) == CELLS_PER_PACK
    assert set(same.rows()) <= set(story.store.query(digests).rows())


def test_margins_and_verdicts_are_those_of_a_laptop(story: Story, trained_home: Home) -> None:  # noqa: F811
    """There, the second seed's cells were trained in two packs of three; here, in one of six."""
    story.is_as_on(Store(home=str(trained_home.folder)))
