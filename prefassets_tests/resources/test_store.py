"""What the store promises: whole rows or old rows, never half; one home, one source."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import polars as pl
import pytest

from prefassets.resources.store import DataSource, Store, WrongHome
from prefassets.resources.tables import TABLES, TableMismatch


@pytest.fixture
def store(either_store):
    return either_store


def folds(*pairs):
    return pl.DataFrame(pairs, ["user_id", "fold"], orient="row")


def margins(cell_seed, *values):
    rows = [
        {"study": "s", "cohort": "age.A", "split": "age", "user_group": "A", "seed": cell_seed, "fold": 0}
        | {"fingerprint": "f", "pair_id": f"c{number}.1", "margin": value}
        for number, value in enumerate(values)
    ]
    return pl.DataFrame(rows, schema=TABLES["training.margins"].schema)


def finish(store, *seeds, result=None):
    """Record cells as finished, so that their rows count."""
    for seed in seeds:
        store.put(f"s/age.A/seed-{seed}", {"adapter_model.safetensors": b"weights"}, {"fingerprint": "f"}, result)


def test_one_partition_is_read_by_itself_and_only_if_its_cell_is_finished(store):
    store.replace("training.margins", margins(1, 0.5), ("s", "age.A", "1", "0"), result="r")
    store.replace("training.margins", margins(2, 0.25), ("s", "age.A", "2", "0"), result="r")
    assert store.read("training.margins", ("s", "age.A", "2", "0")).is_empty()
    finish(store, 1, 2, result="r")
    assert store.read("training.margins", ("s", "age.A", "2", "0")).equals(margins(2, 0.25))
    assert store.read("training.margins", ("s", "age.A", "3", "0")).is_empty()


@pytest.mark.parametrize("can_link", [True, False])
def test_artifacts_that_share_files_do_not_share_what_replaces_them(store, monkeypatch, can_link):
    if not can_link:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError("no links here")))
    store.put("s/a", {"adapter_model.safetensors": b"weights"}, {"fingerprint": "f"})
    twin = store.record("s/a")
    store.put_same("t/a", "s/a", twin, {"fingerprint": "f", "adopted_from": "s"}, "r")
    assert store.files("t/a") == {"adapter_model.safetensors": b"weights"}
    assert store.record("t/a")["files"] == store.record("s/a")["files"]
    assert store.record("t/a")["adopted_from"] == "s"
    store.put("s/a", {"adapter_model.safetensors": b"others"}, {"fingerprint": "g"})
    assert store.files("t/a") == {"adapter_model.safetensors": b"weights"}
    assert store.files("s/a") == {"adapter_model.safetensors": b"others"}


def test_what_is_replaced_is_read_back_and_nothing_is_appended(store):
    store.replace("prism.folds", folds(("u1", 0), ("u2", 1)))
    store.replace("prism.folds", folds(("u3", 2)))
    assert store.read("prism.folds").rows() == [("u3", 2)]


def test_a_table_that_nobody_wrote_is_empty_and_has_its_columns(store):
    for name, table in TABLES.items():
        assert store.read(name).schema.names() == list(table.columns)


def test_one_partition_is_replaced_without_touching_the_others(store):
    finish(store, 1, 2)
    store.replace("training.margins", margins(1, 0.5), ("s", "age.A", "1", "0"))
    store.replace("training.margins", margins(2, 0.7, 0.8), ("s", "age.A", "2", "0"))
    store.replace("training.margins", margins(1, -1.0), ("s", "age.A", "1", "0"))
    assert sorted(store.read("training.margins")["margin"]) == [-1.0, 0.7, 0.8]


def test_rows_of_a_cell_without_a_record_are_seen_by_nobody(store):
    store.replace("training.margins", margins(1, 0.5), ("s", "age.A", "1", "0"), result="r")
    store.replace("training.margins", margins(2, 0.7), ("s", "age.A", "2", "0"), result="r")
    assert store.read("training.margins").is_empty()
    with pytest.raises(FileNotFoundError, match="never finished"):
        store.replace("training.margins", margins(1, 0.5), ("s", "age.A", "1", "0"))
    finish(store, 2, result="r")
    assert store.read("training.margins")["seed"].to_list() == [2]
    store.discard("s/age.A/seed-2")
    assert store.read("training.margins").is_empty()


def test_a_partition_value_may_hold_slashes(store):
    row = dict.fromkeys(TABLES["model.base"].columns) | {"base_model": "Qwen/Qwen2.5", "revision": "r"}
    row |= {"source": "hub", "architecture": "x", "parameters": 1, "vocabulary": 1, "hidden_size": 1, "layers": 1}
    store.replace("model.base", pl.DataFrame([row]), ["Qwen/Qwen2.5"])
    assert [part.values for part in store.parts("model.base")] == [("Qwen/Qwen2.5",)]


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        (pl.DataFrame({"user_id": ["u1"]}), r"prism.folds needs the column \['fold'\]"),
        (pl.DataFrame({"user_id": ["u1"], "fold": [1], "extra": [1]}), r"has no column \['extra'\]"),
        (pl.DataFrame({"user_id": ["u1"], "fold": ["first"]}), "do not fit the types of prism.folds"),
        (pl.DataFrame({"user_id": ["u1", None], "fold": [1, 1]}), "prism.folds.user_id is empty in 1 of 2 rows"),
    ],
)
def test_rows_that_do_not_fit_the_declaration_leave_the_old_rows(store, rows, complaint):
    store.replace("prism.folds", folds(("u0", 0)))
    with pytest.raises(TableMismatch, match=complaint):
        store.replace("prism.folds", rows)
    assert store.read("prism.folds").rows() == [("u0", 0)]


WRITER = """
import sys, polars as pl
from prefassets.resources.store import Store
store = Store(home=sys.argv[1])
number = 0
while True:
    number += 1
    store.replace("prism.folds", pl.DataFrame({"user_id": [f"u{i}" for i in range(50_000)], "fold": [number] * 50_000}))
    print(number, flush=True)
