"""The command line: one command for each question that a researcher asks of a home."""

import atexit
import json
import os
import shutil
import sys
import textwrap
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import polars as pl
from rich.console import Console
from rich.table import Table

from prefassets.domain.preferences.measurement import Measurement
from prefassets.measurements import all_measurements
from prefassets.settings import settings
from prefassets.studies import all_studies
from prefassets.studies.study import Matching, Study

if TYPE_CHECKING:
    from prefassets.domain.preferences.thurstonian import Objective
    from prefassets.resources.cells import CellState
    from prefassets.resources.store import Store
    from prefassets.runs.here import Launcher
    from prefassets.runs.in_flight import Run
    from prefassets.runs.runs import Runs

DEMO_SCALE = 0.4


@atexit.register  # registered first, so it runs last: whatever has something to say has said it
def _end_quietly() -> None:
    """DuckDB 2.0 beside torch prints forty lines about "leaked" types while Python goes down; nothing is wrong."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


class StudyName(click.ParamType):
    """A study by its name."""

    name = "study"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Study:
        if isinstance(value, Study):
            return value
        if value not in all_studies():
            self.fail(f"there is no study {value!r}; there are {', '.join(all_studies())} (prefassets/studies/)")
        return all_studies()[value]


class MeasurementName(click.ParamType):
    """A measurement by its name."""

    name = "measurement"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Measurement:
        if isinstance(value, Measurement):
            return value
        if value not in all_measurements():
            self.fail(f"there is no measurement {value!r}; there are {', '.join(all_measurements())}")
        return all_measurements()[value]


class PageName(click.ParamType):
    """A study or a measurement by its name: either has a page."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "Study | Measurement":
        if isinstance(value, (Study, Measurement)):
            return value
        known: dict[str, Study | Measurement] = {**all_studies(), **all_measurements()}
        if value not in known:
            self.fail(f"there is no study or measurement {value!r}; there are {', '.join(known)}")
        return known[value]


