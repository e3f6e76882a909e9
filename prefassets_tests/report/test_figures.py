"""What every figure keeps: valid SVG, equal bytes for equal rows, A and B in their colours, nothing broken by a gap."""

from xml.etree import ElementTree

import polars as pl
import pytest

from prefassets.report import figures, weight_figures

SVG = "{http://www.w3.org/2000/svg}"


def drawn(findings):
    """Every figure of the findings, by name."""
    tables = findings.tables
    verdict = tables["verdicts.verdict"]
    curve = tables["verdicts.learning_curve"]
    age = curve.filter(split="age")
    gaps = tables["verdicts.score_gap"].filter(split="age")
    return {
        "contrasts": figures.contrasts(verdict, tables["verdicts.per_seed"], 5.0),
        "interactions": figures.interactions(verdict, tables["verdicts.estimate"]),
        "heterogeneity": figures.heterogeneity(tables["verdicts.heterogeneity"], ["age", "region"]),
        "baseline_curve": figures.baseline_curve(curve.filter(pl.col("split").is_null()), 70.0),
        "group_curves": figures.group_curves(age, "age", figures.curve_limits(age)),
        "score_gaps": figures.score_gaps(gaps, "age", figures.gap_limits(gaps)),
        "changes": figures.changes(tables["verdicts.method_change"].filter(readout="held_out"), 5.0),
        "histogram": weight_figures.histogram(tables["weights.histogram"], tables["weights.yardstick"]),
        "by_score_gap": weight_figures.by_score_gap(tables["weights.mean"], tables["weights.yardstick"]),
        "by_source_model": weight_figures.by_source_model(tables["weights.source_model"]),
        "by_group": weight_figures.by_group(tables["weights.mean"], tables["weights.split"], ["age", "region"]),
    }


