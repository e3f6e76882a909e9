"""Draws take tokens as often as they are probable, whatever is written beside them."""

import numpy as np
import pytest
import torch

from prefassets.domain.training.generation import Draws


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_evenly_spread_draws_take_each_token_in_proportion(temperature):
    logits_V = torch.tensor([0.0, -torch.inf, 2.0, -3.0, 1.0])
    draws = Draws(((np.arange(10_000) + 0.5) / 10_000)[:, None], temperature)
    taken_N = draws(torch.empty(10_000, 0), logits_V.expand(10_000, -1)).argmax(-1)
    wanted_V = np.exp(logits_V.double().numpy() / temperature)
    counts_V = torch.bincount(taken_N, minlength=5).numpy()
    assert np.abs(counts_V - 10_000 * wanted_V / wanted_V.sum()).max() <= 1
    assert counts_V[1] == 0


def test_each_step_has_a_draw_of_its_own():
    draws = Draws(np.array([[0.1, 0.9], [0.9, 0.1]]), 1.0)
    even_NV = torch.zeros(2, 2)
    steps = [draws(torch.empty(2, step), even_NV).argmax(-1).tolist() for step in range(2)]
    assert steps == [[0, 1], [1, 0]]
