"""Activations with a planted direction, and the items and targets around them."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from prefassets.domain.probes.suite import Probed, Target


def names(items: int) -> list[str]:
    return [f"task_{number:05}" for number in range(items)]


def activations_with(items: int, width: int, r_squared: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Correlated activations, and a target of variance 1 of which a direction in them explains `r_squared`."""
    generator = np.random.default_rng(seed)
    activations = generator.normal(size=(items, width)) @ generator.normal(size=(width, width)) / np.sqrt(width)
    activations += generator.normal(size=width)  # as hidden states do, they lie far from zero
    signal = activations @ generator.normal(size=width)
    signal = (signal - signal.mean()) / signal.std()
    target = np.sqrt(r_squared) * signal + np.sqrt(1 - r_squared) * generator.normal(size=items)
    return activations.astype(np.float32), target


def numbers(values: Sequence[float], name: str = "utility", kind: str = "number") -> Target:
    return Target(name=name, kind=kind, values=pl.DataFrame({"item": names(len(values)), "value": list(values)}))


def probed(activations: np.ndarray, *targets: Target, **columns: Sequence) -> Probed:
    """One layer and position; each item is its own unit, unless `unit` says otherwise."""
    given = {"item": names(len(activations)), "unit": names(len(activations))} | columns
    return Probed(activations={(1, "prompt_last"): activations}, items=pl.DataFrame(given), targets=targets)


def choices_by(utilities: np.ndarray, pairs: int, seed: int = 0, slot: float = 0.0) -> pl.DataFrame:
    """One answer to each of so many pairs of items, both orders of each two as likely, by Bradley and Terry."""
    generator = np.random.default_rng(seed)
    items = len(utilities)
    a = generator.integers(0, items, pairs)
    b = (a + generator.integers(1, items, pairs)) % items
    wins = generator.random(pairs) < 1 / (1 + np.exp(-(utilities[a] - utilities[b] + slot)))
    named = np.array(names(items))
    return pl.DataFrame({"item_a": named[a], "item_b": named[b], "wins_a": wins.astype(int), "wins_b": 1 - wins})
