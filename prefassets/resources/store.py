"""The store: every table and artifact of one home. Nothing outside this file writes, renames or names a stored file.

home.json                                     what the home is pinned to: data source, scale, seed
tables/<schema>/<table>/<value>/.../part.parquet   one file per partition
artifacts/<name>/...                          adapters and models; `record.json` is written last
checkpoints/<fingerprint>                     the state of a cell in training; gone once its record stands
reports/<study>.html                          the page of a study
warehouse.duckdb                              the database that people query (see `warehouse.py`)
dagster/                                      Dagster's own state
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import dagster as dg
import duckdb
import fsspec
import polars as pl
from fsspec.implementations.local import LocalFileSystem

from prefassets.resources.sql_tables import (
    all_tables,
    create_empty,
    empty_database,
    sql_literal,
    sql_tables,
    tables_read,
    with_dependencies,
)
from prefassets.resources.tables import Table

RECORD = "record.json"
_TEMPORARY = ".unfinished-"
_CHECKPOINTS = "checkpoints"


class WrongHome(ValueError):
    """A home is pinned to another data source, scale or seed than the one asked for."""


@dataclass(frozen=True)
class DataSource:
    """What every number of a home comes from. `scale` and `seed` shape synthetic data; `seed` also fixes the folds."""

    prism: str = "synthetic"
    scale: float = 1.0
    seed: int = 0

    def __str__(self) -> str:
        if self.prism == "synthetic":
            return f"synthetic PRISM, scale {self.scale:g}, seed {self.seed}"
        return f"PRISM from {self.prism}, seed {self.seed}"


@dataclass(frozen=True)
class Part:
    """One stored partition of a table: its partition values, its file, and a version that changes with its content."""

    values: tuple[str, ...]
    uri: str
    version: str


class Store(dg.ConfigurableResource):
    """Every table of the platform, one Parquet file per partition, and every artifact, its record written last.

    A file is written under a temporary name and renamed, so a reader sees the old rows or the new, never half,
    and no writer waits for a reader. Nothing appends, so a rerun cannot count a row twice.
    """

    home: str

    # ---- tables

    def replace(
        self, table: str, rows: pl.DataFrame, partition: Sequence[str] = (), metadata: Mapping[str, Any] | None = None
    ) -> dg.MaterializeResult:
        """Make `rows` the whole of one partition of `table`.

        Args:
            partition: a value for each of the table's partition columns; empty for a table without any.
            metadata: what else Dagster should show beside the row count.

        Raises:
            TableMismatch: the rows do not fit the declared schema.
            ValueError: the partition does not fit the table's partition columns.
        """
        declared = all_tables()[table]
        rows = declared.conform(rows)
        with self._replacing(self._part(declared, partition)) as temporary:
            rows.write_parquet(temporary)
        return dg.MaterializeResult(
            asset_key=dg.AssetKey(table.split(".")), metadata={"dagster/row_count": len(rows), **(metadata or {})}
        )

    def read(self, table: str, partition: Sequence[str] | None = None) -> pl.DataFrame:
        """All rows of `table`, or those of one partition of it; none if nothing was ever written."""
        if partition is None:
            return self.query(f"from {table}")
        declared = all_tables()[table]
        if declared.artifact is not None and self.record(declared.artifact(*partition)) is None:
            return declared.empty()
        try:
            with self._files.open(self._part(declared, partition)) as part:
                return pl.read_parquet(part)
        except FileNotFoundError:
            return declared.empty()

    def query(self, sql: str, **parameters: object) -> pl.DataFrame:
        """Run one SELECT over the parts, in memory, with `$name` parameters; holds no lock on anything."""
        with self.connect(tables_read(sql)) as connection:
            return connection.sql(sql, params=parameters or None).pl()

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
        read_again = {read for name in wanted & set(sql_tables()) for read in sql_tables()[name].dependencies}
        with empty_database() as connection:
            for name, table in all_tables().items():
                if name not in wanted:
                    continue
                schema, _ = name.split(".")
                connection.execute(f"create schema if not exists {schema}")
                if given is not None and name in given:
                    rows = given[name]  # noqa: F841  DuckDB reads the variable by name
                    connection.execute(f"create table {name} as from rows")
                elif current and name in sql_tables():
                    # Once, if others read it: DuckDB would inline nested views and misjudge the sizes of what it joins.
                    kind = "table" if name in read_again else "view"
                    connection.execute(f"create {kind} {name} as {sql_tables()[name].sql}")
                elif parts := self.parts(name):
                    files = ", ".join(sql_literal(part.uri) for part in parts)
                    connection.execute(f"create view {name} as from read_parquet([{files}], union_by_name = true)")
                else:
                    create_empty(connection, table)
            yield connection

    def parts(self, table: str) -> list[Part]:
        """The stored partitions of `table`; where a part belongs to an artifact, only with that artifact's record."""
        artifact = all_tables()[table].artifact
        recorded = self._recorded() if artifact else set()
        folder = self._path("tables", *table.split("."))
        found = self._files.find(folder, detail=True)
        parts = []
        for path, info in sorted(found.items()):
            if path.endswith(".parquet"):
                inner = path.removeprefix(folder).strip("/").removesuffix("part.parquet").strip("/")
                values = tuple(unquote(value) for value in inner.split("/")) if inner else ()
                version = f"{info.get('mtime') or info.get('LastModified')}-{info.get('ino', '')}-{info['size']}"
                if artifact is None or artifact(*values) in recorded:
                    parts.append(Part(values, path, version))
        return parts

    # ---- artifacts

    def put(self, artifact: str, files: Mapping[str, bytes], record: Mapping[str, Any]) -> None:
        """Store an artifact whole. `record` goes last: while it is absent, the artifact does not exist.

        An old record is removed first, so that it never stands beside new files.
        """
        self.discard(artifact)
        for name, content in files.items():
            self._write(self._path("artifacts", artifact, name), content)
        described = {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in files.items()
        }
        self._put_record(artifact, record, described)

    def put_same(self, artifact: str, twin: str, record: Mapping[str, Any]) -> None:
        """Store an artifact whose files are those of a finished one, `twin`, under a record of its own.

        The files are shared where the file system can, not copied: replacing one later leaves the other's alone.

        Raises:
            FileNotFoundError: the twin is not finished, or a file of it is gone.
        """
        described = self._finished(twin)["files"]
        self.discard(artifact)
        for name in described:
            theirs = self._path("artifacts", twin, name)
            with self._replacing(self._path("artifacts", artifact, name)) as temporary:
                try:
                    os.link(theirs, temporary)
                except OSError:  # not every file system can
                    shutil.copyfile(theirs, temporary)
        self._put_record(artifact, record, described)

    def _put_record(self, artifact: str, record: Mapping[str, Any], described: Mapping[str, Any]) -> None:
        text = json.dumps({**record, "files": described}, indent=1, default=str)
        self._write(self._path("artifacts", artifact, RECORD), text.encode())

    def record(self, artifact: str) -> dict[str, Any] | None:
        """The record of a finished artifact, or None."""
        try:
            return json.loads(self._files.cat_file(self._path("artifacts", artifact, RECORD)))
        except FileNotFoundError:
            return None

    def records(self, under: str = "") -> dict[str, dict[str, Any]]:
        """Records of all finished artifacts whose name begins with the folder `under`, by artifact name."""
        names = sorted(self._recorded(under))
        return {name: record for name in names if (record := self.record(name)) is not None}

    def _recorded(self, under: str = "") -> set[str]:
        """Names of the finished artifacts."""
        root = self._path("artifacts")
        return {
            path.removeprefix(root).strip("/").removesuffix(f"/{RECORD}")
            for path in self._files.find(self._path("artifacts", under))
            if path.endswith(f"/{RECORD}")
        }

    def files(self, artifact: str) -> dict[str, bytes]:
        """Contents of a finished artifact's files, by name.

        Raises:
            FileNotFoundError: the artifact is not finished, or a file of it is gone.
        """
        return {
            name: self._files.cat_file(self._path("artifacts", artifact, name))
            for name in self._finished(artifact)["files"]
        }

    def _finished(self, artifact: str) -> dict[str, Any]:
        """The record of an artifact that must be finished."""
        record = self.record(artifact)
        if record is None:
            raise FileNotFoundError(f"{self.home}/artifacts/{artifact} has no {RECORD}: it was never finished")
        return record

    def discard(self, artifact: str) -> None:
        """Make an artifact unfinished by removing its record."""
        path = self._path("artifacts", artifact, RECORD)
        if self._files.exists(path):
            self._files.rm_file(path)

    # ---- checkpoints

    def write_checkpoint(self, fingerprint: str, state: bytes) -> None:
        """Replace the state of a cell in training, whole or not at all."""
        self._write(self._path(_CHECKPOINTS, fingerprint), state)

    def checkpoint(self, fingerprint: str) -> bytes | None:
        """The state of a cell in training that was written last, or None."""
        try:
            return self._files.cat_file(self._path(_CHECKPOINTS, fingerprint))
        except FileNotFoundError:
            return None

    def discard_checkpoint(self, fingerprint: str) -> None:
        """Forget the state of a cell in training, if there is one."""
        with suppress(FileNotFoundError):
            self._files.rm_file(self._path(_CHECKPOINTS, fingerprint))

    def checkpoints(self) -> dict[str, str]:
        """Path of each stored state of a cell in training, by fingerprint."""
        paths = self._files.find(self._path(_CHECKPOINTS))
        return {path.rpartition("/")[2]: path for path in paths if _TEMPORARY not in path}

    # ---- the home itself

    def source(self, prism: str | None = None, scale: float | None = None, seed: int | None = None) -> DataSource:
        """What this home is made of; for a new home, what it would be made of. Writes nothing.

        Raises:
            WrongHome: the home is pinned to something else than what is asked for.
        """
        wanted: dict[str, Any] = {"prism": prism, "scale": scale, "seed": seed}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        pinned = self.pinned()
        if pinned is None:
            return DataSource(**wanted)
        for name, value in wanted.items():
            if getattr(pinned, name) != value:
                raise WrongHome(
                    f"{self.home} holds {pinned}, but now {name} = {value!r} is asked for. Results of two sources "
                    f"must not mix: leave it out (PREFASSETS_{name.upper()}), or set PREFASSETS_HOME to a new folder."
                )
        return pinned

    def pin(self, source: DataSource) -> None:
        """Make this home one of `source`, for good.

        Raises:
            WrongHome: it is pinned to something else.
        """
        if self.source(**asdict(source)) != self.pinned():
            self._write(self._path("home.json"), json.dumps(asdict(source), indent=1).encode())

    def pinned(self) -> DataSource | None:
        """What this home is pinned to; None for a new home."""
        try:
            return DataSource(**json.loads(self._files.cat_file(self._path("home.json"))))
        except FileNotFoundError:
            return None

    @contextmanager
    def replacing_file(self, name: str) -> Iterator[tuple[Path, Path | None]]:
        """A temporary local path that becomes the home's file `name`, and the path of the present file, if any."""
        path = self._path(name)
        with self._replacing(path) as temporary:
            yield Path(temporary), Path(path) if self._files.exists(path) else None
            # What somebody wrote into the old file and left in its log must not be replayed into the new one.
            Path(f"{path}.wal").unlink(missing_ok=True)

    def write_file(self, name: str, content: bytes) -> str:
        """Make `content` the whole of the home's file `name`; returns its path."""
        path = self._path(name)
        self._write(path, content)
        return path

    def size(self, name: str) -> int | None:
        """Bytes of the home's file `name`; None if there is no such file."""
        path = self._path(name)
        return self._files.size(path) if self._files.exists(path) else None

    def stray_files(self) -> list[str]:
        """Temporary files that a killed process left behind; they are never read and may be deleted."""
        return [path for path in self._files.find(self._path()) if _TEMPORARY in path]

    # ---- files

    @cached_property
    def _files(self) -> fsspec.AbstractFileSystem:
        return fsspec.core.url_to_fs(self.home)[0]

    def _path(self, *names: str) -> str:
        root = str(fsspec.core.url_to_fs(self.home)[1])
        return "/".join((root.rstrip("/"), *(name for name in names if name)))

    def _part(self, table: Table, partition: Sequence[str]) -> str:
        if len(partition) != len(table.partition_columns):
            raise ValueError(f"{table.name} is partitioned by {table.partition_columns}, not by {tuple(partition)}")
        values = [quote(value, safe="@=") for value in partition]
        return self._path("tables", *table.name.split("."), *values, "part.parquet")

    def _write(self, path: str, content: bytes) -> None:
        with self._replacing(path) as temporary:
            Path(temporary).write_bytes(content)

    @contextmanager
    def _replacing(self, path: str) -> Iterator[str]:
        """The one write rule: fill the temporary file that is given; it becomes `path` whole, or not at all."""
        if not isinstance(self._files, LocalFileSystem):
            raise NotImplementedError(f"{self.home}: a home on object storage is not supported yet; use a folder")
        folder = os.path.dirname(path)
        os.makedirs(folder, exist_ok=True)
        temporary = os.path.join(folder, f"{_TEMPORARY}{uuid.uuid4().hex}")
        try:
            yield temporary
            descriptor = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, path)
            _sync_folder(folder)
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)


def _sync_folder(folder: str) -> None:
    """Make a rename survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
