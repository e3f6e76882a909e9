"""What the figures of how one asks keep: valid SVG, equal bytes, every field and cell told, nothing broken by a gap."""

import re
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest

from prefassets.domain.preferences.positivity import positivity
from prefassets.domain.preferences.sensitivity import sensitivity
from prefassets.report import sensitivity_figures

SVG = "{http://www.w3.org/2000/svg}"


def words(svg):
    return [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def spoken(svg):
    return ElementTree.fromstring(svg).get("aria-label")


@pytest.fixture(scope="module")
def asked():
    """12 configurations; typos and punctuation go together, and all have one model."""
    generator = np.random.default_rng(0)
    order = np.arange(12) % 2
    configurations = pl.DataFrame(
        {"configuration": [f"c{place:02}" for place in range(12)], "order": order, "typos": np.arange(12) // 4}
        | {"punctuation": np.arange(12) // 4, "model": ["m"] * 12}
    )
    mu = generator.normal(size=(1, 30)) + generator.normal(size=(2, 30))[order] + generator.normal(size=(12, 30))
    utilities = pl.DataFrame(
        {"configuration": np.repeat(configurations["configuration"].to_numpy(), 30), "mu": mu.ravel()}
        | {"task_id": [f"t{place}" for place in range(30)] * 12, "list_index": list(range(30)) * 12}
    )
    return sensitivity(configurations, utilities, ("none", "list position"), permutations=99)


@pytest.fixture(scope="module")
def rated():
    """Two framings by two option sets, one cell not asked and one without a valid answer."""
    given = [
        ("standard", "yes_somewhat_no", ["yes"] * 3 + ["no"] + ["refusal"]),
        ("standard", "good_neutral_bad", ["neutral"] * 5),
        ("honest", "yes_somewhat_no", ["refusal"] * 5),
    ]
    values = {"yes": 1, "neutral": 0, "no": -1}
    return positivity(
        pl.DataFrame(
            [
                {"task_id": str(place), "framing": framing, "options": options, "rating": rating}
                | {"value": values.get(rating)}
                for framing, options, ratings in given
                for place, rating in enumerate(ratings)
            ],
            infer_schema_length=None,
        )
    )


def test_they_are_valid_svg_as_wide_as_a_phone_and_equal_rows_give_equal_bytes(asked, rated):
    for draw in (
        lambda: sensitivity_figures.coefficients(asked.coefficients, asked.fit),
        lambda: sensitivity_figures.positivity(rated),
    ):
        root = ElementTree.fromstring(draw())
        assert root.tag == f"{SVG}svg"
        assert float(root.get("viewBox").split()[2]) <= 4 * 72
        assert draw() == draw()


def test_fields_that_cannot_be_told_apart_have_one_row_and_one_that_does_not_vary_says_so(asked):
    svg = sensitivity_figures.coefficients(asked.coefficients, asked.fit)
    said = words(svg)
    assert said.count("2 fields together") == said.count("punctuation, typos") == 1
    assert "fields that cannot be told apart" in said
    assert {"model", "does not vary: it is the same in all configurations"} <= set(said)
    assert "the same in 30 of 66 pairs" in said
    assert "punctuation, typos -0" in spoken(svg) or "punctuation, typos +0" in spoken(svg)
    alone = asked.coefficients.filter(~pl.col("field").is_in(["typos", "punctuation"]))
    assert "fields that cannot be told apart" not in words(sensitivity_figures.coefficients(alone, asked.fit))


def test_both_adjustments_stand_beside_each_other_with_their_numbers(asked):
    svg = sensitivity_figures.coefficients(asked.coefficients, asked.fit)
    said = words(svg)
    for row in asked.coefficients.filter(field="order").iter_rows(named=True):
        assert f"{row['estimate']:+.2f} [{row['lower']:+.2f}, {row['upper']:+.2f}]" in said
    assert "p .0100 | .0100" in said
    one = asked.coefficients.filter(adjustment="none"), asked.fit.filter(adjustment="none")
    assert not any(
        str(word).startswith("without the list position") for word in words(sensitivity_figures.coefficients(*one))
    )


def test_intervals_lie_where_their_numbers_say(asked):
    rows = asked.coefficients.filter(field="order", adjustment="none").with_columns(
        estimate=pl.lit(0.2), lower=pl.lit(0.1), upper=pl.lit(0.4)
    )
    root = ElementTree.fromstring(sensitivity_figures.coefficients(rows, asked.fit))
    ticks = sorted(
        (float(text.text), float(text.get("x")))
        for text in root.iter(f"{SVG}text")
        if re.fullmatch(r"-?\d\.\d+", text.text)
    )
    (least, left), (most, right) = ticks[0], ticks[-1]
    per_unit = (right - left) / (most - least)
    bars = [
        [float(word) for word in path.get("d").split() if word not in "ML"][0::2]
        for path in root.iter(f"{SVG}path")
        if "stroke-width: 1.6" in (path.get("style") or "") and path.get("d").count("L") == 1
    ]
    expected = [left + per_unit * (end - least) for end in (0.1, 0.4)]
    assert any(bar == pytest.approx(expected, abs=0.05) for bar in bars), (expected, bars)


def test_configurations_that_are_too_few_are_drawn_as_their_reason(asked):
    configurations = pl.DataFrame({"configuration": ["a", "b"], "order": [0, 1]})
    utilities = pl.DataFrame({"configuration": ["a"] * 4 + ["b"] * 4, "task_id": list("wxyz") * 2, "mu": [*range(8)]})
    few = sensitivity(configurations, utilities, permutations=9)
    said = " ".join(str(word) for word in words(sensitivity_figures.coefficients(few.coefficients, few.fit)))
    assert "too few for 2 coefficients and their errors; measure more configurations" in said.replace("  ", " ")


def test_two_templates_have_an_estimate_without_an_interval():
    configurations = pl.DataFrame({"configuration": list("abcd"), "order": [0, 0, 1, 1], "template": list("xxyy")})
    mu = np.random.default_rng(0).normal(size=(4, 9))
    utilities = pl.DataFrame(
        {"configuration": np.repeat(list("abcd"), 9), "task_id": [*range(9)] * 4, "mu": mu.ravel()}
    )
    found = sensitivity(configurations, utilities, permutations=9)
    (order, template) = found.coefficients.iter_rows(named=True)
    assert order["field_group"] == template["field_group"] == "order, template"
    svg = sensitivity_figures.coefficients(found.coefficients, found.fit)
    assert f"{order['estimate']:+.2f}, no interval" in words(svg)
    assert "p: fields handed to other templates at random" in words(svg)


def test_every_cell_has_its_shares_interval_and_n_and_a_gap_is_no_zero(rated):
    svg = sensitivity_figures.positivity(rated, title="a tiny model")
    said = words(svg)
    assert {"▲75 [30-95]", "▼25 [5-70]", "n 4 of 5"} <= set(said)
    assert {"▲0 [0-43]", "n 5 of 5", "not asked", "no valid", "n 0 of 5", "a tiny model"} <= set(said)
    assert {"standard", "honest", "yes", "somewhat", "no"} <= set(said)
    assert "standard yes_somewhat_no 75 %" in spoken(svg)
    assert "honest yes_somewhat_no no valid answer" in spoken(svg)
