"""A configuration asked: slots as they were shown, nothing made up for what was not answered, nothing asked twice."""

from dataclasses import replace

import pytest

from prefassets.domain.preferences.active_learning import Plan
from prefassets.domain.preferences.asking import Asker, InMemory
from prefassets.domain.preferences.measure import (
    CHOICES,
    answers_in,
    complete_tasks,
    completion_texts,
    measure_choices,
    measure_ratings,
)
from prefassets.domain.preferences.measurement import Measurement, Revealed, Stated
from prefassets.domain.preferences.template import Template
from prefassets_tests.domain.preferences.answering import TASKS, Answering, flat

ALL = Plan(policy="all", samples=2)
MEASUREMENT = Measurement(name="m", question="?", model="planted", revealed=Revealed(plan=ALL), stated=Stated())


def measured(backend, measurement=MEASUREMENT, kept=None, fit=flat, **more):
    asker = Asker(backend, kept or InMemory())
    return measure_choices(measurement, measurement.choice_configurations[0], TASKS, asker, fit, **more), asker


def of(template: Template, plan: Plan = ALL) -> Measurement:
    return replace(MEASUREMENT, revealed=Revealed(templates=(template,), plan=plan))


def test_with_random_order_each_pair_is_shown_both_ways():
    choices = measured(Answering(lambda _: "Task A"))[0].choices
    assert choices.schema == CHOICES
    assert choices["choice"].unique().to_list() == ["a"]
    shown = set(choices.select("task_a", "task_b").iter_rows())
    assert len(choices) == len(shown) == 30, "15 pairs, each once in each order"


@pytest.mark.parametrize(("order", "earlier_in_a"), [("canonical", True), ("reversed", False)])
def test_a_fixed_order_shows_the_same_task_first_always_and_rows_say_so(order, earlier_in_a):
    fitted = []

    def fit(choices):
        fitted.append(choices)
        return flat(choices)

    plan = Plan(policy="random", samples=2, start_degree=2, pairs_per_round=4)
    backend = Answering(lambda _: "Task A")
    choices = measured(backend, of(Template(task_order=order), plan), fit=fit)[0].choices
    assert {(a < b) is earlier_in_a for a, b in choices.select("task_a", "task_b").iter_rows()} == {True}
    assert choices["choice"].unique().to_list() == ["a"], "slot A as it was shown, not as the plan has it"
    assert all(seen["choice"].unique().to_list() == ["a"] for seen in fitted)
    assert sum(map(len, fitted[-1:])) == len(choices)


def test_what_failed_has_no_row_and_is_asked_again_and_nothing_else_is():
    kept, failing = InMemory(), Answering(lambda request: None if request.sample == 1 else "Task B")
    first, asker = measured(failing, kept=kept)
    assert len(first.choices) == len(asker.failures) == 15
    second, asker = measured(backend := Answering(lambda _: "Task B"), kept=kept)
    assert len(second.choices) == 30
    assert asker.failures == {}
    assert {request.sample for request in backend.asked} == {1}
    assert len(backend.asked) == 15


def test_rows_that_stand_answer_the_same_questions_again():
    choices = measured(Answering(lambda _: "I cannot choose."))[0].choices
    assert choices["choice"].unique().to_list() == ["refusal"]
    kept = InMemory({answer.digest: answer for answer in answers_in(choices)})
    again, asker = measured(Answering(lambda _: "Task A"), kept=kept)
    assert asker.asked == 0
    assert again.choices.equals(choices)


@pytest.mark.parametrize("change", [{"temperature": 0.5}, {"seed": 1}, {"answering": "constrained"}])
def test_what_answers_depend_on_is_part_of_their_digest(change):
    digests = [
        measured(Answering(lambda _: "Task A"), replace(MEASUREMENT, **how))[0].choices["digest"]
        for how in ({}, change)
    ]
    assert not set(digests[0]) & set(digests[1])


