"""What a reader of the page of Arena can rely on: no recipe hides, no noise is a signal, nothing said is code."""

import re
from collections import Counter
from dataclasses import replace

import polars as pl
import pytest

from prefassets.arena_recipes import all_recipes
from prefassets.domain.arena.prompt import PROMPTS
from prefassets.report.arena_page import render
from prefassets.resources.arena_reports import READS
from prefassets_tests.report import arena
from prefassets_tests.report.conftest import MADE
from prefassets_tests.report.test_page import Reader

RECIPES = len(all_recipes())
SLOW = (
    "arena.curve",
    "arena.breakdown",
    "arena.calibration",
    "arena.confusion",
)  # to draw; left out where not asked of


@pytest.fixture(scope="module")
def page():
    return render(arena.written(), MADE)


def text_of(finished=("lora",), lacking=SLOW, **changed):
    return Reader(render(arena.written(finished, lacking, **changed), MADE)).text


def with_table(name, rows, finished=("lora",)):
    findings = arena.written(finished, SLOW)
    return replace(findings, tables={**findings.tables, name: rows})


def test_it_is_one_file_that_fetches_and_runs_nothing(page):
    read = Reader(page)
    assert not read.tags.keys() & {"script", "link", "iframe", "object", "embed", "img", "base"}
    assert "@import" not in page
    assert {reference for reference in read.refers if not reference.startswith("#")} == set()
    assert [name for name, count in Counter(read.ids).items() if count > 1] == []
    assert {reference.removeprefix("#") for reference in read.refers} <= set(read.ids)


def test_the_first_lines_say_from_which_battles_on_what_and_when(page):
    text = Reader(page).text
    first = text[: text.index("What is not finished")]
    assert "battles from hub, seed 0: 57,477 battles of 64 models on 51,729 prompts; 5 rows left out" in first
    assert "11,495 held-out battles on 10,346 prompts that nothing was trained on" in first
    assert "Qwen/Qwen2.5-0.5B-Instruct at revision 7ae557604adf; 4 recipes on NVIDIA H100" in first
    assert "2026-11-26 09:30 to 2026-11-26 12:30 UTC" in first
    assert f"4 of {RECIPES} recipes (the others are named below)" in first
    assert "2026-11-26 14:00 UTC" in first


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("missing", "it was never trained"),
        ("unscored", "it has not predicted today's held-out battles"),
        ("stale", "rank: 16 -> 32"),
    ],
)
def test_a_recipe_that_is_not_finished_never_hides(state, reason):
    text = text_of(qlora=(state, reason))
    assert f"1 of {RECIPES} recipes (the others are named below)" in text
    box = text[text.index("What is not finished") : text.index("What was asked, and of which battles?")]
    assert re.search(rf"{state} [^.]*qlora[^.]* {re.escape(reason)}", box)
    sweep = text[text.index("What does each change of the recipe give?") :]
    assert f"qlora {state}" in sweep
    assert f"Not drawn are the recipes that are not finished: {RECIPES - 1} of {RECIPES}." in text
    assert (f"qlora: stale, {reason}" in text) == (state == "stale"), "a caution too: it looks as if it were there"


def test_every_recipe_is_named_whatever_its_state(page):
    text = Reader(page).text
    for name, recipe in all_recipes().items():
        state = "finished" if name in arena.FINISHED else "missing"
        assert re.search(rf"{name} {re.escape(recipe.question)} .{{0,400}}? {state}", text), name


def test_a_home_in_which_nothing_is_known_of_recipes_takes_none_for_finished():
    text = text_of((), lacking=(*SLOW, "arena.comparison", "arena.adapter", "arena.reading"))
    assert f"0 of {RECIPES} recipes" in text
    assert "nothing yet" in text
    assert "Nothing is judged yet" in text
    assert "prefassets arena run RECIPE trains one and judges it." in text
    assert "What does each change of the recipe give?" not in text


