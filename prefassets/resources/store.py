"""The store: every table and artifact of one home. Nothing outside this file names a stored file; `files.py` writes it.

home.json                                     what the home is pinned to: sources of PRISM, tasks, battles, scale, seed
tables/<schema>/<table>/<value>/.../part.parquet   one file per partition
artifacts/<name>/record.json                  which result of an adapter or model stands; written last
artifacts/<name>/<result>/...                 its files; its rows lie in tables/.../<result>/part.parquet
checkpoints/<fingerprint>                     the state of a cell in training; gone once its record stands
answers/<configuration>/<name>.jsonl          what a model answered, as far as no table holds it (see `answers.py`)
reports/<name>.html                           the page of a study or a measurement, or arena.html
warehouse.duckdb                              the database that people query (see `warehouse.py`)
dagster/                                      Dagster's own state, if the home is a folder
"""

import hashlib
import io
import json
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import dagster as dg
import duckdb
import polars as pl

from prefassets.resources.files import Files, Stored, files_of
from prefassets.resources.sql_tables import (
    all_tables,
    create_empty,
    empty_database,
    read_files,
    sql_tables,
    tables_read,
    with_dependencies,
)
from prefassets.resources.table import Table
from prefassets.settings import settings

RECORD = "record.json"
_PART = "part.parquet"
_CHECKPOINTS = "checkpoints"
_ANSWERS = "answers"


class WrongHome(ValueError):
    """A home is pinned to another data source, scale or seed than the one asked for."""


@dataclass(frozen=True)
class DataSource:
    """What every number of a home comes from: PRISM; of what a model prefers, the tasks; of Arena, the battles.

    `scale` and `seed` shape synthetic PRISM and battles; `seed` also fixes the folds, synthetic tasks, and which tasks
    are kept.
    """

    prism: str = "synthetic"
    scale: float = 1.0
    seed: int = 0
    tasks: str = "synthetic"
    arena: str = "synthetic"

    @property
    def of_tasks(self) -> str:
        """The source of the tasks in words, as `str` is of PRISM."""
        where = "synthetic tasks" if self.tasks == "synthetic" else f"tasks from {self.tasks}"
        return f"{where}, seed {self.seed}"

    @property
    def of_battles(self) -> str:
        """The source of the battles in words."""
        if self.arena == "synthetic":
            return f"synthetic battles, scale {self.scale:g}, seed {self.seed}"
        return f"battles from {self.arena}, seed {self.seed}"

    def __str__(self) -> str:
        if self.prism == "synthetic":
            return f"synthetic PRISM, scale {self.scale:g}, seed {self.seed}"
        return f"PRISM from {self.prism}, seed {self.seed}"


@dataclass(frozen=True)
class Part:
    """One stored partition of a table: its partition values, its file, and a version that changes with its content."""

    values: tuple[str, ...]
    name: str
    stored: Stored

    @property
    def version(self) -> str:
        return self.stored.version


def new_result() -> str:
    """A name for what one computation of an artifact leaves; no other ever has it."""
    return uuid.uuid4().hex[:16]


def adapter_folder(artifact: str, result: str) -> str:
    """The folder of an artifact's files, relative to the home."""
    return f"artifacts/{artifact}/{result}"


