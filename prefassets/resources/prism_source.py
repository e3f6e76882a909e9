"""Where raw PRISM comes from: made here, the hub, or a folder of released files. The same tables either way."""

from pathlib import Path

import polars as pl

from prefassets.domain.prism.released import Released, check_released, read_released
from prefassets.resources.hub import hub_file
from prefassets.resources.store import DataSource
from prefassets.resources.tables import TABLES

HUB_DATASET = "HannahRoseKirk/prism-alignment"
FILES = ("survey.jsonl", "utterances.jsonl")
_INSTEAD = f"download {' and '.join(FILES)} and set PREFASSETS_PRISM to their folder; or set it to synthetic"


def load(source: DataSource) -> tuple[Released, pl.DataFrame]:
    """Validated survey and utterances, and what was planted (no rows unless synthetic).

    Raises:
        BadInput: the files are not what was released; names file, line and column.
        SourceUnreachable: the hub could not be reached.
    """
    nothing_planted = TABLES["prism.planted_truth"].empty()
    if source.prism == "synthetic":
        from prefassets.domain.prism.synthetic import (
            synthetic_prism,
        )  # scipy takes half a second: only where it is used

        made = synthetic_prism(source.seed, source.scale)
        return check_released(made.survey, made.utterances), made.planted_truth
    if source.prism == "hub":
        return read_released(*(hub_file(HUB_DATASET, name, _INSTEAD) for name in FILES)), nothing_planted
    return read_released(*(Path(source.prism) / name for name in FILES)), nothing_planted
