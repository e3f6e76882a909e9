"""Held-out battles and what was predicted of them, written down in tests."""

import numpy as np
import polars as pl

from prefassets.resources.arena_tables import BATTLE_COLUMNS, PREDICTION_COLUMNS

BATTLE = {"model_a": "m", "model_b": "n", "prompts": ["why?"], "answers_a": ["so"], "answers_b": ["no"], "turns": 1}
BATTLE |= {"length_a": 2, "length_b": 2}


def frame(columns, rows):
    schema = {name: column.dtype for name, column in columns.items()}
    return pl.DataFrame([dict.fromkeys(schema) | row for row in rows], schema=schema)


def battles(winners, prompts=None, **other):
    """One battle per winner, `0`, `1`, ...; each its own prompt unless said; `other` columns with a value for each."""
    prompts = range(len(winners)) if prompts is None else prompts
    rows = [
        BATTLE | {"battle": str(number), "winner": winner, "prompt_digest": f"p{prompt:05d}"}
        for number, (winner, prompt) in enumerate(zip(winners, prompts, strict=True))
    ]
    for name, values in other.items():
        rows = [row | {name: value} for row, value in zip(rows, values, strict=True)]
    return frame(BATTLE_COLUMNS, rows)


def predictions(predictor, given, swapped=None, left_out=None):
    """Of battles `0`, `1`, ..., three probabilities each."""
    rows = []
    for number, (a, b, tie) in enumerate(given):
        row = {"predictor": predictor, "battle": str(number), "a": a, "b": b, "tie": tie}
        if swapped is not None:
            row |= dict(zip(("a_swapped", "b_swapped", "tie_swapped"), swapped[number], strict=True))
        rows.append(row | {"left_out": None if left_out is None else left_out[number]})
    return frame(PREDICTION_COLUMNS, rows)


def noisy(count, seed=0, models=1):
    """Winners, and for each of `models` probabilities that know something of them."""
    generator = np.random.default_rng(seed)
    score = generator.normal(size=(count, 3))
    winner = (softmax(score).cumsum(axis=1) < generator.random((count, 1))).sum(axis=1)
    known = [softmax(score + 0.3 * generator.normal(size=(count, 3))) for _ in range(models)]
    return np.array(["A", "B", "tie"])[winner], known


def softmax(score):
    weight = np.exp(score)
    return weight / weight.sum(axis=1, keepdims=True)
