"""What probes have to do with each other: against definitions, and with nothing to find."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import pearsonr

from prefassets.domain.probes.cross_probe import Paired, correlation, cross_probe
from prefassets.domain.probes.folds import dealt_folds
from prefassets.domain.probes.suite import Probed, Target, probe_suite
from prefassets.resources.probe_tables import CROSS_COLUMNS
from prefassets.resources.table import Table

NOT_ACROSS = ("cosine", "cosine_by_chance", "transfer", "lower", "upper", "transfer_by_chance")
HERE = (1, "response_mean")
QUICK = {"seeds": 2, "draws": 2}


def items(count, per_unit=1):
    return pl.DataFrame(
        {"item": [f"i{n:04}" for n in range(count)], "unit": [f"u{n // per_unit}" for n in range(count)]}
    )


def number(name, values, kept=slice(None)):
    rows = pl.DataFrame({"item": items(len(values))["item"], "value": values})
    return Target(name=name, kind="number", values=rows[kept])


def narrow(rng, count, width):
    """Hidden states that lie in few dimensions: the k-th is 1 / k as wide, and no feature is one of them."""
    axes = np.linalg.qr(rng.normal(size=(width, width)))[0]
    return ((rng.normal(size=(count, width)) / np.arange(1, width + 1)) @ axes.T).astype(np.float32)


def crossed(activations, targets, per_unit=1, **options):
    first = next(iter(activations.values()))
    probed = Probed(activations=activations, items=items(len(first), per_unit), targets=tuple(targets))
    found = probe_suite(probed, **QUICK)
    rows = cross_probe(probed, found, **options).with_columns(experiment=pl.lit("e"))
    return Table("probes.cross", "", CROSS_COLUMNS).conform(rows), probed, found


def only(rows, a, b, **where):
    return rows.filter(target_a=a, target_b=b, **where).row(0, named=True)


@pytest.fixture(scope="module")
def planted():
    """250 items: `one` and `other` of which a half is the same direction, `apart` of another, and `noise`; on half of
    the items `few`, the direction of `one` again."""
    rng = np.random.default_rng(0)
    activations = narrow(rng, 250, 16)
    first, second = (activations @ rng.normal(size=16) for _ in range(2))
    first, second = first / first.std(), second - first * (first @ second) / (first @ first)
    second /= second.std()
    values = {
        "one": first + rng.normal(size=250),
        "other": first + rng.normal(size=250),
        "apart": second + rng.normal(size=250),
        "noise": rng.normal(size=250),
    }
    targets = [number(name, value) for name, value in values.items()]
    targets.append(number("few", first + 0.5 * rng.normal(size=250), slice(0, 125)))
    return crossed({HERE: activations}, targets)


# ---- directions


def test_cosines_are_of_the_directions_as_they_are_stored(planted):
    rows, _, found = planted
    directions = {row["target"]: np.array(row["direction"], dtype=float) for row in found.directions.to_dicts()}
    for a in directions:
        for b in directions:
            cosine = directions[a] @ directions[b] / np.linalg.norm(directions[a]) / np.linalg.norm(directions[b])
            if a != b:
                assert only(rows, a, b)["cosine"] == pytest.approx(cosine, abs=1e-6)


def test_a_probe_beside_itself_is_two_fits_that_lack_a_fold_each(planted):
    rows, _, found = planted
    folds = np.array(found.fold_directions.filter(target="one").sort("fold")["direction"].to_list())
    unit = folds / np.linalg.norm(folds, axis=1, keepdims=True)
    cosine = [unit[k] @ unit[m] for k in range(5) for m in range(k)]
    assert only(rows, "one", "one")["cosine"] == pytest.approx(np.mean(cosine), abs=1e-6)
    assert only(rows, "one", "one")["cosine"] > only(rows, "noise", "noise")["cosine"] - 0.2


def test_same_and_other_directions_are_told_apart(planted):
    rows, _, _ = planted
    same, other = only(rows, "one", "other"), only(rows, "one", "apart")
    assert same["cosine"] > same["cosine_by_chance"]
    assert abs(other["cosine"]) < other["cosine_by_chance"]
    assert same["agreement"] > 0.7
    assert abs(other["agreement"]) < 0.4


def test_unrelated_directions_are_within_chance_where_hidden_states_lie_in_few_dimensions():
    """Ten targets that have nothing to do with activations: 95 % of 45 cosines, less three standard errors of 8 %
    (45 pairs of 10 probes), and far more beyond what equally wide dimensions would allow."""
    rng = np.random.default_rng(3)
    activations = narrow(rng, 200, 64)
    targets = [number(f"t{n}", rng.normal(size=200)) for n in range(10)]
    rows, _, _ = crossed({HERE: activations}, targets)
    apart = rows.filter(pl.col("target_a") < pl.col("target_b"))
    assert len(apart) == 45
    assert (apart["cosine"].abs() <= apart["cosine_by_chance"]).mean() >= 0.75
    assert (apart["cosine"].abs() <= 1.96 / 8).mean() <= 0.75
    assert apart["cosine_by_chance"].max() <= 1


# ---- transfer


def test_transfer_is_the_correlation_with_what_the_fold_has_not_seen(planted):
    rows, probed, found = planted
    fold_N = dealt_folds(probed.items["unit"].to_list(), 5, 0)
    values = {one.name: one.values["value"].to_numpy() for one in probed.targets}
    directions = {(row["target"], row["fold"]): row["direction"] for row in found.fold_directions.to_dicts()}
    for a, b in (("one", "other"), ("one", "few"), ("few", "one"), ("noise", "noise")):
        ahead, about = [], []
        for fold in range(5):
            read = probed.activations[HERE].astype(float) @ np.array(directions[a, fold], dtype=float)
            held, fitted = (fold_N == fold)[: len(values[b])], (fold_N != fold)
            ahead += list((read - read[: len(values[a])][fitted[: len(values[a])]].mean())[: len(values[b])][held])
            about += list(values[b][held] - values[b][fitted[: len(values[b])]].mean())
        found_row = only(rows, a, b)
        assert found_row["transfer"] == pytest.approx(pearsonr(ahead, about).statistic, abs=1e-6)
        assert found_row["rows"] == len(values[b])


def test_a_probe_transfers_to_its_own_target_as_well_as_the_suite_says(planted):
    rows, _, found = planted
    scores = found.scores.filter(split="unit", features="activations", metric="pearson_r")
    for row in scores.to_dicts():
        assert only(rows, row["target"], row["target"])["transfer"] == pytest.approx(row["estimate"], abs=1e-5)


def test_what_is_shared_transfers_and_what_is_not_does_not(planted):
    rows, _, _ = planted
    for a, b in (("one", "other"), ("other", "one"), ("few", "one"), ("one", "few")):
        row = only(rows, a, b)
        assert row["lower"] > 0.3
        assert row["transfer"] > row["transfer_by_chance"]
    for a, b in (("noise", "one"), ("noise", "apart"), ("one", "noise")):
        row = only(rows, a, b)
        assert abs(row["transfer"]) < row["transfer_by_chance"]


def test_nothing_of_a_unit_that_is_predicted_was_seen():
    """Both items of a unit are one hidden state with one label, drawn anew for each unit; two targets have the same
    labels. A probe that has seen one item knows the other's label under either name."""
    rng = np.random.default_rng(0)
    activations = np.repeat(rng.normal(size=(60, 100)), 2, axis=0).astype(np.float32)
    values = np.repeat(rng.normal(size=60), 2)
    halves = [number("even", values, slice(0, None, 2)), number("odd", values, slice(1, None, 2))]
    rows, _, found = crossed({HERE: activations}, halves, per_unit=2)
    seen = np.array(found.directions.filter(target="even")["direction"][0], dtype=float)
    assert pearsonr(activations[1::2] @ seen, values[1::2]).statistic > 0.7
    assert abs(only(rows, "even", "odd")["transfer"]) < 0.4


