"""Arena's demo as `make demo-arena` runs it, but for one variant: the tiny model finds what was planted, QLoRA too."""

import json
import os
import subprocess
import sys

import pytest

BASELINES = ("prior", "longer", "length_and_words")


@pytest.fixture(scope="module")
def answer(tmp_path_factory):
    """Runs a command in one home at the demo's scale, and gives the rows that it prints."""
    home = {"PREFASSETS_HOME": str(tmp_path_factory.mktemp("arena") / "home"), "PREFASSETS_SCALE": "0.4"}

    def run(*command):
        whole = [sys.executable, "-m", "prefassets.cli", *command, "--format", "json"]
        done = subprocess.run(whole, env=os.environ | home, stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def differences(answer):
    """Log loss of both recipes minus that of others, by recipe and other, over both orders."""
    answer("arena", "run", "demo_lora", "demo_qlora")
    rows = answer("sql", "from arena.difference where metric = 'log_loss' and orders = 'both'")
    return {(row["predictor"], row["than"]): row for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["demo_lora", "demo_qlora"])
@pytest.mark.parametrize("than", BASELINES)
def test_a_tuned_tiny_model_is_shown_to_be_better_than_every_baseline(differences, recipe, than):
    assert differences[recipe, than]["widened_upper"] < 0


@pytest.mark.slow
def test_four_bits_lose_nothing_that_shows(differences):
    found = differences["demo_qlora", "demo_lora"]
    assert found["lower"] < 0.01
    assert found["upper"] > -0.01
    assert found["upper"] - found["lower"] < 0.05


@pytest.mark.slow
def test_the_readings_say_so(differences, answer):
    states = {row["predictor"]: row["state"] for row in answer("sql", "from arena.reading")}
    assert {name for name, state in states.items() if state == "SIGNAL"} == {"demo_lora", "demo_qlora"}
    assert len(states) == 3, "and of the base model that it is none"
