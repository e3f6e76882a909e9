"""Folds hold units together and depend on nothing but their names."""

from collections import Counter

import numpy as np

from prefassets.domain.probes.folds import NOWHERE, dealt_folds


def test_no_unit_is_in_two_folds_and_folds_are_alike():
    generator = np.random.default_rng(0)
    units = [f"user_{number}" for number in generator.integers(0, 40, 500)]
    folds = dealt_folds(units, 5)
    of_unit = {(unit, fold) for unit, fold in zip(units, folds.tolist(), strict=True)}
    assert len(of_unit) == 40
    assert set(Counter(fold for _, fold in of_unit).values()) == {8}


def test_order_does_not_matter_and_the_seed_does():
    units = [f"user_{number % 30}" for number in range(90)]
    shuffled = np.random.default_rng(0).permutation(90)
    folds = dealt_folds(units, 5)
    assert (dealt_folds([units[place] for place in shuffled], 5) == folds[shuffled]).all()
    assert (dealt_folds(units, 5, seed=1) != folds).any()


def test_who_has_no_unit_is_in_no_fold():
    assert dealt_folds(["a", None, "b"], 2).tolist().count(NOWHERE) == 1
    assert dealt_folds(["a", None, "b"], 2)[1] == NOWHERE
