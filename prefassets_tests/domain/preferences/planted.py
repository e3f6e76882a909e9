"""Choices by planted utilities."""

from itertools import combinations

import numpy as np
import polars as pl
from scipy.special import expit, ndtr


def planted_choices(
    mu_n,
    pairs: int,
    answers: int,
    seed: int,
    sigma_n=None,
    slot_bias: float = 0.0,
    pair_effect: float = 0.0,
    refusal: tuple[float, float] | None = None,
) -> pl.DataFrame:
    """Choices between so many different pairs of tasks t00, t01, ..: each asked `answers` times, in one order of slots.

    `pair_effect` is the standard deviation of what shifts all answers to one pair alike. `refusal` is level and slope
    of the log odds of a refusal in the mean mu of the two tasks.
    """
    generator = np.random.default_rng(seed)
    mu_n = np.asarray(mu_n, dtype=float)
    sigma_n = np.ones(len(mu_n)) if sigma_n is None else sigma_n
    every_pair = np.array(list(combinations(range(len(mu_n)), 2)))
    asked = generator.permuted(every_pair[generator.permutation(len(every_pair))[:pairs]], axis=1)
    slot_a, slot_b = asked.T
    pairs = len(asked)
    lead = mu_n[slot_a] - mu_n[slot_b] + slot_bias + pair_effect * generator.normal(size=pairs)
    chance = np.repeat(ndtr(lead / np.sqrt(sigma_n[slot_a] ** 2 + sigma_n[slot_b] ** 2)), answers)
    choice = np.where(generator.random(len(chance)) < chance, "a", "b")
    if refusal:
        odds = np.repeat(refusal[0] + refusal[1] * (mu_n[slot_a] + mu_n[slot_b]) / 2, answers)
        choice = np.where(generator.random(len(chance)) < expit(odds), "refusal", choice)
    names = np.array([f"t{number:02}" for number in range(len(mu_n))])
    return pl.DataFrame(
        {"task_a": np.repeat(names[slot_a], answers), "task_b": np.repeat(names[slot_b], answers), "choice": choice}
    )
