"""PRISM's published counts (`marginals.json`), and how they shrink to a smaller study."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray


@cache
def published() -> dict[str, Any]:
    """The published counts; `_about` says what was read off a plot, adjusted or made up, and why."""
    return json.loads(resources.files(__package__).joinpath("marginals.json").read_text(encoding="utf-8"))


def scaled(counts: Sequence[float] | NDArray, total: int) -> NDArray[np.int64]:
    """`counts` in the same proportions but summing to `total`; unchanged where they already do.

    The running sums are scaled and rounded, not the counts: then rare things stay as frequent together as they were,
    and everything that stands side by side in `counts` (a region's countries) keeps its sum to within one.
    """
    running = np.cumsum(counts)
    return np.diff(np.rint(running * total / running[-1]), prepend=0).astype(np.int64)


def dealt(rng: np.random.Generator, counts: Mapping[str, int], total: int) -> NDArray[np.object_]:
    """`total` category names in random order, each as often as `counts` says."""
    return rng.permutation(repeated(counts, total))


def repeated(counts: Mapping[str, float], total: int) -> NDArray[np.object_]:
    """`total` category names in the order of `counts`."""
    return np.repeat(np.array(list(counts), dtype=object), scaled(list(counts.values()), total))


def interleaved(rng: np.random.Generator, group: NDArray[np.object_]) -> NDArray[np.int64]:
    """Positions of `group` in an order along which each group's members, shuffled, stand at even distances."""
    place = np.empty(len(group))
    for name in dict.fromkeys(group):
        (members,) = np.nonzero(group == name)
        place[members] = rng.permutation((np.arange(len(members)) + rng.random()) / len(members))
    return np.argsort(place)
