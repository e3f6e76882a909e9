"""The suite finds what is planted, and nothing where nothing is."""

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from prefassets.domain.probes.suite import Found, Probed, Target, probe_suite
from prefassets.resources.probe_tables import (
    DIRECTION_COLUMNS,
    PREDICTION_COLUMNS,
    SCORE_COLUMNS,
    SWEEP_COLUMNS,
)
from prefassets.resources.table import Table
from prefassets_tests.domain.probes.planted import activations_with, choices_by, names, numbers, probed

ROWS, WIDTH = 10_000, 256


def estimates(found: Found, **where: str) -> dict[str, float]:
    rows = found.scores.filter(**({"split": "unit", "features": "activations"} | where))
    return dict(zip(rows["metric"], rows["estimate"], strict=True))


@pytest.fixture(scope="module")
def planted() -> Found:
    activations, target = activations_with(ROWS, WIDTH, 0.25)
    return probe_suite(probed(activations, numbers(target)), draws=200, seeds=3)


def test_a_planted_direction_is_recovered_held_out(planted):
    of = estimates(planted)
    assert of["r_squared"] == pytest.approx(0.25, abs=0.03)
    assert of["pearson_r"] == pytest.approx(0.5, abs=0.03)
    assert of["mse"] == pytest.approx(0.75, abs=0.05)  # what 256 weights of 8,000 rows cost comes on top
    assert of["pairwise_accuracy"] == pytest.approx(0.5 + np.arcsin(0.5) / np.pi, abs=0.02)  # of two normals
    row = planted.scores.filter(metric="r_squared", features="activations").row(0, named=True)
    assert row["lower"] < row["estimate"] < row["upper"] < row["lower"] + 0.05
    assert (row["rows"], row["units"]) == (ROWS, ROWS)


@pytest.mark.parametrize("features", ["shuffled labels", "random activations"])
def test_baselines_that_know_nothing_score_nothing(planted, features):
    of = estimates(planted, features=features)
    assert of["r_squared"] == pytest.approx(0, abs=0.02)
    assert of["pearson_r"] == pytest.approx(0, abs=0.05)
    assert of["pairwise_accuracy"] == pytest.approx(0.5, abs=0.02)
    rows = planted.scores.filter(features=features)
    assert rows["seeds"].unique().to_list() == [3]
    assert rows["interval"].str.starts_with("seeds").all()


def test_directions_predict_what_is_told_of_them():
    activations, target = activations_with(300, 12, 0.6)
    found = probe_suite(probed(activations, numbers(target)), draws=50, seeds=2)
    for fold, intercept, direction in found.fold_directions.select("fold", "intercept", "direction").iter_rows():
        told = found.predictions.filter(fold=fold).sort("item")
        places = [int(item.removeprefix("task_")) for item in told["item"]]
        assert activations[places] @ np.array(direction) + intercept == pytest.approx(told["predicted"], abs=1e-4)
        assert target[places] == pytest.approx(told["actual"])
    assert found.predictions["item"].sort().to_list() == names(300)


def test_a_pure_topic_signal_is_nothing_within_topics_nor_in_topics_left_out():
    generator = np.random.default_rng(0)
    topics = generator.integers(0, 8, 800)
    of_topic = generator.normal(size=(8, 30)) * 4
    target = generator.normal(size=8)[topics] * 2 + generator.normal(size=800)
    activations = (of_topic[topics] + generator.normal(size=(800, 30))).astype(np.float32)
    found = probe_suite(
        probed(activations, numbers(target), topic=[f"topic {topic}" for topic in topics]), draws=200, seeds=2
    )
    by_unit, left_out = estimates(found), estimates(found, split="leave_one_topic_out")
    assert by_unit["r_squared"] > 0.5
    assert by_unit["r_squared_within_topics"] == pytest.approx(0, abs=0.03)
    assert left_out["r_squared"] < 0.1
    assert left_out["r_squared_within_topics"] == pytest.approx(0, abs=0.05)
    row = found.scores.filter(split="unit", features="activations minus topic", metric="r_squared").row(0, named=True)
    assert row["lower"] <= 0.01


def test_what_activations_know_beyond_what_anyone_can_see_is_told_with_its_interval():
    activations, target = activations_with(400, 10, 0.6)
    generator = np.random.default_rng(1)
    found = probe_suite(
        probed(activations, numbers(target), length=generator.integers(1, 90, 400), origin=["math", "chat"] * 200),
        draws=300,
        seeds=2,
    )
    (row,) = found.scores.filter(split="unit", features="activations minus length", metric="r_squared").to_dicts()
    ours, theirs = (estimates(found, features=of)["r_squared"] for of in ("activations", "length"))
    assert row["estimate"] == pytest.approx(ours - theirs)
    assert 0.4 < row["lower"] < row["estimate"] < row["upper"] < 0.8
    assert estimates(found, split="leave_one_origin_out")["r_squared"] == pytest.approx(0.6, abs=0.1)


