"""Probes of an experiment: fitted again when what they rest on changes, and gone when it is gone."""

from dataclasses import replace

import dagster as dg
import numpy as np
import polars as pl
import pytest

from prefassets.assets import probes as assets
from prefassets.domain.preferences.measurement import Measurement, Stated
from prefassets.domain.probes import suite
from prefassets.domain.probes.extraction import Extraction
from prefassets.resources import cells as cells_of_homes
from prefassets.resources.activations import ActivationChunks, activation_rows
from prefassets.resources.probing import to_probe
from prefassets_tests.assets.test_activations import STUDY
from prefassets_tests.measured import made_tasks

WIDTH, TASKS = 5, 20
MEASUREMENT = Measurement(
    name="read",
    question="?",
    model="tiny",
    revealed=None,
    stated=Stated(asked=("before",)),
    tasks=TASKS,
    origins=("MATH", "ALPACA"),
    precision="float32",
    activations=Extraction(depths=(0, 1), positions=("prompt_last",), items_per_chunk=8),
)


def value_of(task: str) -> float:
    """Its rating: what `activations` has along the first axis."""
    return np.sin(int(task[-2:]))


@pytest.fixture
def home(small_store, monkeypatch):
    """A home with ratings of twenty tasks, and with activations of which one axis is the rating."""
    monkeypatch.setattr(assets, "EXPERIMENTS", {MEASUREMENT.name: MEASUREMENT})
    small_store.replace("tasks.tasks", made_tasks())
    rate(small_store)
    keep_activations(small_store)
    return small_store


def rate(store, sign: float = 1.0) -> None:
    rows = [
        {"measurement": "read", "target": "valence", "task_id": task, "value": sign * value_of(task), "answers": 1}
        for task in made_tasks()["task_id"]
    ]
    store.replace("preferences.probe_value", pl.DataFrame(rows))


def keep_activations(store) -> None:
    chunks = ActivationChunks(store, MEASUREMENT)
    drawn = np.random.default_rng(0)
    for chunk in chunks.chunks():
        tasks = chunk.tasks["task_id"].to_list()
        found = drawn.normal(size=(len(tasks), 2, 1, WIDTH)).astype(np.float32)
        found[:, 1, 0, 0] = [value_of(task) for task in tasks]
        rows = activation_rows({"task_id": tasks, "layer": chunks.layers, "position": ("prompt_last",)}, found)
        labels = {"measurement": "read", "chunk": chunk.number, "model": "tiny"}
        labels |= {"revision": chunks.revision, "fingerprint": chunk.fingerprint}
        labelled = rows.with_columns(pl.lit(value).alias(name) for name, value in labels.items())
        store.replace("preferences.activations", labelled, ["read", str(chunk.number)])


def probe(store) -> None:
    dg.materialize([assets.probes], resources={"store": store})


def test_rows_of_activations_meet_their_own_targets(home):
    probe(home)
    found = home.query(
        "select layer, estimate from probes.score where features = 'activations' and metric = 'r_squared'"
        " and split = 'unit' order by layer"
    )
    (_, of_noise), (_, of_ratings) = found.rows()
    assert of_ratings > 0.9
    assert of_noise < 0.5
    assert home.read("probes.experiment")["items"].item() == TASKS


def test_an_experiment_is_probed_again_only_when_something_changed(home, monkeypatch):
    probe(home)
    monkeypatch.setattr(suite, "probe_suite", lambda *_, **__: pytest.fail("probed again"))
    probe(home)
    monkeypatch.undo()
    monkeypatch.setattr(assets, "EXPERIMENTS", {MEASUREMENT.name: MEASUREMENT})
    before = home.read("probes.experiment")["fingerprint"].item()
    rate(home, sign=-1.0)
    probe(home)
    assert home.read("probes.experiment")["fingerprint"].item() != before


def test_of_activations_that_are_to_be_read_again_nothing_is_said(home):
    probe(home)
    assert not home.query("from probes.score").is_empty()
    other = made_tasks().with_columns(text=pl.col("text") + " Now.")
    home.replace("tasks.tasks", other)
    assert to_probe(home, MEASUREMENT) is None
    probe(home)
    for table in (*assets.FOUND, assets.RECORD):
        assert home.query(f"from {table}").is_empty(), table


