"""Hidden states: of base models and adapters on held-out pairs, and of what a measurement asks about."""

from collections.abc import Iterator, Sequence

import dagster as dg
import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.assets.declared import declared
from prefassets.assets.gpu import on_gpu
from prefassets.assets.model import ITS_BASE, REFERENCES, study_and_base
from prefassets.assets.training import (
    cell_partitions,
    constant_columns,
    finished_adapters,
    identity,
    of_model,
    tell_of_each,
)
from prefassets.domain.preferences.measurement import Measurement
from prefassets.domain.training.recipe import digest
from prefassets.measurements import all_measurements
from prefassets.resources.activations import ActivationChunks, activation_rows
from prefassets.resources.cells import StudyData, base_reading
from prefassets.resources.models import load_base
from prefassets.resources.progress import progress_bar
from prefassets.resources.store import Store
from prefassets.settings import settings
from prefassets.studies import all_studies
from prefassets.studies.study import Cell, Study

RESPONSES = ("chosen", "rejected")


# ---- studies


@dg.asset(
    **declared("model.activations"),
    partitions_def=REFERENCES,
    deps=[ITS_BASE, dg.AssetDep(["prism", "pairs"]), dg.AssetDep(["prism", "folds"])],
    group_name="model",
    kinds={"pytorch"},
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    **on_gpu(),
)
def base_activations(context: dg.AssetExecutionContext, store: Store) -> dg.MaterializeResult:
    """The frozen base model's hidden states on the held-out pairs that adapters are read on."""
    from prefassets.domain.probes.activations import activations_of_pairs
    from prefassets.domain.probes.texts import encode_pair_texts

    reference = context.partition_key
    wanted = base_reading(store, reference)
    if wanted is None:
        raise dg.Failure(f"no study of the reference pass {reference} keeps activations: give one `activations=...`")
    study, model = study_and_base(store, reference)
    encoded = encode_pair_texts(wanted.pairs, model.tokenizer, study.hyperparameters.max_length, wanted.positions)
    ids = list(encoded.tokens)
    if not ids:
        why = next(iter(encoded.left_out.values()), "no user of the held-out folds has a pair")
        raise dg.Failure(f"none of {len(wanted.pairs)} pairs can be read, e.g.: {why}", allow_retries=False)
    with progress_bar(f"activations of {study.base_model}, pairs", len(ids)) as show:
        ((_, found),) = activations_of_pairs(
            model, encoded, wanted.layers, base=ids, on_batch=lambda done, _total: show(done)
        )
    labels = {
        "reference": reference,
        "base_model": study.base_model,
        "revision": model.revision,
        "fingerprint": wanted.fingerprint,
    }
    rows = _rows_of_pairs(ids, wanted.layers, wanted.positions, found).with_columns(constant_columns(labels))
    left_out = {"pairs left out": len(encoded.left_out), "why": dict(list(encoded.left_out.items())[:10])}
    return store.replace("model.activations", rows, [reference], left_out)


def reading_version(study: Study) -> str:
    """Digest of which activations a study keeps."""
    return digest([repr(study.activations)])


def activations_asset(study: Study) -> dg.AssetsDefinition:
    """`<study>/activations`."""

    @dg.asset(
        key=[study.name, "activations"],
        description="Hidden states with each adapter on held-out pairs, the same for every cell of a fold.",
        deps=[[study.name, "adapters"], of_model("activations", study.reference), dg.AssetDep(["prism", "folds"])],
        partitions_def=cell_partitions(study),
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=settings().cells_per_job),
        code_version=reading_version(study),
        group_name=study.name,
        kinds={"pytorch"},
        **on_gpu(study.hardware),
    )
    def activations(context: dg.AssetExecutionContext, store: Store) -> None:
        cells = [study.cell(key) for key in context.partition_keys]
        tell_of_each(context, study, read_adapters(store, StudyData(store, study), cells), activations_made)

    return activations


def activations_made(cell: Cell, rows: int) -> dg.AssetMaterialization:
    """What Dagster is told of a cell whose activations are kept."""
    metadata = {"dagster/row_count": rows}
    return dg.AssetMaterialization([cell.study, "activations"], partition=cell.key, metadata=metadata)


