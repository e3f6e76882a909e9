"""A column's type means the same to polars and to DuckDB."""

import duckdb
import polars as pl
import polars.selectors as cs
import pytest

from prefassets.resources.duckdb_types import UnknownType, duckdb_type, polars_type
from prefassets.resources.sql_tables import all_tables, create_empty, empty_database


def test_every_table_that_duckdb_creates_is_read_as_it_was_declared():
    with empty_database() as connection:
        for name, table in all_tables().items():
            create_empty(connection, table)
            made = connection.sql(f"from {name}")
            read = made.pl().with_columns(cs.datetime().dt.convert_time_zone("UTC"))  # DuckDB gives the machine's
            assert read.schema == table.schema
            assert dict(zip(made.columns, map(polars_type, made.types), strict=True)) == dict(table.schema)


def test_vectors_are_arrays_of_the_width_that_they_have():
    with empty_database() as connection:
        create_empty(connection, all_tables()["model.activations"], width=3)
        types = dict(connection.sql("select column_name, data_type from duckdb_columns()").fetchall())
    assert types["activation"] == "FLOAT[3]"


@pytest.mark.parametrize("dtype", [pl.Decimal(10, 2), pl.List(pl.Date()), pl.Struct({"a": pl.UInt8()})])
def test_a_type_that_no_column_may_have_is_refused_by_name(dtype):
    with pytest.raises(UnknownType, match="is none of String, Int64, Int32"):
        duckdb_type(dtype)


def test_what_a_select_must_cast_is_refused_by_name():
    found = duckdb.sql("select [1.5] as decimals, sum(1::bigint) as total")
    for dtype, name in zip(found.types, [r"DECIMAL\(2,1\)", "HUGEINT"], strict=True):
        with pytest.raises(UnknownType, match=f"{name} is none of VARCHAR, BIGINT"):
            polars_type(dtype)
