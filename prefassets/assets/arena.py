"""Arena: battles, a predictor of who wins them finetuned by recipe, and what it is worth beside baselines."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from prefassets.arena_recipes import all_recipes
from prefassets.assets.automation import AFTER_ANY_CHANGE
from prefassets.assets.declared import declared
from prefassets.assets.gpu import on_gpu
from prefassets.domain.arena.folds import battle_folds
from prefassets.domain.arena.prompt import PROMPTS
from prefassets.domain.arena.recipe import ARENA_TRAINER_VERSION, ArenaRecipe
from prefassets.domain.training.recipe import digest
from prefassets.resources.arena import BASES, PREDICTIONS_VERSION, ArenaData, judged_tables, recipe_rows
from prefassets.resources.arena_source import load_battles
from prefassets.resources.arena_tables import arena_artifact
from prefassets.resources.progress import progress_bar
from prefassets.resources.provenance import place
from prefassets.resources.store import Store, adapter_folder, new_result
from prefassets.resources.tables import TABLES
from prefassets.settings import settings

if TYPE_CHECKING:
    from prefassets.domain.arena.finetune import FinetunedPredictor

GROUP = "arena"
MOST_DROPPED = 0.05  # share of the rows; above it, the source may not be what it is taken for
RECIPES = dg.StaticPartitionsDefinition(list(all_recipes()))
BASE_PREDICTORS = dg.StaticPartitionsDefinition(list(BASES))


def _by_model(partitions: dict[str, ArenaRecipe]) -> dg.AssetDep:
    """Each partition on its base model's."""
    models: dict[str, set[str]] = {}
    for key, recipe in partitions.items():
        models.setdefault(recipe.model, set()).add(key)
    return dg.AssetDep(["model", "base"], partition_mapping=dg.StaticPartitionMapping(models))


# ---- battles


@dg.multi_asset(
    specs=[
        dg.AssetSpec(**declared(f"arena.{table}"), group_name=GROUP, kinds={"polars"})
        for table in ("battles", "dropped")
    ]
)
def battles(store: Store) -> Iterator[dg.MaterializeResult]:
    """Battles as released, or synthetic ones, validated row by row; what is left out is counted by reason."""
    source = store.source(**settings().source)
    found = load_battles(source)
    store.pin(source)  # not before it could be read: a source that was mistyped must not stick
    counted = {f"dropped: {reason}": rows for reason, rows in found.dropped.select("reason", "rows").iter_rows()}
    yield store.replace("arena.battles", found.battles, metadata={"source": source.of_battles, **counted})
    yield store.replace("arena.dropped", found.dropped)


@dg.asset(**declared("arena.folds"), deps=[["arena", "battles"]], group_name=GROUP, kinds={"scikitlearn"})
def folds(store: Store) -> dg.MaterializeResult:
    """Ten folds by prompt, each with its share of winners; two are held out, and one is for early stopping."""
    rows = battle_folds(store.read("arena.battles"), store.source().seed)
    parts = dict(rows["part"].value_counts().sort("part").iter_rows())
    return store.replace("arena.folds", rows, metadata=parts)


@dg.asset_check(asset=["arena", "battles"], additional_deps=[["arena", "dropped"]])
def most_rows_are_battles(store: Store) -> dg.AssetCheckResult:
    """If many rows are dropped, what is left may not be what people prefer."""
    kept, dropped = store.query(
        "select (select count(*) from arena.battles), (select coalesce(sum(rows), 0)::bigint from arena.dropped)"
    ).row(0)
    return dg.AssetCheckResult(
        passed=dropped <= MOST_DROPPED * (kept + dropped),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"kept": kept, "dropped": dropped},
    )


@dg.asset_check(asset=["arena", "folds"], additional_deps=[["arena", "battles"]], blocking=True)
def no_prompt_is_in_two_folds(store: Store) -> dg.AssetCheckResult:
    """A predictor that has seen how others judged a prompt would be praised for remembering it."""
    shared = store.query(
        """
        select battles.prompt_digest
        from arena.battles as battles
        left join arena.folds as folds using (battle)
        group by all
        having count(distinct folds.fold) != 1 or count(*) != count(folds.fold)
        order by all
        """
    )
    found = shared["prompt_digest"].to_list()
    return dg.AssetCheckResult(passed=not found, metadata={"prompts in no fold or in several": found[:10]})


