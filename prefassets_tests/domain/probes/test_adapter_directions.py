"""Do A's adapters move the preference direction differently from B's: against definitions, planted truth and nulls."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from prefassets.domain.probes.adapter_directions import (
    ALONG,
    COSINES,
    EXPECTED,
    adapter_rows,
    cosines,
    measure_directions,
    products,
)
from prefassets.resources.probe_tables import ADAPTER_COLUMNS
from prefassets.resources.table import Table
from prefassets_tests.domain.probes.moved import drawn_read

TABLE = Table("probes.adapter", "", ADAPTER_COLUMNS, ("study",))
SMALL = drawn_read(users=(6, 5), seeds=3, apart=0.5, adapters=("A", "B", "everyone"))
SIGNS = {
    "contrast": [(1, "A", "A"), (-1, "B", "B")],
    "interaction": [(1, "A", "A"), (-1, "A", "B"), (-1, "B", "A"), (1, "B", "B")],
    "advantage_on_a": [(1, "A", "A"), (-1, "B", "A")],
    "advantage_on_b": [(1, "B", "B"), (-1, "A", "B")],
    "difficulty": [(1, "everyone", "A"), (-1, "everyone", "B")],
}


def measured(read, **options):
    found = measure_directions("age", "directional", read, **{"draws": 20, **options})
    return {(one.quantity, one.metric): one for one in found.measured}


def rows_of(*results):
    rows = adapter_rows({(1, "response_mean"): results})
    return TABLE.conform(pl.DataFrame([{"study": "s", **row} for row in rows], infer_schema_length=None))


def only(read, kept_P):
    """The same with some of the pairs."""
    return replace(
        read,
        pairs=read.pairs.filter(pl.Series(kept_P)),
        chosen_PF=read.chosen_PF[kept_P],
        rejected_PF=read.rejected_PF[kept_P],
        adapters={one: value[kept_P] for one, value in read.adapters.items()},
    )


# ---- by definition, pair by pair


def scaled(read):
    base = read.chosen_PF.astype(float) - read.rejected_PF
    size = np.sqrt((base**2).mean(axis=0))
    return base / size, {one: value / size for one, value in read.adapters.items()}, size


def by_definition(read, metric, adapter, seed, group, drawn=None):
    """Over pairs of one group's (drawn) users: along the mean difference of the other (drawn) users of each group."""
    base, adapters, size = scaled(read)
    user, groups = read.pairs["user_id"].to_numpy(), read.pairs["user_group"].to_numpy()
    drawn = list(dict.fromkeys(user)) if drawn is None else drawn
    all_means = {of: base[groups == of].mean(axis=0) for of in "AB"}
    own = metric.startswith("own")
    whole = all_means[group] if own else (all_means["A"] + all_means["B"]) / 2
    spread = (np.concatenate([read.chosen_PF, read.rejected_PF]) / size @ whole).std()
    values = []
    for judged in drawn:
        for pair in np.flatnonzero((user == judged) & (groups == group)):
            means = {
                of: np.concatenate([base[(user == other) & (groups == of)] for other in drawn if other != judged]).mean(
                    axis=0
                )
                for of in "AB"
            }
            direction = means[group] if own else (means["A"] + means["B"]) / 2
            after, before = adapters[adapter, seed][pair] @ direction, base[pair] @ direction
            values.append(100.0 * (after > 0) if "separation" in metric else (after - before) / spread)
    return np.mean(values)


@pytest.mark.parametrize("metric", ALONG)
def test_every_pair_is_judged_along_the_direction_of_other_users(metric):
    found = measured(SMALL)
    for quantity in ALONG[metric]:
        expected = [
            sum(sign * by_definition(SMALL, metric, adapter, seed, group) for sign, adapter, group in SIGNS[quantity])
            for seed in range(3)
        ]
        assert found[quantity, metric].by_seed_S == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("metric", ALONG)
