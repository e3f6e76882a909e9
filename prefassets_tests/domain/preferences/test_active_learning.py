"""What a measurement by rounds keeps: its budget, its held-out pairs, its slots, its seed."""

import zlib

import numpy as np
import polars as pl
import pytest

from prefassets.domain.preferences.active_learning import ROUNDS, Plan, measure

TASKS = [f"t{number:02}" for number in range(30)]
MU = {task: np.sin(7 * number) * 2 for number, task in enumerate(TASKS)}
POLICIES = ("active", "random", "all")


def ask(questions):
    """Mostly the task of higher `MU`; the same question gets the same answer."""
    answers = []
    for a, b, sample in questions.select("task_a", "task_b", "sample").iter_rows():
        luck = zlib.crc32(f"{a} {b} {sample}".encode()) / 2**32
        answers.append("a" if luck < 1 / (1 + np.exp(MU[b] - MU[a])) else "b")
    return questions.with_columns(choice=pl.Series(answers, dtype=pl.String))


def share_won(choices):
    """By task, wins plus one of comparisons plus two."""
    sides = [choices.select(task=f"task_{side}", won=(pl.col("choice") == side).cast(pl.Int64)) for side in "ab"]
    told = pl.concat(sides).group_by("task").agg(share=(pl.col("won").sum() + 1) / (pl.len() + 2))
    return dict.fromkeys(TASKS, 0.5) | dict(told.iter_rows())


def plan(policy="active", **changes):
    given = {"start_degree": 3, "pairs_per_round": 40, "samples": 3, "stop_correlation": None} | changes
    return Plan(policy=policy, **given)


def unordered(choices):
    return choices.with_columns(
        low=pl.min_horizontal("task_a", "task_b"), high=pl.max_horizontal("task_a", "task_b")
    ).select("low", "high", "task_a", "round", "sample")


@pytest.mark.parametrize("policy", POLICIES)
def test_a_seed_asks_the_same_questions_and_another_asks_others(policy):
    first, again, other = (
        measure(ask, share_won, TASKS, plan(policy, most_comparisons=600), seed) for seed in (1, 1, 2)
    )
    assert first.choices.equals(again.choices)
    assert first.rounds.equals(again.rounds)
    assert not first.choices.equals(other.choices)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_pair_is_asked_its_samples_with_either_task_first_by_turns(policy):
    asked = unordered(measure(ask, share_won, TASKS, plan(policy, samples=5), 0).choices)
    per_pair = asked.group_by("low", "high").agg(
        samples=pl.col("sample").sort(),
        first=(pl.col("task_a") == pl.col("low")).sum(),
        rounds=pl.col("round").n_unique(),
    )
    assert per_pair["samples"].to_list() == [[0, 1, 2, 3, 4]] * 435  # 30 tasks have 435 pairs
    assert set(per_pair["first"]) == {2, 3}
    assert set(per_pair["rounds"]) == {1}
    assert (per_pair["first"] == 3).mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(435))


@pytest.mark.parametrize("policy", POLICIES)
def test_the_budget_is_held_and_used(policy):
    measured = measure(ask, share_won, TASKS, plan(policy, most_comparisons=500), 0)
    assert len(measured.choices) == (500 if policy == "all" else 498)  # a pair is asked three times or not at all
    assert measured.rounds["comparisons"][-1] == len(measured.choices)
    assert measured.rounds["ended_by"].to_list() == [None] * (len(measured.rounds) - 1) + ["budget"]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_held_out_pair_is_never_asked(policy):
    generator = np.random.default_rng(0)
    held_out = pl.DataFrame(
        [generator.choice(TASKS, 2, replace=False).tolist() for _ in range(60)], ["task_a", "task_b"], orient="row"
    )
    measured = measure(ask, share_won, TASKS, plan(policy), 0, held_out)
    forbidden = {frozenset(pair) for pair in held_out.iter_rows()}
    asked = {frozenset(pair) for pair in measured.choices.select("task_a", "task_b").iter_rows()}
    assert not asked & forbidden
    assert len(asked) == 435 - len(forbidden)
    assert measured.rounds["ended_by"][-1] == "all pairs asked"


@pytest.mark.parametrize("policy", POLICIES)
def test_a_smaller_budget_asks_the_first_questions_of_a_larger(policy):
    large, small = (measure(ask, share_won, TASKS, plan(policy, most_comparisons=most), 0) for most in (900, 600))
    assert large.choices.head(600).equals(small.choices)


