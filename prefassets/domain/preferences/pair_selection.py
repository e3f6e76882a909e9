"""Which pairs of tasks to ask about: drawn from all of them without ever making a list of all of them.

10,000 tasks have 50 million pairs, so a pair is one integer, its place among the pairs (0, 1), (0, 2), ..., (1, 2), ...
of tasks in their order, and candidates are counted and drawn by their places.
"""

# N tasks, C pairs; in functions that sort by mu, N is the sorted order

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import networkx as nx

Integers = NDArray[np.int64]
RELAXED_BY = 1.5  # as the Utility Engineering paper's code does
BISECTIONS = 50  # of the widest gap: to the last digits of a float
TIED = 1e-12  # of the widest gap: differences that rounding makes
TRIES = 100


@dataclass(frozen=True)
class Chosen:
    """Pairs to ask next, in random order, and how they were found.

    `candidates` is how many pairs met the limits they were drawn within: the closest `closest_percent` and the least
    asked `least_asked_percent` of those that may be asked, after relaxing.
    """

    pairs_C: Integers
    candidates: int
    closest_percent: float
    least_asked_percent: float


def pair_count(tasks: int) -> int:
    return tasks * (tasks - 1) // 2


def pair_numbers(one_C: Integers, other_C: Integers, tasks: int) -> Integers:
    """The integers of these pairs; `one_C` and `other_C` are places of tasks, either first."""
    low_C, high_C = np.minimum(one_C, other_C), np.maximum(one_C, other_C)
    return low_C * tasks - low_C * (low_C + 1) // 2 + high_C - low_C - 1


def pair_tasks(pairs_C: Integers, tasks: int) -> tuple[Integers, Integers]:
    """The places of both tasks of each pair, the lower first."""
    starts_N = np.arange(tasks) * tasks - np.arange(tasks) * (np.arange(tasks) + 1) // 2
    low_C = np.searchsorted(starts_N[:-1], pairs_C, side="right") - 1
    return low_C, pairs_C - starts_N[low_C] + low_C + 1


def random_pairs(tasks: int, count: int, taken_C: Integers, generator: np.random.Generator) -> Integers:
    """`count` pairs in random order, uniformly of those not in `taken_C` (sorted); all of them if they are fewer."""
    free = pair_count(tasks) - len(taken_C)
    return _around(_draw(free, count, generator), taken_C)


def close_pairs(
    mu_N: NDArray[np.float64],
    asked_C: Integers,
    never_C: Integers,
    count: int,
    closest_percent: float,
    least_asked_percent: float,
    generator: np.random.Generator,
) -> Chosen:
    """`count` pairs that are close in utility and whose tasks were asked little, uniformly of those that are both.

    A candidate is among the closest `closest_percent` by |mu_i - mu_j| and among the least asked `least_asked_percent`
    by the number of pairs that i and j were asked in, each counted over the pairs that may still be asked, with all
    pairs tied with the last. Where candidates are fewer than `count`, both percentages are multiplied by 1.5 until they
    suffice. Source: Mazeika et al., Utility Engineering (2025), https://arxiv.org/abs/2502.08640, appendix B.

    Args:
        mu_N: utilities in the tasks' order, finite.
        asked_C: pairs that were asked, which make the degrees; sorted.
        never_C: other pairs that must not be asked; sorted.

    Returns:
        Fewer pairs than `count` only where no more are left.
    """
    tasks = len(mu_N)
    taken_C = np.union1d(asked_C, never_C)
    free = pair_count(tasks) - len(taken_C)
    candidates = _Candidates(mu_N, degrees(asked_C, tasks), taken_C)
    while True:
        candidates.limit(int(np.ceil(free * closest_percent / 100)), int(np.ceil(free * least_asked_percent / 100)))
        if candidates.total >= min(count, free):
            return Chosen(
                candidates.draw(count, generator), candidates.total, float(closest_percent), float(least_asked_percent)
            )
        closest_percent = min(100.0, closest_percent * RELAXED_BY)
        least_asked_percent = min(100.0, least_asked_percent * RELAXED_BY)


