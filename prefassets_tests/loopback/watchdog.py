"""What this process started ends with it, however it ends: a second process waits at a pipe, and then cleans up.

A test run that is killed can do nothing any more, pods and PostgreSQL have sessions of their own, and a death signal
(`PR_SET_PDEATHSIG`) comes when the starting thread ends and is lost when a server makes itself a daemon.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

_one_line_at_a_time = threading.Lock()


@contextmanager
def ends_with_us(
    process_group: int | None = None, process: int | None = None, folder: Path | None = None
) -> Iterator[None]:
    """Should this process die within the block: kill a process group, stop PostgreSQL (SIGQUIT), remove a folder."""
    what = {"group": process_group, "process": process, "folder": None if folder is None else str(folder)}
    _tell("watch", what)
    try:
        yield
    finally:
        _tell("forget", what)


def _tell(word: str, what: dict[str, object]) -> None:
    with _one_line_at_a_time:
        _pipe(os.getpid()).write(json.dumps([word, what]) + "\n")


@cache
def _pipe(owner: int) -> IO[str]:
    """The pipe to this process's watchdog; nobody else holds this end, so it closes when this process ends."""
    watchdog = subprocess.Popen(
        [sys.executable, "-S", __file__], stdin=subprocess.PIPE, text=True, bufsize=1, start_new_session=True
    )
    assert watchdog.stdin
    return watchdog.stdin


def _watch() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    left: list[dict[str, object]] = []
    for line in sys.stdin:
        word, what = json.loads(line)
        if word == "watch":
            left.append(what)
        elif what in left:
            left.remove(what)
    for what in reversed(left):
        _end(what)


def _end(what: dict[str, object]) -> None:
    group, process, folder = what["group"], what["process"], what["folder"]
    try:
        if group:
            os.killpg(int(str(group)), signal.SIGKILL)
        if process:
            os.kill(int(str(process)), signal.SIGQUIT)
    except ProcessLookupError:
        pass
    if folder:
        shutil.rmtree(str(folder), ignore_errors=True)


if __name__ == "__main__":
    _watch()
