"""Adapters are scored together, and one that cannot be stops no other."""

import json

import pytest

from prefassets.assets.training import make_adapters, score
from prefassets.resources.cells import StudyData, artifact
from prefassets_tests.small_home import STUDY, USERS

HELD_OUT = USERS["held out"]


@pytest.fixture
def trained(small_store):
    list(make_adapters(small_store, StudyData(small_store, STUDY), STUDY.cells, "test"))
    return small_store


def of_another_base(store, cell):
    """Let an adapter say that it was trained on another revision of the base model."""
    record, files = store.record(artifact(cell)), store.files(artifact(cell))
    config = json.loads(files["adapter_config.json"]) | {"revision": "other"}
    store.put(artifact(cell), files | {"adapter_config.json": json.dumps(config).encode()}, record)


def test_an_adapter_that_cannot_be_scored_fails_alone(trained):
    foreign, gone, damaged, *others = STUDY.cells
    of_another_base(trained, foreign)
    trained.discard(artifact(gone))
    files = trained.files(artifact(damaged))
    record = trained.record(artifact(damaged))
    trained.put(artifact(damaged), files | {"adapter_model.safetensors": b"half a f"}, record)

    found = dict(score(trained, StudyData(trained, STUDY), list(STUDY.cells)))
    assert {cell for cell, scored in found.items() if scored == HELD_OUT} == set(others)
    assert "ValueError: the adapter was trained on tiny revision other, but the base model here is" in found[foreign]
    assert found[gone].startswith("FileNotFoundError: ")
    assert found[damaged].startswith("SafetensorError: ")
    scored = trained.query("select cohort, seed, count(*) as pairs from training.margins group by all")
    assert sorted(scored.rows()) == sorted((cell.cohort, cell.seed, HELD_OUT) for cell in others)


def test_where_no_adapter_can_be_scored_each_says_why(small_store):
    found = dict(score(small_store, StudyData(small_store, STUDY), list(STUDY.cells)))
    assert all("was never finished" in why for why in found.values())
    assert set(found) == set(STUDY.cells)