class Kind(click.Group):
    """A group whose errors are one plain message: what is so, what was wanted, what to do."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if isinstance(error, (click.ClickException, click.Abort, click.exceptions.Exit)) or ctx.params.get("debug"):
                raise
            if isinstance(error, (ValueError, OSError, RuntimeError)):
                message = f"{type(error).__name__}: {error}"
            elif type(error).__name__ == "BinderException":  # DuckDB's, which is not imported for every command
                message = (
                    f"a table in {settings().home} was written by another version of prefassets, "
                    f"which knew other columns: {str(error).splitlines()[0]}. What a study needs is written again by "
                    f"`prefassets missing STUDY --stale --launch`; `make ui` shows every table."
                )
            else:
                raise
        raise click.ClickException(message)  # outside `except`: nothing of the failed call is kept alive until exit


@click.group(cls=Kind, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error.")
@click.version_option(package_name="prefassets")
def cli(debug: bool) -> None:
    """Human-preference experiments from raw data to verdicts.

    PREFASSETS_HOME says where everything is: a folder or s3://bucket/prefix (default: ./home).
    """


format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to print the rows.",
)


def show(rows: pl.DataFrame, form: str, title: str = "") -> None:
    """Print rows for a person (table) or a program (csv, json)."""
    if form == "json":
        click.echo(json.dumps(rows.to_dicts(), indent=1, default=str))
    elif form == "csv":
        flat = [
            pl.col(name).map_elements(_nested_text, return_dtype=pl.String)
            for name, dtype in rows.schema.items()
            if dtype.is_nested()
        ]
        click.echo(rows.with_columns(flat).write_csv(), nl=False)
    else:
        table = Table(title=title or None, title_justify="left", title_style="bold", header_style="bold")
        for name, dtype in rows.schema.items():
            table.add_column(name.replace("_", " "), justify="right" if dtype.is_numeric() else "left")
        for row in rows.iter_rows():
            table.add_row(*(_cell_text(value) for value in row))
        _print(table)


def _nested_text(value: Any) -> str:
    return json.dumps(value.to_list() if isinstance(value, pl.Series) else value, default=str)


def _cell_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.2f}" if value == 0 or abs(value) >= 0.1 else f"{value:.3g}"
    return str(value)


def _store() -> "Store":
    from prefassets.resources.store import Store

    return Store(home=settings().home)


def _home_in_use() -> "Store":
    """The store of a home that holds something.

    Raises:
        click.ClickException: nothing was ever made there.
    """
    store = _store()
    if store.pinned() is None:
        raise click.ClickException(
            f"{settings().home} holds nothing yet. `prefassets demo` fills it, or set PREFASSETS_HOME."
        )
    return store


def _launcher() -> "Launcher":
    from prefassets.runs.here import Launcher

    return Launcher()


def _say(line: str) -> None:
    click.echo(f"[{time.strftime('%H:%M:%S')}] {line}", err=True)


# ---- running


@cli.command()
@click.option(
    "--scale",
    type=click.FloatRange(0.05, 1),
    default=None,
    help=f"Share of PRISM's 1,500 users to make [default: {DEMO_SCALE}]",
)
@format_option
def demo(scale: float | None, form: str) -> None:
    """Run the demos: a study from raw data to its verdict table, and a measurement of what its tiny model prefers.

    Synthetic PRISM, 27 adapters; then choices between synthetic tasks, and ratings of them.
    """
    started = time.monotonic()
    store = _store()
    asked = scale if scale is not None else settings().scale
    if store.pinned() is None and asked is None:
        asked = DEMO_SCALE
    source = store.source(settings().prism, asked, settings().seed, settings().tasks)
    if source.prism == "synthetic":
        store.pin(source)
    study = all_studies()["demo"]
    _say(f"{source}, home {settings().home}")
    finish(study)
    measurement = all_measurements()["demo_tasks"]
    ask(measurement)
    _say(f"done in {time.monotonic() - started:.0f} s")
    print_verdicts(store, study, form)
    if form == "table":
        print_planted(store, study)
        print_preferences(store, measurement, form)
        click.echo('Ask more: prefassets sql "from verdicts.transfer"; look around: make ui', err=True)


def finish(study: Study, stale: bool = False, again: bool = True) -> None:
    """Make everything a study still lacks, here, and judge it; cells in flight in other runs too, if `again`."""
    from prefassets.resources.cells import unfinished

    launcher = _launcher()
    for line in launcher.prepare(study):
        _say(line)
    states = unfinished(launcher.store, study, stale)
    try:
        for line in launcher.train(study, states, again):
            _say(line)
    finally:
        _say("verdicts, pages and warehouse.duckdb")
        launcher.judge()


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
    """Print the cells of STUDY that have no finished adapter and margins, one `cohort|seed` a line.

    A cell that a queued or running run is about to finish is in flight: still missing, so it is printed, with its run
    beside it (lines: how many, on stderr), but --launch leaves it to that run.

    --launch trains on the Dagster that PREFASSETS_DAGSTER names, first whatever the cells need and the home lacks; it
    must write to the home that is read here. Else by the daemon of this machine's Dagster, if it runs; else right here.
    """
    from prefassets.resources.cells import unfinished

    states = unfinished(_store(), study, stale)
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

    _say(str(_store().source(settings().prism, settings().scale, settings().seed, settings().tasks)))
    runs: Runs
    if settings().dagster is not None:
        from prefassets.runs.elsewhere import DagsterElsewhere

        runs = elsewhere = DagsterElsewhere(settings())
        elsewhere.check(study)
    else:
        runs = here = _launcher()
        if not here.daemon_is_running():
            _say("no Dagster daemon watches this home: running here")
            finish(study, stale, again)
            return
    for line in runs.prepare(study):
        _say(line)
    for line in runs.queue(study, unfinished(runs.store, study, stale), again):
        _say(line)
    _say(runs.afterwards())


@cli.command()
@click.argument("measurement", type=MeasurementName())
@click.option("--list", "listed", is_flag=True, help="Only print its configurations, and which are finished.")
@format_option
def measure(measurement: Measurement, listed: bool, form: str) -> None:
    """Ask a model what MEASUREMENT asks, and print how far its preferences can be believed.

    Nothing that was answered is asked again: a measurement that was stopped goes on, one that is finished is printed.
    A model at an endpoint is reached by OPENAI_BASE_URL and OPENAI_API_KEY.
    """
    from prefassets.resources.measuring import MeasurementData

    if listed:
        states = MeasurementData(_store(), measurement).states()
        rows = [(state.configuration.name, state.state, state.reason) for state in states]
        show(pl.DataFrame(rows, ["configuration", "state", "reason"], orient="row"), form)
        return
    ask(measurement)
    print_preferences(_store(), measurement, form)


def ask(measurement: Measurement) -> None:
    """Ask whatever a measurement lacks, here, and judge how far its answers can be believed."""
    from prefassets.runs import measuring
    from prefassets.runs.runs import RunFailed

    launcher = _launcher()
    failed = None
    try:
        for line in measuring.measure(launcher, measurement):
            _say(line)
    except RunFailed as error:  # what is finished is judged all the same
        failed = error
    _say("what models prefer, pages and warehouse.duckdb")
    try:
        measuring.believe(launcher)
    except RunFailed as error:
        raise failed or error from None
    if failed is not None:
        raise failed


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def ui(options: tuple[str, ...]) -> None:
    """Start Dagster's web server and daemon on this home; OPTIONS go to `dagster dev` (e.g. --port 3001).

    With PREFASSETS_DAGSTER set, print that address instead: two daemons on one home would both judge it.
    """
    from prefassets.runs.here import prepare_dagster_home

    if settings().dagster is not None:
        click.echo(settings().dagster)
        click.echo("PREFASSETS_DAGSTER is set, so nothing is started here: the runs of this home are there", err=True)
        return
    prepare_dagster_home(settings())
    dagster = Path(sys.executable).with_name("dagster")
    os.execv(dagster, [str(dagster), "dev", "-m", "prefassets.definitions", *options])


# ---- asking


@cli.command()
@click.argument("study", type=StudyName())
@click.option("--measure", is_flag=True, help="Take a few training steps here first, of a pack and of one cell alone.")
@format_option
def plan(study: Study, measure: bool, form: str) -> None:
    """Print what STUDY will train, how long that takes, and how many cells it shares with other studies.

    Times are by the rate of cells that this home has trained with the same base model, device by device: a CPU's rate
    says nothing about a GPU. With --measure they are by a few steps taken here and now, of which nothing is kept.
    """
    from prefassets.resources.cells import shared_cells
    from prefassets.resources.plan import StudyPlan

    planned = StudyPlan(_store(), study, settings())
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
        *((f"  {state}", str(states.count(state))) for state in ("finished", "missing", "unscored", "stale")),
        *(
            (f"  shared with {name}", f"{count}: trained once, adopted there")
            for name, count in shared_cells(study, list(all_studies().values())).items()
        ),
        *costs,
        *((f"deviation {number}", text) for number, text in enumerate(study.deviations, start=1)),
    ]
    show(pl.DataFrame(rows, ["plan", study.name], orient="row"), form, f"{study.name}: {study.question}")


VERDICTS = """
    select
        verdict.split, verdict.expected, seeds_run, seeds_planned, state, finding, sentence, verdict.cautions,
        estimate_pp, verdict.lower_pp, verdict.upper_pp, verdict.p, verdict.p_adjusted, verdict.adjustment,
        verdict.p_equivalence, verdict.minimum_detectable_pp,
        interaction_pp, interaction_lower_pp, interaction_upper_pp, interaction_p, exposure_ratio,
        gate_warnings, reported_rule, reported_rule_tail,
        variant_of, change, change_pp, change.lower_pp as change_lower_pp, change.upper_pp as change_upper_pp,
        change.p_adjusted as change_p_adjusted, reading, change.cautions as change_cautions
    from verdicts.verdict
    left join verdicts.method_change as change
        on change.study = verdict.study and change.split = verdict.split and readout = 'held_out'
    where verdict.study = $study
    order by list_position($splits, verdict.split)
