"""The cells of a study: which are missing, what they take, and training them."""

from typing import TYPE_CHECKING, get_args

import click
import polars as pl

from prefassets.cli.arguments import StudyName, format_option
from prefassets.cli.group import cli
from prefassets.cli.home import open_store
from prefassets.cli.printing import say, show
from prefassets.settings import settings
from prefassets.studies import all_studies
from prefassets.studies.study import Matching, Study

if TYPE_CHECKING:
    from prefassets.resources.cells import CellState
    from prefassets.runs.in_flight import Run
    from prefassets.runs.runs import Runs


@cli.command()
@click.argument("study", type=StudyName())
@click.option("--measure", is_flag=True, help="Take a few training steps here first, of a pack and of one cell alone.")
@format_option
def plan(study: Study, measure: bool, form: str) -> None:
    """Print what STUDY will train, how long that takes, and how many cells it shares with other studies.

    Times are by the rate of cells that this home has trained with the same base model, device by device: a CPU's rate
    says nothing about a GPU. With --measure they are by a few steps taken here and now, of which nothing is kept.
    """
    from prefassets.resources.cells import State, shared_cells
    from prefassets.resources.plan import StudyPlan

    planned = StudyPlan(open_store(), study, settings())
    states = [state for _, state in planned.states]
    costs = planned.rows(planned.measure() if measure else None)
    rows = [
        ("base model", study.base_model),
        (
            "method",
            f"{study.method}, {study.hyperparameters.steps:,} steps of {study.hyperparameters.batch_size} pairs",
        ),
        ("splits", ", ".join(f"{split} ({expected.value})" for split, expected in study.expected.items())),
        *([("variant of", study.variant_of)] if study.variant_of else []),
        ("groups", study.matching.value if study.matching is Matching.NONE else f"matched: {study.matching.value}"),
        ("seeds", ", ".join(study.seed_keys)),
        ("cells", f"{len(study.cells)} = {len(study.cohorts)} cohorts x {len(study.seed_keys)} seeds"),
        *((f"  {state}", str(states.count(state))) for state in get_args(State)),
        *(
            (f"  shared with {name}", f"{count}: trained once, adopted there")
            for name, count in shared_cells(study, list(all_studies().values())).items()
        ),
        *costs,
        *((f"deviation {number}", text) for number, text in enumerate(study.deviations, start=1)),
    ]
    show(pl.DataFrame(rows, ["plan", study.name], orient="row"), form, f"{study.name}: {study.question}")


@cli.command()
@click.argument("study", type=StudyName())
@click.option("--stale", is_flag=True, help="Also cells that were trained by another recipe than the study now says.")
@click.option("--launch", is_flag=True, help="Train exactly these cells, but for those in flight.")
@click.option("--again", is_flag=True, help="With --launch: also cells in flight, as when a run hangs.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["lines", "table", "csv", "json"]),
    default="lines",
    show_default=True,
    help="How to print the cells; all but lines say why.",
)
def missing(study: Study, stale: bool, launch: bool, again: bool, form: str) -> None:
    """Print the cells of STUDY without adapter, margins or the activations it wants, one `cohort|seed` a line.

    A cell that a queued or running run is about to finish is in flight: still missing, so it is printed, with its run
    beside it (lines: how many, on stderr), but --launch leaves it to that run.

    --launch trains on the Dagster that PREFASSETS_DAGSTER names, first whatever the cells need and the home lacks; it
    must write to the home that is read here. Else by the daemon of this machine's Dagster, if it runs; else right here.
    """
    from prefassets.resources.cells import unfinished

    states = unfinished(open_store(), study, stale)
    in_flight = _in_flight(study, states, needed=launch) if states else {}
    _print_missing(states, in_flight, form)
    if not launch or not states:
        return
    if len(in_flight) == len(states) and not again:
        click.echo("nothing is launched: --again would launch them a second time", err=True)
        if settings().dagster is None:
            click.echo("queued runs start while `prefassets ui` runs", err=True)
        return
    _launch(study, stale, again)


def _in_flight(study: Study, states: list["CellState"], needed: bool) -> dict[str, "Run"]:
    """Which of these cells are in flight, by key. That Dagster cannot be asked is an error only if it is `needed`."""
    from prefassets.runs.in_flight import cells_in_flight

    if settings().dagster is None:
        from prefassets.runs.here import runs_here

        return cells_in_flight(study, states, runs_here(settings()))
    from prefassets.runs.elsewhere import DagsterElsewhere
    from prefassets.runs.graphql import DagsterNotReached

    try:
        return cells_in_flight(study, states, DagsterElsewhere(settings()).in_flight())
    except DagsterNotReached as error:
        if needed:
            raise
        click.echo(f"which cells are in flight is not known: {error}", err=True)
        return {}


def _print_missing(states: list["CellState"], in_flight: dict[str, "Run"], form: str) -> None:
    if form == "lines":
        if states:
            click.echo("\n".join(state.cell.key for state in states))
    else:
        columns = {"cell": pl.String, "state": pl.String, "reason": pl.String}
        reasons = [
            f"{state.reason}; in flight in {run}" if (run := in_flight.get(state.cell.key)) else state.reason
            for state in states
        ]
        rows = [(state.cell.key, state.state, reason) for state, reason in zip(states, reasons, strict=True)]
        show(pl.DataFrame(rows, columns, orient="row"), form)
    if in_flight:
        from prefassets.runs.in_flight import told

        click.echo(f"of {len(states)} cells {told(in_flight)}", err=True)


def _launch(study: Study, stale: bool, again: bool) -> None:
    """Train the unfinished cells of a study: elsewhere, by the daemon, or in this process."""
    from prefassets.resources.cells import unfinished

    say(str(open_store().source(**settings().source)))
    runs: Runs
    if settings().dagster is not None:
        from prefassets.runs.elsewhere import DagsterElsewhere

        runs = elsewhere = DagsterElsewhere(settings())
        elsewhere.check(study)
    else:
        from prefassets.runs.here import Launcher

        runs = here = Launcher()
        if not here.daemon_is_running():
            say("no Dagster daemon watches this home: running here")
            finish(study, stale, again)
            return
    for line in runs.prepare(study):
        say(line)
    for line in runs.queue(study, unfinished(runs.store, study, stale), again):
        say(line)
    say(runs.afterwards())


def finish(study: Study, stale: bool = False, again: bool = True) -> None:
    """Make everything a study still lacks, here, and judge it; cells in flight in other runs too, if `again`."""
    from prefassets.resources.cells import unfinished
    from prefassets.runs.here import Launcher

    launcher = Launcher()
    for line in launcher.prepare(study):
        say(line)
    states = unfinished(launcher.store, study, stale)
    try:
        for line in launcher.train(study, states, again):
            say(line)
    finally:
        say("verdicts, pages and warehouse.duckdb")
        launcher.judge()
