"""One run of the demo, short, shared by every test that needs a finished home."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

import prefassets.cli  # noqa: F401  without it, DuckDB beside torch ends a test run with forty lines about nothing
from prefassets.resources.store import Store
from prefassets_tests import small_home
from prefassets_tests.loopback import fork_server
from prefassets_tests.loopback.object_storage import object_storage, storage  # noqa: F401  fixtures

SMALL = "0.1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files in such an order that two processes end together.

    The first makes the demo's home, which others wait for: meanwhile the other process has what knows of no home. Files
    whose tests work on a home take longest, so they are not left for the end. Of the cluster's, the two stories do.
    """

    def files_with(*fixtures: str) -> list[Path]:
        return [item.path for item in items if {*fixtures} & set(getattr(item, "fixturenames", ()))]

    making, on_a_home = files_with("demo_home")[:1], files_with("demo_home", "empty_home", "small_folder")
    stories = [path for path in files_with("story") if path.parent.name == "loopback"]

    def place(item: pytest.Item) -> int:
        if item.path in (*making, *stories):
            return 0
        if "domain" in item.path.parts:
            return 1
        return 2 if item.path in on_a_home else 3

    items.sort(key=place)


@dataclass(frozen=True)
class Home:
    """A home and the `prefassets` command on it."""

    folder: Path

    def run(self, *arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        return fork_server.run(self.command(*arguments), self.environment, timeout)

    def ok(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def rows(self, *arguments: str) -> list[dict[str, object]]:
        """What a command prints as JSON."""
        return json.loads(self.ok(*arguments, "--format", "json"))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "prefassets_tests.short_demo", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFASSETS_", "DAGSTER_"))}
        return kept | {"PREFASSETS_HOME": str(self.folder), "HF_HUB_OFFLINE": "1"}


def made_once(factory: pytest.TempPathFactory, worker: str, name: str, make: Callable[[Path], None]) -> Path:
    """The folder that `make` makes, once in a test run: whichever of its processes asks first; the others wait."""
    own = factory.getbasetemp()
    folder = (own if worker == "master" else own.parent) / name
    folder.mkdir(exist_ok=True)
    home, made = folder / "home", folder / "made"
    with FileLock(folder / "lock"):
        if not made.exists():
            make(home)
            made.touch()
    return home


@pytest.fixture(scope="session")
def demo_home(tmp_path_factory, worker_id) -> Home:
    """The demo at a tenth of PRISM's size, run once by the command that users run. Read-only: copy it."""

    def make(folder: Path) -> None:
        Home(folder).ok("demo", "--scale", SMALL)

    return Home(made_once(tmp_path_factory, worker_id, "demo", make))


@pytest.fixture
def copied_home(demo_home, tmp_path) -> Home:
    """A copy of the finished demo that a test may damage."""
    shutil.copytree(demo_home.folder, tmp_path / "home")
    return Home(tmp_path / "home")


@pytest.fixture
def empty_home(tmp_path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "home"
    small_home.make(str(folder))
    return folder


@pytest.fixture
def small_store(small_folder, tmp_path) -> Store:
    """A home of `small_home` that a test may train in and damage."""
    shutil.copytree(small_folder, tmp_path / "small")
    return Store(home=str(tmp_path / "small"))