def test_a_draw_fits_the_direction_again_and_no_user_meets_a_copy_of_theirs(metric):
    generator, draws = np.random.default_rng(1), 5
    drawn = {"A": generator.integers(6, size=(draws, 5)), "B": generator.integers(5, size=(draws, 4))}
    names = {of: SMALL.pairs.filter(user_group=of)["user_id"].unique().sort().to_list() for of in "AB"}
    expected = [
        np.mean(
            [
                sum(
                    sign * by_definition(SMALL, metric, adapter, seed, group, users)
                    for sign, adapter, group in SIGNS["interaction"]
                )
                for seed in range(3)
            ]
        )
        for users in [[names[of][user] for of in "AB" for user in drawn[of][draw]] for draw in range(draws)]
    ]
    one = measured(SMALL, draws=draws, seed=1)["interaction", metric]
    assert one.user_draws_D == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_changes_have_in_common_what_different_users_have():
    rng = np.random.default_rng(0)
    change_NUF, weight_RU = rng.normal(size=(4, 5, 3)), rng.integers(0, 3, size=(2, 5)).astype(float)
    expected = np.zeros((2, 4, 4))
    for row, one, other, user, another in np.ndindex(2, 4, 4, 5, 5):
        if user != another:
            both = weight_RU[row, user] * weight_RU[row, another]
            expected[row, one, other] += both * change_NUF[one, user] @ change_NUF[other, another]
    assert products(change_NUF, weight_RU) == pytest.approx(expected)


def test_cosines_are_those_of_the_changes_and_seeds_in_common_are_not_compared():
    """A's changes are of one length, and so are B's, twice as long: ratios of means are then means of cosines."""
    rng = np.random.default_rng(1)
    unit_NF = rng.normal(size=(6, 4))
    unit_NF /= np.linalg.norm(unit_NF, axis=1, keepdims=True)
    change_NF = unit_NF * np.repeat([1.0, 2.0], 3)[:, None]
    cosine = unit_NF @ unit_NF.T
    pairs = [(s, t) for s in range(3) for t in range(3) if s != t]
    within_a, within_b, between = (
        np.mean([cosine[a * 3 + s, b * 3 + t] for s, t in pairs]) for a, b in ((0, 0), (1, 1), (0, 1))
    )
    found = cosines((change_NF @ change_NF.T)[None])[0]
    assert found == pytest.approx([within_a, within_b, between, (within_a + within_b) / 2 - between])


# ---- what they do not depend on, and what they do


def test_units_of_features_change_nothing():
    unit_F = 10.0 ** np.arange(-3, 9)
    other = replace(
        SMALL,
        chosen_PF=SMALL.chosen_PF * unit_F,
        rejected_PF=SMALL.rejected_PF * unit_F,
        adapters={one: value * unit_F for one, value in SMALL.adapters.items()},
    )
    before, after = measured(SMALL), measured(other)
    for key, one in before.items():
        assert after[key].by_seed_S == pytest.approx(one.by_seed_S, rel=1e-4, abs=1e-5)