def test_after_the_tasks_the_model_has_done_them_as_turns():
    measurement = replace(MEASUREMENT, revealed=Revealed(asked=("after",), plan=ALL))
    kept = InMemory()
    worker = Answering(lambda request: f"done: {request.messages[0]['content']}")
    completions = complete_tasks(measurement, TASKS, Asker(worker, kept))
    assert worker.asked[0].most_tokens == 256
    texts = completion_texts(completions)
    backend = Answering(lambda _: "Task B")
    choices = measured(backend, measurement, kept, completions=texts)[0].choices
    assert choices["choice"].unique().to_list() == ["b"]
    contents = [message["content"] for message in backend.asked[0].messages]
    assert [message["role"] for message in backend.asked[0].messages] == ["user", "assistant"] * 2 + ["user"]
    assert contents[1] == f"done: {contents[0]}"
    assert contents[3] == f"done: {contents[2]}"
    with pytest.raises(ValueError, match="5 of 6 tasks have no completion"):
        measured(backend, measurement, completions={"task-0": "done"})


def test_an_answer_that_was_cut_off_while_doing_a_task_chooses_none():
    whole = measured(Answering(lambda _: "Task A: Here is a poem"))[0].choices
    kept = InMemory({answer.digest: replace(answer, finished=False) for answer in answers_in(whole)})
    cut = measured(Answering(lambda _: None), kept=kept)[0].choices
    assert [found["choice"].unique().to_list() for found in (whole, cut)] == [["a"], ["unparseable"]]


def test_a_task_without_a_completion_is_asked_again_by_each_run_until_there_is_one():
    kept = InMemory()

    class Breaking(Answering):
        def answers(self, requests):
            for answer in super().answers(requests):
                yield replace(answer, malformed=answer.text == "{")

    def is_of_it(request):
        return request.messages[0]["content"] == TASKS["text"][2]

    for broken, asked in ((9, [0, 1, 2]), (9, [3, 4, 5]), (7, [6, 7]), (9, [])):
        backend = Breaking(
            lambda request, first=broken: "{" if is_of_it(request) and request.sample < first else "done"
        )
        rows = complete_tasks(MEASUREMENT, TASKS, Asker(backend, kept))
        assert [request.sample for request in backend.asked if is_of_it(request)] == asked
        assert len(backend.asked) == len(asked) + (5 if asked[:1] == [0] else 0), "the others once"
        kept = InMemory({answer.digest: answer for answer in answers_in(rows)})  # as the next run finds them
    assert rows.filter(task_id="task-2")["sample"].to_list() == list(range(8))
    assert completion_texts(rows) == dict.fromkeys(TASKS["task_id"], "done")


def test_ratings_have_the_value_of_their_word_and_refusals_none():
    said = {"0": "good", "1": "Bad.", "2": "neutral", "3": "I cannot rate that", "4": "both", "5": "good"}
    backend = Answering(lambda request: said[request.messages[0]["content"][-2]])
    completions = dict.fromkeys(TASKS["task_id"], "done")
    (configuration,) = MEASUREMENT.rating_configurations
    ratings = measure_ratings(MEASUREMENT, configuration, TASKS, Asker(backend, InMemory()), completions)
    assert ratings.select("rating", "value").rows() == [
        ("good", 1),
        ("bad", -1),
        ("neutral", 0),
        ("refusal", None),
        ("unparseable", None),
        ("good", 1),
    ]
    kept = InMemory({answer.digest: answer for answer in answers_in(ratings)})
    asker = Asker(Answering(lambda _: "bad"), kept)
    assert measure_ratings(MEASUREMENT, configuration, TASKS, asker, completions).equals(ratings)
    assert asker.asked == 0


def test_before_the_task_a_rating_shows_the_task_and_asks_about_it():
    measurement = replace(
        MEASUREMENT, stated=Stated(framings=("honest",), options=("yes_somewhat_no",), asked=("before",))
    )
    backend = Answering(lambda _: "yes")
    measure_ratings(measurement, measurement.rating_configurations[0], TASKS, Asker(backend, InMemory()))
    (message,) = backend.asked[0].messages
    assert "Do thing 0!" in message["content"]
    assert message["content"].endswith("Respond with only 'yes', 'somewhat', or 'no'.")
