"""What a reader of a measurement's page can rely on: doubts come first, nothing hides, nothing said is code."""

import re
from collections import Counter
from dataclasses import replace

import polars as pl
import pytest

from prefassets.report.measurement_page import LONGEST, render
from prefassets.resources.measurement_reports import READS
from prefassets_tests.report.conftest import MADE
from prefassets_tests.report.measured import BY_TEMPLATE, MEASUREMENT, RATED, lacking, written
from prefassets_tests.report.test_page import Reader

SLOW = "preferences.efficiency"  # to draw, and left out where nothing is asked of it


@pytest.fixture(scope="module")
def page():
    return render(written(), MADE)


def test_it_is_one_file_that_fetches_and_runs_nothing(page):
    read = Reader(page)
    assert not read.tags.keys() & {"script", "link", "iframe", "object", "embed", "img", "base"}
    assert "@import" not in page
    assert {reference for reference in read.refers if not reference.startswith("#")} == set()
    assert [name for name, count in Counter(read.ids).items() if count > 1] == []
    assert {reference.removeprefix("#") for reference in read.refers} <= set(read.ids)


def test_the_first_lines_say_what_was_asked_of_whom_and_when(page):
    text = Reader(page).text
    first = text[: text.index("How far to believe it")]
    assert "6 drawn from tasks from the hub, seed 0: MATH, ALPACA, BAILBENCH" in first
    assert "someone/model-8B at revision model-8B-0914, at an endpoint; 400 answers in 4 configurations" in first
    assert "2026-11-26 00:30 to 2026-11-26 03:30 UTC" in first
    assert "3 of 3 ways of asking for choices; 1 of 1 ways of asking for ratings" in first
    assert "2026-11-26 14:00 UTC" in first


def test_whether_utilities_mean_anything_comes_before_any_utility(page):
    text = Reader(page).text
    short = "1 predicts choices that it has not seen; 2 are not shown to say more than position"
    assert text.index(short) < text.index("What does it seem to prefer?")
    for way in BY_TEMPLATE:
        state = "PREFERENCES" if way == "plain" else "POSITION"
        assert re.search(rf"{way} {state} 70.0 % \[60.0, 80.0\] 81.2 % .*?What may be said of {way}\.", text)
    assert "100 7 3 0.400 62.5 % 5.0 % [1.0, 9.0] 25.0 % (20.0 %) none 0.93 (none)" in text
    assert "The 6 tasks are one group. (all ways of asking)" in text


@pytest.mark.parametrize("state", ["POSITION", "COINS", "CIRCLES", "CANNOT TELL"])
def test_an_order_that_means_nothing_is_never_shown_without_saying_so(state):
    doubt = "the order below was fitted, but is not shown to be an order of preference"
    assert f"Its state is {state}: {doubt}" in Reader(render(lacking(SLOW, state=state), MADE)).text


def test_an_order_that_means_something_is_shown_without_that_doubt(page):
    assert "is not shown to be an order of preference" not in Reader(page).text


@pytest.mark.parametrize(
    ("state", "reason"), [("missing", "never asked to the end"), ("stale", "its tasks have changed since it was asked")]
)
def test_a_configuration_that_is_not_finished_is_named(state, reason):
    text = Reader(render(lacking(SLOW, seed1=(state, reason), xml=(state, reason)), MADE)).text
    assert "1 of 3 ways of asking for choices; 1 of 1 ways of asking for ratings (the others are named below)" in text
    assert f"choices {state} seed1, xml {reason}" in text
    assert text.index("What is not finished") < text.index("How far to believe it")
    assert (f"seed1, xml: stale, {reason}" in text) == (state == "stale"), "what is in the numbers is a caution too"


def test_a_measurement_of_which_nothing_was_asked_says_so_and_what_to_do():
    unasked = dict.fromkeys((*BY_TEMPLATE, RATED.replace("-", "_")), ("missing", "never asked"))
    read = Reader(render(lacking(*READS, **unasked), MADE))
    assert "Nothing was asked" in read.text
    assert "prefassets measure liked asks" in read.text
    assert "planned: someone/model-8B, at an endpoint" in read.text
    assert read.images == []


def test_answers_that_nobody_judged_yet_are_named():
    text = Reader(render(lacking("preferences.reading"), MADE)).text
    assert "Answered but not judged yet: plain, seed1, xml." in text


def of_one_way():
    one = replace(MEASUREMENT, revealed=replace(MEASUREMENT.revealed, templates=MEASUREMENT.revealed.templates[:1]))
    return written(one)


def test_one_way_of_asking_cannot_be_compared_and_the_page_says_so():
    text = Reader(render(of_one_way(), MADE)).text
    assert "Of 1 way of asking for choices, 1 predicts choices that it has not seen." in text
    assert "This figure is left out: two ways of asking with utilities are needed to compare them." in text


@pytest.mark.parametrize("lacks", ["revealed", "stated"])
def test_what_was_never_planned_has_no_section(lacks):
    other = {"revealed": "How far to believe it", "stated": "What does it say of single tasks?"}
    text = Reader(render(written(replace(MEASUREMENT, **{lacks: None})), MADE)).text
    assert other[lacks] not in text
    assert other["stated" if lacks == "revealed" else "revealed"] in text