class _Candidates:
    """The pairs within a gap in mu and a sum of degrees: counted, and drawn by their place, in O(N x degrees)."""

    def __init__(self, mu_N: NDArray[np.float64], degree_N: Integers, taken_C: Integers) -> None:
        self.order_N = np.argsort(mu_N, kind="stable")
        self.mu_N, self.degree_N = mu_N[self.order_N], degree_N[self.order_N]
        place_N = np.empty(len(mu_N), np.int64)
        place_N[self.order_N] = np.arange(len(mu_N))
        one_C, other_C = (place_N[side_C] for side_C in pair_tasks(taken_C, len(mu_N)))
        self.taken_low_C, self.taken_high_C = np.minimum(one_C, other_C), np.maximum(one_C, other_C)
        self.taken_degree_C = self.degree_N[one_C] + self.degree_N[other_C]
        self.taken_gap_C = np.sort(self.mu_N[self.taken_high_C] - self.mu_N[self.taken_low_C])

    def limit(self, closest: int, least_asked: int) -> None:
        """Keep the pairs that are among the `closest` by gap and among the `least_asked` by sum of degrees."""
        tasks = len(self.mu_N)
        end_N = self._ends(self._gap(closest))
        most = self._degree_sum(least_asked)
        self.within: dict[int, tuple[Integers, Integers]] = {}  # degree -> whom it may meet: places, and their count
        count_N = np.zeros(tasks, np.int64)
        after_N = np.arange(1, tasks + 1)
        for degree in np.unique(self.degree_N).tolist():
            meets_N = self.degree_N <= most - degree
            before_N = np.concatenate([[0], np.cumsum(meets_N)])
            self.within[degree] = np.flatnonzero(meets_N), before_N
            own_N = self.degree_N == degree
            count_N[own_N] = (before_N[end_N] - before_N[after_N])[own_N]
        self.start_N = np.concatenate([[0], np.cumsum(count_N)])

        inside_C = (self.taken_high_C < end_N[self.taken_low_C]) & (self.taken_degree_C <= most)
        low_C, high_C = self.taken_low_C[inside_C], self.taken_high_C[inside_C]
        place_C = self.start_N[low_C]
        for degree, (_, before_N) in self.within.items():
            own_C = self.degree_N[low_C] == degree
            place_C[own_C] += (before_N[high_C] - before_N[low_C + 1])[own_C]
        self.taken_places_C = np.sort(place_C)
        self.total = int(self.start_N[-1]) - len(place_C)

    def draw(self, count: int, generator: np.random.Generator) -> Integers:
        drawn_C = _around(_draw(self.total, count, generator), self.taken_places_C)
        low_C = np.searchsorted(self.start_N, drawn_C, side="right") - 1
        high_C = np.empty_like(low_C)
        for degree, (places, before_N) in self.within.items():
            own_C = self.degree_N[low_C] == degree
            low = low_C[own_C]
            high_C[own_C] = places[before_N[low + 1] + drawn_C[own_C] - self.start_N[low]]
        return pair_numbers(self.order_N[low_C], self.order_N[high_C], len(self.mu_N))

    def _ends(self, gap: float) -> Integers:
        """For each task the place after the last one within `gap` above it."""
        return np.searchsorted(self.mu_N, self.mu_N + gap, side="right")

    def _gap(self, wanted: int) -> float:
        """The least gap that `wanted` free pairs are within."""
        tasks = len(self.mu_N)
        low, high = 0.0, float(self.mu_N[-1] - self.mu_N[0])
        if wanted >= pair_count(tasks) - len(self.taken_gap_C):
            return 2 * high  # more than rounding can lose
        before_each = tasks * (tasks + 1) // 2
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            within = int(self._ends(middle).sum()) - before_each
            if within - int(np.searchsorted(self.taken_gap_C, middle, side="right")) >= wanted:
                high = middle
            else:
                low = middle
        return high + TIED * float(self.mu_N[-1] - self.mu_N[0])

    def _degree_sum(self, wanted: int) -> int:
        """The least sum of degrees that `wanted` free pairs do not exceed."""
        tasks_of_degree = np.bincount(self.degree_N)
        ordered = np.convolve(tasks_of_degree, tasks_of_degree)
        ordered[::2] -= tasks_of_degree  # a task with itself
        free = ordered // 2 - np.bincount(self.taken_degree_C, minlength=len(ordered))
        return int(np.searchsorted(np.cumsum(free), wanted))


