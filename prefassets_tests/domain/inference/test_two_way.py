"""What held-out pairs say of one split: every fast formula against its definition or another library."""

import numpy as np
import polars as pl
import pytest
from statsmodels.formula.api import ols

from prefassets.domain.inference.two_way import METRICS, QUANTITIES, measure
from prefassets_tests.domain.inference.held_out import drawn_pairs, per_user, scored

ADAPTERS = ("A", "B", "everyone", "A before", "B before")
PAIRS = drawn_pairs(adapters=ADAPTERS)


def found(pairs, **options):
    return {(one.quantity, one.metric): one for one in measure(per_user(pairs), **options)}


def mean_of(pairs, metric):
    """Points of pairs with a margin above 0, or the mean margin."""
    return 100 * (pairs["margin"] > 0).mean() if metric == "pref_acc" else pairs["margin"].mean()


def by_definition(pairs, quantity, metric):
    """A signed sum of means over the pairs of one seed."""
    parts = {
        "contrast": [(1, "A", "A"), (-1, "B", "B")],
        "interaction": [(1, "A", "A"), (-1, "A", "B"), (-1, "B", "A"), (1, "B", "B")],
        "advantage_on_a": [(1, "A", "A"), (-1, "B", "A")],
        "advantage_on_b": [(1, "B", "B"), (-1, "A", "B")],
        "difficulty": [(1, "everyone", "A"), (-1, "everyone", "B")],
        "change": [(1, "A", "A"), (-1, "B", "B"), (-1, "A before", "A"), (1, "B before", "B")],
    }[quantity]
    return sum(
        sign * mean_of(pairs.filter(adapter=adapter, user_group=group), metric) for sign, adapter, group in parts
    )


# ---- estimates


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_each_quantity_is_a_difference_of_means_over_pairs(quantity, metric):
    one = found(PAIRS, draws=2)[quantity, metric]
    expected = [by_definition(PAIRS.filter(seed=seed), quantity, metric) for seed in range(3)]
    assert one.by_seed_S == pytest.approx(expected, rel=1e-12)
    assert one.estimate == pytest.approx(np.mean(expected), rel=1e-12)
    assert one.seeds == 3


@pytest.mark.parametrize("metric", METRICS)
def test_interaction_is_the_sum_of_both_advantages(metric):
    every = found(PAIRS, draws=2)
    both = every["advantage_on_a", metric].by_seed_S + every["advantage_on_b", metric].by_seed_S
    assert every["interaction", metric].by_seed_S == pytest.approx(both, rel=1e-12)


def test_group_difficulty_cancels_in_the_interaction():
    """B's pairs become harder for every adapter alike."""
    harder = PAIRS.with_columns(margin=pl.col("margin") - 0.7 * (pl.col("user_group") == "B"))
    before, after = found(PAIRS, draws=2), found(harder, draws=2)
    assert after["interaction", "margin"].estimate == pytest.approx(before["interaction", "margin"].estimate)
    assert after["contrast", "margin"].estimate == pytest.approx(before["contrast", "margin"].estimate + 0.7)


def change_per_pair(pairs):
    """Each pair's margin under its group's adapter minus that under the adapter before."""
    key = ["seed", "user_id", "user_group", "pair"]
    numbered = pairs.with_columns(pair=pl.int_range(pl.len()).over("seed", "adapter", "user_id"))
    own = numbered.filter(pl.col("adapter") == pl.col("user_group"))
    before = numbered.filter(pl.col("adapter") == pl.col("user_group") + " before")
    both = own.join(before.rename({"margin": "margin_before"}).drop("adapter"), on=key)
    return both.with_columns(margin=pl.col("margin") - pl.col("margin_before"))