def test_all_pairs_are_asked_once_before_any_is_asked_again():
    choices = measure(ask, share_won, TASKS, plan("all"), 0).choices
    assert choices["sample"].to_list() == [0] * 435 + [1] * 435 + [2] * 435
    assert unordered(choices.head(435)).select("low", "high").n_unique() == 435


def test_active_and_random_begin_with_the_same_graph():
    active, random = (
        measure(ask, share_won, TASKS, plan(policy, most_comparisons=600), 0) for policy in ("active", "random")
    )
    start = active.choices.filter(round=0)
    assert len(start) == 45 * 3  # 30 tasks x 3 / 2 pairs
    assert start.equals(random.choices.filter(round=0))


def test_active_learning_asks_closer_pairs_and_leaves_no_task_behind():
    def gap(policy):
        measured = measure(ask, lambda _: MU, TASKS, plan(policy, most_comparisons=700), 0)
        later = measured.choices.filter(pl.col("round") > 0)
        gaps = [abs(MU[a] - MU[b]) for a, b in later.select("task_a", "task_b").iter_rows()]
        return np.mean(gaps), measured.rounds["least_degree"].to_list()

    (active, least), (random, _) = gap("active"), gap("random")
    assert active < random / 2
    assert least == sorted(least)
    assert least[-1] > 3


def test_it_ends_when_ranks_stay_and_a_cut_round_does_not_count():
    settled = measure(ask, lambda _: MU, TASKS, plan(stop_correlation=0.9), 0).rounds
    assert settled["round"].to_list() == [0, 1]
    assert settled["rank_correlation"].to_list() == [None, pytest.approx(1)]
    assert settled["converged"].to_list() == [False, True]
    assert settled["ended_by"].to_list() == [None, "converged"]
    cut = measure(ask, lambda _: MU, TASKS, plan(stop_correlation=0.9, most_comparisons=45 * 3 + 30), 0).rounds
    assert cut["pairs_asked"].to_list() == [45, 10]
    assert cut["ended_by"].to_list() == [None, "budget"]


def test_ranks_that_turn_round_correlate_by_minus_one_and_equal_ones_not_at_all():
    calls = []

    def turning(choices):
        calls.append(len(choices))
        values = np.arange(30.0)
        return values if len(calls) % 2 else -values

    rounds = measure(ask, turning, TASKS, plan(most_comparisons=400), 0).rounds
    assert rounds["rank_correlation"][1:].to_list() == pytest.approx([-1] * (len(rounds) - 1))
    assert calls == rounds["comparisons"].to_list()
    flat = measure(ask, lambda _: np.zeros(30), TASKS, plan(stop_correlation=0.5), 0).rounds
    assert flat["rank_correlation"].null_count() == len(flat)
    assert flat["ended_by"][-1] == "all pairs asked"


def test_rounds_count_what_was_asked():
    measured = measure(ask, share_won, TASKS, plan(), 0)
    assert measured.rounds.schema == pl.Schema(ROUNDS)
    per_round = measured.choices.group_by("round").len().sort("round")
    assert measured.rounds["comparisons"].to_list() == per_round["len"].cum_sum().to_list()
    assert measured.rounds["pairs_asked"].to_list() == (per_round["len"] // 3).to_list()
    assert measured.rounds["pairs"][-1] == 435


def test_refusals_are_answers_too():
    def refuses(questions):
        return questions.with_columns(choice=pl.lit("refusal"))

    measured = measure(refuses, share_won, TASKS, plan(most_comparisons=300), 0)
    assert measured.choices["choice"].unique().to_list() == ["refusal"]
    assert len(measured.choices) == 300


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="135 comparisons of 30 tasks, more than the budget of 100"):
        measure(ask, share_won, TASKS, plan(most_comparisons=100), 0)
    with pytest.raises(ValueError, match="134 answers, 1 missing"):
        measure(lambda questions: ask(questions).head(134), share_won, TASKS, plan(), 0)
    with pytest.raises(ValueError, match="no mu for 1 tasks, among them 't07'"):
        measure(ask, lambda _: {task: 0.0 for task in TASKS if task != "t07"}, TASKS, plan(), 0)
    with pytest.raises(ValueError, match="29 finite mu for 30 tasks"):
        measure(ask, lambda _: np.array([np.nan, *range(29)]), TASKS, plan(), 0)
    with pytest.raises(ValueError, match="1 tasks are listed twice"):
        measure(ask, share_won, [*TASKS, "t00"], plan(), 0)
    with pytest.raises(ValueError, match="one of active, random, all"):
        Plan(policy="cleverest")
    with pytest.raises(ValueError, match="percentages"):
        Plan(closest_percent=0)
