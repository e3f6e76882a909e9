"""What the figures of Arena keep: what knows nothing never looks like a model, and nothing hides off an axis."""

import re
from xml.etree import ElementTree

import polars as pl
import pytest

from prefassets.report import arena_figures
from prefassets.report.arena_figures import Predictor
from prefassets.report.drawing import FAINT, INK
from prefassets_tests.report import arena

SVG = "{http://www.w3.org/2000/svg}"
BASE = "Qwen/Qwen2.5-0.5B-Instruct@1024:bfloat16:report"
GREEN = arena_figures.OF_BASE.lower()  # as it is written in an SVG
LORA = Predictor("lora", "recipe", "lora")
PREDICTORS = [
    LORA,
    Predictor(BASE, "base", "Qwen2.5-0.5B-Instruct"),
    Predictor("length_and_words", "baseline", "length and words"),
    Predictor("prior", "baseline", "class prior"),
]
PRIOR = {"log_loss": 1.0972, "accuracy": 0.349}
SCORES = arena.frame("arena.comparison", arena.comparison(("lora",)))
BREAKDOWN = arena.frame("arena.breakdown", arena.breakdown(("lora",)))
CURVE = arena.frame("arena.curve", arena.curve(("lora",))).filter(pl.col("step") <= 400)
CALIBRATION = arena.frame("arena.calibration", arena.calibration(("lora",))).filter(predictor="lora")
CONFUSION = arena.frame("arena.confusion", arena.confusion(("lora",))).filter(predictor="lora", orders="both")
PAIRS = BREAKDOWN.filter(pl.col("value").str.contains(" vs "), predictor="lora").sort("log_loss")
SWEEP = pl.DataFrame(
    {
        "recipe": ["rank_32", "qlora"],
        "changes": ["rank: 16 -> 32; alpha: 32 -> 64", "quantised: False -> True"],
        "than_variant": [-0.02, 0.001],
        "than_variant_lower": [-0.03, -0.009],
        "than_variant_upper": [-0.01, 0.011],
        "than_variant_widened_lower": [-0.035, -0.014],
        "than_variant_widened_upper": [-0.005, 0.016],
        "against_variant": ["better", "not shown to differ"],
    }
)


def curve(rows=CURVE, kept=(250,), limits=None):
    limits = limits or arena_figures.curve_limits(rows, PRIOR)
    return arena_figures.curve(rows, list(kept), PRIOR, limits, "curve", "demo_lora")


def by_length(rows=BREAKDOWN):
    return arena_figures.breakdown(rows.filter(dimension="length"), PREDICTORS, "by-length", "which answer is longer")


FIGURES = {
    "comparison": lambda: arena_figures.comparison(SCORES, PREDICTORS),
    "breakdown": by_length,
    "pairs": lambda: arena_figures.pairs(PAIRS, PRIOR),
    "sweep": lambda: arena_figures.sweep(SWEEP),
    "curve": curve,
    "curve_key": arena_figures.curve_key,
    "calibration": lambda: arena_figures.calibration(CALIBRATION, 82.0, "calibration", "lora"),
    "confusion": lambda: arena_figures.confusion(CONFUSION, "confusion", "lora"),
}


def root(svg):
    return ElementTree.fromstring(svg)