class Store(dg.ConfigurableResource):
    """Every table of the platform, one Parquet file per partition, and every artifact, its record written last.

    A file is replaced whole (`files.py` says how), so a reader sees the old rows or the new, never half, and no writer
    waits for a reader. Nothing appends, so a rerun cannot count a row twice.

    What one computation of an artifact leaves, files and rows of tables, is its *result* and lies under a name of its
    own. The record names the result that stands. So two writers of one artifact never touch each other's files, and
    whichever record is there, all that it names is of one writer: no lock, and no order of two writers, is wrong.
    """

    home: str
    local: str | None = None  # as `Settings.local`, which it is by default

    # ---- tables

    def replace(
        self,
        table: str,
        rows: pl.DataFrame,
        partition: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        result: str | None = None,
    ) -> dg.MaterializeResult:
        """Make `rows` the whole of one partition of `table`.

        Args:
            partition: a value for each of the table's partition columns; empty for a table without any.
            metadata: what else Dagster should show beside the row count.
            result: of a table whose parts belong to an artifact, the result that these rows are of; by default the one
                that stands.

        Raises:
            TableMismatch: the rows do not fit the declared schema.
            ValueError: the partition does not fit the table's partition columns.
            FileNotFoundError: no result of the artifact stands, and none is given.
        """
        declared = all_tables()[table]
        rows = declared.conform(rows)
        if declared.artifact is not None and result is None:
            result = self._finished(declared.artifact(*partition))["result"]
        content = io.BytesIO()
        rows.write_parquet(content)
        self._files.write(self._part(declared, partition, result), content.getvalue())
        return dg.MaterializeResult(
            asset_key=dg.AssetKey(table.split(".")), metadata={"dagster/row_count": len(rows), **(metadata or {})}
        )

    def read(self, table: str, partition: Sequence[str] | None = None, result: str | None = None) -> pl.DataFrame:
        """All rows of `table`, or those of one partition of it; none if nothing was ever written.

        Args:
            result: of a table whose parts belong to an artifact, the result whose rows to read; by default the one that
                stands.
        """
        if partition is None:
            return self.query(f"from {table}")
        declared = all_tables()[table]
        if declared.artifact is not None and result is None:
            record = self.record(declared.artifact(*partition))
            if record is None:
                return declared.empty()
            result = record["result"]
        found = self._files.local({self._part(declared, partition, result): None})
        return pl.read_parquet(*found.values()) if found else declared.empty()

    def query(self, sql: str, **parameters: object) -> pl.DataFrame:
        """Run one SELECT over the parts, in memory, with `$name` parameters; holds no lock on anything."""
        tables = set(tables_read(sql)) & set(all_tables())
        while True:
            parts = self.parts_of(tables)
            try:
                with self._connected(parts) as connection:
                    return connection.sql(sql, params=parameters or None).pl()
            except duckdb.Error:
                if self.parts_of(tables) == parts:
                    raise
                # DuckDB opens a file twice, and in a folder another may have taken its place in between: read that one.

    @contextmanager
    def connect(
        self,
        tables: Collection[str] | None = None,
        current: bool = False,
        given: Mapping[str, pl.DataFrame] | None = None,
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection to a DuckDB database in memory that has `tables` (all, if None).

        Args:
            current: make the tables of `sql/` from what they read, now, instead of reading what was last materialised.
            given: rows that stand for what is stored of a table.
        """
        wanted = set(all_tables() if tables is None else tables) & set(all_tables())
        if current:
            wanted = with_dependencies(wanted)
        given = given or {}
        made = set(given) | (set(sql_tables()) if current else set())
        with self._connected(self.parts_of(wanted - made), wanted & made, given) as connection:
            yield connection

    @contextmanager
    def _connected(
        self, parts: Mapping[str, Sequence[Part]], made: Collection[str] = (), given: Mapping[str, pl.DataFrame] = {}
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that has the tables `parts` as they are stored and `made` from those or from what is given."""
        wanted = {*parts, *made}
        read_again = {read for name in wanted & set(sql_tables()) for read in sql_tables()[name].dependencies}
        paths = self.paths([part for of_table in parts.values() for part in of_table])
        with empty_database() as connection:
            for name, table in all_tables().items():
                if name not in wanted:
                    continue
                schema, _ = name.split(".")
                connection.execute(f"create schema if not exists {schema}")
                if name in given:
                    rows = given[name]  # noqa: F841  DuckDB reads the variable by name
                    connection.execute(f"create table {name} as from rows")
                elif name in made:
                    # Once, if others read it: DuckDB would inline nested views and misjudge the sizes of what it joins.
                    kind = "table" if name in read_again else "view"
                    connection.execute(f"create {kind} {name} as {sql_tables()[name].sql}")
                elif parts[name]:
                    files = [paths[part.name] for part in parts[name]]
                    connection.execute(f"create view {name} as {read_files(connection, table, files)}")
                else:
                    create_empty(connection, table)
            yield connection

    def parts(self, table: str) -> list[Part]:
        """The stored partitions of `table`; where a part belongs to an artifact, only of the result that stands."""
        return self.parts_of([table])[table]

    def parts_of(self, tables: Collection[str]) -> dict[str, list[Part]]:
        """The stored partitions of several tables, as they stand at one time."""
        declared = {name: all_tables()[name] for name in tables}
        # First, so that the rows of what stands are all there when they are listed.
        standing = self._standing() if any(table.artifact for table in declared.values()) else {}
        parts: dict[str, list[Part]] = {name: [] for name in tables}
        if not tables:
            return parts
        under = _folder(*tables) if len(tables) == 1 else "tables"
        for name, stored in self._files.listing(under).items():
            table, values, result = _of_part(name)
            if table in declared:
                artifact = declared[table].artifact
                if artifact is None or standing.get(artifact(*values)) == result:
                    parts[table].append(Part(values, name, stored))
        return parts

    def paths(self, parts: Collection[Part]) -> dict[str, Path]:
        """Paths on this machine to read parts from, by name of the part.

        Raises:
            FileNotFoundError: somebody has removed a part since it was listed; nothing here ever does.
        """
        found = self._files.local({part.name: part.stored for part in parts})
        if gone := {part.name for part in parts} - found.keys():
            raise FileNotFoundError(f"{self._files.place(min(gone))} was removed while it was to be read")
        return found

    # ---- artifacts

    def put(
        self, artifact: str, files: Mapping[str, bytes], record: Mapping[str, Any], result: str | None = None
    ) -> None:
        """Store an artifact whole. `record` goes last: until it is there, what stood before stands.

        Args:
            result: the name under which rows of this result were written; by default a new one.
        """
        result = result or new_result()
        for name, content in files.items():
            self._files.write(_file(artifact, result, name), content)
        described = {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in files.items()
        }
        self._put_record(artifact, {**record, "result": result, "files": described})

    def put_same(
        self, artifact: str, twin: str, found: Mapping[str, Any], record: Mapping[str, Any], result: str
    ) -> None:
        """Store an artifact whose files are those of a finished one, under a record of its own.

        The files are shared where the storage can, not copied: replacing one later leaves the other's alone.

        Args:
            found: the record of `twin`.
            result: the name under which rows of this result were written.

        Raises:
            FileNotFoundError: a file of the twin is gone.
        """
        for name in found["files"]:
            self._files.write_same(_file(artifact, result, name), _file(twin, found["result"], name))
        self._put_record(artifact, {**record, "result": result, "files": found["files"]})

    def _put_record(self, artifact: str, record: Mapping[str, Any]) -> None:
        # What an earlier record named stays: somebody may be reading it, and a write that is repeated because its
        # answer was lost may bring that record back. `unnamed` lists it.
        self._files.write(_record(artifact), json.dumps(record, indent=1, default=str).encode())

    def record(self, artifact: str) -> dict[str, Any] | None:
        """The record of a finished artifact, or None."""
        try:
            return json.loads(self._files.read(_record(artifact)))
        except FileNotFoundError:
            return None

    def records(self, under: str = "") -> dict[str, dict[str, Any]]:
        """Records of all finished artifacts whose name begins with the folder `under`, by artifact name."""
        listed = self._files.listing("/".join(filter(None, ("artifacts", under))))
        listed = {name: stored for name, stored in listed.items() if name.endswith(f"/{RECORD}")}
        records = {}
        for name, path in self._files.local(listed).items():
            with suppress(FileNotFoundError):  # discarded since it was listed
                records[name.removeprefix("artifacts/").removesuffix(f"/{RECORD}")] = json.loads(path.read_bytes())
        return records

    def _standing(self) -> dict[str, str]:
        """The result that stands of each finished artifact."""
        return {name: record["result"] for name, record in self.records().items()}

    def files(self, artifact: str) -> dict[str, bytes]:
        """Contents of a finished artifact's files, by name.

        Raises:
            FileNotFoundError: the artifact is not finished, or a file of it is gone.
        """
        return self.finished(artifact)[1]

    def finished(self, artifact: str) -> tuple[dict[str, Any], dict[str, bytes]]:
        """The record of a finished artifact, and the contents of the files that it names.

        Raises:
            FileNotFoundError: the artifact is not finished, or a file of it is gone.
        """
        record = self._finished(artifact)
        names = {_file(artifact, record["result"], name): name for name in record["files"]}
        found = self._files.local(dict.fromkeys(names))
        if gone := names.keys() - found.keys():
            raise FileNotFoundError(f"{self._files.place(min(gone))} is gone, though a record names it")
        return record, {names[name]: path.read_bytes() for name, path in found.items()}

    def _finished(self, artifact: str) -> dict[str, Any]:
        """The record of an artifact that must be finished."""
        record = self.record(artifact)
        if record is None:
            place = self._files.place(f"artifacts/{artifact}")
            raise FileNotFoundError(f"{place} has no {RECORD}: it was never finished")
        return record

    def discard(self, artifact: str) -> None:
        """Make an artifact unfinished by removing its record."""
        self._files.remove(_record(artifact))

    def unnamed(self) -> list[str]:
        """Folders of results that no record names: of a run under way, of a killed one, or replaced since."""
        standing = self._standing()
        folders: dict[str, None] = {}
        for name in self._files.listing("artifacts"):
            folder, _, file = name.rpartition("/")
            artifact, _, result = folder.removeprefix("artifacts/").rpartition("/")
            if file != RECORD and standing.get(artifact) != result:
                folders[folder] = None
        for name in self._files.listing("tables"):
            table, values, of_result = _of_part(name)
            whose = all_tables()[table].artifact if table else None
            if whose is not None and standing.get(whose(*values)) != of_result:
                folders[name.rpartition("/")[0]] = None
        return [self._files.place(folder) for folder in folders]

    # ---- checkpoints

    def write_checkpoint(self, fingerprint: str, state: bytes) -> None:
        """Replace the state of a cell in training, whole or not at all."""
        self._files.write(f"{_CHECKPOINTS}/{fingerprint}", state)

    def checkpoint(self, fingerprint: str) -> bytes | None:
        """The state of a cell in training that was written last, or None."""
        try:
            return self._files.read(f"{_CHECKPOINTS}/{fingerprint}")
        except FileNotFoundError:
            return None

    def discard_checkpoint(self, fingerprint: str) -> None:
        """Forget the state of a cell in training, if there is one."""
        self._files.remove(f"{_CHECKPOINTS}/{fingerprint}")

    def checkpoints(self) -> dict[str, str]:
        """Where each stored state of a cell in training is, by fingerprint."""
        return {name.rpartition("/")[2]: self._files.place(name) for name in self._files.listing(_CHECKPOINTS)}

    # ---- answers of models, until the table that they are for is written

    def write_answers(self, configuration: str, content: bytes) -> str:
        """Add a file of answers to those of a configuration, whole or not at all; returns its name."""
        name = f"{_ANSWERS}/{quote(configuration)}/{uuid.uuid4().hex}.jsonl"
        self._files.write(name, content)
        return name

    def answers(self, configuration: str) -> dict[str, bytes]:
        """The files of answers of a configuration, by name."""
        listed = self._files.listing(f"{_ANSWERS}/{quote(configuration)}")
        return {name: path.read_bytes() for name, path in self._files.local(listed).items()}

    def discard_answers(self, names: Collection[str]) -> None:
        """Forget these files of answers."""
        for name in names:
            self._files.remove(name)

    # ---- the home itself

    def source(
        self,
        prism: str | None = None,
        scale: float | None = None,
        seed: int | None = None,
        tasks: str | None = None,
        arena: str | None = None,
    ) -> DataSource:
        """What this home is made of; for a new home, what it would be made of. Writes nothing.

        Raises:
            WrongHome: the home is pinned to something else than what is asked for.
        """
        wanted: dict[str, Any] = {"prism": prism, "scale": scale, "seed": seed, "tasks": tasks, "arena": arena}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        pinned = self.pinned()
        if pinned is None:
            return DataSource(**wanted)
        if "arena" in wanted and not self.parts("arena.battles"):
            pinned = replace(pinned, arena=wanted["arena"])  # no battle was read yet, by whatever pinned the home
        for name, value in wanted.items():
            if getattr(pinned, name) != value:
                held = {"tasks": pinned.of_tasks, "arena": pinned.of_battles}.get(name, pinned)
                raise WrongHome(
                    f"{self.home} holds {held}, but now {name} = {value!r} is asked for. Results of two sources "
                    f"must not mix: leave it out (PREFASSETS_{name.upper()}), or set PREFASSETS_HOME to a new one."
                )
        return pinned

    def pin(self, source: DataSource) -> None:
        """Make this home one of `source`, for good.

        Raises:
            WrongHome: it is pinned to something else.
            FileNotFoundError: a folder or file that it names is not there; it was mistyped, and must not stick.
        """
        if self.source(**asdict(source)) == self.pinned():
            return
        for name, kind, is_there in (
            ("prism", "folder", Path.is_dir),
            ("tasks", "folder", Path.is_dir),
            ("arena", "file", Path.is_file),
        ):
            path = getattr(source, name)
            if path not in ("synthetic", "hub") and not is_there(Path(path)):
                raise FileNotFoundError(
                    f"{path} is no {kind}, and {self.home} would be bound to it for good. Correct "
                    f"PREFASSETS_{name.upper()}, or leave it out."
                )
        self._files.write("home.json", json.dumps(asdict(source), indent=1).encode())

    def pinned(self) -> DataSource | None:
        """What this home is pinned to; None for a new home."""
        try:
            return DataSource(**json.loads(self._files.read("home.json")))
        except FileNotFoundError:
            return None

    @contextmanager
    def replacing_file(self, name: str) -> Iterator[tuple[Path, Path | None]]:
        """A temporary local path that becomes the home's file `name`, and a path to its present content, if any."""
        with self._files.replacing(name) as temporary:
            yield temporary, self.local_file(name)
            # What somebody wrote into the old file and left in its log must not be replayed into the new one.
            self._files.remove(f"{name}.wal")

    def write_file(self, name: str, content: bytes) -> str:
        """Make `content` the whole of the home's file `name`; returns where it is, a path or a URL."""
        self._files.write(name, content)
        return self._files.place(name)

    def local_file(self, name: str) -> Path | None:
        """A path on this machine to read the home's file `name` from; None if there is no such file."""
        return self._files.local({name: None}).get(name)

    def size(self, name: str) -> int | None:
        """Bytes of the home's file `name`; None if there is no such file."""
        stored = self._files.find(name)
        return None if stored is None else stored.size

    def stray_files(self) -> list[str]:
        """Temporary files that a killed process left behind; they are never read and may be deleted."""
        return self._files.leftovers()

    def fetched(self) -> int | None:
        """Bytes of the home's files that were fetched to this machine; None where they are read in place."""
        return self._files.fetched()

    @property
    def disk(self) -> Path:
        """The folder of this machine that the home, or what is fetched of it, fills; it may not exist yet."""
        return self._files.disk

    # ---- names of files

    @cached_property
    def _files(self) -> Files:
        return files_of(self.home, self.local or settings().local)

    def _part(self, table: Table, partition: Sequence[str], result: str | None) -> str:
        if len(partition) != len(table.partition_columns):
            raise ValueError(f"{table.name} is partitioned by {table.partition_columns}, not by {tuple(partition)}")
        values = [quote(value, safe="@=") for value in partition]
        return "/".join((_folder(table.name), *values, *([result] if result else []), _PART))


def _of_part(name: str) -> tuple[str, tuple[str, ...], str | None]:
    """Table, partition values and result of a part by the name of its file; table is empty for any other file."""
    folder, _, file = name.rpartition("/")
    _, schema, table_name, *inner = [*folder.split("/"), "", ""]
    table = all_tables().get(f"{schema}.{table_name}")
    values = tuple(unquote(value) for value in inner if value)
    if table is None or file != _PART:
        return "", (), None
    result = values[-1] if table.artifact else None
    values = values[:-1] if table.artifact else values
    return (table.name, values, result) if len(values) == len(table.partition_columns) else ("", (), None)


def _folder(table: str) -> str:
    return f"tables/{table.replace('.', '/')}"


def _record(artifact: str) -> str:
    return f"artifacts/{artifact}/{RECORD}"


def _file(artifact: str, result: str, name: str) -> str:
    return f"{adapter_folder(artifact, result)}/{name}"
