"""Which template fields utilities depend on: the published numbers, and errors that keep what they promise.

`template_sensitivity_48runs.parquet` has the template fields of the 48 published configurations (Llama-3.1-8B,
probing-persona-preferences, MIT) and their 500 utilities in thousandths, in list order; a task is known by its place.
"""

from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from prefassets.domain.preferences.sensitivity import sensitivity

ROOT = Path(__file__).parents[3]
DATA = ROOT / "prefassets_tests" / "data" / "preferences"
WHOLE = ROOT.parent / "shared" / "data" / "preferences" / "template_sensitivity_48runs"
TYPOS = ["instruction_xml_tags", "punctuation", "task_label_names", "typos"]


@pytest.fixture(scope="module")
def published():
    """Template fields and utilities of the 48 configurations."""
    rows = pl.read_parquet(DATA / "template_sensitivity_48runs.parquet")
    utilities = (
        rows.select("configuration", "thousandths", list_index=pl.int_ranges(0, 500))
        .explode("thousandths", "list_index")
        .select(
            "configuration", "list_index", task_id=pl.format("task-{}", "list_index"), mu=pl.col("thousandths") / 1000
        )
    )
    return rows.drop("thousandths"), utilities


@pytest.fixture(scope="module")
def both(published):
    return sensitivity(*published, adjustments=("none", "list position"), permutations=999)


def row(found, field, adjustment="none"):
    (only,) = found.coefficients.filter(field=field, adjustment=adjustment).iter_rows(named=True)
    return only


def made(levels, utilities_CT):
    """Configurations with the given levels of each field, and their utilities."""
    configurations = pl.DataFrame({"configuration": [f"c{place:03}" for place in range(len(utilities_CT))], **levels})
    count, tasks = utilities_CT.shape
    utilities = pl.DataFrame(
        {
            "configuration": np.repeat(configurations["configuration"].to_numpy(), tasks),
            "task_id": np.tile([f"t{place}" for place in range(tasks)], count),
            "list_index": np.tile(np.arange(tasks), count),
            "mu": utilities_CT.ravel(),
        }
    )
    return configurations, utilities


def test_the_published_regression_comes_out(both):
    raw, _ = both.fit.iter_rows(named=True)
    assert raw["r_squared"] == pytest.approx(0.249076, abs=1e-6)
    assert (raw["configurations"], raw["pairs"], raw["columns"], raw["design_rank"]) == (48, 1128, 12, 8)
    assert [
        round(row(both, field)["estimate"], 4) for field in ("order", "instruction_position", "response_format")
    ] == [
        0.3275,
        0.0929,
        0.0575,
    ]
    assert row(both, "order")["ols_se"] == pytest.approx(0.0176, abs=5e-5)
    assert row(both, "order")["robust_se"] == pytest.approx(0.0735, abs=5e-5)


def test_without_the_list_position_the_order_hardly_matters_and_configurations_agree_more(both):
    raw, adjusted = both.fit["mean_correlation"]
    assert raw == pytest.approx(0.371, abs=5e-4)
    assert adjusted == pytest.approx(0.522, abs=5e-4)
    assert row(both, "order", "list position")["estimate"] == pytest.approx(0.041, abs=5e-4)


@pytest.mark.skipif(not WHOLE.exists(), reason="the whole files are not beside the repository")
def test_the_whole_files_give_the_published_regression(both):
    import yaml

    configurations, utilities = [], []
    for folder in sorted(WHOLE.iterdir()):
        tags = yaml.safe_load((folder / "config.yaml").read_text())["template_tags"]
        configurations.append({"configuration": folder.name, **tags})
        (file,) = folder.glob("*.csv")
        utilities.append(pl.read_csv(file).with_row_index("list_index").with_columns(configuration=pl.lit(folder.name)))
    found = sensitivity(
        pl.DataFrame(configurations), pl.concat(utilities), adjustments=("none", "list position"), permutations=1
    )
    assert found.fit["r_squared"][0] == pytest.approx(0.249076, abs=1e-6)
    for field, adjustment in product(("order", "typos", "language", "seed"), ("none", "list position")):
        assert row(found, field, adjustment)["estimate"] == pytest.approx(
            row(both, field, adjustment)["estimate"], abs=1e-5
        )


def test_fields_that_always_agree_together_are_named_and_have_their_sum_estimated(both):
    assert both.fit["aliased"][0] == "{" + ", ".join(TYPOS) + "}; {language, phrasing}"
    for name in TYPOS:
        found = row(both, name)
        assert (found["state"], found["field_group"]) == ("aliased", ", ".join(TYPOS))
        assert found["reason"] == "{" + ", ".join(TYPOS) + "} cannot be told apart"
        assert found["minimum_norm"] == pytest.approx(found["estimate"] / 4)
    assert row(both, "phrasing")["minimum_norm"] == pytest.approx(row(both, "phrasing")["estimate"] / 2)
    assert row(both, "order")["state"] == "estimated"


