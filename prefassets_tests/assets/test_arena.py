"""Arena's assets: a recipe is trained once, predicts today's held-out battles, and is judged beside baselines."""

from dataclasses import replace

import dagster as dg
import polars as pl
import pytest

from prefassets.arena_recipes import all_recipes
from prefassets.assets import arena as assets
from prefassets.assets.report import arena_page
from prefassets.assets.verdicts import ASSETS as SQL
from prefassets.domain.arena import digits
from prefassets.domain.arena import finetune as training
from prefassets.resources.arena import ArenaData
from prefassets.resources.arena_tables import arena_artifact
from prefassets.resources.tables import TABLES

NAME = "demo_lora"
BATTLES = 400


@pytest.fixture
def home(small_store, monkeypatch):
    """A home with a tiny model and few battles, whose recipe takes three steps."""
    recipe = replace(all_recipes()[NAME], steps=3, warmup_steps=1, evaluate_every=2, patience=None)
    monkeypatch.setitem(all_recipes(), NAME, recipe)
    monkeypatch.setattr("prefassets.resources.arena_source.SYNTHETIC_BATTLES", BATTLES / small_store.source().scale)
    make(small_store, [assets.battles, assets.folds, assets.recipe])
    return small_store


def make(store, wanted, partition: str | None = None, checks=()):
    return dg.materialize([*wanted, *checks], partition_key=partition, resources={"store": store}, raise_on_error=False)


def predict(store):
    """Everything up to predictions."""
    base = all_recipes()[NAME].base
    for wanted, partition in (
        ([assets.baseline_eval], None),
        ([assets.base_eval], base),
        ([assets.adapter], NAME),
        ([assets.finetuned_eval], NAME),
    ):
        made = make(store, wanted, partition)
        assert made.success, made.get_step_failure_events()


def judge(store):
    of_arena = [found for found in SQL if found.key.path[0] == "arena"]
    assert make(store, [assets.comparison, *of_arena, arena_page]).success


def test_a_recipe_is_trained_scored_and_judged_beside_baselines(home):
    assert ArenaData(home).state(all_recipes()[NAME]).state == "missing"
    predict(home)
    assert ArenaData(home).state(all_recipes()[NAME]).state == "finished"
    judge(home)
    held_out = set(ArenaData(home).battles("held_out")["battle"])
    by_predictor = home.query(
        "select predictor, list(battle) as battles, min(a + b + tie) as least from arena.predictions group by all"
    )
    assert set(by_predictor["predictor"]) == {"prior", "longer", "length_and_words", all_recipes()[NAME].base, NAME}
    for battles, least in by_predictor.select("battles", "least").iter_rows():
        assert set(battles) == held_out
        assert least == pytest.approx(1)
    scored = home.query("select distinct predictor from arena.comparison where metric = 'log_loss'")
    assert len(scored) == 5
    than = home.query("select distinct than from arena.difference where predictor = $name", name=NAME)["than"]
    assert set(than) == {"prior", "longer", "length_and_words", all_recipes()[NAME].base}
    assert set(home.query("from arena.reading")["predictor"]) == {all_recipes()[NAME].base, NAME}
    assert home.query("select count(*) from arena.curve").item() == 3
    states = dict(home.query("select recipe, state from arena.states").iter_rows())
    assert {name for name, state in states.items() if state == "finished"} == {NAME}
    assert set(states) == set(all_recipes()), "a recipe that never ran is said to be missing"
    page = home.local_file("reports/arena.html").read_text()
    assert NAME in page


def test_an_adapter_that_stands_is_not_trained_again(home, monkeypatch):
    predict(home)
    first = home.record(arena_artifact(NAME))["result"]
    monkeypatch.setattr(training, "finetune", lambda *_: pytest.fail("trained again"))
    assert make(home, [assets.adapter], NAME).success
    assert home.record(arena_artifact(NAME))["result"] == first


