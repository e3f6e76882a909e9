"""Rows and sentences for a person, or for another program."""

import json
import shutil
import sys
import textwrap
import time
from typing import Any

import click
import polars as pl
from rich.console import Console
from rich.table import Table


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
        print_table(table)


def _nested_text(value: Any) -> str:
    return json.dumps(value.to_list() if isinstance(value, pl.Series) else value, default=str)


def _cell_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.2f}" if value == 0 or abs(value) >= 0.1 else f"{value:.3g}"
    return str(value)


def print_table(table: Table) -> None:
    width = None if sys.stdout.isatty() else 10_000
    Console(width=width, soft_wrap=width is not None).print(table)


def with_interval(
    rows: pl.DataFrame, title: str, value: str, lower: str | None = None, upper: str | None = None, form: str = "+.1f"
) -> pl.Series:
    """A column of numbers as text, each with its interval where there is one."""
    texts = []
    for found, low, high in rows.select(value, low=lower or pl.lit(None), high=upper or pl.lit(None)).iter_rows():
        interval = "" if low is None or high is None else f" [{low:{form}}, {high:{form}}]"
        texts.append("" if found is None else f"{found:{form}}{interval}")
    return pl.Series(title, texts, pl.String)


def say_of_each(rows: pl.DataFrame, name: str, sentence: str, everything: str) -> None:
    """The sentence of each row with its name and its cautions; those that all have come once, of `everything`."""
    cautions = [set(filter(None, text.split("; "))) for text in rows["cautions"]]
    common = set.intersection(*cautions) if cautions else set()
    for named, said, own in zip(rows[name], rows[sentence], cautions, strict=True):
        say_wrapped(f"{named}: {said}" + "".join(f" Caution: {caution}." for caution in sorted(own - common)))
    for caution in sorted(common):
        say_wrapped(f"{everything}: {caution}.")


def say_wrapped(text: str) -> None:
    """One line for a program, or as many as a terminal's width asks for."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else len(text)
    click.echo(textwrap.fill(text, width, subsequent_indent="  "))


def say(line: str) -> None:
    click.echo(f"[{time.strftime('%H:%M:%S')}] {line}", err=True)
