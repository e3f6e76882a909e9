"""Every kind of file gives the same activations, and a wrong one says what was found and what was wanted."""

import duckdb
import numpy as np
import polars as pl
import pytest

from prefassets.domain.prism.released import BadInput
from prefassets.resources import activation_files
from prefassets.resources.activation_files import layer_and_position, read_activations

ITEMS = ["x 1", "x 2", "7"]
AT = {
    (16, "response_mean"): np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.float32),
    (24, "response_mean"): np.array([[0.5, -1, 0], [2, 2, 2], [0, 0, 1]], np.float32),
}


def long(at=AT, items=ITEMS):
    return pl.DataFrame(
        [
            (item, layer, position, vector.tolist())
            for item_number, item in enumerate(items)
            for (layer, position), matrix in at.items()
            for vector in matrix[item_number : item_number + 1]
        ],
        {"task_id": pl.String, "layer": pl.Int64, "position": pl.String, "activation": pl.List(pl.Float32)},
        orient="row",
    )


def wide(dtype):
    columns = {
        f"layer_{layer}_{position}": pl.Series(matrix.tolist(), dtype=dtype) for (layer, position), matrix in AT.items()
    }
    return pl.DataFrame({"item": ITEMS, "topic": ["m", "m", "n"], **columns})


def write_long(folder):
    long().with_columns(width=3, model=pl.lit("tiny")).write_parquet(folder / "a.parquet", row_group_size=2)
    return folder / "a.parquet"


def write_from_duckdb(folder):
    rows = long()  # noqa: F841  DuckDB reads the variable by name
    duckdb.sql("select task_id, layer, position, activation::float[3] as activation from rows").write_parquet(
        str(folder / "a.parquet")
    )
    return folder / "a.parquet"


def write_lists(folder):
    wide(pl.List(pl.Float64)).write_parquet(folder / "a.parquet")
    return folder / "a.parquet"


def write_fixed_lists(folder):
    wide(pl.Array(pl.Float32, 3)).write_parquet(folder / "a.parquet")
    return folder / "a.parquet"


def write_npz(folder):
    named = {f"response_mean.L{layer}": matrix.astype(np.float16) for (layer, _), matrix in AT.items()}
    np.savez(folder / "a.npz", task_ids=np.array(ITEMS), labels=np.zeros(3), **named)
    return folder / "a.npz"


WRITERS = [write_long, write_from_duckdb, write_lists, write_fixed_lists, write_npz]


@pytest.mark.parametrize("write", WRITERS)
def test_every_kind_of_file_holds_the_same_activations_read_part_by_part(tmp_path, write, monkeypatch):
    monkeypatch.setattr(activation_files, "ROWS_AT_ONCE", 2)
    found = read_activations(write(tmp_path))
    assert found.items == ITEMS
    assert set(found.at) == set(AT)
    for place, matrix in AT.items():
        assert found.at[place].dtype == np.float32
        np.testing.assert_array_equal(found.at[place], matrix)


@pytest.mark.parametrize("write", WRITERS)
def test_only_what_is_asked_for_is_read_and_what_is_not_there_is_refused(tmp_path, write):
    file = write(tmp_path)
    assert set(read_activations(file, layers=[24]).at) == {(24, "response_mean")}
    with pytest.raises(BadInput, match="has no layer 25; there is layer 16, response_mean; layer 24, response_mean"):
        read_activations(file, layers=[24, 25])
    with pytest.raises(BadInput, match="has no position 'prompt_last'; there is layer 16"):
        read_activations(file, positions=["prompt_last"])


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("layer16", (16, "unnamed")),
        ("layer_24_response_mean", (24, "response_mean")),
        ("Layer 24/response mean", (24, "response mean")),
        ("prompt_last_layer8", (8, "prompt_last")),
        ("16", (16, "unnamed")),
        ("l3.x2", (3, "x2")),
        ("activations", (None, "activations")),
        ("qwen2_5b", (None, "qwen2_5b")),
    ],
)
def test_a_name_says_layer_and_position(name, place):
    assert layer_and_position(name) == place


