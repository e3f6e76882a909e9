"""Where raw PRISM comes from: made here, the hub, or a folder of released files. The same tables either way."""

from pathlib import Path

import polars as pl

from prefassets.domain.prism.released import Released, check_released, read_released
from prefassets.resources.store import DataSource
from prefassets.resources.tables import TABLES

HUB_DATASET = "HannahRoseKirk/prism-alignment"
FILES = ("survey.jsonl", "utterances.jsonl")


class SourceUnreachable(OSError):
    """The released files could not be had."""


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
        return read_released(*(_download(name) for name in FILES)), nothing_planted
    return read_released(*(Path(source.prism) / name for name in FILES)), nothing_planted


def _download(name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(HUB_DATASET, name, repo_type="dataset"))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise SourceUnreachable(
            f"{name} of {HUB_DATASET} could not be downloaded ({type(error).__name__}). On a machine with a network, "
            f"download {' and '.join(FILES)} and set PREFASSETS_PRISM to their folder; or set it to synthetic."
        ) from error
