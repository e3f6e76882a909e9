"""One run trains exactly the cells it lists, whichever they are, and Dagster's grid shows each as it is."""

import shutil
from contextlib import contextmanager
from dataclasses import asdict, replace
from unittest.mock import patch

import dagster as dg
import polars as pl
import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from prefassets.assets import cells_job, training
from prefassets.domain.training import train
from prefassets.resources.cells import artifact, unfinished
from prefassets.resources.store import Store
from prefassets.resources.tables import TABLES
from prefassets.settings import Settings
from prefassets.studies import all_studies

READING_NOTHING = {name: replace(study, activations=None) for name, study in all_studies().items()}
STUDY = READING_NOTHING["demo"]
ADAPTERS, MARGINS = (dg.AssetKey(["demo", name]) for name in ("adapters", "margins"))
GROUPS = [(split, group) for split in STUDY.expected for group in "AB"]  # of one user each, who is in no other
PAIRS_EACH = 12
SCATTERED = [  # in the study's order, no two neighbours
    "everyone|42",
    "personalisation.A|123",
    "safety.A|42",
    "safety.B|456",
    "age.B|123",
    "region.A|42",
    "region.B|456",
]


def rows(table, *values):
    """Rows of a table; columns that they leave out are blank."""
    blank = {
        name: "" if column.dtype == pl.String else [] if column.dtype.is_nested() else 0
        for name, column in TABLES[table].columns.items()
    }
    return pl.DataFrame([blank | row for row in values], schema=TABLES[table].schema)


def folds(held_out):
    users = [*(f"{split}.{group}" for split, group in GROUPS), "held out"]
    return pl.DataFrame({"user_id": users, "fold": [0 if user in held_out else 1 for user in users]})


def prepare(store):
    """Just enough for the demo's cells to have recipes."""
    users = [*(f"{split}.{group}" for split, group in GROUPS), "held out"]
    pairs = [{"pair_id": f"{user}, pair {n}", "user_id": user} for user in users for n in range(PAIRS_EACH)]
    store.replace("prism.pairs", rows("prism.pairs", *pairs))
    store.replace("prism.folds", folds(held_out=["held out"]))
    members = [
        {"split": split, "user_id": user, "user_group": group}
        for split, group in GROUPS
        for user in (f"{split}.{group}", *(["held out"] if group == "A" else []))
    ]
    store.replace("splits.assignments", rows("splits.assignments", *members))
    store.replace("model.base", rows("model.base", {"base_model": "tiny", "revision": "r1"}), ("tiny",))


@contextmanager
def opened(folder):
    (folder / "dagster").mkdir(exist_ok=True)
    with dg.DagsterInstance.local_temp(str(folder / "dagster"), {"telemetry": {"enabled": False}}) as instance:
        yield Trained(Store(home=str(folder / "home")), instance)


@pytest.fixture(scope="module", autouse=True)
def studies_that_keep_no_activations():
    """There is no model here that could be read; `test_activations` reads one."""
    with patch.dict(all_studies(), READING_NOTHING):
        yield


@pytest.fixture
def home(tmp_path):
    """A home in which no cell is finished."""
    with opened(tmp_path) as home:
        prepare(home.store)
        yield home


@pytest.fixture(scope="module")
def finished_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    with opened(folder) as home:
        prepare(home.store)
        assert home.run([cell.key for cell in STUDY.cells]).success
        assert home.missing() == []
    return folder


@pytest.fixture
def finished(finished_folder, tmp_path):
    """A home in which every cell of the demo is finished."""
    shutil.copytree(finished_folder, tmp_path / "copy")
    with opened(tmp_path / "copy") as home:
        yield home


