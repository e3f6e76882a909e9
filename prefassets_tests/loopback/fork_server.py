"""Containers and commands of tests are forked from a process that has imported what they import.

The cluster's tests start a hundred pods, other tests two hundred commands, and each would spend two seconds of a
processor on the same imports; where models are trained or asked, ten.

A forked container has its own session, environment, folder, output and end, as one that is started. What it cannot have
is an import that saw its environment. So nothing of prefassets is imported before, nothing that starts threads, and a
container that gives another value to a variable that those imports read, or that Python itself reads as it starts, is
not forked. Nor is one that runs anything but Dagster. What differs: all containers of a test run order sets of strings
alike (one hash seed), and `ps` shows the server's command line.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

SCRIPTS = ("dagster", "dagster-daemon", "dagster-webserver")
IMPORTED = ("dagster._cli", "dagster._daemon.cli", "dagster_webserver.cli", "dagster_postgres", "dagster_k8s.executor")
MORE = "FORK_SERVER_IMPORTS"  # in an environment: what its server imports beside Dagster
# What training, scoring and judging import, as far as it starts no threads.
TRAINING = ("peft", "transformers.models.qwen2.modeling_qwen2", "scipy.stats", "scipy.optimize", "matplotlib.pyplot")
# Read by imports for where things would be fetched to and compiled, which no pod of a test does, and for a person's own
# Python packages and settings of Google's cloud, which no pod has.
ANY_WILL_DO = {"HOME", "TMPDIR", "HF_HOME", "TORCHINDUCTOR_CACHE_DIR", "MPLCONFIGDIR"}
_one_at_a_time = threading.Lock()


class Forked:
    """A container's first process: what is used of `subprocess.Popen`."""

    def __init__(self, pid: int, told: IO[str]) -> None:
        self.pid, self._told = pid, told
        self.returncode: int | None = None

    def wait(self) -> int:
        """Its exit code, or a signal's number below zero; to be asked once."""
        with self._told:
            self.returncode = int(self._told.readline() or -signal.SIGKILL)  # nothing, if who holds it was killed
        return self.returncode

    def terminate(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGTERM)


class ForkServer:
    """One process that containers are forked from, with the variables that Python reads as it starts."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._control, there = socket.socketpair()
        with there:
            self._process = subprocess.Popen(
                [sys.executable, __file__], env=dict(variables), stdin=there, start_new_session=True
            )
        self._read: list[str] | None = None

    def suits(self, environment: Mapping[str, str]) -> bool:
        """Whether a container with this environment would have imported just the same."""
        with _one_at_a_time:
            if self._read is None:
                self._read = json.loads(_line(self._control.makefile()))
        return all(environment.get(name) == self._variables.get(name) for name in self._read)

    def fork(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path, output: int, errors: int
    ) -> Forked:
        """Start a command that prints to the file descriptors `output` and `errors`."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            with _one_at_a_time:
                socket.send_fds(self._control, [b"."], [theirs.fileno(), output, errors])
            channel = ours.makefile("rw")
        channel.write(json.dumps([list(command), dict(environment), str(folder)]) + "\n")
        channel.flush()
        return Forked(int(_line(channel)), channel)


def _line(told: IO[str]) -> str:
    """What the server tells next.

    Raises:
        ChildProcessError: nothing will come.
    """
    if line := told.readline():
        return line
    raise ChildProcessError("the fork server, or what it started, has ended; its own output says why")


@cache
def _server(variables: tuple[tuple[str, str], ...]) -> ForkServer:
    return ForkServer(dict(variables))


def server_for(environment: Mapping[str, str]) -> ForkServer:
    """The server of this process for Pythons that start with this environment; its own imports go on meanwhile."""
    kept = ("PATH", "LANG", "USER", MORE)
    names = sorted(name for name in environment if name in kept or name.startswith("PYTHON"))
    with _one_at_a_time:
        return _server(tuple((name, environment[name]) for name in names if name != "PYTHONPATH"))


def forked(command: Sequence[str], environment: Mapping[str, str], folder: Path, output: int) -> Forked | None:
    """Start a container by forking, if it can be."""
    script = shutil.which(command[0], path=environment.get("PATH"))
    if command[0] not in SCRIPTS or script != str(Path(sys.executable).with_name(command[0])):
        return None
    server = server_for(environment)
    if not server.suits(environment):
        return None
    return server.fork([script, *command[1:]], environment, folder, output, output)


