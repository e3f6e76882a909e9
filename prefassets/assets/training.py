"""One adapter per (study, cohort, seed), its margins on unseen users, and the tables that collect them."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from prefassets.assets.automation import AFTER_ANY_CHANGE
from prefassets.assets.declared import declared
from prefassets.assets.gpu import on_gpu
from prefassets.domain.training.recipe import TRAINER_VERSION, Recipe, differences, digest
from prefassets.resources.cells import StudyData, artifact, states_of_all
from prefassets.resources.checkpoints import StoredCheckpoints
from prefassets.resources.models import load_training_data
from prefassets.resources.progress import progress_bar
from prefassets.resources.provenance import place
from prefassets.resources.store import Store, adapter_folder, new_result
from prefassets.resources.tables import CELL_COLUMNS, TABLES
from prefassets.settings import settings
from prefassets.studies import all_studies
from prefassets.studies.study import Cell, Study

if TYPE_CHECKING:
    from prefassets.domain.training.language_model import LanguageModel

GROUP = "training"
WEIGHTS = "adapter_model.safetensors"
COLLECTED = {  # table of all studies -> the per-study asset that writes its parts
    "training.cells": "adapters",
    "training.adapters": "adapters",
    "training.log": "adapters",
    "training.margins": "margins",
    "training.activations": "activations",
}
_logger = logging.getLogger(__name__)


class CellsFailed(dg.Failure):
    """Some cells of a job failed; the others are finished and recorded. Trying again would not help those that did."""

    def __init__(self, description: str) -> None:
        super().__init__(description, allow_retries=False)


def cell_partitions(study: Study) -> dg.MultiPartitionsDefinition:
    """Cohort x seed: keys `age.A|42`."""
    return dg.MultiPartitionsDefinition(
        {
            "cohort": dg.StaticPartitionsDefinition(list(study.cohorts)),
            "seed": dg.StaticPartitionsDefinition(list(study.seed_keys)),
        }
    )


def of_model(asset: str, partition: str) -> dg.AssetDep:
    """One partition of `model/base`, `model/reference` or `model/activations`."""
    return dg.AssetDep(["model", asset], partition_mapping=dg.SpecificPartitionsPartitionMapping([partition]))


# ---- one study


def training_version(study: Study) -> str:
    """Digest of all that determines a study's adapters beside the data: it differs where another recipe would train."""
    return digest(
        [TRAINER_VERSION, study.method, study.base_model, study.matching.value, asdict(study.hyperparameters)]
    )


def adapters_asset(study: Study) -> dg.AssetsDefinition:
    """`<study>/adapters`."""

    @dg.asset(
        key=[study.name, "adapters"],
        description=f"One LoRA adapter per cohort and seed. {study.question}",
        deps=[
            of_model("base", study.base_model),
            of_model("reference", study.reference),
            dg.AssetDep(["prism", "pairs"]),
            dg.AssetDep(["prism", "folds"]),
            dg.AssetDep(["splits", "assignments"]),
        ],
        partitions_def=cell_partitions(study),
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=settings().cells_per_job),
        code_version=training_version(study),
        group_name=study.name,
        kinds={"pytorch", study.method},
        **on_gpu(study.hardware),
    )
    def adapters(context: dg.AssetExecutionContext, store: Store) -> None:
        failures = {}
        cells = [study.cell(key) for key in context.partition_keys]
        for cell, reason in make_adapters(store, StudyData(store, study), cells, context.run_id):
            if reason is None:  # as each cell ends, not when all have
                made = adapter_made(store, cell)
                context.log_event(made)
                # Dagster says it of every cell once more if the step succeeds; both events then say the same.
                context.add_asset_metadata(made.metadata, asset_key=context.asset_key, partition_key=cell.key)
            else:
                failures[cell] = reason
        raise_for_failed(study, failures)

    return adapters


def margins_asset(study: Study) -> dg.AssetsDefinition:
    """`<study>/margins`."""

    @dg.asset(
        key=[study.name, "margins"],
        description="Reward margins of each adapter on the held-out users' pairs of both groups of its split.",
        deps=[[study.name, "adapters"], of_model("reference", study.reference), dg.AssetDep(["prism", "folds"])],
        partitions_def=cell_partitions(study),
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=settings().cells_per_job),
        code_version=digest([TRAINER_VERSION, study.matching.value]),
        group_name=study.name,
        kinds={"pytorch"},
        **on_gpu(study.hardware),
    )
    def margins(context: dg.AssetExecutionContext, store: Store) -> None:
        cells = [study.cell(key) for key in context.partition_keys]
        tell_of_each(context, study, score(store, StudyData(store, study), cells), margins_made)

    return margins


