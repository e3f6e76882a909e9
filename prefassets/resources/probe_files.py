"""Activations and targets of two files, brought together item by item; and what probes found, as tables of its own."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from prefassets.domain.prism.released import BadInput
from prefassets.domain.probes.suite import Found, Probed, Target
from prefassets.resources.activation_files import Activations, said_of
from prefassets.resources.sql_tables import run_sql
from prefassets.resources.tables import TABLES
from prefassets.resources.target_files import Targets

NAMED = 3  # items of a list that an error or a note tells


def matched(activations: Activations, targets: Targets) -> tuple[Probed, list[str]]:
    """What can be probed: the items that have activations and something to be predicted; and what was left out.

    Raises:
        BadInput: the files have no item in common, or an activation of one that they have is NaN or infinite.
    """
    notes = []
    has = pl.DataFrame({"item": activations.items}).with_row_index("row")
    items = has.join(targets.items, on="item", maintain_order="left")
    if items.is_empty():
        raise BadInput(
            f"{activations.file} and {targets.file} have no item in common: activations are of "
            f"{_some(activations.items)}; targets of {_some(targets.items['item'].to_list())}."
        )
    if without := len(has) - len(items):
        notes.append(f"left out: {without:,} of {len(has):,} items of {activations.file}, not in {targets.file}")
    absent = targets.items.join(has, on="item", how="anti", maintain_order="left")["item"].to_list()
    if absent:
        notes.append(
            f"left out: {len(absent):,} of {len(targets.items):,} items of {targets.file}, without activations: "
            f"{_some(absent)}"
        )
    of_items = []
    for target in targets.targets:
        kept, left = _of(target, items["item"])
        of_items.append(kept)
        if left and target.kind == "choices":
            notes.append(f"left out: {left:,} pairs of items that were chosen from, one of them without activations")
    rows = items["row"].to_numpy()
    everything = len(rows) == len(activations.items)
    at = {place: matrix if everything else matrix[rows] for place, matrix in activations.at.items()}
    for place, numbers in at.items():
        _refuse_not_finite(numbers, items["item"], f"{activations.file}, activations at {said_of(place)}")
    return Probed(activations=at, items=items.drop("row"), targets=tuple(of_items)), notes


def tables_of(found: Found, experiment: str, targets: Iterable[Target]) -> dict[str, pl.DataFrame]:
    """What probes found, as a home has it in `probes.*`, with what may be said of it: rows by the table's name.

    What may be said is in the order of the targets.
    """
    rows = {
        "score": found.scores,
        "sweep": found.sweep,
        "direction": found.directions,
        "prediction": found.predictions,
    }
    named = {
        name: TABLES[f"probes.{name}"].conform(made.with_columns(experiment=pl.lit(experiment)))
        for name, made in rows.items()
    }
    read = {f"probes.{name}": rows for name, rows in named.items() if name != "direction"}
    order = pl.DataFrame({"target": [target.name for target in targets]})
    reading = order.join(run_sql("probes.reading", read), on="target", maintain_order="left")
    return {**named, "reading": reading}


def write_tables(tables: dict[str, pl.DataFrame], folder: Path) -> None:
    """Write each table as a Parquet file of its name into `folder`, whole; a file that stands there is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        temporary = folder / f".{name}.unfinished"
        rows.write_parquet(temporary)
        temporary.replace(folder / f"{name}.parquet")


def _of(target: Target, items: pl.Series) -> tuple[Target, int]:
    """The target of these items, and how many of its rows are of others."""
    sides = ("item_a", "item_b") if target.kind == "choices" else ("item",)
    values = target.values.filter(pl.all_horizontal(pl.col(sides).is_in(items.implode())))
    return replace(target, values=values), len(target.values) - len(values)


def _refuse_not_finite(numbers: np.ndarray, items: pl.Series, place: str) -> None:
    bad = np.flatnonzero(~np.isfinite(numbers).all(axis=1))
    if bad.size:
        raise BadInput(
            f"{place}: NaN or infinite for {bad.size:,} of {len(items):,} items: "
            f"{_some(items[bad].to_list())}. Leave these items out of the targets, or the place out by --layer and "
            f"--position."
        )


def _some(items: list[str]) -> str:
    return ", ".join(items[:NAMED]) + (", ..." if len(items) > NAMED else "")