def test_estimates_and_ordinary_errors_are_those_of_statsmodels(published, both):
    import statsmodels.api as sm

    alone = published[0].drop("instruction_xml_tags", "punctuation", "task_label_names", "language")
    by_name = {only["configuration"]: only for only in alone.iter_rows(named=True)}
    pairs = both.correlations.filter(adjustment="none")
    same = [
        [by_name[first][field] == by_name[second][field] for field in alone.columns[1:]]
        for first, second in pairs.select("configuration_a", "configuration_b").iter_rows()
    ]
    fit = sm.OLS(pairs["correlation"].to_numpy(), sm.add_constant(np.array(same, dtype=float))).fit()
    assert both.fit["r_squared"][0] == pytest.approx(fit.rsquared)
    for field, estimate, error in zip(alone.columns[1:], fit.params[1:], fit.bse[1:], strict=True):
        assert row(both, field)["estimate"] == pytest.approx(estimate)
        assert row(both, field)["ols_se"] == pytest.approx(error)


def factors(count, tasks=40, seed=0):
    """Orthonormal, with mean 0: sums of them correlate by exactly the share of squares that they have in common."""
    drawn = np.random.default_rng(seed).normal(size=(tasks, count))
    return np.linalg.qr(drawn - drawn.mean(axis=0))[0].T


