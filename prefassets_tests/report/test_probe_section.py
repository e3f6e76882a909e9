"""What a reader of probes can rely on, on the page of a study and of a measurement: doubts stand beside numbers."""

import re
from collections import Counter
from dataclasses import replace

import polars as pl
import pytest

from prefassets.domain.probes.extraction import Extraction
from prefassets.report import measurement_page, page
from prefassets.report.probe_section import told
from prefassets.studies import demo
from prefassets_tests.report import conftest, measured, probed
from prefassets_tests.report.test_page import Reader

TITLE = "What can be read off hidden states?"
LEFT_OUT = f"{TITLE} This figure is left out: no probe was fitted to activations yet."
SPLITS = ("personalisation", "age")
SLOW = "preferences.efficiency"  # to draw, and nothing of probes


def of_study(**tables):
    findings = conftest.written({split: conftest.STATES[split] for split in SPLITS})
    return page.render(replace(findings, tables=findings.tables | tables), conftest.MADE)


def of_measurement(activations=None, **tables):
    findings = measured.lacking(SLOW, measurement=replace(measured.MEASUREMENT, activations=activations))
    return measurement_page.render(replace(findings, tables=findings.tables | tables), conftest.MADE)


@pytest.fixture(scope="module")
def pages():
    return {
        "study": of_study(**probed.tables(splits=SPLITS)),
        "measurement": of_measurement(**probed.tables()),
    }


@pytest.fixture(scope="module", params=["study", "measurement"])
def shown(request, pages):
    return Reader(pages[request.param])


def test_every_target_has_its_state_and_its_sentence(shown):
    for target in probed.TARGETS:
        assert re.search(rf"{target} READABLE .*?What may be said of {target}\.", shown.text)
    assert "Of 2 targets, 2 can be read off." in shown.text


def test_what_may_not_be_said_stands_below_with_whom_it_concerns(shown):
    does_not = "does not say that the model uses it, nor that what cannot be is not there"
    assert shown.text.index("What probes do not say") < shown.text.index(does_not)
    assert "valence, choices: of 64 tasks only" in shown.text
    assert "valence, choices: not compared with text" in shown.text


def test_that_a_layer_and_position_were_chosen_after_looking_is_said(shown):
    assert "the best layer and position of 4, chosen after looking at all" in shown.text


def test_parts_of_one_figure_are_never_taken_for_those_of_another(shown):
    assert [name for name, count in Counter(shown.ids).items() if count > 1] == []
    assert {reference.removeprefix("#") for reference in shown.refers} <= set(shown.ids)


def test_every_figure_can_be_heard(pages):
    """Two metrics, two maps, two sweeps, two matrices, two targets elsewhere; of a study three panels of adapters."""
    for of, expected in (("study", 10 + 3), ("measurement", 10)):
        labels = [image["aria-label"] for image in Reader(pages[of]).images]
        assert all(len(label) > 20 for label in labels)
        without = len(Reader(of_study() if of == "study" else of_measurement()).images)
        assert len(labels) - without == expected


def test_leaving_topics_out_stands_beside_leaving_units_out_with_the_best_baseline(pages):
    text = Reader(pages["measurement"]).text
    assert "target tasks left out topics left out" in text
    assert "valence, R² 0.26 [0.19, 0.33] topic alone 0.18 0.12 [0.02, 0.22] text alone 0.02" in text
    assert "users left out" in Reader(pages["study"]).text


def test_equal_findings_give_equal_pages(pages):
    assert pages["study"] == of_study(**probed.tables(splits=SPLITS))


def test_adapters_stand_on_the_page_of_a_study_even_without_probes(pages):
    title = "Do A's adapters move the preference direction otherwise than B's?"
    assert title in Reader(pages["study"]).text
    assert title not in Reader(pages["measurement"]).text
    alone = {"probes.adapter": probed.tables(splits=SPLITS)["probes.adapter"]}
    assert title in Reader(of_study(**alone)).text


def test_without_rows_one_sentence_stands_instead_of_figures():
    """The demo keeps activations; a measurement that keeps none has no section."""
    assert LEFT_OUT in Reader(of_study()).text
    assert LEFT_OUT in Reader(of_measurement(activations=Extraction(model="someone/model-8B"))).text
    assert TITLE not in Reader(of_measurement()).text


def test_a_study_that_keeps_no_activations_has_no_section():
    study = replace(demo.STUDY, activations=None)
    findings = conftest.written({"age": "INCONCLUSIVE"}, study)
    assert TITLE not in Reader(page.render(findings, conftest.MADE)).text


@pytest.mark.parametrize("table", probed.tables(splits=SPLITS))
def test_no_table_is_needed(table):
    whole = probed.tables(("valence",), SPLITS)
    assert told({**whole, table: whole[table].clear()}, SPLITS)


@pytest.mark.parametrize("state", ["BASELINE", "NOT SHOWN", "CANNOT TELL"])
def test_a_target_that_cannot_be_read_off_is_never_counted_as_one_that_can(state):
    found = told(probed.tables(("valence",), state=state))
    assert found["in_short"] != []
    assert not any("can be read off" in said for said in found["in_short"])


def test_a_target_that_could_not_be_probed_has_its_sentence_and_no_figure():
    rows = probed.tables(("valence",))
    empty = [pl.lit(None, pl.Float64).alias(name) for name in ("estimate", "widened_lower", "widened_upper")]
    none = {name: rows[name].with_columns(empty) for name in ("probes.reading", "probes.against_baselines")}
    found = told({**rows, **none})
    assert (found["beside"], found["places"], found["sweeps"]) == ([], [], [])
    assert found["readings"][0]["sentence"] == "What may be said of valence."
    assert "This figure is left out: no target has a score." in Reader(of_measurement(**{**rows, **none})).text


def test_what_tables_say_is_text_and_never_markup():
    wicked = "<script>alert('A & B')</script>"
    rows = probed.tables(("valence",))
    rows = {
        name: table.with_columns(pl.lit(wicked).alias(column) for column in ("target", "sentence") if column in table)
        for name, table in rows.items()
    }
    shown = of_measurement(**rows)
    assert "<script" not in shown
    assert Reader(shown).text.count(wicked) >= 2
