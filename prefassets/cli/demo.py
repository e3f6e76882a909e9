"""The demos, from nothing to what they found."""

import time
from typing import TYPE_CHECKING

import click

from prefassets.cli.arguments import format_option
from prefassets.cli.group import cli
from prefassets.cli.home import open_store
from prefassets.cli.measurements import ask, print_preferences
from prefassets.cli.printing import say, show
from prefassets.cli.training import finish
from prefassets.cli.verdicts import print_verdicts
from prefassets.measurements import all_measurements
from prefassets.settings import settings
from prefassets.studies import all_studies
from prefassets.studies.study import Study

if TYPE_CHECKING:
    from prefassets.resources.store import DataSource, Store

DEMO_SCALE = 0.4


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
    store = open_store()
    source = demo_source(store, "prism", scale)
    study = all_studies()["demo"]
    say(f"{source}, home {settings().home}")
    finish(study)
    measurement = all_measurements()["demo_tasks"]
    ask(measurement)
    say(f"done in {time.monotonic() - started:.0f} s")
    print_verdicts(store, study, form)
    if form == "table":
        print_planted(store, study)
        print_preferences(store, measurement, form)
        click.echo('Ask more: prefassets sql "from verdicts.transfer"; look around: make ui', err=True)


def demo_source(store: "Store", of: str, scale: float | None = None) -> "DataSource":
    """What a demo's home is made of: less than all, if it is new and nothing else is asked for.

    Args:
        of: prism or arena. If that is synthetic, the home is pinned; any other is once it could be read.
    """
    asked = scale if scale is not None else settings().scale
    if store.pinned() is None and asked is None:
        asked = DEMO_SCALE
    source = store.source(**settings().source | {"scale": asked})
    if getattr(source, of) == "synthetic":
        store.pin(source)
    return source


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
