"""Power is counted on whole simulated studies; what is counted here can be counted otherwise."""

import numpy as np
import pytest
from scipy.stats import norm

from prefassets.domain.inference.noise import NoiseModel
from prefassets.domain.inference.power import StudyDesign, detectable, simulated_study

USERS = np.full(125, 10)
INDEPENDENT = NoiseModel(user=0.0, pair=0.5, seed_pp=0.0)


def design(**changes):
    usual = {"directional": {f"split {n}": (USERS, USERS) for n in range(4)}, "seeds": 2, "folds": 5}
    return StudyDesign(**(usual | changes))


def found(model, shape, effect_pp, repetitions=20):
    return detectable(model, shape, effect_pp, repetitions, np.random.default_rng(0))


def test_without_user_or_seed_effects_the_standard_error_is_that_of_a_difference_of_shares():
    """Two seeds agree on a pair as far as `pair` explains both: their mean varies as (1 + both) / 2 of one."""
    one = found(INDEPENDENT, design(), 0.0)
    same = 0.6 * 0.4  # variance of one adapter on one pair
    assert 100 * np.sqrt(2 * same / 1_250 * 0.5) < one.standard_error_pp < 100 * np.sqrt(2 * same / 1_250)


def test_the_minimum_detectable_effect_is_found_in_four_of_five_studies():
    least = found(INDEPENDENT, design(), 0.0).minimum_detectable_pp
    by_normal = (norm.ppf(1 - 0.05 / 4 / 2) + norm.ppf(0.8)) * found(INDEPENDENT, design(), 0.0).standard_error_pp
    assert least == pytest.approx(
        by_normal, rel=0.1
    )  # Student's t and Welch's degrees of freedom ask for a little more than the normal
    at_least = found(INDEPENDENT, design(), least)
    assert at_least.found_alone == pytest.approx(0.8, abs=0.15)  # 80 splits: sd 4.5 %, more as seeds are shared
    assert at_least.found >= at_least.found_alone, "Holm finds whatever its first step finds"


def test_under_a_null_almost_nothing_is_found_and_intervals_hold_it():
    null = found(NoiseModel(seed_pp=1.0), design(), 0.0)
    assert null.found + null.wrong_side < 0.1, "of 80, where 1.25 % are expected"
    assert null.covered > 0.9


def test_times_the_users_brings_the_minimum_detectable_effect_down_to_the_wanted_one():
    wanted = 5.0
    few = found(NoiseModel(seed_pp=0.5), design(), wanted)
    grown = np.tile(USERS, round(few.times_the_users))
    many = found(NoiseModel(seed_pp=0.5), design(directional={f"split {n}": (grown, grown) for n in range(4)}), wanted)
    assert many.minimum_detectable_pp == pytest.approx(wanted, rel=0.15)


def test_where_seeds_alone_spread_too_far_no_number_of_users_is_enough():
    assert found(NoiseModel(user=0, seed_pp=5.0), design(), 1.0, repetitions=10).times_the_users is None


def test_a_placebo_is_a_random_half_of_the_same_users():
    study = simulated_study(NoiseModel(), design(placebos=3), 20.0, np.random.default_rng(0))
    placebos = [result for result in study if result.role == "placebo"]
    assert len(placebos) == 3
    assert all(result.measured[0].users == (125, 125) for result in placebos)
    assert max(abs(result.measured[0].estimate) for result in placebos) < 15


def test_without_a_directional_split_there_is_nothing_to_find():
    with pytest.raises(ValueError, match="no split of this design expects a direction"):
        found(NoiseModel(), design(directional={}), 5.0)