def read_adapters(store: Store, data: StudyData, cells: Sequence[Cell]) -> Iterator[tuple[Cell, int | str]]:
    """Keep each cell's activations on the held-out pairs of its fold, several adapters in one pass.

    Yields each cell with its rows' number, or with the reason why its adapter cannot be read.
    """
    study = data.study
    if not cells or study.activations is None:
        return
    from prefassets.domain.probes.activations import AdapterToRead, activations_of_pairs
    from prefassets.domain.probes.texts import encode_pair_texts

    by_fold = {fold: data.readable_pairs(fold) for fold in {cell.fold for cell in cells}}
    if any(pairs.is_empty() for pairs in by_fold.values()):
        for cell in cells:
            yield cell, f"model.activations has no pairs of {study.reference}; materialise model/activations first"
        return
    model = load_base(store, study.base_model, study.hyperparameters.precision, data.base_revision)
    positions = study.activations.positions
    encoded = encode_pair_texts(
        pl.concat(by_fold.values()).unique("pair_id"), model.tokenizer, study.hyperparameters.max_length, positions
    )
    of_key, adapters = {}, []
    for cell, adapter in finished_adapters(store, model, cells):
        if isinstance(adapter, str):
            yield cell, adapter
            continue
        record, files = adapter
        of_key[cell.key] = cell, record
        adapters.append(AdapterToRead(cell.key, files, tuple(by_fold[cell.fold]["pair_id"])))
    if not adapters:
        return
    total = sum(len(adapter.pair_ids) for adapter in adapters)
    with progress_bar(f"activations of {study.name}, pairs", total) as show:
        for key, found in activations_of_pairs(
            model, encoded, data.layers, adapters=adapters, on_batch=lambda done, _total: show(done)
        ):
            cell, record = of_key[str(key)]
            rows = _rows_of_pairs(by_fold[cell.fold]["pair_id"].to_list(), data.layers, positions, found)
            labels = {**identity(cell, record["fingerprint"]), "reading": data.reading(cell.fold)}
            labelled = rows.with_columns(constant_columns(labels))
            store.replace("training.activations", labelled, cell.partition, result=record["result"])
            yield cell, len(rows)


def _rows_of_pairs(
    pair_ids: Sequence[str], layers: Sequence[int], positions: Sequence[str], found: NDArray[np.float32]
) -> pl.DataFrame:
    """A row per activation of an array (pairs, 2, layers, positions, width)."""
    return activation_rows({"pair_id": pair_ids, "response": RESPONSES, "layer": layers, "position": positions}, found)


# ---- measurements


def measurement_activations_asset(measurement: Measurement) -> dg.AssetsDefinition:
    """`<measurement>/activations`."""
    wanted = measurement.activations
    assert wanted is not None
    assert measurement.model_read is not None
    deps = [dg.AssetDep(["tasks", "tasks"]), of_model("base", measurement.model_read)]
    if wanted.of_responses:
        deps.append(dg.AssetDep([measurement.name, "completions"]))

    @dg.asset(
        key=[measurement.name, "activations"],
        description="Hidden states over each task, and over what the model made of it.",
        deps=deps,
        code_version=digest([repr(wanted)]),
        group_name=measurement.name,
        kinds={"pytorch"},
        **on_gpu(),
    )
    def activations(store: Store) -> dg.MaterializeResult:
        chunks = ActivationChunks(store, measurement)
        lacking = chunks.lacking()
        model = chunks.load_model() if lacking else None
        left_out: dict[str, str] = {}
        with progress_bar(f"activations of {measurement.name}, tasks", len(chunks.tasks)) as show:
            done = len(chunks.tasks) - sum(len(chunk.tasks) for chunk in lacking)
            for chunk in lacking:
                assert model is not None
                rows, unreadable = chunks.read(chunk, model)
                left_out |= unreadable
                store.replace("preferences.activations", rows, [measurement.name, str(chunk.number)])
                done += len(chunk.tasks)
                show(done)
        chunks.drop_others()
        return dg.MaterializeResult(
            metadata={
                "tasks": len(chunks.tasks),
                "chunks read now": len(lacking),
                "tasks left out now": len(left_out),
                "why": dict(list(left_out.items())[:10]),
            }
        )

    return activations


READING_STUDIES = [study for study in all_studies().values() if study.activations is not None]
READING_MEASUREMENTS = [measurement for measurement in all_measurements().values() if measurement.activations]
ACTIVATION_ASSETS = [
    base_activations,
    *(activations_asset(study) for study in READING_STUDIES),
    *(measurement_activations_asset(measurement) for measurement in READING_MEASUREMENTS),
]
