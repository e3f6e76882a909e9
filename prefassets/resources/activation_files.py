"""Files of activations that anyone made: Parquet or npz in, a matrix per (layer, position) out."""

# N items, D numbers of an activation, r rows of a file

import re
import zipfile
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.domain.prism.released import BadInput
from prefassets.resources.row_files import is_empty, listed, parquet_schema, refuse, row_of

IDS = ("item", "task_id", "task_ids", "items", "id", "ids")
LAYER_IN_NAME = re.compile(r"(?:^|[^a-zA-Z0-9])(?:layers?|l)?[_ .-]?(\d+)(?![a-zA-Z0-9])", re.IGNORECASE)
LONG = ("layer", "position", "activation")
ROWS_AT_ONCE = 1_024

UNNAMED = "unnamed"  # a position that is not said

Where = tuple[int, str]  # layer and position


@dataclass(frozen=True)
class Activations:
    """What a file holds of each item: an N x D matrix per (layer, position), rows in the order of `items`.

    `notes` tells what was left out, and why.
    """

    file: Path
    items: list[str]
    at: dict[Where, NDArray[np.float32]]
    notes: list[str] = field(default_factory=list)


def read_activations(file: Path, layers: Collection[int] = (), positions: Collection[str] = ()) -> Activations:
    """The activations of a Parquet or npz file, of these layers and positions only, if any are named.

    Either holds an identifier of the items (`item`, `task_id` or `id`) and an array or column for each layer and
    position, whose name says which (see `layer_and_position`). A Parquet file may also have a row per (item, layer,
    position), in the columns `layer`, `position`, `activation`, as `preferences.activations` has. Other columns and
    arrays are left out. Items that lack an activation at one of the places that are read are dropped, and counted.
    Where names say no layer, it is the one in `layers`, which must then be one.

    Raises:
        BadInput: naming what was found and what was wanted: not such a file, an item that stands twice, activations of
            different width or number, a layer or position that is not there.
    """
    readers = {".parquet": _parquet, ".npz": _npz}
    if file.suffix not in readers:
        raise BadInput(
            f"{file}: a file of activations ends in {' or '.join(readers)}; this one ends in {file.suffix!r}."
        )
    if not file.is_file():
        raise BadInput(f"{file} does not exist; a file of activations was wanted.")
    found = readers[file.suffix](file, _Asked(file, layers, positions))
    if not found.items:
        raise BadInput("; ".join([f"{file} holds no item with activations at {_listed(found.at)}", *found.notes]) + ".")
    return found


def layer_and_position(name: str) -> tuple[int | None, str]:
    """Where the activations of an array or a column are from, by its name.

    The first number that stands alone, or after "layer" or "l", is the layer; the rest of the name is the position:
    `layer_24_response_mean` and `response_mean.L24` are (24, "response_mean"), `layer16` is (16, "unnamed"). A name
    without such a number says no layer: `activations` is (None, "activations").
    """
    match = LAYER_IN_NAME.search(name)
    if match is None:
        return None, name
    parts = (part.strip("_ .-/") for part in (name[: match.start()], name[match.end() :]))
    return int(match[1]), "_".join(part for part in parts if part) or UNNAMED


def said_of(where: Where) -> str:
    """A place, as people read it."""
    layer, position = where
    return f"layer {layer}" if position == UNNAMED else f"layer {layer}, {position}"


@dataclass(frozen=True)
class _Asked:
    file: Path
    layers: Collection[int]
    positions: Collection[str]

    def of(self, there: Collection[Where]) -> list[Where]:
        """What was asked for of what is there."""
        for what, asked, has in (
            ("layer", self.layers, {layer for layer, _ in there}),
            ("position", self.positions, {position for _, position in there}),
        ):
            if absent := [one for one in asked if one not in has]:
                raise BadInput(f"{self.file} has no {what} {absent[0]!r}; there is {_listed(there)}.")
        chosen = [
            (layer, position)
            for layer, position in there
            if (not self.layers or layer in self.layers) and (not self.positions or position in self.positions)
        ]
        if not chosen:
            raise BadInput(f"{self.file} has no such layer at such a position; there is {_listed(there)}.")
        return chosen


def _listed(places: Collection[Where]) -> str:
    return "; ".join(said_of(place) for place in places)