def test_no_user_is_judged_by_a_direction_fitted_to_their_own_pairs():
    """In 400 features of noise, a pair's own difference is most of the direction that it is part of: it would tell all
    of its pairs right. That of others tells half of them."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(40), 5)
    noise = rng.normal(size=(200, 400))
    adapters = {(cohort, seed): noise for cohort in "AB" for seed in range(2)}
    read = replace(
        SMALL,
        pairs=pl.DataFrame({"user_id": user.astype(str), "user_group": np.where(user < 20, "A", "B")}),
        chosen_PF=noise,
        rejected_PF=np.zeros_like(noise),
        adapters=adapters | {("everyone", seed): np.where(user[:, None] < 20, noise, -noise) for seed in range(2)},
    )
    away = measured(read)["difficulty", "separation"]  # share of A's told right - (100 - that of B's)
    assert abs(away.estimate) < 20
    assert abs(noise.mean(axis=0) @ noise.T > 0).mean() > 0.9


def test_adapters_that_move_nothing_shift_nothing_and_have_no_direction():
    base = SMALL.chosen_PF - SMALL.rejected_PF
    found = measure_directions(
        "age",
        "directional",
        replace(SMALL, adapters={(one, seed): base for one in "AB" for seed in range(3)}),
        draws=20,
    )
    of = {(one.quantity, one.metric): one for one in found.measured}
    assert of["contrast", "shift"].by_seed_S == pytest.approx(0, abs=1e-6)
    assert of["interaction", "separation"].by_seed_S == pytest.approx(0)
    assert set(found.missing.values()) == {"how far the adapters move is not told from zero"}
    assert {quantity for quantity, _ in found.missing} == set(COSINES)


def test_what_each_adapter_gains_is_known_in_standard_deviations():
    """Nothing but feature 0 differs in pairs, by 1; A's adapters double it, B's leave it, so A's shift is 1 / sd."""
    rng = np.random.default_rng(0)
    rejected = rng.normal(size=(600, 3)) * [2.0, 1.0, 1.0]
    chosen = rejected + np.array([1.0, 0.0, 0.0])
    user = np.repeat(np.arange(60), 10)
    read = replace(
        SMALL,
        pairs=pl.DataFrame({"user_id": user.astype(str), "user_group": np.where(user < 25, "A", "B")}),
        chosen_PF=chosen,
        rejected_PF=rejected,
        adapters={(one, s): (chosen - rejected) * (1 + (one == "A")) for one in "AB" for s in range(2)},
    )
    found = measured(read)
    spread = np.concatenate([chosen, rejected])[:, 0].std()
    assert found["advantage_on_a", "shift"].estimate == pytest.approx(1 / spread, rel=1e-5)
    assert found["advantage_on_b", "own_shift"].estimate == pytest.approx(-1 / spread, rel=1e-5)
    assert found["interaction", "shift"].estimate == pytest.approx(0, abs=1e-6)


# ---- planted differences and nulls


def study(number, planted, splits=5, **options):
    """The first split is planted, the others are null."""
    return [
        measure_directions(
            f"s{split}",
            "directional",
            drawn_read(seed=100 * number + split, **(options | (planted if split == 0 else {}))),
            draws=150,
            seed=number,
        )
        for split in range(splits)
    ]


@pytest.fixture(scope="module")
def simulated():
    """25 studies of five splits: A's and B's adapters diverge in the first, and are interchangeable in the others."""
    return pl.concat(rows_of(*study(number, {"apart": 1.0})).with_columns(study=number) for number in range(25))


NULLS = pl.col("quantity").is_in(["contrast", "interaction", "advantage_on_a", "advantage_on_b", "divergence"])


def test_intervals_cover_zero_where_adapters_are_interchangeable(simulated):
    """95 % of 100 has a Monte Carlo error of 2.2 points, of which three are allowed below, for each metric."""
    nulls = simulated.filter(pl.col("split") != "s0", NULLS)
    covers = (pl.col("lower") <= 0) & (pl.col("upper") >= 0)
    shares = nulls.group_by("quantity", "metric").agg(share=covers.mean(), number=pl.len())
    assert len(shares) == 4 + 4 + 3 + 3 + 1
    assert shares["number"].unique().to_list() == [100]
    assert shares["share"].min() >= 0.885
    assert 0.94 <= shares["share"].mean() <= 0.995


def test_under_nulls_few_are_called_different(simulated):
    """By Holm over five splits at most 5 % of studies have a false one, for each quantity and metric; 25 studies."""
    nulls = simulated.filter(pl.col("split") != "s0", NULLS)
    called = pl.col("state").is_in(["above zero", "below zero", "cannot tell"])
    wrong = nulls.group_by("quantity", "metric", "study").agg(any=called.any())
    assert wrong["any"].mean() <= 0.05


def test_planted_differences_are_found(simulated):
    planted = simulated.filter(split="s0")
    for quantity, metric, at_least in (
        ("interaction", "shift", 0.9),
        ("interaction", "own_shift", 0.9),
        ("advantage_on_a", "own_shift", 0.7),
        ("advantage_on_b", "own_shift", 0.7),
        ("divergence", "direction", 0.4),
    ):
        found = planted.filter(pl.col("estimate") > 0, quantity=quantity, metric=metric)
        told = "cannot tell" if quantity == "divergence" else "above zero"  # as there are no placebo splits
        assert (found["state"] == told).sum() >= at_least * len(planted["study"].unique()), (quantity, metric)
    assert (planted.filter(quantity="divergence")["p_exchanged"] == 1 / 16).mean() >= 0.8


