"""A cell is in flight exactly while a run that has not ended will finish it; runs of killed processes will not."""

import os
import shutil
import socket
import subprocess
import sys
import uuid
from contextlib import nullcontext
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.storage.dagster_run import DagsterRun

from prefassets.resources.cells import CellState
from prefassets.runs.here import DAGSTER_YAML, runs_here
from prefassets.runs.in_flight import cells_in_flight, told
from prefassets.settings import Settings
from prefassets.studies import all_studies

ORIGIN = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("prefassets"), "__repository__")
STUDY = all_studies()["demo"]
ADAPTERS, MARGINS = (dg.AssetKey(["demo", name]) for name in ("adapters", "margins"))
LISTED = ["age.A|42", "safety.B|456"]
CONFIG = {"ops": {"train_and_score_demo": {"config": {"cells": LISTED}}}}


@pytest.fixture(autouse=True)
def no_other_dagster(monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


@pytest.fixture(scope="module")
def one_instance(tmp_path_factory):
    folder = tmp_path_factory.mktemp("in_flight") / "home/dagster"
    folder.mkdir(parents=True)
    shutil.copyfile(DAGSTER_YAML, folder / "dagster.yaml")
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        yield instance


@pytest.fixture
def instance(one_instance):
    """A Dagster home as `prefassets` makes one, without a run; they are put into it as a web server would."""
    one_instance.run_storage.wipe()
    return one_instance


def add_run(instance, status="QUEUED", job="demo_cells", config=CONFIG, assets=None, **tags):
    run_id = str(uuid.uuid4())
    tags = {name.replace("__", "/"): value for name, value in tags.items()}
    instance.run_storage.add_run(
        DagsterRun(
            job_name=job,
            run_id=run_id,
            run_config=config,
            status=dg.DagsterRunStatus(status),
            asset_selection=assets,
            remote_job_origin=ORIGIN.get_job_origin(job),
            tags=tags,
        )
    )
    return run_id


def in_flight(instance, state="missing"):
    home = os.path.dirname(instance.root_directory)
    states = [CellState(cell, state) for cell in STUDY.cells]
    return cells_in_flight(STUDY, states, runs_here(Settings(home=home)))


@pytest.mark.parametrize("status", ["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"])
def test_the_cells_that_a_run_lists_are_in_flight_until_it_ends(instance, status):
    run_id = add_run(instance, status)
    found = in_flight(instance)
    assert sorted(found) == LISTED
    assert str(found["age.A|42"]) == f"run {run_id[:8]} ({status.lower().replace('_', ' ')})"


@pytest.mark.parametrize("status", ["SUCCESS", "FAILURE", "CANCELED"])
def test_a_run_that_ended_holds_no_cell(instance, status):
    add_run(instance, status)
    assert in_flight(instance) == {}


def test_runs_of_other_studies_hold_no_cell(instance):
    add_run(instance, job="wpo_demo_cells")
    wpo = frozenset({dg.AssetKey(["wpo_demo", "adapters"])})
    add_run(instance, job="__ASSET_JOB", config={}, assets=wpo, dagster__partition="age.A|42")
    assert in_flight(instance) == {}


def test_of_two_runs_the_older_is_named(instance):
    older = add_run(instance)
    add_run(instance)
    assert {run.run_id for run in in_flight(instance).values()} == {older}
    assert told(in_flight(instance)) == f"2 are in flight: run {older[:8]} (queued)"


def test_a_single_partition_and_a_range_from_the_ui_are_in_flight_too(instance):
    of_assets = {"job": "__ASSET_JOB", "config": {}, "assets": frozenset({ADAPTERS})}
    add_run(instance, **of_assets, dagster__partition="region.B|456")
    corners = {
        "dagster__asset_partition_range_start": "everyone|123",
        "dagster__asset_partition_range_end": "personalisation.A|456",
    }
    add_run(instance, **of_assets, **corners)
    box = ["everyone|123", "everyone|456", "personalisation.A|123", "personalisation.A|456"]
    assert sorted(in_flight(instance)) == sorted([*box, "region.B|456"])


def test_a_range_is_what_dagster_takes_it_for(instance):
    from prefassets.assets.training import cell_partitions

    first, last = "everyone|123", "safety.A|456"
    corners = {"dagster__asset_partition_range_start": first, "dagster__asset_partition_range_end": last}
    add_run(instance, job="__ASSET_JOB", config={}, assets=frozenset({ADAPTERS}), **corners)
    by_dagster = cell_partitions(STUDY).get_partition_keys_in_range(dg.PartitionKeyRange(first, last))
    assert sorted(in_flight(instance)) == sorted(by_dagster)


def test_a_run_that_only_trains_does_not_score_and_one_that_only_scores_does_not_train(instance):
    add_run(instance, job="__ASSET_JOB", config={}, assets=frozenset({ADAPTERS}), dagster__partition="age.A|42")
    add_run(instance, job="__ASSET_JOB", config={}, assets=frozenset({MARGINS}), dagster__partition="age.B|42")
    assert list(in_flight(instance, "missing")) == ["age.A|42"]
    assert list(in_flight(instance, "stale")) == ["age.A|42"]
    assert list(in_flight(instance, "unscored")) == ["age.B|42"]


def test_a_killed_process_holds_no_cell_and_one_that_lives_does(instance):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    add_run(instance, "STARTED", prefassets__process=f"{socket.gethostname()}:{gone.pid}")
    assert in_flight(instance) == {}
    add_run(instance, "STARTED", prefassets__process=f"{socket.gethostname()}:{os.getpid()}")
    assert sorted(in_flight(instance)) == LISTED


def test_a_home_that_dagster_never_saw_has_nothing_in_flight_and_stays_as_it_is(tmp_path):
    assert runs_here(Settings(home=str(tmp_path / "home"))) == []
    assert not (tmp_path / "home").exists()


def test_an_idle_home_is_known_without_opening_dagster_and_other_settings_are_not_guessed_at(instance, monkeypatch):
    opened = []
    monkeypatch.setattr(
        dg.DagsterInstance, "from_config", lambda folder: opened.append(folder) or nullcontext(instance)
    )
    add_run(instance, "SUCCESS")
    assert in_flight(instance) == {}
    assert opened == []
    settings = Path(instance.root_directory) / "dagster.yaml"
    with settings.open("a") as text:
        text.write("# storage elsewhere\n")
    try:
        in_flight(instance)
    finally:
        shutil.copyfile(DAGSTER_YAML, settings)
    assert opened == [str(settings.parent)]


def test_a_queued_cell_is_still_printed_says_its_run_and_is_not_launched_again(copied_home):
    (copied_home.folder / "artifacts/demo/age.A/seed-42/record.json").unlink()
    with dg.DagsterInstance.from_config(str(copied_home.folder / "dagster")) as instance:
        run = f"run {add_run(instance)[:8]} (queued)"

    launched = copied_home.run("missing", "demo", "--launch")
    assert launched.returncode == 0, launched.stderr
    assert launched.stdout == "age.A|42\n", "in flight is still missing"
    assert f"of 1 cells 1 is in flight: {run}" in launched.stderr
    assert "nothing is launched: --again would" in launched.stderr
    assert "queued runs start while `prefassets ui` runs" in launched.stderr
    assert "training" not in launched.stderr
    (row,) = copied_home.rows("missing", "demo")
    assert (row["state"], row["reason"]) == ("missing", f"no finished adapter; in flight in {run}")
