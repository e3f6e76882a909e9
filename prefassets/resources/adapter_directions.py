"""`probes.adapter` of a study: the activations of its adapters and base model, split by split, and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from prefassets.domain.training.recipe import digest
from prefassets.resources.cells import StudyData
from prefassets.resources.probing import as_matrix
from prefassets.resources.progress import progress_bar
from prefassets.resources.store import Store
from prefassets.resources.tables import TABLES
from prefassets.studies.study import Study

if TYPE_CHECKING:
    from prefassets.domain.probes.adapter_directions import ReadPairs

TABLE = "probes.adapter"
READS = ("training.activations", "model.activations", "verdicts.counted", "splits.assignments", "prism.pairs")
DIRECTIONS_VERSION = 1  # raised when the same activations give other numbers

# Cells that count, by the recipe of most of them: what two recipes did is not compared.
_COUNTED = """
    select study, cohort, seed, fold, fingerprint
    from verdicts.counted
    where study = $study
      and recipe = (
          select recipe from verdicts.counted where study = $study
          group by recipe order by count(*) desc, recipe limit 1
      )
"""
_OF_BASE = """
    select pair_id, user_id, user_group, chosen.activation as chosen, rejected.activation as rejected
    from model.activations as chosen
    join model.activations as rejected using (pair_id, reference, revision, layer, position)
    join prism.pairs using (pair_id)
    join splits.assignments using (user_id)
    where chosen.response = 'chosen' and rejected.response = 'rejected'
      and reference = $reference and revision = $revision and layer = $layer and position = $position
      and split = $split and user_group is not null
      and list_contains($pairs, pair_id)
    order by pair_id
"""
_OF_ADAPTERS = f"""
    select
        coalesce(chosen.user_group, 'everyone') as adapter, seed, pair_id,
        chosen.activation as chosen, rejected.activation as rejected
    from training.activations as chosen
    join training.activations as rejected using (study, cohort, seed, fold, fingerprint, pair_id, layer, position)
    semi join ({_COUNTED}) as counted using (study, cohort, seed, fold, fingerprint)
    where chosen.response = 'chosen' and rejected.response = 'rejected'
      and layer = $layer and position = $position
      and coalesce(chosen.split, $split) = $split
      and list_contains($pairs, pair_id)
    order by adapter, seed, pair_id
"""


def adapter_directions(store: Store, study: Study) -> pl.DataFrame:
    """The rows of `probes.adapter` of one study: those that stand if nothing has changed, else new ones.

    Positions before the response say nothing here, as they are the same for both responses of a pair.
    """
    wanted = _fingerprint(store, study)
    stands = store.read(TABLE, [study.name])
    if wanted is None:
        return TABLES[TABLE].empty()
    if not stands.is_empty() and stands["fingerprint"][0] == wanted:
        return stands
    from prefassets.domain.probes.adapter_directions import adapter_rows, measure_directions  # scipy

    data = StudyData(store, study)
    assert study.activations is not None
    positions = [position for position in study.activations.positions if position.startswith("response")]
    places = [(layer, position) for layer in data.layers for position in positions]
    results = {}
    with progress_bar(f"directions of {study.name}", len(places) * len(study.expected)) as show:
        for done, (layer, position) in enumerate(places):
            found = []
            for number, split in enumerate(study.expected, start=1):
                read = _read_pairs(store, data, split, layer, position)
                found.append(measure_directions(split, study.role(split), read))
                show(done * len(study.expected) + number)
            results[layer, position] = found
    labels = {"study": study.name, "fingerprint": wanted}
    rows = [labels | row for row in adapter_rows(results)]
    return pl.DataFrame(rows, schema=TABLES[TABLE].schema)


def _fingerprint(store: Store, study: Study) -> str | None:
    """Digest of all that a study's rows are made of; None where its base model or none of its adapters was read."""
    data = StudyData(store, study)
    if study.activations is None or data.base_revision is None or data.base_is_unread:
        return None
    read = store.query(
        "select cohort, seed, fold, fingerprint, any_value(reading) from training.activations"
        f" semi join ({_COUNTED}) as counted using (study, cohort, seed, fold, fingerprint) group by all order by all",
        study=study.name,
    )
    if read.is_empty():
        return None
    groups = data.groups.filter(pl.col("split").is_in(list(study.expected))).sort("split", "user_id")
    planned = [(split, study.role(split)) for split in study.expected]
    readings = [data.reading(fold) for fold in study.folds]
    return digest([DIRECTIONS_VERSION, planned, readings, groups.rows(), read.rows()])


def _read_pairs(store: Store, data: StudyData, split: str, layer: int, position: str) -> ReadPairs | None:
    import numpy as np

    from prefassets.domain.probes.adapter_directions import ReadPairs

    study = data.study
    pairs = [pair_id for fold in study.folds for pair_id in data.readable_pairs(fold)["pair_id"]]
    where = {"split": split, "layer": layer, "position": position, "pairs": pairs}
    base = store.query(_OF_BASE, reference=study.reference, revision=data.base_revision, **where)
    if base.is_empty():
        return None
    place = {pair_id: row for row, pair_id in enumerate(base["pair_id"])}
    chosen_PF, rejected_PF = as_matrix(base["chosen"]), as_matrix(base["rejected"])
    adapters = {}
    read = store.query(_OF_ADAPTERS, study=study.name, **where).filter(pl.col("pair_id").is_in(list(place)))
    for (adapter, seed), rows in read.partition_by("adapter", "seed", as_dict=True, maintain_order=True).items():
        difference_PF = np.full(chosen_PF.shape, np.nan, np.float32)
        difference_PF[_places(place, rows)] = as_matrix(rows["chosen"]) - as_matrix(rows["rejected"])
        adapters[str(adapter), int(seed)] = difference_PF
    return ReadPairs(
        pairs=base.select("user_id", "user_group"),
        chosen_PF=chosen_PF,
        rejected_PF=rejected_PF,
        adapters=adapters,
    )


def _places(place: dict[str, int], rows: pl.DataFrame) -> Sequence[int]:
    return [place[pair_id] for pair_id in rows["pair_id"]]
