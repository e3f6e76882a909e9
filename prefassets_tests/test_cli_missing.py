"""What `missing` promises of cells that are missing, failed or stale, on a home that the demo really made."""

import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from prefassets.resources.store import Store
from prefassets_tests.conftest import Home
from prefassets_tests.short_demo import STEPS

CELL, STALE = "artifacts/demo/age.A/seed-123", "artifacts/demo/age.B/seed-123"


def weights(home):
    """Digest and time of writing of every adapter."""
    records = sorted(Path(home.folder).glob("artifacts/demo/*/*/record.json"))
    files = {str(record.parent.relative_to(home.folder)): file_of(record.parent) for record in records}
    return {cell: (hash(file.read_bytes()), file.stat().st_mtime_ns) for cell, file in files.items()}


def file_of(cell):
    """The weights of the result that a cell's record names."""
    return cell / json.loads((cell / "record.json").read_text())["result"] / "adapter_model.safetensors"


def test_the_demo_finishes_every_cell_and_missing_prints_nothing(demo_home):
    assert demo_home.ok("missing", "demo", "--stale") == ""
    assert len(weights(demo_home)) == 27


@dataclass(frozen=True)
class Repaired:
    """A home with a deleted, a stale and an unscored cell: what commands said of it, and one launch that repairs it."""

    home: Home
    before: dict[str, tuple[int, int]]
    deleted_weights: dict[str, np.ndarray]
    said: dict[str, str]
    launched: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def repaired(demo_home, tmp_path_factory) -> Repaired:
    folder = tmp_path_factory.mktemp("repaired") / "home"
    shutil.copytree(demo_home.folder, folder)
    home = Home(folder)
    before, deleted_weights = weights(home), load_file(file_of(folder / CELL))

    (folder / CELL / "record.json").unlink()
    record = folder / STALE / "record.json"
    told = json.loads(record.read_text())
    told["recipe"]["hyperparameters"]["steps"] = 3
    record.write_text(json.dumps(told))
    store = Store(home=str(folder))
    rows_of_cell = store.query("from training.margins where study = 'demo' and cohort = 'region.A' and seed = 123")
    store.replace("training.margins", rows_of_cell.head(5), ("demo", "region.A", "123", "0"))

    said = {
        "missing": home.ok("missing", "demo"),
        "with stale": home.ok("missing", "demo", "--stale", "--format", "json"),
        "doctor": home.ok("doctor"),
        "stale in sql": home.ok("sql", "select cell from training.states where state = 'stale'", "--format", "json"),
    }
    judged = home.run("verdicts", "demo", "--format", "json")
    said |= {"verdicts": judged.stdout, "beside verdicts": judged.stderr}
    return Repaired(home, before, deleted_weights, said, home.run("missing", "demo", "--stale", "--launch"))


def test_a_deleted_cell_is_missing_hides_nowhere_and_launch_restores_exactly_it(repaired):
    assert repaired.said["missing"].splitlines() == ["age.A|123", "region.A|123"]
    assert "1 missing" in repaired.said["doctor"]

    assert repaired.launched.returncode == 0, repaired.launched.stderr
    assert repaired.launched.stdout.splitlines() == ["age.A|123", "age.B|123", "region.A|123"]
    assert "3 cells of demo: training 2, scoring 3" in repaired.launched.stderr
    assert repaired.home.ok("missing", "demo", "--stale") == ""

    after = weights(repaired.home)
    assert {cell for cell in after if repaired.before[cell] != after[cell]} == {CELL, STALE}
    now = load_file(file_of(repaired.home.folder / CELL))
    for name, weight in now.items():  # in a smaller pack than before: the same up to rounding
        assert abs(weight - repaired.deleted_weights[name]).max() < 1e-4, name


def test_verdicts_stand_on_the_seeds_that_exist_and_say_so(copied_home):
    (copied_home.folder / CELL / "record.json").unlink()
    copied_home.ok("missing", "demo", "--format", "csv")
    verdicts = {row["split"]: row for row in copied_home.rows("verdicts", "demo")}
    assert (verdicts["age"]["seeds_run"], verdicts["region"]["seeds_run"]) == (2, 3)
    assert "2 of 3 planned seeds" in verdicts["age"]["cautions"]
    assert verdicts["age"]["estimate_pp"] is not None, "estimated anew from the seeds that are left, before any run"
    assert "1 of 27 cells are not finished" in copied_home.run("verdicts", "demo").stderr