def test_an_experiment_that_left_its_file_is_forgotten(home, monkeypatch):
    probe(home)
    monkeypatch.setattr(assets, "EXPERIMENTS", {})
    probe(home)
    assert home.query("from probes.experiment").is_empty()
    assert home.query("from probes.score").is_empty()


def test_a_killed_run_leaves_no_probes_that_count(home, monkeypatch):
    """Its record is taken back first and written last."""
    probe(home)
    rate(home, sign=-1.0)
    monkeypatch.setattr(suite, "probe_suite", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        probe(home)
    assert home.query("from probes.experiment").is_empty()
    assert home.query("from probes.score").is_empty()


def test_models_of_two_widths_are_probed_in_one_home(home):
    """Their table then has lists, not arrays of one size."""
    probe(home)
    before = home.query("select estimate from probes.score order by all")
    other = {"measurement": "other", "chunk": 0, "task_id": "t", "model": "m", "revision": "r", "fingerprint": "f"}
    wider = pl.DataFrame([other | {"layer": 1, "position": "prompt_last", "width": 9, "activation": [0.0] * 9}])
    home.replace("preferences.activations", wider, ["other", "0"])
    home.replace("probes.experiment", home.read("probes.experiment").clear(), ["read"])
    probe(home)
    assert home.query("select estimate from probes.score order by all").equals(before)


def test_an_experiment_that_cannot_be_probed_says_why_and_stops_no_other(home, monkeypatch):
    broken = replace(MEASUREMENT, name="broken")
    monkeypatch.setattr(assets, "EXPERIMENTS", {"broken": broken, "read": MEASUREMENT})
    rows = home.query("select * exclude measurement from preferences.activations").with_columns(
        measurement=pl.lit("broken"), activation=pl.lit([float("nan")] * WIDTH, pl.List(pl.Float32))
    )
    for (chunk,), of_chunk in rows.partition_by("chunk", as_dict=True).items():
        home.replace("preferences.activations", of_chunk, ["broken", str(chunk)])
    values = home.read("preferences.probe_value")
    home.replace("preferences.probe_value", pl.concat([values, values.with_columns(measurement=pl.lit("broken"))]))
    probe(home)
    notes = dict(home.query("select experiment, note from probes.experiment").iter_rows())
    assert notes["read"] is None
    assert "NaN or infinite" in notes["broken"]
    assert home.query("select count(*) from probes.score where experiment = 'read'").item() > 0


def test_a_study_is_probed_by_pairs_of_unseen_users(small_store, monkeypatch):
    """One held-out user: nothing can be held out by unit, and each target says so."""
    from prefassets.assets.activations import base_activations

    monkeypatch.setattr(cells_of_homes, "all_studies", lambda: {STUDY.name: STUDY})
    assert to_probe(small_store, STUDY) is None
    dg.materialize([base_activations], partition_key=STUDY.reference, resources={"store": small_store})
    assert to_probe(small_store, STUDY) is None  # none of its cells ever ran
    small_store.put(f"{STUDY.name}/everyone/seed-1", {}, {"fingerprint": "f"})
    found = to_probe(small_store, STUDY)
    assert found is not None
    answers, gaps, groups = found.probed
    assert set(answers.items["unit"]) == {"held out"}
    assert len(answers.items) == 2 * len(gaps.items) == 2 * len(groups.items)
    chosen, difference = answers.activations[2, "response_mean"], gaps.activations[2, "response_mean"]
    rows = {item: row for row, item in enumerate(answers.items["item"])}
    pair = gaps.items["item"][0]
    np.testing.assert_allclose(
        difference[0], chosen[rows[f"{pair}|chosen"]] - chosen[rows[f"{pair}|rejected"]], atol=1e-6
    )
    assert [target.name for target in groups.targets] == ["group:age"]
    assert list(groups.activations) == [(1, "turn_boundary"), (2, "turn_boundary")]
    assert to_probe(small_store, replace(STUDY, activations=None)) is None
