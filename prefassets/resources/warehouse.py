"""`warehouse.duckdb`: the database that people query, rebuilt from the parts one changed partition at a time."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import duckdb

from prefassets.resources.sql_tables import all_tables, column_types, create_empty, sql_literal, width_of
from prefassets.resources.store import Part, Store
from prefassets.resources.table import Table

LOADED = "main.loaded_parts"
Described = tuple[str, str, str]  # a column: name, type, comment


def refresh(store: Store) -> dict[str, int]:
    """Bring the home's `warehouse.duckdb` up to the parts; returns rows per table.

    A copy of the last file gets the changed partitions in one transaction and takes its place by a rename, so an open
    `duckdb warehouse.duckdb` keeps reading the old file and blocks nobody.
    """
    with store.replacing_file("warehouse.duckdb") as (temporary, present):
        if present is not None:
            shutil.copyfile(present, temporary)
        return write(store, temporary)


def write(store: Store, path: Path) -> dict[str, int]:
    """Bring the database file at `path` (made if absent) up to the store's parts; returns rows per table."""
    with duckdb.connect(path) as connection:
        connection.execute("begin")
        connection.execute(
            f"create table if not exists {LOADED} (table_name varchar, part_values varchar[], version varchar);"
            f"comment on table {LOADED} is 'Which stored partition, in which version, each table holds.'"
        )
        there, changed = _columns(connection), []
        for name, parts in store.parts_of(list(all_tables())).items():
            table = all_tables()[name]
            width = _width(store, connection, table, parts)
            if there.get(name) != _declared(table, width):
                _create_anew(connection, table, width)
            changed += [(table, part) for part in _changed(connection, table, parts)]
        paths = store.paths([part for _, part in changed])
        for table, part in changed:
            _remove(connection, table, part.values)
            _insert(connection, table, part, paths[part.name])
        connection.execute("commit")
        connection.execute("checkpoint")
        return {name: _count(connection, name) for name in all_tables()}


def _width(store: Store, connection: duckdb.DuckDBPyConnection, table: Table, parts: Sequence[Part]) -> int | None:
    """Numbers of the table's vectors, if it has any and they are all as long."""
    if not table.vectors:
        return None
    return width_of(connection, table, [*store.paths(parts).values()])


def _create_anew(connection: duckdb.DuckDBPyConnection, table: Table, width: int | None) -> None:
    """The table as it is declared today, commented, without rows."""
    connection.execute(f"drop table if exists {table.name}")
    connection.execute(f"delete from {LOADED} where table_name = ?", [table.name])
    create_empty(connection, table, width)
    comments = [f"comment on table {table.name} is {sql_literal(table.description)}"]
    for name, column in table.columns.items():
        comments.append(f'comment on column {table.name}."{name}" is {sql_literal(column.comment)}')
    connection.execute(";".join(comments))


def _changed(connection: duckdb.DuckDBPyConnection, table: Table, parts: Sequence[Part]) -> list[Part]:
    """The parts that the database holds in another version or not at all; it loses those that are no more."""
    rows = connection.execute(
        f"select part_values, version from {LOADED} where table_name = ?", [table.name]
    ).fetchall()
    held = {tuple(values): version for values, version in rows}
    for values in held.keys() - {part.values for part in parts}:
        _remove(connection, table, values)
    return [part for part in parts if held.get(part.values) != part.version]


def _remove(connection: duckdb.DuckDBPyConnection, table: Table, values: tuple[str, ...]) -> None:
    condition = " and ".join(f"{column}::varchar = ?" for column in table.partition_columns) or "true"
    connection.execute(f"delete from {table.name} where {condition}", list(values))
    connection.execute(f"delete from {LOADED} where table_name = ? and part_values = ?", [table.name, list(values)])


def _insert(connection: duckdb.DuckDBPyConnection, table: Table, part: Part, path: Path) -> None:
    connection.execute(f"insert into {table.name} by name select * from read_parquet(?)", [str(path)])
    connection.execute(f"insert into {LOADED} values (?, ?, ?)", [table.name, list(part.values), part.version])


def _columns(connection: duckdb.DuckDBPyConnection) -> dict[str, list[Described]]:
    """The columns of each table that the file has."""
    found: dict[str, list[Described]] = {}
    for table, *column in connection.execute(
        "select schema_name || '.' || table_name, column_name, data_type, comment from duckdb_columns()"
        " where database_name = current_database() order by table_oid, column_index"
    ).fetchall():
        found.setdefault(table, []).append((*column,))
    return found


def _declared(table: Table, width: int | None) -> list[Described]:
    """The columns that a table has today, with vectors of this width."""
    types = {name: column_types()[table.name, name] for name in table.columns}
    if width is not None:
        types |= dict.fromkeys(table.vectors, f"FLOAT[{width}]")
    return [(name, types[name], column.comment) for name, column in table.columns.items()]


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    ((count,),) = connection.execute(f"select count(*) from {table}").fetchall()
    return count


def export_to(store: Store, file: Path, with_adapters: bool = False) -> dict[str, int]:
    """Write every table, as it stands, into a new database `file`; returns rows per table.

    Args:
        with_adapters: also `training.adapter_files`, each file of each adapter as a blob.
    """
    temporary = file.with_name(f".{file.name}.unfinished")
    temporary.unlink(missing_ok=True)
    try:
        rows = write(store, temporary)
        if with_adapters:
            rows["training.adapter_files"] = _write_adapters(store, temporary)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    return rows


def _write_adapters(store: Store, path: Path) -> int:
    with duckdb.connect(path) as connection:
        connection.execute(
            "create table training.adapter_files (uri varchar, file varchar, content blob);"
            "comment on table training.adapter_files is 'One row per adapter file; uri as in training.adapters.'"
        )
        for (uri,) in connection.execute("select uri from training.adapters order by uri").fetchall():
            artifact, _, result = uri.removeprefix("artifacts/").rpartition("/")
            record, files = store.finished(artifact)
            if record["result"] != result:
                raise RuntimeError(f"{artifact} was trained again while it was exported; export again")
            for name, content in files.items():
                connection.execute("insert into training.adapter_files values (?, ?, ?)", [uri, name, content])
        return _count(connection, "training.adapter_files")
