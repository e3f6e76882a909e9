"""A recipe is finished only while adapter and predictions are of today's recipe, model and battles."""

from dataclasses import replace

import polars as pl
import pytest

from prefassets.arena_recipes import all_recipes
from prefassets.domain.arena import scores
from prefassets.domain.arena.prompt import PROMPTS, Prompt
from prefassets.resources.arena import (
    BASELINES,
    ArenaData,
    changes,
    compared,
    judged_tables,
    outdated,
    recipe_rows,
)
from prefassets.resources.arena_tables import arena_artifact
from prefassets.resources.estimates import connect_current
from prefassets.resources.store import DataSource, Store
from prefassets.resources.tables import TABLES
from prefassets.resources.warehouse import write

RECIPE = all_recipes()["demo_lora"]


def battles(winner: str = "A") -> pl.DataFrame:
    rows = [
        {
            "battle": str(number),
            "model_a": "elm",
            "model_b": "fir",
            "prompts": ["Why?"],
            "answers_a": ["So."],
            "answers_b": ["Thus."],
            "winner": winner,
            "turns": 1,
            "length_a": 3,
            "length_b": 5,
            "prompt_digest": f"{number % 3}",
        }
        for number in range(6)
    ]
    return pl.DataFrame(rows, schema=TABLES["arena.battles"].schema)


PARTS = {"0": "held_out", "1": "validation", "2": "training"}


def folds() -> pl.DataFrame:
    return battles().select(
        "battle",
        "prompt_digest",
        fold=pl.col("prompt_digest").cast(pl.Int64),
        part=pl.col("prompt_digest").replace(PARTS),
    )


@pytest.fixture
def store(tmp_path):
    """A home with battles, folds and a base model, in which nothing is trained."""
    store = Store(home=str(tmp_path / "home"))
    store.pin(DataSource())
    store.replace("arena.battles", battles())
    store.replace("arena.folds", folds())
    known(store, "first")
    return store


def known(store, revision: str) -> None:
    """The revision of the base model that this home has."""
    row = dict.fromkeys(TABLES["model.base"].columns) | {"base_model": "tiny", "revision": revision}
    row |= {"source": "", "architecture": "", "parameters": 1, "vocabulary": 1, "hidden_size": 1, "layers": 1}
    store.replace("model.base", pl.DataFrame([row], schema=TABLES["model.base"].schema), ["tiny"])


def train(store) -> None:
    store.put(arena_artifact(RECIPE.name), {"adapter": b""}, {"trained": ArenaData(store).trained(RECIPE)})


def predictions(predictor: str, fingerprint: str | None) -> pl.DataFrame:
    held_out = folds().filter(part="held_out")
    thirds = {name: pl.lit(1 / 3) for name in ("a", "b", "tie")}
    none = {name: pl.lit(None) for name in ("a_swapped", "b_swapped", "tie_swapped", "tokens", "left_out")}
    return held_out.select("battle", predictor=pl.lit(predictor), **thirds, **none, fingerprint=pl.lit(fingerprint))


def score(store) -> None:
    data = ArenaData(store)
    rows = predictions(RECIPE.name, data.scored_fingerprint(RECIPE))
    store.replace("arena.finetuned_eval", rows, [RECIPE.name])


def ask_base(store) -> None:
    rows = predictions(RECIPE.base, ArenaData(store).base_fingerprint(RECIPE.base))
    store.replace("arena.base_eval", rows, [RECIPE.base])


def finish(store) -> None:
    train(store)
    score(store)
    ask_base(store)


def state(store):
    found = ArenaData(store).state(RECIPE)
    return found.state, found.reason


def test_a_recipe_is_finished_once_its_adapter_and_its_base_model_have_predicted(store):
    assert state(store)[0] == "missing"
    train(store)
    assert state(store)[0] == "unscored"
    score(store)
    assert state(store)[0] == "unscored"
    ask_base(store)
    assert state(store) == ("finished", "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda store: known(store, "second"), "revision: first -> second"),
        (lambda store: store.replace("arena.battles", battles("B")), "battles: "),
        (
            lambda store: store.replace("arena.folds", folds().with_columns(part=pl.lit("training"))),
            "battles: ",
        ),
    ],
    ids=["model", "battles", "folds"],
)
def test_it_is_stale_and_says_why_once_something_it_was_trained_on_has_changed(store, change, said):
    finish(store)
    change(store)
    found, reason = state(store)
    assert found == "stale"
    assert reason.startswith(said)


def test_it_is_stale_once_its_recipe_has_changed_but_not_for_what_is_said_of_it(store):
    finish(store)
    data = ArenaData(store)
    assert data.state(replace(RECIPE, question="Another?")).state == "finished"
    found = data.state(replace(RECIPE, rank=RECIPE.rank + 1))
    assert (found.state, found.reason) == ("stale", f"rank: {RECIPE.rank} -> {RECIPE.rank + 1}")