def test_a_recipe_that_is_newer_than_what_is_known_of_recipes_is_not_taken_for_finished():
    older = arena.written(("lora",)).tables["arena.sweep"].filter(pl.col("recipe") != "qlora")
    text = Reader(render(with_table("arena.sweep", older), MADE)).text
    assert "unknown qlora arena/sweep does not have it yet" in text
    assert f"{RECIPES - 1} of {RECIPES}." in text


def test_what_may_be_said_comes_before_where_and_how(page):
    text = Reader(page).text
    short = "Of 5 models, 4 predict beyond lengths and words; 1 predicts worse than the class prior."
    assert text.index(short) < text.index("Where is it right, and where not?")
    for name in arena.FINISHED:
        assert re.search(rf"{name} SIGNAL \d\.\d{{3}} \[.*?What may be said of {name}\.", text)
    assert "Qwen2.5-0.5B-Instruct (base model, not finetuned) WORSE 1.307 [1.299, 1.315] 32.9 [32.0, 33.8]" in text


@pytest.mark.parametrize("state", ["BASELINE", "NOT SHOWN", "WORSE", "CANNOT TELL"])
def test_nothing_is_called_a_signal_that_is_not(state):
    readings = arena.written(("lora",)).tables["arena.reading"].with_columns(state=pl.lit(state))
    text = Reader(render(with_table("arena.reading", readings), MADE)).text
    assert re.search(rf"lora {state} 1\.007", text)
    assert "beyond lengths and words" not in text
    assert "lora SIGNAL" not in text


def test_numbers_are_those_of_both_orders_as_the_reading_is_and_baselines_stand_in_the_same_table(page):
    text = Reader(page).text
    assert "lora SIGNAL 1.007 [0.999, 1.015]" in text, "of one order it is 1.010"
    assert "-0.300 [-0.309, -0.291] 1.010 [1.002, 1.018] 71.0 % +0.042" in text, "and that is said beside it"
    assert "class prior (baseline) 1.097 [1.089, 1.105] 34.9 [34.0, 35.8]" in text
    assert "length and words (baseline) 1.017 [1.009, 1.025]" in text
    assert "-0.087 [-0.096, -0.078] -0.007 [-0.016, +0.002]" in text, "the intervals that hold for all models"


def test_the_best_is_on_top_and_is_looked_at_closely_and_the_page_says_that_it_was_chosen_after_looking(page):
    text = Reader(page).text
    assert text.index("What may be said of averaged.") < text.index("What may be said of lora.")
    assert "Shown is averaged, the recipe with the lowest log loss above, so chosen after looking" in text
    labels = [image["aria-label"] for image in Reader(page).images]
    assert [label for label in labels if label.startswith("Calibration, averaged")]
    assert not [label for label in labels if label.startswith("Calibration, lora")]


def test_where_no_recipe_is_finished_the_base_model_is_looked_at():
    findings = arena.written(("lora",))
    tables = {
        name: rows.filter(pl.col("predictor") != "lora") if "predictor" in rows.columns else rows
        for name, rows in findings.tables.items()
    }
    text = Reader(render(replace(findings, tables=tables), MADE)).text
    assert "Shown is Qwen2.5-0.5B-Instruct, a base model, as no recipe is finished yet" in text


def test_pairs_that_are_extreme_by_chance_are_counted(page):
    text = Reader(page).text
    assert "the 8 that it predicts worst, of 40 with 20 held-out battles or more" in text
    assert re.search(r"of 40 intervals \d+ leave out the log loss of all battles, where about 2 would", text)


def test_base_models_that_differ_only_in_how_they_are_asked_are_told_apart():
    names = ("Qwen/Q-1B@1024:bfloat16:report", "Qwen/Q-1B@1024:bfloat16:short", "tiny@256:float32:short")
    findings = arena.written(("lora",), SLOW)
    of_base = findings.tables["arena.comparison"].filter(pl.col("predictor").str.contains("@"))
    scores = pl.concat(of_base.with_columns(predictor=pl.lit(name)) for name in names)
    text = Reader(render(with_table("arena.comparison", scores), MADE)).text
    for called in ("Q-1B, report prompt", "Q-1B, short prompt", "tiny"):
        assert f"{called} (base model, not finetuned)" in text


