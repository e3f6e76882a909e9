"""Eight processes replace partitions of one table while two others read it, then each replaces what it wrote again."""

import multiprocessing
import tempfile
import time

import numpy as np
import polars as pl

from prefassets.resources.sql_tables import all_tables
from prefassets.resources.store import Store
from prefassets.resources.tables import TABLES

WRITERS, READERS, PARTITIONS, ROWS = 8, 2, 50, 1_000


def rows(writer: int, partition: int, value: float) -> pl.DataFrame:
    cell = {"study": "bench", "cohort": f"w{writer}.A", "split": "age", "user_group": "A", "seed": partition, "fold": 0}
    return pl.DataFrame({"pair_id": [f"c{i}.1" for i in range(ROWS)], "margin": np.full(ROWS, value)}).with_columns(
        pl.lit(v).alias(k) for k, v in (cell | {"fingerprint": "f"}).items()
    )


def write(home: str, writer: int, times: multiprocessing.Queue) -> None:
    store = Store(home=home)
    all_tables()  # once per process, and not what is measured
    for partition in range(PARTITIONS):
        table = rows(writer, partition, float(partition))
        started = time.perf_counter()
        store.replace("training.margins", table, ("bench", f"w{writer}.A", str(partition), "0"), result="r")
        times.put(time.perf_counter() - started)


def read(home: str, stop, torn: multiprocessing.Queue) -> None:
    store, reads, wrong = Store(home=home), 0, 0
    while not stop.is_set():
        counts = store.query(
            "select count(*) as n, count(distinct margin) as values from training.margins group by cohort, seed"
        )
        reads += 1
        wrong += counts.filter((pl.col("n") != ROWS) | (pl.col("values") != 1)).height
    torn.put((reads, wrong))


def main() -> None:
    assert "training.margins" in TABLES
    context = multiprocessing.get_context("spawn")
    times, torn, stop = context.Queue(), context.Queue(), context.Event()
    with tempfile.TemporaryDirectory() as home:
        store = Store(home=home)
        for writer in range(WRITERS):
            for partition in range(PARTITIONS):
                store.put(f"bench/w{writer}.A/seed-{partition}", {}, {}, "r")  # without its record no row is seen
        readers = [context.Process(target=read, args=(home, stop, torn)) for _ in range(READERS)]
        writers = [context.Process(target=write, args=(home, number, times)) for number in range(WRITERS)]
        for process in (*readers, *writers):
            process.start()
        seconds = np.sort([times.get() for _ in range(WRITERS * PARTITIONS)])
        for process in writers:
            process.join()
        stop.set()
        results = [torn.get() for _ in readers]
        for process in readers:
            process.join()
        counted = store.query("select count(*) as n from training.margins")["n"].item()
    failed = sum(process.exitcode != 0 for process in (*readers, *writers))
    print(f"{WRITERS} writers x {PARTITIONS} partitions of {ROWS:,} rows, {READERS} readers: {failed} failed")
    print(f"replace: median {1000 * np.median(seconds):.1f} ms, p99 {1000 * np.quantile(seconds, 0.99):.1f} ms")
    print(f"reads: {sum(reads for reads, _ in results)}, torn partitions seen: {sum(wrong for _, wrong in results)}")
    print(f"rows at the end: {counted:,} of {WRITERS * PARTITIONS * ROWS:,}")


if __name__ == "__main__":
    main()
