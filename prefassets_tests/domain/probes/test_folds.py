"""Folds hold units together and depend on nothing but their names."""

from collections import Counter

import numpy as np

from prefassets.domain.probes.folds import NOWHERE, Split, dealt_folds


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


def test_what_predicts_a_topic_has_seen_neither_the_topic_nor_the_units():
    generator = np.random.default_rng(0)
    topic, unit = generator.integers(-1, 4, 300), generator.integers(0, 40, 300)
    split = Split.crossed(topic, unit, dealt_folds([f"user_{number}" for number in unit], 5))
    assert (split.fold_N == NOWHERE).tolist() == (topic == NOWHERE).tolist()
    assert len(split.fitted_FN) == 4 * 5
    for fold, fitted in enumerate(split.fitted_FN):
        held = split.fold_N == fold
        assert len(set(topic[held])) == 1
        assert not {*topic[held], NOWHERE} & set(topic[fitted])
        assert not set(unit[held]) & set(unit[fitted])
        assert set(topic[fitted]) == {0, 1, 2, 3} - set(topic[held])


def test_where_no_unit_has_two_topics_each_topic_is_predicted_by_one_fit_to_all_others():
    topic = np.arange(60) % 3
    split = Split.crossed(topic, np.arange(60) % 30, dealt_folds([f"task_{number % 30}" for number in range(60)], 5))
    assert split.fold_N.tolist() == topic.tolist()
    assert (split.fitted_FN == (topic != np.arange(3)[:, None])).all()


def test_only_topics_that_share_units_are_predicted_by_several_fits():
    topic, unit = np.array([0, 1, 1, 1, 2, 2, 2]), np.array([0, 0, 1, 2, 3, 4, 5])
    split = Split.crossed(topic, unit, unit)
    assert split.fold_N.tolist() == [0, 1, 2, 3, 4, 4, 4]
    assert split.fitted_FN[1].tolist() == [False, False, False, False, True, True, True]