def test_an_unrelated_direction_predicts_something_where_hidden_states_lie_in_few_dimensions():
    """Ten probes of noise and one target that is the widest of few dimensions: 1.96 / root of 200 would be .14."""
    rng = np.random.default_rng(5)
    activations = narrow(rng, 200, 32)
    widest = np.linalg.svd(activations - activations.mean(axis=0))[0][:, 0]
    targets = [number(f"t{n}", rng.normal(size=200)) for n in range(10)]
    rows, _, _ = crossed({HERE: activations}, [*targets, number("widest", widest)])
    unrelated = rows.filter(pl.col("target_a") != "widest", pl.col("target_b") == "widest")
    assert len(unrelated) == 10
    assert unrelated["transfer"].abs().median() > 0.14
    assert (unrelated["transfer"].abs() <= unrelated["transfer_by_chance"]).mean() >= 0.8


# ---- layers and positions


@pytest.fixture(scope="module")
def layers():
    """Two layers of which the second is the first in other axes, and a position that is noise."""
    rng = np.random.default_rng(1)
    first, noise = narrow(rng, 150, 8), rng.normal(size=(150, 8)).astype(np.float32)
    turned = first @ np.linalg.qr(rng.normal(size=(8, 8)))[0].astype(np.float32)
    readout = first @ rng.normal(size=8)
    values = [readout / readout.std() + 0.5 * rng.normal(size=150) for _ in range(2)]
    activations = {(1, "end"): first, (1, "middle"): noise, (2, "end"): turned, (2, "middle"): noise}
    return crossed(activations, [number(f"t{n}", value) for n, value in enumerate(values)])[0]


