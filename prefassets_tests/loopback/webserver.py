"""A real `dagster-webserver` on loopback, on a Dagster home of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import requests

SETTINGS = """
telemetry: {{enabled: false}}
run_coordinator:
  module: prefassets_tests.loopback.coordinator
  class: AssetsAtOnce
storage:
  sqlite: {{base_dir: {folder}/storage}}
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def make_dagster_home(folder: Path) -> Path:
    """A Dagster home that queues cells for a daemon that is not there, and runs assets at once."""
    folder.mkdir(parents=True)
    (folder / "dagster.yaml").write_text(SETTINGS.format(folder=folder))
    return folder


@contextmanager
def webserver(
    dagster_home: Path, *workspace: str, path: str = "", environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """The address of a web server with this workspace (`-m some.module`, `-w workspace.yaml`), until the block ends.

    With `path`, it serves everything under that, as behind a proxy.
    """
    port = free_port()
    command = [str(Path(sys.executable).with_name("dagster-webserver")), "-p", str(port), "-h", "127.0.0.1", *workspace]
    if path:
        command += ["--path-prefix", path]
    here = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "DAGSTER_HOME": str(dagster_home)}
    log = dagster_home / "webserver.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **(environment or {}), **here}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        address = f"http://127.0.0.1:{port}{path}"
        _wait_for(address, process, log)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.get(f"{address}/server_info", timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.1)
    raise RuntimeError(f"{address} did not come up:\n{log.read_text()}")
