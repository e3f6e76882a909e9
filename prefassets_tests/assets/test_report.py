"""The page of a study in a home: made with its verdicts, made again on demand, true to the tables."""

import json
import re
from html import unescape

import dagster as dg
import duckdb

from prefassets.assets.report import measurement_page_asset, page_asset
from prefassets.measurements import all_measurements
from prefassets.resources.store import Store
from prefassets.studies import all_studies

CELL = "artifacts/demo/age.A/seed-123/record.json"


def page_of(home, study="demo"):
    return (home.folder / "reports" / f"{study}.html").read_text()


def text_of(page):
    cells_apart = re.sub(r"<t[dh]\b", " <td", page)
    return " ".join(unescape(re.sub(r"<[^>]*>", "", cells_apart)).split())


def test_the_demo_leaves_a_page_with_every_state_and_sentence(demo_home):
    text = text_of(page_of(demo_home))
    with duckdb.connect(str(demo_home.folder / "warehouse.duckdb"), read_only=True) as connection:
        verdicts = connection.execute(
            "select split, state, sentence from verdicts.verdict where study = 'demo'"
        ).fetchall()
    assert len(verdicts) == 4
    for split, state, sentence in verdicts:
        assert re.search(rf"{split} .{{0,20}} {state} ", text)
        assert " ".join(sentence.split()) in text
    assert "27 of 27 finished" in text
    assert "This figure is left out" not in text


def test_what_never_ran_has_no_page_yet(demo_home):
    pages = sorted(file.name for file in (demo_home.folder / "reports").iterdir())
    assert pages == ["demo.html", "demo_tasks.html"]


def test_its_questions_can_be_asked(demo_home):
    queries = [unescape(found) for found in re.findall(r"<pre><code>(.*?)</code></pre>", page_of(demo_home), re.DOTALL)]
    assert len(queries) == 4
    with duckdb.connect(str(demo_home.folder / "warehouse.duckdb"), read_only=True) as connection:
        for query in queries:
            assert connection.execute(query).fetchall()


def test_a_page_on_demand_says_what_went_missing_since(copied_home):
    (copied_home.folder / CELL).unlink()
    done = copied_home.run("report", "demo")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(copied_home.folder / "reports/demo.html")
    assert "1 of 27 cells are not finished" in done.stderr
    text = text_of(page_of(copied_home))
    assert "26 of 27 finished" in text
    assert "age.A missing 123 no finished adapter" in text
    (verdict,) = json.loads(
        copied_home.ok("sql", "from verdicts.verdict where study = 'demo' and split = 'age'", "--format", "json")
    )
    assert "2 of 3 planned seeds" in verdict["cautions"]
    assert verdict["sentence"] in text


def test_a_study_of_which_nothing_ran_has_a_page_that_says_so(tmp_path):
    store = Store(home=str(tmp_path))
    made = dg.materialize([page_asset(all_studies()["dpo_matched"])], resources={"store": store})
    assert made.success
    text = text_of((tmp_path / "reports/dpo_matched.html").read_text())
    assert "Nothing has run" in text
    assert "0 of 555 finished" in text


def test_there_is_a_page_for_every_study_and_it_follows_the_verdicts():
    from prefassets.definitions import defs

    graph = defs.resolve_asset_graph()
    pages = dg.AssetSelection.groups("report").resolve(graph)
    assert {key.path[1] for key in pages} == set(all_studies())
    for key in pages:
        assert dg.AssetKey(["verdicts", "verdict"]) in graph.get(key).parent_keys
        assert graph.get(key).automation_condition is not None


def test_there_is_a_page_for_every_measurement_and_it_follows_what_is_believed():
    from prefassets.definitions import BELIEVED, JUDGED, defs

    graph = defs.resolve_asset_graph()
    believed, judged = BELIEVED.resolve(graph), JUDGED.resolve(graph)
    for name in all_measurements():
        key = dg.AssetKey(["report", name])
        assert key in believed - judged, "a study's verdicts do not wait for it"
        assert dg.AssetKey(["preferences", "reading"]) in graph.get(key).parent_keys
        assert graph.get(key).automation_condition is not None


def test_a_measurement_of_which_nothing_was_asked_has_a_page_that_says_so(tmp_path):
    store = Store(home=str(tmp_path))
    measurement = all_measurements()["demo_tasks"]
    assert dg.materialize([measurement_page_asset(measurement)], resources={"store": store}).success
    text = text_of((tmp_path / "reports/demo_tasks.html").read_text())
    assert "Nothing was asked" in text
    assert f"0 of {len(measurement.choice_configurations)} ways of asking for choices" in text
