"""What the figures of probes keep: a baseline never looks like a probe, and what chance gives never looks like more."""

import re
from xml.etree import ElementTree

import polars as pl
import pytest

from prefassets.report import probe_figures
from prefassets.report.drawing import FAINT, INK
from prefassets_tests.report import probed

SVG = "{http://www.w3.org/2000/svg}"
TABLES = probed.tables(splits=("personalisation", "age"))
BEST = (probed.BEST["layer"], probed.BEST["position"])
OF_LAYER = [(target, kind, *BEST) for target, kind in probed.TARGETS.items()]
OF_TARGET = [("valence", "ridge", *place) for place in probed.PLACES]


def words(svg):
    return [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def of(table, **where):
    return TABLES[f"probes.{table}"].filter(**where)


def beside(readings=None, scores=None):
    readings = of("reading", target="valence") if readings is None else readings
    return probe_figures.beside_baselines(readings, of("score") if scores is None else scores, "beside")


def adapters(rows=None, splits=("personalisation", "age")):
    rows = of("adapter", quantity="contrast") if rows is None else rows
    return probe_figures.adapters(rows, splits, "adapters", "A - B", "standard deviations")


def places(rows=None, span=0.3):
    rows = of("against_baselines", target="valence") if rows is None else rows
    return probe_figures.places(rows, span, "places", "valence")


FIGURES = {
    "sweep": lambda: probe_figures.sweep(of("sweep", target="valence"), BEST, "sweep", "valence"),
    "beside": beside,
    "choices": lambda: beside(of("reading", target="choices")),
    "places": places,
    "many_layers": lambda: places(
        pl.concat(
            [of("against_baselines", target="valence").with_columns(layer=pl.lit(n, pl.Int64)) for n in range(33)]
        )
    ),
    "cosines": lambda: probe_figures.cosines(of("cross"), OF_LAYER, "cosines", "layer 12"),
    "transfers": lambda: probe_figures.transfers(of("cross"), OF_LAYER, "transfers", "layer 12"),
    "agreements": lambda: probe_figures.agreements(of("cross"), OF_TARGET, "agreements", "valence"),
    "adapters": adapters,
}


@pytest.mark.parametrize("name", FIGURES)
def test_it_is_valid_svg_as_wide_as_a_phone_can_be_heard_and_equal_rows_give_equal_bytes(name):
    svg = FIGURES[name]()
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    assert float(root.get("viewBox").split()[2]) <= 4 * 72
    assert len(root.get("aria-label")) > 40
    assert not any("mathdefault" in (word or "") for word in words(svg))
    assert svg == FIGURES[name]()


def marks(svg):
    """The colours (face, edge) of every mark that is drawn at a point."""
    root = ElementTree.fromstring(svg)
    return [
        (re.search(r"fill: (#\w+)", use.get("style"))[1], re.search(r"stroke: (#\w+)", use.get("style"))[1])
        for use in root.iter(f"{SVG}use")
        if "stroke-width: 1.2" in (use.get("style") or "")  # ticks and what the legend shows are thinner
    ]


def test_a_baseline_is_never_drawn_as_a_probe():
    """Two marks are read off activations, all of them and within topics; five are baselines."""
    found = marks(beside())
    own, baseline = (INK, INK), ("#ffffff", FAINT)
    assert (found.count(own), found.count(baseline)) == (2, 5)
    assert set(found) == {own, baseline}


def test_every_baseline_is_named_with_its_number_and_one_that_was_not_fitted_is_not():
    said = words(beside())
    assert {"topic alone", "length alone", "text alone", "random activations", "shuffled labels"} <= set(said)
    assert {".26 [.19, .33]", ".18 [.16, .20]", "-.01 [-.03, .01]", ".00 [-.02, .02]"} <= set(said)
    without = of("score").filter(pl.col("features") != "topic")
    assert "topic alone" not in words(beside(scores=without))


def test_a_probe_is_compared_at_its_own_layer_and_position():
    """Of a baseline that is told once for all of them, that is taken."""
    elsewhere = of("score").filter((pl.col("features") != "length") | (pl.col("layer") == 8))
    other = elsewhere.with_columns(
        estimate=pl.when(pl.col("layer") == 8, features="text").then(0.99).otherwise("estimate")
    )
    heard = ElementTree.fromstring(beside(scores=other)).get("aria-label")
    assert "text alone 0.16" in heard
    assert "length alone 0.03" in heard


def x_of(svg, colour):
    """Left and right end of every horizontal bar of that colour, as drawn."""
    found = []
    for path in ElementTree.fromstring(svg).iter(f"{SVG}path"):
        line = re.fullmatch(r"M (\S+) (\S+)\s+L (\S+) (\S+)\s*", path.get("d"))
        if line and f"stroke: {colour}; stroke-width: 1.6" in (path.get("style") or ""):
            found.append((float(line[1]), float(line[3])))
    return found


def test_bars_lie_where_their_numbers_say():
    svg = beside()
    root = ElementTree.fromstring(svg)
    ticks = {text.text: float(text.get("x")) for text in root.iter(f"{SVG}text") if text.text in ("0.0", "0.2")}
    per = (ticks["0.2"] - ticks["0.0"]) / 0.2
    expected = [ticks["0.0"] + per * end for end in (0.19, 0.33)]
    assert any(bar == pytest.approx(expected, abs=0.05) for bar in x_of(svg, INK)), x_of(svg, INK)


def test_a_baseline_that_fails_wildly_does_not_squeeze_the_others_and_keeps_its_number():
    wild = of("score").with_columns(
        estimate=pl.when(features="length").then(-30.5).otherwise("estimate"),
        lower=pl.when(features="length").then(-40.0).otherwise("lower"),
    )
    svg = beside(scores=wild)
    assert "-30.50 [-40.00, .05]" in words(svg)
    beyond_all_sense = wild.with_columns(estimate=pl.when(features="length").then(-2.7e23).otherwise("estimate"))
    assert "-3e+23 [-40.00, .05]" in words(beside(scores=beyond_all_sense))
    left, right = next(bar for bar in x_of(svg, INK))
    assert right - left > 20, "points; at the scale of the outlier it would be one"


def test_what_has_no_estimate_says_so():
    gone = of("reading", target="valence").with_columns(
        pl.lit(None, pl.Float64).alias(name) for name in ("estimate", "widened_lower", "widened_upper")
    )
    assert "cannot be told" in words(beside(gone))


def test_the_map_is_bold_above_chance_and_framed_beyond_every_baseline():
    rows = of("against_baselines", target="valence").with_columns(
        above_chance=pl.col("layer") == 12, beyond_baselines=(pl.col("layer") == 12) & (pl.col("position") == BEST[1])
    )
    root = ElementTree.fromstring(places(rows))
    bold = [text.text for text in root.iter(f"{SVG}text") if "font-weight: 700" in (text.get("style") or "")]
    assert sorted(bold) == [".21", ".26", "valence"]
    framed = [path for path in root.iter(f"{SVG}path") if "stroke-width: 1.3" in (path.get("style") or "")]
    assert len(framed) == 1
    assert "12, response last 0.26 beyond every baseline" in root.get("aria-label")


def test_positions_stand_as_they_come_in_a_text_and_layers_get_deeper_upwards():
    root = ElementTree.fromstring(places())
    at = {text.text: (float(text.get("x")), float(text.get("y"))) for text in root.iter(f"{SVG}text") if text.get("x")}
    assert at["12"][1] < at["8"][1], "y grows downwards"
    names = [word for word in words(places()) if word in ("prompt", "response")]
    assert names == ["prompt", "response"]


def test_one_colour_is_one_distance_from_chance_in_all_maps_of_a_metric():
    spans = probe_figures.spans(of("against_baselines"))
    assert spans == pytest.approx({"r_squared": 0.26, "pairwise_accuracy": 0.26})
    flat = of("against_baselines").with_columns(estimate=pl.col("chance") + 0.01)
    assert set(probe_figures.spans(flat).values()) == {probe_figures.LEAST_SPAN}, "what hardly differs is pale"


def test_the_sweep_names_what_its_band_is_of_and_counts_the_others():
    said = words(FIGURES["sweep"]())
    assert {
        "inner folds, layer 12, response last",
        "the rows it was fitted to",
        "the 3 other layers and positions",
    } <= set(said)
    heard = ElementTree.fromstring(FIGURES["sweep"]()).get("aria-label")
    assert "highest 0.25 at penalty 1e+03, where fitted rows have 0.60" in heard


def test_cosines_are_told_once_and_transfer_both_ways():
    assert words(FIGURES["cosines"]()).count("+.30") == 1
    svg = FIGURES["transfers"]()
    assert {"+.41", "+.23"} <= set(words(svg))
    assert words(svg).count("+.50") == 2, "each probe on its own target"


def test_what_chance_gives_is_faded():
    by_chance = [(target, kind, 12, "prompt_last") for target, kind in probed.TARGETS.items()]

    def ink(svg, word):
        (text,) = (text for text in ElementTree.fromstring(svg).iter(f"{SVG}text") if text.text == word)
        return re.search(r"fill: (#\w+)", text.get("style"))[1]

    assert ink(probe_figures.cosines(of("cross"), by_chance, "c", "layer 12"), "+.01") != INK
    assert ink(FIGURES["cosines"](), "+.30") == INK
    assert ink(FIGURES["transfers"](), "+.41") == INK
    for other in ({"lower": pl.lit(-0.1)}, {"transfer_by_chance": pl.lit(0.45)}):
        faded = of("cross").with_columns(**other)
        assert ink(probe_figures.transfers(faded, OF_LAYER, "t", "layer 12"), "+.41") != INK


def test_how_probes_of_one_target_agree_is_told_once_for_each_two_of_them():
    assert words(FIGURES["agreements"]()).count("+.77") == 6


def test_adapters_have_a_filled_mark_only_where_the_interval_leaves_out_zero():
    found = marks(adapters())
    assert found.count((INK, INK)) == 4, "age, at four layers and positions"
    assert found.count(("#ffffff", INK)) == 4, "personalisation"


def test_a_split_of_which_nothing_is_known_keeps_its_place_and_says_why():
    rows = of("adapter", quantity="contrast").with_columns(
        estimate=pl.when(split="age").then(None).otherwise("estimate"),
        note=pl.when(split="age").then(pl.lit("no seed has adapters of both A and B")).otherwise("note"),
    )
    said = words(adapters(rows, ("personalisation", "age", "region")))
    assert {"age", "no seed has adapters of both A and B", "region", "nothing measured yet"} <= set(said)