def test_a_change_is_measured_like_a_contrast_of_what_changed_in_each_pair():
    """So what a user, a pair and a seed are like under both methods is in neither the estimate nor its spread."""
    change = found(PAIRS, draws=50)["change", "margin"]
    of_pairs = found(change_per_pair(PAIRS), draws=50)["contrast", "margin"]
    assert change.by_seed_S == pytest.approx(of_pairs.by_seed_S, rel=1e-9)
    assert change.user_draws_D == pytest.approx(of_pairs.user_draws_D, rel=1e-9)
    assert np.array(change.user_variances) == pytest.approx(np.array(of_pairs.user_variances), rel=1e-9)
    assert change.user_by_seed_noise == pytest.approx(of_pairs.user_by_seed_noise, rel=1e-9)


def test_users_and_pairs_are_counted_by_group():
    one = found(PAIRS, draws=2)["contrast", "pref_acc"]
    of_one_cell = PAIRS.filter(seed=0, adapter="A")
    assert one.users == (12, 9)
    assert one.pairs == tuple(len(of_one_cell.filter(user_group=group)) for group in "AB")
    assert found(PAIRS, draws=2)["advantage_on_a", "pref_acc"].users == (12, 0)


# ---- spread over users


@pytest.mark.parametrize("quantity", ["contrast", "interaction"])
def test_a_draw_is_the_definition_on_the_drawn_users(quantity):
    """Users - 1 of each group with replacement, group A first; a user drawn twice brings every pair twice."""
    draws = 5
    generator = np.random.default_rng(7)
    drawn = {group: generator.integers(users, size=(draws, users - 1)) for group, users in (("A", 12), ("B", 9))}
    for metric in METRICS:
        expected = []
        for draw in range(draws):
            users = [f"{group}{user:03}" for group in "AB" for user in drawn[group][draw]]
            sample = pl.concat([PAIRS.filter(user_id=user) for user in users])
            expected.append(np.mean([by_definition(sample.filter(seed=seed), quantity, metric) for seed in range(3)]))
        assert found(PAIRS, draws=draws, seed=7)[quantity, metric].user_draws_D == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seeds", [1, 3])
def test_user_variance_is_the_clustered_one_of_least_squares(metric, seeds):
    """Each pair counts by its mean over seeds, as users are drawn once for all of them; CR0 has no U / (U - 1)."""
    pairs = drawn_pairs(users=(40, 30), seeds=seeds)
    value = 100.0 * (pl.col("margin") > 0) if metric == "pref_acc" else pl.col("margin")
    rows = (
        pairs.filter(pl.col("adapter") == pl.col("user_group"))
        .with_columns(pair=pl.int_range(pl.len()).over("seed", "user_id"), is_a=(pl.col("user_group") == "A").cast(int))
        .group_by("user_id", "is_a", "pair", maintain_order=True)
        .agg(value=value.mean())
    )
    user = rows["user_id"].rank("dense").to_numpy()
    fit = ols("value ~ is_a", rows.to_pandas()).fit(
        cov_type="cluster", cov_kwds={"groups": user, "use_correction": False}
    )
    variances = found(pairs, draws=2)["contrast", metric].user_variances
    uncorrected = sum(variance * (users - 1) / users for (variance, _), users in zip(variances, (40, 30), strict=True))
    assert uncorrected == pytest.approx(fit.bse["is_a"] ** 2, rel=1e-9)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_draws_spread_as_the_delta_method_says(quantity, metric):
    """20,000 draws give a variance to 1 % (one Monte Carlo error); the ratio's curvature may add a few."""
    one = found(drawn_pairs(users=(60, 50), adapters=ADAPTERS), draws=20_000)[quantity, metric]
    assert one.user_draws_D.var(ddof=1) == pytest.approx(sum(variance for variance, _ in one.user_variances), rel=0.06)