def tell_of_each(
    context: dg.AssetExecutionContext,
    study: Study,
    outcomes: Iterable[tuple[Cell, int | str]],
    made_of: Callable[[Cell, int], dg.AssetMaterialization],
) -> None:
    """Tell Dagster of each cell as it ends, with its number of rows; those with a reason instead have failed.

    Raises:
        CellsFailed: at least one cell failed; every other is told of.
    """
    failures = {}
    for cell, outcome in outcomes:
        if isinstance(outcome, int):
            made = made_of(cell, outcome)
            context.log_event(made)
            context.add_asset_metadata(made.metadata, asset_key=context.asset_key, partition_key=cell.key)
        else:
            failures[cell] = outcome
    raise_for_failed(study, failures)


def adapter_made(store: Store, cell: Cell) -> dg.AssetMaterialization:
    """What Dagster is told of a cell whose adapter stands."""
    record = store.record(artifact(cell)) or {}
    adapter = adapter_folder(artifact(cell), record["result"])
    metadata = {**record["metrics"], "fingerprint": record["fingerprint"], "adapter": adapter}
    return dg.AssetMaterialization([cell.study, "adapters"], partition=cell.key, metadata=metadata)


def margins_made(cell: Cell, rows: int) -> dg.AssetMaterialization:
    """What Dagster is told of a cell that is scored."""
    return dg.AssetMaterialization([cell.study, "margins"], partition=cell.key, metadata={"dagster/row_count": rows})


def make_adapters(
    store: Store, data: StudyData, cells: Iterable[Cell], run_id: str
) -> Iterator[tuple[Cell, str | None]]:
    """See that each cell has the adapter of today's recipe: it stands, a twin's is adopted, or it is trained.

    Yields each cell as soon as that is so with None, or with the reason why it has none.
    """
    recipes = {}
    for cell in cells:
        if why := data.unlearnable(cell):
            yield cell, why
        else:
            recipes[cell] = data.recipe(cell)
    to_train = dict(recipes)
    for cell in adopt_or_skip(store, recipes, run_id):
        del to_train[cell]
        store.discard_checkpoint(recipes[cell].fingerprint)
        yield cell, None
    for cell, reason in train(store, data, to_train, run_id):
        if reason is None:  # a cell that failed may go on, if its pack was to blame
            store.discard_checkpoint(recipes[cell].fingerprint)
        yield cell, reason


def adopt_or_skip(store: Store, recipes: Mapping[Cell, Recipe], run_id: str) -> Iterator[Cell]:
    """Yields each cell that needs no training once its record stands: it did already, or a twin's was adopted."""
    records = store.records()
    standing = {digest(record["recipe"]): (name, record) for name, record in records.items() if "recipe" in record}
    for cell, recipe in recipes.items():
        own = records.get(artifact(cell))
        if own is None or differences(own["recipe"], recipe.as_dict()):
            own = store.record(artifact(cell))  # another run may have finished it by now
        if own is not None and not differences(own["recipe"], recipe.as_dict()):
            yield cell
        elif recipe.fingerprint in standing:
            try:
                adopt(store, cell, recipe, *standing[recipe.fingerprint], run_id)
            except FileNotFoundError as gone:  # somebody removed the twin's adapter
                _logger.warning("cell %s is trained, not adopted: %s", cell.key, gone)
            else:
                yield cell


