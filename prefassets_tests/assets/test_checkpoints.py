"""A job that is killed goes on from where its cells were, to the very bytes of a job that was not."""

import logging
import os
import shutil
import signal
import subprocess
import sys

import pytest

from prefassets.assets.training import make_adapters
from prefassets.resources import checkpoints
from prefassets.resources.cells import StudyData, artifact
from prefassets.resources.doctor import examine
from prefassets.resources.store import Store
from prefassets.resources.warehouse import export_to
from prefassets.settings import Settings
from prefassets_tests.small_home import STUDY

CELLS = STUDY.cells
KILLED = """
import os, signal, sys
from prefassets.assets import training
from prefassets.resources.cells import StudyData
from prefassets.resources.store import Store
from prefassets.settings import settings
from prefassets_tests.small_home import STUDY

steps_of_all_cells = training._steps_of_all_cells

def until_the_fourth_step(show):
    on_step = steps_of_all_cells(show)

    def kill(key, step, total):
        on_step(key, step, total)
        if step == 4:
            os.kill(os.getpid(), signal.SIGKILL)
    return kill

training._steps_of_all_cells = until_the_fourth_step
store = Store(home=settings().home)
list(training.make_adapters(store, StudyData(store, STUDY), STUDY.cells, "killed"))
"""


def train(store, cells=CELLS):
    """Train cells here; the reason of each that failed."""
    found = make_adapters(store, StudyData(store, STUDY), cells, "test")
    return {cell.key: reason for cell, reason in found if reason is not None}


def adapters(store):
    return {cell.key: store.files(artifact(cell)) for cell in CELLS}


@pytest.fixture(scope="module")
def trained(small_folder, tmp_path_factory):
    """The adapters of a job that nothing interrupted."""
    folder = tmp_path_factory.mktemp("trained") / "home"
    shutil.copytree(small_folder, folder)
    store = Store(home=str(folder))
    assert train(store) == {}
    assert store.checkpoints() == {}
    return adapters(store)


@pytest.fixture(scope="module")
def killed_folder(small_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed") / "home"
    shutil.copytree(small_folder, folder)
    settings = {"PREFASSETS_HOME": str(folder), "PREFASSETS_CHECKPOINT_SECONDS": "0"}
    killed = subprocess.run([sys.executable, "-c", KILLED], env=os.environ | settings)
    assert killed.returncode == -signal.SIGKILL
    return folder


@pytest.fixture
def killed(killed_folder, tmp_path):
    """A home whose job was killed in the fourth step of its cells."""
    shutil.copytree(killed_folder, tmp_path / "killed")
    return Store(home=str(tmp_path / "killed"))


def test_a_killed_job_goes_on_to_the_same_bytes(killed, trained, monkeypatch):
    from prefassets.assets import training

    reached = []
    monkeypatch.setattr(training, "_steps_of_all_cells", lambda show: lambda key, step, total: reached.append(step))
    assert len(killed.checkpoints()) == len(CELLS)
    assert train(killed) == {}
    assert min(reached) == 4, "three steps were done"
    assert adapters(killed) == trained
    assert killed.checkpoints() == {}, "a cell's is gone once its record stands"
    assert killed.query("select distinct cells_in_pack from training.cells")["cells_in_pack"].to_list() == [len(CELLS)]


def test_cells_on_their_way_are_no_results(killed, tmp_path):
    assert killed.records(STUDY.name) == {}
    assert set(killed.records()) == {"models/tiny"}
    assert killed.query("from training.adapters").is_empty()
    rows = export_to(killed, tmp_path / "export.duckdb", with_adapters=True)
    assert rows["training.adapters"] == rows["training.adapter_files"] == 0


@pytest.mark.parametrize("harm", ["cut", "changed", "other code"])
def test_a_checkpoint_that_cannot_be_trusted_means_to_start_anew(killed, trained, harm, monkeypatch, caplog):
    if harm == "other code":
        monkeypatch.setattr(checkpoints, "_code", lambda: b"0" * 64)
    for fingerprint in killed.checkpoints():
        state = killed.checkpoint(fingerprint)
        harmed = {"cut": state[:-100], "changed": state[:-100] + b"x" * 100, "other code": state}
        killed.write_checkpoint(fingerprint, harmed[harm])
    with caplog.at_level(logging.WARNING):
        assert train(killed) == {}
    assert adapters(killed) == trained
    assert len([line for line in caplog.messages if "the cell starts anew" in line]) == len(CELLS)


def test_a_cell_that_stands_needs_no_checkpoint(killed):
    assert train(killed, CELLS[:1]) == {}
    fingerprint = StudyData(killed, STUDY).recipe(CELLS[0]).fingerprint
    killed.write_checkpoint(fingerprint, b"of a job that was killed between record and removal")
    assert train(killed, CELLS[:1]) == {}
    assert killed.checkpoint(fingerprint) is None


def test_doctor_tells_cells_that_will_go_on_from_leftovers(killed, monkeypatch):
    from prefassets.resources import doctor

    def found():
        (finding,) = (finding for finding in examine(Settings(home=killed.home)) if finding.what == "checkpoints")
        return finding.found

    monkeypatch.setattr(doctor, "all_studies", lambda: {STUDY.name: STUDY})
    assert found() == "6 cells in training or to go on"
    killed.write_checkpoint("0123456789ab", b"of a recipe that was changed since")
    assert found().startswith("6 cells in training or to go on; 1 of recipes that no cell asks for, safe to delete: ")
    assert found().endswith("/checkpoints/0123456789ab ...")
