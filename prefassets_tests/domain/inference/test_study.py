"""From splits to what a study may claim: spread, intervals, tests and families against their definitions."""

import math
from dataclasses import asdict, replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_ind
from statsmodels.formula.api import ols
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import tt_ind_solve_power
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW, ttost_ind

from prefassets.domain.inference.noise import Design, NoiseModel, simulate
from prefassets.domain.inference.study import FEWEST_PLACEBOS, SplitResult, study_estimates
from prefassets.domain.inference.two_way import Measured, measure
from prefassets_tests.domain.inference.held_out import drawn_pairs, per_user, scored

MARGIN_PP = 5.0


def measured(by_seed, user_variances=((1.0, 30.0), (1.0, 30.0)), noise=0.0, draws=2_000):
    """A contrast with these values per seed; its draws have exactly the sum of the users' variances."""
    drawn = np.random.default_rng(0).normal(size=draws)
    drawn = (drawn - drawn.mean()) / drawn.std(ddof=1) * sum(variance for variance, _ in user_variances) ** 0.5
    by_seed_S = np.asarray(by_seed, dtype=float)
    return Measured(
        quantity="contrast",
        metric="pref_acc",
        by_seed_S=by_seed_S,
        user_draws_D=by_seed_S.mean() + drawn,
        user_variances=tuple(user_variances),
        user_by_seed_noise=noise,
        users=(50, 50),
        pairs=(500, 500),
        note="",
    )


def result(split, by_seed, role="directional", **options):
    return SplitResult(split, role, [measured(by_seed, **options)])


def estimates(results, margin_pp=MARGIN_PP, **options):
    return {one.split: one for one in study_estimates(results, margin_pp, **options)}


def assert_finite(found):
    """Every number is one; what could not be told is None."""
    for one in found:
        for name, value in asdict(one).items():
            assert value is None or isinstance(value, str) or math.isfinite(value), (one.split, one.quantity, name)


# ---- interval and tests, in the case that a t test covers: two groups of independent users, no spread between seeds

RNG = np.random.default_rng(5)
X_A, X_B = RNG.normal(2.0, 8.0, 14), RNG.normal(0.0, 15.0, 23)


def of_two_samples(x_a, x_b):
    users = tuple((float(x.var(ddof=1)) / len(x), len(x) - 1.0) for x in (x_a, x_b))
    return estimates([result("age", [x_a.mean() - x_b.mean()], user_variances=users)])["age"]


def test_interval_and_p_are_those_of_welch():
    one = of_two_samples(X_A, X_B)
    oracle = ttest_ind(X_A, X_B, equal_var=False)
    assert one.degrees_of_freedom == pytest.approx(oracle.df, rel=1e-9)
    assert one.p == pytest.approx(oracle.pvalue, rel=1e-9)
    interval = CompareMeans(DescrStatsW(X_A), DescrStatsW(X_B)).tconfint_diff(usevar="unequal")
    assert (one.lower, one.upper) == pytest.approx(interval, rel=1e-9)


@pytest.mark.parametrize("margin_pp", [1.0, 5.0, 20.0])
@pytest.mark.parametrize("swap", [False, True])
def test_equivalence_is_the_larger_of_two_one_sided_tests(margin_pp, swap):
    x_a, x_b = (X_B, X_A) if swap else (X_A, X_B)
    users = tuple((float(x.var(ddof=1)) / len(x), len(x) - 1.0) for x in (x_a, x_b))
    one = estimates([result("age", [x_a.mean() - x_b.mean()], user_variances=users)], margin_pp)["age"]
    oracle = ttost_ind(x_a, x_b, -margin_pp, margin_pp, usevar="unequal")[0]
    assert one.p_equivalence == pytest.approx(oracle, rel=1e-9)