def train(
    store: Store, data: StudyData, recipes: Mapping[Cell, Recipe], run_id: str
) -> Iterator[tuple[Cell, str | None]]:
    """Train cells and put each into the store as it ends; yields the cell with the reason it failed, or None."""
    if not recipes:
        return
    from prefassets.domain.training.train import CellToTrain, FinishedCell, train_cells

    study = data.study
    chosen = {cell: data.training_pairs(cell) for cell in recipes}
    shared = load_training_data(store, data, pl.concat(chosen.values()).unique("pair_id"))
    by_key = {cell.key: cell for cell in recipes}
    cells = [CellToTrain(cell.key, recipes[cell], tuple(chosen[cell]["pair_id"])) for cell in recipes]
    with progress_bar(f"training {study.name}, steps", len(cells) * study.hyperparameters.steps) as show:
        for outcome in train_cells(
            cells,
            shared,
            on_step=_steps_of_all_cells(show),
            engine=settings().engine,
            cells_per_pack=settings().cells_per_pack,
            checkpoints=StoredCheckpoints(store, settings().checkpoint_seconds),
        ):
            cell = by_key[outcome.key]
            if not isinstance(outcome, FinishedCell):
                yield cell, outcome.reason
                continue
            metrics = {
                "train_users": chosen[cell]["user_id"].n_unique(),
                "train_pairs": len(chosen[cell]),
                "steps": outcome.steps,
                "epochs": outcome.log["epoch"][-1],
                "final_loss": outcome.log["loss"][-1],
                "tokens": outcome.tokens,
                "seconds": round(outcome.seconds, 3),
                "cells_in_pack": outcome.cells_in_pack,
            }
            provenance = {
                "engine": outcome.engine,
                "device": outcome.device,
                **asdict(place()),
                "prism": str(store.source()),
                "adopted_from": None,
            }
            put_cell(store, cell, recipes[cell], outcome.files, outcome.log, metrics, provenance, run_id)
            yield cell, None


def _steps_of_all_cells(show: Callable[[int], None]) -> Callable[[str, int, int], None]:
    """Turns steps per cell into steps over all cells of the job."""
    reached: dict[str, int] = {}

    def on_step(key: str, step: int, total: int) -> None:
        reached[key] = step
        show(sum(reached.values()))

    return on_step


def adopt(store: Store, cell: Cell, recipe: Recipe, twin: str, found: Mapping[str, Any], run_id: str) -> None:
    """Give a cell the adapter, log and metrics of `twin`, an artifact of the same recipe, whose record is `found`."""
    theirs, result = Cell(**found["cell"]), new_result()
    provenance = {**found["provenance"], "adopted_from": found["provenance"]["adopted_from"] or theirs.study}
    log = store.read("training.log", theirs.partition, found["result"])
    record = _put_rows(store, cell, recipe, result, found["files"][WEIGHTS], log, found["metrics"], provenance, run_id)
    store.put_same(artifact(cell), twin, found, record, result)


def put_cell(
    store: Store,
    cell: Cell,
    recipe: Recipe,
    files: Mapping[str, bytes],
    log: pl.DataFrame,
    metrics: Mapping[str, Any],
    provenance: Mapping[str, Any],
    run_id: str,
) -> None:
    """Everything one trained cell leaves: its rows of three tables, its adapter, and last its record.

    If another run has put an adapter of the same recipe there meanwhile, that one stands: it may be scored by now.
    """
    standing = store.record(artifact(cell))
    if standing is not None and not differences(standing["recipe"], recipe.as_dict()):
        _logger.warning("another run finished cell %s of %s first; its result stands", cell.key, cell.study)
        return
    result = new_result()
    weights = {"sha256": hashlib.sha256(files[WEIGHTS]).hexdigest(), "bytes": len(files[WEIGHTS])}
    record = _put_rows(store, cell, recipe, result, weights, log, metrics, provenance, run_id)
    store.put(artifact(cell), files, record, result)


def _put_rows(
    store: Store,
    cell: Cell,
    recipe: Recipe,
    result: str,
    weights: Mapping[str, Any],
    log: pl.DataFrame,
    metrics: Mapping[str, Any],
    provenance: Mapping[str, Any],
    run_id: str,
) -> dict[str, Any]:
    """A cell's rows of three tables, seen by nobody before the record that is to follow them, which is returned."""
    whose = identity(cell, recipe.fingerprint)
    finished_at = datetime.now(UTC)
    cell_row = {
        **whose,
        "recipe": recipe.shared_digest,
        "method": recipe.method,
        "base_model": recipe.base_model,
        "base_revision": recipe.base_revision,
        **metrics,
        **{name: provenance[name] for name in ("device", "node", "pod", "image")},
        "engine": provenance["engine"],
        "prism_source": provenance["prism"],
        "adopted_from": provenance["adopted_from"],
        "run_id": run_id,
        "finished_at": finished_at,
    }
    adapter_row = {
        **whose,
        "uri": adapter_folder(artifact(cell), result),
        "sha256": weights["sha256"],
        "bytes": weights["bytes"],
    }
    for table, rows in (
        ("training.cells", _frame("training.cells", [cell_row])),
        ("training.adapters", _frame("training.adapters", [adapter_row])),
        ("training.log", log.with_columns(constant_columns(whose))),
    ):
        store.replace(table, rows, cell.partition, result=result)
    return {
        "cell": asdict(cell),
        "fingerprint": recipe.fingerprint,
        "recipe": recipe.as_dict(),
        "metrics": dict(metrics),
        "provenance": {**provenance, "run_id": run_id, "finished_at": finished_at.isoformat()},
    }