def several_targets(items: int = 60, width: int = 16) -> Probed:
    activations, target = activations_with(items, width, 0.8)
    generator = np.random.default_rng(2)
    given = probed(
        activations,
        numbers(target),
        numbers(target[: items // 2 + 10], name="valence"),
        numbers((target > 0).astype(float), name="positive", kind="binary"),
        Target(name="choices", kind="choices", values=choices_by(3 * target, 1_000), shown_in_order=True),
        topic=[None if number % 7 == 0 else f"topic {number % 3}" for number in range(items)],
        origin=["math", "chat"] * (items // 2),
        length=generator.integers(1, 90, items),
        text=[" ".join(generator.choice(["sum", "poem", "rain", "proof"], 5)) for _ in range(items)],
    )
    two = {(layer, at): activations[:, : width - layer] for layer in (1, 2) for at in ("prompt_last",)}
    return Probed(activations=two, items=given.items, targets=given.targets)


@pytest.fixture(scope="module")
def several() -> Found:
    return probe_suite(several_targets(), draws=100, seeds=2)


def test_what_comes_out_are_rows_of_the_declared_tables(several):
    for rows, columns in (
        (several.scores, SCORE_COLUMNS),
        (several.sweep, SWEEP_COLUMNS),
        (several.directions, DIRECTION_COLUMNS),
        (several.predictions, PREDICTION_COLUMNS),
    ):
        assert rows.height
        Table("probes", "", columns).conform(rows.with_columns(experiment=pl.lit("test")))
    key = ["target", "layer", "position", "split", "features", "metric"]
    assert not several.scores.select(key).is_duplicated().any()
    swept = several.sweep.group_by("target", "probe", "layer", "position", "features").agg(pl.len())
    assert set(swept.select("probe", "len").iter_rows()) == {("ridge", 50), ("logistic", 20), ("bradley_terry", 20)}


def test_every_kind_of_target_is_found_in_activations_and_not_in_noise(several):
    for target, metric in (("positive", "auc"), ("choices", "pairwise_accuracy")):
        assert estimates(several, target=target, layer=1, position="prompt_last")[metric] > 0.7
        for noise in ("shuffled labels", "random activations"):
            assert estimates(several, target=target, features=noise, layer=1, position="prompt_last")[metric] < 0.65


def test_the_order_of_items_and_of_targets_changes_nothing(several):
    given = several_targets()
    order = np.random.default_rng(5).permutation(len(given.items))
    turned = Probed(
        activations={where: rows[order] for where, rows in given.activations.items()},
        items=given.items[order],
        targets=tuple(
            Target(name=of.name, kind=of.kind, values=of.values.reverse(), shown_in_order=of.shown_in_order)
            for of in given.targets
        ),
    )
    again = probe_suite(turned, draws=100, seeds=2)
    assert_frame_equal(again.scores, several.scores, abs_tol=1e-6)
    assert_frame_equal(again.predictions, several.predictions, abs_tol=1e-4)


def test_rows_of_one_user_are_held_out_and_drawn_together():
    """Labels that are a user's own, and activations that name the user: without units that would be known by heart."""
    generator = np.random.default_rng(0)
    users = np.repeat(np.arange(40), 8)
    activations = (generator.normal(size=(40, 30))[users] + 0.1 * generator.normal(size=(320, 30))).astype(np.float32)
    group = numbers(generator.permutation(np.arange(40) % 2)[users].astype(float), name="group", kind="binary")
    kept_apart = probe_suite(probed(activations, group, unit=[f"user_{user}" for user in users]), draws=100, seeds=2)
    by_heart = probe_suite(probed(activations, group), draws=100, seeds=2)
    assert estimates(kept_apart)["auc"] < 0.7
    assert estimates(by_heart)["auc"] > 0.9
    assert kept_apart.scores["units"].unique().to_list() == [40]


@pytest.mark.parametrize("left_out", ["topic", "origin"])
def test_a_user_is_not_recognised_by_what_was_said_under_another_topic(left_out):
    """Labels of noise, each user's own, and activations that name the user under every topic."""
    generator = np.random.default_rng(1)
    users, topics = (places.ravel() for places in np.indices((120, 3)))
    activations = (generator.normal(size=(120, 30))[users] + 0.3 * generator.normal(size=(360, 30))).astype(np.float32)
    group = numbers(generator.permutation(np.arange(120) % 2)[users].astype(float), name="group", kind="binary")
    given = probed(
        activations,
        group,
        unit=[f"user_{user}" for user in users],
        **{left_out: [f"topic {topic}" for topic in topics]},
    )
    found = probe_suite(given, draws=200, seeds=2)
    row = found.scores.filter(split=f"leave_one_{left_out}_out", features="activations", metric="auc").row(
        0, named=True
    )
    assert row["lower"] < 0.5 < row["upper"]
    assert (row["rows"], row["units"]) == (360, 120)


def test_progress_is_told_to_its_end():
    told = []
    activations, target = activations_with(30, 5, 0.5)
    probe_suite(probed(activations, numbers(target)), seeds=2, draws=10, on_fit=lambda *at: told.append(at))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_target_of_one_topic_only_is_told_to_have_nothing_to_hold_out_by_topic():
    activations, target = activations_with(60, 5, 0.5)
    given = probed(activations, numbers(target[:30]), topic=["math"] * 30 + ["chat"] * 30)
    scores = probe_suite(given, draws=10, seeds=2).scores.filter(split="leave_one_topic_out", features="activations")
    assert scores["estimate"].is_null().all()
    assert scores["note"].str.starts_with("nothing could be held out").all()
