"""Activations of adapters: on the same pairs for all, apart from those of what stood before, one cell at a time."""

from dataclasses import replace

import dagster as dg
import numpy as np
import polars as pl
import pytest

from prefassets.assets.activations import base_activations, read_adapters
from prefassets.assets.training import make_adapters, score
from prefassets.resources import cells as cells_of_homes
from prefassets.resources.cells import StudyData, artifact, cell_states
from prefassets.studies.study import Extraction
from prefassets_tests import small_home

PAIRS = 6
KEPT = Extraction(depths=(0.5, 1), positions=("turn_boundary", "response_mean"), pairs=PAIRS)
STUDY = replace(small_home.STUDY, activations=KEPT)


@pytest.fixture
def home(small_store, monkeypatch):
    """A home whose base model was read, and whose cells are trained and scored."""
    monkeypatch.setattr(cells_of_homes, "all_studies", lambda: {STUDY.name: STUDY})
    dg.materialize([base_activations], partition_key=STUDY.reference, resources={"store": small_store})
    list(make_adapters(small_store, StudyData(small_store, STUDY), STUDY.cells, "test"))
    list(score(small_store, StudyData(small_store, STUDY), list(STUDY.cells)))
    return small_store


def states(store):
    return [found.state for found in cell_states(store, STUDY)]


def test_a_scored_cell_is_unread_until_its_activations_are_kept(home):
    first, *others = STUDY.cells
    assert set(states(home)) == {"unread"}
    assert list(read_adapters(home, StudyData(home, STUDY), [first])) == [(first, PAIRS * 2 * 2 * 2)]
    assert states(home) == ["finished"] + ["unread"] * len(others)
    assert len(list(read_adapters(home, StudyData(home, STUDY), others))) == len(others)
    assert set(states(home)) == {"finished"}


def test_all_cells_are_read_on_the_pairs_that_the_base_model_was(home):
    list(read_adapters(home, StudyData(home, STUDY), STUDY.cells))
    rows = home.query(
        "select cohort, seed, list_sort(list(distinct pair_id)) as pairs from training.activations group by all"
    )
    base = home.query("select distinct pair_id from model.activations order by pair_id")["pair_id"].to_list()
    assert len(rows) == len(STUDY.cells)
    assert len(base) == PAIRS
    assert all(pairs == base for pairs in rows["pairs"].to_list())


def test_an_adapter_moves_what_is_read_after_it_and_not_the_embeddings(home, monkeypatch):
    study = replace(STUDY, activations=replace(KEPT, depths=(0, 1)))
    monkeypatch.setattr(cells_of_homes, "all_studies", lambda: {study.name: study})
    dg.materialize([base_activations], partition_key=study.reference, resources={"store": home})
    list(read_adapters(home, StudyData(home, study), study.cells[:1]))
    moved = home.query(
        """
        select layer, max(array_distance(adapter.activation, base.activation)) as distance
        from training.activations as adapter
        join model.activations as base using (pair_id, response, layer, position)
        group by layer order by layer
        """
    )
    (_, of_embeddings), (_, of_last) = moved.rows()
    assert of_embeddings == pytest.approx(0, abs=1e-6)
    assert of_last > 1e-3


def test_activations_of_an_adapter_that_was_replaced_are_read_nowhere(home):
    cell = STUDY.cells[0]
    list(read_adapters(home, StudyData(home, STUDY), [cell]))
    record, files = home.finished(artifact(cell))
    home.put(artifact(cell), files, record)  # another result of the same recipe
    assert home.query("select count(*) from training.activations").item() == 0


def test_an_adapter_that_cannot_be_read_fails_alone(home):
    gone, *others = STUDY.cells
    home.discard(artifact(gone))
    found = dict(read_adapters(home, StudyData(home, STUDY), STUDY.cells))
    assert found[gone].startswith("FileNotFoundError: ")
    assert {cell for cell, read in found.items() if isinstance(read, int)} == set(others)


def test_without_the_base_models_activations_every_cell_says_so(small_store, monkeypatch):
    monkeypatch.setattr(cells_of_homes, "all_studies", lambda: {STUDY.name: STUDY})
    found = dict(read_adapters(small_store, StudyData(small_store, STUDY), STUDY.cells))
    assert set(found) == set(STUDY.cells)
    assert all("materialise model/activations" in why for why in found.values())


def test_the_base_model_is_read_again_when_a_study_wants_more(home, monkeypatch):
    assert not StudyData(home, STUDY).base_is_unread
    more = replace(STUDY, activations=replace(KEPT, pairs=PAIRS + 1))
    monkeypatch.setattr(cells_of_homes, "all_studies", lambda: {more.name: more})
    assert StudyData(home, more).base_is_unread
    dg.materialize([base_activations], partition_key=more.reference, resources={"store": home})
    assert not StudyData(home, more).base_is_unread
    assert home.query("select count(distinct pair_id) from model.activations").item() == PAIRS + 1


def test_a_cell_that_was_read_on_fewer_pairs_than_are_wanted_now_is_unread(home, monkeypatch):
    """Before the base model is read on them, and after."""
    list(read_adapters(home, StudyData(home, STUDY), STUDY.cells))
    more = replace(STUDY, activations=replace(KEPT, pairs=PAIRS + 1))
    monkeypatch.setattr(cells_of_homes, "all_studies", lambda: {more.name: more})
    first = {(found.state, found.reason) for found in cell_states(home, more)}
    assert first == {("unread", "the base model is to be read on the study's held-out pairs first")}
    dg.materialize([base_activations], partition_key=more.reference, resources={"store": home})
    assert {found.state for found in cell_states(home, more)} == {"unread"}


def test_a_pair_whose_text_changed_is_read_again(home):
    list(read_adapters(home, StudyData(home, STUDY), STUDY.cells))
    assert set(states(home)) == {"finished"}
    pairs = home.read("prism.pairs")
    held_out = pl.col("user_id") == "held out"
    home.replace(
        "prism.pairs", pairs.with_columns(pl.when(held_out).then(pl.col("chosen") + " Yes.").otherwise("chosen"))
    )
    assert set(states(home)) == {"unread"}


def test_what_is_kept_is_what_transformers_gives(home):
    """The base model's state at the turn boundary, by a plain forward pass over the text alone."""
    import torch

    from prefassets.domain.training.encoding import encode_pairs
    from prefassets.resources.models import load_base

    model = load_base(home, "tiny", "float32")
    pair_id, layer = home.query("select pair_id, layer from model.activations order by pair_id, layer desc").row(0)
    pairs = home.read("prism.pairs").filter(pl.col("pair_id") == pair_id)
    (tokens,) = encode_pairs(pairs, model.tokenizer, STUDY.hyperparameters.max_length).tokens()
    with torch.inference_mode():
        prompt = torch.from_numpy(tokens.prompt)[None]
        states = model.model(prompt, output_hidden_states=True).hidden_states[layer][0, -1]
    kept = home.query(
        "select activation from model.activations where pair_id = $pair_id and layer = $layer"
        " and position = 'turn_boundary' and response = 'chosen'",
        pair_id=pair_id,
        layer=layer,
    )
    np.testing.assert_allclose(kept["activation"].to_numpy()[0], states.numpy(), atol=1e-3)
