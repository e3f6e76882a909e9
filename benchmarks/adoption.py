"""What it costs to adopt a cell whose fingerprint stands in another study, instead of training it.

In a copy of a home's data, gives every cell of `dpo_w2` a record, a log of as many steps as it asks for and an adapter
of the size given, then adopts what `dpo_ol` shares with it: 45 of its 85 cells.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

import polars as pl

from prefassets.assets.training import adopt_or_skip, put_cell
from prefassets.domain.training.train import LOG_SCHEMA
from prefassets.resources.cells import StudyData
from prefassets.resources.store import Store
from prefassets.resources.tables import TABLES
from prefassets.studies import all_studies

TWIN, ADOPTING = all_studies()["dpo_w2"], all_studies()["dpo_ol"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", default="home", help="a home with raw data, pairs and splits (default: home)")
    parser.add_argument("--megabytes", type=int, default=35, help="size of an adapter")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path(asked.home).absolute().parent) as folder:
        home = Path(folder) / "home"
        for part in ("tables/prism", "tables/splits"):
            shutil.copytree(Path(asked.home) / part, home / part)
        store = Store(home=str(home))
        columns = {"base_model": TWIN.base_model, "revision": "r1"}
        base = {name: columns.get(name, 0) for name in TABLES["model.base"].columns}
        store.replace("model.base", pl.DataFrame([base]), (TWIN.base_model,))
        for cell in TWIN.cells:
            stand(store, StudyData(store, TWIN), cell, asked.megabytes)

        data = StudyData(store, ADOPTING)
        recipes = {cell: data.recipe(cell) for cell in ADOPTING.cells}
        began = time.perf_counter()
        adopted = list(adopt_or_skip(store, recipes, "benchmark"))
        seconds = time.perf_counter() - began
        each = f"{seconds / len(adopted) * 1e3:.0f} ms each, at {asked.megabytes} MiB an adapter"
        print(f"{len(adopted)} cells of {ADOPTING.name} adopted in {seconds:.2f} s: {each}")


def stand(store: Store, data: StudyData, cell, megabytes: int) -> None:
    """Leave what a trained cell leaves."""
    steps = TWIN.hyperparameters.steps
    log = pl.DataFrame({name: pl.arange(1, steps + 1, eager=True).cast(dtype) for name, dtype in LOG_SCHEMA.items()})
    files = {"adapter_config.json": b"{}", "adapter_model.safetensors": os.urandom(megabytes * 2**20)}
    learned = {"train_users": 1, "train_pairs": 1, "steps": steps, "epochs": 1.0, "final_loss": 0.5}
    metrics = {**learned, "tokens": 1, "seconds": 1.0, "cells_in_pack": 1}
    where = {"device": "cpu", "node": "", "pod": None, "image": None}
    provenance = {"engine": "none", **where, "prism": "", "adopted_from": None}
    put_cell(store, cell, data.recipe(cell), files, log, metrics, provenance, "benchmark")


if __name__ == "__main__":
    main()
