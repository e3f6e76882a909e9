"""The command that all others are part of."""

import atexit
import os
from typing import Any

import click

from prefassets.settings import settings


@atexit.register  # registered first, so it runs last: whatever has something to say has said it
def _end_quietly() -> None:
    """DuckDB 2.0 beside torch prints forty lines about "leaked" types while Python goes down; nothing is wrong."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


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
