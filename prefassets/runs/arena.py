"""Running recipes of Arena: battles, baselines, base models, adapters, and what they predict."""

from collections.abc import Iterator, Sequence

import dagster as dg

from prefassets.domain.arena.recipe import ArenaRecipe
from prefassets.resources.arena import ArenaData
from prefassets.runs.here import Launcher
from prefassets.runs.in_flight import PARTITION
from prefassets.runs.runs import RunFailed, Runs


def finetune_and_score(runs: Runs, recipes: Sequence[ArenaRecipe]) -> Iterator[str]:
    """Make whatever these recipes lack, up to their predictions; yields lines about what is being made.

    What stands is not made again.

    Raises:
        RunFailed: at least one recipe failed, or another run makes it now; every other is finished first.
    """
    if ArenaData(runs.store).digest is None or runs.failed_blocking_checks(_keys("folds")):
        yield from runs.make("battles and folds", _keys("battles", "dropped", "folds"))
    yield from runs.make("recipes", _keys("recipe"))  # every time: they follow the code, and take no time
    if not ArenaData(runs.store).baselines_stand():
        yield from runs.make("baselines of Arena", _keys("baseline_eval"))
    failures, without = [], set()
    for model in dict.fromkeys(recipe.model for recipe in recipes):
        try:
            yield from runs.make_models([model])
        except RunFailed as error:
            failures.append(str(error))
            without.add(model)
    recipes = [recipe for recipe in recipes if recipe.model not in without]
    for base in dict.fromkeys(recipe.base for recipe in recipes):
        if not ArenaData(runs.store).base_stands(base):
            try:
                yield from runs.make(f"{base}: predictions without adapter", _keys("base_eval"), base)
            except RunFailed as error:
                failures.append(str(error))
    for recipe in recipes:
        try:
            yield from _finish(runs, recipe)
        except RunFailed as error:
            failures.append(f"{recipe.name}: {error}")
    if failures:
        raise RunFailed("\n".join(failures))


def _finish(runs: Runs, recipe: ArenaRecipe) -> Iterator[str]:
    state = ArenaData(runs.store).state(recipe).state
    if state in ("missing", "stale"):
        _leave_it_to_another(runs, recipe)
        yield from runs.make(f"{recipe.name}: training", _keys("adapter", "curve"), recipe.name)
    if not ArenaData(runs.store).is_scored(recipe):
        yield from runs.make(f"{recipe.name}: predictions", _keys("finetuned_eval"), recipe.name)


def _leave_it_to_another(runs: Runs, recipe: ArenaRecipe) -> None:
    """A Dagster elsewhere waits for a run that makes the same; here, two processes would train the same adapter."""
    if not isinstance(runs, Launcher):
        return
    for run in runs.in_flight():
        if ("arena", "adapter") in run.assets and run.tags.get(PARTITION) == recipe.name:
            raise RunFailed(f"{run} trains it now; wait for it, or end it in `prefassets ui`")


def compare(launcher: Launcher) -> None:
    """Judge every predictor that stands, write the page, and publish warehouse.duckdb."""
    from prefassets.definitions import COMPARED, defs

    selection = (COMPARED | dg.AssetSelection.groups("warehouse")).resolve(defs.resolve_asset_graph())
    launcher.run("what predicts winners, the page and warehouse.duckdb", sorted(selection))


def _keys(*names: str) -> list[dg.AssetKey]:
    return [dg.AssetKey(["arena", name]) for name in names]