def test_predictions_of_an_adapter_that_was_replaced_do_not_count(store):
    finish(store)
    train(store)
    assert state(store)[0] == "unscored"
    assert RECIPE.name not in set(ArenaData(store).predictions()["predictor"])
    score(store)
    assert state(store) == ("finished", "")


def test_what_is_compared_is_of_todays_battles_alone(store):
    finish(store)
    rows = [predictions(name, ArenaData(store).baselines_fingerprint) for name in BASELINES]
    store.replace("arena.baseline_eval", pl.concat(rows))
    assert set(ArenaData(store).predictions()["predictor"]) == {*BASELINES, RECIPE.base, RECIPE.name}
    store.replace("arena.battles", battles("tie"))
    assert ArenaData(store).predictions().is_empty()


def test_battles_without_folds_of_their_own_are_no_battles_of_today(store):
    """A prompt that changed may be in another fold now, and a battle that is new is in none."""
    assert ArenaData(store).digest is not None
    store.replace("arena.battles", battles().with_columns(prompt_digest=pl.lit("new")))
    assert ArenaData(store).digest is None
    store.replace("arena.battles", battles().with_columns(battle="x" + pl.col("battle")))
    assert ArenaData(store).digest is None
    store.replace("arena.battles", battles()[1:])
    assert ArenaData(store).digest is None


def test_what_is_judged_is_outdated_once_other_predictions_stand(store):
    finish(store)
    data = ArenaData(store)
    assert outdated(data)
    for table, rows in judged_tables(data).items():
        store.replace(table, rows)
    assert not outdated(ArenaData(store))
    train(store)
    score(store)
    assert outdated(ArenaData(store))
    with connect_current(store, ["arena.comparison"]) as connection:
        made = dict(connection.execute("select distinct predictor, fingerprint from arena.comparison").fetchall())
    assert made == ArenaData(store).standing()


def test_intervals_are_widened_for_every_recipe_and_base_model_tried_or_not(store, monkeypatch):
    finish(store)
    asked = []
    judge = scores.judge
    monkeypatch.setattr(scores, "judge", lambda *given, **named: asked.append(named) or judge(*given, **named))
    judged_tables(ArenaData(store))
    bases = {recipe.base for recipe in all_recipes().values()}
    assert [named["models_named"] for named in asked] == [len(all_recipes()) + len(bases)]


def test_a_prompt_with_other_words_makes_its_recipes_stale(store, monkeypatch):
    finish(store)
    other = Prompt("{prompt} {response_a} {response_b}?")
    monkeypatch.setattr("prefassets.resources.arena.PROMPTS", {**PROMPTS, RECIPE.prompt: other})
    assert state(store)[0] == "stale"
    assert not ArenaData(store).base_stands(RECIPE.base)


def test_a_home_without_battles_has_every_recipe_missing(tmp_path):
    store = Store(home=str(tmp_path / "home"))
    assert {found.state for found in ArenaData(store).states()} == {"missing"}
    assert ArenaData(store).predictions().is_empty()


def test_each_part_has_its_own_battles(store):
    found = {part: ArenaData(store).battles(part)["battle"].to_list() for part in PARTS.values()}
    assert found == {"held_out": ["0", "3"], "validation": ["1", "4"], "training": ["2", "5"]}


def test_a_recipe_is_compared_with_baselines_its_base_and_what_it_varies():
    there = pl.Series([*BASELINES, RECIPE.base, "demo_lora", "demo_qlora"])
    found = compared(there)
    assert found["demo_lora"] == [*BASELINES, RECIPE.base]
    assert found["demo_qlora"] == [*BASELINES, RECIPE.base, "demo_lora"]
    assert found[RECIPE.base] == [*BASELINES]
    assert set(found) == {RECIPE.base, "demo_lora", "demo_qlora"}


def test_the_table_of_recipes_says_what_each_changes():
    rows = {row["recipe"]: row for row in recipe_rows().to_dicts()}
    assert set(rows) == set(all_recipes())
    assert rows["qlora"]["changes"] == "quantised: False -> True"
    assert rows["rank_32"]["changes"] == "alpha: 32 -> 64; rank: 16 -> 32"
    assert rows["lora"]["changes"] == ""
    assert changes(all_recipes()["larger_model"]) == ("model: Qwen/Qwen2.5-0.5B-Instruct -> Qwen/Qwen2.5-1.5B-Instruct")


def test_battles_and_predictions_are_in_the_warehouse(store, tmp_path):
    finish(store)
    rows = write(store, tmp_path / "warehouse.duckdb")
    assert (rows["arena.battles"], rows["arena.base_eval"], rows["arena.finetuned_eval"]) == (6, 2, 2)