def score(store: Store, data: StudyData, cells: list[Cell]) -> Iterator[tuple[Cell, int | str]]:
    """Score each cell's adapter on its held-out pairs and store the margins, several adapters in one pass.

    Yields each cell with its pairs' number, or with the reason why its adapter cannot be scored.
    """
    if not cells:
        return
    from prefassets.domain.training.scoring import AdapterToScore, score_adapters

    wanted = {cell: data.held_out_pairs(cell) for cell in cells}
    shared = load_training_data(store, data, pl.concat(wanted.values()).unique("pair_id"))
    by_key, adapters = {}, []
    for cell, found in finished_adapters(store, shared.language_model, cells):
        if isinstance(found, str):
            yield cell, found
            continue
        record, files = found
        by_key[cell.key] = cell, record
        beta = data.study.hyperparameters.beta
        adapters.append(AdapterToScore(cell.key, files, tuple(wanted[cell]["pair_id"]), beta))
    total = sum(len(adapter.pair_ids) for adapter in adapters)
    with progress_bar(f"scoring {data.study.name}, pairs", total) as show:
        for key, margins in score_adapters(adapters, shared, on_batch=lambda done, _total: show(done)):
            cell, record = by_key[key]
            rows = margins.with_columns(constant_columns(identity(cell, record["fingerprint"])))
            store.replace("training.margins", rows, cell.partition, result=record["result"])
            yield cell, len(rows)


def finished_adapters(
    store: Store, model: "LanguageModel", cells: Iterable[Cell]
) -> Iterator[tuple[Cell, tuple[dict[str, Any], dict[str, bytes]] | str]]:
    """Each cell with the record and files of its adapter, or with the reason why the model cannot take it."""
    from prefassets.domain.training.lora import read_adapter

    for cell in cells:
        try:
            record, files = store.finished(artifact(cell))
            read_adapter(model, files)
        except Exception as error:  # whatever it is, it is this cell's; the others go on
            _logger.exception("the adapter of cell %s cannot be read", cell.key)
            yield cell, f"{type(error).__name__}: {error}"
        else:
            yield cell, (record, files)


def identity(cell: Cell, fingerprint: str) -> dict[str, Any]:
    """The columns that every table of cells begins with."""
    row = {**asdict(cell), "split": cell.split, "user_group": cell.user_group, "fingerprint": fingerprint}
    return {name: row[name] for name in CELL_COLUMNS}


def constant_columns(values: Mapping[str, Any]) -> list[pl.Expr]:
    """Columns of one value each."""
    return [pl.lit(value).alias(name) for name, value in values.items()]


def _frame(table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=TABLES[table].schema)


def raise_for_failed(study: Study, failures: Mapping[Cell, str]) -> None:
    """Fail the run if any cell failed, naming each; the others stay finished.

    Raises:
        CellsFailed: at least one cell failed.
    """
    if failures:
        count = f"{len(failures)} cell{'s' if len(failures) > 1 else ''}"
        lines = "\n".join(f"  {cell.key}: {reason}" for cell, reason in failures.items())
        raise CellsFailed(
            f"{count} of {study.name} failed; every other cell of this job is finished and recorded.\n"
            f"{lines}\n`prefassets missing {study.name} --launch` tries exactly the missing ones again. A cell that "
            f"diverged diverges again unless its study changes, such as its learning rate."
        )


# ---- all studies


