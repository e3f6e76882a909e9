"""What a pod that failed left missing is finished from a laptop, in a home in which the study's other cells stand."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from prefassets.resources.store import Store
from prefassets_tests.conftest import Home
from prefassets_tests.deployments.chart import NAMESPACE
from prefassets_tests.loopback.short_study import STUDY
from prefassets_tests.loopback.story import (  # noqa: F401  fixtures
    OTHERS,
    Story,
    begun,
    here,
    prepared_home,
    trained_home,
)

pytestmark = pytest.mark.k8s


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, trained_home: Home) -> Iterator[Story]:  # noqa: F811
    with begun(tmp_path_factory.mktemp("missing"), trained_home) as story:
        yield story


@pytest.fixture(scope="module")
def all_trained_here(
    tmp_path_factory: pytest.TempPathFactory,
    trained_home: Home,  # noqa: F811
) -> Iterator[Callable[[], Store]]:
    """A home on a laptop in which the other cells were trained too."""
    home = Home(tmp_path_factory.mktemp("laptop") / "home")
    shutil.copytree(trained_home.folder, home.folder)
    training = here(home, " ".join(OTHERS))

    def trained() -> Store:
        assert training.wait(300) == 0
        return Store(home=str(home.folder))

    yield trained
    training.kill()


def test_cells_that_a_failed_pod_left_missing_are_finished_by_one_command(
    story: Story, all_trained_here: Callable[[], Store]
) -> None:
    """The pod dies at each of its tries; then two runs of the same cells, at once."""
    assert sorted(story.laptop.missing()) == sorted(OTHERS)
    known = story.known()
    story.laptop.run("missing", "demo", "--launch")
    run, killed = story.new_run(known, **{"prefassets/home": story.laptop.home}), []
    for _ in range(3):
        killed.append(story.pod(run, but=killed))
        story.dagster.cluster.kill(NAMESPACE, killed[-1])
    assert story.ended(run) == "FAILURE"
    assert f"its pod {killed[-1]} on node gpu-1 ended with exit code 137" in story.dagster.told(run)
    assert sorted(story.laptop.missing()) == sorted(OTHERS)

    known = story.known()
    first = story.laptop.run("missing", "demo", "--launch")
    one = story.new_run(known, **{"prefassets/home": story.laptop.home})
    assert f"run {one[:8]} is queued: {len(OTHERS)} cells of demo" in first.stderr
    with story.dagster.cluster.paused(NAMESPACE, story.pod(one)):  # else it may have ended before the other begins
        in_flight = f"of {len(OTHERS)} cells {len(OTHERS)} are in flight: run {one[:8]}"
        assert in_flight in story.laptop.run("missing", "demo").stderr
        story.laptop.run("missing", "demo", "--launch", "--again")
        two = story.new_run({*known, one}, **{"prefassets/home": story.laptop.home})
    assert [story.ended(one), story.ended(two)] == ["SUCCESS", "SUCCESS"]
    assert story.laptop.missing() == []
    for table in ("training.cells", "training.adapters"):
        cells = f"select count(*), count(distinct (cohort, seed)) from {table} where study = 'demo'"
        assert story.store.query(cells).rows() == [(len(STUDY.cells), len(STUDY.cells))]
    twice = "select cohort, seed, pair_id from training.margins where study = 'demo' group by all having count(*) > 1"
    assert story.store.query(twice).is_empty()
    print([line for run in (one, two) for line in story.logs(run).splitlines() if "its result stands" in line][:3])


def test_margins_and_verdicts_are_those_of_a_laptop(story: Story, all_trained_here: Callable[[], Store]) -> None:
    """What was missing is in the same pack on both; `test_backfill.py` compares cells of other packs."""
    story.settled()
    story.is_as_on(all_trained_here())


PAGE = Path("deployments/README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("prefassets ")])
def test_the_owner_s_page_is_true_on_the_laptop(story: Story, command: str) -> None:
    done = story.laptop.run(*shlex.split(command)[1:])
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("kubectl") and " get " in line])
def test_the_owner_s_page_is_true_in_the_cluster(story: Story, tmp_path: Path, command: str) -> None:
    environment = os.environ | {"KUBECONFIG": str(story.dagster.server.kubeconfig(tmp_path / "config"))}
    done = subprocess.run(shlex.split(command), env=environment, capture_output=True, text=True, timeout=60, check=True)
    for pod in ("code", "daemon", "webserver"):
        assert re.search(rf"^(pod/)?{pod}\s", done.stdout, flags=re.MULTILINE)