# ---- predictors


def recipes_version() -> str:
    """Digest of what all recipes and prompts train and predict; what is only said of them is not in it."""
    prompts = {name: repr(prompt) for name, prompt in PROMPTS.items()}
    return digest([{name: recipe.trained for name, recipe in all_recipes().items()}, prompts, PREDICTIONS_VERSION])


@dg.asset(**declared("arena.recipe"), group_name=GROUP, kinds={"python"}, code_version=recipes_version())
def recipe(store: Store) -> dg.MaterializeResult:
    """The recipes, as `arena_recipes.py` says today."""
    return store.replace("arena.recipe", recipe_rows())


@dg.asset(
    **declared("arena.baseline_eval"),
    deps=[["arena", "battles"], ["arena", "folds"]],
    group_name=GROUP,
    kinds={"scikitlearn"},
    code_version=PREDICTIONS_VERSION,
)
def baseline_eval(store: Store) -> dg.MaterializeResult:
    """What class shares, lengths and words alone predict, learned from the battles that recipes learn from."""
    from prefassets.domain.arena.baselines import baseline_predictions  # scikit-learn: only where it is used

    data = ArenaData(store)
    fingerprint = data.baselines_fingerprint  # first: what it is of must not be remade meanwhile
    found = baseline_predictions(data.battles("training"), data.battles("held_out"), store.source().seed)
    return store.replace("arena.baseline_eval", found.with_columns(fingerprint=pl.lit(fingerprint)))


@dg.asset(
    **declared("arena.base_eval"),
    partitions_def=BASE_PREDICTORS,
    deps=[["arena", "battles"], ["arena", "folds"], _by_model(dict(BASES))],
    group_name=GROUP,
    kinds={"pytorch"},
    code_version=PREDICTIONS_VERSION,
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    **on_gpu(),
)
def base_eval(context: dg.AssetExecutionContext, store: Store) -> dg.MaterializeResult:
    """What a base model predicts without an adapter: the probabilities of the digits that its prompt asks for."""
    from prefassets.domain.arena.digits import predict_battles  # torch takes seconds to import

    data, base = ArenaData(store), context.partition_key
    asked, fingerprint = BASES[base], data.base_fingerprint(base)
    held_out = data.battles("held_out")
    with progress_bar(f"{base}: held-out battles", len(held_out)) as show:
        found = predict_battles(data.load(asked), base, asked.prompt, asked.max_tokens, held_out, show)
    rows = found.with_columns(fingerprint=pl.lit(fingerprint))
    return store.replace("arena.base_eval", rows, [base], _read(rows))


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            **declared(f"arena.{table}"),
            deps=[["arena", "battles"], ["arena", "folds"], _by_model(all_recipes())],
            group_name=GROUP,
            kinds={"pytorch", "peft"},
            code_version=ARENA_TRAINER_VERSION,
            partitions_def=RECIPES,
        )
        for table in ("adapter", "curve")
    ],
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    **on_gpu(),
)
def adapter(context: dg.AssetExecutionContext, store: Store) -> Iterator[dg.MaterializeResult]:
    """A recipe's adapter: it stands, or it is trained."""
    from prefassets.domain.arena.finetune import finetune  # torch takes seconds to import

    data, asked = ArenaData(store), all_recipes()[context.partition_key]
    record = store.record(arena_artifact(asked.name))
    trained = data.trained(asked)
    if record is None or record["trained"] != trained:
        with progress_bar(f"training {asked.name}, steps", asked.steps * asked.adapters) as show:
            found = finetune(
                data.load(asked, asked.quantised),
                asked,
                data.battles("training"),
                data.battles("validation"),
                lambda step, _total: show(step),
            )
        record = _put(store, asked, trained, found, context.run_id)
    for table in ("adapter", "curve"):
        yield dg.MaterializeResult(asset_key=["arena", table], metadata=record["metrics"])


