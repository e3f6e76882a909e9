"""What a home holds of Arena: battles by part, which recipes are trained and scored, and predictions that stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from prefassets.arena_recipes import all_recipes
from prefassets.domain.arena.prompt import PROMPTS
from prefassets.domain.arena.recipe import ArenaRecipe
from prefassets.domain.arena.scores import BASELINES
from prefassets.domain.training.recipe import differences, digest
from prefassets.resources.arena_tables import BATTLE_COLUMNS, PREDICTION_COLUMNS, arena_artifact
from prefassets.resources.models import load_base
from prefassets.resources.store import Store
from prefassets.resources.tables import TABLES

if TYPE_CHECKING:
    from prefassets.domain.training.language_model import LanguageModel

State = Literal["finished", "missing", "unscored", "stale"]
PREDICTIONS_VERSION = "1"  # raise it when the same model would predict otherwise
BASES: Mapping[str, ArenaRecipe] = {recipe.base: recipe for recipe in all_recipes().values()}

JUDGED = ("arena.difference", "arena.breakdown", "arena.confusion", "arena.calibration", "arena.comparison")
_PREDICTED = """(
    from arena.baseline_eval union all by name from arena.base_eval union all by name from arena.finetuned_eval
)"""


@dataclass(frozen=True)
class RecipeState:
    """What a home holds of one recipe. `reason` says in words what is missing or what differs."""

    recipe: ArenaRecipe
    state: State
    reason: str = ""


class ArenaData:
    """Arena against the home: each thing is read once."""

    def __init__(self, store: Store) -> None:
        self.store = store

    # ---- battles

    def battles(self, part: str) -> pl.DataFrame:
        """The battles of one part: training, validation or held_out."""
        columns = ", ".join(BATTLE_COLUMNS)
        return self.store.query(
            f"select {columns} from arena.battles semi join (from arena.folds where part = $part) using (battle)"
            " order by battle",
            part=part,
        )

    @cached_property
    def digest(self) -> str | None:
        """Digest of the battles and of the part that each is in; None while there are none, or folds are of others."""
        found = self.store.query(
            f"""
            select
                md5(string_agg(md5(concat_ws(chr(0), part, {", ".join(f"{name}::text" for name in BATTLE_COLUMNS)})),
                    ',' order by battle)) as digest,
                bool_and(battles.battle is not null and part is not null) as of_the_same
            from arena.battles as battles
            full join (select battle, prompt_digest, part from arena.folds) as folds using (battle, prompt_digest)
            """
        )
        return found["digest"].item() if found["of_the_same"].item() else None

    # ---- models

    @cached_property
    def _revisions(self) -> dict[str, str]:
        return dict(self.store.query("select base_model, revision from model.base").iter_rows())

    def revision(self, model: str) -> str | None:
        """Revision of a base model; None while `model/base` was never made."""
        return self._revisions.get(model)

    def load(self, recipe: ArenaRecipe, quantised: bool = False) -> LanguageModel:
        """The base model of a recipe, ready to run.

        Raises:
            ValueError: the home has no such model, or no battles with their folds; what came of it would be of nothing
                that could be named later.
        """
        if self.revision(recipe.model) is None:
            raise ValueError(f"materialise model/base, partition {recipe.model}, first: this home does not have it")
        if self.digest is None:
            raise ValueError("materialise arena/battles and arena/folds first: this home lacks one, or they do not fit")
        return load_base(self.store, recipe.model, recipe.precision, self.revision(recipe.model), quantised)

    # ---- what stands

    def trained(self, recipe: ArenaRecipe) -> dict[str, Any]:
        """Everything that determines a recipe's adapter."""
        return {
            **recipe.trained,
            "prompt_text": digest(repr(PROMPTS[recipe.prompt])),
            "revision": self.revision(recipe.model),
            "battles": self.digest,
        }

    def base_fingerprint(self, base: str) -> str:
        """Digest of everything that determines the predictions of a base model without adapter."""
        recipe = BASES[base]
        text = repr(PROMPTS[recipe.prompt])
        return digest([base, text, self.revision(recipe.model), self.digest, PREDICTIONS_VERSION])

    @property
    def baselines_fingerprint(self) -> str:
        """Digest of everything that determines the predictions of the baselines."""
        return digest([*BASELINES, self.store.source().seed, self.digest, PREDICTIONS_VERSION])

    def scored_fingerprint(self, recipe: ArenaRecipe) -> str | None:
        """Digest of everything that determines the predictions of a recipe's adapter; None while it has none."""
        record = self._records.get(arena_artifact(recipe.name))
        return None if record is None else digest([record["result"], self.digest, PREDICTIONS_VERSION])

    @cached_property
    def _records(self) -> dict[str, dict[str, Any]]:
        return self.store.records("arena")

    @cached_property
    def _fingerprints(self) -> dict[str, str]:
        """Of the predictions that are stored, by predictor."""
        return dict(self.store.query(f"select distinct predictor, fingerprint from {_PREDICTED}").iter_rows())

    def standing(self) -> dict[str, str]:
        """Fingerprints of the predictions that stand: of today's baselines, models, adapters and battles."""
        found = dict.fromkeys(BASELINES, self.baselines_fingerprint) if self.baselines_stand() else {}
        found |= {base: self.base_fingerprint(base) for base in BASES if self.base_stands(base)}
        scored = [recipe for recipe in all_recipes().values() if self.is_scored(recipe)]
        return found | {recipe.name: self._fingerprints[recipe.name] for recipe in scored}

    def baselines_stand(self) -> bool:
        """Whether the baselines have predicted today's battles."""
        return all(self._fingerprints.get(name) == self.baselines_fingerprint for name in BASELINES)

    def base_stands(self, base: str) -> bool:
        """Whether a base model has predicted today's held-out battles."""
        return self._fingerprints.get(base) == self.base_fingerprint(base)

    def state(self, recipe: ArenaRecipe) -> RecipeState:
        """What this home holds of a recipe."""
        record = self._records.get(arena_artifact(recipe.name))
        if record is None:
            return RecipeState(recipe, "missing", "never trained")
        if changed := differences(record["trained"], self.trained(recipe)):
            return RecipeState(recipe, "stale", "; ".join(changed))
        if self._fingerprints.get(recipe.name) != self.scored_fingerprint(recipe):
            return RecipeState(recipe, "unscored", "its adapter has not predicted today's held-out battles")
        if not self.base_stands(recipe.base):
            return RecipeState(recipe, "unscored", f"nor has its base model, {recipe.base}, as it is without adapter")
        return RecipeState(recipe, "finished")

    def states(self) -> list[RecipeState]:
        """Every recipe of this version, and what this home holds of it."""
        return [self.state(recipe) for recipe in all_recipes().values()]

    def state_rows(self) -> pl.DataFrame:
        """The rows of `arena.states`."""
        rows = [(state.recipe.name, state.state, state.reason) for state in self.states()]
        return pl.DataFrame(rows, schema=TABLES["arena.states"].schema, orient="row")

    def predictions(self) -> pl.DataFrame:
        """Those that stand: by baselines, base models and adapters of today, of today's battles."""
        columns = ", ".join(PREDICTION_COLUMNS)
        standing = [f"{predictor} {fingerprint}" for predictor, fingerprint in self.standing().items()]
        return self.store.query(
            f"select {columns} from {_PREDICTED} where list_contains($standing, predictor || ' ' || fingerprint)"
            " order by list_position($standing, predictor || ' ' || fingerprint), battle",
            standing=standing,
        )

    def is_scored(self, recipe: ArenaRecipe) -> bool:
        """Whether a recipe has an adapter of today that has predicted today's held-out battles."""
        return self.state(recipe).state in ("finished", "unscored") and (
            self._fingerprints.get(recipe.name) == self.scored_fingerprint(recipe)
        )