def words(svg):
    return [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


OF_GROUPS = ["contrasts", "interactions", "heterogeneity", "group_curves", "score_gaps", "by_group"]
NAMES = [*OF_GROUPS, "baseline_curve", "changes", "histogram", "by_score_gap", "by_source_model"]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_valid_svg_and_equal_rows_give_equal_bytes(findings, name):
    svg = drawn(findings)[name]
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    assert float(root.get("viewBox").split()[2]) <= 4 * 72, "as wide as a phone"
    assert svg == drawn(findings)[name]


@pytest.mark.parametrize("name", OF_GROUPS)
def test_a_and_b_keep_their_colours(findings, name):
    svg = drawn(findings)[name].upper()
    assert "#0072B2" in svg
    assert "#D55E00" in svg


def test_the_contrasts_name_split_state_expectation_and_reported_rule(findings):
    said = words(drawn(findings)["contrasts"])
    for row in findings.tables["verdicts.verdict"].iter_rows(named=True):
        assert {row["split"], row["state"], "expected: A > B", "reported rule: MATCH"} <= set(said)
    assert "A - B in pref_acc on held-out pairs, percentage points" in said


def test_a_split_without_interval_or_without_anything_keeps_its_row(findings):
    verdict = findings.tables["verdicts.verdict"].with_columns(
        estimate_pp=pl.Series([4.0, None, None, None]),
        **{name: pl.lit(None, pl.Float64) for name in ("lower_pp", "upper_pp", "reported_rule")},
        finding=pl.lit(None, pl.String),
    )
    no_seed = findings.tables["verdicts.per_seed"].clear()
    said = words(figures.contrasts(verdict, no_seed, 5.0))
    assert said.count("nothing measured yet") == 3
    assert set(verdict["split"]) <= set(said)
    age = (
        findings.tables["verdicts.estimate"]
        .filter(split="age")
        .with_columns(lower=pl.lit(None, pl.Float64), upper=pl.lit(None, pl.Float64))
    )
    assert words(figures.interactions(verdict, age)).count("nothing measured yet") == 3


def test_one_group_alone_is_drawn(findings):
    curve = findings.tables["verdicts.learning_curve"].filter(split="age", user_group="B")
    said = words(figures.group_curves(curve, "age", figures.curve_limits(curve)))
    assert "training step; seeds of A | of B: 0 | 3" in said
    assert "B" in said
    assert "A" not in said


def test_a_group_whose_h_is_undefined_is_named(findings):
    rows = findings.tables["verdicts.heterogeneity"].with_columns(
        heterogeneity=pl.when(pl.col("user_group") == "A").then(None).otherwise("heterogeneity")
    )
    assert "undefined: A" in words(figures.heterogeneity(rows, ["age"]))


def test_points_lie_where_their_numbers_say(findings):
    """Of two estimates, the larger stands further right, by as much as the axis says."""
    verdict = (
        findings.tables["verdicts.verdict"]
        .head(2)
        .with_columns(
            estimate_pp=pl.Series([-10.0, 10.0]), lower_pp=pl.Series([-15.0, 5.0]), upper_pp=pl.Series([-5.0, 15.0])
        )
    )
    root = ElementTree.fromstring(figures.contrasts(verdict, findings.tables["verdicts.per_seed"].clear(), 5.0))
    ticks = {text.text: float(text.get("x")) for text in root.iter(f"{SVG}text") if text.text in ("-10", "0", "10")}
    bars = [
        [float(word) for word in path.get("d").split() if word not in "ML"][0::2]
        for path in root.iter(f"{SVG}path")
        if "stroke-width: 1.6" in (path.get("style") or "") and path.get("d").count("L") == 1
    ]
    per_point = (ticks["10"] - ticks["-10"]) / 20
    expected = [[ticks["0"] + per_point * end for end in ends] for ends in ([-15, -5], [5, 15])]
    for ends in expected:
        assert any(bar == pytest.approx(ends, abs=0.05) for bar in bars), (ends, bars)


def test_the_baseline_is_drawn_beside_what_is_wanted_of_it(findings):
    curve = findings.tables["verdicts.learning_curve"].filter(pl.col("split").is_null())
    assert "wanted: 70 %" in words(figures.baseline_curve(curve, 70.0))
    assert "mean of 3 seeds" in words(figures.baseline_curve(curve, None))


def test_a_change_is_drawn_with_both_labels_and_without_an_interval_where_there_is_none(findings):
    change = findings.tables["verdicts.method_change"].filter(readout="held_out")
    assert {"IMPROVED", "reported rule: MISMATCH to WEAK"} <= set(words(figures.changes(change, 5.0)))
    bare = change.with_columns(
        pl.lit(None, pl.Float64).alias(name) for name in ("change_pp", "lower_pp", "upper_pp", "before_common_pp")
    )
    assert words(figures.changes(bare, 5.0)).count("nothing measured yet") == len(change)


def spoken(svg):
    return ElementTree.fromstring(svg).get("aria-label")


def test_weights_without_a_yardstick_are_drawn_without_one(findings):
    tables = findings.tables
    none = tables["weights.yardstick"].clear()
    assert "two sampled at T = 1 0.08" in spoken(
        weight_figures.histogram(tables["weights.histogram"], findings.tables["weights.yardstick"])
    )
    assert "two sampled" not in spoken(weight_figures.histogram(tables["weights.histogram"], none))
    of_base_model = "two answers of the base model, T = 1"
    assert of_base_model in words(weight_figures.by_score_gap(tables["weights.mean"], tables["weights.yardstick"]))
    assert of_base_model not in words(weight_figures.by_score_gap(tables["weights.mean"], none))


def test_source_models_stand_in_order_of_their_weight_with_or_without_an_adjusted_one(findings):
    rows = findings.tables["weights.source_model"].reverse()
    said = words(weight_figures.by_source_model(rows))
    assert said.index("small") < said.index("large")
    assert "1,200 pairs, 150 tokens" in said
    alone = rows.with_columns(
        pl.lit(None, pl.Float64).alias(f"adjusted_{name}") for name in ("weight", "lower", "upper")
    )
    assert words(weight_figures.by_source_model(alone)).count("1,200 pairs, 150 tokens") == 2


def test_a_difference_of_weights_is_said_with_its_interval(findings):
    tables = findings.tables
    svg = weight_figures.by_group(tables["weights.mean"], tables["weights.split"], ["age"])
    assert "+0.020 [+0.010, +0.030]" in words(svg)
