"""Arena: finetuning what predicts the winners of battles, what it is worth, and predicting new battles."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import polars as pl

from prefassets.arena_recipes import all_recipes
from prefassets.cli.arguments import RecipeName, format_option
from prefassets.cli.demo import demo_source
from prefassets.cli.group import Kind, cli
from prefassets.cli.home import home_in_use, open_store
from prefassets.cli.printing import say, say_of_each, show, with_interval
from prefassets.domain.arena.recipe import ArenaRecipe
from prefassets.settings import settings

if TYPE_CHECKING:
    from prefassets.resources.store import Store
    from prefassets.runs.runs import Runs


@cli.group(cls=Kind)
def arena() -> None:
    """Predict which of two answers a person prefers: finetune by recipe, compare with baselines, predict new battles.

    Battles come from PREFASSETS_ARENA: synthetic, hub (Chatbot Arena 55k), or a file like its train.csv.
    """


@arena.command("list")
@format_option
def list_recipes(form: str) -> None:
    """Print every recipe, what it is to find out, and whether this home has it trained and scored."""
    from prefassets.resources.arena import ArenaData, changes

    rows = [
        (state.recipe.name, state.recipe.model, changes(state.recipe), state.recipe.question, state.state, state.reason)
        for state in ArenaData(open_store()).states()
    ]
    names = ["recipe", "model", "changes", "question", "state", "reason"]
    show(pl.DataFrame(rows, dict.fromkeys(names, pl.String), orient="row"), form)


@arena.command()
@click.argument("recipes", nargs=-1, required=True, type=RecipeName())
@format_option
def run(recipes: tuple[ArenaRecipe, ...], form: str) -> None:
    """Train and score whatever RECIPES lack, and print what they are worth beside baselines.

    What stands is not made again: a recipe that is finished is only printed. With PREFASSETS_DAGSTER set, it runs on
    the Dagster there.
    """
    if finish(recipes):
        print_comparison(open_store(), form)


@arena.command()
@format_option
def demo(form: str) -> None:
    """Run the recipes of the tiny model, from nothing to what they are worth.

    On synthetic battles, unless PREFASSETS_ARENA says otherwise.
    """
    started = time.monotonic()
    store = open_store()
    demo_source(store, "arena")
    judged = finish([recipe for recipe in all_recipes().values() if recipe.model == "tiny"])
    say(f"done in {time.monotonic() - started:.0f} s")
    if judged:
        print_comparison(store, form)


def finish(recipes: Sequence[ArenaRecipe]) -> bool:
    """Make whatever these recipes lack, and judge every predictor that stands.

    Returns:
        Whether they are judged: on a Dagster elsewhere that follows by itself.
    """
    from prefassets.runs.arena import compare, finetune_and_score
    from prefassets.runs.here import Launcher
    from prefassets.runs.runs import RunFailed

    say(f"{open_store().source(**settings().source).of_battles}, home {settings().home}")
    runs: Runs
    if settings().dagster is not None:
        from prefassets.runs.elsewhere import DagsterElsewhere

        runs = elsewhere = DagsterElsewhere(settings())
        elsewhere.check_recipes()
        for line in finetune_and_score(runs, recipes):
            say(line)
        say(elsewhere.afterwards())
        return False
    runs = launcher = Launcher()
    failed = None
    try:
        for line in finetune_and_score(runs, recipes):
            say(line)
    except RunFailed as error:  # what is finished is judged all the same
        failed = error
    say("what predicts winners, its page and warehouse.duckdb")
    try:
        compare(launcher)
    except RunFailed as error:
        raise failed or error from None
    if failed is not None:
        raise failed
    return True


@arena.command()
@format_option
def compare(form: str) -> None:
    """Print what every predictor of this home is worth on battles that none has seen, baselines beside models."""
    print_comparison(home_in_use(), form)


def print_comparison(store: "Store", form: str) -> None:
    """Print log loss and accuracy of every predictor with intervals, and what may be said of each model."""
    from prefassets.resources.estimates import connect_current

    with connect_current(store, ["arena.comparison", "arena.reading", "arena.states"]) as at:
        rows = at.sql(
            """
            pivot (from arena.comparison)
            on metric in ('log_loss', 'accuracy', 'calibration_error', 'swap_consistency')
            using any_value(estimate) as estimate, any_value(lower) as lower, any_value(upper) as upper
            group by predictor, orders, battles
            order by log_loss_estimate
            """
        ).pl()
        readings = at.sql("from arena.reading").pl()
        unfinished = at.sql("from arena.states where state not in ('finished', 'missing')").pl()
    if form != "table":
        show(rows, form)
        return
    show(
        rows.select(
            "predictor",
            "orders",
            with_interval(rows, "log loss, nats [95 %]", *_bounds("log_loss"), ".4f"),
            with_interval(rows, "accuracy [95 %]", *_bounds("accuracy"), ".3f"),
            with_interval(rows, "calibration error", *_bounds("calibration_error"), ".3f"),
            with_interval(rows, "same when swapped", *_bounds("swap_consistency"), ".2f"),
        ),
        "table",
        f"Who wins {rows['battles'].max() or 0:,} held-out battles; {store.source().of_battles}",
    )
    say_of_each(readings, "predictor", "sentence", "all models")
    for name, state, reason in unfinished.select("recipe", "state", "reason").iter_rows():
        click.echo(f"{name} is {state}: {reason}", err=True)


def _bounds(metric: str) -> tuple[str, str, str]:
    return f"{metric}_estimate", f"{metric}_lower", f"{metric}_upper"


@arena.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--recipe", type=RecipeName(), required=True, help="Whose adapter predicts.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="A .csv or .parquet for the predictions.")
@format_option
def predict(file: Path, recipe: ArenaRecipe, out: Path | None, form: str) -> None:
    """Print how likely each winner of the battles in FILE is, by the trained adapter of a recipe.

    FILE is csv, parquet or jsonl with id, prompt, response_a and response_b, as Chatbot Arena's test.csv; texts are
    JSON lists, one per turn. Answers are shown in both orders, and the probabilities are the mean of both. What is no
    battle is counted, on stderr.
    """
    from prefassets.domain.arena.battles import unjudged_battles
    from prefassets.domain.arena.digits import predict_battles
    from prefassets.domain.arena.finetune import with_adapter
    from prefassets.domain.arena.released_battles import read_battles
    from prefassets.resources.arena import ArenaData
    from prefassets.resources.arena_tables import arena_artifact
    from prefassets.resources.progress import progress_bar

    if out is not None and out.suffix not in (".csv", ".parquet"):
        raise click.UsageError(f"--out {out}: a .csv or .parquet was wanted")
    data = ArenaData(home_in_use())
    state = data.state(recipe)
    if state.state == "missing":
        raise click.ClickException(f"recipe {recipe.name} is not trained here: prefassets arena run {recipe.name}")
    if state.state == "stale":
        raise click.ClickException(
            f"the adapter of {recipe.name} is stale ({state.reason}), and would be asked otherwise than it was "
            f"trained: prefassets arena run {recipe.name} trains it anew"
        )
    usable = unjudged_battles(read_battles(file))
    for reason, rows, examples in usable.dropped.iter_rows():
        click.echo(f"left out, {reason}: {rows}, e.g. {'; '.join(examples)}", err=True)
    model = with_adapter(data.load(recipe, recipe.quantised), data.store.files(arena_artifact(recipe.name)))
    with progress_bar(f"{recipe.name}: battles", len(usable.battles)) as on_battle:
        found = predict_battles(model, recipe.name, recipe.prompt, recipe.max_tokens, usable.battles, on_battle)
    rows = found.select(
        "battle",
        *((pl.col(name) + pl.col(f"{name}_swapped")).truediv(2).alias(name) for name in ("a", "b", "tie")),
        "left_out",
    )
    if out is None:
        show(rows, form, f"{file}: {recipe.name}")
    elif out.suffix == ".csv":
        rows.write_csv(out)
    else:
        rows.write_parquet(out)
