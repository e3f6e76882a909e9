"""What these figures keep: valid SVG, equal bytes for equal rows, every policy and measurement named, gaps survived."""

from xml.etree import ElementTree

import polars as pl
import pytest

from prefassets.domain.preferences.efficiency import METRICS
from prefassets.domain.preferences.transitivity import TRANSITIVITY
from prefassets.report import preference_figures

SVG = "{http://www.w3.org/2000/svg}"


def summary(with_intervals=True):
    rows = []
    for place, policy in enumerate(("everything", "active", "random")):
        for budget in (90_000,) if policy == "everything" else (1_000, 2_000, 4_000):
            for held_out, base in (("random", 0.8), ("close", 0.6)):
                row = {"policy": policy, "budget": budget, "held_out": held_out, "seeds": 3}
                for metric in METRICS:
                    mean = base - place / 50 + budget / 1e6
                    spread = 0.01 if with_intervals and policy != "everything" else None
                    row[metric] = mean
                    row[f"{metric}_lower"] = spread and mean - spread
                    row[f"{metric}_upper"] = spread and mean + spread
                rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None).with_columns(pl.col("^.*_(lower|upper)$").cast(pl.Float64))


def cycles(**changes):
    row = dict.fromkeys(TRANSITIVITY) | {"policy": "all", "inflated": False, "tasks": 9, "pairs": 36, "triads": 84}
    row |= {"decided_triads": 80, "cycles": 8, "cycle_rate": 8 / 84, "lower": 0.02, "upper": 0.17, "null_rate": 0.25}
    return pl.DataFrame([row | changes], TRANSITIVITY)


def nothing():
    return cycles(triads=0, cycles=0, cycle_rate=None, lower=None, upper=None, null_rate=None)


FIGURES = {
    "efficiency": lambda: preference_figures.efficiency(summary(), "everything"),
    "one_seed": lambda: preference_figures.efficiency(summary(with_intervals=False), "everything"),
    "transitivity": lambda: preference_figures.transitivity(
        pl.concat([cycles(expected_rate=0.03), cycles(inflated=True), nothing()]), ["gemma", "llama", "qwen"]
    ),
    "no_triads": lambda: preference_figures.transitivity(nothing(), ["qwen"]),
}


def words(svg):
    return [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", FIGURES)
def test_it_is_valid_svg_and_equal_rows_give_equal_bytes(name):
    svg = FIGURES[name]()
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    assert float(root.get("viewBox").split()[2]) <= 4 * 72, "as wide as a phone"
    assert svg == FIGURES[name]()


def test_efficiency_names_policies_budgets_and_what_the_ceiling_took():
    said = set(words(FIGURES["efficiency"]()))
    assert {"active", "random", "everything, 90,000 comparisons", "1,000", "2,000", "4,000"} <= said


def test_transitivity_names_what_was_measured_and_what_is_inflated():
    said = words(FIGURES["transitivity"]())
    assert {"gemma", "llama", "qwen", "8 cycles of 84", "nothing measured yet"} <= set(said)
    assert said.count("close pairs were asked: inflated") == 1
