"""The whole demo as `make demo` runs it: slow, so it has a target of its own, `make test-demo`."""

import json
import os
import subprocess
import sys

import pytest

PLANTED = {"personalisation": 1, "safety": -1}  # sign of A - B; 12 points each, see prism.planted_truth


@pytest.fixture(scope="module")
def answer(tmp_path_factory):
    """Runs a command in one home and gives what it prints."""
    environment = {**os.environ, "PREFASSETS_HOME": str(tmp_path_factory.mktemp("demo") / "home")}

    def run(*command):
        whole = [sys.executable, "-m", "prefassets.cli", *command]
        done = subprocess.run(whole, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout

    return run


@pytest.fixture(scope="module")
def verdicts(answer):
    """The held-out verdicts of a fresh demo, by split."""
    return {row["split"]: row for row in json.loads(answer("demo", "--format", "json"))}


@pytest.fixture(scope="module")
def weighted(verdicts, answer):
    """The same of the demo by WPO, in the same home."""
    answer("missing", "wpo_demo", "--launch")
    return {row["split"]: row for row in json.loads(answer("verdicts", "wpo_demo", "--format", "json"))}


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


@pytest.mark.slow
@pytest.mark.parametrize("split", PLANTED)
def test_weights_find_what_is_planted_too_and_change_little_where_the_text_is_the_model_s_own(weighted, split):
    assert (weighted[split]["state"], weighted[split]["change"]) == ("CONFIRMED", "STABLE")
    assert weighted[split]["change_lower_pp"] < 0 < weighted[split]["change_upper_pp"]
    assert abs(weighted[split]["change_pp"]) < 5


@pytest.mark.slow
def test_text_that_the_tiny_model_learned_from_weighs_as_much_as_what_it_writes(weighted, answer):
    query = "select text, mean_weight from weights.yardstick where unit = 'pair'"
    found = {row["text"]: row["mean_weight"] for row in json.loads(answer("sql", query, "--format", "json"))}
    assert found["greedy with itself"] == pytest.approx(1)
    assert found["chosen with rejected"] > found["two sampled at T = 1"] > 0.8