@pytest.mark.parametrize(("planned", "users"), [(1, 20), (1, 140), (9, 140)])
def test_minimum_detectable_is_what_a_power_analysis_asks_for(planned, users):
    """statsmodels uses the noncentral t, ours a sum of two quantiles: 2 % apart at 38 degrees of freedom, then less."""
    variance = ((16.0 / users, users - 1.0),) * 2
    family = [
        result("age", [0.0], user_variances=variance),
        *(SplitResult(f"s{n}", "directional", []) for n in range(planned - 1)),
    ]
    oracle = tt_ind_solve_power(nobs1=users, alpha=0.05 / planned, power=0.8, alternative="two-sided")
    assert estimates(family)["age"].minimum_detectable == pytest.approx(4.0 * oracle, rel=0.02)


# ---- seeds


def test_seed_spread_is_pooled_over_splits_as_within_mean_square():
    """Of a one-way analysis of variance, splits of two, three and five seeds together."""
    values = {"a": [1.0, 4.0], "b": [-3.0, 0.0, 2.0], "c": [5.0, 5.5, 9.0, 7.0, 3.0]}
    rows = {"split": [s for s, v in values.items() for _ in v], "value": [x for v in values.values() for x in v]}
    oracle = ols("value ~ C(split)", rows).fit().mse_resid
    found = estimates([result(split, by_seed) for split, by_seed in values.items()])
    for one in found.values():
        assert one.seed_sd**2 == pytest.approx(oracle, rel=1e-9)


def test_what_users_alone_make_seeds_differ_by_is_not_counted_twice():
    values = {"a": [1.0, 4.0], "b": [-3.0, 0.0, 2.0]}
    within = (4.5 + 38 / 3) / 3  # squared deviations over 1 + 2 degrees of freedom
    less = {"a": 3.0, "b": 0.6}
    found = estimates([result(split, by_seed, noise=less[split]) for split, by_seed in values.items()])
    assert found["a"].seed_sd ** 2 == pytest.approx(within - (3.0 + 2 * 0.6) / 3, rel=1e-9)
    assert {split: one.user_by_seed_sd**2 for split, one in found.items()} == pytest.approx(less)
    noisy = estimates([result(split, by_seed, noise=100.0) for split, by_seed in values.items()])
    assert noisy["a"].seed_sd == 0.0
    assert noisy["a"].standard_error == noisy["a"].user_sd


def test_variance_of_an_estimate_is_users_plus_seeds_over_their_number():
    """2,000 joint draws give the sum to 3 % (one Monte Carlo error of a variance)."""
    results = [result(f"s{n}", np.array([-6.0, 1.0, 5.0]) * (1 + n / 9)) for n in range(9)] + [
        result("two", [-4.0, 4.0])
    ]
    found = estimates(results)
    for split, seeds in (("s0", 3), ("two", 2)):
        one = found[split]
        assert one.standard_error**2 == pytest.approx(one.user_sd**2 + one.seed_sd**2 / seeds, rel=0.1)
        assert one.spread == "users and seeds"


def test_degrees_of_freedom_are_those_of_welch_and_satterthwaite_over_users_and_seeds():
    results = [result("a", [0.0, 6.0, 3.0]), result("b", [1.0, -5.0, -2.0])]
    one = estimates(results)["a"]
    seeds = 9.0 / 3  # variance 9 over 4 degrees of freedom, pooled; three seeds
    expected = (2.0 + seeds) ** 2 / (1.0 / 30 + 1.0 / 30 + seeds**2 / 4)
    assert one.degrees_of_freedom == pytest.approx(expected, rel=0.15)  # the numerator is from draws


def test_a_single_seed_borrows_the_spread_of_the_other_splits():
    found = estimates([result("a", [0.0, 6.0, 3.0]), result("b", [1.0])])
    assert found["b"].seed_sd == found["a"].seed_sd
    assert found["b"].user_by_seed_sd is None
    assert found["b"].standard_error > found["a"].standard_error
    assert found["b"].note == ""


def test_a_study_of_single_seeds_says_that_their_spread_is_unknown():
    one = estimates([result("a", [3.0]), result("b", [1.0])])["a"]
    assert (one.seed_sd, one.spread) == (None, "users")
    assert one.note == "no split has two seeds, so the spread between seeds is unknown"


# ---- training samples

PLACEBOS = [2.0, -4.0, 3.0, -1.0, 6.0, -3.0]