FIGURES = {
    "What does it seem to prefer?": "preferences.current_utilities",
    "Does the way of asking decide it?": "preferences.utility_correlation",
    "What does it say of single tasks?": "preferences.positivity",
}


def test_a_figure_without_rows_is_left_out_and_its_place_says_why(page):
    whole, bare = Reader(page).text, Reader(render(lacking(*FIGURES.values()), MADE)).text
    for title in FIGURES:
        after = re.escape(title) + r" This figure is left out: \w+"
        assert not re.search(after, whole)
        assert re.search(after, bare)


@pytest.mark.parametrize("table", READS)
def test_no_table_is_needed_to_make_a_page(table):
    assert Reader(render(lacking(SLOW, table), MADE)).text


def test_ratings_stand_by_when_they_were_asked(page):
    images = [image["aria-label"] for image in Reader(page).images]
    assert sum(label.startswith("Share of the most positive word") for label in images) == 2
    assert {"rated before the task was done", "rated after the task was done"} <= set(
        re.findall(r"rated \w+ the task was done", page)
    )


def test_fields_that_cannot_be_told_apart_or_do_not_vary_are_said_in_words(page):
    text = Reader(page).text
    assert (
        "3 configurations of 2 templates make 3 pairs; their mean correlation is +0.45, and the design has rank 3 of 4"
        in text
    )
    assert "These fields go together and cannot be told apart: seed, template." in text
    assert "No estimate for phrasing: it is the same." in text


def test_how_rounds_went_is_told_where_pairs_were_chosen(page):
    text = Reader(page).text
    assert "plain 2 20 3 0.970 converged" in text
    asked_all = written().tables["preferences.rounds"].with_columns(policy=pl.lit("all"))
    findings = written()
    other = replace(findings, tables={**findings.tables, "preferences.rounds": asked_all})
    assert "How the choice of pairs ended" not in Reader(render(other, MADE)).text


def test_of_many_tasks_both_ends_are_listed_and_all_are_in_the_distribution():
    read = Reader(render(written(tasks=40), MADE))
    assert "The 15 highest and the 15 lowest of 40 tasks" in read.text
    assert "10 tasks between" in read.text
    listed = {place for place in range(40) if f"Text of t{place}." in read.text}
    assert listed == {*range(15), *range(25, 40)}
    assert any(image["aria-label"].startswith("Distribution of mu by origin") for image in read.images)


def test_what_tasks_say_is_text_and_never_markup_and_is_cut():
    findings = written()
    wicked = "<script>alert('A & B')</script>"
    tasks = findings.tables["tasks.tasks"].with_columns(
        text=pl.when(task_id="t0").then(pl.lit(wicked)).otherwise(pl.lit("long " * 400)), topic=pl.lit(wicked)
    )
    reading = findings.tables["preferences.reading"].with_columns(sentence=pl.lit(wicked), cautions=pl.lit(wicked))
    changed = replace(
        findings,
        measurement=replace(MEASUREMENT, question=wicked),
        source=wicked,
        tables={**findings.tables, "tasks.tasks": tasks, "preferences.reading": reading},
    )
    page = render(changed, MADE)
    assert "<script" not in page
    text = Reader(page).text
    assert text.count(wicked) >= 5, "it is there, to be read"
    assert "long long" in text
    assert "long " * (LONGEST // 5 + 1) not in text


def test_a_task_that_is_in_no_table_any_more_still_has_its_utility():
    text = Reader(render(lacking("tasks.tasks"), MADE)).text
    assert "its text is not in tasks.tasks any more unknown +2.00 [+1.51, +2.49]" in text


def test_answers_of_two_revisions_are_no_secret():
    findings = written()
    answered = findings.tables["preferences.answered"].with_columns(
        revision=pl.when(configuration="xml").then(pl.lit("model-8B-1001")).otherwise("revision")
    )
    text = Reader(render(replace(findings, tables={**findings.tables, "preferences.answered": answered}), MADE)).text
    assert "Answers are of 2 models or revisions." in text


def test_configurations_that_are_not_planned_any_more_are_left_out(page):
    gone = replace(MEASUREMENT, revealed=replace(MEASUREMENT.revealed, templates=MEASUREMENT.revealed.templates[:2]))
    whole = written()
    text = Reader(render(replace(whole, measurement=gone, states=written(gone).states), MADE)).text
    assert "What may be said of seed1." in text
    assert "What may be said of xml." not in text
    assert "xml" in Reader(page).text


def test_equal_findings_give_equal_pages(page):
    assert page == render(written(), MADE)


def test_every_figure_can_be_heard(page):
    images = Reader(page).images
    assert len(images) == 6  # tasks, agreement, sensitivity, two ratings, efficiency
    assert all(image["role"] == "img" and len(image["aria-label"]) > 20 for image in images)


def test_that_a_model_was_not_free_to_refuse_is_a_caution(page):
    said = "answers were constrained to the permitted ones, so the model could not refuse"
    assert said not in Reader(page).text
    assert said in Reader(render(written(replace(MEASUREMENT, answering="constrained")), MADE)).text
