"""What a model prefers: asking it, and how far to believe its answers."""

from typing import TYPE_CHECKING

import click
import polars as pl

from prefassets.cli.arguments import MeasurementName, format_option
from prefassets.cli.group import cli
from prefassets.cli.home import open_store
from prefassets.cli.printing import say, say_wrapped, show, with_interval
from prefassets.domain.preferences.measurement import Measurement

if TYPE_CHECKING:
    from prefassets.resources.store import Store


@cli.command()
@click.argument("measurement", type=MeasurementName())
@click.option(
    "--list", "listed", is_flag=True, help="Only print its configurations and activations, and which are finished."
)
@format_option
def measure(measurement: Measurement, listed: bool, form: str) -> None:
    """Ask a model what MEASUREMENT asks, read its activations, and print how far its preferences can be believed.

    Nothing that was answered is asked again: a measurement that was stopped goes on, one that is finished is printed.
    A model at an endpoint is reached by OPENAI_BASE_URL and OPENAI_API_KEY.
    """
    from prefassets.resources.activations import activations_state
    from prefassets.resources.measuring import MeasurementData

    if listed:
        states = MeasurementData(open_store(), measurement).states()
        rows = [(state.configuration.name, str(state.state), state.reason) for state in states]
        if measurement.activations is not None:
            rows.append(("activations", *activations_state(open_store(), measurement)))
        show(pl.DataFrame(rows, ["configuration", "state", "reason"], orient="row"), form)
        return
    ask(measurement)
    print_preferences(open_store(), measurement, form)


def ask(measurement: Measurement) -> None:
    """Ask whatever a measurement lacks, here, and judge how far its answers can be believed."""
    from prefassets.runs import measuring
    from prefassets.runs.here import Launcher
    from prefassets.runs.runs import RunFailed

    launcher = Launcher()
    failed = None
    try:
        for line in measuring.measure(launcher, measurement):
            say(line)
    except RunFailed as error:  # what is finished is judged all the same
        failed = error
    say("what models prefer, pages and warehouse.duckdb")
    try:
        measuring.believe(launcher)
    except RunFailed as error:
        raise failed or error from None
    if failed is not None:
        raise failed


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
            with_interval(rows, "right [95 %]", "accuracy", "accuracy_lower", "accuracy_upper", ".2f"),
            with_interval(rows, "beyond position, nats [95 %]", "gain", "gain_lower", "gain_upper", ".3f"),
            "cycle_rate",
            "null_rate",
            "expected_rate",
            "state",
        ),
        "table",
        title,
    )
    for name, sentence in rows.select("configuration", "sentence").iter_rows():
        say_wrapped(f"{name}: {sentence}")


def _show_ratings(rows: pl.DataFrame, title: str) -> None:
    sides = ("positive", "middle", "negative")
    show(
        rows.select(
            "framing",
            "options",
            pl.col("when_asked").alias("asked"),
            pl.format("{} of {}", "valid", "asked").alias("answers"),
            *(
                with_interval(rows, f"{side} [95 %]", f"{side}_share", f"{side}_lower", f"{side}_upper", ".2f")
                for side in sides
            ),
        ),
        "table",
        title,
    )
