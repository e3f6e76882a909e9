"""The tables that SQL writes: one SELECT per file of `sql/`, which declares itself.

`sql/verdicts/contrast.sql` is the table and asset `verdicts.contrast`. Its leading comment is the declaration: first
what one row is, then a line per column, name and meaning two spaces apart (a deeper-indented line carries on). A column
that keeps the name of a column it reads inherits that comment. Dependencies are what DuckDB's parser finds in FROM.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from prefassets.resources.duckdb_types import UnknownType, polars_type
from prefassets.resources.table import Column, Table
from prefassets.resources.tables import TABLES

_PACKAGE = Path(__file__).resolve().parent.parent
SQL_FOLDER = next(folder for folder in (_PACKAGE / "sql", _PACKAGE.parent / "sql") if folder.is_dir())

_COLUMN_LINE = re.compile(r"^-- ([a-z_0-9]+(?:, [a-z_0-9]+)*)\s{2,}(\S.*)$")
_CONTINUED = re.compile(r"^--\s{3,}(\S.*)$")


class BadSql(ValueError):
    """A file of `sql/` cannot be used."""


@dataclass(frozen=True)
class SqlTable:
    """One file of `sql/`: its SELECT, what it reads, and the table that it makes."""

    table: Table
    sql: str
    dependencies: tuple[str, ...]


@cache
def _in_memory() -> duckdb.DuckDBPyConnection:
    """One for all that this process asks in memory: to make one takes five times as long as an empty database in it."""
    return duckdb.connect()


_DATABASES = count()


@contextmanager
def empty_database() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a new database in memory, which is gone when the block ends."""
    name = f"in_memory_{next(_DATABASES)}"
    with _in_memory().cursor() as connection:
        connection.execute(f"attach ':memory:' as {name}; use {name}")
        try:
            yield connection
        finally:
            connection.execute(f"use memory; detach {name}")


@cache
def tables_read(sql: str) -> tuple[str, ...]:
    """The `schema.table` names in the FROM clauses of one SELECT, sorted; its own CTEs are not among them.

    Raises:
        BadSql: not a single SELECT, or a table is named without its schema.
    """
    with _in_memory().cursor() as parser:
        ((parsed,),) = parser.execute("select json_serialize_sql(?)", [sql]).fetchall()
    tree = json.loads(parsed)
    if tree["error"]:
        raise BadSql(tree["error_message"])
    if len(tree["statements"]) != 1:
        raise BadSql(f"one SELECT was wanted; there are {len(tree['statements'])}")
    found: set[tuple[str, str]] = set()
    local: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("type") == "BASE_TABLE":
                found.add((node["schema_name"], node["table_name"]))
            if "cte_map" in node:
                local.update(entry["key"] for entry in node["cte_map"]["map"])
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    walk(tree)
    if bare := sorted(name for schema, name in found if not schema and name not in local):
        raise BadSql(f"table {bare[0]!r} is named without its schema, e.g. training.{bare[0]}")
    return tuple(sorted(f"{schema}.{name}" for schema, name in found if schema))


def create_empty(connection: duckdb.DuckDBPyConnection, table: Table, width: int | None = None) -> None:
    """Make `table` without rows in `connection`, as its declaration says, with vectors of `width` numbers."""
    connection.execute(_creation(table, width))


def _creation(table: Table, width: int | None = None) -> str:
    schema, _ = table.name.split(".")
    columns = ", ".join(f'"{name}" {dtype}' for name, dtype in table.duckdb_types(width).items())
    return f"create schema if not exists {schema}; create table {table.name} ({columns})"


def _select_all(table: Table, width: int | None) -> str:
    """`select *`, in which the table's vectors are arrays of `width` numbers; lists if that is None."""
    if width is None or not table.vectors:
        return "select *"
    arrays = ", ".join(f'"{name}"::float[{width}] as "{name}"' for name in table.vectors)
    return f"select * replace ({arrays})"


def read_files(connection: duckdb.DuckDBPyConnection, table: Table, files: Sequence[Path]) -> str:
    """The SELECT that reads all rows of a table from its Parquet files."""
    listed = ", ".join(sql_literal(str(file)) for file in files)
    rows = f"from read_parquet([{listed}], union_by_name = true)"
    return f"{_select_all(table, width_of(connection, table, files))} {rows}"


def width_of(connection: duckdb.DuckDBPyConnection, table: Table, files: Sequence[Path]) -> int | None:
    """The one width of all vectors of a table in these Parquet files; None if there is none, or more than one."""
    if not table.vectors or not files:
        return None
    listed = ", ".join(sql_literal(str(file)) for file in files)
    ((least, most),) = connection.execute(
        f"select min(width), max(width) from read_parquet([{listed}], union_by_name = true)"
    ).fetchall()
    return least if least == most else None


def sql_literal(text: str) -> str:
    """`text` as a SQL string, where DuckDB takes no parameter."""
    return "'" + text.replace("'", "''") + "'"


def sql_tables() -> dict[str, SqlTable]:
    """Every table of `sql/`, each after the tables it reads.

    Raises:
        BadSql: a file is not one SELECT, reads an unknown table, fails to bind, or leaves a column without a comment.
    """
    return _bound()[0]


