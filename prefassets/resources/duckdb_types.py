"""The types that columns of tables may have, in polars' words and in DuckDB's."""

import polars as pl
from duckdb.sqltypes import DuckDBPyType
from polars.datatypes import DataTypeClass

SCALARS: dict[str, pl.DataType] = {
    "VARCHAR": pl.String(),
    "BIGINT": pl.Int64(),
    "INTEGER": pl.Int32(),
    "DOUBLE": pl.Float64(),
    "FLOAT": pl.Float32(),
    "BOOLEAN": pl.Boolean(),
    "TIMESTAMP WITH TIME ZONE": pl.Datetime("us", "UTC"),
}


class UnknownType(ValueError):
    """A type that no column of a table may have."""


def duckdb_type(dtype: pl.DataType | DataTypeClass) -> str:
    """DuckDB's name of a column type, for `create table`; lists and structs are of such types too.

    Raises:
        UnknownType: it is none of those.
    """
    if isinstance(dtype, pl.List):
        return f"{duckdb_type(dtype.inner)}[]"
    if isinstance(dtype, pl.Struct):
        listed = ", ".join(f'"{field.name}" {duckdb_type(field.dtype)}' for field in dtype.fields)
        return f"STRUCT({listed})"
    for name, known in SCALARS.items():
        if dtype == known:
            return name
    raise UnknownType(f"{dtype} is none of {', '.join(map(str, SCALARS.values()))}, nor a list or struct of those")


def polars_type(found: DuckDBPyType) -> pl.DataType:
    """The polars type of a column that DuckDB has.

    Raises:
        UnknownType: it has no counterpart here; a SELECT may cast it to one that has.
    """
    if found.id in ("list", "struct"):
        inner = {name: polars_type(child) for name, child in found.children if isinstance(child, DuckDBPyType)}
        return pl.Struct(inner) if found.id == "struct" else pl.List(inner["child"])
    if str(found) not in SCALARS:
        raise UnknownType(f"{found} is none of {', '.join(SCALARS)}, nor a list or struct of those")
    return SCALARS[str(found)]
