"""Cells are launched on a Dagster elsewhere as they would be here; on a real web server, without a daemon behind it."""

import json
import shutil
import subprocess
import threading
import time
import uuid
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat

from prefassets.resources.cells import CellState
from prefassets.runs.elsewhere import DagsterElsewhere, OtherDefinitions, OtherHome
from prefassets.runs.graphql import DagsterNotReached
from prefassets.runs.runs import RunFailed
from prefassets.settings import Settings
from prefassets_tests.loopback.webserver import free_port, make_dagster_home, webserver
from prefassets_tests.short_demo import demo

CELLS = ["safety.B|456", "age.A|123", "region.A|42"]
JOB, FILES = "demo_cells", "splits and study files"


@dataclass(frozen=True)
class Elsewhere:
    """A Dagster with its web server, the home that it writes to, and its instance as a test may look at it."""

    address: str
    folder: Path
    instance: dg.DagsterInstance

    def client(self, **changed):
        return DagsterElsewhere(Settings(**{"home": str(self.folder), "dagster": self.address, **changed}))

    def run(self, home, *arguments):
        environment = {**home.environment, "PREFASSETS_HOME": str(self.folder), "PREFASSETS_DAGSTER": self.address}
        return subprocess.run(
            home.command(*arguments), env=environment, capture_output=True, text=True, timeout=300, check=True
        )

    def runs(self, job=JOB):
        return [run for run in self.instance.get_runs() if run.job_name == job]

    def heartbeat(self, seconds_ago):
        beat = DaemonHeartbeat(time.time() - seconds_ago, "QUEUED_RUN_COORDINATOR", str(uuid.uuid4()), [])
        self.instance.add_daemon_heartbeat(beat)


@pytest.fixture(scope="module")
def serving(demo_home, tmp_path_factory):
    """The finished demo, but for three cells, on a Dagster elsewhere."""
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(demo_home.folder, folder / "home", ignore=shutil.ignore_patterns("dagster"))
    for key in CELLS:
        cohort, seed = key.split("|")
        (folder / f"home/artifacts/demo/{cohort}/seed-{seed}/record.json").unlink()
    dagster_home = make_dagster_home(folder / "dagster")
    definitions = ["-m", "prefassets_tests.loopback.short_demo_definitions"]
    environment = {"PREFASSETS_HOME": str(folder / "home")}
    with (
        webserver(dagster_home, *definitions, path="/team/dagster", environment=environment) as address,
        dg.DagsterInstance.from_config(str(dagster_home)) as instance,
    ):
        yield Elsewhere(address, folder / "home", instance)


@pytest.fixture
def elsewhere(serving, monkeypatch):
    """The same with a daemon that was there a moment ago, and no run."""
    monkeypatch.setattr("prefassets.runs.elsewhere.PAUSE", 0.2)
    serving.instance.run_storage.wipe()
    serving.instance.wipe_daemon_heartbeats()
    serving.heartbeat(seconds_ago=1)
    return serving


def states(keys=CELLS):
    return [CellState(demo.STUDY.cell(key), "missing") for key in keys]


def listed(run):
    (op,) = run.run_config["ops"].values()
    return op["config"]["cells"]


# ---- launching


def test_exactly_the_missing_cells_are_queued_there_once_what_they_need_is_made(elsewhere, demo_home):
    launched = elsewhere.run(demo_home, "missing", "demo", "--launch")
    assert sorted(launched.stdout.split()) == sorted(CELLS)
    (run,) = elsewhere.runs()
    assert (sorted(listed(run)), run.status.value) == (sorted(CELLS), "QUEUED")
    assert run.tags["prefassets/home"] == str(elsewhere.folder)
    (made,) = elsewhere.runs("__ASSET_JOB")
    assert (made.status.value, made.tags["prefassets/run"]) == ("SUCCESS", FILES)
    assert f"run {run.run_id[:8]} is queued: 3 cells of demo: training 3, scoring 3" in launched.stderr
    assert launched.stderr.index(FILES) < launched.stderr.index("3 cells of demo")
    assert f"follow by themselves; watch it at {elsewhere.address}" in launched.stderr
    assert not (elsewhere.folder / "dagster").exists(), "nothing is remembered on this machine"

    asked = elsewhere.run(demo_home, "missing", "demo", "--launch", "--format", "json")
    reasons = [row["reason"] for row in json.loads(asked.stdout)]
    assert reasons == [f"no finished adapter; in flight in run {run.run_id[:8]} (queued)"] * 3
    assert "nothing is launched" in asked.stderr
    assert [run.run_id for run in elsewhere.runs()] == [run.run_id]