def test_what_an_adapter_leaves_says_what_it_cost_and_where_it_is(home):
    predict(home)
    (row,) = home.read("arena.adapter", [NAME]).to_dicts()
    assert (row["recipe"], row["model"], row["steps"], row["best_steps"]) == (NAME, "tiny", 3, [3])
    assert row["seconds"] > 0
    assert row["tokens"] > 0
    assert row["training_battles"] == len(ArenaData(home).battles("training"))
    assert "trl" in row["engine"]
    assert set(home.files(arena_artifact(NAME))) == {"adapter_config.json", "adapter_model.safetensors"}
    assert row["uri"].endswith(home.record(arena_artifact(NAME))["result"])


def test_nothing_is_predicted_by_an_adapter_of_other_battles(home, monkeypatch):
    predict(home)
    home.replace("arena.battles", ArenaData(home).battles("training"))
    made = make(home, [assets.finetuned_eval], NAME)
    assert not made.success
    (failed,) = made.get_step_failure_events()
    assert "stale (battles: " in failed.step_failure_data.error.cause.message


def test_predictions_are_of_the_battles_that_were_read_whatever_is_remade_meanwhile(home, monkeypatch):
    base = all_recipes()[NAME].base
    predict_battles = digits.predict_battles

    def remade(*arguments):
        changed = home.read("arena.battles").with_columns(winner=pl.lit("tie"))
        home.replace("arena.battles", changed)
        return predict_battles(*arguments)

    monkeypatch.setattr(digits, "predict_battles", remade)
    assert make(home, [assets.base_eval], base).success
    assert not ArenaData(home).base_stands(base)


def test_without_its_base_model_nothing_is_trained_and_the_message_says_what_to_make(home):
    home.replace("model.base", TABLES["model.base"].empty(), ["tiny"])
    for wanted, partition in (([assets.adapter], NAME), ([assets.base_eval], all_recipes()[NAME].base)):
        made = make(home, wanted, partition)
        assert not made.success
        (failed,) = made.get_step_failure_events()
        assert "materialise model/base, partition tiny, first" in failed.step_failure_data.error.cause.message


def test_a_training_that_fails_leaves_what_stood(home, monkeypatch):
    predict(home)
    stood = home.read("arena.adapter", [NAME])
    monkeypatch.setitem(all_recipes(), NAME, replace(all_recipes()[NAME], rank=2))

    def breaks(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(training, "finetune", breaks)
    assert not make(home, [assets.adapter], NAME).success
    assert home.read("arena.adapter", [NAME]).equals(stood)
    assert ArenaData(home).state(all_recipes()[NAME]).state == "stale"


def test_a_prompt_in_two_folds_blocks_what_follows(home):
    assert assets.no_prompt_is_in_two_folds(home).passed
    rows = home.read("arena.folds")
    repeated = rows.filter(pl.len().over("prompt_digest") > 1).sort("prompt_digest")["battle"][0]
    moved = rows.with_columns(
        fold=pl.when(battle=repeated).then((pl.col("fold") + 1) % 10).otherwise("fold").cast(pl.Int64)
    )
    home.replace("arena.folds", moved)
    found = assets.no_prompt_is_in_two_folds(home)
    assert not found.passed
    shared = rows.filter(battle=repeated)["prompt_digest"].to_list()
    assert found.metadata["prompts in no fold or in several"].value == shared
    home.replace("arena.folds", rows.filter(pl.col("battle") != repeated))
    assert not assets.no_prompt_is_in_two_folds(home).passed, "a battle without a fold is in no part"


def test_many_dropped_rows_are_worth_a_warning(home):
    assert assets.most_rows_are_battles(home).passed
    row = {"reason": "broken JSON", "rows": BATTLES, "examples": ["1"]}
    home.replace("arena.dropped", pl.DataFrame([row], schema=TABLES["arena.dropped"].schema))
    found = assets.most_rows_are_battles(home)
    assert not found.passed
    assert found.severity == dg.AssetCheckSeverity.WARN