def _by_place(file: Path, asked: _Asked, names: Collection[str], there: str) -> dict[Where, str]:
    """The name of the array or column of each place."""
    found: dict[Where, str] = {}
    for name in names:
        layer, position = layer_and_position(name)
        if layer is None:
            if len(asked.layers) != 1:
                raise BadInput(
                    f"{file}: which layer {name!r} is of was wanted, in its name, as in layer_16_{name}, or as --layer "
                    f"16; there is {there}."
                )
            (layer,) = asked.layers
        place = layer, position
        if place in found:
            raise BadInput(f"{file}: {found[place]!r} and {name!r} both name {said_of(place)}.")
        found[place] = name
    if not found:
        raise BadInput(
            f"{file}: activations were wanted: an array of numbers for each item, under a name such as layer16 or "
            f"layer_16_response_mean, or in the columns {', '.join(LONG)}; there is {there}."
        )
    return found


def _identifier(file: Path, names: Collection[str], there: str) -> str:
    for name in IDS:
        if name in names:
            return name
    raise BadInput(f"{file}: what names the items was wanted, as item, task_id or id; there is {there}.")


def _refuse_twice(file: Path, items: pl.Series, where: str = "") -> None:
    if (twice := items.filter(items.is_duplicated())).len():
        raise BadInput(f"{file}: item {twice[0]!r} stands twice{where}; each has one activation at each place.")


# ---- npz


def _npz(file: Path, asked: _Asked) -> Activations:
    try:
        arrays = np.load(file, allow_pickle=False)
        shapes = {name: _shape(file, name) for name in arrays.files}
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{file} cannot be read as npz: {error}") from error
    there = listed([f"{name} {' x '.join(map(str, shape))} {dtype}" for name, (shape, dtype) in shapes.items()])
    identifier = _identifier(file, shapes, there or "nothing")
    items = pl.Series(np.asarray(arrays[identifier]).astype(str))
    _refuse_twice(file, items)
    matrices = [name for name, (shape, dtype) in shapes.items() if len(shape) == 2 and dtype.kind in "fiu"]
    by_place = _by_place(file, asked, matrices, there)
    at = {}
    for place in asked.of(by_place):
        rows, width = shapes[by_place[place]][0]
        if rows != len(items) or not width:
            raise BadInput(
                f"{file}: {by_place[place]} is {rows} x {width}, but {identifier} names {len(items)} items; a row for "
                f"each was wanted."
            )
        at[place] = arrays[by_place[place]].astype(np.float32)
    left = [name for name in shapes if name not in (identifier, *matrices)]
    return Activations(
        file, items.to_list(), at, [f"{file}: left out: {', '.join(left)}, not N x D numbers"] if left else []
    )


