"""Progress of long work: a bar where a person watches a terminal, nothing in a log file."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_terminal: TextIO | None = None


def keep_terminal() -> None:
    """Let bars go on to where stderr goes now: while Dagster runs a step, it sends stderr to a file."""
    global _terminal
    if _terminal is None:
        _terminal = os.fdopen(os.dup(2), "w")


@contextmanager
def progress_bar(description: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """Yields a function that is told how much is done, and of how much, where `total` did not say it."""
    console = Console(file=_terminal or sys.stderr)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(description, total=total)
        yield lambda done, of=None: progress.update(task, completed=done, total=total if of is None else of)
