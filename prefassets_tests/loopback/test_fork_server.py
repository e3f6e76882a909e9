"""A container that is forked is as one that is started: its environment, its files, its Python, its end."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from prefassets_tests.loopback import fork_server
from prefassets_tests.loopback.cluster import image_environment
from prefassets_tests.loopback.fork_server import MORE, Forked
from prefassets_tests.loopback.kubelet import ContainerProcess

LOADS = ["dagster", "asset", "list", "--python-file", "loaded.py"]  # a command of Dagster's that runs a file of ours
READ_ON_IMPORT = {"DAGSTER_RUN_QUEUE_PAGE_SIZE": "7"}  # so a container that has it is not forked
SAYS = """
import atexit, json, os, signal, sys
from kubernetes.config import incluster_config
from dagster_k8s import utils

atexit.register(print, "at exit")
numbers = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
print(json.dumps({
    "environment": dict(os.environ),
    "arguments": [*sys.argv, *sys.orig_argv[1:]],
    "main": [vars(sys.modules["__main__"])[name] for name in ("__name__", "__file__", "__spec__")],
    "path": [os.path.realpath(folder) for folder in sys.path],
    "folder": os.getcwd(),
    "input": sys.stdin.read(),
    "output": [sys.stdout.write_through, sys.stdout.encoding, sys.stdout.errors, sys.stderr.errors],
    "own session and group": os.getpid() == os.getsid(0) == os.getpgid(0),
    "signals": {number: str(signal.getsignal(number)) for number in numbers},
    "blocked": list(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "files": [os.readlink(f"/proc/self/fd/{file}").split(":")[0] for file in range(3)],
    "open": len(os.listdir("/proc/self/fd")),
    "service account": [incluster_config.SERVICE_TOKEN_FILENAME, str(utils.detect_current_namespace.__defaults__[0])],
    "prefassets": sorted(name for name in sys.modules if name.startswith("prefassets")),
}))
"""


def start(folder: Path, script: str, **environment: str) -> tuple[ContainerProcess, list[int]]:
    """A container that runs `script` in a file that Dagster loads; and its exit code, once it has ended."""
    (folder / "loaded.py").write_text(script)
    ended: list[int] = []
    made = {**image_environment(), "HOME": str(folder), "LOOPBACK_ROOT": str(folder), **environment}
    return ContainerProcess(LOADS, made, folder, ended.append), ended


def said(process: ContainerProcess) -> list[str]:
    assert process.join(60)
    return [line for _, line in process.lines]


def wait_until_it_says(process: ContainerProcess, text: str) -> None:
    with process.said:
        assert process.said.wait_for(lambda: text in [line for _, line in process.lines], 60)


def test_it_finds_what_one_that_is_started_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFASSETS_HOME", "of the test")
    found = []
    for more in ({}, READ_ON_IMPORT):
        process, _ = start(tmp_path, SAYS, COLOUR="blue", **more)
        assert isinstance(process._process, Forked) == (not more)
        line, last = [line for line in said(process) if line.startswith(("{", "at"))]
        assert last == "at exit"
        found.append(json.loads(line))
    forked, started = found
    assert started["environment"].pop(*READ_ON_IMPORT)
    assert "PREFASSETS_HOME" not in forked["environment"]
    assert forked == started


def test_two_of_them_share_nothing(tmp_path: Path) -> None:
    script = "import os; print(os.environ['N'], os.environ.get('M', 'nothing')); os.environ['M'] = 'changed'"
    for number in "12":
        process, _ = start(tmp_path, script, N=number)
        assert f"{number} nothing" in said(process)


@pytest.mark.parametrize("more", [{}, READ_ON_IMPORT], ids=["forked", "started"])
@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("import os; os._exit(0)", 0),
        ("import sys; sys.exit(7)", 7),
        ("raise KeyboardInterrupt", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 128 + signal.SIGSEGV),
    ],
)
def test_it_ends_with_the_same_code(tmp_path: Path, script: str, code: int, more: dict[str, str]) -> None:
    process, ended = start(tmp_path, script, **more)
    said(process)
    assert ended == [code]


FAMILY = """
import os, signal, subprocess, time
subprocess.Popen(["sleep", "600"])
signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
print("ready", flush=True)
while True:
    time.sleep(600)
"""


def test_when_it_is_killed_its_children_are_too_but_not_when_it_is_asked_to_end(tmp_path: Path) -> None:
    process, ended = start(tmp_path, FAMILY)
    assert isinstance(process._process, Forked)
    wait_until_it_says(process, "ready")
    first = psutil.Process(process._process.pid)
    family = [first, *first.children()]
    process.terminate()
    wait_until_it_says(process, "asked")
    assert [member.is_running() for member in family] == [True, True]
    process.signal(signal.SIGKILL)
    assert process.join(10)
    assert ended == [128 + signal.SIGKILL]
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    process.terminate()  # by now the number may be another process's


def test_what_an_image_names_is_imported_before(tmp_path: Path) -> None:
    script = "import sys; print('numpy' in sys.modules)"
    for more, told in (({}, "False"), ({MORE: "numpy"}, "True")):
        process, _ = start(tmp_path, script, **more)
        assert isinstance(process._process, Forked)
        assert told in said(process)


TELLS = """
import json, os, sys
print(json.dumps([sys.argv[1:], sys.orig_argv[1:], sys.path, os.getcwd(), sys.stdin.read(), __name__, __spec__.name]))
print("heard", file=sys.stderr)
sys.exit(3)
"""


def test_a_command_says_what_one_that_is_started_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tells.py").write_text(TELLS)
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-m", "tells", "--all"]
    environment = {**os.environ, "PREFASSETS_HOME": "of this one"}
    forked = fork_server.run(command, environment, 60)
    other = {"PREFASSETS_HOME": "of another", "PYTEST_CURRENT_TEST": "another", "AWS_ACCESS_KEY_ID": "some"}
    servers = [*fork_server._of_commands]
    fork_server.run(command, environment | other, 60)
    assert fork_server._of_commands == servers, "one server for all commands"
    started = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (forked.returncode, forked.stderr) == (started.returncode, started.stderr) == (3, "heard\n")
    assert json.loads(forked.stdout) == json.loads(started.stdout)


def test_a_command_that_takes_too_long_is_killed_and_what_it_printed_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "waits.py").write_text("import time; print('ready', flush=True); time.sleep(60)")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(subprocess.TimeoutExpired) as found:
        fork_server.run([sys.executable, "-m", "waits"], os.environ, 2)
    assert found.value.output == "ready\n"


def test_nothing_of_ours_is_imported_before(tmp_path: Path) -> None:
    """It would have seen the environment of no pod, or of the first."""
    process, _ = start(tmp_path, "import sys; print([name for name in sys.modules if name.startswith('prefassets')])")
    assert "[]" in said(process)
