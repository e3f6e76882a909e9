"""The whole demo as `make demo` runs it: slow, so it has a target of its own, `make test-demo`."""

import json
import os
import subprocess
import sys

import pytest

PLANTED = {"personalisation": 1, "safety": -1}  # sign of A - B; 12 points each, see prism.planted_truth


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """The held-out verdicts of a fresh demo, by split."""
    environment = {**os.environ, "PREFASSETS_HOME": str(tmp_path_factory.mktemp("demo") / "home")}
    command = [sys.executable, "-m", "prefassets.cli", "demo", "--format", "json"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return {row["split"]: row for row in json.loads(done.stdout)}


@pytest.mark.slow
@pytest.mark.parametrize("split", PLANTED)
def test_a_planted_strength_difference_is_confirmed_as_one(verdicts, split):
    assert (verdicts[split]["state"], verdicts[split]["finding"]) == ("CONFIRMED", "strength")
    assert verdicts[split]["reported_rule"] == "MATCH"
    assert 5 < PLANTED[split] * verdicts[split]["estimate_pp"] < 20


@pytest.mark.slow
def test_a_planted_direction_difference_shows_in_the_transfer_not_in_the_contrast(verdicts):
    assert verdicts["age"]["finding"] == "direction"
    assert abs(verdicts["age"]["estimate_pp"]) < 5
    assert verdicts["age"]["interaction_lower_pp"] > 30


@pytest.mark.slow
def test_where_nothing_is_planted_nothing_is_found(verdicts):
    assert (verdicts["region"]["state"], verdicts["region"]["finding"]) in {
        ("INCONCLUSIVE", "none shown"),
        ("EQUIVALENT", "none shown"),
    }
    assert verdicts["region"]["lower_pp"] < 0 < verdicts["region"]["upper_pp"]


@pytest.mark.slow
def test_every_verdict_stands_on_every_seed(verdicts):
    assert {(row["seeds_run"], row["seeds_planned"]) for row in verdicts.values()} == {(3, 3)}
