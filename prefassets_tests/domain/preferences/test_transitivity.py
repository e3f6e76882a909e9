"""Cycles are counted as one would by hand, and coins cycle as often as the null says for these numbers of answers."""

from itertools import combinations
from pathlib import Path

import networkx as nx
import numpy as np
import polars as pl
import pytest

from prefassets.domain.preferences import transitivity as module
from prefassets.domain.preferences.transitivity import TRANSITIVITY, transitivity

VILLAIN = Path("data/preferences/villain_gemma3_27b/train_measurements.yaml")


def choices(rows):
    return pl.DataFrame(rows, ["task_a", "task_b", "choice"], orient="row")


def wins(winner, loser, times=1):
    """Told with either task first, by turns."""
    return [((winner, loser, "a"), (loser, winner, "b"))[time % 2] for time in range(times)]


def coins(tasks, times, seed=0):
    generator = np.random.default_rng(seed)
    pairs = [pair for pair in combinations(range(tasks), 2) for _ in range(times)]
    return choices([(f"t{one:03}", f"t{other:03}", "ab"[generator.integers(2)]) for one, other in pairs])


def only(frame):
    assert frame.schema == pl.Schema(TRANSITIVITY)
    (row,) = frame.iter_rows(named=True)
    return row


def test_a_strict_order_has_no_cycle():
    row = only(transitivity(choices([row for pair in combinations("abcdefgh", 2) for row in wins(*pair, 3)]), "all"))
    assert (row["triads"], row["decided_triads"], row["cycles"], row["cycle_rate"]) == (56, 56, 0, 0)  # 8 choose 3
    assert row["lower"] is None, "no cycle says nothing of how they scatter"
    assert row["null_rate"] == pytest.approx(0.25)
    assert not row["inflated"]


def test_rock_paper_scissors_is_one():
    row = only(transitivity(choices([*wins("r", "s", 3), *wins("s", "p"), *wins("p", "r", 5)]), "active"))
    assert (row["triads"], row["cycles"], row["cycle_rate"]) == (1, 1, 1)
    assert row["inflated"]


def test_equal_wins_are_no_majority_and_an_unmeasured_pair_no_triad():
    tied = choices([*wins("r", "s"), *wins("s", "p"), *wins("p", "r"), *wins("r", "p")])
    row = only(transitivity(tied, "all"))
    assert (row["triads"], row["decided_triads"], row["cycles"], row["cycle_rate"]) == (1, 0, 0, 0)
    assert row["decided_cycle_rate"] is None
    refused = choices([*wins("r", "s"), *wins("s", "p"), ("p", "r", "refusal"), ("r", "p", "unparseable")])
    row = only(transitivity(refused, "all"))
    assert (row["pairs"], row["triads"], row["cycle_rate"], row["null_rate"]) == (2, 0, None, None)


def test_the_null_knows_the_ties_of_the_numbers_of_answers():
    """By hand: 1/4 x P(no tie) of each pair, where P(tie) of 1, 2, 3, 4 coins is 0, 1/2, 0, 3/8."""
    for times, expected in ((1, 1 / 4), (2, 1 / 4 / 8), (3, 1 / 4), (4, 1 / 4 * (5 / 8) ** 3)):
        assert only(transitivity(coins(7, times), "all"))["null_rate"] == pytest.approx(expected)
    mixed = choices([*wins("a", "b", 2), *wins("b", "c", 3), *wins("c", "a", 4)])
    assert only(transitivity(mixed, "all"))["null_rate"] == pytest.approx(1 / 4 * 1 / 2 * 1 * 5 / 8)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_coins_cycle_as_the_null_says(times):
    row = only(transitivity(coins(120, times), "random"))
    assert row["triads"] == 120 * 119 * 118 // 6
    # Without ties two triads that share a pair cycle independently: binomial. Ties, half of the pairs, are shared.
    ties = 0.5 if times == 2 else 0.0
    error = np.hypot(
        np.sqrt(row["null_rate"] * (1 - row["null_rate"]) / row["triads"]),
        3 * row["null_rate"] * np.sqrt(ties / (1 - ties) / row["pairs"]),
    )
    assert row["cycle_rate"] == pytest.approx(row["null_rate"], abs=5 * error)
    assert row["decided_cycle_rate"] == pytest.approx(1 / 4, abs=5 * np.sqrt(3 / 16 / row["decided_triads"]))
    assert row["lower"] < row["null_rate"] < row["upper"]


def drawn(seed):
    """Some pairs of 16 tasks, one to four answers each."""
    generator = np.random.default_rng(seed)
    rows = []
    for one, other in combinations([f"t{number:02}" for number in range(16)], 2):
        if generator.random() < 0.7:
            for _ in range(int(generator.integers(1, 5))):
                rows += wins(one, other) if generator.random() < 0.6 else wins(other, one)
    return choices(rows)


def majority(frame):
    won = {}
    for a, b, choice in frame.iter_rows():
        winner, loser = (a, b) if choice == "a" else (b, a)
        won[winner, loser] = won.get((winner, loser), 0) + 1
    return won


