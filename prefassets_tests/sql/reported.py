"""What the reports print, as the tables that `sql/` reads."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from prefassets.resources.tables import TABLES
from prefassets.studies.study import Expected

SEEDS = (42, 123, 456, 789, 999)


def golden(name: str) -> list[dict[str, str]]:
    """The rows of `golden_<name>.csv`."""
    with (Path(__file__).parent / f"golden_{name}.csv").open() as text:
        return list(csv.DictReader(line for line in text if not line.startswith("#")))


def differences(report: str, version: str, method: str) -> dict[str, tuple[str, list[float]]]:
    """Of one published study: per split, what was expected, and A - B per seed in points."""
    return {
        row["split"]: (row["expected"], [float(points) for points in row["differences_pp"].split(";")])
        for row in golden("verdicts")
        if (row["report"], row["version"], row["method"]) == (report, version, method)
    }


def judged(
    studies: Mapping[str, Mapping[str, tuple[str, Sequence[float | None]]]],
    seeds: Sequence[int] = SEEDS,
    readout: str = "tail",
    variant_of: Mapping[str, str] | None = None,
    placebos: Sequence[str] = (),
) -> dict[str, pl.DataFrame]:
    """`verdicts.contrast`, `studies.split` and `studies.study` for A - B per study, split and seed (None: missing)."""
    contrast, split = [], []
    for study, splits in studies.items():
        for name, (expected, points) in splits.items():
            role = "placebo" if name in placebos else Expected(expected).role
            split.append((study, name, role, expected, Expected(expected).sign, 5.0, len(seeds)))
            contrast += [
                (study, name, seed, readout, "pref_acc", 0.5 + difference / 100, 0.5, difference)
                for seed, difference in zip(seeds, points, strict=False)
                if difference is not None
            ]
    schema = TABLES["studies.split"].schema
    return {
        "verdicts.contrast": pl.DataFrame(
            contrast,
            {
                "study": pl.String,
                "split": pl.String,
                "seed": pl.Int64,
                "readout": pl.String,
                "metric": pl.String,
                "value_a": pl.Float64,
                "value_b": pl.Float64,
                "difference_pp": pl.Float64,
            },
            orient="row",
        ),
        "studies.split": pl.DataFrame(split, schema, orient="row"),
        "studies.study": pl.DataFrame(
            [
                {"study": study, "seeds": list(seeds), "folds": [0], "variant_of": (variant_of or {}).get(study)}
                for study in studies
            ],
            {"study": pl.String, "seeds": pl.List(pl.Int64), "folds": pl.List(pl.Int64), "variant_of": pl.String},
        ),
    }


def by(rows: pl.DataFrame, *names: str) -> dict[object, dict[str, object]]:
    """Rows as dictionaries, found by the values of `names` (a tuple if several)."""
    found = {tuple(row[name] for name in names): row for row in rows.iter_rows(named=True)}
    assert len(found) == len(rows), f"{names} do not tell the rows apart"
    return {key if len(names) > 1 else key[0]: row for key, row in found.items()}
