"""A test run that is killed leaves nothing behind."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

LEAVES = '''
import sys
from pathlib import Path
from prefassets_tests.loopback.client import job
from prefassets_tests.loopback.cluster import Cluster
from prefassets_tests.loopback.postgres import postgres

folder = Path(sys.argv[1])
(folder / "loaded.py").write_text(f"""
import pathlib, subprocess
with subprocess.Popen(["sleep", "600"]):
    pathlib.Path({str(folder)!r}, "asleep").touch()
""")
with postgres() as database:
    cluster = Cluster(folder / "pods")
    cluster.create("jobs", "default", job("stays", "sleep 600 & sleep 600"))
    forked = ["dagster", "asset", "list", "--python-file", str(folder / "loaded.py")]
    cluster.create("jobs", "default", job("forked", "", command=forked))
    cluster.wait((folder / "asleep").exists, 60)
    print(database.port, flush=True)
    cluster.wait(lambda: False, 60)
'''


def test_pods_and_database_end_with_a_killed_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LEAVES, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        port = process.stdout.readline().strip()
        server = next(found for found in psutil.process_iter() if {"-p", port} <= set(_words(found)))
        left = [server, *server.children(), *psutil.Process(process.pid).children(recursive=True)]
        assert [_words(found)[-1] for found in left].count("600") == 3
        folder = Path(server.cwd())
        process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(left, timeout=10)
    assert alive == []
    until = time.monotonic() + 5
    while folder.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not folder.exists()


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline() or [""]
    except psutil.Error:
        return [""]
