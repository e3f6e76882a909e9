"""What a plan says of time and memory, and that it says so where it does not know."""

import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from prefassets.assets.training import make_adapters
from prefassets.domain.training.cost import MemoryOfPack, Trained
from prefassets.resources.cells import StudyData, artifact
from prefassets.resources.plan import Measured, NothingToMeasure, StudyPlan, duration
from prefassets.resources.store import Store
from prefassets.settings import Settings
from prefassets_tests.small_home import STUDY

TWIN = replace(STUDY, name="demo_placebos")
LOST = [cell for cell in STUDY.cells if cell.cohort == "age.B"]


def plan(store, study=STUDY, **chosen):
    return StudyPlan(store, study, Settings(home=store.home, **chosen))


def rows(store, study=STUDY, measured=None, **chosen):
    return {name.strip(): text for name, text in plan(store, study, **chosen).rows(measured)}


def train(store, study=STUDY):
    made = make_adapters(store, StudyData(store, study), study.cells, "test")
    assert [reason for _, reason in made if reason] == []


def say_they_cost(store, seconds_per_token, cells_in_pack, device="cpu", cells=STUDY.cells):
    for cell in cells:
        how = {"cells_in_pack": cells_in_pack, "device": device}
        row = store.read("training.cells", cell.partition).with_columns(seconds=seconds_per_token * pl.col("tokens"))
        changed = row.with_columns(pl.lit(value).alias(name) for name, value in how.items())
        store.replace("training.cells", changed, cell.partition)


