"""Asset checks find answers that must not be counted, and say how many and where; what is gone is no reason to fail."""

from dataclasses import replace
from itertools import combinations
from unittest.mock import patch

import polars as pl
import pytest

from prefassets.assets import preferences
from prefassets.measurements import all_measurements
from prefassets.resources.store import Store
from prefassets.resources.tables import TABLES
from prefassets_tests.measured import PLAIN, made_tasks, planted

FIXED = replace(PLAIN, task_order="canonical")
MEASUREMENT = planted("m", templates=(PLAIN, FIXED))
GOOD = {"sample": 0, "task_a": "task-00", "task_b": "task-01", "choice": "a"}


def rows(table, *values):
    """Rows of a table; columns that they leave out are blank."""
    blank = {name: "" if column.dtype == pl.String else 0 for name, column in TABLES[table].columns.items()}
    return pl.DataFrame([blank | row for row in values], schema=TABLES[table].schema)


@pytest.fixture
def store(tmp_path):
    store = Store(home=str(tmp_path / "home"))
    store.replace("tasks.tasks", made_tasks())
    found = pl.DataFrame(preferences.configuration_rows(MEASUREMENT), schema=TABLES["preferences.configuration"].schema)
    store.replace("preferences.configuration", found)
    with patch.dict(all_measurements(), {"m": MEASUREMENT}, clear=True):
        yield store


def write(store, table, *values, configuration="plain"):
    named = {"measurement": "m", "configuration": configuration}
    store.replace(table, rows(table, *(named | row for row in values)), ["m", configuration])


def told(check, store):
    """What a check that fails says."""
    result = check(store)
    return None if result.passed else {name: value.value for name, value in result.metadata.items()}


def test_a_home_without_any_measurement_passes_every_check(tmp_path):
    store = Store(home=str(tmp_path / "home"))
    for check in (
        preferences.every_question_is_answered_once,
        preferences.slots_are_dealt_as_meant,
        preferences.no_configuration_is_stale,
        preferences.most_answers_say_something,
        preferences.utilities_are_finite,
    ):
        assert told(check, store) is None


@pytest.mark.parametrize(
    ("more", "counts"),
    [
        ({"choice": "refusal"}, {"twice": 2}),
        ({"task_a": "task-01", "task_b": "task-00"}, {"twice": 2}),
        ({"task_a": "task-05", "task_b": "task-05"}, {"of_one_task": 1}),
        ({"task_b": "nobody's"}, {"of_unknown_tasks": 1}),
        ({"sample": 1}, None),
        ({"task_b": "task-02"}, None),
    ],
)
def test_a_question_is_answered_once_and_about_two_tasks_that_are_known(store, more, counts):
    write(store, "preferences.choices", GOOD, GOOD | more)
    found = told(preferences.every_question_is_answered_once, store)
    none = {"configuration": "m.plain", "twice": 0, "of_one_task": 0, "of_unknown_tasks": 0}
    assert found == (counts and {"wrong rows": [none | counts]})


def test_rows_of_a_configuration_that_left_its_file_block_nothing(store):
    write(store, "preferences.choices", GOOD, GOOD, configuration="gone")
    assert told(preferences.every_question_is_answered_once, store) is None


def asked(turned, samples=1):
    """Every pair of the 20 tasks, the later one first where `turned` says so, by number of the pair and sample."""
    tasks = made_tasks()["task_id"].to_list()
    for number, pair in enumerate(combinations(tasks, 2)):
        for sample in range(samples):
            one, other = reversed(pair) if turned(number, sample) else pair
            yield {"sample": sample, "task_a": one, "task_b": other, "choice": "a"}


@pytest.mark.parametrize(
    ("turned", "samples", "said"),
    [
        (lambda number, sample: number % 2, 1, None),
        (lambda number, sample: (number + sample) % 2, 3, None),
        (lambda number, sample: number % 3 == 0, 1, "126 of 190 pairs one way (p = 8.1e-06), 0 pairs unevenly"),
        (lambda number, sample: number % 2, 2, "95 of 190 pairs one way (p = 1.0e+00), 190 pairs unevenly"),
    ],
    ids=["a coin", "by turns", "an unfair coin", "never turned"],
)
def test_a_coin_that_deals_slots_is_fair_and_each_task_of_a_pair_is_first_as_often(store, turned, samples, said):
    write(store, "preferences.choices", *asked(turned, samples))
    write(store, "preferences.choices", *asked(lambda number, sample: False), configuration=FIXED.name)
    found = told(preferences.slots_are_dealt_as_meant, store)
    assert found == (said and {"not dealt as meant": {"m.plain": said}}), "of a fixed order nothing is wanted"


def test_stale_configurations_are_named_with_what_to_do(store):
    write(store, "preferences.answered", {"fingerprint": "of yesterday"})
    assert told(preferences.no_configuration_is_stale, store) == {
        "stale configurations": {"m.plain": "the measurement, its tasks or the model have changed since it was asked"},
        "to do": "prefassets measure MEASUREMENT",
    }


@pytest.mark.parametrize(("refusals", "said"), [(10, None), (11, "11 refusals and 10 unparseable of 100 answers")])
def test_more_than_a_fifth_without_a_choice_is_worth_a_warning(store, refusals, said):
    write(store, "preferences.answered", {"answers": 100, "refusals": refusals, "unparseable": 10})
    found = told(preferences.most_answers_say_something, store)
    assert found == (said and {"said little": {"m.plain": said}})


@pytest.mark.parametrize(
    ("wrong", "passes"),
    [
        ({"se": None}, True),
        ({"mu": float("nan")}, False),
        ({"mu": float("inf")}, False),
        ({"sigma": 0.0}, False),
        ({"se": float("nan")}, False),
    ],
)
def test_utilities_are_numbers_with_a_spread(store, wrong, passes):
    good = {"task_id": "task-00", "mu": 0.1, "sigma": 1.0, "se": 0.2}
    write(store, "preferences.utilities", good, good | {"task_id": "task-01"} | wrong)
    found = told(preferences.utilities_are_finite, store)
    assert found == (None if passes else {"utilities": [["m.plain", "task-01"]]})