def test_planted_shares_of_agreement_are_found_exactly():
    """Variance of utilities: .30 of all, .25 of the phrasing, .10 of the order, .35 of the configuration alone."""
    phrasing, order = np.array([place % 3 for place in range(12)]), np.array([place // 3 % 2 for place in range(12)])
    parts = factors(1 + 3 + 2 + 12)
    utilities_CT = (
        np.sqrt(0.30) * parts[0]
        + np.sqrt(0.25) * parts[1 + phrasing]
        + np.sqrt(0.10) * parts[4 + order]
        + np.sqrt(0.35) * parts[6:]
    )
    found = sensitivity(*made({"phrasing": phrasing, "order": order}, utilities_CT), permutations=999)
    assert row(found, "phrasing")["estimate"] == pytest.approx(0.25)
    assert row(found, "order")["estimate"] == pytest.approx(0.10)
    assert found.fit["constant"][0] == pytest.approx(0.30)
    assert found.fit["r_squared"][0] == pytest.approx(1)
    assert row(found, "phrasing")["permutation_p"] == pytest.approx(0.001)


@pytest.mark.parametrize(("seed", "positive"), [(5, True), (4, False)])
def test_robust_errors_sum_over_all_pairs_of_pairs_that_share_a_configuration(seed, positive):
    """The definition, term by term (Aronow, Samii and Assenova 2015); negative, there is no error."""
    generator, label = np.random.default_rng(seed), [0, 0, 0, 0, 0, 0, 1, 2, 3]
    utilities_CT = generator.normal(size=30) + generator.uniform(0.3, 2, size=(9, 1)) * generator.normal(size=(9, 30))
    found = row(sensitivity(*made({"label": label}, utilities_CT), permutations=9), "label")
    pairs = [(first, second) for first in range(9) for second in range(first + 1, 9)]
    outcome = np.array([np.corrcoef(utilities_CT[first], utilities_CT[second])[0, 1] for first, second in pairs])
    design = np.array([[1.0, label[first] == label[second]] for first, second in pairs])
    bread = np.linalg.inv(design.T @ design)
    score = design * (outcome - design @ bread @ design.T @ outcome)[:, None]
    shared = sum(
        np.outer(score[one], score[other])
        for one, other in product(range(len(pairs)), repeat=2)
        if set(pairs[one]) & set(pairs[other])
    )
    variance, own = (bread @ shared @ bread)[1, 1], (bread @ score.T @ score @ bread)[1, 1]
    assert (variance > 0) == positive
    assert found["robust_se"] == (pytest.approx(np.sqrt(variance)) if positive else None)
    assert found["cautious_se"] == pytest.approx(np.sqrt(variance + own))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_with_templates_they_sum_over_all_pairs_of_pairs_that_share_a_template(seed):
    generator, label, template = np.random.default_rng(seed), [0, 0, 1, 0, 0, 0, 1, 1, 2], [0, 0, 0, 1, 1, 2, 3, 3, 4]
    utilities_CT = generator.normal(size=30) + generator.uniform(0.3, 2, size=(9, 1)) * generator.normal(size=(9, 30))
    configurations, utilities = made({"label": label}, utilities_CT)
    found = row(
        sensitivity(configurations.with_columns(template=pl.Series(template)), utilities, permutations=9), "label"
    )
    pairs = [(first, second) for first in range(9) for second in range(first + 1, 9)]
    outcome = np.array([np.corrcoef(utilities_CT[first], utilities_CT[second])[0, 1] for first, second in pairs])
    design = np.array([[1.0, *(of[first] == of[second] for of in (label, template))] for first, second in pairs])
    bread = np.linalg.inv(design.T @ design)
    score = (outcome - design @ bread @ design.T @ outcome) * (design @ bread[1])
    units = [{template[first], template[second]} for first, second in pairs]
    common = np.array([[len(one & other) for other in units] for one in units])
    variance = score @ (common > 0) @ score
    assert found["cautious_se"] == pytest.approx(np.sqrt(score @ common @ score))
    assert found["robust_se"] == (pytest.approx(np.sqrt(variance)) if variance > 0 else None)


def test_where_a_field_does_not_matter_ordinary_errors_say_it_does_and_the_others_say_so_one_time_in_twenty():
    """Configurations differ in how noisy their utilities are; 8 of 40 have another label, which means nothing."""
    generator = np.random.default_rng(11)
    levels = {"label": np.repeat([0, 1], [32, 8]), "other": np.arange(40) % 3}
    rejected = {"ols": 0, "robust": 0, "interval": 0, "permutation": 0}
    repetitions = 150
    for _ in range(repetitions):
        noise = generator.uniform(0.2, 2, size=(40, 1)) * generator.normal(size=(40, 120))
        found = row(sensitivity(*made(levels, generator.normal(size=120) + noise), permutations=199), "label")
        rejected["ols"] += abs(found["estimate"]) > 1.96 * found["ols_se"]
        rejected["robust"] += found["robust_se"] is not None and abs(found["estimate"]) > 2.02 * found["robust_se"]
        rejected["interval"] += not found["lower"] <= 0 <= found["upper"]
        rejected["permutation"] += found["permutation_p"] <= 0.05
    share = {name: count / repetitions for name, count in rejected.items()}
    assert share["ols"] > 0.35, share
    assert share["robust"] < 0.15, share
    assert share["interval"] < 0.11, share
    assert share["permutation"] < 0.10, share


def test_fields_of_a_few_templates_do_not_pass_for_effects_once_the_templates_are_named():
    """10 templates of 4 configurations share what no field says; 4 fields of no meaning are constant within them."""
    generator = np.random.default_rng(7)
    template = np.repeat(np.arange(10), 4)
    levels = {f"field_{name}": template // span % 2 for name, span in (("a", 1), ("b", 2), ("c", 3), ("d", 5))}
    levels["order"] = np.arange(40) % 2
    rejected, repetitions = {}, 60
    for _ in range(repetitions):
        of_template, alone = 0.7 * generator.normal(size=(10, 80))[template], generator.normal(size=(40, 80))
        configurations, utilities = made(levels, generator.normal(size=80) + of_template + alone)
        for named, given in ((True, configurations.with_columns(template=template)), (False, configurations)):
            found = sensitivity(given, utilities, permutations=99).coefficients.filter(pl.col("field") != "template")
            for field, p, lower, upper in found.select("field", "permutation_p", "lower", "upper").iter_rows():
                key = named, "order" if field == "order" else "field"
                rejected.setdefault((*key, "permutation"), []).append(p <= 0.05)
                rejected.setdefault((*key, "interval"), []).append(not lower <= 0 <= upper)
    share = {key: np.mean(hits) for key, hits in rejected.items()}
    assert share[False, "field", "permutation"] > 0.5, share
    for kind in ("permutation", "interval"):
        assert share[True, "field", kind] < 0.09, share
        assert share[True, "order", kind] < 0.15, share


def test_of_the_published_effects_three_outlast_that_there_were_ten_templates(published):
    configurations, utilities = published
    template = configurations["configuration"].str.extract(r"revealed_choice_(\d+)")
    found = sensitivity(configurations.with_columns(template=template), utilities, ("list position",), permutations=999)
    passed = found.coefficients.filter(pl.col("permutation_p") <= 0.05)
    assert passed["field"].to_list() == ["instruction_position", "response_format", "order"]
    assert (found.fit["templates"][0], found.fit["columns"][0], found.fit["design_rank"][0]) == (10, 13, 9)
    permuted = dict(found.coefficients.select("field", "permuted").iter_rows())
    assert permuted["instruction_position"] == "templates"
    assert permuted["order"] == "configurations within templates"
    assert permuted["template"] == "configurations"


def test_a_slot_that_follows_from_the_list_looks_like_an_effect_of_the_order_and_is_taken_out():
    generator = np.random.default_rng(5)
    order = np.repeat([1, -1], 6)
    place = np.linspace(-1, 1, 200)
    utilities_CT = (
        generator.normal(size=200) + 0.8 * order[:, None] * (place + place**3) + 0.3 * generator.normal(size=(12, 200))
    )
    found = sensitivity(*made({"order": order}, utilities_CT), ("none", "list position"), permutations=99)
    assert row(found, "order")["estimate"] > 0.5
    assert abs(row(found, "order", "list position")["estimate"]) < 0.02


def test_a_field_that_says_nothing_about_pairs_is_told_with_the_reason():
    levels = {"model": ["m"] * 6, "seed": range(6), "order": [0, 0, 0, 1, 1, 1]}
    found = sensitivity(*made(levels, np.random.default_rng(0).normal(size=(6, 20))), permutations=9)
    assert row(found, "model")["state"] == row(found, "seed")["state"] == "does not vary"
    assert row(found, "model")["reason"] == "it is the same in all configurations"
    assert row(found, "seed")["reason"] == "no two configurations have it the same"
    assert row(found, "model")["estimate"] is None
    assert found.fit["without_variation"][0] == "model, seed"
    assert row(found, "order")["state"] == "estimated"


def test_fields_of_which_each_follows_from_the_others_are_not_estimated():
    """Of two configurations that differ, exactly one of three labels is the same: their sum is the constant."""
    levels = {"a": [0, 0, 1, 1], "b": [0, 1, 0, 1], "c": [0, 1, 1, 0]}
    found = sensitivity(*made(levels, np.random.default_rng(0).normal(size=(4, 20))), permutations=9)
    assert found.coefficients["state"].to_list() == ["not estimable"] * 3
    assert row(found, "a")["reason"] == "only combinations of these can be estimated: {constant, a, b, c}"
    assert row(found, "a")["estimate"] is None
    assert (found.fit["columns"][0], found.fit["design_rank"][0]) == (4, 3)
    assert found.fit["aliased"][0] == "{constant, a, b, c}"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_configurations_give_no_numbers_but_the_reason(count):
    configurations, utilities = made({"order": list(range(2))}, np.random.default_rng(0).normal(size=(2, 20)))
    kept = configurations.head(count)
    found = sensitivity(kept.with_columns(order=pl.lit(0)), utilities, permutations=9)
    assert found.coefficients["estimate"].to_list() == [None]
    assert f"{count} configurations" in row(found, "order")["reason"]
    assert found.fit["pairs"][0] == count * (count - 1) // 2


def test_what_has_no_correlation_is_left_out_and_named():
    generator = np.random.default_rng(0)
    configurations, utilities = made({"order": [0, 0, 1, 1, 1, 0, 1]}, generator.normal(size=(7, 20)))
    utilities = utilities.with_columns(mu=pl.when(pl.col("configuration") == "c001").then(5.0).otherwise("mu")).filter(
        pl.col("configuration") != "c006",
        (pl.col("configuration") != "c004") | pl.col("list_index").is_in([0, 1]),
    )
    found = sensitivity(configurations, utilities, permutations=9)
    (fit,) = found.fit.iter_rows(named=True)
    assert fit["configurations"] == 4
    assert "c001: its utilities do not differ" in fit["left_out"]
    assert "c004: fewer than 3 tasks that differ in common with another" in fit["left_out"]
    assert "c006: no utilities" in fit["left_out"]


def test_equal_input_gives_equal_rows(published):
    first, second = (sensitivity(*published, permutations=99, seed=4).coefficients for _ in range(2))
    assert first.equals(second)


def test_what_cannot_be_compared_is_refused():
    configurations, utilities = made({"order": [0, 1, 1]}, np.random.default_rng(0).normal(size=(3, 20)))
    with pytest.raises(ValueError, match="no template field"):
        sensitivity(configurations.select("configuration"), utilities)
    with pytest.raises(ValueError, match="a configuration occurs twice"):
        sensitivity(pl.concat([configurations, configurations]), utilities)
    with pytest.raises(ValueError, match="a task twice"):
        sensitivity(configurations, pl.concat([utilities, utilities]))
    with pytest.raises(ValueError, match="column list_index"):
        sensitivity(configurations, utilities.drop("list_index"), ("list position",))