@pytest.fixture(scope="module")
def trained_folder(small_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "home"
    shutil.copytree(small_folder, folder)
    train(Store(home=str(folder)))
    return folder


@pytest.fixture
def trained(trained_folder, tmp_path):
    """A home in which all cells are trained, and their cost is what a test says."""
    shutil.copytree(trained_folder, tmp_path / "home")
    return Store(home=str(tmp_path / "home"))


def test_an_empty_home_says_that_nothing_is_measured_and_what_would_make_it_measurable(store):
    told = rows(store)
    assert told["to train"] == "6 cells"
    assert told["time"] == "not measured: no cell of tiny was trained in this home by packed"
    assert told["memory"] == "not measured"
    assert told["to measure"].startswith("this home has no reference pass of tiny over its pairs yet, which `")
    with pytest.raises(NothingToMeasure, match="no step of demo can be taken: this home has no reference pass"):
        plan(store).measure()


def test_tokens_are_those_that_training_reads(small_store):
    """Five steps of eight pairs are one epoch of the forty pairs of age.A: there the expectation is exact."""
    study = replace(STUDY, hyperparameters=replace(STUDY.hyperparameters, steps=5))
    told = {cell: plan(small_store, study).tokens([cell]) for cell in study.cells}
    train(small_store, study)
    for cell, tokens in told.items():
        read = small_store.read("training.cells", cell.partition)["tokens"].item()
        assert tokens == pytest.approx(read, rel=0 if cell.cohort == "age.A" else 0.1)


def test_time_is_tokens_times_the_rate_of_the_cells_that_stand(trained):
    for cell in LOST:
        trained.discard(artifact(cell))
    say_they_cost(trained, 1 / 50, 4, cells=STUDY.cells[:3])
    say_they_cost(trained, 1 / 20, 1, cells=STUDY.cells[3:4])
    told, tokens = rows(trained), plan(trained).tokens(LOST)
    assert told["to train"] == f"2 cells, {tokens:,.0f} tokens"
    packed = f"about {duration(tokens / 50)}: 50 tokens a second by 3 cells of dpo finished in this home, in packs of 4"
    assert told["time on cpu"] == packed
    assert told["packs"] == "1 of up to 2 cells"
    alone = f"about {duration(tokens / 20)}: 20 tokens a second by 1 cell of dpo finished in this home, one by one"
    assert told["without packs"] == f"{alone}; packs save 60%"


def test_every_device_is_told_apart(trained):
    say_they_cost(trained, 1 / 50, 4, cells=STUDY.cells[:3])
    say_they_cost(trained, 1 / 5000, 4, "NVIDIA L4", cells=STUDY.cells[3:])
    told = rows(trained)
    assert told["time on cpu"].startswith("50 tokens a second by 3 cells")
    assert told["time on NVIDIA L4"].startswith("5,000 tokens a second by 3 cells")


def test_gpu_hours_are_the_seconds_that_the_own_cells_of_a_study_took_on_a_gpu(trained):
    say_they_cost(trained, 1 / 50, 4, cells=STUDY.cells[:4])
    say_they_cost(trained, 1, 4, "NVIDIA L4", cells=LOST)
    train(trained, TWIN)  # adopts, and so costs nothing
    on_gpu = sum(trained.read("training.cells", cell.partition)["tokens"].item() for cell in LOST)
    told = rows(trained)
    spent = f"2 cells trained in {duration(on_gpu)} = {on_gpu / 3600:,.2f} GPU-hours, 1 run on 1 node"
    assert told["spent on NVIDIA L4"] == spent
    assert "GPU" not in told["spent on cpu"]
    assert not [name for name in rows(trained, TWIN) if name.startswith("spent")]

    for cell in LOST:
        trained.discard(artifact(cell))
        trained.discard(artifact(TWIN.cell(cell.key)))
    say_they_cost(trained, 1, 2, "NVIDIA L4", cells=STUDY.cells[:4])
    to_train = plan(trained).tokens(LOST)
    assert rows(trained)["time on NVIDIA L4"].startswith(
        f"about {duration(to_train)} = {to_train / 3600:,.2f} GPU-hours"
    )


def test_another_engine_was_not_measured(trained):
    assert rows(trained, engine="trl")["time"] == "not measured: no cell of tiny was trained in this home by trl"


def test_cells_that_trl_trained_are_the_rate_of_trl(trained):
    from prefassets.domain.training.trl_engine import ENGINE

    for cell in STUDY.cells:
        row = trained.read("training.cells", cell.partition).with_columns(engine=pl.lit(ENGINE))
        trained.replace("training.cells", row, cell.partition)
    trained.discard(artifact(STUDY.cells[0]))
    told = rows(trained, engine="trl", cells_per_pack=8)
    assert "by 5 cells of dpo finished in this home" in told["time on cpu"]
    assert told["packs"] == "1 of up to 1 cell", "TRL trains one after the other, whatever a pack may hold"
    assert rows(trained)["time"].endswith("by packed")


def test_what_is_adopted_is_not_trained_and_measures_nothing(trained):
    say_they_cost(trained, 1 / 50, 6)
    told = rows(trained, TWIN)
    assert (told["to train"], told["to adopt"]) == ("0 cells", "6 cells: the adapter stands in another study")
    saved = plan(trained, TWIN).tokens(TWIN.cells) / 50
    assert told["adopting saves"] == f"about {duration(saved)}"
    train(trained, TWIN)
    assert "by 6 cells of dpo" in rows(trained, TWIN)["time on cpu"]
    assert "to adopt" not in rows(trained, TWIN)


def test_measuring_takes_steps_of_a_pack_and_of_one_cell_and_leaves_the_home_alone(small_store):
    def files():
        return {path: path.stat().st_mtime_ns for path in Path(small_store.home).rglob("*") if path.is_file()}

    before = files()
    found = plan(small_store).measure()
    assert [cell.cells_in_pack for cell in found.trained] == [1, *[6] * 6]
    assert found.memory.cells == 6
    assert files() == before
    told = rows(small_store, measured=found)
    assert "by 6 cells of dpo just now, in packs of 6" in told["time on cpu"]
    assert "by 1 cell of dpo just now, one by one; packs save" in told["without packs"]
    assert "to measure" not in told


@pytest.mark.parametrize(("free", "said"), [(16, "16.0 GiB free"), (4, "does not fit: 4.0 GiB free")])
def test_memory_is_one_base_model_and_what_each_cell_adds(small_store, free, said):
    measured = Measured(
        (Trained("dpo", "cuda:0", 4, 1_000, 1.0),),
        MemoryOfPack(
            cells=4, base_model=2**30, of_adapter=2**27, activations=2**32, for_logits=2**29, free=free * 2**30
        ),
    )
    assert rows(small_store, measured=measured)["memory"] == (
        "6.0 GiB = base model 1.0 GiB + 4 cells x 128.0 MiB + activations 4.0 GiB + logits 512.0 MiB; "
        f"{said} beside the base model"
    )


def test_pairs_that_the_reference_pass_lacks_leave_nothing_to_count_by(small_store):
    more = small_store.read("prism.pairs").with_columns(pair_id="again " + pl.col("pair_id"))
    small_store.replace("prism.pairs", pl.concat([small_store.read("prism.pairs"), more]))
    told = rows(small_store)
    assert told["to train"] == "6 cells"
    assert "no reference pass" in told["to measure"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "less than 1 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7_020, "1 h 57 min")],
)
def test_durations_read_like_durations(seconds, text):
    assert duration(seconds) == text
