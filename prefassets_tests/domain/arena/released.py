"""Rows and files of battles as they are released, for tests."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl

WINNERS = ("winner_model_a", "winner_model_b", "winner_tie")
HEADER = ("id", "model_a", "model_b", "prompt", "response_a", "response_b", *WINNERS)


def row(identifier: object = "30192", **changed: object) -> dict[str, object]:
    """A row of `train.csv`: A won. A changed `winner` sets the three columns."""
    winner = changed.pop("winner", "A")
    return {
        "id": identifier,
        "model_a": "gpt-4-1106-preview",
        "model_b": "gpt-4-0613",
        "prompt": json.dumps(["Is it right to lie?"]),
        "response_a": json.dumps(["That depends."]),
        "response_b": json.dumps(["No."]),
        "winner_model_a": int(winner == "A"),
        "winner_model_b": int(winner == "B"),
        "winner_tie": int(winner == "tie"),
    } | changed


def rows(*given: dict[str, object]) -> pl.DataFrame:
    """Rows as `read_battles` gives them."""
    return pl.DataFrame(
        [
            {column: None if value is None else str(value) for column, value in each.items()} | {"line": line}
            for line, each in enumerate(given, 2)
        ],
        infer_schema_length=None,
    )


def sheet(file: Path, *given: dict[str, object], header: Sequence[str] = HEADER) -> Path:
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, header, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(given)
    return file


def lines(file: Path, *given: object) -> Path:
    file.write_text("".join(f"{each if isinstance(each, str) else json.dumps(each)}\n" for each in given))
    return file


def parquet(file: Path, *given: dict[str, object]) -> Path:
    pl.DataFrame(given).write_parquet(file)
    return file