def run(command: Sequence[str], environment: Mapping[str, str], seconds: float) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run` would capture of `python -m MODULE ...`, forked from a server of this test process.

    Raises:
        TimeoutExpired: it has not ended within so many seconds, and was killed.
    """
    server = _server_of_commands(environment)
    with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
        process = server.fork(command, environment, Path.cwd(), output.fileno(), errors.fileno())
        waiting = threading.Thread(target=process.wait, daemon=True)
        waiting.start()
        waiting.join(seconds)
        if late := waiting.is_alive():
            os.killpg(process.pid, signal.SIGKILL)
            waiting.join()
        printed, said = (file.seek(0) or file.read() for file in (output, errors))
    if late:
        raise subprocess.TimeoutExpired(command, seconds, printed, said)
    return subprocess.CompletedProcess(command, process.returncode or 0, printed, said)


_of_commands: list[ForkServer] = []
_OF_A_TEST = ("PREFASSETS_", "PYTEST_", "PYTHONPATH")  # no import reads them, and a forked command has them


def _server_of_commands(environment: Mapping[str, str]) -> ForkServer:
    """One that would have imported just the same with this environment; nearly always the first that was made."""
    shared = {name: value for name, value in environment.items() if not name.startswith(_OF_A_TEST)}
    shared[MORE] = " ".join(TRAINING)
    for server in _of_commands:
        if server.suits(shared):
            return server
    _of_commands.append(ForkServer(shared))
    return _of_commands[-1]


# In the server.


def _variables_read() -> list[str]:
    """Import what is to be imported; the names of the variables that were read meanwhile."""
    read: set[str] = set()

    class Noting(os._Environ):
        def __getitem__(self, name: str) -> str:
            read.add(name)
            return super().__getitem__(name)

    usual = type(os.environ)
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # else numpy starts threads as it is imported
    os.environ.__class__ = Noting
    for name in [*IMPORTED, *os.environ.get(MORE, "").split()]:
        importlib.import_module(name)
    os.environ.__class__ = usual
    return sorted(read - ANY_WILL_DO)


def _serve(control: socket.socket) -> list[str]:
    """Fork containers until the test run has gone. Returns in each container, with the command that it is to run."""
    control.sendall((json.dumps(_variables_read()) + "\n").encode())
    assert len(os.listdir("/proc/self/task")) == 1, "a process with threads cannot be forked"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.freeze()
    while True:
        asked, (*descriptors,), _, _ = socket.recv_fds(control, 1, 3)
        if not asked:
            sys.exit()
        if os.fork() == 0:
            control.close()
            with socket.socket(fileno=descriptors[0]) as channel:
                return _hold(channel.makefile("rw"), descriptors[1:])
        for descriptor in descriptors:
            os.close(descriptor)


def _hold(channel: IO[str], outputs: Sequence[int]) -> list[str]:
    """Fork one container, and tell how it ended, as the shim of a container runtime does."""
    command, environment, folder = json.loads(channel.readline())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    container = os.fork()
    if container == 0:
        os.setsid()
        channel.write(f"{os.getpid()}\n")
        channel.close()
        return _become(command, environment, folder, outputs)
    for output in outputs:
        os.close(output)
    _, status = os.waitpid(container, 0)
    with contextlib.suppress(BrokenPipeError):  # the test run has gone
        channel.write(f"{os.waitstatus_to_exitcode(status)}\n")
        channel.flush()
    os._exit(0)


def _become(command: list[str], environment: dict[str, str], folder: str, outputs: Sequence[int]) -> list[str]:
    """Be as a Python that was started by `command` in this environment."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for standard, output in zip((1, 2), outputs, strict=True):
        os.dup2(output, standard)
        os.close(output)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    of_module = command[1:2] == ["-m"]
    sys.argv, sys.orig_argv = (command[2:], command) if of_module else (command, [sys.executable, *command])
    asked = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    first = folder if of_module else str(Path(command[0]).parent)
    sys.path[:] = dict.fromkeys([first, *asked, *sys.path])  # as `site` does: none twice
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module("sitecustomize")
    return command


if __name__ == "__main__":
    del sys.path[0]  # here, `kubernetes` would be the loopback server
    program, *arguments = _serve(socket.socket(fileno=0))
    if arguments[:1] == ["-m"]:
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(program, run_name="__main__")
