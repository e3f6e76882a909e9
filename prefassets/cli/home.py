"""The home: how it is opened, and the commands that look into it, whatever it holds."""

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
import polars as pl

from prefassets.cli.arguments import Page, PageName, format_option
from prefassets.cli.group import cli
from prefassets.cli.printing import show
from prefassets.domain.preferences.measurement import Measurement
from prefassets.settings import settings
from prefassets.studies.study import Study

if TYPE_CHECKING:
    from prefassets.resources.store import Store


def open_store() -> "Store":
    from prefassets.resources.store import Store

    return Store(home=settings().home)


def home_in_use() -> "Store":
    """The store of a home that holds something.

    Raises:
        click.ClickException: nothing was ever made there.
    """
    store = open_store()
    if store.pinned() is None:
        raise click.ClickException(
            f"{settings().home} holds nothing yet. `prefassets demo` fills it, or set PREFASSETS_HOME."
        )
    return store


@cli.command()
@click.argument("query")
@format_option
def sql(query: str, form: str) -> None:
    """Run one read-only QUERY over every table, always current: `prefassets sql "from verdicts.contrast"`."""
    import duckdb

    from prefassets.resources.estimates import connect_current

    with connect_current(home_in_use()) as connection:
        try:
            statements = connection.extract_statements(query)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise click.UsageError("one SELECT (or SHOW, DESCRIBE, SUMMARIZE) was wanted; nothing here writes")
            show(connection.sql(query).pl(), form)
        except duckdb.Error as error:
            raise click.ClickException(str(error)) from error


@cli.command()
@click.argument("name", type=PageName())
def report(name: Page) -> None:
    """Write the page of the study or measurement NAME, or of `arena`, as things stand now; print where it is."""
    from prefassets.resources import arena_reports, measurement_reports, reports
    from prefassets.resources.estimates import connect_current

    store = home_in_use()
    if isinstance(name, Study):
        with connect_current(store, reports.READS) as connection:
            path, states = reports.write_page(store, name, connection)
        called, parts = name.name, "cells"
    elif isinstance(name, Measurement):
        with store.connect(measurement_reports.READS, current=True) as connection:
            path, states = measurement_reports.write_page(store, name, connection)
        called, parts = name.name, "configurations"
    else:
        with connect_current(store, arena_reports.READS) as connection:
            path, states = arena_reports.write_page(store, connection)
        called, parts = arena_reports.NAME, "recipes"
    click.echo(path)
    if path != str(copy := store.local_file(reports.page_name(called))):
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

    rows = export_to(home_in_use(), file, with_adapters)
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
