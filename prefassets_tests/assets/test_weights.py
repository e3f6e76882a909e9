"""What the weight tables and the answers behind their yardstick leave in a home."""

import dagster as dg
import polars as pl
import pytest

from prefassets.assets import model, verdicts, weights
from prefassets.resources import models
from prefassets.resources.store import Store
from prefassets_tests import small_home

REFERENCE = small_home.STUDY.reference
WEIGHT_TABLES = [
    asset for asset in verdicts.ASSETS if asset.key.path[0] == "weights" or asset.key.path[-1] == "wpo_weights"
]


def materialize(store: Store, assets, **options) -> dg.ExecuteInProcessResult:
    return dg.materialize(assets, resources={"store": store}, **options)


@pytest.fixture
def with_answers(small_store, monkeypatch):
    monkeypatch.setattr(models, "ON_POLICY_PROMPTS", 20)
    assert materialize(small_store, [model.on_policy], partition_key=REFERENCE).success
    return small_store


def test_the_base_model_answers_some_prompts_once_and_the_same_each_time(with_answers):
    rows = with_answers.read("model.on_policy")
    assert rows["pair_id"].n_unique() == 20
    prompts = with_answers.read("prism.pairs").join(rows, on="pair_id", how="semi")["prompt"]
    assert len({str(prompt) for prompt in prompts}) == 20
    assert rows.group_by("sampling", "answer").len().sort("sampling", "answer").rows() == [
        ("T = 1", 1, 20),
        ("T = 1", 2, 20),
        ("greedy", 1, 20),
    ]
    assert rows["revision"].unique().to_list() == with_answers.read("model.base")["revision"].to_list()
    assert materialize(with_answers, [model.on_policy], partition_key=REFERENCE).success
    assert with_answers.read("model.on_policy").equals(rows)


def test_every_table_of_weights_is_made_of_each_pass_and_its_check_sees_a_missing_pair(with_answers):
    assets = [*WEIGHT_TABLES, weights.source_model, weights.explained, model.every_pair_has_a_weight]
    made = materialize(with_answers, assets)
    assert made.success
    assert [check.passed for check in made.get_asset_check_evaluations()] == [True]
    for table in ("mean", "split", "score_gap", "histogram", "yardstick", "source_model", "explained"):
        rows = with_answers.read(f"weights.{table}")
        assert rows["reference"].unique().to_list() == [REFERENCE], table
    assert len(with_answers.read("model.wpo_weights")) == sum(small_home.USERS.values())
    assert set(with_answers.read("weights.explained")["state"]) == {
        "undefined: users with pairs: 3; an interval over users wants 20"
    }

    reference = with_answers.read("model.reference")
    lacking = reference.filter(pl.col("pair_id") != reference["pair_id"][0])
    with_answers.replace("model.reference", lacking, [REFERENCE])
    made = materialize(with_answers, assets)
    (check,) = made.get_asset_check_evaluations()
    assert not check.passed
    assert REFERENCE in check.metadata


def test_a_home_without_a_reference_pass_has_empty_tables(tmp_path):
    store = Store(home=str(tmp_path / "home"))
    assert materialize(store, [*WEIGHT_TABLES, weights.source_model, weights.explained]).success
    assert store.read("weights.source_model").is_empty()
    assert store.read("weights.explained").is_empty()
