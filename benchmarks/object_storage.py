"""A finished home in a bucket: what the cache of fetched files saves, how many requests are made, what commands take.

The bucket is moto's S3 server on loopback, in Python: it answers in milliseconds, so what requests cost over a network
is not in these seconds; their number is. Every read happens in a process of its own.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import duckdb
import fsspec
import polars as pl

from prefassets.resources.store import Store
from prefassets_tests.loopback.object_storage import ObjectStorage

COMMANDS = (("verdicts", "demo"), ("plan", "demo"), ("missing", "demo"), ("doctor",))


def read_through_cache(home: str, local: str) -> int:
    """Rows of all tables, as the store reads them."""
    store = Store(home=home, local=local)
    with store.connect() as connection:
        names = connection.execute("select schema_name || '.' || view_name from duckdb_views() where not internal")
        return sum(len(connection.sql(f"from {name}").pl()) for (name,) in names.fetchall())


def read_by_duckdb(home: str, local: str) -> int:
    """The same, DuckDB itself reading the objects through fsspec."""
    files, parts = fsspec.filesystem("s3", use_listings_cache=False), _parts(home, local)
    with closing(duckdb.connect()) as connection:
        connection.register_filesystem(files)
        connection.execute("set enable_progress_bar = false")
        return sum(
            len(connection.sql(f"from read_parquet({[f'{home}/{name}' for name in names]}, union_by_name = true)").pl())
            for names in parts
        )


def read_whole_objects(home: str, local: str) -> int:
    """The same, each object read whole into memory through fsspec, sixteen at once."""
    files, rows = fsspec.filesystem("s3", use_listings_cache=False), 0
    with ThreadPoolExecutor(16) as pool:
        for names in _parts(home, local):
            contents = pool.map(lambda name: files.cat_file(f"{home}/{name}"), names)
            rows += len(pl.concat(map(pl.read_parquet, contents), how="diagonal_relaxed"))
    return rows


def _parts(home: str, local: str) -> list[list[str]]:
    from prefassets.resources.sql_tables import all_tables

    parts = Store(home=home, local=local).parts_of(list(all_tables())).values()
    return [[part.name for part in of_table] for of_table in parts if of_table]


def timed(read: Callable[[str, str], int], home: str, local: str, told: multiprocessing.Queue) -> None:
    from prefassets.resources.sql_tables import all_tables

    all_tables()  # once per process, and not what is measured
    started = time.perf_counter()
    rows = read(home, local)
    told.put((rows, time.perf_counter() - started))


def copy(folder: Path, url: str) -> None:
    files = fsspec.filesystem("s3")
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    with ThreadPoolExecutor(16) as pool:
        wanted = [name for name in names if name.parts[0] != "dagster"]
        list(pool.map(lambda name: files.pipe_file(f"{url}/{name}", (folder / name).read_bytes()), wanted))
    size = sum((folder / name).stat().st_size for name in wanted)
    print(f"{len(wanted)} files, {size / 2**20:.1f} MiB of {folder.name} copied to moto's S3 server on loopback")


def requests(storage: ObjectStorage) -> str:
    counts = {method: storage.count(method) for method in ("LIST", "HEAD", "GET", "PUT", "DELETE")}
    storage.forget()
    return ", ".join(f"{count} {method}" for method, count in counts.items() if count) or "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", default="home", help="a finished home (default: home)")
    folder = Path(parser.parse_args().home).absolute()
    with ObjectStorage() as storage, tempfile.TemporaryDirectory() as local:
        os.environ.update(storage.environment)
        url = storage.new_home()
        copy(folder, url)
        requests(storage)
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")

        print("all stored tables")
        context = multiprocessing.get_context("spawn")
        told = context.Queue()
        for what, read, home, times in (
            ("from the folder itself", read_through_cache, str(folder), 3),
            ("through the cache, empty", read_through_cache, url, 1),
            ("through the cache, filled", read_through_cache, url, 3),
            ("each time whole, through fsspec", read_whole_objects, url, 3),
            ("each time by DuckDB, through fsspec", read_by_duckdb, url, 1),
        ):
            taken = []
            for _ in range(times):
                requests(storage)
                process = context.Process(target=timed, args=(read, home, local, told))
                process.start()
                rows, seconds = told.get()
                process.join()
                taken.append(seconds)
            print(f"  {what:<36} {min(taken):7.2f} s, {rows:,} rows; requests: {requests(storage)}")

        for arguments in COMMANDS:
            print(f"prefassets {' '.join(arguments)}")
            for what, home, cache in (
                ("folder", str(folder), local),
                ("bucket, empty cache", url, f"{local}/{arguments[0]}"),
                ("bucket, filled cache", url, f"{local}/{arguments[0]}"),
            ):
                requests(storage)
                environment = os.environ | {"PREFASSETS_HOME": home, "PREFASSETS_LOCAL": cache}
                started = time.perf_counter()
                command = [sys.executable, "-m", "prefassets.cli", *arguments]
                subprocess.run(command, env=environment, check=True, capture_output=True)
                print(f"  {what:<36} {time.perf_counter() - started:7.2f} s; requests: {requests(storage)}")


if __name__ == "__main__":
    main()