def _shape(file: Path, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array, of whose numbers none is read."""
    with zipfile.ZipFile(file) as archive, archive.open(f"{name}.npy") as content:
        version = np.lib.format.read_magic(content)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(content)
    if dtype.hasobject:
        raise BadInput(
            f"{file}: {name} holds Python objects, which are not read because reading them may run anything; text is "
            f"stored as such by np.array({name}, dtype=str)."
        )
    return shape, dtype


# ---- Parquet


def _parquet(file: Path, asked: _Asked) -> Activations:
    schema = parquet_schema(file)
    there = listed([f"{name} ({dtype})" for name, dtype in schema.items()])
    identifier = _identifier(file, schema, there)
    vectors = [name for name, dtype in schema.items() if _is_vector(dtype)]
    if "activation" in vectors and {"layer", "position"} & set(schema):
        return _long(file, asked, schema, identifier)
    keys = pl.read_parquet(file, columns=[identifier]).cast(pl.String)
    refuse(file, keys, identifier, is_empty(identifier), row_of, "what names the item was wanted")
    items = keys[identifier]
    _refuse_twice(file, items)
    by_place = _by_place(file, asked, vectors, there)
    every, one = np.arange(len(items)), np.zeros(len(items), np.int64)
    at = {place: _read(file, by_place[place], items, [place], one, every)[place] for place in asked.of(by_place)}
    return _complete(file, items, at)


def _long(file: Path, asked: _Asked, schema: pl.Schema, identifier: str) -> Activations:
    """Of a file with a row per (item, layer, position)."""
    for name in LONG[:2]:
        if name not in schema:
            raise BadInput(f"{file}: beside activation, {name} was wanted; there is {listed(list(schema))}.")
    if not schema["layer"].is_integer():
        raise BadInput(f"{file}: whole numbers were wanted in the column layer; it is {schema['layer']}.")
    keys = pl.read_parquet(file, columns=[identifier, "layer", "position"])
    keys = keys.with_columns(pl.col(identifier).cast(pl.String), pl.col("position").cast(pl.String).fill_null(UNNAMED))
    refuse(file, keys, identifier, is_empty(identifier), row_of, "what names the item was wanted")
    refuse(file, keys, "layer", pl.col("layer").is_null(), row_of, "a layer was wanted")
    places = asked.of(keys.select("layer", "position").unique().sort("layer", "position").rows())
    place_r = np.full(len(keys), -1)
    for number, (layer, position) in enumerate(places):
        here = (keys["layer"] == layer) & (keys["position"] == position)
        place_r[here.to_numpy()] = number
        _refuse_twice(file, keys[identifier].filter(here), f" at {said_of((layer, position))}")
    items = keys[identifier].unique(maintain_order=True)
    item_r = keys[identifier].replace_strict(items, np.arange(len(items)), return_dtype=pl.Int64).to_numpy()
    return _complete(file, items, _read(file, "activation", items, places, place_r, item_r))


@dataclass(frozen=True)
class _Matrix:
    """An N x D matrix, and for which items it holds something."""

    numbers: NDArray[np.float32]
    there: NDArray[np.bool_]


def _read(
    file: Path,
    column: str,
    items: pl.Series,
    places: list[Where],
    place_r: NDArray[np.int64],
    item_r: NDArray[np.int64],
) -> dict[Where, _Matrix]:
    """The vectors of a column; that of row r belongs to the item `item_r` at the place `place_r` (-1: to none).

    A part of the file after the other, so that only what is kept is in memory.
    """
    import pyarrow.parquet as pq

    found: dict[Where, _Matrix] = {}
    first = 0
    for batch in pq.ParquetFile(file).iter_batches(ROWS_AT_ONCE, columns=[column]):
        vectors = pl.Series(pl.from_arrow(batch)).cast(pl.List(pl.Float32))
        here = np.arange(first, first + len(vectors))
        first += len(vectors)
        lengths = vectors.list.len().fill_null(0).to_numpy()
        for number, place in enumerate(places):
            taken = (place_r[here] == number) & (lengths > 0)
            if not taken.any():
                continue
            if place not in found:
                width = int(lengths[taken][0])
                found[place] = _Matrix(np.empty((len(items), width), np.float32), np.zeros(len(items), np.bool_))
            matrix = found[place]
            width = matrix.numbers.shape[1]
            if (other := here[taken & (lengths != width)]).size:
                raise BadInput(
                    f"{file}, row {other[0] + 1}, column {column}: item {items[int(item_r[other[0]])]!r} has "
                    f"{lengths[other[0] - here[0]]} numbers, others have {width}."
                )
            into = item_r[here[taken]]
            matrix.numbers[into] = vectors.filter(taken).explode().to_numpy().reshape(-1, width)
            matrix.there[into] = True
    nowhere = _Matrix(np.empty((len(items), 0), np.float32), np.zeros(len(items), np.bool_))
    return {place: found.get(place, nowhere) for place in places}


def _complete(file: Path, items: pl.Series, found: dict[Where, _Matrix]) -> Activations:
    """Of the items that have an activation at each place."""
    whole = np.logical_and.reduce([matrix.there for matrix in found.values()])
    if whole.all():
        return Activations(file, items.to_list(), {place: matrix.numbers for place, matrix in found.items()})
    lacks = "; ".join(
        f"{np.count_nonzero(~matrix.there):,} at {said_of(place)}"
        for place, matrix in found.items()
        if not matrix.there.all()
    )
    note = f"{file}: left out: {np.count_nonzero(~whole):,} items without an activation ({lacks})"
    at = {place: matrix.numbers[whole] for place, matrix in found.items()}
    return Activations(file, items.filter(whole).to_list(), at, [note])


def _is_vector(dtype: pl.DataType) -> bool:
    return isinstance(dtype, (pl.List, pl.Array)) and dtype.inner.is_numeric()
