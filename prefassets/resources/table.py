"""What a declared table is: columns, types, comments, partitions, and the check of every write."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from prefassets.resources.duckdb_types import duckdb_type

TEXT, INTEGER, REAL, BOOLEAN = pl.String(), pl.Int64(), pl.Float64(), pl.Boolean()
VECTOR = pl.List(pl.Float32())  # beside a column `width`: DuckDB then has an array of that size, see `vectors`


class TableMismatch(ValueError):
    """Rows do not fit the declared schema of their table."""


@dataclass(frozen=True)
class Column:
    """One column: its type, what it means (with units), and whether it may be empty."""

    dtype: pl.DataType
    comment: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """One table of the platform. Each combination of values of `partition_columns` is one part, one Parquet file.

    `artifact` names, for the values of a part, the artifact whose record makes the part count: without the record, the
    rows are unfinished work and nobody sees them.
    """

    name: str
    description: str
    columns: Mapping[str, Column]
    partition_columns: tuple[str, ...] = ()
    artifact: Callable[..., str] | None = None

    @property
    def schema(self) -> pl.Schema:
        return pl.Schema({name: column.dtype for name, column in self.columns.items()})

    @property
    def vectors(self) -> tuple[str, ...]:
        """Columns of `width` numbers each, which DuckDB has as FLOAT[width], so that its array functions take them.

        Parquet knows no array of fixed size, and the width is the model's: while a table has rows of several models of
        different widths, they are FLOAT[], as they are while it has none.
        """
        if "width" not in self.columns:
            return ()
        return tuple(name for name, column in self.columns.items() if column.dtype == VECTOR)

    def duckdb_types(self, width: int | None = None) -> dict[str, str]:
        """DuckDB's type of each column; vectors are arrays of `width` numbers, lists if that is None."""
        types = {name: duckdb_type(column.dtype) for name, column in self.columns.items()}
        return types if width is None else types | dict.fromkeys(self.vectors, f"FLOAT[{width}]")

    def empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema=self.schema)

    def conform(self, rows: pl.DataFrame) -> pl.DataFrame:
        """`rows` in the declared column order and types.

        Raises:
            TableMismatch: a column is missing, unknown, of another type, or empty where it may not be.
        """
        if unknown := sorted(set(rows.columns) - set(self.columns)):
            raise TableMismatch(f"{self.name} has no column {unknown}; its columns are {list(self.columns)}")
        if missing := [name for name in self.columns if name not in rows.columns]:
            raise TableMismatch(f"{self.name} needs the column {missing}; the rows have {rows.columns}")
        try:
            rows = rows.select(pl.col(name).cast(column.dtype) for name, column in self.columns.items())
        except pl.exceptions.PolarsError as error:
            raise TableMismatch(f"rows do not fit the types of {self.name}: {error}") from error
        for name, column in self.columns.items():
            if not column.nullable and (empty := rows[name].null_count()):
                raise TableMismatch(f"{self.name}.{name} is empty in {empty} of {len(rows)} rows; it must have a value")
        return rows


def optional(dtype: pl.DataType, comment: str) -> Column:
    return Column(dtype, comment, nullable=True)
