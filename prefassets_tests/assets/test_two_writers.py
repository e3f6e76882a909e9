"""Two pods that write the same cell at once: whatever their order, and wherever one is killed, what stands is of one.

Every order of two writers' steps at what they share is tried. After each that changed something a third looks: that is
what a reader would see then, and what would be left if both were killed there.
"""

import hashlib
import threading
from itertools import combinations, count

import polars as pl
import pytest

from prefassets.assets.training import adopt, put_cell
from prefassets.domain.training.train import LOG_SCHEMA
from prefassets.resources import files
from prefassets.resources.cells import artifact
from prefassets.resources.files import Folder
from prefassets.resources.store import Store
from prefassets.studies import demo, wpo_demo

CELL = demo.STUDY.cells[0]
TWIN = next(cell for cell in wpo_demo.STUDY.cells if cell.cohort == CELL.cohort)
WEIGHTS = "adapter_model.safetensors"
PLACE = {"node": "n", "pod": None, "image": None}
PROVENANCE = {"engine": "none", "device": "cpu", "prism": "", "adopted_from": None, **PLACE}


def recipe(pairs="pairs"):
    return demo.STUDY.recipe(CELL, "r1", pairs)


def put(store, name, pairs="pairs", cell=CELL):
    """What a pod leaves that trained the cell: everything in it bears the pod's name."""
    number = float(sum(name.encode()))
    log = pl.DataFrame({column: [number] for column in LOG_SCHEMA}).cast(dict(LOG_SCHEMA))
    learned = {"train_users": 1, "train_pairs": 1, "steps": 1, "epochs": 1.0, "final_loss": number}
    metrics = {**learned, "tokens": 1, "seconds": 1.0, "cells_in_pack": 1}
    put_cell(store, cell, recipe(pairs), {WEIGHTS: name.encode()}, log, metrics, PROVENANCE, name)


def what_stands(store, cell=CELL):
    """Whose result stands, after checking that all of it is there and is of one pod; None if none does."""
    record = store.record(artifact(cell))
    if record is None:
        for table in ("training.cells", "training.adapters", "training.log"):
            assert store.read(table, cell.partition).is_empty()
        return None
    rows = {name: store.read(f"training.{name}", cell.partition) for name in ("cells", "adapters", "log")}
    assert {len(found) for found in rows.values()} == {1}
    (cells,), (adapter,), (log,) = (found.to_dicts() for found in rows.values())
    ((name, content),) = store.files(artifact(cell)).items()
    assert name == WEIGHTS
    assert record["files"][name]["sha256"] == adapter["sha256"] == hashlib.sha256(content).hexdigest()
    assert (store.disk / adapter["uri"] / name).read_bytes() == content
    assert {record["fingerprint"]} == {row["fingerprint"] for row in (cells, adapter, log)}
    assert record["provenance"]["run_id"] == cells["run_id"]
    assert cells["final_loss"] == log["loss"] == sum(content)
    return content.decode()


class Stepped(threading.Thread):
    """A writer that stops before each step at what it shares with others: records, and files of finished artifacts."""

    def __init__(self, home, work):
        super().__init__(daemon=True)
        self.store, self.work, self.over, self.error = Store(home=home), work, False, None
        self.store.__dict__["_files"] = SteppedFolder(self.store._files.disk, self.stop)
        self.stopped, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.start()
        self.stopped.acquire()

    def run(self):
        try:
            self.work(self.store)
        except Exception as error:
            self.error = error
        self.over = True
        self.stopped.release()

    def stop(self):
        self.stopped.release()
        self.go.acquire()

    def step(self):
        self.go.release()
        self.stopped.acquire()

    def to_its_end(self):
        steps = 0
        while not self.over:
            self.step()
            steps += 1
        return steps


class SteppedFolder(Folder):
    """A folder that lets `stop` wait before each access to what two writers share."""

    def __init__(self, root, stop):
        super().__init__(root)
        self._stop = stop

    def read(self, name):
        self._stop()
        return super().read(name)

    def write(self, name, content):
        if name.endswith("record.json"):
            self._stop()
        super().write(name, content)

    def write_same(self, name, other):
        self._stop()
        super().write_same(name, other)

    def remove(self, name):
        self._stop()
        super().remove(name)


@pytest.fixture(autouse=True)
def disk_that_need_not_survive_a_power_cut(monkeypatch):
    monkeypatch.setattr(files, "_sync", lambda path: None)


def every_order(tmp_path, prepare, *works):
    """Run both in every order of their steps, each in a home of its own; yields that after each change, and both."""
    homes = (Store(home=str(tmp_path / str(number))) for number in count())
    steps = []
    for work in works:
        prepare(store := next(homes))
        steps.append(Stepped(store.home, work).to_its_end())
    for firsts in combinations(range(sum(steps)), steps[0]):
        prepare(store := next(homes))
        writers = [Stepped(store.home, work) for work in works]
        seen = None
        # One may take more steps than it takes alone, or fewer: then the other goes on.
        for turn in count():
            left = [writer for writer in writers if not writer.over]
            if not left:
                break
            chosen = writers[turn not in firsts]
            (chosen if chosen in left else left[0]).step()
            if (now := store._files.listing("artifacts")) != seen or all(writer.over for writer in writers):
                seen = now
                yield store, writers


@pytest.mark.parametrize("before", [None, "stale"])
def test_of_two_that_trained_the_same_recipe_one_stands_and_is_whole(tmp_path, before):
    def prepare(store):
        if before:
            put(store, before, "old pairs")

    ends = set()
    for store, writers in every_order(
        tmp_path, prepare, lambda store: put(store, "one"), lambda store: put(store, "two")
    ):
        found = what_stands(store)
        assert found in {before, "one", "two"}
        if all(writer.over for writer in writers):
            assert [writer.error for writer in writers] == [None, None]
            ends.add(found)
    assert ends == {"one", "two"}


def test_who_comes_later_with_the_same_recipe_leaves_what_stands_alone(tmp_path):
    store = Store(home=str(tmp_path))
    put(store, "one")
    put(store, "two")
    assert what_stands(store) == "one"
    assert store.unnamed() == []


def test_of_two_that_trained_different_recipes_one_stands_and_is_whole(tmp_path):
    def prepare(store):
        put(store, "stale", "old pairs")

    for store, writers in every_order(
        tmp_path, prepare, lambda store: put(store, "one"), lambda store: put(store, "two", "new pairs")
    ):
        found = what_stands(store)
        assert found in {"stale", "one", "two"}
        if all(writer.over for writer in writers):
            assert [writer.error for writer in writers] == [None, None]
            assert found != "stale"


def test_an_adapter_that_is_replaced_while_it_is_adopted_is_adopted_whole(tmp_path):
    twins_record = {}

    def prepare(store):
        put(store, "twin", cell=TWIN)
        twins_record[store.home] = store.record(artifact(TWIN))

    def adopting(store):
        adopt(store, CELL, recipe(), artifact(TWIN), twins_record[store.home], "adopter")

    for store, (_, adopter) in every_order(
        tmp_path, prepare, lambda store: put(store, "newer", "new pairs", TWIN), adopting
    ):
        record = store.record(artifact(CELL))
        if record is not None:
            assert store.files(artifact(CELL)) == {WEIGHTS: b"twin"}
            assert store.read("training.log", CELL.partition)["loss"].item() == sum(b"twin")
            assert record["provenance"]["adopted_from"] == TWIN.study
        if adopter.over:
            assert adopter.error is None
            assert record is not None
