"""Exactly the missing cells are launched, in as few runs as they fit; nothing is built on rows that failed a check."""

import json
import subprocess
import sys

import duckdb

from prefassets_tests.short_demo import ON_POLICY_PROMPTS

LAUNCHED = """
import json
from prefassets.runs.here import Launcher, RunFailed
from prefassets.resources.cells import CellState
from prefassets.studies import all_studies

study = all_studies()["demo"]
states = [CellState(cell, "missing") for cell in study.cells[::4]]
launcher = Launcher()
lines = []
try:
    lines += launcher.train(study, states)
except RunFailed as error:
    print(json.dumps(str(error)))
runs = launcher.instance.get_runs()
print(json.dumps([run.job_name for run in runs]))
listed = lambda run: run.run_config["ops"]["train_and_score_demo"]["config"]["cells"]
print(json.dumps([listed(run) for run in reversed(runs)]))
print(json.dumps([state.cell.key for state in states]))
(line,) = launcher.queue(study, states[:2])
(run,) = launcher.instance.get_runs(limit=1)
print(json.dumps([line, run.run_id, run.status.value, listed(run)]))
trained = []
for again in (False, True):
    said = []
    try:
        for line in launcher.train(study, states[:3], again):
            said.append(line)
    except RunFailed as error:
        (run,) = launcher.instance.get_runs(limit=1)
        trained.append([said, listed(run)])
print(json.dumps(trained))
"""


def test_seven_cells_at_three_a_run_are_three_lists_of_cells_and_a_run_that_fails_stops_no_other(empty_home):
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHED],
        env=empty_home.environment | {"PREFASSETS_CELLS_PER_JOB": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    error, jobs, listed, asked, queued, trained = map(json.loads, done.stdout.splitlines())
    assert all(f"{key}: cohort" in error for key in asked), "an empty home has no pairs to learn from"
    assert jobs == ["demo_cells"] * 3
    assert len(asked) == 7
    assert listed == [asked[:3], asked[3:6], asked[6:]]
    line, run_id, *waiting = queued
    assert line == f"run {run_id[:8]} is queued: 2 cells of demo: training 2, scoring 2, reading 2"
    assert waiting == ["QUEUED", asked[:2]], "for a daemon; here is none"
    (left, once), (_, twice) = trained
    assert left[0].startswith(f"of 3 cells 2 are in flight: run {run_id[:8]} (queued); left to them")
    assert once == [asked[2]], "what is queued is not trained beside it"
    assert twice == asked[:3], "unless that is wanted"


FAILING_FOLDS = """
from unittest.mock import patch
import dagster as dg, polars as pl
import prefassets_tests.short_demo
import prefassets.assets.prism as prism
from prefassets.runs.here import Launcher, RunFailed
from prefassets.studies import all_studies

launcher = Launcher()
folds = launcher.store.read("prism.folds")
with patch.object(prism, "user_folds", lambda *_, **__: pl.concat([folds, folds.head(1)])):
    try:
        launcher.run("folds", [dg.AssetKey(["prism", "folds"])])
    except RunFailed as error:
        print(error)
print(*launcher.prepare(all_studies()["demo"]), sep="\\n")
print(launcher.store.read("prism.folds").equals(folds))
"""


def test_rows_that_failed_a_blocking_check_are_made_again_and_never_built_upon(copied_home):
    done = subprocess.run(
        [sys.executable, "-c", FAILING_FOLDS], env=copied_home.environment, capture_output=True, text=True, check=True
    )
    assert "check no_user_is_on_both_sides_of_a_fold of prism/folds failed: {'users': ['user" in done.stdout
    assert "raw data, pairs, covariates, folds" in done.stdout
    assert done.stdout.splitlines()[-1] == "True"


WEIGHED = """
import json
from dataclasses import replace
import prefassets_tests.short_demo
from prefassets.runs.here import Launcher
from prefassets.studies import all_studies

launcher = Launcher()
study = all_studies()["demo"]
by_method = [study, replace(study, method="wpo"), replace(study, method="wpo")]
print(json.dumps([list(launcher.prepare(study)) for study in by_method]))
print(len(launcher.store.read("model.on_policy")))
"""


def test_a_method_that_weighs_gets_the_base_models_own_answers_once(copied_home):
    done = subprocess.run(
        [sys.executable, "-c", WEIGHED], env=copied_home.environment, capture_output=True, text=True, check=True
    )
    prepared, answers = map(json.loads, done.stdout.splitlines())
    files = "splits and study files"
    assert prepared == [[files], [files, "answers of tiny itself, to read weights against"], [files]]
    assert answers == 3 * ON_POLICY_PROMPTS


def test_weights_are_judged_with_everything_else(demo_home):
    with duckdb.connect(str(demo_home.folder / "warehouse.duckdb"), read_only=True) as connection:
        ((pairs, weights, parts),) = connection.execute(
            "select (select count(*) from prism.pairs), (select count(*) from model.wpo_weights),"
            " (select count(*) from weights.explained)"
        ).fetchall()
    assert weights == pairs > 1_000
    assert parts == 4
