"""What a measurement's page is made of: its own rows and what the home has of its configurations, no more."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from prefassets.measurements import demo_tasks
from prefassets.resources.measurement_reports import READS, wants_page, write_page
from prefassets.resources.store import DataSource
from prefassets_tests.resources.test_reports import put

MEASUREMENT = demo_tasks.MEASUREMENT
FIRST = MEASUREMENT.choice_configurations[0].name
OTHER = replace(MEASUREMENT, name="other_tasks")


@pytest.fixture
def measured(store):
    """A home in which two measurements have one configuration each, and tasks that nobody was asked about."""
    store.pin(DataSource())
    tasks = [{"task_id": task, "origin": "MATH", "text": f"Text of {task}."} for task in ("t0", "t1", "t2")]
    put(store, "tasks.tasks", tasks)
    planned = [{"measurement": of.name, "configuration": FIRST, "kind": "choice"} for of in (MEASUREMENT, OTHER)]
    put(store, "preferences.configuration", planned)
    for measurement, names in ((MEASUREMENT, ("t0", "t1")), (OTHER, ("t1", "t2"))):
        labels = {"measurement": measurement.name, "configuration": FIRST}
        part = [measurement.name, FIRST]
        answered = labels | {"model": "tiny", "revision": measurement.name, "answers": 2, "kind": "choice"}
        put(
            store,
            "preferences.answered",
            [answered | {"finished_at": "2026-11-26T10:00:00+00:00", "run_id": "r"}],
            part,
        )
        put(store, "preferences.fit", [labels | {"run_id": "r"}], part)
        put(store, "preferences.utilities", [labels | {"task_id": name, "sigma": 1.0} for name in names], part)
    return store


def page_of(store, measurement=MEASUREMENT):
    with store.connect(READS, current=True) as connection:
        path, states = write_page(store, measurement, connection)
    return Path(path).read_text(), states


def test_it_has_the_rows_of_its_own_measurement_and_the_tasks_that_were_asked_about(measured):
    page, _ = page_of(measured)
    assert "Text of t0." in page
    assert "Text of t1." in page
    assert "Text of t2." not in page
    assert "at revision <code>demo_tasks</code>" in page
    assert "other_tasks" not in page


def test_what_is_missing_or_stale_is_counted_and_named(measured):
    page, states = page_of(measured)
    planned = len(MEASUREMENT.configurations)
    assert states == {"missing": planned - 1, "stale": 1}, "its fingerprint is of nothing that is asked today"
    for configuration in MEASUREMENT.configurations:
        assert configuration.name in page


def test_its_questions_can_be_asked(measured):
    page, _ = page_of(measured)
    queries = [unescape(found) for found in re.findall(r"<pre><code>(.*?)</code></pre>", page, re.DOTALL)]
    assert len(queries) == 3
    with measured.connect(current=True) as connection:
        answers = [connection.execute(query).fetchall() for query in queries]
    assert [text for text, *_ in answers[1]] == ["Text of t0.", "Text of t1."]


def test_a_page_goes_with_what_was_answered_and_from_then_on(store):
    store.pin(DataSource())
    assert not wants_page(store, MEASUREMENT)
    page, states = page_of(store)
    assert "Nothing was asked" in page
    assert states == {"missing": len(MEASUREMENT.configurations)}
    assert wants_page(store, MEASUREMENT), "there is a page to keep true"


def test_one_answered_configuration_is_enough_for_a_page(measured):
    assert wants_page(measured, MEASUREMENT)


def test_it_has_the_probes_of_its_own_activations_and_its_question_of_them_can_be_asked(measured):
    for of, target in ((MEASUREMENT, "valence"), (OTHER, "somewhere_else")):
        scored = {"experiment": of.name, "target": target, "probe": "ridge", "layer": 2, "metric": "r_squared"}
        scored |= {"split": "unit", "features": "activations", "note": "all values are the same"}
        put(measured, "probes.score", [scored], [of.name])
    page, _ = page_of(measured)
    assert "It cannot be told whether valence can be read off: all values are the same." in page
    assert "somewhere" not in page
    *_, query = (unescape(found) for found in re.findall(r"<pre><code>(.*?)</code></pre>", page, re.DOTALL))
    with measured.connect(current=True) as connection:
        assert [state for _, state, *_ in connection.execute(query).fetchall()] == ["CANNOT TELL"]