def column_types() -> dict[tuple[str, str], str]:
    """DuckDB's name of each column's type, by table and column: what a reader of `warehouse.duckdb` sees."""
    return _bound()[1]


@cache
def _bound() -> tuple[dict[str, SqlTable], dict[tuple[str, str], str]]:
    """What `sql_tables` and `column_types` tell, of one database of empty tables: all processes here wait for it."""
    texts = {f"{path.parent.name}.{path.stem}": path.read_text() for path in sorted(SQL_FOLDER.glob("*/*.sql"))}
    reads: dict[str, tuple[str, ...]] = {}
    for name, text in texts.items():
        try:
            reads[name] = tables_read(text)
        except BadSql as error:
            raise BadSql(f"{_place(name)}: {error}") from error
        if unknown := [table for table in reads[name] if table not in TABLES and table not in texts]:
            raise BadSql(f"{_place(name)} reads {unknown[0]}, which no code and no file of sql/ declares")

    declared = dict(TABLES)
    result: dict[str, SqlTable] = {}
    with empty_database() as connection:
        connection.execute(";".join(_creation(table) for table in TABLES.values()))
        for name in TopologicalSorter(reads).static_order():
            if name in texts:
                declared[name] = _declare(connection, name, texts[name], [declared[read] for read in reads[name]])
                result[name] = SqlTable(declared[name], texts[name], reads[name])
                create_empty(connection, declared[name])
        types = connection.execute(
            "select schema_name || '.' || table_name, column_name, data_type from duckdb_columns()"
            " where database_name = current_database()"
        ).fetchall()
    return result, {(table, column): dtype for table, column, dtype in types}


def _place(name: str) -> str:
    """The file that makes a table."""
    return f"sql/{name.replace('.', '/')}.sql"


def _declare(connection: duckdb.DuckDBPyConnection, name: str, text: str, reads: list[Table]) -> Table:
    description, comments = _header(text)
    if not description:
        raise BadSql(f"{_place(name)} must begin with a comment that says what one row is")
    try:
        bound = connection.sql(text)
    except duckdb.Error as error:
        raise BadSql(f"{_place(name)}: {error}") from error
    for table in reversed(reads):
        comments = {column: declared.comment for column, declared in table.columns.items()} | comments
    columns = {}
    for column, dtype in zip(bound.columns, bound.types, strict=True):
        if column not in comments:
            raise BadSql(
                f"{_place(name)}: column {column!r} has no comment; add `-- {column}  what it means` at the top"
            )
        try:
            columns[column] = Column(polars_type(dtype), comments[column], nullable=True)
        except UnknownType as error:
            raise BadSql(f"{_place(name)}: column {column!r} must be cast: {error}") from error
    return Table(name, description, columns)


def _header(text: str) -> tuple[str, dict[str, str]]:
    """The description and the column comments of the leading comment lines."""
    description: list[str] = []
    comments: dict[str, str] = {}
    current: list[str] = []
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        if found := _COLUMN_LINE.match(line):
            current = found[1].split(", ")
            comments |= dict.fromkeys(current, found[2].strip())
        elif current and (more := _CONTINUED.match(line)):
            comments |= {column: f"{comments[column]} {more[1].strip()}" for column in current}
        else:
            description.append(line.removeprefix("--").strip())
    return " ".join(description).strip(), comments


def with_dependencies(tables: Collection[str]) -> set[str]:
    """`tables` and everything that their SQL reads, directly or not."""
    found = set(tables)
    for name, table in reversed(sql_tables().items()):  # each after the tables it reads
        if name in found:
            found.update(table.dependencies)
    return found


@cache
def all_tables() -> dict[str, Table]:
    """Every table of the platform by name: those that Python writes, then those that SQL writes."""
    return TABLES | {name: found.table for name, found in sql_tables().items()}


def run_sql(name: str, tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The rows that the SQL table `name` gives for given rows of the tables it reads.

    A table that is not given is made by its own SQL, or else is empty. Columns that a given table lacks are empty, so
    that a question can be asked of numbers measured anywhere.
    """
    with empty_database() as connection:
        _provide(connection, sql_tables()[name], tables)
        return connection.sql(sql_tables()[name].sql).pl()


def _provide(connection: duckdb.DuckDBPyConnection, found: SqlTable, tables: Mapping[str, pl.DataFrame]) -> None:
    """Make in `connection` what a SQL table reads: rows where given, else the SQL that makes it, else no rows."""
    for read in found.dependencies:
        schema, _ = read.split(".")
        if read in sql_tables() and read not in tables:
            _provide(connection, sql_tables()[read], tables)
            connection.execute(f"create schema if not exists {schema}")
            connection.execute(f"create or replace view {read} as {sql_tables()[read].sql}")
            continue
        connection.execute(f"drop table if exists {read}")
        create_empty(connection, all_tables()[read])
        if read in tables:
            rows = tables[read]  # noqa: F841  DuckDB reads the variable by name
            connection.execute(f"insert into {read} by name select * from rows")