def test_pairs_of_one_place_and_of_one_target(layers):
    """Of four places with two probes each: four within each, and of each target twelve of different places."""
    assert len(layers) == 4 * 4 + 2 * 12
    sides = [f"{name}_{side}" for side in "ab" for name in ("target", "probe", "layer", "position")]
    assert not layers.select(sides).is_duplicated().any()


def test_layers_are_compared_by_what_is_read_off_them(layers):
    across = {"layer_a": 1, "position_a": "end", "layer_b": 2, "position_b": "end"}
    row = only(layers, "t0", "t0", **across)
    assert row["agreement"] > 0.9
    assert [row[name] for name in NOT_ACROSS] == [None] * 6
    assert row["rows"] == 0


def test_positions_of_a_layer_have_directions_in_common(layers):
    row = only(layers, "t0", "t0", layer_a=1, position_a="end", layer_b=1, position_b="middle")
    assert abs(row["agreement"]) < 0.3
    assert abs(row["cosine"]) < row["cosine_by_chance"]
    assert row["lower"] < 0 < row["upper"]  # noise is noise, whatever is read off it
    assert row["rows"] == 150


# ---- choices and binary targets


@pytest.fixture(scope="module")
def kinds():
    """Utilities of 80 items, answers between any two of them, and whether they are above the middle."""
    rng = np.random.default_rng(2)
    activations = rng.normal(size=(80, 6)).astype(np.float32)
    utility = activations @ rng.normal(size=6)
    names = items(80)["item"].to_numpy()
    a, b = rng.integers(80, size=(2, 2_000))
    a, b = a[a != b], b[a != b]
    wins = rng.binomial(3, 1 / (1 + np.exp(utility[b] - utility[a])))
    answers = pl.DataFrame({"item_a": names[a], "item_b": names[b], "wins_a": wins, "wins_b": 3 - wins})
    above = pl.DataFrame({"item": names, "value": (utility + 0.5 * rng.normal(size=80) > 0).astype(float)})
    return crossed(
        {HERE: activations},
        [
            number("utility", utility + rng.normal(size=80)),
            Target(name="choices", kind="choices", values=answers),
            Target(name="above", kind="binary", values=above),
        ],
    )


def test_all_kinds_of_probe_transfer_to_all_kinds_of_target(kinds):
    rows, _, _ = kinds
    assert len(rows) == 9
    for row in rows.to_dicts():
        assert row["transfer"] > row["transfer_by_chance"]
        assert row["lower"] > 0
        assert row["cosine"] > row["cosine_by_chance"]


def test_choices_are_predicted_within_folds_by_the_difference_of_their_items(kinds):
    rows, probed, found = kinds
    fold_of = dict(zip(probed.items["item"], dealt_folds(probed.items["unit"].to_list(), 5, 0), strict=True))
    place = {item: at for at, item in enumerate(probed.items["item"])}
    direction = {row["fold"]: row["direction"] for row in found.fold_directions.filter(target="utility").to_dicts()}
    ahead, about, pairs = [], [], 0
    for row in probed.targets[1].values.to_dicts():
        fold = fold_of[row["item_a"]]
        if fold == fold_of[row["item_b"]]:
            apart = probed.activations[HERE][place[row["item_a"]]] - probed.activations[HERE][place[row["item_b"]]]
            pairs += 1
            for way in (1, -1):
                ahead += [way * float(apart @ np.array(direction[fold]))] * 3
                about += [way * (row["wins_a"] / 3 - 0.5)] * 3
    row = only(rows, "utility", "choices")
    assert row["rows"] == pairs
    assert row["transfer"] == pytest.approx(pearsonr(ahead, about).statistic, abs=1e-5)


