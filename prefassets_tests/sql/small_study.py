"""A study of one split whose margins are written by hand, as the tables that SQL reads."""

import polars as pl

from prefassets.domain.prism.cohorts import Matching
from prefassets.resources.sql_tables import all_tables

# Users a1, a2 are in group A, b1, b2 in B, n in neither; each has two pairs: a1.1, a1.2, ...
USERS = {"a1": "A", "a2": "A", "b1": "B", "b2": "B", "n": None}
PAIRS = [f"{user}.{turn}" for user in USERS for turn in (1, 2)]


def frame(table, rows):
    """Rows of a declared table; columns that they leave out are empty."""
    schema = all_tables()[table].schema
    return pl.DataFrame([dict.fromkeys(schema) | row for row in rows], schema=schema)


def margins(cohort, seed, values, fingerprint="f", fold=0):
    """Margins of one adapter on the pairs, in order; None leaves a pair unscored."""
    split, _, group = cohort.rpartition(".")
    cell = {"study": "s", "cohort": cohort, "split": split or None, "user_group": group if split else None}
    cell |= {"seed": seed, "fold": fold, "fingerprint": fingerprint}
    return [
        cell | {"pair_id": pair, "margin": value}
        for pair, value in zip(PAIRS, values, strict=True)
        if value is not None
    ]


def tables(scored, log=(), cells=None, folds=(0,), matching=None):
    cells = cells if cells is not None else [{**row} for row in scored] + [{**row} for row in log]
    distinct = {(row["cohort"], row["seed"], row["fold"], row["fingerprint"]): row for row in cells}
    keep = list(all_tables()["training.cells"].columns)[:7]
    return {
        "training.margins": frame("training.margins", scored),
        "training.log": frame("training.log", log),
        "training.cells": frame(
            "training.cells",
            [{k: row[k] for k in keep} | {"recipe": row.get("recipe", "r"), "steps": 100} for row in distinct.values()],
        ),
        "studies.cell": frame(
            "studies.cell",
            [
                {"study": "s", "cohort": cohort, "seed": seed, "fold": fold}
                for cohort in ("age.A", "age.B", "everyone")
                for seed in (42, 123)
                for fold in folds
            ],
        ),
        "prism.pairs": frame("prism.pairs", [{"pair_id": pair, "user_id": pair.split(".")[0]} for pair in PAIRS]),
        "splits.assignments": frame(
            "splits.assignments",
            [{"split": "age", "user_id": user, "user_group": group} for user, group in USERS.items()],
        ),
        "studies.study": frame(
            "studies.study",
            [
                {"study": "s", "steps": 100, "log_every": 10, "batch_size": 8, "folds": list(folds)}
                | {"matching": matching or Matching.NONE.value}
            ],
        ),
        "studies.split": frame("studies.split", [{"study": "s", "split": "age"}]),
    }


A = margins("age.A", 42, [1, 1, 1, -1, 1, -1, -1, -1, None, None])  # 3 of 4 of A's pairs, 1 of 4 of B's
B = margins("age.B", 42, [1, 1, -1, -1, 1, 1, -1, -1, None, None])  # 2 of 4 of A's pairs, 2 of 4 of B's
EVERYONE = margins("everyone", 42, [1, 1, 1, 1, -1, -1, -1, 1, 1, 1])  # 4 of 4, 1 of 4; n's pairs count for nobody
