"""Baselines know what they are said to know, and nothing of who is held out."""

import numpy as np
import pytest

from prefassets.domain.probes.baselines import TextFeatures, log_length, one_hot, random_activations, shuffled_items


def test_each_unit_gets_the_labels_of_one_other_in_another_order():
    generator = np.random.default_rng(0)
    units = [f"user_{number:02}" for number in np.sort(generator.integers(0, 30, 200))]
    given = shuffled_items(units, seed=1)
    of = {
        unit: {units[item] for item in given[[at for at, name in enumerate(units) if name == unit]]} for unit in units
    }
    assert all(len(sources) == 1 for sources in of.values())
    assert {source for sources in of.values() for source in sources} == set(units)
    assert (given != shuffled_items(units, seed=2)).any()


def test_chosen_and_rejected_of_a_user_do_not_stay_what_they_were():
    """Every unit has the labels 1, 0, 1, 0: moved as they lie, they would all be right."""
    units = [f"user_{number // 4:03}" for number in range(400)]
    labels = np.tile([1, 0], 200)
    assert (labels[shuffled_items(units, seed=0)] == labels).mean() == pytest.approx(0.5, abs=0.1)


def test_units_of_one_item_are_permuted():
    assert sorted(shuffled_items([f"task_{number:03}" for number in range(50)], seed=0)) == list(range(50))


def test_texts_that_are_not_fitted_change_nothing():
    texts = ["solve x + 1", "write a poem", "a poem of rain", "solve the equation", "rain and snow", "integrate x"] * 3
    fitted = np.arange(12)
    once = TextFeatures(texts)(fitted)
    again = TextFeatures([*texts[:12], *["words that nobody knows"] * 6])(fitted)
    assert once[:12] == pytest.approx(again[:12])
    assert again[12:] == pytest.approx(np.zeros_like(again[12:]))
    assert TextFeatures(["", None, ""])(np.arange(2)).shape == (3, 1)


def test_topics_lengths_and_noise_have_their_shapes():
    assert one_hot(["b", None, "a"]).tolist() == [[0, 1], [0, 0], [1, 0]]
    assert log_length([0, np.e - 1]).ravel() == pytest.approx([0, 1])
    noise = random_activations(2_000, 3, seed=0)
    assert noise.shape == (2_000, 3)
    assert noise.mean() == pytest.approx(0, abs=0.05)
    assert noise.std() == pytest.approx(1, abs=0.05)
