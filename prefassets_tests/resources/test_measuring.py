"""A configuration is finished as long as nothing that decides what is asked, and of whom, has changed."""

from dataclasses import replace

import polars as pl
import pytest

from prefassets.domain.preferences import wording
from prefassets.domain.preferences.active_learning import Plan
from prefassets.domain.preferences.measurement import Measurement, Revealed, Stated
from prefassets.domain.preferences.template import Template
from prefassets.resources.measuring import MeasurementData, unfinished
from prefassets.resources.store import Store
from prefassets.resources.tables import TABLES
from prefassets_tests.measured import made_tasks

MEASUREMENT = Measurement(
    name="m",
    question="?",
    model="tiny",
    revealed=Revealed(templates=(Template(), Template(response_format="xml"))),
    stated=Stated(),
    tasks=6,
    origins=("MATH", "ALPACA"),
)
PLAIN, XML, RATING = (configuration.name for configuration in MEASUREMENT.configurations)


def rows(table: str, **values: object) -> pl.DataFrame:
    """One row of a table; columns that are not given are blank."""
    blank = {name: "" if column.dtype == pl.String else 0 for name, column in TABLES[table].columns.items()}
    return pl.DataFrame([blank | values], schema=TABLES[table].schema)


def finish(store: Store, measurement: Measurement = MEASUREMENT, run_id: str = "r1") -> None:
    data = MeasurementData(store, measurement)
    for configuration in measurement.configurations:
        partition = [measurement.name, configuration.name]
        named = dict(zip(("measurement", "configuration"), partition, strict=True))
        done = rows("preferences.answered", **named, fingerprint=data.fingerprint(configuration), run_id=run_id)
        store.replace("preferences.answered", done, partition)


@pytest.fixture
def store(tmp_path) -> Store:
    """A home in which every configuration is finished."""
    store = Store(home=str(tmp_path / "home"))
    store.replace("tasks.tasks", made_tasks())
    store.replace("model.base", rows("model.base", base_model="tiny", revision="r1"), ["tiny"])
    finish(store)
    return store


def states(store: Store, measurement: Measurement = MEASUREMENT) -> dict[str, str]:
    return {state.configuration.name: state.state for state in MeasurementData(store, measurement).states()}


def test_before_anything_is_made_all_is_missing(tmp_path):
    found = MeasurementData(Store(home=str(tmp_path / "new")), MEASUREMENT).states()
    assert [(state.configuration.name, state.state, state.reason) for state in found] == [
        (name, "missing", "never asked to the end") for name in (PLAIN, XML, RATING)
    ]


def test_what_is_finished_stays_so_if_only_what_it_is_to_find_out_is_said_otherwise(store):
    assert set(states(store).values()) == {"finished"}
    assert unfinished(store, replace(MEASUREMENT, question="Why?")) == []


def test_another_template_is_missing_and_the_others_stay(store):
    other = replace(MEASUREMENT, revealed=Revealed(templates=(Template(), Template(typos=True))))
    assert states(store, other) == {PLAIN: "finished", "typos": "missing", RATING: "finished"}


@pytest.mark.parametrize(
    "change",
    [{"temperature": 0.5}, {"tasks": 8}, {"seed": 1}, {"origins": ("MATH",)}, {"answering": "constrained"}],
    ids=lambda change: next(iter(change)),
)
def test_what_every_question_depends_on_makes_all_stale(store, change):
    assert set(states(store, replace(MEASUREMENT, **change)).values()) == {"stale"}


def test_another_plan_makes_only_choices_stale_and_more_samples_only_ratings(store):
    planned = replace(MEASUREMENT, revealed=replace(MEASUREMENT.revealed, plan=Plan(samples=2)))
    assert states(store, planned) == {PLAIN: "stale", XML: "stale", RATING: "finished"}
    rated = replace(MEASUREMENT, stated=Stated(samples=2))
    assert states(store, rated) == {PLAIN: "finished", XML: "finished", RATING: "stale"}


def test_another_revision_of_the_model_makes_all_stale(store):
    store.replace("model.base", rows("model.base", base_model="tiny", revision="r2"), ["tiny"])
    found = MeasurementData(store, MEASUREMENT).states()
    assert {state.state for state in found} == {"stale"}
    assert "the model have changed" in found[0].reason


def test_other_texts_of_the_tasks_make_all_stale_and_of_tasks_that_are_not_asked_about_none(store):
    asked = MeasurementData(store, MEASUREMENT).tasks["task_id"]
    for task_id, after in ((asked[0], "stale"), ("task-99", "finished")):
        more = rows("tasks.tasks", task_id="task-99", origin="MATH_ALGEBRA", text="Do thing 99!")
        tasks = pl.concat([made_tasks(), more])
        chosen = pl.when(task_id=task_id).then(pl.lit("Do it!")).otherwise("text")
        store.replace("tasks.tasks", tasks.with_columns(text=chosen))
        assert set(states(store).values()) == {after}


def test_another_wording_makes_those_stale_that_use_it(store, monkeypatch):
    words = wording.WORDS["en"]
    monkeypatch.setitem(wording.WORDS, "en", replace(words, tagged="Answer {a} or {b}, and nothing else."))
    assert states(store) == {PLAIN: "finished", XML: "stale", RATING: "finished"}


def test_utilities_are_wanted_of_finished_choices_that_have_none_or_had_others(store):
    def unfitted():
        return [configuration.name for configuration in MeasurementData(store, MEASUREMENT).unfitted()]

    assert unfitted() == [PLAIN, XML]
    fit = rows("preferences.fit", measurement="m", configuration=PLAIN, run_id="r1")
    store.replace("preferences.fit", fit, ["m", PLAIN])
    assert unfitted() == [XML]
    finish(store, run_id="r2")
    assert unfitted() == [PLAIN, XML]
    store.replace("preferences.answered", TABLES["preferences.answered"].empty(), ["m", XML])
    assert unfitted() == [PLAIN], "of what is not finished there is nothing to fit"