def with_placebos(values, **options):
    return [
        result("age", [1.0], **options),
        *(result(f"p{n}", [x], "placebo", **options) for n, x in enumerate(values)),
    ]


def test_training_spread_is_what_placebos_differ_beyond_their_users():
    one = estimates(with_placebos(PLACEBOS))["age"]
    beyond = np.mean(np.square(PLACEBOS)) - 2.0
    assert one.training_sd**2 == pytest.approx(beyond, rel=1e-9)
    assert one.standard_error**2 == pytest.approx(2.0 + beyond, rel=1e-9)
    expected = (2.0 + beyond) ** 2 / (1.0 / 30 + 1.0 / 30 + (2.0 + beyond) * beyond / len(PLACEBOS))
    assert one.degrees_of_freedom == pytest.approx(expected, rel=1e-9)
    assert one.spread == "users and training samples"


def test_placebos_closer_together_than_their_users_say_add_nothing():
    found = estimates(with_placebos([0.1, -0.1, 0.2, 0.0, 0.1]))
    assert (found["age"].training_sd, found["age"].standard_error) == (0.0, pytest.approx(2**0.5))


def test_too_few_placebos_do_not_measure_the_spread_of_training():
    few = estimates(with_placebos(PLACEBOS[: FEWEST_PLACEBOS - 1]))["age"]
    assert (few.training_sd, few.spread) == (None, "users")


def test_a_placebo_is_judged_by_the_spread_of_the_others_so_that_a_wild_one_is_found():
    found = estimates(with_placebos([2.0, -2.0, 1.5, -1.0, 0.5, -1.5, 1.0, 60.0]))
    assert found["p7"].training_sd < 1.0
    assert found["p7"].p_adjusted < 0.001
    assert found["p0"].training_sd > 20


# ---- families


def holm(p):
    """Step down: the k-th smallest of m times m - k + 1, never less than the one before (Holm 1979)."""
    order, running, adjusted = sorted(range(len(p)), key=p.__getitem__), 0.0, [0.0] * len(p)
    for place, index in enumerate(order):
        running = max(running, min(1.0, p[index] * (len(p) - place)))
        adjusted[index] = running
    return adjusted


def benjamini_hochberg(p):
    """Step up: the k-th smallest of m times m / k, never more than the one after (Benjamini and Hochberg 1995)."""
    order, running, adjusted = sorted(range(len(p)), key=p.__getitem__, reverse=True), 1.0, [0.0] * len(p)
    for place, index in enumerate(order):
        running = min(running, p[index] * len(p) / (len(p) - place))
        adjusted[index] = running
    return adjusted


@pytest.mark.parametrize(
    ("role", "definition", "method", "adjustment"),
    [
        ("directional", holm, "holm", "Holm over 5 directional splits"),
        ("null control", holm, "holm", "Holm over 5 control splits"),
        ("exploratory", benjamini_hochberg, "fdr_bh", "Benjamini-Hochberg over 5 exploratory splits"),
    ],
)
def test_p_is_adjusted_over_the_splits_of_the_role(role, definition, method, adjustment):
    family = [result(f"s{n}", [points], role) for n, points in enumerate((4.5, 3.2, -3.4, 0.3, 2.9))]
    others = [result("d", [9.0], "directional" if role != "directional" else "exploratory")]
    found = estimates([*family, *others])
    p = [found[f"s{n}"].p for n in range(5)]
    assert [found[f"s{n}"].p_adjusted for n in range(5)] == pytest.approx(definition(p), rel=1e-9)
    assert definition(p) == pytest.approx(multipletests(p, method=method)[1], rel=1e-9)
    assert found["s0"].adjustment == adjustment
    assert found["d"].p_adjusted == found["d"].p


def test_null_controls_and_placebos_are_one_family():
    found = estimates([result("region", [4.0], "null control"), result("p", [1.0], "placebo")])
    assert found["region"].p_adjusted == pytest.approx(2 * found["region"].p)
    assert found["region"].adjustment == found["p"].adjustment == "Holm over 2 control splits"