def test_a_stale_cell_is_shown_with_the_field_that_differs_and_trained_again(repaired):
    assert "age.B|123" not in repaired.said["missing"]
    (stale,) = (row for row in json.loads(repaired.said["with stale"]) if row["state"] == "stale")
    assert stale["cell"] == "age.B|123"
    assert stale["reason"] == f"hyperparameters.steps: 3 -> {STEPS}"
    assert "1 of 27 cells are stale" in repaired.said["beside verdicts"]
    (told,) = (row["cautions"] for row in json.loads(repaired.said["verdicts"]) if row["split"] == "age")
    assert "1 of 6 adapters are stale" in told
    assert json.loads(repaired.said["stale in sql"]) == [{"cell": "age.B|123"}]

    assert weights(repaired.home)[STALE][1] > repaired.before[STALE][1]
    record = json.loads((repaired.home.folder / STALE / "record.json").read_text())
    assert record["recipe"]["hyperparameters"]["steps"] == STEPS


def test_margins_of_another_held_out_set_are_scored_again_without_training(repaired):
    (found,) = (row for row in json.loads(repaired.said["with stale"]) if row["state"] == "unscored")
    assert (found["cell"], found["reason"]) == ("region.A|123", "margins are of other held-out pairs than today's")
    cell = "artifacts/demo/region.A/seed-123"
    assert weights(repaired.home)[cell] == repaired.before[cell], "not even written again"
    cells = "select distinct cohort, count(*) as n from training.margins where seed = 123 and cohort like 'region.%'"
    a, b = repaired.home.rows("sql", f"{cells} group by cohort order by cohort")
    assert a["n"] == b["n"] > 5


@pytest.mark.slow
def test_a_study_that_repeats_another_says_what_changed_seed_for_seed_and_says_so_before_it_has_run(copied_home):
    before = copied_home.ok("verdicts", "wpo_demo")
    assert "Nothing to compare with yet: no split is judged in both wpo_demo and demo." in before
    assert "`prefassets missing` with the name of either" in before
    copied_home.ok("missing", "wpo_demo", "--launch")
    printed = copied_home.ok("verdicts", "wpo_demo")
    assert "What changed against demo: labels by each study's own seeds, A - B at the seeds of both" in printed
    assert "all changes: no placebo splits: spread over training users is not in the interval." in printed
    assert "labels on the held-out readout: " in printed
    assert "labels on the tail readout: " in printed
    for row in copied_home.rows("verdicts", "wpo_demo"):
        assert row["variant_of"] == "demo"
        assert f"{row['split']}: {row['reading']}" in printed
        assert row["change_lower_pp"] < row["change_pp"] < row["change_upper_pp"]
    one = "select distinct common_seeds as seeds from verdicts.method_change where study = 'wpo_demo'"
    assert copied_home.rows("sql", one) == [{"seeds": 3}]
    page = (copied_home.folder / "reports/wpo_demo.html").read_text()
    assert "What changed against demo?" in page
    assert page.count('id="weight') >= 4, "the four figures of the weights"


@pytest.mark.slow
def test_a_killed_run_loses_at_most_the_cells_in_training(copied_home):
    deleted = ["personalisation.A", "personalisation.B"]
    for cohort in deleted:
        for seed in (42, 123, 456):
            (copied_home.folder / f"artifacts/demo/{cohort}/seed-{seed}/record.json").unlink()
    first = copied_home.folder / "artifacts/demo/personalisation.A/seed-42/record.json"

    process = subprocess.Popen(
        copied_home.command("missing", "demo", "--launch"),
        env=copied_home.environment | {"PREFASSETS_CELLS_PER_PACK": "2"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not first.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    left = {row["cell"]: row["state"] for row in copied_home.rows("missing", "demo")}
    assert 0 < len(left) <= 6
    assert left.get("personalisation.A|42") != "missing", "it was trained before the kill"
    trained_before = weights(copied_home)["artifacts/demo/personalisation.A/seed-42"]
    copied_home.ok("missing", "demo", "--launch")
    assert copied_home.ok("missing", "demo", "--stale") == ""
    assert weights(copied_home)["artifacts/demo/personalisation.A/seed-42"] == trained_before
