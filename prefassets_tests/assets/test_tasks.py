"""`tasks/tasks` is made from what the settings name, pins it, and is checked before anything is built on it."""

import dagster as dg
import polars as pl
import pytest

import prefassets.assets.tasks as tasks
from prefassets.resources.store import DataSource, Store, WrongHome
from prefassets.resources.tables import TABLES
from prefassets.settings import Settings
from prefassets_tests.resources.test_task_source import SLICES


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(home=str(tmp_path / "home"))


def made(store: Store, monkeypatch, **chosen) -> dict[str, object]:
    """Metadata of the asset, made in a process with these settings."""
    monkeypatch.setattr(tasks, "settings", lambda: Settings(**chosen))
    done = dg.materialize([tasks.tasks, tasks.every_task_can_be_asked_and_told_apart], resources={"store": store})
    assert all(check.passed for check in done.get_asset_check_evaluations())
    (event,) = done.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


def test_an_empty_home_gets_synthetic_tasks_and_is_pinned_to_them(store, monkeypatch):
    metadata = made(store, monkeypatch, seed=5)
    assert metadata["source"] == "synthetic tasks, seed 5"
    assert metadata["tasks: BAILBENCH"] == 400
    assert metadata["dagster/row_count"] == len(store.read("tasks.tasks")) == 1_600
    assert store.pinned() == DataSource(seed=5)


def test_a_folder_is_pinned_and_no_other_source_gets_into_the_home(store, monkeypatch):
    metadata = made(store, monkeypatch, tasks=str(SLICES))
    assert metadata["source"] == f"tasks from {SLICES}, seed 0"
    assert metadata["tasks: MATH"] == 4
    made(store, monkeypatch)  # what is left out stays as it was
    with pytest.raises(WrongHome, match=r"holds tasks from .* now tasks = 'synthetic'.*PREFASSETS_TASKS"):
        made(store, monkeypatch, tasks="synthetic")
    assert set(store.read("tasks.tasks")["origin"]) == {"MATH", "WILDCHAT", "MT_BENCH"}


def test_what_was_dropped_is_shown(store, monkeypatch, tmp_path):
    (tmp_path / "a.jsonl").write_text(
        '{"id": "wildchat_1", "text": "Name a bird."}\n{"id": "wildchat_2", "text": ""}\n'
    )
    assert made(store, monkeypatch, tasks=str(tmp_path))["dropped: empty text"] == 1


def test_tasks_that_could_not_be_read_pin_nothing(store, monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="no file of tasks"):
        made(store, monkeypatch, tasks=str(tmp_path))
    assert store.pinned() is None


@pytest.mark.parametrize(
    "wrong", [{"task_id": "alpaca_0"}, {"text": " \n"}, {"origin": "ELSEWHERE"}], ids=lambda wrong: next(iter(wrong))
)
def test_tasks_that_cannot_be_told_apart_or_asked_fail_the_check(store, wrong):
    good = {"task_id": "alpaca_0", "origin": "ALPACA", "topic": None, "text": "Name a bird."}
    rows = [good, {"task_id": "alpaca_1", "origin": "ALPACA", "topic": None, "text": "Name a fish."}]
    check = tasks.every_task_can_be_asked_and_told_apart
    store.replace("tasks.tasks", pl.DataFrame(rows, schema=TABLES["tasks.tasks"].schema))
    assert check(store).passed
    rows[1] |= wrong
    store.replace("tasks.tasks", pl.DataFrame(rows, schema=TABLES["tasks.tasks"].schema))
    failed = check(store)
    assert not failed.passed
    assert failed.metadata["tasks"].value == [rows[1]["task_id"]]