def collected_asset(table: str, part_asset: str) -> dg.AssetsDefinition:
    """The asset of one `training.*` table: the parts of every study's finished cells, counted."""

    @dg.asset(
        **declared(table),
        deps=[[study.name, part_asset] for study in all_studies().values() if part_asset in study.assets_by_cell],
        group_name=GROUP,
        kinds={"duckdb"},
        automation_condition=AFTER_ANY_CHANGE,
    )
    def collected(store: Store) -> dg.MaterializeResult:
        counts = store.query(
            f"select count(*) as rows, count(distinct (study, cohort, seed, fold)) as cells from {table}"
        )
        rows, cells = counts.row(0)
        planned = sum(len(study.cells) for study in all_studies().values())
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": rows,
                "cells": cells,
                "cells planned over all studies": planned,
            }
        )

    return collected


STUDY_ASSETS = [make(study) for study in all_studies().values() for make in (adapters_asset, margins_asset)]


@dg.asset(
    **declared("training.states"),
    deps=[
        *([study.name, asset] for study in all_studies().values() for asset in study.assets_by_cell),
        ["studies", "cell"],
        ["splits", "assignments"],
        ["prism", "pairs"],
        ["prism", "folds"],
        ["model", "base"],
        ["model", "activations"],
    ],
    group_name=GROUP,
    kinds={"python"},
    automation_condition=AFTER_ANY_CHANGE,
)
def states(store: Store) -> dg.MaterializeResult:
    """Every planned cell against what the home holds, so that SQL sees what is missing or stale."""
    rows = states_of_all(store, all_studies().values())
    counts = {f"cells {state}": count for state, count in rows["state"].value_counts().iter_rows()}
    return store.replace("training.states", rows, metadata=counts)


COLLECTED_ASSETS = [
    *(collected_asset(table, part_asset) for table, part_asset in COLLECTED.items()),
    states,
]


@dg.asset_check(asset=["training", "cells"], blocking=True)
def there_is_one_row_per_cell(store: Store) -> dg.AssetCheckResult:
    """Two rows of one cell would count a seed twice."""
    twice = store.query("select study, cohort, seed, fold from training.cells group by all having count(*) > 1")
    return dg.AssetCheckResult(passed=twice.is_empty(), metadata={"cells": twice.rows()[:10]})


@dg.asset_check(asset=["training", "states"])
def no_cell_is_stale(store: Store) -> dg.AssetCheckResult:
    """A stale cell was trained by another recipe, or on other data, than its study asks for now."""
    stale = store.query("select study || ' ' || cell as cell, reason from training.states where state = 'stale'")
    return dg.AssetCheckResult(
        passed=stale.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"stale cells": dict(stale.iter_rows()), "to do": "prefassets missing STUDY --stale --launch"},
    )


@dg.asset_check(asset=["training", "log"], blocking=True)
def losses_are_finite(store: Store) -> dg.AssetCheckResult:
    """A cell whose loss is not a number learned nothing that may be judged."""
    broken = store.query(
        "select distinct study, cohort, seed, fold from training.log where not (isfinite(loss) and isfinite(margin))"
    )
    return dg.AssetCheckResult(passed=broken.is_empty(), metadata={"cells": broken.rows()[:10]})


@dg.asset_check(asset=["training", "log"])
def weights_are_in_their_range(store: Store) -> dg.AssetCheckResult:
    """A weight is above 0 and at most 1, and either all steps of a cell have one or none has."""
    wrong = store.query(
        """
        select study, cohort, seed, fold
        from training.log
        group by all
        having not coalesce(bool_and(0 < weight_min and weight_min <= weight_mean and weight_mean <= 1), true)
            or not coalesce(bool_and(weight_clamped between 0 and 1), true)
            or count(weight_mean) not in (0, count(*))
            or count(weight_min) != count(weight_mean)
            or count(weight_clamped) != count(weight_mean)
        """
    )
    return dg.AssetCheckResult(passed=wrong.is_empty(), metadata={"cells": wrong.rows()[:10]})


@dg.asset_check(asset=["training", "margins"], additional_deps=[["prism", "folds"]], blocking=True)
def margins_are_of_unseen_users(store: Store) -> dg.AssetCheckResult:
    """Every scored pair belongs to a user of the cell's held-out fold, once per cell, with a finite margin."""
    wrong = store.query(
        """
        select study, cohort, seed, margins.fold, pair_id
        from training.margins
        left join prism.pairs using (pair_id)
        left join prism.folds using (user_id)
        group by all
        having count(*) > 1 or bool_or(folds.fold is distinct from margins.fold) or not bool_and(isfinite(margin))
        """
    )
    return dg.AssetCheckResult(passed=wrong.is_empty(), metadata={"rows": wrong.rows()[:10]})