@pytest.mark.parametrize("points", [4.0, 1.0])
@pytest.mark.parametrize("role", ["directional", "null control", "exploratory"])
def test_a_planned_split_that_is_not_measured_counts_as_p_of_one(role, points):
    """So leaving splits out makes no verdict easier."""
    missing = [SplitResult(name, role, []) for name in ("x", "y")]
    found = estimates([result("age", [points], role), *missing])
    assert list(found) == ["age"]
    assert found["age"].p_adjusted == pytest.approx(min(1.0, 3 * found["age"].p))
    alone = estimates([result("age", [points], role)])["age"]
    assert found["age"].minimum_detectable > alone.minimum_detectable


# ---- order and reproducibility


def of_pairs(order=(0, 1, 2), seed=0, shuffled=False):
    results = []
    for n in order:
        rows = per_user(drawn_pairs(n, users=(20, 20)))
        results.append(
            SplitResult(f"s{n}", "directional", measure(rows.sample(fraction=1, shuffle=shuffled, seed=1), 200))
        )
    return study_estimates(results, MARGIN_PP, seed)


def test_the_seed_alone_decides():
    assert of_pairs() == of_pairs(shuffled=True)
    assert of_pairs() != of_pairs(seed=1)


def test_estimates_come_in_the_order_of_the_splits():
    assert list(dict.fromkeys(one.split for one in of_pairs((2, 0, 1)))) == ["s2", "s0", "s1"]
    assert len(of_pairs()) == 3 * 5 * 2


def test_margins_have_no_equivalence_test_because_the_tolerance_is_in_points():
    assert {one.p_equivalence is None for one in of_pairs() if one.metric == "margin"} == {True}
    assert {one.p_equivalence is None for one in of_pairs() if one.metric == "pref_acc"} == {False}


# ---- what cannot be told


def users_right(right_a, right_b, seeds=3, users=8, size=6):
    """Every user of a group has the same number of pairs right under every adapter and seed."""
    right = {"A": right_a, "B": right_b}
    return scored(
        (replicate, adapter, f"{group}{user}", group, size, right[group])
        for group in "AB"
        for user in range(users)
        for adapter in ("A", "B", "everyone")
        for replicate in range(seeds)
    )


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(("right_a", "right_b"), [(4, 2), (2, 4), (3, 3), (6, 0), (6, 6), (5, 1)])
def test_users_who_are_all_alike_have_no_interval(right_a, right_b, seeds):
    """Rounding must not pass for a spread: 4 of 6 and 2 of 6 are no sums of halves."""
    found = study_estimates(
        [SplitResult("age", "directional", measure(users_right(right_a, right_b, seeds)))], MARGIN_PP
    )
    assert_finite(found)
    for one in found:
        assert (one.standard_error, one.lower, one.p, one.p_adjusted, one.minimum_detectable) == (None,) * 5
        assert one.note.endswith("neither users nor seeds vary, so there is nothing to tell the spread from")
    contrast = next(one for one in found if (one.quantity, one.metric) == ("contrast", "pref_acc"))
    assert contrast.estimate == pytest.approx(100 * (right_a - right_b) / 6)


