"""Pairs are chosen as a list of all of them, filtered and shuffled, would have it, without that list."""

import tracemalloc
from itertools import combinations

import networkx as nx
import numpy as np
import pytest

from prefassets.domain.preferences.pair_selection import (
    close_pairs,
    degrees,
    pair_count,
    pair_numbers,
    pair_tasks,
    random_pairs,
    start_pairs,
)

NONE = np.empty(0, np.int64)


def graph_of(pairs, tasks):
    graph = nx.Graph()
    graph.add_nodes_from(range(tasks))
    graph.add_edges_from(zip(*(side.tolist() for side in pair_tasks(pairs, tasks)), strict=True))
    return graph


def test_a_pair_s_number_is_its_place_in_the_list_of_all():
    listed = np.array(list(combinations(range(9), 2)))
    assert pair_numbers(listed[:, 1], listed[:, 0], 9).tolist() == list(range(36)) == list(range(pair_count(9)))
    assert np.column_stack(pair_tasks(np.arange(36), 9)).tolist() == listed.tolist()


@pytest.mark.parametrize(
    ("tasks", "degree"), [(20, 3), (21, 4), (300, 5), (50, 2), (2, 5), (5, 7)], ids=lambda value: str(value)
)
def test_the_start_is_a_connected_regular_graph(tasks, degree):
    for seed in range(5):
        graph = graph_of(start_pairs(tasks, degree, NONE, np.random.default_rng(seed)), tasks)
        assert set(dict(graph.degree).values()) == {min(degree, tasks - 1)}
        assert nx.is_connected(graph)


@pytest.mark.parametrize(("tasks", "degree"), [(21, 3), (301, 5), (7, 3), (5, 3)])
def test_an_odd_number_of_ends_leaves_one_task_with_one_pair_more(tasks, degree):
    for seed in range(20):
        graph = graph_of(start_pairs(tasks, degree, NONE, np.random.default_rng(seed)), tasks)
        assert sorted(dict(graph.degree).values()) == [degree] * (tasks - 1) + [degree + 1]
        assert nx.is_connected(graph)


def test_held_out_pairs_are_not_in_the_start_which_stays_regular_and_connected():
    for seed in range(20):
        generator = np.random.default_rng(seed)
        never = np.sort(random_pairs(60, 400, NONE, generator))
        pairs = start_pairs(60, 2 + seed % 3, never, generator)
        assert not np.isin(pairs, never).any()
        graph = graph_of(pairs, 60)
        assert set(dict(graph.degree).values()) == {2 + seed % 3}
        assert nx.is_connected(graph)


def test_a_start_that_cannot_connect_is_refused():
    generator = np.random.default_rng(0)
    with pytest.raises(ValueError, match="at least 2"):
        start_pairs(10, 1, NONE, generator)
    every_but_three = np.arange(3, pair_count(10))
    with pytest.raises(ValueError, match="hold out fewer"):
        start_pairs(10, 3, every_but_three, generator)


def test_close_pairs_are_those_of_the_filtered_list():
    relaxed = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        tasks = int(generator.integers(6, 40))
        mu = np.round(generator.normal(size=tasks), int(generator.integers(0, 4)))  # rounded: with ties
        every = pair_count(tasks)
        asked = np.sort(generator.choice(every, every // 3, replace=False))
        never = np.sort(generator.choice(np.setdiff1d(np.arange(every), asked), every // 10, replace=False))
        count = int(generator.integers(1, 30))
        wanted = generator.uniform(2, 100, 2)
        chosen = close_pairs(mu, asked, never, count, *wanted, generator)

        degree = dict(graph_of(asked, tasks).degree)
        listed = [
            (number, abs(mu[one] - mu[other]), degree[one] + degree[other])
            for number, (one, other) in enumerate(combinations(range(tasks), 2))
            if number not in set(asked.tolist()) | set(never.tolist())
        ]
        gap = sorted(gap for _, gap, _ in listed)[int(np.ceil(len(listed) * chosen.closest_percent / 100)) - 1]
        ends = sorted(ends for *_, ends in listed)[int(np.ceil(len(listed) * chosen.least_asked_percent / 100)) - 1]
        candidates = {number for number, one, other in listed if one <= gap + 1e-9 and other <= ends}
        assert chosen.candidates == len(candidates)
        assert len(set(chosen.pairs_C.tolist())) == len(chosen.pairs_C) == min(count, len(listed))
        assert set(chosen.pairs_C.tolist()) <= candidates
        assert chosen.closest_percent >= wanted[0]
        relaxed += chosen.closest_percent > wanted[0]
    assert relaxed > 10


def test_every_candidate_is_as_likely_as_any_other():
    mu = np.arange(12.0)
    asked = np.array([0, 1, 30])
    counted = np.zeros(pair_count(12))
    for seed in range(600):
        chosen = close_pairs(mu, asked, NONE, 4, 40, 90, np.random.default_rng(seed))
        counted[chosen.pairs_C] += 1
    found = counted[counted > 0]
    assert len(found) == chosen.candidates
    expected = 600 * 4 / chosen.candidates
    assert np.abs(found - expected).max() < 4 * np.sqrt(expected)


def test_random_pairs_are_any_but_the_taken():
    taken = np.array([0, 3, 4, 44])
    counted = np.zeros(45)
    for seed in range(2000):
        pairs = random_pairs(10, 5, taken, np.random.default_rng(seed))
        assert len(set(pairs.tolist())) == 5
        counted[pairs] += 1
    assert counted[taken].sum() == 0
    expected = 2000 * 5 / 41
    assert np.abs(np.delete(counted, taken) - expected).max() < 4 * np.sqrt(expected)
    assert sorted(random_pairs(10, 100, taken, np.random.default_rng(0))) == [n for n in range(45) if n not in taken]


def test_fifty_million_pairs_are_not_listed():
    generator = np.random.default_rng(0)
    asked = np.sort(random_pairs(10_000, 50_000, NONE, generator))
    tracemalloc.start()
    chosen = close_pairs(generator.normal(size=10_000), asked, NONE, 10_000, 10, 20, generator)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(chosen.pairs_C) == 10_000
    assert peak < pair_count(10_000)  # bytes: less than one for each pair
    assert degrees(asked, 10_000).sum() == 100_000