def _put(
    store: Store, recipe: ArenaRecipe, trained: dict[str, Any], found: "FinetunedPredictor", run_id: str
) -> dict[str, Any]:
    """Everything one trained recipe leaves: its rows of two tables, its adapter, and last its record, returned."""
    artifact, result = arena_artifact(recipe.name), new_result()
    metrics = {
        name: getattr(found, name)
        for name in ("training_battles", "best_steps", "stopped_early", "validation_log_loss", "tokens", "seconds")
    }
    metrics["steps"] = len(found.curve)
    row = {
        "recipe": recipe.name,
        "model": recipe.model,
        "revision": trained["revision"],
        "quantised": recipe.quantised,
        **metrics,
        **asdict(place()),
        "device": found.device,
        "engine": found.engine,
        "source": store.source().of_battles,
        "uri": adapter_folder(artifact, result),
        "fingerprint": digest(trained),
        "run_id": run_id,
        "finished_at": datetime.now(UTC),
    }
    rows = pl.DataFrame([row], schema=TABLES["arena.adapter"].schema)
    store.replace("arena.adapter", rows, [recipe.name], result=result)
    curve = found.curve.with_columns(recipe=pl.lit(recipe.name))
    store.replace("arena.curve", curve, [recipe.name], result=result)
    record = {"trained": trained, "fingerprint": digest(trained), "metrics": metrics, "run_id": run_id}
    store.put(artifact, found.files, record, result)
    return record


@dg.asset(
    **declared("arena.finetuned_eval"),
    partitions_def=RECIPES,
    deps=[["arena", "adapter"], ["arena", "folds"]],
    group_name=GROUP,
    kinds={"pytorch", "peft"},
    code_version=PREDICTIONS_VERSION,
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    **on_gpu(),
)
def finetuned_eval(context: dg.AssetExecutionContext, store: Store) -> dg.MaterializeResult:
    """What a recipe's adapter predicts, by the prompt that it was trained with."""
    from prefassets.domain.arena.digits import predict_battles  # torch takes seconds to import
    from prefassets.domain.arena.finetune import with_adapter

    data, asked = ArenaData(store), all_recipes()[context.partition_key]
    state = data.state(asked)
    if state.state in ("missing", "stale"):
        raise ValueError(
            f"recipe {asked.name} has no adapter of today to predict with, it is {state.state} ({state.reason}); "
            f"materialise arena/adapter, partition {asked.name}, first"
        )
    fingerprint = data.scored_fingerprint(asked)
    model = with_adapter(data.load(asked, asked.quantised), store.files(arena_artifact(asked.name)))
    held_out = data.battles("held_out")
    with progress_bar(f"{asked.name}: held-out battles", len(held_out)) as show:
        found = predict_battles(model, asked.name, asked.prompt, asked.max_tokens, held_out, show)
    rows = found.with_columns(fingerprint=pl.lit(fingerprint))
    return store.replace("arena.finetuned_eval", rows, [asked.name], _read(rows))


def _read(rows: pl.DataFrame) -> dict[str, int]:
    return {"battles that did not fit": int((rows["left_out"] > 0).sum()), "tokens": int(rows["tokens"].sum())}


# What is made when it is asked for; whatever else there is of Arena follows from it.
MADE = [key for of in (battles, folds, recipe, baseline_eval, base_eval, adapter, finetuned_eval) for key in of.keys]


# ---- what they are worth


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            **declared(f"arena.{table}"),
            deps=[
                dg.AssetKey(["model", "base"]),
                *(key for of in (folds, recipe, baseline_eval, base_eval, adapter, finetuned_eval) for key in of.keys),
            ],
            code_version=recipes_version(),
            group_name=GROUP,
            kinds={"numpy"},
            automation_condition=AFTER_ANY_CHANGE,
        )
        for table in ("comparison", "difference", "breakdown", "confusion", "calibration", "states")
    ]
)
def comparison(store: Store) -> Iterator[dg.MaterializeResult]:
    """Every predictor that stands, on the same held-out battles; recipes that do not stand are in `arena.states`."""
    data = ArenaData(store)
    for table, rows in judged_tables(data).items():
        yield store.replace(table, rows)
    states = data.state_rows()
    counts = dict(states["state"].value_counts().sort("state").iter_rows())
    yield store.replace("arena.states", states, metadata=counts)


@dg.asset_check(asset=["arena", "states"])
def no_recipe_is_stale(store: Store) -> dg.AssetCheckResult:
    """A stale recipe's adapter was trained by another recipe, or on other battles, than there are now."""
    stale = store.query("select recipe, reason from arena.states where state = 'stale'")
    return dg.AssetCheckResult(
        passed=stale.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"stale recipes": dict(stale.iter_rows()), "to do": "prefassets arena run RECIPE"},
    )