def test_with_few_users_the_variance_is_unbiased_not_too_small():
    """Four equal users a group: drawing all four again would give 3/4 of the variance (Rao and Wu 1988)."""
    pairs = drawn_pairs(users=(4, 4), pairs=5)
    one = found(pairs, draws=40_000)["contrast", "margin"]
    means = (
        pairs.filter(pl.col("adapter") == pl.col("user_group")).group_by("user_group", "user_id").agg(pl.mean("margin"))
    )
    textbook = sum(means.filter(user_group=group)["margin"].var() / 4 for group in "AB")
    assert one.user_draws_D.var(ddof=1) == pytest.approx(textbook, rel=0.03)
    assert sum(variance for variance, _ in one.user_variances) == pytest.approx(textbook, rel=1e-9)


def test_users_who_share_pairs_alike_give_wider_draws_than_independent_pairs():
    """Resampling pairs, not users, would miss it: every user answers all ten pairs alike."""
    rng = np.random.default_rng(0)
    rows = [
        (0, group, f"{group}{user}", group, 10, 10 * int(rng.random() < 0.6)) for group in "AB" for user in range(100)
    ]
    one = measure(scored(rows), quantities=["contrast"], metrics=["pref_acc"])[0]
    of_pairs = 100**2 * 2 * 0.6 * 0.4 / 1_000
    assert one.user_draws_D.var(ddof=1) == pytest.approx(10 * of_pairs, rel=0.2)


def test_degrees_of_freedom_fall_when_one_user_is_most_of_a_group():
    def freedom(sizes):
        rows = [
            (0, group, f"{group}{user}", group, size, size * (user % 2))
            for group in "AB"
            for user, size in enumerate(sizes)
        ]
        return measure(scored(rows), draws=2, quantities=["contrast"])[0].user_variances[0][1]

    assert freedom([10] * 20) == pytest.approx(19)  # twenty users, equally telling
    assert freedom([10] * 18 + [300, 300]) < 2
    assert freedom([10, 10]) == 1


# ---- spread over seeds


def test_user_by_seed_noise_is_the_residual_of_two_way_anova_per_user():
    """Equal users: x_us = mean + user + seed + residual, whose variance / users is what one seed's mean has of it."""
    pairs = drawn_pairs(users=(15, 11), pairs=4)
    means = pairs.group_by("adapter", "user_group", "user_id", "seed").agg(pl.mean("margin"))
    expected = 0.0
    for group, users in (("A", 15), ("B", 11)):
        fit = ols("margin ~ C(user_id) + C(seed)", means.filter(adapter=group, user_group=group).to_pandas()).fit()
        expected += fit.mse_resid / users
    assert found(pairs, draws=2)["contrast", "margin"].user_by_seed_noise == pytest.approx(expected, rel=1e-9)


def test_one_seed_has_no_noise_between_seeds():
    one = found(drawn_pairs(seeds=1), draws=2)["contrast", "pref_acc"]
    assert (one.seeds, one.user_by_seed_noise) == (1, 0.0)


# ---- reproducible


def same(left, right):
    return all(
        np.array_equal(a.user_draws_D, b.user_draws_D) and np.array_equal(a.by_seed_S, b.by_seed_S)
        for a, b in zip(left, right, strict=True)
    )


def test_the_seed_alone_decides_the_draws():
    rows = per_user(PAIRS)
    first = measure(rows, draws=50, seed=1)
    assert same(first, measure(rows.sample(fraction=1, shuffle=True, seed=3), draws=50, seed=1))
    other = measure(rows, draws=50, seed=2)
    assert not same(first, other)
    assert [one.estimate for one in first] == [one.estimate for one in other]


def test_what_is_asked_for_does_not_change_the_answer():
    rows = per_user(PAIRS)
    alone = measure(rows, draws=50, quantities=["interaction"], metrics=["margin"])
    assert same(
        alone, [one for one in measure(rows, draws=50) if (one.quantity, one.metric) == ("interaction", "margin")]
    )


# ---- what is missing


def quantities(rows):
    return [one.quantity for one in measure(rows, draws=2, metrics=["pref_acc"])]


def test_without_the_baseline_there_is_no_difficulty():
    assert quantities(per_user(PAIRS.filter(pl.col("adapter") != "everyone"))) == [
        "contrast",
        "interaction",
        "advantage_on_a",
        "advantage_on_b",
        "change",
    ]