# ---- the interval of a correlation


def drawn(rng, rows, rho, units=None):
    ahead = rng.normal(size=rows)
    about = rho * ahead + np.sqrt(1 - rho**2) * rng.normal(size=rows)
    unit = np.arange(rows) if units is None else units
    return Paired(
        ahead_P=ahead - ahead.mean(),
        about_P=about - about.mean(),
        weight_P=np.ones(rows),
        unit_2P=np.stack([unit, unit]),
    )


def test_of_independent_rows_it_is_pearsons():
    """scipy's interval takes rows as normal, which they are."""
    one = drawn(np.random.default_rng(0), 2_000, 0.6)
    oracle = pearsonr(one.ahead_P, one.about_P)
    found = correlation(one)
    assert found["transfer"] == pytest.approx(oracle.statistic)
    assert (found["lower"], found["upper"]) == pytest.approx(tuple(oracle.confidence_interval(0.95)), abs=0.004)


def test_rows_of_one_unit_count_once():
    one = drawn(np.random.default_rng(0), 200, 0.4)
    fivefold = Paired(
        ahead_P=np.repeat(one.ahead_P, 5),
        about_P=np.repeat(one.about_P, 5),
        weight_P=np.ones(1_000),
        unit_2P=np.repeat(one.unit_2P, 5, axis=1),
    )
    assert correlation(fivefold) == pytest.approx(correlation(one) | {"rows": 1_000})


def test_choices_among_the_same_items_are_not_independent():
    """Every two of 25 items are compared once, by items' true and read-off utilities, which are unrelated: r is that of
    25 items (scipy: 95 % within .396), not of 300 pairs (.113). Covered in 93 to 97 % of 400 simulations."""
    rng = np.random.default_rng(0)
    a, b = np.triu_indices(25, 1)
    widths, covered = [], []
    for _ in range(400):
        utility, readout = rng.normal(size=(2, 25))
        found = correlation(
            Paired(
                ahead_P=readout[a] - readout[b],
                about_P=utility[a] - utility[b],
                weight_P=np.ones(300),
                unit_2P=np.stack([a, b]),
            )
        )
        widths.append(found["upper"] - found["lower"])
        covered.append(found["lower"] <= 0 <= found["upper"])
    assert np.mean(covered) >= 0.9
    assert np.mean(widths) == pytest.approx(2 * 0.396, rel=0.15)


def test_choices_between_items_that_are_compared_once_are_independent():
    one = drawn(np.random.default_rng(0), 500, 0.5)
    pairs = Paired(
        ahead_P=one.ahead_P, about_P=one.about_P, weight_P=one.weight_P, unit_2P=np.arange(1_000).reshape(2, 500)
    )
    found, oracle = correlation(pairs), correlation(one)
    assert (found["lower"], found["upper"]) == pytest.approx((oracle["lower"], oracle["upper"]), abs=1e-3)


def test_what_is_always_the_same_has_no_correlation():
    one = drawn(np.random.default_rng(0), 20, 0.5)
    flat = Paired(ahead_P=np.zeros(20), about_P=one.about_P, weight_P=one.weight_P, unit_2P=one.unit_2P)
    assert correlation(flat) == {"rows": 20}


# ---- what is missing


def test_a_target_that_could_not_be_probed_has_no_rows():
    rng = np.random.default_rng(0)
    targets = [number("one", rng.normal(size=60)), number("constant", np.ones(60))]
    rows, _, _ = crossed({HERE: narrow(rng, 60, 6)}, targets)
    assert rows["target_a"].unique().to_list() == ["one"]


def test_the_order_of_items_changes_nothing(planted):
    rows, probed, found = planted
    order = np.random.default_rng(0).permutation(250)
    other = Probed(
        activations={HERE: probed.activations[HERE][order]}, items=probed.items[order], targets=probed.targets
    )
    again = cross_probe(other, found)
    for name in ("agreement", *NOT_ACROSS):
        assert again[name].to_numpy() == pytest.approx(rows[name].to_numpy(), abs=1e-6)


def test_folds_that_are_not_the_suites_are_refused(planted):
    _, probed, found = planted
    with pytest.raises(ValueError, match="give the folds and the seed of the suite"):
        cross_probe(probed, found, seed=1)
    with pytest.raises(ValueError, match="1 shuffles"):
        cross_probe(probed, found, shuffles=1)
