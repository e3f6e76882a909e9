"""Activations of a measurement: read chunk by chunk, each once, and again only where its texts change."""

import dagster as dg
import polars as pl
import pytest

from prefassets.assets.activations import measurement_activations_asset
from prefassets.domain.preferences.measurement import Measurement, Stated
from prefassets.domain.probes.extraction import Extraction
from prefassets.resources.activations import ActivationChunks
from prefassets.resources.store import Store
from prefassets.resources.tables import TABLES
from prefassets_tests.measured import made_tasks

TASKS = 7
MEASUREMENT = Measurement(
    name="read",
    question="?",
    model="tiny",
    revealed=None,
    stated=Stated(asked=("before",)),
    tasks=TASKS,
    origins=("MATH", "ALPACA"),
    precision="float32",
    activations=Extraction(depths=(0, 1), items_per_chunk=3),
)


def completions(**texts: str) -> pl.DataFrame:
    """What a model made of each task; `malformed` is no answer of a model."""
    blank = {"measurement": "read", "sample": 0, "tokens": 3, "finished": True, "model": "tiny", "revision": "r"}
    rows = [
        blank | {"task_id": task, "answer": text, "malformed": text == "malformed", "digest": task}
        for task, text in texts.items()
    ]
    return pl.DataFrame(rows, TABLES["preferences.completions"].schema)


DONE = {f"task-{number:02}": f"I did {number}." for number in range(20)}


@pytest.fixture
def home(small_store):
    small_store.replace("tasks.tasks", made_tasks())
    small_store.replace("preferences.completions", completions(**DONE), ["read"])
    return small_store


def read(store) -> dict[str, object]:
    """Make the asset; what Dagster is told."""
    asset = measurement_activations_asset(MEASUREMENT)
    result = dg.materialize([asset], resources={"store": store})
    (made,) = [found.step_materialization_data.materialization for found in result.get_asset_materialization_events()]
    return {name: value.value for name, value in made.metadata.items()}


def test_every_task_has_an_activation_per_layer_and_position(home):
    assert read(home)["chunks read now"] == 3
    rows = home.query("select task_id, layer, position from preferences.activations")
    assert rows["task_id"].n_unique() == TASKS
    assert len(rows) == len(rows.unique()) == TASKS * 2 * 4
    assert len(home.parts("preferences.activations")) == 3


def test_a_killed_extraction_goes_on_after_the_chunks_that_stand(home, monkeypatch):
    written: list[str] = []
    replace = Store.replace

    def killed_at_the_third(self, table, rows, partition=(), *others, **more):
        if table == "preferences.activations":
            if len(written) == 2:
                raise KeyboardInterrupt
            written.append(partition[1])
        return replace(self, table, rows, partition, *others, **more)

    monkeypatch.setattr(Store, "replace", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        read(home)
    monkeypatch.undo()
    assert home.query("select count(distinct task_id) from preferences.activations").item() == 6
    assert [chunk.number for chunk in ActivationChunks(home, MEASUREMENT).lacking()] == [2]
    assert read(home)["chunks read now"] == 1
    assert home.query("select count(distinct task_id) from preferences.activations").item() == TASKS


def test_a_chunk_is_read_again_only_if_its_texts_changed(home):
    read(home)
    assert read(home)["chunks read now"] == 0
    task = ActivationChunks(home, MEASUREMENT).chunks()[1].tasks["task_id"][0]
    home.replace("preferences.completions", completions(**{**DONE, task: "Something else."}), ["read"])
    assert [chunk.number for chunk in ActivationChunks(home, MEASUREMENT).lacking()] == [1]


def test_what_is_no_answer_of_a_model_is_left_out_and_said(home):
    task = ActivationChunks(home, MEASUREMENT).tasks["task_id"][0]
    home.replace("preferences.completions", completions(**{**DONE, task: "malformed"}), ["read"])
    told = read(home)
    assert told["tasks left out now"] == 1
    assert told["why"] == {task: "what came back was no answer of a model"}
    assert home.query("select count(distinct task_id) from preferences.activations").item() == TASKS - 1
    assert not ActivationChunks(home, MEASUREMENT).lacking()


def test_tasks_that_are_not_done_cannot_be_read(home):
    home.replace("preferences.completions", completions(), ["read"])
    with pytest.raises(ValueError, match="has not done its tasks yet"):
        ActivationChunks(home, MEASUREMENT).lacking()


def test_an_endpoint_needs_a_model_to_read_here():
    with pytest.raises(ValueError, match="an endpoint hands out no activations; name the model to read"):
        Measurement(name="m", question="?", model="served", backend="endpoint", activations=Extraction())
    named = Extraction(model="tiny")
    served = Measurement(name="m", question="?", model="served", backend="endpoint", activations=named)
    assert served.models_here == ("tiny",)
