"""warehouse.duckdb: real commented tables, only changed partitions replaced, an open reader blocks nobody."""

import shutil
from pathlib import Path

import duckdb
import polars as pl
import pytest

from prefassets.resources import warehouse
from prefassets.resources.sql_tables import all_tables
from prefassets.resources.store import Store
from prefassets_tests.resources.test_store import finish, folds, margins


@pytest.fixture
def store(either_store):
    return either_store


def opened(store):
    return duckdb.connect(str(store.local_file("warehouse.duckdb")), read_only=True)


def test_every_declared_table_is_a_real_table_with_comments(store):
    warehouse.refresh(store)
    with opened(store) as connection:
        tables = connection.execute("select schema_name || '.' || table_name, comment from duckdb_tables()").fetchall()
        columns = connection.execute(
            "select schema_name || '.' || table_name, column_name, comment from duckdb_columns()"
            " where schema_name <> 'main'"
        ).fetchall()
    comments = dict(tables)
    for name, table in all_tables().items():
        assert comments[name] == table.description
        assert [(c, text) for t, c, text in columns if t == name] == [(c, d.comment) for c, d in table.columns.items()]


def test_a_refresh_holds_exactly_what_the_parts_hold(store):
    finish(store, 1, 2)
    store.replace("prism.folds", folds(("u1", 0)))
    store.replace("training.margins", margins(1, 0.5), ("s", "age.A", "1", "0"))
    warehouse.refresh(store)
    store.replace("prism.folds", folds(("u2", 1), ("u3", 1)))
    store.replace("training.margins", margins(2, 0.7), ("s", "age.A", "2", "0"))
    store.replace("training.margins", margins(1, -0.5), ("s", "age.A", "1", "0"))
    warehouse.refresh(store)
    warehouse.refresh(store)
    with opened(store) as connection:
        assert connection.execute("select user_id from prism.folds order by 1").fetchall() == [("u2",), ("u3",)]
        assert connection.execute("select margin from training.margins order by seed").fetchall() == [(-0.5,), (0.7,)]
    store.discard("s/age.A/seed-2")
    warehouse.refresh(store)
    with opened(store) as connection:
        assert connection.execute("select margin from training.margins").fetchall() == [(-0.5,)]


def test_only_changed_partitions_are_loaded_again(store):
    finish(store, *range(5))
    for seed in range(5):
        store.replace("training.margins", margins(seed, 0.5), ("s", "age.A", str(seed), "0"))
    warehouse.refresh(store)
    store.replace("training.margins", margins(3, 0.9), ("s", "age.A", "3", "0"))
    loaded = []
    original = warehouse._insert
    warehouse._insert = lambda *asked: (loaded.append(asked[2].values), original(*asked))
    try:
        warehouse.refresh(store)
    finally:
        warehouse._insert = original
    assert loaded == [("s", "age.A", "3", "0")]


def test_an_open_reader_keeps_its_rows_and_blocks_nobody(store):
    store.replace("prism.folds", folds(("old", 0)))
    warehouse.refresh(store)
    with opened(store) as reader:
        store.replace("prism.folds", folds(("new", 0)))
        warehouse.refresh(store)
        assert reader.execute("select user_id from prism.folds").fetchall() == [("old",)]
    with opened(store) as reader:
        assert reader.execute("select user_id from prism.folds").fetchall() == [("new",)]


def test_what_somebody_left_unsaved_in_the_old_file_does_not_reach_the_new_one(tmp_path):
    store = Store(home=str(tmp_path / "home"))
    warehouse.refresh(store)
    (Path(store.home) / "warehouse.duckdb.wal").write_bytes(b"left by a killed session")
    store.replace("prism.folds", folds(("u1", 0)))
    warehouse.refresh(store)
    with opened(store) as connection:
        assert connection.execute("select user_id from prism.folds").fetchall() == [("u1",)]


def test_a_table_whose_declaration_changed_is_made_anew(store):
    store.replace("prism.folds", folds(("u1", 0)))
    warehouse.refresh(store)
    with store.replacing_file("warehouse.duckdb") as (changed, present):
        shutil.copyfile(present, changed)
        with duckdb.connect(str(changed)) as connection:
            connection.execute("alter table prism.folds add column stale int")
    warehouse.refresh(store)
    with opened(store) as connection:
        assert connection.execute("from prism.folds").fetchall() == [("u1", 0)]


def test_an_export_stands_alone_with_adapters(store, tmp_path):
    store.put("s/age.A/seed-1", {"adapter_model.safetensors": b"weights"}, {"fingerprint": "f"}, "r1")
    row = {"study": "s", "cohort": "age.A", "split": "age", "user_group": "A", "seed": 1, "fold": 0, "fingerprint": "f"}
    row |= {"uri": "artifacts/s/age.A/seed-1/r1", "sha256": "x", "bytes": 7}
    store.replace("training.adapters", pl.DataFrame([row]), ("s", "age.A", "1", "0"))
    warehouse.export_to(store, tmp_path / "out.duckdb", with_adapters=True)
    with duckdb.connect(str(tmp_path / "out.duckdb"), read_only=True) as connection:
        rows = connection.execute("select uri, file, content from training.adapter_files").fetchall()
    assert rows == [("artifacts/s/age.A/seed-1/r1", "adapter_model.safetensors", b"weights")]


def activations(task: str, *numbers: float, chunk: int = 0) -> pl.DataFrame:
    """The row of one task, of a model that is as wide as there are numbers."""
    row = {"measurement": "m", "chunk": chunk, "task_id": task, "model": "tiny", "revision": "r", "fingerprint": "f"}
    read = {"layer": 1, "position": "prompt_last", "width": len(numbers), "activation": list(numbers)}
    return pl.DataFrame([row | read])


ALIKE = """
    select a.task_id, b.task_id, array_cosine_similarity(a.activation, b.activation)
    from preferences.activations as a, preferences.activations as b
    where a.task_id < b.task_id
"""


def test_duckdbs_array_functions_take_activations(store):
    """Cosine of (3, 4) and (4, 3): 24 / 25."""
    store.replace("preferences.activations", activations("t1", 3.0, 4.0), ("m", "0"))
    store.replace("preferences.activations", activations("t2", 4.0, 3.0, chunk=1), ("m", "1"))
    warehouse.refresh(store)
    with opened(store) as connection:
        assert connection.execute(ALIKE).fetchall() == [("t1", "t2", pytest.approx(0.96))]
        assert connection.execute("select distinct typeof(activation) from preferences.activations").fetchall() == [
            ("FLOAT[2]",)
        ]
    assert store.query(ALIKE).row(0) == ("t1", "t2", pytest.approx(0.96))


def test_models_of_different_widths_share_the_table(store):
    store.replace("preferences.activations", activations("t1", 3.0, 4.0), ("m", "0"))
    warehouse.refresh(store)
    wider = activations("t2", 1.0, 2.0, 3.0).with_columns(measurement=pl.lit("other"))
    store.replace("preferences.activations", wider, ("other", "0"))
    warehouse.refresh(store)
    asked = "select task_id, list_sum(activation) from preferences.activations order by task_id"
    with opened(store) as connection:
        assert connection.execute(asked).fetchall() == [("t1", 7.0), ("t2", 6.0)]
    assert store.query(asked).rows() == [("t1", 7.0), ("t2", 6.0)]
