"""Chatbot Arena's battles as released: `train.csv` and `test.csv`, or the same columns as Parquet or JSON lines.

Released on the hub (https://huggingface.co/datasets/lmarena-ai/arena-human-preference-55k) and on Kaggle
(https://www.kaggle.com/competitions/lmsys-chatbot-arena), whose `test.csv` names neither models nor winners.
"""

import csv
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from prefassets.domain.arena.battles import WINNER_OF_COLUMN, without_lone_surrogates
from prefassets.domain.json_rows import json_rows
from prefassets.domain.prism.released import BadInput

SUFFIXES = (".csv", ".parquet", ".jsonl")
HOME_PAGE = "https://huggingface.co/datasets/lmarena-ai/arena-human-preference-55k"
COLUMNS = {  # -> what it holds
    "id": "what identifies the battle",
    "model_a": "who wrote the answers A",
    "model_b": "who wrote the answers B",
    "prompt": "a JSON list: the prompt of each turn",
    "response_a": "a JSON list: answer A to each",
    "response_b": "a JSON list: answer B to each",
    "winner_model_a": "1 where A won, else 0",
    "winner_model_b": "1 where B won, else 0",
    "winner_tie": "1 for a tie, else 0",
}
UNJUDGED = ("id", "prompt", "response_a", "response_b")  # what a file without winners must have
LONGEST_FIELD = 2**31 - 1  # bytes; Python's own limit is 131,072 characters, and some answers are longer


def read_battles(file: Path) -> pl.DataFrame:
    """The rows of a file of battles as they stand there, unchecked: see `usable_battles` and `unjudged_battles`.

    A file that has one of the columns of winners is one of judged battles, and must have all of `COLUMNS`; any other is
    one of battles that nobody judged, and must have those of `UNJUDGED`. Columns that are not needed are not read, and
    blank lines are skipped.

    Returns:
        Those of `COLUMNS` that the file has, as text (a list is written as JSON), and `line`, where the row begins in
        the file, from 1; of a Parquet file, the number of the row.

    Raises:
        BadInput: the file is missing, empty, or no such file; names file, line and column.
    """
    if not file.is_file():
        raise BadInput(f"{file} is no file. One of battles (*{', *'.join(SUFFIXES)}) was wanted.")
    if file.suffix not in SUFFIXES:
        raise BadInput(f"{file} is none of *{', *'.join(SUFFIXES)}. Unpack or rename it.")
    rows = {".csv": _csv, ".parquet": _parquet, ".jsonl": _json}[file.suffix](file)
    if rows.is_empty():
        raise BadInput(f"{file} is empty. At least one battle was wanted.")
    return rows


def _wanted(file: Path, place: str, found: Collection[str]) -> list[str]:
    """The columns to read of those found."""
    needed = UNJUDGED if WINNER_OF_COLUMN.keys().isdisjoint(found) else tuple(COLUMNS)
    _refuse_absent(file, place, needed, found)
    return [column for column in COLUMNS if column in found]


def _refuse_absent(file: Path, place: str, needed: Sequence[str], found: Collection[str]) -> None:
    if absent := [column for column in needed if column not in found]:
        wanted = "\n".join(f"{file}, {place}, column {column}: missing; wanted {COLUMNS[column]}." for column in absent)
        raise BadInput(f"{wanted}\nCorrect the file, or download it again: {HOME_PAGE}.")


def _csv(file: Path) -> pl.DataFrame:
    try:
        with _long_fields(), file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.reader(opened, strict=True)
            try:
                return _sheet(file, reader)
            except csv.Error as error:
                line = reader.line_num
                raise BadInput(f"{file}, line {line}: {error}; wanted CSV. Correct the file.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{file}, line {_first_not_utf8(file)}: not UTF-8 ({error}). Save it as UTF-8.") from error


def _sheet(file: Path, reader: Any) -> pl.DataFrame:
    header = next(reader, None)
    if header is None:
        raise BadInput(f"{file} is empty. At least one battle was wanted.")
    places = {column: header.index(column) for column in _wanted(file, "line 1", header)}
    values: dict[str, list[Any]] = {column: [] for column in places}
    lines: list[int] = []
    begins = reader.line_num + 1
    for fields in reader:
        if fields:  # a blank line has none
            if len(fields) != len(header):
                raise BadInput(f"{file}, line {begins}: {len(fields)} fields; wanted {len(header)}. Correct the file.")
            for column, place in places.items():
                values[column].append(fields[place])
            lines.append(begins)
        begins = reader.line_num + 1
    return _frame(values, lines)


def _first_not_utf8(file: Path) -> int:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 0


@contextmanager
def _long_fields() -> Iterator[None]:
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _json(file: Path) -> pl.DataFrame:
    wanted: list[str] = []
    values: dict[str, list[Any]] = {}
    lines: list[int] = []
    for line, raw in json_rows(file):
        if not wanted:
            wanted = _wanted(file, f"line {line}", raw)
            values = {column: [] for column in wanted}
        _refuse_absent(file, f"line {line}", wanted, raw)
        for column in wanted:
            values[column].append(_text(raw[column]))
        lines.append(line)
    return _frame(values, lines)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return without_lone_surrogates(value)
    return json.dumps(value)


def _parquet(file: Path) -> pl.DataFrame:
    try:
        wanted = _wanted(file, "row 1", pl.read_parquet_schema(file))
        rows = pl.read_parquet(file, columns=wanted)
    except pl.exceptions.PolarsError as error:
        raise BadInput(f"{file} could not be read as Parquet: {error}. Download it again.") from error
    values: dict[str, Any] = {}
    for column in wanted:
        found = rows[column]
        if isinstance(found.dtype, pl.List):
            values[column] = [None if row is None else json.dumps(row, default=str) for row in found.to_list()]
        elif found.dtype.is_nested() or found.dtype == pl.Binary:
            raise BadInput(f"{file}, column {column}: {found.dtype}; wanted {COLUMNS[column]}. Correct the file.")
        else:
            values[column] = found.cast(pl.String)
    return _frame(values, range(1, len(rows) + 1))


def _frame(values: dict[str, Any], lines: Sequence[int]) -> pl.DataFrame:
    schema = dict.fromkeys(values, pl.String()) | {"line": pl.Int64()}
    return pl.DataFrame({**values, "line": lines}, schema=schema)
