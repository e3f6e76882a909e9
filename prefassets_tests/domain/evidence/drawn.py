"""Pairs drawn from a proportional-odds model, with users who differ beyond their covariates."""

from dataclasses import dataclass

import numpy as np

SCALES = np.array([1.0, 30.0, 0.05])  # covariates in very different units


@dataclass(frozen=True)
class Drawn:
    values_nk: np.ndarray
    bins_n: np.ndarray
    users_n: np.ndarray


def draw(seed: int = 0, pairs: int = 600, users: int = 60, bins: int = 4, between_users: float = 0.8) -> Drawn:
    """The covariates are the users' own, so that all pairs of a user share them; equally many pairs in each bin."""
    rng = np.random.default_rng(seed)
    of_user = rng.integers(users, size=pairs)
    of_user[:users] = np.arange(users)
    values = (rng.normal(size=(users, len(SCALES))) * SCALES + 5)[of_user]
    latent = values @ (np.array([0.5, -0.3, 0.2]) / SCALES) + rng.logistic(size=pairs)
    latent += between_users * rng.normal(size=users)[of_user]
    return Drawn(values, np.argsort(np.argsort(latent)) * bins // pairs, of_user)