def test_without_b_nothing_is_measured():
    rows = per_user(PAIRS)
    assert quantities(rows.filter(pl.col("adapter") == "A")) == []
    assert quantities(rows.filter(pl.col("user_group") == "A")) == ["advantage_on_a"]
    assert quantities(rows.clear()) == []


def test_adapters_scored_at_home_only_give_a_contrast_only():
    assert quantities(per_user(PAIRS.filter(pl.col("adapter") == pl.col("user_group")))) == ["contrast"]


def test_a_change_stands_on_the_seeds_and_users_that_both_studies_scored():
    before = pl.col("adapter").str.ends_with("before")
    lacking = PAIRS.filter(~(before & ((pl.col("seed") == 1) | pl.col("user_id").is_in(["A003", "B001", "B002"]))))
    every = found(lacking, draws=2)
    one = every["change", "pref_acc"]
    assert (one.seeds, one.users) == (2, (11, 7))
    assert one.note == "users left out because not every adapter and seed scored them: 3"
    assert every["contrast", "pref_acc"].users == (12, 9)
    common = PAIRS.filter(pl.col("seed") != 1, ~pl.col("user_id").is_in(["A003", "B001", "B002"]))
    assert one.by_seed_S == pytest.approx(found(common, draws=2)["change", "pref_acc"].by_seed_S)


def test_a_change_between_different_pairs_of_a_user_is_named():
    first = PAIRS.filter(adapter="A before", user_id="A000").head(1)
    assert found(PAIRS, draws=2)["change", "margin"].note == ""
    one = found(pl.concat([PAIRS, first]), draws=2)["change", "margin"]
    assert one.note == "users of whom not every adapter and seed scored equally many pairs: 1"


def test_a_seed_without_all_of_its_adapters_does_not_count():
    lacking = PAIRS.filter(~((pl.col("adapter") == "B") & (pl.col("seed") == 1)))
    every = found(lacking, draws=2)
    assert every["contrast", "margin"].seeds == 2
    assert every["difficulty", "margin"].seeds == 3
    whole = found(PAIRS, draws=2)["contrast", "margin"]
    assert every["contrast", "margin"].by_seed_S == pytest.approx(whole.by_seed_S[[0, 2]])


def test_a_user_whom_one_seed_did_not_score_is_left_out_and_named():
    missed = (pl.col("user_id") == "A003") & (pl.col("seed") == 2) & (pl.col("adapter") == "A")
    every = found(PAIRS.filter(~missed), draws=2)
    one = every["contrast", "margin"]
    assert (one.users, one.note) == ((11, 9), "users left out because not every adapter and seed scored them: 1")
    assert one.by_seed_S == pytest.approx(
        found(PAIRS.filter(pl.col("user_id") != "A003"), draws=2)["contrast", "margin"].by_seed_S
    )
    assert every["difficulty", "margin"].note == ""


def test_a_user_without_held_out_pairs_is_no_user():
    rows = per_user(PAIRS)
    nobody = rows.head(1).with_columns(user_id=pl.lit("A999"), pairs=0, correct=0, margin=0.0).cast(dict(rows.schema))
    assert measure(pl.concat([rows, nobody]), draws=2)[0].users == (12, 9)


def test_a_group_of_one_user_has_an_estimate_but_no_spread():
    one = found(PAIRS.filter((pl.col("user_group") == "A") | (pl.col("user_id") == "B002")), draws=2)
    contrast = one["contrast", "pref_acc"]
    assert contrast.users == (12, 1)
    assert (len(contrast.user_draws_D), contrast.user_variances) == (0, ())
    assert contrast.note == "group B has one scored user, so the spread between its users is unknown"
    assert np.isfinite(contrast.estimate)
    assert len(one["advantage_on_a", "pref_acc"].user_draws_D) == 2  # B's users are not in it
