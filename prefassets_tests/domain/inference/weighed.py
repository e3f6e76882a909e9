"""Simulated WPO weights: users, conversations of one source model each, and answers of any length."""

import numpy as np
import polars as pl


def weighed_pairs(
    seed: int,
    users: int = 300,
    models: int = 8,
    conversations: int = 4,
    turns: int = 3,
    length_effect: float = 0.0,
    model_effect: float = 0.0,
    length_by_model: float = 0.0,
    user_sd: float = 0.0,
    noise: float = 0.05,
) -> pl.DataFrame:
    """Weights around .5. `length_effect` is per unit of log tokens of an answer (a curve, not a line). Models are
    spread evenly over -1 to 1 times `model_effect` in their weight and times `length_by_model` in their log tokens.
    """
    rng = np.random.default_rng(seed)
    spread, same_for_all_seeds = np.linspace(-1, 1, models), np.random.default_rng(models)
    of_model, length_of_model = same_for_all_seeds.permutation(spread), same_for_all_seeds.permutation(spread)
    user = np.repeat(np.arange(users), conversations * turns)
    conversation = np.repeat(np.arange(users * conversations), turns)
    model = np.repeat(rng.integers(models, size=users * conversations), turns)
    tokens = (
        np.exp(rng.normal(4 + length_by_model * length_of_model[model][:, None], 0.5, (len(user), 2))).astype(int) + 1
    )
    curve = np.sin(np.log(tokens) - 4).sum(axis=1)
    weight = 0.5 + length_effect * curve + model_effect * of_model[model]
    weight += user_sd * rng.normal(size=users)[user] + noise * rng.normal(size=len(user))
    return pl.DataFrame(
        {
            "pair_id": [f"c{of}.{number}" for number, of in enumerate(conversation)],
            "user_id": [f"u{of:04d}" for of in user],
            "model_name": [f"model {of}" for of in model],
            "weight": weight,
            "chosen_tokens": tokens[:, 0],
            "rejected_tokens": tokens[:, 1],
        }
    )
