"""What a reader of a study's page can rely on: nothing hides, nothing is fetched, nothing said is code."""

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import polars as pl
import pytest

from prefassets.report.drawing import FAINT, INK
from prefassets.report.page import _shade, render
from prefassets.resources.reports import READS
from prefassets.studies import wpo_demo
from prefassets_tests.report.conftest import MADE, STATES, written


@pytest.fixture(scope="module")
def page():
    """The page of the finished study."""
    return render(written(), MADE)


class Reader(HTMLParser):
    """Everything that a browser would take from the page, and its text as a person reads it."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.ids, self.refers, self.text, self.images = Counter(), [], [], "", []
        self.feed(page)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        self.text += " " * (tag in ("td", "th"))
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            elif name in ("href", "xlink:href", "src", "srcset", "data", "action"):
                self.refers.append(value)
            self.refers += re.findall(r"url\((.*?)\)", value or "")
        if tag == "svg":
            self.images.append(dict(attributes))

    def handle_data(self, data):
        self.text += data


def test_it_is_one_file_that_fetches_and_runs_nothing(page):
    read = Reader(page)
    assert not read.tags.keys() & {"script", "link", "iframe", "object", "embed", "img", "base"}
    assert "@import" not in page
    assert read.refers, "figures refer to their own parts"
    assert {reference for reference in read.refers if not reference.startswith("#")} == set()


def test_parts_of_one_figure_are_never_taken_for_those_of_another(page):
    read = Reader(page)
    assert [name for name, count in Counter(read.ids).items() if count > 1] == []
    assert {reference.removeprefix("#") for reference in read.refers} <= set(read.ids)


def test_every_split_has_its_state_and_its_sentence(page):
    text = Reader(page).text
    for split, state in STATES.items():
        assert re.search(rf"{split} A > B {state} .*?What may be said of {split}\.", text)


def test_the_first_lines_say_from_what_and_when(page):
    text = Reader(page).text
    first = text[: text.index("How to read this page")]
    assert "synthetic PRISM, scale 0.4, seed 0" in first
    assert "27 of 27 finished" in first
    assert "0123456789ab" in first
    assert "2026-11-26 14:00 UTC" in first


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("missing", "no finished adapter"),
        ("unscored", "no margins on held-out pairs"),
        ("stale", "hyperparameters.steps: 3 -> 110"),
    ],
)
def test_a_cell_that_is_not_finished_never_hides(without, state, reason):
    text = Reader(render(without(age_A_123=(state, reason)), MADE)).text
    assert "26 of 27 finished" in text
    assert f"age.A {state} 123 {reason}" in text
    assert text.index("What is not finished") < text.index("Verdicts")


def test_a_study_of_which_nothing_ran_says_so_and_what_it_asks(without):
    read = Reader(render(without(*READS), MADE))
    assert "Nothing has run" in read.text
    assert "prefassets missing demo --launch" in read.text
    assert read.images == []
    assert "age young (18-34) older (35+) exploratory" in read.text


FIGURES = {
    "How large is A - B?": "verdicts.verdict",
    "Strength or direction?": "verdicts.estimate",
    "Which adapter does how well on whose pairs?": "verdicts.transfer",
    "Is the baseline trained enough?": "verdicts.learning_curve",
    "How do A and B learn?": "verdicts.learning_curve",
    "Do clearer preferences come out clearer?": "verdicts.score_gap",
    "Do the users of a group want one thing?": "verdicts.heterogeneity",
}


def test_a_figure_without_rows_is_left_out_and_its_place_says_why(page, without):
    whole, bare = Reader(page).text, Reader(render(without(*FIGURES.values()), MADE)).text
    for title in FIGURES:
        after = re.escape(title) + r" This figure is left out: \w+"
        assert not re.search(after, whole)
        assert re.search(after, bare)


@pytest.mark.parametrize("table", READS)
def test_no_table_is_needed_to_make_a_page(without, table):
    assert Reader(render(without(table), MADE)).text


def test_what_people_wrote_is_text_and_never_markup(without):
    findings = without()
    wicked = "<script>alert('A & B')</script>"
    verdict = findings.tables["verdicts.verdict"].with_columns(sentence=pl.lit(wicked), finding=pl.lit(wicked))
    labels = findings.tables["splits.balance"].with_columns(label=pl.lit(wicked))
    changed = replace(
        findings,
        study=replace(findings.study, question=wicked, deviations=(wicked,)),
        source=wicked,
        tables={**findings.tables, "verdicts.verdict": verdict, "splits.balance": labels},
    )
    page = render(changed, MADE)
    assert "<script" not in page
    assert Reader(page).text.count(wicked) >= 5, "it is there, to be read"


def test_equal_findings_give_equal_pages(page):
    assert page == render(written(), MADE)


def test_a_figure_can_be_heard(page):
    images = Reader(page).images
    assert len(images) == 4 + 2 * len(STATES)  # contrasts, interactions, baseline, heterogeneity; two panels a split
    assert all(image["role"] == "img" and len(image["aria-label"]) > 20 for image in images)
    heard = images[0]["aria-label"]
    for split, state in STATES.items():
        assert re.search(rf"{split} \+\d+\.\d, {state}", heard)


def test_what_was_planted_is_marked_as_no_input(page, without):
    title, mark = "What was planted in the synthetic data", "Not an input of any verdict."
    assert f"{title} {mark}" in Reader(page).text
    real = Reader(render(without("prism.planted_truth"), MADE)).text
    assert title not in real
    assert mark not in real


def luminance(colour):
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize(("text", "ground"), [(INK, "#ffffff"), (FAINT, "#ffffff"), (INK, _shade(100.0))])
def test_text_can_be_read_on_its_ground(text, ground):
    assert (luminance(ground) + 0.05) / (luminance(text) + 0.05) >= 4.5


# ---- a study that repeats another, by a method with weights

OF_WEIGHTS = {
    "What changed against demo?": "verdicts.method_change",
    "What do the weights say?": "weights.histogram",
}


def test_what_changed_and_what_the_weights_say_stand_on_the_page_of_a_study_that_has_them(weighed, page):
    text = Reader(render(weighed, MADE)).text
    for title in OF_WEIGHTS:
        assert title in text
        assert title not in Reader(page).text
    for split in STATES:
        assert f"What changed in {split}." in text
    assert f"Caution ({', '.join(STATES)}): users left out: 320." in text
    assert "3 of 6 labels became better on tail." in text
    assert "Pairs of PRISM have a mean weight of 0.210 [0.190, 0.230]; two answers that the base model" in text
    assert "at T = 1, have 0.090 [0.070, 0.110]" in text
    assert "Of the variance of the weight, source model explains 8.2 % [7.0, 9.0] (chance would: 0.3 %);" in text
    assert "age.A 0.220 0.040 10 % 0.200 0.240" in text


def test_a_mean_weight_without_the_models_own_text_beside_it_is_not_left_to_be_misread(without):
    text = Reader(render(without("weights.yardstick", study=wpo_demo.STUDY), MADE)).text
    assert "what the base model writes itself was not weighed, and without that a mean says little." in text


def test_the_page_has_the_change_and_the_four_figures_of_the_weights(weighed):
    images = Reader(render(weighed, MADE)).images
    assert len(images) == 4 + 2 * len(STATES) + 1 + 4


def test_without_rows_their_places_say_so(without):
    text = Reader(render(without(*OF_WEIGHTS.values(), study=wpo_demo.STUDY), MADE)).text
    assert "What changed against demo? Nothing to compare with yet" in text
    assert re.search(r"What do the weights say\? This figure is left out: \w+", text)


@pytest.mark.parametrize(
    "table", [table for table in READS if table.startswith(("weights.", "verdicts.method_change"))]
)
def test_no_table_is_needed_to_make_the_page_of_a_method_with_weights(without, table):
    assert Reader(render(without(table, study=wpo_demo.STUDY), MADE)).text
