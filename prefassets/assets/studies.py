"""The study files as tables, so that SQL can ask what was planned."""

from collections.abc import Iterator
from dataclasses import fields

import dagster as dg
import polars as pl

from prefassets.assets.declared import declared
from prefassets.domain.training.methods import METHODS
from prefassets.domain.training.recipe import digest
from prefassets.resources.cells import cell_row
from prefassets.resources.store import Store
from prefassets.resources.tables import TABLES
from prefassets.studies import all_studies
from prefassets.studies.study import Study

GROUP = "studies"


def study_row(study: Study) -> dict[str, object]:
    """The row of `studies.study`."""
    trained = study.hyperparameters
    return {
        "study": study.name,
        "question": study.question,
        "method": study.method,
        "weighted": METHODS[study.method].weight is not None,
        "base_model": study.base_model,
        "reference": study.reference,
        **{
            name: getattr(trained, name)
            for name in ("steps", "batch_size", "beta", "learning_rate", "max_pairs", "max_length", "log_every")
        },
        "lora_rank": trained.lora.rank,
        "lora_alpha": trained.lora.alpha,
        "lora_dropout": trained.lora.dropout,
        "seeds": list(study.seeds),
        "folds": list(study.folds),
        "matching": study.matching.value,
        "variant_of": study.variant_of,
        "cells": len(study.cells),
        "deviations": list(study.deviations),
    }


def split_rows(study: Study) -> list[dict[str, object]]:
    """The rows of `studies.split`."""
    return [
        {
            "study": study.name,
            "split": split,
            "role": study.role(split),
            "expected": expected.value,
            "expected_sign": expected.sign,
            "null_tolerance_pp": study.null_tolerance_pp,
            "seeds_planned": len(study.seeds),
        }
        for split, expected in study.expected.items()
    ]


def gate_rows(study: Study) -> list[dict[str, object]]:
    """The rows of `studies.gate`."""
    declared_gates = {field.name: getattr(study.gates, field.name) for field in fields(study.gates)}
    return [
        {
            "study": study.name,
            "gate": name,
            "wanted_pp": study.null_tolerance_pp if gate.wanted_pp is None else gate.wanted_pp,
            "on_failure": gate.on_failure.value,
        }
        for name, gate in declared_gates.items()
    ]


@dg.multi_asset(
    specs=[
        dg.AssetSpec(**declared(f"studies.{table}"), group_name=GROUP, kinds={"python"})
        for table in ("study", "split", "gate", "cell")
    ],
    code_version=digest(
        [
            study_row(study) | {"splits": split_rows(study), "gates": gate_rows(study)}
            for study in all_studies().values()
        ]
    ),
)
def studies(store: Store) -> Iterator[dg.MaterializeResult]:
    """What is asked, what is expected and which cells are planned, as the study files say today."""
    found = all_studies().values()
    for table, rows in (
        ("studies.study", [study_row(study) for study in found]),
        ("studies.split", [row for study in found for row in split_rows(study)]),
        ("studies.gate", [row for study in found for row in gate_rows(study)]),
        ("studies.cell", [cell_row(cell) for study in found for cell in study.cells]),
    ):
        frame = pl.DataFrame(rows, schema=TABLES[table].schema)
        yield store.replace(table, frame)
