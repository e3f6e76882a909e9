"""Two studies with nothing to find: simulated differences have the spread and likeness that were asked for."""

import numpy as np
import pytest
from statsmodels.formula.api import ols

from prefassets.domain.inference.change_noise import (
    Known,
    SeedSpread,
    UserSpread,
    seed_spread,
    simulate,
    user_spread,
)

DRAWS = 200_000  # a variance to .3 %, a covariance to .2 % of the variances (one Monte Carlo error)


def drawn(before=(1, 2), after=(1, 3), users=None, seeds=None, step_pp=None):
    users = users or UserSpread(before_pp=2.0, after_pp=3.0, correlation=0.5)
    seeds = seeds or SeedSpread(between_pp=4.0, own_pp=2.0)
    return simulate(before, after, users, seeds, DRAWS, np.random.default_rng(0), step_pp)


def covariance(one, other):
    return np.cov(one, other)[0, 1]


def test_simulated_differences_vary_and_covary_as_the_model_says():
    before, after = drawn()
    assert (list(before), list(after)) == ([1, 2], [1, 3])
    assert before[1].mean() == pytest.approx(0, abs=0.05)
    assert before[1].var() == pytest.approx(2.0**2 + 4.0**2, rel=0.02)
    assert after[3].var() == pytest.approx(3.0**2 + 4.0**2, rel=0.02)
    users, shared_seed = 0.5 * 2.0 * 3.0, 4.0**2 - 2.0**2
    assert covariance(before[1], before[2]) == pytest.approx(2.0**2, abs=0.2)
    assert covariance(before[1], after[1]) == pytest.approx(users + shared_seed, abs=0.2)
    assert covariance(before[1], after[3]) == pytest.approx(users, abs=0.2)


def test_in_steps_a_difference_is_exactly_zero_as_often_as_it_rounds_to_it():
    from scipy.stats import norm

    before, _ = drawn(users=UserSpread(), step_pp=1.0)
    assert set(np.unique(before[1] % 1.0)) == {0.0}
    assert (before[1] == 0).mean() == pytest.approx(2 * norm.cdf(0.5 / 4.0) - 1, abs=0.005)


# ---- users


def known(sd, users, by_seed=None, seeds=1):
    return Known(user_sd_pp=sd, user_by_seed_sd_pp=by_seed, seeds=seeds, users=users)


@pytest.mark.parametrize("common", [60, 20, 0])
def test_user_correlation_is_that_of_two_means_over_partly_the_same_users(common):
    """n users before, m after, `common` in both, whose values correlate by .6: cov of means is cov x common / (n m)."""
    generator = np.random.default_rng(1)
    population = generator.multivariate_normal([0, 0], [[4.0, 0.6 * 2 * 3], [0.6 * 2 * 3, 9.0]], size=400_000)
    n, m = 60, 150
    change = known(float((population[:, 1] - population[:, 0]).std() / common**0.5), common) if common else None
    found = user_spread(known(2.0 / n**0.5, n), known(3.0 / m**0.5, m), change, common)
    expected = 0.6 * 2.0 * 3.0 * common / (n * m) / ((2.0 / n**0.5) * (3.0 / m**0.5))
    assert found.correlation == pytest.approx(expected, abs=0.01)
    assert found.change_variance == pytest.approx(
        4.0 / n + 9.0 / m - 2 * expected * 2.0 * 3.0 / (n * m) ** 0.5, rel=0.01
    )


def test_without_a_common_seed_a_user_is_taken_to_be_the_same_before_and_after():
    found = user_spread(known(2.0, 50), known(1.0, 200), None, 50)
    assert found.correlation == pytest.approx((50 / 200) ** 0.5)


def test_users_who_are_all_alike_have_no_spread_and_no_correlation():
    assert user_spread(known(0.0, 50), known(1.0, 50), known(1.0, 50), 50) == UserSpread(before_pp=0.0, after_pp=1.0)


def test_what_users_make_of_each_seed_is_in_the_seeds_and_not_counted_twice():
    """A mean over S seeds has U + N / S from its users; N is part of what seeds differ by."""
    before, after = known(2.0, 50, by_seed=3.0, seeds=9), known(2.0, 50, by_seed=2.0, seeds=4)
    change = known(1.5, 50, by_seed=1.0, seeds=4)
    found = user_spread(before, after, change, 50)
    assert (found.before_pp**2, found.after_pp**2) == (pytest.approx(4.0 - 1.0), pytest.approx(4.0 - 1.0))
    assert found.change_variance == pytest.approx(2.25 - 0.25)
    single = user_spread(before, known(4.0, 50), change, 50)  # one seed does not say; the other study's does
    assert single.after_pp**2 == pytest.approx(16.0 - 9.0)
    one_common = user_spread(before, after, known(4.0, 50), 50)
    assert one_common.change_variance == pytest.approx(16.0 - 9.0)
    assert user_spread(known(1.0, 50, by_seed=5.0, seeds=2), after, None, 50).before_pp == 0.0


# ---- seeds


def test_variance_between_seeds_is_pooled_within_splits_and_studies():
    before = [{1: 1.0, 2: 4.0}, {1: -3.0, 2: 0.0, 3: 2.0}]
    after = [{1: 9.0}, {1: 5.0, 2: 5.5, 4: 9.0}]
    values = {"a": [1.0, 4.0], "b": [-3.0, 0.0, 2.0], "c": [5.0, 5.5, 9.0]}
    rows = {"cell": [k for k, v in values.items() for _ in v], "value": [x for v in values.values() for x in v]}
    assert seed_spread(before, after).between_pp ** 2 == pytest.approx(ols("value ~ C(cell)", rows).fit().mse_resid)


def test_what_studies_do_not_share_at_a_seed_is_half_the_mean_squared_change_less_the_users():
    before, after = [{1: 0.0, 2: 10.0}, {1: 20.0, 3: 0.0}], [{1: 2.0, 2: 7.0}, {1: 19.0, 2: 5.0}]
    assert seed_spread(before, after).own_pp ** 2 == pytest.approx((4.0 + 9.0 + 1.0) / 3 / 2)
    assert seed_spread(before, after, 2.0).own_pp ** 2 == pytest.approx(((4.0 + 9.0 + 1.0) / 3 - 2.0) / 2)
    assert seed_spread(before, after, 100.0).own_pp == 0.0


def test_no_more_than_all_of_the_spread_can_be_a_studys_own():
    spread = seed_spread([{1: 0.0, 2: 1.0}], [{1: 50.0, 2: 51.0}])
    assert spread.own_pp == pytest.approx(spread.between_pp)
    apart = seed_spread([{1: 0.0, 2: 1.0}], [{3: 0.0, 4: 1.0}])
    assert apart.own_pp == pytest.approx(apart.between_pp)


def test_single_seeds_say_nothing_about_the_spread_between_seeds():
    assert seed_spread([{1: 0.0}], [{1: 3.0}]) is None


def test_the_spread_that_was_simulated_is_found_again():
    """Two seeds of 40,000 splits: pooled over so many, the estimates are the parameters."""
    before, after = drawn(before=(1, 2), after=(1, 2))
    splits = range(40_000)
    found = seed_spread(
        [{seed: before[seed][split] for seed in before} for split in splits],
        [{seed: after[seed][split] for seed in after} for split in splits],
        UserSpread(before_pp=2.0, after_pp=3.0, correlation=0.5).change_variance,
    )
    assert found.between_pp == pytest.approx(4.0, rel=0.02)
    assert found.own_pp == pytest.approx(2.0, rel=0.03)
