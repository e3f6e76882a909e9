"""The reports' rule for contrasts measured anywhere: a CSV file in, the verdict table out, no home needed."""

import csv
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from prefassets.domain.prism.released import BadInput
from prefassets.resources.sql_tables import run_sql
from prefassets.studies.study import Expected

NULL_TOLERANCE_PP = 5.0  # "difference within 5 %", next steps of the 2026-02-23 report
SHOWN = [
    "study",
    "split",
    "expected",
    "seeds_run",
    "mean_difference_pp",
    "sd_difference_pp",
    "direction",
    "seeds_in_direction",
    "reported_rule",
]


class ContrastRow(BaseModel):
    """One line of the file."""

    model_config = ConfigDict(extra="ignore", str_min_length=1)

    study: str
    split: str
    seed: int
    difference_pp: FiniteFloat
    expected: Literal["A > B", "A < B", "A = B", "exploratory"]


def judge_contrasts(file: Path) -> pl.DataFrame:
    """One row per (study, split) of `file`, in the file's order: the verdict by the reports' rule.

    Raises:
        BadInput: naming file, line and column: a column is missing, a value is malformed, a seed stands twice, or one
            split has two expectations.
    """
    rows = _read(file)
    contrast = pl.DataFrame(
        [(row.study, row.split, row.seed, "held_out", "pref_acc", row.difference_pp) for row in rows],
        ["study", "split", "seed", "readout", "metric", "difference_pp"],
        orient="row",
    )
    expected = {(row.study, row.split): Expected(row.expected) for row in rows}
    seeds = contrast.group_by("study", "split").len(name="seeds_planned")
    split = pl.DataFrame(
        [(*key, found.role, found.value, found.sign, NULL_TOLERANCE_PP) for key, found in expected.items()],
        ["study", "split", "role", "expected", "expected_sign", "null_tolerance_pp"],
        orient="row",
    ).join(seeds, on=["study", "split"])
    judged = run_sql("verdicts.reported_rule", {"verdicts.contrast": contrast, "studies.split": split})
    order = pl.DataFrame(list(expected), ["study", "split"], orient="row")
    return order.join(judged, on=["study", "split"], how="left", maintain_order="left").select(SHOWN)


def _read(file: Path) -> list[ContrastRow]:
    if not file.exists():
        raise BadInput(f"{file} does not exist. A CSV file with {', '.join(ContrastRow.model_fields)} was wanted.")
    rows: list[ContrastRow] = []
    seen: dict[tuple[str, str, int], int] = {}
    expected: dict[tuple[str, str], str] = {}
    with file.open(newline="") as text:
        reader = csv.DictReader(text)
        if lacking := [name for name in ContrastRow.model_fields if name not in (reader.fieldnames or [])]:
            raise BadInput(
                f"{file}, line 1: column {lacking[0]!r} is missing; the file has {reader.fieldnames or 'no header'}."
            )
        for raw in reader:
            place = f"{file}, line {reader.line_num}"
            try:
                row = ContrastRow.model_validate(raw)
            except ValidationError as error:
                first = error.errors()[0]
                column = first["loc"][0]
                raise BadInput(f"{place}, column {column}: {raw.get(str(column))!r}: {first['msg']}.") from error
            cell = row.study, row.split, row.seed
            if cell in seen:
                raise BadInput(
                    f"{place}, column seed: {row.split} of {row.study} has seed {row.seed} on line {seen[cell]} too."
                )
            if expected.setdefault(cell[:2], row.expected) != row.expected:
                raise BadInput(
                    f"{place}, column expected: {row.expected!r}, but {row.split} of {row.study} expects "
                    f"{expected[cell[:2]]!r} further up; a split has one expectation, fixed before training."
                )
            seen[cell] = reader.line_num
            rows.append(row)
    if not rows:
        raise BadInput(f"{file} has a header but no rows.")
    return rows