def test_an_array_that_says_no_layer_is_of_the_one_that_is_asked_for(tmp_path):
    np.savez(tmp_path / "a.npz", ids=np.arange(3), activations=AT[16, "response_mean"].astype(int))
    found = read_activations(tmp_path / "a.npz", layers=[16])
    assert found.items == ["0", "1", "2"]
    assert list(found.at) == [(16, "activations")]
    with pytest.raises(BadInput, match=r"which layer .activations. is of was wanted, in its name, .* or as --layer 16"):
        read_activations(tmp_path / "a.npz")


def test_items_without_an_activation_everywhere_are_left_out_and_counted(tmp_path):
    rows = long().filter((pl.col("task_id") != "x 2") | (pl.col("layer") == 16))
    rows.write_parquet(tmp_path / "a.parquet")
    found = read_activations(tmp_path / "a.parquet")
    assert found.items == ["x 1", "7"]
    np.testing.assert_array_equal(found.at[24, "response_mean"], AT[24, "response_mean"][[0, 2]])
    (note,) = found.notes
    assert note.endswith("left out: 1 items without an activation (1 at layer 24, response_mean)")
    assert read_activations(tmp_path / "a.parquet", layers=[16]).items == ITEMS
    empty = wide(pl.List(pl.Float32)).with_columns(layer_24_response_mean=pl.lit(None, pl.List(pl.Float32)))
    empty.write_parquet(tmp_path / "empty.parquet")
    with pytest.raises(BadInput, match=r"holds no item with activations at .*3 at layer 24"):
        read_activations(tmp_path / "empty.parquet")


def parquet(rows):
    return lambda file: rows.write_parquet(file)


def npz(**arrays):
    return lambda file: np.savez(file, **arrays)


TWO = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("name", "write", "complaint"),
    [
        ("a.npy", lambda file: np.save(file, TWO), "ends in .parquet or .npz; this one ends in '.npy'"),
        ("a.npz", lambda file: None, "does not exist; a file of activations was wanted"),
        ("a.npz", lambda file: file.write_text("x"), "cannot be read as npz"),
        ("a.parquet", lambda file: file.write_text("x"), "cannot be read as Parquet"),
        ("a.npz", npz(layer1=TWO), "as item, task_id or id; there is layer1 2 x 3 float64"),
        ("a.npz", npz(ids=np.array(["x", None]), layer1=TWO), "ids holds Python objects, which are not read"),
        ("a.npz", npz(ids=np.arange(3), layer1=TWO), "layer1 is 2 x 3, but ids names 3 items"),
        ("a.npz", npz(ids=np.zeros(2), layer1=TWO), "item '0.0' stands twice"),
        ("a.npz", npz(ids=np.arange(2), x=np.zeros((2, 3, 4))), "under a name such as layer16 or"),
        ("a.npz", npz(ids=np.arange(2), layer1=TWO, layer_1=TWO), "'layer1' and 'layer_1' both name layer 1"),
        ("a.parquet", parquet(long().drop("task_id")), "as item, task_id or id; there is layer (Int64), position"),
        ("a.parquet", parquet(long().drop("position")), "beside activation, position was wanted"),
        ("a.parquet", parquet(long().cast({"layer": pl.String})), "whole numbers were wanted in the column layer"),
        ("a.parquet", parquet(pl.concat([long(), long()[:1]])), "'x 1' stands twice at layer 16, response_mean"),
        (
            "a.parquet",
            parquet(long().with_columns(task_id=pl.lit(None, pl.String))),
            "row 1, column task_id: None; what names the item was wanted",
        ),
        (
            "a.parquet",
            parquet(
                pl.concat([long(), pl.DataFrame([("y", 24, "response_mean", [0.0])], long().schema, orient="row")])
            ),
            "row 7, column activation: item 'y' has 1 numbers, others have 3",
        ),
        (
            "a.parquet",
            parquet(pl.DataFrame({"item": ["x"], "d0": [0.5], "d1": [0.5]})),
            "an array of numbers for each item, under a name such as layer16 or layer_16_response_mean, or in the "
            "columns layer, position, activation; there is item (String), d0 (Float64), d1 (Float64)",
        ),
    ],
)
def test_a_wrong_file_says_what_was_found_and_what_was_wanted(tmp_path, name, write, complaint):
    write(tmp_path / name)
    with pytest.raises(BadInput) as error:
        read_activations(tmp_path / name)
    assert complaint in str(error.value)
    assert str(tmp_path / name) in str(error.value)
