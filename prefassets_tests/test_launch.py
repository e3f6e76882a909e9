"""Exactly the missing cells are launched, in as few runs as Dagster's partition ranges allow."""

import random
import subprocess
import sys
from itertools import product

import pytest

from prefassets.launch import key_ranges
from prefassets.studies import all_studies

STUDY = all_studies()["demo"]
KEYS = [cell.key for cell in STUDY.cells]


def named_by_ends(first, last):
    """What Dagster makes of a range: every combination of neighbouring cohorts with neighbouring seeds."""
    (cohort_1, seed_1), (cohort_2, seed_2) = first.split("|"), last.split("|")
    cohorts = STUDY.cohorts[STUDY.cohorts.index(cohort_1) : STUDY.cohorts.index(cohort_2) + 1]
    seeds = STUDY.seed_keys[STUDY.seed_keys.index(seed_1) : STUDY.seed_keys.index(seed_2) + 1]
    return [f"{cohort}|{seed}" for cohort, seed in product(cohorts, seeds)]


@pytest.mark.parametrize("draw", range(30))
def test_any_set_of_cells_is_covered_exactly_once_and_never_exceeded(draw):
    chosen = random.Random(draw).sample(KEYS, k=1 + draw % len(KEYS))
    ranges = key_ranges(STUDY, chosen, most=4)
    assert sorted(key for keys in ranges for key in keys) == sorted(chosen)
    for keys in ranges:
        assert named_by_ends(keys[0], keys[-1]) == keys
        assert len(keys) <= 4


def test_a_whole_study_is_one_range_and_nothing_is_none():
    assert [len(keys) for keys in key_ranges(STUDY, KEYS, most=32)] == [27]
    assert key_ranges(STUDY, [], most=32) == []


FAILING_FOLDS = """
from unittest.mock import patch
import dagster as dg, polars as pl
import prefassets_tests.short_demo
import prefassets.assets.prism as prism
from prefassets.launch import Launcher, RunFailed
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
