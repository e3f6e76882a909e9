"""What the figures of utilities keep: valid SVG, equal bytes, every task and configuration where its number says."""

import re
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest

from prefassets.report import utility_figures

SVG = "{http://www.w3.org/2000/svg}"


def words(svg):
    return [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def ranked(count, origins=("MATH", "ALPACA")):
    mu = np.linspace(2, -2, count)
    return pl.DataFrame(
        {"rank": range(1, count + 1), "mu": mu, "lower": mu - 0.5, "upper": mu + 0.5}
        | {"origin": [origins[place % len(origins)] for place in range(count)]}
    )


def correlations(names, value=0.5):
    return pl.DataFrame(
        [
            {"adjustment": adjustment, "configuration_a": one, "configuration_b": other}
            | {"correlation": value if adjustment == "none" else -value}
            for adjustment in ("none", "list position")
            for place, one in enumerate(names)
            for other in names[place + 1 :]
        ]
    )


NAMES = [f"instruction_after-phrasing{place}-minimal_punctuation-numbers-xml_tags" for place in range(4)]
FIGURES = {
    "tasks": lambda: utility_figures.tasks(ranked(6)),
    "one_task": lambda: utility_figures.tasks(ranked(1)),
    "without_errors": lambda: utility_figures.tasks(
        ranked(4).with_columns(lower=pl.lit(None, pl.Float64), upper=pl.lit(None, pl.Float64))
    ),
    "distribution": lambda: utility_figures.distribution(ranked(200)),
    "all_alike": lambda: utility_figures.distribution(ranked(5).with_columns(mu=pl.lit(0.0))),
    "agreement": lambda: utility_figures.agreement(correlations(NAMES), NAMES),
    "many": lambda: utility_figures.agreement(correlations([f"c{n}" for n in range(48)]), [f"c{n}" for n in range(48)]),
}


@pytest.mark.parametrize("name", FIGURES)
def test_it_is_valid_svg_as_wide_as_a_phone_and_equal_rows_give_equal_bytes(name):
    svg = FIGURES[name]()
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    assert float(root.get("viewBox").split()[2]) <= 4 * 72
    assert len(root.get("aria-label")) > 20
    assert svg == FIGURES[name]()


def test_of_many_tasks_both_ends_are_drawn_and_the_gap_is_said():
    said = words(utility_figures.tasks(ranked(1_000)))
    ranks = [int(word) for word in said if re.fullmatch(r"\d+", word) and int(word) > 2]
    assert ranks == [*range(3, 16), *range(986, 1001)]
    assert "970 tasks between" in said
    assert not any("between" in word for word in words(utility_figures.tasks(ranked(30))))


def test_origins_are_named_and_one_that_nobody_knows_is_drawn_too():
    said = words(utility_figures.tasks(ranked(6, ("MATH", "BAILBENCH", utility_figures.UNKNOWN))))
    assert {"MATH", "BAILBENCH", "unknown"} <= set(said)


def test_as_fitted_is_below_the_diagonal_and_the_other_above_it():
    said = words(utility_figures.agreement(correlations(["p", "q"], 0.25), ["p", "q"]))
    assert "+.25" in said
    assert "-.25" in said
    root = ElementTree.fromstring(utility_figures.agreement(correlations(["p", "q"], 0.25), ["p", "q"]))
    place = {text.text: (float(text.get("x")), float(text.get("y"))) for text in root.iter(f"{SVG}text")}
    assert place["+.25"][0] < place["-.25"][0]
    assert place["+.25"][1] > place["-.25"][1], "y grows downwards"


def test_long_names_are_broken_and_stay_within_the_figure():
    said = [word for word in words(FIGURES["agreement"]()) if "-" in word or "_" in word]
    assert "".join(said).count("instruction_after") == 4
    assert max(map(len, said)) <= utility_figures.NAME + len("  4")
    assert not any("c1" in word for word in words(FIGURES["many"]())), "too many to name beside the map"