def test_cells_in_flight_are_left_to_their_run_unless_again(elsewhere):
    list(elsewhere.client().queue(demo.STUDY, states(CELLS[:1])))
    left, queued = elsewhere.client().queue(demo.STUDY, states())
    assert "of 3 cells 1 is in flight: run" in left
    assert "2 cells of demo" in queued
    assert Counter(key for run in elsewhere.runs() for key in listed(run)) == Counter(CELLS)
    list(elsewhere.client().queue(demo.STUDY, states(), again=True))
    assert Counter(key for run in elsewhere.runs() for key in listed(run)) == Counter(CELLS * 2)


def test_what_another_command_makes_already_is_waited_for(elsewhere):
    files = elsewhere.client()._group("studies")
    first = threading.Thread(target=lambda: list(elsewhere.client().make(FILES, files)))
    first.start()
    while not elsewhere.runs("__ASSET_JOB"):
        time.sleep(0.05)
    told = list(elsewhere.client().make(FILES, files))
    first.join()
    assert told[0].endswith(f"makes it already: {FILES}")
    assert [run.status.value for run in elsewhere.runs("__ASSET_JOB")] == ["SUCCESS"]


def test_a_partition_is_made_by_its_key_and_a_failure_says_why(elsewhere):
    base = [dg.AssetKey(["model", "reference"])]
    model = elsewhere.folder / "artifacts/models"
    assert model.exists()
    hidden = model.rename(elsewhere.folder / "hidden")
    try:
        with pytest.raises(RunFailed) as failed:
            list(elsewhere.client().make("reference pass", base, demo.STUDY.reference))
    finally:
        hidden.rename(model)
    (run,) = elsewhere.runs("__ASSET_JOB")
    assert run.tags["dagster/partition"] == demo.STUDY.reference
    assert str(failed.value).startswith(f"reference pass: run {run.run_id[:8]} (failure) of {elsewhere.address}\n")
    assert "model__reference: " in str(failed.value)


# ---- refusing


def test_another_home_is_refused_before_anything_is_launched(elsewhere):
    with pytest.raises(OtherHome, match=f"Set PREFASSETS_HOME={elsewhere.folder}"):
        elsewhere.client(home="s3://bucket/home").check(demo.STUDY)
    assert elsewhere.instance.get_runs() == []


def test_a_folder_that_is_another_one_is_found_out_before_cells_are_queued(elsewhere, tmp_path):
    shutil.copytree(elsewhere.folder, tmp_path / "copy")
    client = elsewhere.client(home=str(tmp_path / "copy"))
    client.check(demo.STUDY)  # it may be the same under another name
    with pytest.raises(OtherHome, match=f"The code location there writes to {elsewhere.folder}"):
        list(client.make(FILES, client._group("studies")))  # which every launch begins with


def test_another_version_of_the_study_is_refused(elsewhere):
    client, study = elsewhere.client(), demo.STUDY
    longer = replace(study, hyperparameters=replace(study.hyperparameters, steps=21))
    for changed, why in [
        (longer, "demo has another method, base model, matching, hyperparameters or trainer there"),
        (replace(study, seeds=(42, 7)), "demo has no 7 there"),
        (replace(study, name="newer"), "it has no job newer_cells, only arena, data, demo_cells, "),
    ]:
        with pytest.raises(OtherDefinitions, match=why):
            client.check(changed)