"""


def test_a_killed_writer_leaves_whole_rows(store):
    for _ in range(2):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, store.home], stdout=subprocess.PIPE, text=True)
        for _ in range(3):
            writer.stdout.readline()
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        rows = store.read("prism.folds")
        assert len(rows) == 50_000
        assert rows["fold"].n_unique() == 1


def test_readers_and_writers_never_wait_or_see_half(store):
    store.replace("prism.folds", folds(("u", 0)))
    stop, torn = threading.Event(), []

    def read():
        while not stop.is_set():
            rows = store.read("prism.folds")
            if rows["fold"].n_unique() != 1:
                torn.append(rows)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(100):
        store.replace("prism.folds", pl.DataFrame({"user_id": [f"u{i}" for i in range(100)], "fold": [number] * 100}))
    stop.set()
    for reader in readers:
        reader.join()
    assert torn == []


def test_a_writer_that_fails_leaves_no_temporary_file(store, monkeypatch):
    store.replace("prism.folds", folds(("u0", 0)))
    monkeypatch.setattr(pl.DataFrame, "write_parquet", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        store.replace("prism.folds", folds(("u1", 1)))
    assert store.read("prism.folds").rows() == [("u0", 0)]
    assert store.stray_files() == []


def test_an_artifact_is_finished_only_when_its_record_is_there(store):
    store.put("s/age.A/seed-42", {"adapter_model.safetensors": b"weights"}, {"fingerprint": "f1"})
    assert store.record("s/age.A/seed-42")["fingerprint"] == "f1"
    assert store.files("s/age.A/seed-42") == {"adapter_model.safetensors": b"weights"}
    store.discard("s/age.A/seed-42")
    assert store.record("s/age.A/seed-42") is None
    with pytest.raises(FileNotFoundError, match="never finished"):
        store.files("s/age.A/seed-42")


def test_a_writer_killed_between_files_and_record_leaves_the_old_artifact_whole(store, monkeypatch):
    store.put("s/age.A/seed-42", {"a": b"old"}, {"fingerprint": "old"})
    monkeypatch.setattr(Store, "_put_record", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        store.put("s/age.A/seed-42", {"a": b"new"}, {"fingerprint": "new"}, "killed")
    monkeypatch.undo()
    assert store.record("s/age.A/seed-42")["fingerprint"] == "old"
    assert store.files("s/age.A/seed-42") == {"a": b"old"}
    (left,) = store.unnamed()
    assert left.endswith("artifacts/s/age.A/seed-42/killed")


def test_records_are_listed_by_study(store):
    store.put("one/everyone/seed-1", {"a": b"1"}, {"fingerprint": "x"})
    store.put("two/everyone/seed-1", {"a": b"2"}, {"fingerprint": "y"})
    assert list(store.records("one")) == ["one/everyone/seed-1"]
    assert len(store.records()) == 2


def test_a_home_keeps_the_source_it_was_first_used_with(store):
    assert store.pinned() is None
    assert store.source(scale=0.3) == DataSource("synthetic", 0.3, 0)
    assert store.pinned() is None, "asking pins nothing"
    store.pin(DataSource("synthetic", 0.3, 7))
    store.pin(DataSource("synthetic", 0.3, 7))
    assert store.source() == store.source("synthetic", 0.3) == DataSource("synthetic", 0.3, 7)
    for other in ({"prism": "hub"}, {"scale": 1.0}, {"seed": 0}, {"tasks": "hub"}):
        with pytest.raises(WrongHome, match="must not mix"):
            store.source(**other)
    with pytest.raises(WrongHome):
        store.pin(DataSource("hub"))


@pytest.mark.parametrize("name", ["prism", "tasks"])
def test_a_home_is_not_bound_to_a_folder_that_is_not_there(store, tmp_path, name):
    source = DataSource(**{name: str(tmp_path / "released")})
    with pytest.raises(FileNotFoundError, match=rf"released is no folder.*PREFASSETS_{name.upper()}"):
        store.pin(source)
    assert store.pinned() is None
    (tmp_path / "released").mkdir()
    store.pin(source)
    (tmp_path / "released").rmdir()
    store.pin(source)  # what was read once need not stay


def test_sql_sees_parameters_and_only_asked_tables(store):
    store.replace("prism.folds", folds(("u1", 0), ("u2", 1)))
    assert store.query("select user_id from prism.folds where fold = $fold", fold=1).rows() == [("u2",)]


def test_files_are_where_the_design_says(tmp_path):
    store = Store(home=str(tmp_path / "home"))
    store.pin(DataSource())
    store.replace("prism.folds", folds(("u1", 0)))
    store.put("s/age.A/seed-42", {"a": b"1"}, {"fingerprint": "x"})
    home = Path(store.home)
    assert (home / "tables/prism/folds/part.parquet").exists()
    record = json.loads((home / "artifacts/s/age.A/seed-42/record.json").read_text())
    assert record["files"]["a"]["bytes"] == 1
    assert (home / "artifacts/s/age.A/seed-42" / record["result"] / "a").read_bytes() == b"1"
