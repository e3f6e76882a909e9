"""Policies are compared at equal budgets on pairs that none of them asked."""

import math

import numpy as np
import polars as pl
import pytest

from prefassets.domain.preferences.active_learning import Plan, measure
from prefassets.domain.preferences.efficiency import (
    CEILING,
    RUNS,
    apparent_loss,
    compare_policies,
    differences,
    efficiency,
    held_out_pairs,
    planted,
    redrawn,
    start_and_later,
)

TASKS = [f"t{number:02}" for number in range(24)]
TRUTH = pl.DataFrame({"task_id": TASKS, "mu": np.sin(5.0 * np.arange(24)) * 2, "sigma": np.linspace(0.5, 1.5, 24)})
PLANS = {
    policy: Plan(policy=policy, start_degree=3, pairs_per_round=20, samples=3) for policy in ("active", "random", "all")
}
PILOT = Plan(start_degree=3, pairs_per_round=20, samples=3, most_comparisons=300)


def pair_set(frame):
    return {frozenset(pair) for pair in frame.select("task_a", "task_b").iter_rows()}


def share_won(choices):
    """A quick stand-in for a fit: wins plus one of comparisons plus two, spread."""
    sides = [choices.select(task_id=f"task_{side}", won=(pl.col("choice") == side).cast(pl.Int64)) for side in "ab"]
    share = pl.concat(sides).group_by("task_id").agg(mu=4 * (pl.col("won").sum() + 1) / (pl.len() + 2))
    told = TRUTH.select("task_id").join(share, on="task_id", how="left", maintain_order="left")
    return told.with_columns(pl.col("mu").fill_null(2), sigma=0.7)


@pytest.fixture(scope="module")
def compared():
    asked = []

    def recorded(questions, generator):
        asked.append(questions)
        return planted(TRUTH)(questions, generator)

    held_out = held_out_pairs(recorded, share_won, TASKS, PILOT, pairs=20, samples=4, seed=0)
    before = len(asked)
    runs = compare_policies(recorded, share_won, TASKS, PLANS, held_out, [150, 300], seeds=[1, 2, 3])
    return held_out, runs, asked[before:]


def test_a_planted_chooser_chooses_with_the_thurstonian_probability():
    questions = pl.DataFrame({"task_a": ["t01"] * 20_000, "task_b": ["t02"] * 20_000})
    answers = planted(TRUTH)(questions, np.random.default_rng(0))["choice"]
    (mu_a, sigma_a), (mu_b, sigma_b) = TRUTH.select("mu", "sigma").rows()[1:3]
    chance = (1 + math.erf((mu_a - mu_b) / math.sqrt(2 * (sigma_a**2 + sigma_b**2)))) / 2
    assert (answers == "a").mean() == pytest.approx(chance, abs=4 * 0.5 / math.sqrt(20_000))


def test_a_chooser_who_repeats_itself_keeps_the_probabilities_and_agrees_with_itself():
    """Two normals of correlation r have the same sign in 1/2 + asin(r) / pi of cases (Sheppard)."""
    many = [f"t{number:03}" for number in range(120)]
    equal = pl.DataFrame({"task_id": many, "mu": 0.0, "sigma": 1.0})
    pairs = [(a, b) for place, a in enumerate(many) for b in many[place + 1 :]]
    straight = pl.DataFrame(pairs, ["task_a", "task_b"], orient="row")
    turned = straight.select(task_a="task_b", task_b="task_a")
    oracle, generator = planted(equal, repetition=0.8), np.random.default_rng(0)
    once, again = ((oracle(asked, generator)["choice"] == "a").to_numpy() for asked in (straight, turned))
    error = 4 * 0.5 / math.sqrt(len(pairs))
    assert once.mean() == pytest.approx(0.5, abs=error)
    assert (once != again).mean() == pytest.approx(0.5 + math.asin(0.8) / math.pi, abs=error), "a one way, b the other"
    apart = equal.with_columns(mu=pl.Series([1.0, *[0.0] * 119]))
    first = straight.head(119)
    chosen = [planted(apart, 0.8, seed)(first, generator)["choice"] == "a" for seed in range(100)]
    assert np.mean(chosen) == pytest.approx((1 + math.erf(0.5)) / 2, abs=4 * 0.5 / math.sqrt(11_900))  # Phi(1 / sqrt 2)


