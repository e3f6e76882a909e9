"""The models that run here, and what one pass of a study's base model over all pairs finds."""

from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from prefassets.arena_recipes import all_recipes
from prefassets.assets.declared import declared
from prefassets.assets.gpu import on_gpu
from prefassets.domain.prism.cohorts import sampled_prompts
from prefassets.measurements import all_measurements
from prefassets.resources import models
from prefassets.resources.cells import StudyData
from prefassets.resources.models import TINY_ARTIFACT, load_base
from prefassets.resources.progress import progress_bar
from prefassets.resources.store import Store
from prefassets.resources.tables import TABLES
from prefassets.studies import all_studies
from prefassets.studies.study import Study

if TYPE_CHECKING:
    from prefassets.domain.training.language_model import LanguageModel

GROUP = "model"

_STUDIES = all_studies().values()
_BASE_OF_REFERENCE = {study.reference: study.base_model for study in _STUDIES}
_OF_MEASUREMENTS = [name for measurement in all_measurements().values() for name in measurement.models_here]
_OF_RECIPES = [recipe.model for recipe in all_recipes().values()]
BASE_MODELS = dg.StaticPartitionsDefinition(sorted({*_BASE_OF_REFERENCE.values(), *_OF_MEASUREMENTS, *_OF_RECIPES}))
REFERENCES = dg.StaticPartitionsDefinition(sorted(_BASE_OF_REFERENCE))
ITS_BASE = dg.AssetDep(
    ["model", "base"],
    partition_mapping=dg.StaticPartitionMapping(
        {
            base_model: {reference for reference, of in _BASE_OF_REFERENCE.items() if of == base_model}
            for base_model in sorted(set(_BASE_OF_REFERENCE.values()))
        }
    ),
)


@dg.asset(
    **declared("model.base"),
    partitions_def=BASE_MODELS,
    deps=[dg.AssetDep(["prism", "utterances"])],
    group_name=GROUP,
    kinds={"pytorch", "huggingface"},
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    **on_gpu(),
)
def base(context: dg.AssetExecutionContext, store: Store) -> dg.MaterializeResult:
    """`tiny` is trained here on the corpus, without looking at scores; any other name is fetched from the hub."""
    name = context.partition_key
    training: dict[str, object] = {"tokens_seen": None, "final_loss": None}
    if name == "tiny":
        from prefassets.domain.training.tiny import conversations, train_tiny

        with progress_bar("training the tiny base model", models.TINY_STEPS) as show:
            trained = train_tiny(
                conversations(store.read("prism.utterances")),
                seed=store.source().seed,
                steps=models.TINY_STEPS,
                on_step=lambda step, _total: show(step),
            )
        model = trained.language_model
        training = {"tokens_seen": trained.tokens_seen, "final_loss": trained.final_loss}
        store.put(TINY_ARTIFACT, model.to_files(), {"base_model": name, "revision": model.revision, **training})
    else:
        model = load_base(store, name, "bfloat16")
    row = {
        "base_model": name,
        "revision": model.revision,
        "source": "trained here" if name == "tiny" else "hub",
        **model.description(),
        **training,
    }
    return store.replace("model.base", pl.DataFrame([row], schema=TABLES["model.base"].schema), [name], row)


@dg.asset(
    **declared("model.reference"),
    partitions_def=REFERENCES,
    deps=[ITS_BASE, dg.AssetDep(["prism", "pairs"])],
    group_name=GROUP,
    kinds={"pytorch"},
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    **on_gpu(),
)
def reference(context: dg.AssetExecutionContext, store: Store) -> dg.MaterializeResult:
    """One pass of the frozen base model over every pair, shared by every cell of every study that starts from it."""
    from prefassets.domain.training.encoding import encode_pairs
    from prefassets.domain.training.reference import reference_pass

    study, model = study_and_base(store, context.partition_key)
    pairs = store.read("prism.pairs")
    encoded = encode_pairs(pairs, model.tokenizer, study.hyperparameters.max_length)
    with progress_bar("reference pass", len(pairs)) as show:
        found = reference_pass(model, encoded, on_batch=lambda done, _total: show(done))
    rows = _labelled(found, study, model)
    cut = int((rows["truncated_tokens"] > 0).sum())
    return store.replace("model.reference", rows, [study.reference], {"responses with truncated text": cut})


@dg.asset(
    **declared("model.on_policy"),
    partitions_def=REFERENCES,
    deps=[ITS_BASE, dg.AssetDep(["prism", "pairs"])],
    group_name=GROUP,
    kinds={"pytorch"},
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    **on_gpu(),
)
def on_policy(context: dg.AssetExecutionContext, store: Store) -> dg.MaterializeResult:
    """What the base model answers itself to a sample of the pairs' prompts, weighed as WPO weighs pairs."""
    from prefassets.domain.training.encoding import encode_pairs
    from prefassets.domain.training.on_policy import on_policy_answers

    study, model = study_and_base(store, context.partition_key)
    pairs = sampled_prompts(store.read("prism.pairs"), models.ON_POLICY_PROMPTS)
    max_length = study.hyperparameters.max_length
    encoded = encode_pairs(pairs, model.tokenizer, max_length)
    with progress_bar("on-policy answers", len(pairs)) as show:
        found = on_policy_answers(
            model, encoded, max_length, store.source().seed, on_batch=lambda done, _total: show(done)
        )
    rows = _labelled(found, study, model)
    cut = int((~rows["finished"]).sum())
    return store.replace("model.on_policy", rows, [study.reference], {"answers cut at the maximum length": cut})


def study_and_base(store: Store, reference: str) -> "tuple[Study, LanguageModel]":
    """A study of this reference pass, and its base model, ready to run."""
    study = next(study for study in _STUDIES if study.reference == reference)
    revision = StudyData(store, study).base_revision
    return study, load_base(store, study.base_model, study.hyperparameters.precision, revision)


def _labelled(found: pl.DataFrame, study: Study, model: "LanguageModel") -> pl.DataFrame:
    labels = {"reference": study.reference, "base_model": study.base_model, "revision": model.revision}
    return found.with_columns(pl.lit(value).alias(name) for name, value in labels.items())


@dg.asset_check(asset=["model", "wpo_weights"], additional_deps=[["prism", "pairs"]])
def every_pair_has_a_weight(store: Store) -> dg.AssetCheckResult:
    """Of each reference pass that was made; and a weight lies above 0 and is at most 1."""
    problems = store.query(
        """
        select
            reference,
            count(*) filter (where weight is null) as without_weight,
            count(*) filter (where not (weight > 0 and weight <= 1)) as out_of_range
        from (select distinct reference, base_model, revision from model.reference) as passes
        cross join prism.pairs
        left join model.wpo_weights using (reference, base_model, revision, pair_id)
        group by reference
        having without_weight + out_of_range > 0
        order by reference
        """
    )
    found = {row["reference"]: str(row) for row in problems.iter_rows(named=True)}
    return dg.AssetCheckResult(passed=not found, metadata=found)
