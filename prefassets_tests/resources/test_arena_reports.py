"""What the page of Arena is made of: what a home has of it, as it is now."""

import re
from html import unescape
from pathlib import Path

import pytest

from prefassets.arena_recipes import all_recipes
from prefassets.resources.arena_reports import READS, write_page
from prefassets.resources.store import DataSource
from prefassets_tests.resources.test_reports import put

BASE = all_recipes()["lora"].base
JUDGED = {"orders": "given", "battles": 40, "prompts": 40}


@pytest.fixture
def judged(store):
    """A home in which a base model has predicted two held-out battles, and one of two recipes was trained."""
    store.pin(DataSource())
    battles = [
        {"battle": f"b{place}", "winner": winner, "prompt_digest": f"p{place}", "turns": 1, "prompts": ["Why?"]}
        for place, winner in enumerate(("A", "B", "tie"))
    ]
    parts = ("training", "held_out", "held_out")
    put(store, "arena.battles", battles)
    put(store, "arena.folds", [{"battle": f"b{place}", "part": part} for place, part in enumerate(parts)])
    recipes = [{"recipe": name, "base": BASE, "prompt": "report", "max_tokens": 1024} for name in ("lora", "qlora")]
    put(store, "arena.recipe", recipes)
    states = [
        {"recipe": "lora", "state": "unscored", "reason": "it has predicted nothing"},
        {"recipe": "qlora", "state": "missing", "reason": "it was never trained"},
    ]
    put(store, "arena.states", states)
    put(store, "arena.finetuned_eval", [{"predictor": "lora", "battle": "b1", "a": 0.9, "b": 0.1}], ["lora"])
    scores = [
        JUDGED | {"predictor": name, "metric": metric, "estimate": value}
        for name, values in ((BASE, (1.05, 0.4)), ("prior", (1.09, 0.35)))
        for metric, value in zip(("log_loss", "accuracy"), values, strict=True)
    ]
    of_recipe = JUDGED | {"predictor": "lora", "metric": "brier", "estimate": 0.6}
    put(store, "arena.comparison", [*scores, of_recipe])
    return store


def page_of(store):
    with store.connect(READS, current=True) as connection:
        path, states = write_page(store, connection)
    return Path(path).read_text(), states


def test_it_says_what_the_home_has_and_counts_recipes_by_state(judged):
    page, states = page_of(judged)
    text = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    assert states == {"unscored": 1, "missing": 1}
    assert "synthetic battles, scale 1, seed 0: 3 battles of 1 model" in text
    assert "2 held-out battles on 2 prompts" in text
    assert "unscored lora it has predicted nothing" in text
    assert "missing qlora it was never trained" in text
    assert "It cannot be told whether" in text, "what may be said is that of arena.reading"


def test_its_questions_can_be_asked(judged):
    page, _ = page_of(judged)
    queries = [unescape(found) for found in re.findall(r"<pre><code>(-- .*?)</code></pre>", page, re.DOTALL)]
    assert len(queries) == 3
    with judged.connect(current=True) as connection:
        readings, ranked, wrong = (connection.execute(query).fetchall() for query in queries)
    assert [predictor for predictor, *_ in readings] == [BASE, "lora"]
    assert [predictor for predictor, *_ in ranked] == [BASE, "prior"]
    assert wrong == [("lora", "b1", "B", 0.9, 0.1, 0.0, "Why?")]


def test_a_home_in_which_nothing_was_judged_says_so(store):
    store.pin(DataSource())
    page, states = page_of(store)
    assert "Nothing is judged yet" in page
    assert states == {}