def test_redrawn_answers_come_as_often_as_they_were_given_in_that_order_of_slots():
    given = pl.DataFrame(
        [("x", "y", "a"), ("x", "y", "a"), ("x", "y", "refusal"), ("x", "y", "b"), ("y", "x", "a"), ("y", "z", "b")],
        ["task_a", "task_b", "choice"],
        orient="row",
    )
    oracle = redrawn(given)
    questions = pl.DataFrame({"task_a": ["x", "y", "z"], "task_b": ["y", "x", "y"]})
    many = pl.concat([questions] * 4_000)
    told = oracle(many, np.random.default_rng(0)).group_by("task_a", "choice").len()
    shares = {(a, choice): count / 4_000 for a, choice, count in told.iter_rows()}
    assert shares["x", "a"] == pytest.approx(0.5, abs=0.04)
    assert shares["x", "refusal"] == pytest.approx(0.25, abs=0.04)
    assert shares["y", "a"] == 1
    assert shares["z", "a"] == 1, "asked the other way round, z was chosen"
    with pytest.raises(ValueError, match="1 of 1 questions are about pairs without an answer"):
        oracle(pl.DataFrame({"task_a": ["x"], "task_b": ["z"]}), np.random.default_rng(0))


def test_held_out_pairs_are_two_sets_of_which_active_learning_s_is_closer(compared):
    held_out, _, _ = compared
    mu = dict(TRUTH.select("task_id", "mu").iter_rows())
    sets = {kind: held_out.filter(held_out=kind) for kind in ("random", "close")}
    assert all(len(pair_set(one)) == 20 and len(one) == 80 for one in sets.values())
    assert not pair_set(sets["random"]) & pair_set(sets["close"])
    gaps = {
        kind: np.mean([abs(mu[a] - mu[b]) for a, b in one.select("task_a", "task_b").iter_rows()])
        for kind, one in sets.items()
    }
    assert gaps["close"] < 0.7 * gaps["random"]
    with pytest.raises(ValueError, match="are to be held out"):
        held_out_pairs(planted(TRUTH), share_won, TASKS, PILOT, pairs=100, samples=1, seed=0)


def test_no_policy_asks_a_held_out_pair(compared):
    held_out, _, asked = compared
    assert not pair_set(pl.concat(asked)) & pair_set(held_out)


def test_every_policy_has_the_same_budget_and_the_fit_to_all_pairs_has_them_all(compared):
    held_out, runs, _ = compared
    assert runs.schema == pl.Schema(RUNS)
    of_policies = runs.filter(pl.col("policy") != CEILING)
    assert len(of_policies) == 3 * 2 * 3 * 2  # policies, budgets, seeds, held-out sets
    assert of_policies.select((pl.col("budget") - pl.col("comparisons")).is_between(0, 2).all()).item()
    assert of_policies.filter(policy="all")["pairs"].to_list() == [150, 150, 236, 236] * 3  # 276 - 40 held out
    assert of_policies.filter(policy="active")["pairs"].to_list() == [50, 50, 100, 100] * 3
    (ceiling,) = runs.filter(policy=CEILING, held_out="random").iter_rows(named=True)
    assert (ceiling["pairs"], ceiling["comparisons"]) == (276 - len(pair_set(held_out)), 3 * 236)
    assert ceiling["correlation"] == pytest.approx(1)


def test_more_comparisons_come_closer_to_the_fit_to_all_pairs(compared):
    summary = efficiency(compared[1]).filter(held_out="random")
    for policy in PLANS:
        less, more = summary.filter(policy=policy).sort("budget")["correlation"]
        assert less < more


def test_close_pairs_are_harder_for_everybody(compared):
    summary = efficiency(compared[1])
    both = summary.pivot("held_out", index=["policy", "budget"], values="accuracy")
    assert (both["close"] < both["random"]).all()


def test_equal_seeds_give_equal_runs(compared):
    held_out, runs, _ = compared
    again = compare_policies(planted(TRUTH), share_won, TASKS, PLANS, held_out, [150, 300], seeds=[1, 2, 3])
    assert again.equals(runs)