def by_hand(frame, left_out=None):
    won = majority(frame)
    tasks = sorted({task for pair in won for task in pair} - {left_out})
    triads = cycles = decided = 0
    for x, y, z in combinations(tasks, 3):
        round_it = [(x, y), (y, z), (z, x)]
        counts = [(won.get(pair, 0), won.get(pair[::-1], 0)) for pair in round_it]
        if all(map(sum, counts)):
            triads += 1
            decided += all(one != other for one, other in counts)
            cycles += all(one > other for one, other in counts) or all(one < other for one, other in counts)
    return triads, decided, cycles


@pytest.mark.parametrize("dense", [0.0, 1.0], ids=["dense", "sparse"])
def test_triads_are_those_that_one_counts_by_hand(monkeypatch, dense):
    monkeypatch.setattr(module, "DENSE", dense)
    for seed in range(4):
        row = only(transitivity(drawn(seed), "random"))
        assert (row["triads"], row["decided_triads"], row["cycles"]) == by_hand(drawn(seed))


def test_the_interval_leaves_out_one_task_after_the_other():
    frame = drawn(0)
    tasks = sorted(set(frame["task_a"]) | set(frame["task_b"]))
    rates = [cycles / triads for triads, _, cycles in (by_hand(frame, task) for task in tasks)]
    error = np.sqrt((len(tasks) - 1) * np.var(rates))
    row = only(transitivity(frame, "random"))
    assert row["upper"] == pytest.approx(row["cycle_rate"] + 2.131 * error, abs=1e-4)  # t of 15 degrees of freedom
    assert row["lower"] == pytest.approx(max(0, row["cycle_rate"] - 2.131 * error), abs=1e-4)


def test_equal_utilities_expect_what_coins_do_and_distant_ones_no_cycle():
    frame = drawn(1)
    tasks = sorted(set(frame["task_a"]) | set(frame["task_b"]))
    equal = pl.DataFrame({"task_id": tasks, "mu": 1.0, "sigma": 2.0})
    row = only(transitivity(frame, "random", equal))
    assert row["expected_rate"] == pytest.approx(row["null_rate"])
    apart = equal.with_columns(mu=pl.Series(np.arange(16.0) * 100))
    assert only(transitivity(frame, "random", apart))["expected_rate"] == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="t15"):
        transitivity(frame, "random", equal.head(15))


def test_the_expectation_by_hand():
    """Differences of .6745 standard deviations are won in 3 of 4; one answer each, the third pair two steps apart."""
    frame = choices([*wins("a", "b"), *wins("b", "c"), *wins("c", "a")])
    utilities = pl.DataFrame({"task_id": ["a", "b", "c"], "mu": [2 * 0.67449, 0.67449, 0.0], "sigma": [0.5**0.5] * 3})
    up = 0.91136  # Phi(2 x .67449)
    by_hand = 0.75 * 0.75 * (1 - up) + 0.25 * 0.25 * up
    assert only(transitivity(frame, "all", utilities))["expected_rate"] == pytest.approx(by_hand, abs=1e-4)


def test_pairs_that_are_close_cycle_more_though_nobody_is_less_consistent():
    """Why triads of active learning are flagged: the same chooser, asked about neighbours only."""
    generator = np.random.default_rng(0)
    mu = np.sort(generator.normal(0, 2, 60))

    def ask(pairs):
        rows = [(f"t{i:02}", f"t{j:02}", "a" if generator.normal(mu[i] - mu[j], 1) > 0 else "b") for i, j in pairs]
        return only(transitivity(choices(rows), "random"))["cycle_rate"]

    every = list(combinations(range(60), 2))
    assert ask([(i, j) for i, j in every if j - i <= 5]) > 2 * ask(every)


@pytest.fixture(scope="module")
def villain():
    """The released choices of Gemma-3-27B under a persona, where they are present."""
    shared = Path(__file__).parents[3].parent / "shared"
    if not (shared / VILLAIN).exists():
        pytest.skip("needs ../shared/data/preferences")
    words = pl.Series((shared / VILLAIN).read_text().splitlines()).str.strip_chars("- ")
    told = {
        name: words.filter(words.str.starts_with(f"{name}: ")).str.strip_prefix(f"{name}: ")
        for name in ("task_a", "task_b", "choice")
    }
    return pl.DataFrame(told)


def test_real_choices_have_the_triangles_that_networkx_finds_and_cycle_less_than_coins(villain):
    won = majority(villain.filter(pl.col("choice") != "refusal"))
    graph = nx.Graph(list(won))
    prefers = nx.DiGraph([pair for pair, times in won.items() if times > won.get(pair[::-1], 0)])
    row = only(transitivity(villain, "active"))
    assert (row["tasks"], row["pairs"]) == (1_000, graph.number_of_edges())
    assert row["triads"] == sum(nx.triangles(graph).values()) // 3
    assert row["cycles"] == nx.triadic_census(prefers)["030C"]
    assert row["cycle_rate"] < row["null_rate"] < 0.25  # a third of the pairs have an even number of answers
    assert row["inflated"]