def test_noise_does_not_make_cosines_smaller():
    """The same adapters seen through five times the noise: the cosine of the noisy means would fall to a third."""

    def mean_within(noise):
        found = [measured(drawn_read(seed=number, users=(40, 40), noise=noise), draws=20) for number in range(12)]
        return np.mean([one["within_a", "direction"].estimate for one in found if ("within_a", "direction") in one])

    assert mean_within(0.5) == pytest.approx(mean_within(0.1), abs=0.06)


def test_same_people_with_a_stronger_adapter_are_a_shift_and_no_divergence():
    found = rows_of(*study(0, {"stronger": 1.5}, users=(30, 30)))
    state = {(row["quantity"], row["metric"]): row["state"] for row in found.filter(split="s0").to_dicts()}
    assert state["advantage_on_a", "shift"] == "above zero"
    assert state["advantage_on_b", "shift"] == "below zero"
    assert state["interaction", "shift"] == "not told from zero"
    assert state["divergence", "direction"] == "not told from zero"


def test_placebo_splits_tell_what_whom_adapters_were_trained_on_does():
    """Cohorts of the same people, whose adapters differ by the users that they have learned from."""
    called = {"alone": 0, "with placebos": 0}
    for number in range(8):
        halves = [
            measure_directions(
                f"s{split}",
                "placebo" if split else "directional",
                drawn_read(seed=100 * number + split, cohort=0.15),
                draws=100,
            )
            for split in range(6)
        ]
        for name, results in (("alone", halves[:1]), ("with placebos", halves)):
            row = rows_of(*results).filter(split="s0", quantity="divergence").row(0, named=True)
            called[name] += row["state"] == ("cannot tell" if name == "alone" else "above zero")
        assert row["spread"] == "users and seeds and training samples"
        assert row["training_sd"] > 0
    assert called["with placebos"] <= 1
    assert called["alone"] >= 2


@pytest.mark.parametrize("seeds", [5, 6])
def test_p_by_exchange_is_the_share_of_exchanges_that_diverge_as_much(seeds):
    """If A's and B's adapters at a seed change places and all is measured again; exchanging all is exchanging none."""
    read = drawn_read(users=(8, 8), seeds=seeds, apart=0.3)

    def exchanged(which):
        other = {"A": "B", "B": "A"}
        return {(other[one] if which >> seed & 1 else one, seed): value for (one, seed), value in read.adapters.items()}

    everyway = [
        measured(replace(read, adapters=exchanged(which)), draws=2)["divergence", "direction"].estimate
        for which in range(2**seeds)
    ]
    expected = np.mean(np.array(everyway) >= everyway[0] - 1e-9)
    assert measure_directions("age", "directional", read, draws=2).p_exchanged == pytest.approx(expected)


# ---- what is missing


def states(read, draws=50):
    rows = rows_of(measure_directions("age", "directional", read, draws=draws))
    return {(row["quantity"], row["metric"]): row for row in rows.to_dicts()}


def without(read, *left_out):
    return replace(read, adapters={one: value for one, value in read.adapters.items() if one not in left_out})


@pytest.mark.parametrize(
    ("read", "note"),
    [
        (None, "no activations of its pairs"),
        (only(SMALL, np.zeros(len(SMALL.pairs), dtype=bool)), "no activations of its pairs"),
        (without(SMALL, *(("B", seed) for seed in range(3))), "no seed has adapters of both A and B"),
        (
            only(SMALL, (SMALL.pairs["user_group"] == "A").to_numpy()),
            "every adapter read pairs of 6 of A and 0 of B users; each group wants two",
        ),
    ],
)
def test_where_nothing_can_be_told_every_row_says_why(read, note):
    found = states(read)
    assert set(found) == set(EXPECTED)
    for row in found.values():
        assert (row["estimate"], row["state"], row["note"]) == (None, "undefined", note)