"""
GATES = "select gate, state, withholds, explanation from verdicts.gate where study = $study order by gate"
CHANGES = """
    select
        split, expected, before_label, after_label, change, common_seeds, before_common_pp, after_common_pp,
        change_pp, lower_pp, upper_pp, p_adjusted,
        heterogeneity_a, heterogeneity_a_lower, heterogeneity_a_upper,
        heterogeneity_b, heterogeneity_b_lower, heterogeneity_b_upper, reading, cautions
    from verdicts.method_change
    where study = $study and readout = 'held_out'
    order by list_position($splits, split)
"""
CHANGE_COUNT = "select readout, sentence from verdicts.method_change_count where study = $study order by readout"


def print_verdicts(store: "Store", study: Study, form: str) -> None:
    """Print the verdicts of a study, as its cells stand now."""
    from prefassets.resources.cells import cell_states
    from prefassets.resources.estimates import connect_current

    tables = ["verdicts.verdict", "verdicts.gate", "verdicts.method_change", "verdicts.method_change_count"]
    with connect_current(store, tables) as connection:
        splits = {"study": study.name, "splits": list(study.expected)}
        rows = connection.sql(VERDICTS, params=splits).pl()
        changes = connection.sql(CHANGES, params=splits).pl()
        gates = connection.sql(GATES, params={"study": study.name}).pl()
        counts = connection.sql(CHANGE_COUNT, params={"study": study.name}).pl()
    if form == "table":
        _show_verdicts(rows, f"{study.name}: A - B on unseen users' pairs, percentage points; {store.pinned()}")
        if study.variant_of is not None:
            _show_changes(changes, counts, study)
        for gate, state, withholds, explanation in gates.iter_rows():
            kind = "withheld by gate" if withholds else "gate"
            click.echo(f"{kind} {gate}: {state}; {explanation}", err=True)
    else:
        show(rows, form)
    states = [state.state for state in cell_states(store, study)]
    if lacking := states.count("missing") + states.count("unscored"):
        click.echo(f"{lacking} of {len(states)} cells are missing: prefassets missing {study.name}", err=True)
    if stale := states.count("stale"):
        click.echo(f"{stale} of {len(states)} cells are stale: prefassets missing {study.name} --stale", err=True)


def _show_verdicts(rows: pl.DataFrame, title: str) -> None:
    """The verdicts as a table for people, then each in a sentence."""
    show(
        rows.select(
            "split",
            "expected",
            pl.format("{} of {}", "seeds_run", "seeds_planned").alias("seeds"),
            _with_interval(rows, "A - B [95 %]", "estimate_pp", "lower_pp", "upper_pp"),
            pl.col("p_adjusted").alias("adjusted p"),
            _with_interval(
                rows, "interaction [95 %]", "interaction_pp", "interaction_lower_pp", "interaction_upper_pp"
            ),
            "state",
            "finding",
            "reported_rule",
            pl.col("reported_rule_tail").alias("on the tail"),
        ),
        "table",
        title,
    )
    _say_of_each_split(rows, "sentence", "all splits")


def _show_changes(changes: pl.DataFrame, counts: pl.DataFrame, study: Study) -> None:
    """What the one thing that a study changes did, as a table, then each split's change in a sentence."""
    if changes.is_empty():
        _say_wrapped(
            f"Nothing to compare with yet: no split is judged in both {study.name} and {study.variant_of}. "
            f"`prefassets missing` with the name of either says what is not trained yet."
        )
        return
    show(
        changes.select(
            "split",
            "expected",
            pl.format("{} -> {}", "before_label", "after_label").alias("reported rule"),
            "change",
            pl.col("common_seeds").alias("seeds"),
            _with_interval(changes, "A - B before", "before_common_pp"),
            _with_interval(changes, "after", "after_common_pp"),
            _with_interval(changes, "change [95 %]", "change_pp", "lower_pp", "upper_pp"),
            pl.col("p_adjusted").alias("adjusted p"),
            *(
                _with_interval(
                    changes,
                    f"H of {group.upper()} [95 %]",
                    f"heterogeneity_{group}",
                    f"heterogeneity_{group}_lower",
                    f"heterogeneity_{group}_upper",
                    form=".2f",
                )
                for group in "ab"
            ),
        ),
        "table",
        f"What changed against {study.variant_of}: labels by each study's own seeds, A - B at the seeds of both, "
        "the change on the users of both too",
    )
    _say_of_each_split(changes, "reading", "all changes")
    for readout, sentence in counts.iter_rows():
        _say_wrapped(f"labels on the {readout.replace('_', '-')} readout: {sentence}")


