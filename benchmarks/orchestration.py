"""What a cell costs beside its training and scoring, in one process.

Trains the demo's 27 cells again in a copy of a finished home, but with a trainer and a scorer that return at once what
the home already holds. What is left is everything that prefassets and Dagster do around them. Tokenising the pairs is
part of training and is timed apart.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from unittest.mock import patch

import polars as pl

from prefassets.domain.training import encoding, scoring, train
from prefassets.domain.training.encoding import encode_pairs
from prefassets.domain.training.scoring import AdapterToScore
from prefassets.resources.cells import artifact, unfinished
from prefassets.resources.store import Store
from prefassets.runs.here import Launcher
from prefassets.studies import all_studies

STUDY = all_studies()["demo"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", default="home", help="a home with a finished demo (default: home)")
    given = Store(home=parser.parse_args().home)
    outcomes = [recorded(given, cell) for cell in STUDY.cells]
    margins = given.query("select cohort, seed, pair_id, margin from training.margins where study = 'demo'")
    by_adapter = {
        given.files(artifact(cell))["adapter_model.safetensors"]: margins.filter(
            pl.col("cohort") == cell.cohort, pl.col("seed") == cell.seed
        ).select("pair_id", "margin")
        for cell in STUDY.cells
    }
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        shutil.copytree(given.home, home)
        os.environ["PREFASSETS_HOME"] = str(home)
        launcher = Launcher()
        for cell in STUDY.cells:
            launcher.store.discard(artifact(cell))
        tokenising = []

        def timed(*arguments):
            began = time.perf_counter()
            encoded = encode_pairs(*arguments)
            tokenising.append(time.perf_counter() - began)
            return encoded

        with (
            patch.object(encoding, "encode_pairs", timed),
            patch.object(train, "train_cells", lambda *_, **__: iter(outcomes)),
            patch.object(scoring, "score_adapters", lambda adapters, *_, **__: scored(adapters, by_adapter)),
        ):
            started = time.perf_counter()
            for _ in launcher.train(STUDY, unfinished(launcher.store, STUDY)):
                pass
            seconds = time.perf_counter() - started - sum(tokenising)
        assert not unfinished(launcher.store, STUDY)
    per_cell = 1000 * seconds / len(STUDY.cells)
    print(f"{len(STUDY.cells)} cells in {seconds:.2f} s: {per_cell:.0f} ms a cell")
    print(f"tokenising: {sum(tokenising):.2f} s")


def scored(adapters: Sequence[AdapterToScore], margins: Mapping[bytes, pl.DataFrame]) -> Iterator:
    """What the scorer returned for these adapters."""
    for adapter in adapters:
        yield adapter.key, margins[adapter.files["adapter_model.safetensors"]]


def recorded(store: Store, cell) -> train.FinishedCell:
    """What the trainer returned for a cell that stands."""
    record = store.record(artifact(cell)) or {}
    log = store.query(
        f"select {', '.join(train.LOG_SCHEMA)} from training.log"
        " where study = $study and cohort = $cohort and seed = $seed order by step",
        study=cell.study,
        cohort=cell.cohort,
        seed=cell.seed,
    )
    return train.FinishedCell(
        key=cell.key,
        files=store.files(artifact(cell)),
        log=log,
        seconds=0.0,
        engine="recorded",
        device="cpu",
        **{name: record["metrics"][name] for name in ("train_pairs", "steps", "tokens", "cells_in_pack")},
    )


if __name__ == "__main__":
    main()
