"""README is true to the letter: every command and every query in it runs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

README = Path("README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if line.strip()]
QUERIES = blocks("sql")


def test_readme_has_the_commands_and_nine_queries():
    assert {"make demo", "make test"} <= set(COMMANDS)
    assert len(QUERIES) == 9


def test_nothing_is_left_to_be_filled_in():
    assert not re.search(r"@[A-Z_]+@|TODO|TBD", README)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("make ")])
def test_every_make_target_exists(command):
    """What `make demo` and `make ui` run is tested by the other tests of the suite; here, that the target is there."""
    subprocess.run([*command.split(), "--dry-run"], check=True, capture_output=True)


def test_what_is_sourced_is_what_make_installs():
    assert "source .venv/bin/activate" in COMMANDS
    assert "VENV := .venv\n" in Path("Makefile").read_text()


RUN_ELSEWHERE = "prefassets missing wpo_demo --launch"  # by test_cli, which then looks at what it made
OF_ARENA = ("prefassets arena ", "prefassets report arena")  # by test_arena_command, as are queries of arena's tables


def test_what_is_run_elsewhere_is_in_the_readme():
    assert RUN_ELSEWHERE in COMMANDS


@pytest.mark.parametrize(
    "command",
    [
        command
        for command in COMMANDS
        if command.startswith("prefassets ") and not command.startswith(OF_ARENA)
        if "dpo_w2" not in command and command != RUN_ELSEWHERE
    ],
)
def test_every_command_runs_on_the_demo_s_home(demo_home, tmp_path, command):
    (tmp_path / "contrasts.csv").write_text("study,split,seed,difference_pp,expected\nv2,age,42,3.12,A > B\n")
    for name, real in (("choices.csv", "villain_60_tasks.csv"), ("tasks.csv", "villain_60_tasks_order.csv")):
        shutil.copyfile(Path("prefassets_tests/data/preferences") / real, tmp_path / name)
    items = np.array([f"task_{number}" for number in range(60)])
    activations = np.random.default_rng(0).standard_normal((60, 4))
    np.savez(tmp_path / "activations.npz", task_ids=items, layer16=activations)
    pl.DataFrame({"task_id": items, "valence": activations[:, 0]}).write_csv(tmp_path / "targets.csv")
    shutil.copytree(demo_home.folder, tmp_path / "home")
    short = tmp_path / "prefassets"  # the command, with a demo as short as that of the home
    short.write_text(f'#!/bin/sh\nexec {sys.executable} -m prefassets_tests.short_demo "$@"\n')
    short.chmod(0o755)
    environment = demo_home.environment | {
        "PREFASSETS_HOME": "home",
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": os.getcwd(),
    }
    done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_the_commands_for_a_real_model_plan_and_say_what_they_lack_without_a_network(empty_home):
    (exports,) = [line for line in COMMANDS if line.startswith("export ")]
    assert "PREFASSETS_PRISM=hub" in exports
    plan, launch, verdicts = [c for c in COMMANDS if "dpo_w2" in c]
    environment = empty_home.environment | {"PREFASSETS_PRISM": "hub"}

    def run(command):
        return subprocess.run(
            empty_home.command(*command.split()[1:]), env=environment, capture_output=True, text=True, timeout=300
        )

    assert "65 = 13 cohorts x 5 seeds" in run(plan).stdout
    refused = run(launch)
    assert refused.returncode != 0
    assert "download survey.jsonl and utterances.jsonl and set PREFASSETS_PRISM to their folder" in refused.stderr
    assert "holds nothing yet" in run(verdicts).stderr, "a source that could not be read was not pinned"


@pytest.mark.parametrize(
    "query", [query for query in QUERIES if "arena." not in query], ids=lambda query: query.splitlines()[0].strip("- ")
)
def test_every_query_answers_on_the_published_database(demo_home, query):
    with duckdb.connect(str(demo_home.folder / "warehouse.duckdb"), read_only=True) as connection:
        assert connection.execute(query).fetchall(), "a useful query finds something in the demo"


def test_the_example_study_is_a_study():
    (example,) = blocks("python")
    found = {}
    exec(example, found)  # the README's own code, as a reader would paste it
    assert len(found["STUDY"].cells) == 25
