"""Where battles come from: made here, their authors' release, or a file of the same columns. One table either way."""

from pathlib import Path

import polars as pl

from prefassets.domain.arena.battles import WINNER_OF_COLUMN, UsableBattles, usable_battles
from prefassets.domain.arena.released_battles import read_battles
from prefassets.domain.prism.released import BadInput
from prefassets.resources.hub import hub_file
from prefassets.resources.store import DataSource

HUB_FILE = ("lmarena-ai/arena-human-preference-55k", "train.csv")
SYNTHETIC_BATTLES = 12_000  # at scale 1
_INSTEAD = f"download {HUB_FILE[1]} of {HUB_FILE[0]} and set PREFASSETS_ARENA to it; or set it to synthetic"


def load_battles(source: DataSource) -> UsableBattles:
    """Battles that somebody judged, and how many other rows there were by reason.

    Raises:
        BadInput: the file is not what was released (names file, line and column), or none of its rows is a battle.
        SourceUnreachable: it could not be downloaded.
    """
    found = usable_battles(_found(source))
    if found.battles.is_empty():
        reasons = "; ".join(f"{reason}: {rows} ({examples[0]})" for reason, rows, examples in found.dropped.iter_rows())
        raise BadInput(f"no row of {source.arena} is a battle that somebody judged: {reasons}. Correct the file.")
    return found


def _found(source: DataSource) -> pl.DataFrame:
    if source.arena == "synthetic":
        from prefassets.domain.arena.synthetic_battles import synthetic_battles

        return synthetic_battles(source.seed, round(SYNTHETIC_BATTLES * source.scale))
    file = hub_file(*HUB_FILE, _INSTEAD) if source.arena == "hub" else Path(source.arena)
    rows = read_battles(file)
    if WINNER_OF_COLUMN.keys().isdisjoint(rows.columns):
        raise BadInput(
            f"{file} has no column of winners ({', '.join(WINNER_OF_COLUMN)}): nobody judged its battles. Set "
            "PREFASSETS_ARENA to train.csv; `prefassets arena predict FILE` says who would win these."
        )
    return rows