def words(svg):
    return [text.text for text in root(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", FIGURES)
def test_it_is_valid_svg_as_wide_as_a_phone_can_be_heard_and_equal_rows_give_equal_bytes(name):
    svg = FIGURES[name]()
    assert root(svg).tag == f"{SVG}svg"
    assert float(root(svg).get("viewBox").split()[2]) <= 4 * 72
    assert len(root(svg).get("aria-label")) > 40
    assert not any("mathdefault" in (word or "") for word in words(svg))
    assert svg == FIGURES[name]()


def style(element, what):
    found = re.search(rf"(?<![\w-]){what}: ([^;]+)", element.get("style") or "")
    return found[1] if found else None


def marks(svg):
    """(face, edge, x) of every mark that is drawn at a point; ticks and what the legend shows are thinner."""
    return [
        (style(use, "fill"), style(use, "stroke"), float(use.get("x")))
        for use in root(svg).iter(f"{SVG}use")
        if style(use, "stroke-width") == "1.2"
    ]


def level_lines(svg, dashes):
    """Left end and right end, upper and lower, of every line with such dashes."""
    return [
        tuple(float(word) for word in path.get("d").split() if word not in "ML")
        for path in root(svg).iter(f"{SVG}path")
        if (style(path, "stroke-dasharray") or "").startswith(dashes)
    ]


def at(svg, first, second):
    """How to find the place of a value on the axis that has these two ticks."""
    ticks = [(text.text, float(text.get("x"))) for text in root(svg).iter(f"{SVG}text")]
    (one,), (other,) = ([x for word, x in ticks if word == tick] for tick in (first, second))
    return lambda value: one + (other - one) * (value - float(first)) / (float(second) - float(first))


@pytest.mark.parametrize("name", ["comparison", "breakdown"])
def test_a_baseline_never_looks_like_a_model(name):
    """Of either of two baselines, a mark in both columns: one, or one for each kind of battle."""
    found = [(face, edge) for face, edge, _ in marks(FIGURES[name]())]
    grey = [look for look in found if FAINT in look]
    assert {(INK, INK), (GREEN, GREEN)} <= set(found)
    assert grey == [("#ffffff", FAINT)] * 2 * 2 * (len(arena.LENGTHS) if name == "breakdown" else 1)


def test_what_is_judged_is_filled_and_one_order_is_hollow():
    svg = arena_figures.comparison(SCORES.filter(pl.col("predictor") != BASE), PREDICTORS)
    left = min(x for _, _, x in marks(svg))
    (judged,) = SCORES.filter(predictor="lora", orders="both", metric="log_loss")["estimate"]
    (given,) = SCORES.filter(predictor="lora", orders="given", metric="log_loss")["estimate"]
    assert judged < given
    filled, hollow = (
        min(x for face, edge, x in marks(svg) if (face, edge) == look) for look in ((INK, INK), ("#ffffff", INK))
    )
    assert left == filled < hollow


def test_a_model_that_was_asked_in_one_order_only_is_judged_by_that():
    svg = arena_figures.comparison(SCORES.filter(orders="given"), [LORA, *PREDICTORS[2:]])
    assert (INK, INK) in {look[:2] for look in marks(svg)}
    assert ("#ffffff", INK) not in {look[:2] for look in marks(svg)}
    assert "answers in one order only" not in words(svg)


def test_points_bars_and_the_class_prior_lie_where_their_numbers_say():
    svg = FIGURES["comparison"]()
    place = at(svg, "1.05", "1.10")
    (judged,) = SCORES.filter(predictor="lora", orders="both", metric="log_loss").to_dicts()
    assert any(x == pytest.approx(place(judged["estimate"]), abs=0.05) for _, _, x in marks(svg))
    bars = [
        [float(word) for word in path.get("d").split() if word not in "ML"][::2]
        for path in root(svg).iter(f"{SVG}path")
        if style(path, "stroke-width") == "1.6" and path.get("d").count("L") == 1
    ]
    assert any(bar == pytest.approx([place(judged["lower"]), place(judged["upper"])], abs=0.05) for bar in bars)
    assert any(line[0] == line[2] == pytest.approx(place(1.0972), abs=0.05) for line in level_lines(svg, "4"))


def test_a_log_loss_beyond_all_others_stays_at_the_edge_with_its_number_and_does_not_squeeze_them():
    wild = SCORES.with_columns(
        estimate=pl.when(predictor=BASE, metric="log_loss").then(7.5).otherwise("estimate"),
        upper=pl.when(predictor=BASE, metric="log_loss").then(8.5).otherwise("upper"),
    )
    svg = arena_figures.comparison(wild, PREDICTORS)
    assert words(svg).count("7.50") == 2, "in either order"
    place = at(svg, "1.05", "1.10")
    assert place(1.0972) - place(1.007) > 30, "points; on an axis that reaches to 8.5 it would be two"


def test_what_is_worse_than_the_class_prior_by_little_stays_on_the_axis():
    near = SCORES.with_columns(
        estimate=pl.when(predictor=BASE, metric="log_loss").then(1.11).otherwise("estimate"),
        upper=pl.when(predictor=BASE, metric="log_loss").then(1.115).otherwise("upper"),
    )
    assert "1.11" not in words(arena_figures.comparison(near, PREDICTORS))


def test_a_predictor_without_scores_keeps_its_row():
    svg = arena_figures.comparison(SCORES, [LORA, Predictor("larger_model", "recipe", "larger_model"), *PREDICTORS[1:]])
    assert "larger_model" in words(svg)
    assert words(svg).count("not scored") == 1


def test_a_kind_of_battle_without_an_interval_is_drawn_without_a_bar():
    (row,) = BREAKDOWN.filter(predictor="lora", value="one is empty").to_dicts()
    assert row["log_loss_lower"] is None
    rows = BREAKDOWN.filter(dimension="answers")
    svg = arena_figures.breakdown(rows, PREDICTORS, "by-answers", "what the answers are")
    assert {"one is empty", "9 battles", "11,445 battles"} <= set(words(svg))
    assert len([look for look in marks(svg) if look[:2] == (INK, INK)]) == 2 * 3


def test_of_many_pairs_both_ends_are_shown_and_of_few_all():
    said = words(FIGURES["pairs"]())
    assert "24 pairs between" in said
    assert "gpt-4-1106-preview" in said
    best, between, worst = PAIRS["battles"][0], PAIRS["battles"][20], PAIRS["battles"][39]
    assert any(word.endswith(f"({best})") for word in said)
    assert any(word.endswith(f"({worst})") for word in said)
    assert not any(word.endswith(f"({between})") for word in said)
    few = words(arena_figures.pairs(PAIRS.head(3), PRIOR))
    assert not any("between" in word for word in few)
    assert sum(word.endswith(")") for word in few) == 3


def test_the_longest_names_stay_left_of_the_axes():
    """A letter of that size is .056 inches wide on average; 31 of them reach to the axes of pairs."""
    longest = PAIRS.with_columns(value=pl.lit(f"{'m' * 60} vs {'w' * 60}"))
    assert (
        max(len(word) for word in words(arena_figures.pairs(longest, PRIOR)) if "m" * 9 in word or "w" * 9 in word)
        <= 31
    )
    called = Predictor("lora", "recipe", "a_recipe_that_changes_a_great_many_things_at_once")
    lines = [word for word in words(arena_figures.comparison(SCORES, [called, *PREDICTORS[1:]])) if "_" in word]
    assert "".join(lines) == called.called
    assert max(map(len, lines)) <= arena_figures.NAME


def test_a_change_is_filled_only_where_it_is_shown_to_differ_among_all():
    svg = FIGURES["sweep"]()
    assert [look[0] for look in marks(svg)] == [INK, "#ffffff"]
    assert {"rank_32", "-0.020 [-0.030, -0.010]", "rank: 16 -> 32; alpha: 32 -> 64"} <= set(words(svg))


def test_the_step_that_is_kept_has_a_ring_at_its_validation():
    svg = curve(kept=(250,))
    assert "step; kept: 250" in words(svg)
    rings = [float(use.get("x")) for use in root(svg).iter(f"{SVG}use") if style(use, "stroke-width") == "1.4"]
    place = at(svg, "100", "400")
    assert rings == [pytest.approx(place(250), abs=0.05)] * 2, "loss and accuracy"
    assert "kept" not in "".join(words(curve(kept=())))


def test_batches_beyond_the_axis_are_drawn_at_its_edge():
    spike = CURVE.with_columns(loss=pl.when(pl.col("step") == 3).then(50.0).otherwise("loss"))
    limits = arena_figures.curve_limits(CURVE, PRIOR)
    heights = [
        float(use.get("y"))
        for use in root(curve(spike, limits=limits)).iter(f"{SVG}use")
        if style(use, "fill") == arena_figures.DOT
    ]
    assert min(heights) >= 72 * 0.26 - 0.1, "inches from the top: the title"


def test_a_recipe_of_several_adapters_has_a_line_each_and_one_that_never_looked_at_validation_has_none():
    three = pl.concat([CURVE.with_columns(adapter=pl.lit(place, pl.Int64)) for place in range(3)])
    lines = [
        path for path in root(curve(three, kept=(250,) * 3)).iter(f"{SVG}path") if style(path, "stroke-width") == "1.1"
    ]
    of_training = [path for path in lines if style(path, "stroke") == INK]
    assert len(of_training) == 2 * 3
    blind = CURVE.with_columns(
        validation_log_loss=pl.lit(None, pl.Float64), validation_accuracy=pl.lit(None, pl.Float64)
    )
    assert GREEN in curve()
    assert GREEN not in curve(blind)


def test_a_and_b_keep_their_colours_and_shares_are_of_the_row():
    svg = FIGURES["calibration"]().upper()
    assert "#0072B2" in svg
    assert "#D55E00" in svg
    said = words(FIGURES["confusion"]())
    assert {"52 %", "30 %", "18 %", "27 %", "2,100"} <= set(said), "2,100 of 4,012 battles that A won"
    assert {"A won", "says A", "a tie", "4,012"} <= set(said)


def test_a_winner_that_never_won_does_not_break_the_figure():
    none = CONFUSION.filter(pl.col("winner") != "tie")
    assert "0 %" in words(arena_figures.confusion(none, "confusion", "lora"))
