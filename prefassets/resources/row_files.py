"""Rows of files that anyone made, each with its place in the file, so that an error can name it."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from prefassets.domain.prism.released import BadInput

NAMED = 10
Place = Callable[[int], str]  # where in the file a row stands, by its number from 0


def refuse(file: Path, rows: pl.DataFrame, column: str, wrong: pl.Expr | pl.Series, place: Place, wanted: str) -> None:
    """Raise `BadInput` for the first row that is wrong, if one is."""
    at = rows.select(wrong.arg_true()).to_series()
    if len(at):
        value = rows[column][at[0]]
        raise BadInput(f"{file}, {place(at[0])}, column {column}: {value if value is None else repr(value)}; {wanted}.")


def lacking(file: Path, at: str, name: str, there: object) -> BadInput:
    """The error that something of this name is not there."""
    return BadInput(f"{file}, {at}: {name!r} is missing; there is {there or 'nothing'}.")


def listed(names: Sequence[str]) -> str:
    """Names as an error tells them: the first, and how many more."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f", and {more:,} more" if more > 0 else "")


def is_empty(column: str) -> pl.Expr:
    """Whether there is no text in a column of text."""
    return pl.col(column).is_null() | (pl.col(column).str.strip_chars() == "")


def row_of(row: int) -> str:
    """The place of a row of a file that has no lines."""
    return f"row {row + 1}"


def line_from(first: int) -> Place:
    return lambda row: f"line {row + first}"


def text_of(file: Path) -> str:
    """The file's text, without a byte order mark.

    Raises:
        BadInput: it is not there, or not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise BadInput(f"{file} does not exist.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise BadInput(f"{file}, line {line}: not UTF-8 text.") from error


def csv_rows(file: Path, columns: Sequence[str] | None = None) -> tuple[pl.DataFrame, Place]:
    """These columns of a CSV file, or all of them, as text.

    Raises:
        BadInput: naming the line: a column is missing or stands twice, or a line has too few values.
    """
    rows: list[list[str]] = []
    lines = []
    reader = csv.reader(text_of(file).splitlines(keepends=True), strict=True)
    try:
        header = next(reader, [])
        wanted = header if columns is None else columns
        for name in wanted:
            if name not in header:
                raise lacking(file, "line 1", name, ", ".join(header))
            if header.count(name) > 1:
                raise BadInput(f"{file}, line 1: column {name!r} stands twice.")
        places = [header.index(name) for name in wanted]
        furthest = max(places, default=-1)
        for raw in reader:
            if raw:
                if len(raw) <= furthest:
                    raise BadInput(f"{file}, line {reader.line_num}: {len(raw)} values, {len(header)} were wanted.")
                rows.append([raw[place] for place in places])
                lines.append(reader.line_num)
    except csv.Error as error:
        raise BadInput(f"{file}, line {reader.line_num}: {error}.") from error
    return pl.DataFrame(rows, dict.fromkeys(wanted, pl.String), orient="row"), lambda row: f"line {lines[row]}"


def parquet_rows(file: Path, columns: Sequence[str] | None = None) -> tuple[pl.DataFrame, Place]:
    """These columns of a Parquet file, or all of them, in their own types.

    Raises:
        BadInput: it cannot be read, or a column is missing.
    """
    there = parquet_schema(file)
    for name in columns or ():
        if name not in there:
            raise lacking(file, "its columns", name, ", ".join(there))
    return pl.read_parquet(file, columns=None if columns is None else list(columns)), row_of


def parquet_schema(file: Path) -> pl.Schema:
    """Names and types of a Parquet file's columns.

    Raises:
        BadInput: it cannot be read.
    """
    try:
        return pl.Schema(pl.read_parquet_schema(file))
    except FileNotFoundError as error:
        raise BadInput(f"{file} does not exist.") from error
    except pl.exceptions.PolarsError as error:
        raise BadInput(f"{file} cannot be read as Parquet: {error}") from error