class Trained:
    """A home, and runs on it in which training and scoring take no time."""

    def __init__(self, store, instance):
        self.store, self.instance = store, instance
        self.packs = []  # what the trainer was given, one list a call
        self.how = []  # and how it was told to train
        self.diverging, self.unreadable = set(), set()
        self.before_each = lambda: None

    def run(self, keys, study="demo"):
        """Run the job on these cells."""
        config = cells_job.run_config(all_studies()[study], keys)
        with self.without_models():
            return cells_job.cells_job(all_studies()[study]).execute_in_process(
                config, self.instance, resources={"store": self.store}, raise_on_error=False
            )

    def run_range(self, first, last):
        """Run the asset on a range, as a backfill from the UI does."""
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        with self.without_models():
            return dg.materialize(
                [training.adapters_asset(STUDY)],
                instance=self.instance,
                resources={"store": self.store},
                tags=tags,
                raise_on_error=False,
            )

    @contextmanager
    def without_models(self):
        with (
            patch.object(training, "load_training_data"),
            patch.object(train, "train_cells", self.train_cells),
            patch.object(cells_job, "score", self.score),
        ):
            yield

    def train_cells(self, cells, data, **how):
        cells = list(cells)
        self.packs.append([cell.key for cell in cells])
        self.how.append(how)
        for cell in cells:
            self.before_each()
            if cell.key in self.diverging:
                yield train.FailedCell(cell.key, "the loss is nan")
                continue
            log = pl.DataFrame({name: [1, 2] for name in train.LOG_SCHEMA}, schema=train.LOG_SCHEMA)
            files = {"adapter_model.safetensors": cell.key.encode()}
            yield train.FinishedCell(
                key=cell.key,
                files=files,
                log=log,
                seconds=0.1,
                engine="none",
                device="cpu",
                train_pairs=len(cell.pair_ids),
                steps=2,
                tokens=7 * len(cell.pair_ids),
                cells_in_pack=len(cells),
            )

    def score(self, store, data, cells):
        for cell in cells:
            if cell.key in self.unreadable:
                yield cell, "ValueError: the adapter was trained on another model"
                continue
            fingerprint = store.record(artifact(cell))["fingerprint"]
            identity = asdict(cell) | {"split": cell.split, "user_group": cell.user_group, "fingerprint": fingerprint}
            margins = [identity | {"pair_id": pair_id} for pair_id in data.held_out_pairs(cell)["pair_id"]]
            store.replace("training.margins", rows("training.margins", *margins), cell.partition)
            yield cell, len(margins)

    def lose(self, keys):
        for key in keys:
            self.store.discard(artifact(STUDY.cell(key)))

    def make_stale(self, cell):
        """Let a cell's record say that it was trained for three steps; returns the record."""
        record = self.store.record(artifact(cell))
        record["recipe"]["hyperparameters"]["steps"] = 3
        self.store.put(artifact(cell), {}, record, record["result"])
        return record

    def grid(self, asset=ADAPTERS):
        """What the UI shows of each partition that is failed or in progress; the others are materialised or missing."""
        partitions = training.cell_partitions(STUDY)
        found = get_and_update_asset_status_cache_value(self.instance, asset, partitions)
        failed = found.deserialize_failed_partition_subsets(partitions).get_partition_keys()
        running = found.deserialize_in_progress_partition_subsets(partitions).get_partition_keys()
        return dict.fromkeys(map(str, failed), "failed") | dict.fromkeys(map(str, running), "in progress")

    def made(self, asset=ADAPTERS):
        """Per cell that was ever materialised, the number of the event that said so last."""
        event = dg.DagsterEventType.ASSET_MATERIALIZATION
        return dict(self.instance.get_latest_storage_id_by_partition(asset, event))

    def missing(self):
        return [state.cell.key for state in unfinished(self.store, STUDY)]


def test_scattered_cells_are_one_run_and_one_pack(finished):
    finished.lose(SCATTERED)
    assert finished.missing() == SCATTERED
    assert finished.run(SCATTERED).success
    assert finished.packs == [SCATTERED]
    assert finished.missing() == []
    assert finished.grid(ADAPTERS) == finished.grid(MARGINS) == {}


def test_each_cell_is_recorded_when_it_ends_not_when_all_have(finished):
    finished.lose(SCATTERED)
    seen = []
    finished.before_each = lambda: seen.append((finished.grid(ADAPTERS), set(finished.grid(MARGINS)), recorded()))

    def recorded():
        return [key for key in SCATTERED if finished.store.record(artifact(STUDY.cell(key)))]

    finished.run(SCATTERED)
    for done, (adapters, margins, standing) in enumerate(seen):
        assert adapters == dict.fromkeys(SCATTERED[done:], "in progress")
        assert margins == set(SCATTERED)
        assert standing == SCATTERED[:done]


def test_cells_that_were_not_listed_are_left_alone_stale_ones_too(finished):
    stale = STUDY.cell("age.A|42")
    record = finished.make_stale(stale)
    before = {asset: finished.made(asset) for asset in (ADAPTERS, MARGINS)}
    finished.lose(SCATTERED)
    finished.run(SCATTERED)
    for asset, events in before.items():
        changed = {key for key, event in finished.made(asset).items() if event != events[key]}
        assert changed == set(SCATTERED)
    assert finished.store.record(artifact(stale))["recipe"] == record["recipe"]


def test_a_stale_cell_that_is_listed_is_trained_again_not_adopted_from_itself(finished):
    finished.make_stale(STUDY.cell("age.A|42"))
    assert finished.run(["age.A|42"]).success
    assert finished.packs == [["age.A|42"]]