def _say_of_each_split(rows: pl.DataFrame, sentence: str, everything: str) -> None:
    """Each split's sentence with its cautions; those that all splits have come once, of `everything`."""
    cautions = [set(filter(None, text.split("; "))) for text in rows["cautions"]]
    common = set.intersection(*cautions) if cautions else set()
    for split, said, own in zip(rows["split"], rows[sentence], cautions, strict=True):
        _say_wrapped(f"{split}: {said}" + "".join(f" Caution: {caution}." for caution in sorted(own - common)))
    for caution in sorted(common):
        _say_wrapped(f"{everything}: {caution}.")


def _with_interval(
    rows: pl.DataFrame, title: str, value: str, lower: str | None = None, upper: str | None = None, form: str = "+.1f"
) -> pl.Series:
    """A column of numbers as text, each with its interval where there is one."""
    texts = []
    for found, low, high in rows.select(value, low=lower or pl.lit(None), high=upper or pl.lit(None)).iter_rows():
        interval = "" if low is None or high is None else f" [{low:{form}}, {high:{form}}]"
        texts.append("" if found is None else f"{found:{form}}{interval}")
    return pl.Series(title, texts, pl.String)


def _say_wrapped(text: str) -> None:
    """One line for a program, or as many as a terminal's width asks for."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else len(text)
    click.echo(textwrap.fill(text, width, subsequent_indent="  "))


def _print(table: Table) -> None:
    width = None if sys.stdout.isatty() else 10_000
    Console(width=width, soft_wrap=width is not None).print(table)


def print_planted(store: "Store", study: Study) -> None:
    """Print what synthetic PRISM planted in the splits of a study; no verdict reads it."""
    with store.connect(["prism.planted_truth"]) as connection:
        rows = connection.sql(
            """
            select split, effect,
                any_value(round(value, 2)) filter (where quantity = 'contrast_pp') as contrast_pp,
                any_value(round(value, 2)) filter (where quantity = 'interaction_pp') as interaction_pp
            from prism.planted_truth
            where quantity in ('contrast_pp', 'interaction_pp') and list_contains($splits, split)
            group by split, effect order by list_position($splits, split)
            """,
            params={"splits": list(study.expected)},
        ).pl()
    if not rows.is_empty():
        show(rows, "table", "What was planted (the best that any adapter could show)")


@cli.command()
@click.argument("study", type=StudyName(), required=False)
@click.option(
    "--contrasts", type=click.Path(dir_okay=False, path_type=Path), help="A CSV file of contrasts measured anywhere."
)
@format_option
def verdicts(study: Study | None, contrasts: Path | None, form: str) -> None:
    """Print the verdict table of STUDY, or of the contrasts in a CSV file.

    The file has the columns study, split, seed, difference_pp (points, A - B) and expected (`A > B`, `A < B`, `A = B`
    or `exploratory`); it needs no home.
    """
    if (study is None) == (contrasts is None):
        raise click.UsageError("give a STUDY or --contrasts FILE.csv, one of them")
    if contrasts is not None:
        from prefassets.resources.contrasts import judge_contrasts

        show(judge_contrasts(contrasts), form)
    elif study is not None:
        print_verdicts(_home_in_use(), study, form)


@cli.command()
@click.argument("study", type=StudyName())
@click.option(
    "--effect", type=click.FloatRange(0.1, 50), default=5.0, show_default=True, help="Difference to be found, points."
)
@click.option(
    "--repetitions", type=click.IntRange(10), default=50, show_default=True, help="Simulated studies per design."
)
@click.option(
    "--design-effect",
    type=click.FloatRange(1, 20),
    default=None,
    help="Variance of a group's mean over that of independent pairs [default: as the study's own users are alike]",
)
@format_option
def power(study: Study, effect: float, repetitions: int, design_effect: float | None, form: str) -> None:
    """Print what STUDY can find as planned, and what more seeds or folds would, by simulation.

    Users' pairs are those of this home; how users, seeds and training samples spread is taken from the study's own
    scored cells, or where it has none yet from those of the study in this home that has most.

    \b
    minimum detectable  the true difference that four of five such studies find, whatever their other splits do
    found               share of simulated splits found with the right sign (Holm), and its 95 % interval
    found alone         the same at the level of Holm's first step, so whatever the other splits do
    covered             share of 95 % intervals that hold the true difference
    times the users     how many times the held-out users would find it in four of five; empty if no number would
    """
    from prefassets.resources.power import power_table

    assumed, rows = power_table(_home_in_use(), study, effect, repetitions, design_effect)
    for line in assumed:
        click.echo(line, err=True)
    show(rows, form, f"{study.name}: finding {effect:g} points at 5 % over its directional splits (Holm)")


@cli.command()
@click.argument("choices", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--objective",
    type=click.Choice(["map", "published"]),
    default="map",
    show_default=True,
    help="The most probable utilities, or the reports' fit exactly.",
)
@click.option(
    "--tau",
    type=click.FloatRange(0, min_open=True),
    default=None,
    help="Prior standard deviation of mu, for map [default: 4].",
)
@click.option(
    "--lambda",
    "penalty",
    type=click.FloatRange(0),
    default=None,
    help="Penalty on the sum of (log sigma)^2 [default: 3 for map, 1 for published]; inf makes every sigma 1.",
)
@click.option("--slot-bias", is_flag=True, help="Also fit, for map, how far slot A is preferred whatever stands there.")
@click.option("--refusals", is_flag=True, help="Also fit, for map, how refusing depends on the two tasks' utility.")
@click.option(
    "--tasks",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="A file of the tasks (column task_id, or a .txt) and their order [default: those of CHOICES, sorted].",
)
@format_option
def utilities(
    choices: Path,
    objective: "Objective",
    tau: float | None,
    penalty: float | None,
    slot_bias: bool,
    refusals: bool,
    tasks: Path | None,
    form: str,
) -> None:
    """Print the utility of each task that the answers in CHOICES (.yaml, .csv, .parquet, .jsonl) speak for.

    CHOICES has task_a (shown first), task_b and choice (a, b, refusal or unparseable) in each row; a YAML file is a
    list of such, or a mapping that holds one under `comparisons`. No home is needed. On stderr: the objective's value,
    the log-likelihood, whether the comparisons tie the tasks together, and what was left out.

    \b
    mu           utility: P(i is chosen over j) = Phi((mu_i - mu_j) / sqrt(sigma_i^2 + sigma_j^2))
    sigma        how much the task's utility varies from one comparison to the next
    se           standard error of mu (map)
    comparisons  answers that chose this task or the one beside it

    In the published objective the first task has mu 0, and a refusal counts as a win for slot B.
    """
    from prefassets.domain.preferences.comparisons import count_choices
    from prefassets.domain.preferences.connectivity import connectivity
    from prefassets.domain.preferences.thurstonian import PRIOR_SD, fit_utilities, said_of
    from prefassets.resources.choice_files import read_choices, read_tasks

    if objective == "published" and (tau is not None or slot_bias or refusals):
        raise click.UsageError("--tau, --slot-bias and --refusals are for --objective map; published has none of them")
    counted = count_choices(read_choices(choices), None if tasks is None else read_tasks(tasks))
    fit = fit_utilities(
        counted,
        objective,
        prior_sd=PRIOR_SD if tau is None else tau,
        penalty=penalty,
        slot_bias=slot_bias,
        refusals=refusals,
    )
    show(fit.utilities, form, f"{choices}: {objective}")
    won = counted.regardless_of_slots(refusals_as_b=objective == "published")
    for line in (*said_of(fit, counted), connectivity(won).sentence):
        click.echo(line, err=True)


def print_preferences(store: "Store", measurement: Measurement, form: str) -> None:
    """Print how far the choices of a measurement can be believed, then how positive its ratings are.

    For programs, the rows of choices; those of ratings where it asks for no choices.
    """
    from prefassets.resources.measuring import MeasurementData

    choices = store.query(
        "from preferences.reliability join (select measurement, configuration, state, sentence, cautions"
        " from preferences.reading) using (measurement, configuration) where measurement = $name",
        name=measurement.name,
    )
    ratings = store.query("from preferences.positivity where measurement = $name", name=measurement.name)
    of_whom = f"of {measurement.model}, {store.source().of_tasks}"
    if form != "table":
        show(choices if measurement.choice_configurations else ratings, form)
    elif measurement.choice_configurations:
        _show_choices(choices, f"{measurement.name}: choices {of_whom}")
    if form == "table" and measurement.rating_configurations:
        _show_ratings(ratings, f"{measurement.name}: ratings {of_whom}")
    states = MeasurementData(store, measurement).states()
    if unfinished := sum(state.state != "finished" for state in states):
        told = f"prefassets measure {measurement.name} --list"
        click.echo(f"{unfinished} of {len(states)} configurations are not finished: {told}", err=True)


def _show_choices(rows: pl.DataFrame, title: str) -> None:
    show(
        rows.select(
            "configuration",
            "answers",
            "chosen",
            "first_slot",
            "agreement",
            _with_interval(rows, "right [95 %]", "accuracy", "accuracy_lower", "accuracy_upper", ".2f"),
            _with_interval(rows, "beyond position, nats [95 %]", "gain", "gain_lower", "gain_upper", ".3f"),
            "cycle_rate",
            "null_rate",
            "expected_rate",
            "state",
        ),
        "table",
        title,
    )
    for name, sentence in rows.select("configuration", "sentence").iter_rows():
        _say_wrapped(f"{name}: {sentence}")


def _show_ratings(rows: pl.DataFrame, title: str) -> None:
    sides = ("positive", "middle", "negative")
    show(
        rows.select(
            "framing",
            "options",
            pl.col("when_asked").alias("asked"),
            pl.format("{} of {}", "valid", "asked").alias("answers"),
            *(
                _with_interval(rows, f"{side} [95 %]", f"{side}_share", f"{side}_lower", f"{side}_upper", ".2f")
                for side in sides
            ),
        ),
        "table",
        title,
    )


@cli.command()
@click.argument("query")
@format_option
def sql(query: str, form: str) -> None:
    """Run one read-only QUERY over every table, always current: `prefassets sql "from verdicts.contrast"`."""
    import duckdb

    from prefassets.resources.estimates import connect_current

    with connect_current(_home_in_use()) as connection:
        try:
            statements = connection.extract_statements(query)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise click.UsageError("one SELECT (or SHOW, DESCRIBE, SUMMARIZE) was wanted; nothing here writes")
            show(connection.sql(query).pl(), form)
        except duckdb.Error as error:
            raise click.ClickException(str(error)) from error


@cli.command()
@click.argument("name", type=PageName())
def report(name: Study | Measurement) -> None:
    """Write the page of the study or measurement NAME, one HTML file, as things stand now; print where."""
    from prefassets.resources import measurement_reports, reports
    from prefassets.resources.estimates import connect_current

    store = _home_in_use()
    if isinstance(name, Study):
        with connect_current(store, reports.READS) as connection:
            path, states = reports.write_page(store, name, connection)
        parts = "cells"
    else:
        with store.connect(measurement_reports.READS, current=True) as connection:
            path, states = measurement_reports.write_page(store, name, connection)
        parts = "configurations"
    click.echo(path)
    if path != str(copy := store.local_file(reports.page_name(name.name))):
        click.echo(f"a copy to open here: {copy}", err=True)
    planned = sum(states.values())
    if unfinished := planned - states.get("finished", 0):
        click.echo(f"{unfinished} of {planned} {parts} are not finished; the page says which", err=True)


@cli.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--with-adapters", is_flag=True, help="Also the adapters' files, as blobs, in training.adapter_files.")
def export(file: Path, with_adapters: bool) -> None:
    """Write every table into FILE, a DuckDB database that needs nothing else. Replaces an existing FILE whole."""
    from prefassets.resources.warehouse import export_to

    rows = export_to(_home_in_use(), file, with_adapters)
    click.echo(f"{file}: {len(rows)} tables, {sum(rows.values()):,} rows")


@cli.command()
@format_option
def doctor(form: str) -> None:
    """Print what is installed, what the home holds, and what is missing or left over.

    With PREFASSETS_DAGSTER set, also whether runs can be launched there, on this home and with these recipes.
    """
    from prefassets.resources.doctor import examine

    findings = examine(settings())
    if settings().dagster is not None:
        from prefassets.runs.elsewhere import DagsterElsewhere

        findings += DagsterElsewhere(settings()).findings()
    rows = [asdict(finding) for finding in findings]
    show(pl.DataFrame(rows), form)
    if any(row["state"] == "wrong" for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    cli()