def test_one_seed_has_estimates_along_and_no_cosines():
    found = states(drawn_read(seeds=1))
    assert found["interaction", "shift"]["estimate"] is not None
    assert "spread between seeds is unknown" in found["interaction", "shift"]["note"]
    assert found["divergence", "direction"]["note"] == "one seed; how seeds of one group agree wants two"


def test_two_seeds_have_cosines_without_an_interval():
    one = states(drawn_read(seeds=2))["divergence", "direction"]
    assert one["estimate"] is not None
    assert (one["lower"], one["state"], one["p_exchanged"]) == (None, "no interval", None)
    assert "two seeds of a group can be compared in one way" in one["note"]


def test_two_users_have_an_estimate_without_an_interval():
    one = states(drawn_read(users=(2, 20)))["interaction", "own_shift"]
    assert one["estimate"] is not None
    assert (one["lower"], one["state"]) == (None, "no interval")
    assert one["note"].startswith("too few users to draw again")


def test_users_whom_one_adapter_did_not_read_are_left_out_and_named():
    missed = (SMALL.pairs["user_id"] == "u003").to_numpy()
    lacking = dict(SMALL.adapters)
    lacking["B", 1] = np.where(missed[:, None], np.nan, lacking["B", 1])
    one = states(replace(SMALL, adapters=lacking))["interaction", "separation"]
    assert (one["users_a"], one["users_b"]) == (5, 5)
    assert one["note"] == "users left out because not every adapter and seed scored them: 1"
    expected = measured(only(SMALL, ~missed))["interaction", "separation"].estimate
    assert one["estimate"] == pytest.approx(expected, abs=25)  # scale and spread are still of all pairs


def test_a_seed_without_all_of_its_adapters_does_not_count():
    found = states(without(SMALL, ("B", 1)))
    assert found["contrast", "shift"]["seeds"] == 2
    assert "difficulty" in {quantity for quantity, _ in found}
    assert "difficulty" not in {quantity for quantity, _ in states(without(SMALL, ("everyone", 1)))}


def test_pairs_in_which_nothing_differs_have_no_direction():
    zero = np.zeros_like(SMALL.chosen_PF)
    flat = replace(SMALL, chosen_PF=zero, rejected_PF=zero)
    note = "the base model's pairs have no direction, or nothing spreads along it"
    assert {row["note"] for row in states(flat).values() if row["metric"] != "direction"} == {note}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chosen_PF": np.where(np.arange(12) == 3, np.inf, SMALL.chosen_PF)}, "chosen responses are not finite"),
        ({"adapters": SMALL.adapters | {("A", 0): SMALL.adapters["A", 0][:, :5]}}, "all of one width"),
        (
            {"adapters": SMALL.adapters | {("A", 0): np.where(np.arange(12) == 3, np.nan, SMALL.chosen_PF)}},
            r"adapter \('A', 0\) are not finite",
        ),
        ({"pairs": SMALL.pairs.with_columns(user_group=pl.lit("C"))}, r"users of group \['C'\]"),
        ({"pairs": SMALL.pairs.with_columns(user_id=pl.lit("u"))}, "a user is in both groups"),
    ],
)
def test_broken_input_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        measure_directions("age", "directional", replace(SMALL, **change))


def test_the_seed_alone_decides_the_draws():
    shuffled = np.random.default_rng(0).permutation(len(SMALL.pairs))
    other = replace(
        SMALL,
        pairs=SMALL.pairs[shuffled],
        chosen_PF=SMALL.chosen_PF[shuffled],
        rejected_PF=SMALL.rejected_PF[shuffled],
        adapters={one: value[shuffled] for one, value in SMALL.adapters.items()},
    )
    first, second = measured(SMALL, seed=3), measured(other, seed=3)
    for key, one in first.items():
        assert second[key].user_draws_D == pytest.approx(one.user_draws_D, rel=1e-5, abs=1e-6)
    assert measured(SMALL, seed=4)["contrast", "shift"].user_draws_D != pytest.approx(
        first["contrast", "shift"].user_draws_D
    )