def test_of_cells_that_diverge_only_they_fail_and_the_others_are_scored(finished):
    finished.lose(SCATTERED)
    finished.diverging = {"safety.B|456"}
    result = finished.run(SCATTERED)
    assert not result.success
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    assert "safety.B|456: the loss is nan" in failure.step_failure_data.error.message
    assert finished.grid(ADAPTERS) == finished.grid(MARGINS) == {"safety.B|456": "failed"}
    assert finished.missing() == ["safety.B|456"]

    finished.diverging = set()
    finished.run(["safety.B|456"])
    assert finished.packs[-1] == ["safety.B|456"]
    assert finished.grid(ADAPTERS) == finished.grid(MARGINS) == {}


def test_a_cell_that_cannot_be_scored_fails_alone_beside_one_that_diverged(finished):
    finished.lose(SCATTERED)
    finished.diverging, finished.unreadable = {"safety.B|456"}, {"age.B|123"}
    result = finished.run(SCATTERED)
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    assert "safety.B|456: the loss is nan" in failure.step_failure_data.error.message
    why = failure.step_failure_data.error.message
    assert "age.B|123: ValueError: the adapter was trained on another model" in why
    assert finished.grid(ADAPTERS) == {"safety.B|456": "failed"}
    assert finished.grid(MARGINS) == {"safety.B|456": "failed", "age.B|123": "failed"}


def test_the_settings_say_how_cells_are_trained(home, monkeypatch):
    chosen = Settings(engine="trl", cells_per_pack=3, checkpoint_seconds=7)
    monkeypatch.setattr(training, "settings", lambda: chosen)
    home.run(SCATTERED)
    (how,) = home.how
    assert (how["engine"], how["cells_per_pack"], how["checkpoints"].seconds_between) == ("trl", 3, 7)


def test_a_run_tells_dagster_of_each_cell_once_and_of_nothing_else(home):
    result = home.run(SCATTERED)
    events = home.instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    told = [(event.dagster_event.asset_key, event.dagster_event.partition) for event in events]
    assert told == [(asset, key) for asset in (ADAPTERS, MARGINS) for key in SCATTERED]


def test_a_cell_that_only_lacks_margins_is_scored_without_training(finished):
    unscored = STUDY.cell(SCATTERED[0])
    finished.store.replace("training.margins", rows("training.margins"), unscored.partition)
    assert finished.missing() == [unscored.key]
    finished.run([unscored.key])
    assert finished.packs == []
    assert finished.missing() == []


def test_where_no_cell_can_be_trained_nothing_is_scored_and_each_says_why(home):
    home.store.replace("prism.folds", folds(held_out=["held out", "age.B"]))
    assert not home.run(["age.B|42", "age.B|123"]).success
    assert home.packs == []
    assert home.grid(ADAPTERS) == home.grid(MARGINS) == {"age.B|42": "failed", "age.B|123": "failed"}


def test_a_cell_that_does_not_exist_says_what_there_is(home):
    def error(result):
        (failure,) = (event for event in result.all_events if event.is_step_failure)
        return failure.step_failure_data.error.cause.message

    assert "demo has no cell 'age.C|42'; its cells look like 'region.B|456'" in error(
        home.run(["age.A|42", "age.C|42"])
    )
    assert home.made() == {}


def test_a_range_of_cells_as_a_backfill_asks_for_it_fails_alone_too(home):
    home.diverging = {"age.A|123"}
    assert not home.run_range("age.A|42", "age.B|456").success
    assert home.packs == [[f"age.{group}|{seed}" for group in "AB" for seed in (42, 123, 456)]]
    assert home.grid() == {"age.A|123": "failed"}
    assert set(home.made()) == {*home.packs[0]} - {"age.A|123"}


def test_a_cell_that_stands_in_another_study_is_adopted_not_trained(finished):
    twin = replace(STUDY, name="demo_placebos")
    with patch.dict(all_studies(), {"demo_placebos": twin}):
        assert finished.run(SCATTERED[:2], study="demo_placebos").success
    assert finished.packs == []
    for key in SCATTERED[:2]:
        theirs, ours = (finished.store.record(artifact(study.cell(key))) for study in (STUDY, twin))
        assert ours["fingerprint"] == theirs["fingerprint"]
        assert ours["provenance"]["adopted_from"] == "demo"
        assert finished.store.files(artifact(twin.cell(key))) == finished.store.files(artifact(STUDY.cell(key)))
    logs = finished.store.query("select study, step, loss from training.log where cohort = 'everyone' and seed = 42")
    assert sorted(logs.rows()) == [(study, step, step) for study in ("demo", "demo_placebos") for step in (1, 2)]
    cost = finished.store.query(
        "select distinct tokens, seconds, cells_in_pack from training.cells where cohort = 'everyone' and seed = 42"
    )
    assert cost.rows() == [(7 * 96, 0.1, 27)]