def runs_of(**accuracies):
    return pl.DataFrame(
        [
            ("random" if policy == "random" else policy, 100, seed, "close", 100, 20, accuracy, 0.6, 0.9)
            for policy, values in accuracies.items()
            for seed, accuracy in enumerate(values)
        ],
        RUNS,
        orient="row",
    )


def test_intervals_are_student_s_over_seeds():
    """Mean .8, standard deviation .1, three seeds: .8 +- 4.303 x .1 / sqrt 3."""
    (row,) = efficiency(runs_of(active=[0.7, 0.8, 0.9])).iter_rows(named=True)
    assert (row["seeds"], row["accuracy"]) == (3, pytest.approx(0.8))
    assert (row["accuracy_lower"], row["accuracy_upper"]) == pytest.approx((0.8 - 0.24843, 0.8 + 0.24843), abs=1e-4)
    (alone,) = efficiency(runs_of(active=[0.7])).iter_rows(named=True)
    assert (alone["accuracy"], alone["accuracy_lower"]) == (0.7, None)


def test_differences_are_taken_seed_by_seed():
    (row,) = differences(runs_of(active=[0.71, 0.81, 0.91], random=[0.7, 0.8, 0.9])).iter_rows(named=True)
    assert (row["policy"], row["than"], row["seeds"]) == ("active", "random", 3)
    assert (row["accuracy_pp"], row["accuracy_pp_lower"], row["accuracy_pp_upper"]) == pytest.approx((1, 1, 1))


def test_what_seemed_lost_is_difficulty_plus_budget(compared):
    summary = efficiency(compared[1])
    told = summary.select("policy", "budget", "held_out", "accuracy")
    accuracy = {tuple(key): value for *key, value in told.iter_rows()}
    everything = summary.filter(policy=CEILING)["budget"][0]
    for row in apparent_loss(summary).iter_rows(named=True):
        own = accuracy["active", row["budget"], "close"]
        hardest = accuracy[CEILING, everything, "close"]
        assert row["apparent_pp"] == pytest.approx(100 * (accuracy[CEILING, everything, "random"] - own))
        assert row["budget_pp"] == pytest.approx(100 * (hardest - own))
        assert row["apparent_pp"] == pytest.approx(row["difficulty_pp"] + row["budget_pp"])
        assert row["difficulty_pp"] > 0


def measured(most_comparisons=450):
    plan = Plan(start_degree=3, pairs_per_round=20, samples=3, stop_correlation=None, most_comparisons=most_comparisons)
    generator = np.random.default_rng(0)
    return measure(
        lambda questions: planted(TRUTH)(questions, generator),
        lambda choices: dict(share_won(choices).select("task_id", "mu").iter_rows()),
        TASKS,
        plan,
        0,
    ).choices


def test_pairs_that_active_learning_adds_are_harder_for_the_same_fit_than_its_start():
    choices = measured()
    start, later = start_and_later(choices, lambda _: TRUTH).iter_rows(named=True)
    assert (start["asked"], start["pairs"], start["choices"]) == ("start", 36, 108)  # 24 tasks x 3 / 2, three times
    assert (later["pairs"], later["choices"]) == (114, 342)
    assert later["accuracy"] < start["accuracy"] - 0.05
    assert later["log_loss"] > start["log_loss"]
    for row, rows in ((start, choices.filter(round=0)), (later, choices.filter(pl.col("round") > 0))):
        mu = dict(TRUTH.select("task_id", "mu").iter_rows())
        right = [
            (mu[a] > mu[b]) == (choice == "a") for a, b, choice in rows.select("task_a", "task_b", "choice").rows()
        ]
        assert row["accuracy"] == pytest.approx(np.mean(right)), "with one fit for all, folds change nothing"
        assert row["accuracy_lower"] < row["accuracy"] < row["accuracy_upper"]


def test_no_pair_is_predicted_by_a_fit_that_saw_it():
    choices = measured()
    seen = []

    def fit(kept):
        seen.append(pair_set(kept))
        return TRUTH

    start_and_later(choices, fit, folds=4)
    every = pair_set(choices)
    assert len(seen) == 4
    assert all(sum(pair in one for one in seen) == 3 for pair in every)


def test_a_start_without_later_pairs_is_refused():
    with pytest.raises(ValueError, match="later are needed"):
        start_and_later(measured().filter(round=0), lambda _: TRUTH)