def start_pairs(tasks: int, degree: int, never_C: Integers, generator: np.random.Generator) -> Integers:
    """The edges of a connected random graph in which every task is in `degree` pairs, in random order.

    If tasks and degree are both odd no such graph exists: then one task is in one pair more. With no more than
    `degree` + 1 tasks these are all pairs.

    Args:
        degree: at least 2, which it takes to connect more than two tasks.
        never_C: pairs that must not be in it; sorted.

    Raises:
        ValueError: fewer than two tasks, a lower degree, or no such graph was found without `never_C`.

    Source: `networkx.random_regular_graph` (Steger and Wormald 1999), then switches of two edges, which keep degrees.
    """
    import networkx as nx

    if tasks < 2:
        raise ValueError(f"{tasks} tasks make no pair; at least 2 are needed")
    if degree < 2 and tasks > 2:
        raise ValueError(f"a start degree of {degree} leaves tasks unconnected; it must be at least 2")
    if degree >= tasks - 1:
        return random_pairs(tasks, pair_count(tasks), never_C, generator)
    graph = _regular(tasks, degree, generator)
    never = set(never_C.tolist())
    for edge in _sorted(graph.edges):
        if graph.has_edge(*edge) and _number(*edge, tasks) in never:
            _switch(graph, edge, _sorted(graph.edges), never, generator)
    while not nx.is_connected(graph):
        one, other, *_ = sorted(map(sorted, nx.connected_components(graph)))
        # an edge on a circle: without it, and with any switch, its tasks stay connected
        circles = [set(part.edges) - set(nx.bridges(part)) for part in (graph.subgraph(one), graph.subgraph(other))]
        edge = _sorted(circles[0])[int(generator.integers(len(circles[0])))]
        _switch(graph, edge, _sorted(circles[1]), never, generator)
    edges = np.array(_sorted(graph.edges), np.int64)
    return generator.permutation(pair_numbers(edges[:, 0], edges[:, 1], tasks))


def _regular(tasks: int, degree: int, generator: np.random.Generator) -> "nx.Graph":
    import networkx as nx

    odd = tasks * degree % 2
    for _ in range(TRIES):
        graph = nx.random_regular_graph(degree, tasks + odd, seed=int(generator.integers(2**32)))
        if not odd:
            return graph
        # One task too many: without it its neighbours lack one pair each, and an odd one of them is left over.
        lacking = generator.permutation(sorted(graph[tasks])).tolist()
        graph.remove_node(tasks)
        last = lacking.pop()
        couples = [(lacking[place], lacking[place + 1]) for place in range(0, len(lacking), 2)]
        strangers = sorted(set(graph) - set(graph[last]) - {last} - {one for pair in couples for one in pair})
        if strangers and not any(graph.has_edge(*pair) for pair in couples):
            graph.add_edges_from([*couples, (last, strangers[int(generator.integers(len(strangers)))])])
            return graph
    raise ValueError(f"no graph was found that puts each of {tasks} tasks in {degree} pairs; try a lower start degree")


def _switch(
    graph: "nx.Graph",
    edge: tuple[int, int],
    others: list[tuple[int, int]],
    never: set[int],
    generator: np.random.Generator,
) -> None:
    """Replace (a, b) and one (c, d) of `others` by (a, c) and (b, d), neither of which is there or in `never`."""
    tasks = len(graph)
    for place in generator.permutation(len(others)).tolist():
        ends = others[place] if generator.random() < 0.5 else others[place][::-1]
        made = list(zip(edge, ends, strict=True))
        if not any(a == b or graph.has_edge(a, b) or _number(a, b, tasks) in never for a, b in made):
            graph.remove_edges_from([edge, others[place]])
            graph.add_edges_from(made)
            return
    raise ValueError(
        f"{len(never)} of {pair_count(tasks)} pairs are held out, so that no start graph was found without them; "
        "hold out fewer, or start with a lower degree"
    )


def _sorted(edges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    return sorted((min(edge), max(edge)) for edge in edges)


def _number(one: int, other: int, tasks: int) -> int:
    low, high = min(one, other), max(one, other)
    return low * tasks - low * (low + 1) // 2 + high - low - 1


def degrees(pairs_C: Integers, tasks: int) -> Integers:
    """In how many of these pairs each task is, in the tasks' order."""
    return np.bincount(np.concatenate(pair_tasks(pairs_C, tasks)), minlength=tasks)


def _draw(population: int, count: int, generator: np.random.Generator) -> Integers:
    """`count` places of `population`, each at most once, in random order; all of them if they are fewer."""
    return generator.choice(population, min(count, population), replace=False)


def _around(places: Integers, taken: Integers) -> Integers:
    """The places that these are among those not in `taken` (sorted)."""
    return places + np.searchsorted(taken - np.arange(len(taken)), places, side="right")