def test_how_training_went_is_said_in_the_reports_numbers_and_in_means(page):
    """A loss of 1.35 that falls to 1.00; the mean of the first 50 of 1,000 steps is 1.27."""
    text = Reader(page).text
    assert re.search(r"lora 1\.26\d 1\.000 2[01]\.\d % ", text)
    assert "averaged, adapter 3" in text
    assert "The same of single steps, as the report counts" in text
    assert sum(label.startswith("Training of") for label in (image["aria-label"] for image in Reader(page).images)) == 4


def test_what_was_dropped_is_said_with_examples(page):
    text = Reader(page).text
    assert "two winners 3 id 12: A and tie; line 77: A and B" in text
    assert "No row of the source was left out." in text_of(lacking=(*SLOW, "arena.dropped"))


def test_the_prompt_that_was_used_is_shown_to_the_letter(page):
    assert PROMPTS["report"].template.split("\n")[0] in Reader(page).text
    assert "The prompt report, 1024 tokens at most" in Reader(page).text
    assert PROMPTS["short"].template not in Reader(page).text, "nothing that is scored was asked by it"
    assert "<Q>{prompt}</Q>" in text_of(("demo_lora",))


FIGURES = {
    "What does each change of the recipe give?": "arena.sweep",
    "How did training go?": "arena.curve",
    "beside its base model and baselines.": "arena.breakdown",
}


def test_a_figure_without_rows_is_left_out_and_its_place_says_why(page):
    bare = Reader(render(arena.written(("lora",), ("arena.curve", "arena.breakdown", "arena.difference")), MADE)).text
    for before in FIGURES:
        after = re.escape(before) + r" This figure is left out: \w+"
        assert not re.search(after, Reader(page).text)
        assert re.search(after, bare)


@pytest.mark.parametrize("table", READS)
def test_no_table_is_needed_to_make_a_page(table):
    assert text_of(lacking=(*SLOW, table))


def test_what_is_never_scored_beside_a_baseline_does_not_break_the_page():
    without = arena.written(("lora",), SLOW).tables["arena.comparison"].filter(pl.col("predictor") == "lora")
    assert "lora SIGNAL" in Reader(render(with_table("arena.comparison", without), MADE)).text


def test_what_people_wrote_is_text_and_never_markup():
    wicked = "<script>alert('A & B')</script>"
    findings = arena.written(("lora",), SLOW)
    tables = {
        "arena.reading": findings.tables["arena.reading"].with_columns(
            sentence=pl.lit(wicked), cautions=pl.lit(wicked)
        ),
        "arena.recipe": findings.tables["arena.recipe"].with_columns(question=pl.lit(wicked)),
        "arena.dropped": findings.tables["arena.dropped"].with_columns(
            reason=pl.lit(wicked), examples=pl.lit([wicked])
        ),
        "arena.adapter": findings.tables["arena.adapter"].with_columns(device=pl.lit(wicked)),
    }
    page = render(replace(findings, source=wicked, tables={**findings.tables, **tables}), MADE)
    assert "<script" not in page
    assert Reader(page).text.count(wicked) >= 7, "it is there, to be read"


def test_with_twenty_recipes_the_long_lists_are_folded_and_all_are_drawn():
    read = Reader(render(arena.written(tuple(all_recipes()), SLOW), MADE))
    assert "What is not finished" not in read.text
    assert f"{RECIPES} recipes, and what each is to find out" in read.text
    (comparison,) = (image["aria-label"] for image in read.images if image["aria-label"].startswith("Log loss and"))
    for name in all_recipes():
        assert f"{name} 0.9" in comparison or f"{name} 1.0" in comparison


def test_equal_findings_give_equal_pages():
    assert render(arena.written(("demo_lora",), SLOW), MADE) == render(arena.written(("demo_lora",), SLOW), MADE)


def test_every_figure_can_be_heard(page):
    images = Reader(page).images
    # comparison, five breakdowns, pairs, calibration and confusion of three, sweep, key and four curves
    assert len(images) == 1 + 5 + 1 + 2 * 3 + 1 + 1 + 4
    assert all(image["role"] == "img" and len(image["aria-label"]) > 20 for image in images)
