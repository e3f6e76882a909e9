"""Simulated adapters are as right, as alike and as scattered as the model that makes them says."""

import numpy as np
import polars as pl
import pytest

from prefassets.domain.inference.noise import SCORED, Design, NoiseModel, fit, simulate

TWELVE_PAIRS = np.full(2_000, 12)


def design(seeds=2, folds=5, users=TWELVE_PAIRS):
    return Design(pairs_per_user_a=users, pairs_per_user_b=users, seeds=seeds, folds=folds)


def accuracy(scored, **where):
    rows = scored.filter(**where)
    return 100 * rows["correct"].sum() / rows["pairs"].sum()


def test_groups_differ_by_the_planted_points_under_either_adapter():
    scored = simulate(NoiseModel(seed_pp=0), design(), 6.0, np.random.default_rng(0))
    for adapter in "AB":
        difference = accuracy(scored, adapter=adapter, user_group="A") - accuracy(
            scored, adapter=adapter, user_group="B"
        )
        assert difference == pytest.approx(6, abs=1.5)


def test_five_folds_hold_out_every_user_once_and_one_fold_a_fifth():
    generator = np.random.default_rng(0)
    every, some = (simulate(NoiseModel(), design(folds=folds), 0.0, generator) for folds in (5, 1))
    assert tuple(every.columns) == SCORED
    per_user = every.group_by("adapter", "seed", "user_id").len()
    assert per_user["len"].max() == 1
    assert (every["user_id"].n_unique(), some["user_id"].n_unique()) == (4_000, 800)


def test_the_design_effect_of_a_group_s_mean_is_the_one_asked_for():
    model = NoiseModel(seed_pp=0).with_design_effect(3.0, TWELVE_PAIRS)
    generator = np.random.default_rng(1)
    small = np.full(100, 12)
    means = [
        accuracy(simulate(model, design(1, 5, small), 0.0, generator), adapter="A", user_group="A") for _ in range(250)
    ]
    independent = 100 * np.sqrt(0.6 * 0.4 / (100 * 12))
    assert (np.std(means) / independent) ** 2 == pytest.approx(3.0, rel=0.25)  # of 250 means: sd 9 %


def test_seeds_and_training_samples_shift_adapters_by_the_points_that_the_model_says():
    generator = np.random.default_rng(2)
    shifting = NoiseModel(user=0, pair=0, seed_pp=2.0, training_pp=0)
    by_seed = [accuracy(simulate(shifting, design(1), 0.0, generator), adapter="A", user_group="A") for _ in range(200)]
    assert np.std(by_seed) == pytest.approx(2.0, rel=0.2)
    trained = NoiseModel(user=0, pair=0, seed_pp=0, training_pp=2.0)
    two_seeds = [simulate(trained, design(2, 1), 0.0, generator) for _ in range(100)]
    first, second = (
        [accuracy(scored, adapter="A", user_group="A", seed=seed) for scored in two_seeds] for seed in (0, 1)
    )
    assert np.corrcoef(first, second)[0, 1] > 0.6, "seeds of one cohort share whom they learned from"


def test_a_model_fitted_to_simulated_adapters_is_the_model_that_made_them():
    made = NoiseModel(accuracy=0.65, user=0.12, pair=0.6, seed_pp=0.0)
    generator = np.random.default_rng(3)
    pairs, users, seeds = 12, 1_500, 3
    limit = 0.3853  # probit(.65)
    user = np.sqrt(made.user) * generator.standard_normal((users, 1, 1))
    pair = np.sqrt(made.pair) * generator.standard_normal((users, pairs, 1))
    rest = np.sqrt(1 - made.user - made.pair) * generator.standard_normal((users, pairs, seeds))
    correct = (limit + user + pair + rest > 0).sum(axis=2)
    rows = pl.DataFrame(
        {"split": "s", "user_group": "A", "user_id": np.repeat(np.arange(users), pairs), "seeds": seeds}
    ).with_columns(correct=correct.ravel())
    fitted = fit(rows, seed_pp=1.5, training_pp=0.5)
    assert fitted.accuracy == pytest.approx(0.65, abs=0.015)
    assert fitted.user == pytest.approx(0.12, abs=0.02)
    assert fitted.pair == pytest.approx(0.6, abs=0.03)
    assert (fitted.seed_pp, fitted.training_pp) == (1.5, 0.5)


def test_a_difference_between_groups_does_not_pass_for_users_being_alike():
    generator = np.random.default_rng(4)
    rows = pl.concat(
        pl.DataFrame(
            {
                "split": "s",
                "user_group": group,
                "user_id": np.repeat(np.arange(300), 10),
                "seeds": 2,
                "correct": generator.binomial(2, chance, 3_000),
            }
        )
        for group, chance in (("A", 0.9), ("B", 0.5))
    )
    assert fit(rows, 1.0, 0.0).user < 0.02


def test_one_seed_shows_no_spread_and_says_so():
    rows = pl.DataFrame({"split": ["s"], "user_group": ["A"], "user_id": ["u"], "seeds": [1], "correct": [1]})
    with pytest.raises(ValueError, match="one seed shows no spread"):
        fit(rows, 1.0, 0.0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"accuracy": 1.0}, "between 0 and 1"),
        ({"user": 0.7, "pair": 0.7}, "at most 1 together"),
        ({"seed_pp": -1.0}, "no sd is negative"),
    ],
)
def test_an_impossible_model_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        NoiseModel(**wrong)


def test_an_impossible_effect_or_design_effect_is_refused():
    with pytest.raises(ValueError, match="leave the range"):
        simulate(NoiseModel(accuracy=0.9), design(), 30.0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="below 1"):
        NoiseModel().with_design_effect(30.0, TWELVE_PAIRS)