def test_users_alike_with_seeds_that_differ_are_judged_by_seeds():
    rows = users_right(4, 2)
    one_more = (pl.col("seed") == 1) & (pl.col("adapter") == "A")
    rows = rows.with_columns(correct=pl.col("correct") + one_more.cast(pl.Int64))
    found = study_estimates([SplitResult("age", "directional", measure(rows))], MARGIN_PP)
    assert_finite(found)
    contrast = next(one for one in found if (one.quantity, one.metric) == ("contrast", "pref_acc"))
    assert contrast.user_sd == pytest.approx(0.0, abs=1e-9)
    assert contrast.degrees_of_freedom == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize(
    "drop",
    [
        {"seeds": 1},
        {"adapters": ("A", "B")},
        {"adapters": ("A",)},
        {"adapters": ("everyone",)},
        {"users": (1, 9)},
        {"users": (1, 1)},
        {"users": (2, 2)},
        {"users": (2, 40)},
        {"users": (9, 0)},
        {"users": (0, 0)},
        {"pairs": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("beside_a_whole_split", [False, True])
@pytest.mark.filterwarnings("error")
def test_no_number_is_nan_or_infinite_whatever_is_missing(drop, beside_a_whole_split):
    pairs = drawn_pairs(**drop)
    rows = per_user(pairs) if len(pairs) else per_user(drawn_pairs()).clear()
    results = [SplitResult("age", "directional", measure(rows, draws=200))]
    if beside_a_whole_split:
        results.append(SplitResult("safety", "directional", measure(per_user(drawn_pairs(1)), draws=200)))
    found = study_estimates(results, MARGIN_PP)
    assert_finite(found)
    for one in found:
        known = one.standard_error is not None
        assert all((value is not None) == known for value in (one.degrees_of_freedom, one.lower, one.p, one.p_adjusted))
        assert known or one.note


@pytest.mark.parametrize("results", [[], [SplitResult("age", "directional", [])]])
def test_a_study_without_cells_has_no_estimates(results):
    assert study_estimates(results, MARGIN_PP) == []


# ---- calibration: what is promised, counted


STUDIES, PLANNED = 30, 10
TRUE_PP = 4.0
SIZES = np.random.default_rng(1).geometric(1 / 12, 160)
DESIGN = Design(pairs_per_user_a=SIZES[:80], pairs_per_user_b=SIZES[80:], seeds=3, folds=5)


@pytest.fixture(scope="module")
def simulated():
    """300 splits in studies of ten, groups 4 points apart; users alike within themselves, seeds 2 points apart."""
    generator = np.random.default_rng(2026)
    model = NoiseModel(accuracy=0.6, user=0.2, pair=0.5, seed_pp=2.0)
    return [
        [
            SplitResult(
                f"s{n}",
                "exploratory",
                measure(
                    simulate(model, DESIGN, TRUE_PP, generator), 400, quantities=["contrast"], metrics=["pref_acc"]
                ),
            )
            for n in range(PLANNED)
        ]
        for _ in range(STUDIES)
    ]


def coverage(intervals):
    """Share of 300 intervals that hold the true contrast."""
    assert len(intervals) == STUDIES * PLANNED
    return np.mean([lower <= TRUE_PP <= upper for lower, upper in intervals])


def test_intervals_cover_the_truth(simulated):
    """95 % of 300 has a Monte Carlo error of 1.3 points; three of them are allowed below, and up to 99 % above."""
    found = [one for results in simulated for one in study_estimates(results, MARGIN_PP)]
    assert 0.912 <= coverage([(one.lower, one.upper) for one in found]) <= 0.99


def test_under_true_nulls_few_splits_are_called_an_effect(simulated):
    """The same splits moved to a true difference of 0, as a study would judge them: at most 5 %."""
    called = []
    for results in simulated:
        nulls = [
            SplitResult(split.split, "directional", [replace(one, by_seed_S=one.by_seed_S - TRUE_PP)])
            for split in results
            for one in split.measured
        ]
        called += [one.p_adjusted < 0.05 for one in study_estimates(nulls, MARGIN_PP)]
    assert len(called) == STUDIES * PLANNED
    assert np.mean(called) <= 0.05


def test_the_same_count_rejects_errors_from_seeds_alone_and_from_pairs_alone(simulated):
    """The bound would see a method that forgets users, as the reports' does, or takes pairs as independent."""
    one_of_each = [split.measured[0] for results in simulated for split in results]
    of_seeds, of_pairs_alone = [], []
    for one in one_of_each:
        error = one.by_seed_S.std(ddof=1) / np.sqrt(one.seeds)
        of_seeds.append((one.estimate - 4.303 * error, one.estimate + 4.303 * error))  # t at 2 degrees of freedom
        error = 100 * np.sqrt(0.6 * 0.4 * sum(1 / pairs for pairs in one.pairs))
        of_pairs_alone.append((one.estimate - 1.96 * error, one.estimate + 1.96 * error))
    assert coverage(of_seeds) < 0.912
    assert coverage(of_pairs_alone) < 0.912