def test_other_recipes_of_arena_are_refused(elsewhere, monkeypatch):
    client = elsewhere.client()
    there = client._nodes([["arena", "recipe"]])["recipe"]["opVersion"]
    others = pytest.raises(OtherDefinitions, match="it has other recipes of Arena")
    for version, refused in ((there, nullcontext()), ("another", others)):
        monkeypatch.setattr("prefassets.assets.arena.recipes_version", lambda version=version: version)
        with refused:
            client.check_recipes()


def test_a_dagster_without_a_daemon_is_refused(elsewhere):
    elsewhere.client().check(demo.STUDY)
    elsewhere.instance.wipe_daemon_heartbeats()
    elsewhere.heartbeat(seconds_ago=24 * 3600)
    with pytest.raises(DagsterNotReached, match="nobody would start a queued run"):
        elsewhere.client().check(demo.STUDY)


def test_config_and_assets_that_do_not_fit_are_refused_in_words(elsewhere):
    client = elsewhere.client()
    with pytest.raises(RunFailed, match=r"refused the run \(cells\), RunConfigValidationInvalid: Missing required"):
        client._launch("cells", JOB, config={"ops": {}})
    with pytest.raises(RunFailed, match=r"InvalidSubsetError: .*model/nothing"):
        client._launch("nothing", "__ASSET_JOB", assets=[dg.AssetKey(["model", "nothing"])])
    with pytest.raises(RunFailed, match=r"Could not find Pipeline .*nocells"):
        client._launch("cells", "nocells")


def test_a_workspace_without_prefassets_names_what_it_has_and_what_failed_to_load(tmp_path):
    modules = [f"prefassets_tests.loopback.{name}_definitions" for name in ("toy", "broken")]
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text(json.dumps({"load_from": [{"python_module": module} for module in modules]}))
    with (
        webserver(make_dagster_home(tmp_path / "dagster"), "-w", str(workspace)) as address,
        pytest.raises(DagsterNotReached) as refused,
    ):
        _ = DagsterElsewhere(Settings(home=str(tmp_path), dagster=address)).location
    toy, broken = modules
    assert f"is a Dagster without prefassets. Its code locations: {toy}, {broken}; " in str(refused.value)
    assert f"{broken} failed to load: ValueError: PREFASSETS_SCALE is 'big': this line tells why. " in str(
        refused.value
    )


def test_a_server_that_goes_away_is_waited_for_and_then_named_with_the_run(elsewhere, monkeypatch):
    client = elsewhere.client()
    client._graphql.address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setattr("prefassets.runs.elsewhere.PATIENCE", 0.5)
    with pytest.raises(DagsterNotReached, match=r"Run 1234abcd \(files\) goes on there"):
        list(client._wait("1234abcd-0000", "files"))


def test_an_address_without_its_path_is_refused(elsewhere):
    with pytest.raises(DagsterNotReached, match="must be the address at which Dagster's pages begin"):
        elsewhere.client(dagster=elsewhere.address.removesuffix("/team/dagster")).check(demo.STUDY)


# ---- asking


def test_missing_answers_when_dagster_does_not(elsewhere, demo_home):
    gone = replace(elsewhere, address=f"http://127.0.0.1:{free_port()}")
    asked = gone.run(demo_home, "missing", "demo")
    assert sorted(asked.stdout.split()) == sorted(CELLS)
    assert f"which cells are in flight is not known: nothing listens at {gone.address}" in asked.stderr


def test_doctor_says_what_is_there_and_ui_where_it_is(elsewhere, demo_home):
    list(elsewhere.client().queue(demo.STUDY, states()))
    found = {row.what: (row.state, row.found) for row in elsewhere.client().findings()}
    location = "prefassets_tests.loopback.short_demo_definitions"
    assert found["Dagster elsewhere"] == ("ok", f"{elsewhere.address}: Dagster {dg.__version__}, {location}")
    assert found["runs there"] == ("ok", "1 queued, 0 starting or running")
    assert found["home there"] == ("ok", str(elsewhere.folder))
    assert elsewhere.run(demo_home, "ui").stdout == f"{elsewhere.address}\n"