def judged_tables(data: ArenaData) -> dict[str, pl.DataFrame]:
    """The rows of every table of JUDGED, of the predictions that stand; `arena.comparison` last, which says which."""
    from prefassets.domain.arena.scores import judge

    predictions, standing = data.predictions(), data.standing()
    if predictions.is_empty():
        return {table: TABLES[table].empty() for table in JUDGED}
    named = len(all_recipes()) + len(BASES)  # also those that were not tried yet, or are tried no more
    judged = judge(predictions, data.battles("held_out"), compared(predictions["predictor"]), models_named=named)
    found = (judged.differences, judged.breakdown, judged.confusion, judged.calibration, judged.comparison)
    tables = dict(zip(JUDGED, found, strict=True))
    fingerprint = pl.col("predictor").replace_strict(standing, return_dtype=pl.String())
    return tables | {JUDGED[-1]: judged.comparison.with_columns(fingerprint=fingerprint)}


def outdated(data: ArenaData) -> bool:
    """Whether what is stored of JUDGED is of other predictions than those that stand."""
    made = data.store.query("select distinct predictor, fingerprint from arena.comparison")
    return dict(made.iter_rows()) != data.standing()


def compared(predictors: pl.Series) -> dict[str, list[str]]:
    """What each predictor is compared with, of those that there are.

    Base models with the baselines; recipes with those, with their base model, and with the recipe they are a variant
    of.
    """
    there = set(predictors)
    found = {}
    for base in BASES:
        found[base] = [*BASELINES]
    for recipe in all_recipes().values():
        found[recipe.name] = [*BASELINES, recipe.base, *([recipe.variant_of] if recipe.variant_of else [])]
    return {
        predictor: [other for other in others if other in there]
        for predictor, others in found.items()
        if predictor in there
    }


def recipe_rows() -> pl.DataFrame:
    """The rows of `arena.recipe`."""
    columns = TABLES["arena.recipe"].columns
    rows = []
    for recipe in all_recipes().values():
        row: dict[str, Any] = {**recipe.trained, "recipe": recipe.name, "base": recipe.base}
        row |= {"question": recipe.question, "variant_of": recipe.variant_of, "changes": changes(recipe)}
        rows.append({name: row[name] for name in columns})
    return pl.DataFrame(rows, schema=TABLES["arena.recipe"].schema)


def changes(recipe: ArenaRecipe) -> str:
    """In which settings a recipe differs from the one that it is a variant of, `rank: 16 -> 32; ...`."""
    if recipe.variant_of is None:
        return ""
    return "; ".join(differences(all_recipes()[recipe.variant_of].trained, recipe.trained))
