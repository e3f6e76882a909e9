"""An endpoint may be busy, slow, broken or closed to us: answers are waited for, nothing is made up, no key is told."""

import logging
import time
import traceback
from concurrent.futures import wait
from dataclasses import replace
from email.utils import formatdate

import polars as pl
import pytest

from prefassets.domain.preferences.asking import Answer, Asker, Failure, InMemory, Request
from prefassets.domain.preferences.measure import measure_choices
from prefassets.domain.preferences.measurement import Revealed
from prefassets.domain.preferences.template import Template
from prefassets.resources import endpoint
from prefassets.resources.endpoint import Endpoint, EndpointRefused, EndpointUnreachable
from prefassets_tests.domain.preferences.answering import TASKS, flat
from prefassets_tests.loopback import endpoint as loopback
from prefassets_tests.loopback.endpoint import Planted, cut, dropped, each, empty, first, refused, slow, truncated
from prefassets_tests.resources.measuring import MEASUREMENT, PLAN, asking

UTILITIES = {text: 2.0 - number for number, text in enumerate(TASKS["text"])}


@pytest.fixture
def served(monkeypatch):
    with loopback.Endpoint(Planted(UTILITIES)) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


def measured(backend, measurement=MEASUREMENT, kept=None):
    asker = Asker(backend, kept or InMemory())
    (configuration,) = measurement.choice_configurations
    return measure_choices(measurement, configuration, TASKS, asker, flat).choices, asker


def requests(count: int, **more) -> list[Request]:
    messages = ({"role": "user", "content": "Hello"},)
    return [
        Request(model="planted", revision="planted", messages=messages, sample=sample, **more)
        for sample in range(count)
    ]


def test_answers_are_those_of_the_model_and_each_was_paid_for_once(served):
    served.fault = lambda _: slow(0.02)
    choices, asker = measured(asking())
    assert len(choices) == 30
    assert asker.failures == {}
    assert set(choices["choice"]) <= {"a", "b"}
    clear = choices.filter((pl.col("task_a") == "task-0") & (pl.col("task_b") == "task-5"))
    assert clear["choice"].to_list() == ["a"], "5 apart: Phi(5 / sqrt(2)) = .9998"
    assert served.paid_again == []
    assert 1 < served.most_at_once <= 4


@pytest.mark.parametrize(
    ("template", "rule"),
    [
        (Template(response_format="tool_use", task_label_names="number"), "tool call"),
        (Template(response_format="xml", language="fr"), "xml tag"),
        (Template(language="es", instruction_xml_tags=True, typos=True), "label alone"),
    ],
)
@pytest.mark.parametrize("answering", ["free", "constrained"])
def test_every_form_of_answer_is_asked_for_and_read(served, template, rule, answering):
    measurement = replace(MEASUREMENT, revealed=Revealed(templates=(template,), plan=PLAN), answering=answering)
    choices, _ = measured(asking(), measurement)
    assert set(choices["rule"]) == {rule}
    assert set(choices["choice"]) == {"a", "b"}
    body = served.seen[0].body
    assert ("tools" in body) is (rule == "tool call")
    assert ("structured_outputs" in body) is (answering == "constrained" and rule != "tool call")
    if rule == "tool call":
        assert (body["tool_choice"] == "auto") is (answering == "free")


def test_refusals_and_nonsense_are_outcomes_of_their_own(served):
    served.model = Planted(UTILITIES, refusal_rate=0.3, nonsense_rate=0.3)
    choices, _ = measured(asking())
    assert set(choices["choice"]) == {"a", "b", "refusal", "unparseable"}


def test_equal_content_is_asked_once(served):
    kept = InMemory()
    asker = Asker(asking(), kept)
    asker.ask([*requests(5), *requests(5)])
    Asker(asking(), kept).ask(requests(5))
    assert len(served.seen) == 5


@pytest.mark.parametrize("wanted", ["1", "a date"])
def test_a_rate_limited_endpoint_is_waited_for_by_all(served, wanted):
    def limited(number: int) -> loopback.Fault | None:
        date = formatdate(time.time() + 2, usegmt=True)  # of whole seconds: more than one from now
        return refused(429, retry_after=date if wanted == "a date" else wanted) if number < 3 else None

    served.fault = limited
    found = list(asking().answers(requests(12)))
    assert sorted(answer.digest for answer in found) == sorted(request.digest for request in requests(12))
    assert [answer.reason for answer in found if isinstance(answer, Failure)] == []
    assert served.statuses == {429: 3, 200: 12}
    refusal = max(seen.at for seen in served.seen if seen.status == 429)
    early = [seen for seen in served.seen if seen.status == 200 and seen.at < refusal + 0.8]
    assert len(early) <= 4, "none but those that were on their way"


def test_a_wait_is_told_and_one_beyond_the_patience_is_an_error_that_says_when_to_come_again(served, caplog):
    busy = replace(refused(429, "busy", retry_after=1), wait=0.3)  # so that all four are on their way
    served.fault = first(4, busy)
    assert len(list(asking(patience_seconds=5).answers(requests(4)))) == 4
    assert [record.getMessage().split(" wants ")[1] for record in caplog.records if " wants " in record.msg] == [
        "no request for 1 s (429: busy); waiting"
    ]
    served.seen.clear()
    served.fault = lambda number: None if number < 6 else refused(429, "daily limit", retry_after=3600)
    began, found = time.monotonic(), []
    with pytest.raises(EndpointUnreachable, match=r"again in 3600 s \(429: daily limit\).*PREFASSETS_PATIENCE_SECONDS"):
        found.extend(asking(patience_seconds=5).answers(requests(50)))
    assert time.monotonic() - began < 5
    assert len([answer for answer in found if isinstance(answer, Answer)]) == 6
    assert len(served.seen) <= 6 + 4


def test_failures_of_one_configuration_do_not_count_against_the_next(served):
    served.fault = lambda number: refused(424)
    backend = asking()
    for _ in range(3):
        assert len(list(backend.answers(requests(5)))) == 5


def test_whatever_passes_is_survived(served):
    served.fault = each(3, refused(500), refused(503), dropped(), cut(), refused(408), slow(3))
    found = list(asking(request_seconds=1).answers(requests(12)))
    assert {answer.digest for answer in found} == {request.digest for request in requests(12)}
    assert all(isinstance(answer, Answer) for answer in found)


def test_a_malformed_answer_is_stored_and_counted(served):
    served.fault = each(5, truncated(), empty())
    kept = InMemory()
    choices, asker = measured(asking(), kept=kept)
    malformed = choices.filter("malformed")
    assert len(malformed) == 5
    assert set(malformed["choice"]) == {"unparseable"}
    assert set(malformed["rule"]) == {"malformed"}
    assert set(malformed["answer"]) == {(truncated().content or b"").decode(), (empty().content or b"").decode()}
    assert asker.failures == {}
    measured(asking(), kept=kept)
    assert len(served.seen) == 30


def test_what_failed_is_no_answer_and_the_next_run_asks_it_again(served):
    served.fault = lambda number: refused(424, "generation failed") if number in (3, 11) else None
    kept = InMemory()
    choices, asker = measured(asking(), kept=kept)
    assert len(choices) == 28
    assert set(asker.failures.values()) == {"424: generation failed"}
    choices, asker = measured(asking(), kept=kept)
    assert len(choices) == 30
    assert len(served.seen) == 32
    assert served.paid_again == []


@pytest.mark.parametrize(
    "fault",
    [
        refused(400, "context length exceeded by key-of-the-test"),
        refused(413),
        loopback.saying("<html>Request Entity Too Large</html>", 413, "text/html"),
        refused(422, "messages: too long"),
        refused(403, "Your chosen model requires moderation and your input was flagged"),
    ],
)
def test_what_an_endpoint_will_not_have_is_an_unparseable_outcome_and_is_not_asked_again(served, fault):
    served.fault = lambda number: fault if number in (0, 3, 11) else None
    kept = InMemory()
    choices, asker = measured(asking(), kept=kept)
    unwanted = choices.filter("malformed")
    assert len(choices) == 30
    assert asker.failures == {}
    assert set(unwanted.select("choice", "rule").iter_rows()) == {("unparseable", "malformed")}
    assert unwanted["answer"].to_list() == [(fault.content or b"").decode().replace(served.key, "...")] * 3
    measured(asking(), kept=kept)
    assert len(served.seen) == 30


def test_a_last_question_that_an_endpoint_will_not_have_is_done_with(served):
    served.fault = lambda number: refused(400, "flagged")
    found = list(asking().answers(requests(7)))
    assert [answer.malformed for answer in found] == [True] * 7


def test_an_endpoint_that_will_have_no_request_at_all_is_told_and_nothing_is_made_of_it(served):
    served.fault = lambda number: refused(400, "structured_outputs is not supported")
    found = []
    with pytest.raises(EndpointRefused, match=r"none of 8 requests, the last with: 400: structured_outputs is not"):
        found.extend(asking().answers(requests(50)))
    assert found == []
    assert len(served.seen) <= 8 + 4


def test_questions_about_one_task_that_is_not_to_be_asked_about_do_not_stop_the_others(served):
    answer = served.answer

    def moderated(body):
        said = answer(body)
        return refused(400, "content_filter") if "Forbidden" in str(body["messages"]) else said

    served.answer = moderated
    forbidden = [replace(request, messages=({"role": "user", "content": "Forbidden"},)) for request in requests(12)]
    found = list(asking().answers([*forbidden, *requests(50)]))
    assert len(found) == 62
    assert {answer.digest for answer in found if answer.malformed} == {request.digest for request in forbidden}


@pytest.mark.parametrize("message", ['"message": {"role": "assistant", "content": null}, ', ""])
def test_an_answer_that_the_endpoint_filtered_is_a_refusal(served, message):
    filtered = loopback.saying('{"choices": [{"index": 0, %s"finish_reason": "content_filter"}]}' % message)  # noqa: UP031
    served.fault = lambda number: filtered if number == 2 else None
    choices, _ = measured(asking())
    declined = choices.filter(pl.col("choice") == "refusal")
    assert declined.select("rule", "malformed").rows() == [("declared", False)]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (refused(401, "Incorrect API key provided: key-of-the-test"), "refuses the key in OPENAI_API_KEY"),
        (refused(403, "key-of-the-test may not"), "refuses the key in OPENAI_API_KEY"),
        (loopback.saying("<html>Blocked by policy</html>", 403, "text/html"), "refuses the key in OPENAI_API_KEY"),
        (refused(402), "nothing is left to spend"),
        (refused(429, "You exceeded your current quota", "insufficient_quota"), "nothing is left to spend"),
    ],
)
def test_a_wrong_key_stops_at_once_and_is_not_printed(served, fault, told, caplog):
    caplog.set_level(logging.DEBUG, "prefassets")
    served.fault = lambda number: None if number < 6 else fault
    found = []
    with pytest.raises(EndpointRefused, match=told) as raised:
        found.extend(asking().answers(requests(200)))
    printed = "".join(traceback.format_exception(raised.value)) + repr(raised.value.__cause__) + caplog.text
    assert served.key not in printed
    assert len(served.seen) <= 6 + 4


def test_an_unknown_model_and_no_endpoint_at_all_are_told_in_words(served, monkeypatch):
    with pytest.raises(EndpointRefused, match=r"has no model 'other'.*does not exist.*/v1/models"):
        list(Endpoint("other").answers(requests(1)))
    monkeypatch.setenv("OPENAI_BASE_URL", "user:secret@models.example.org/v1")
    with pytest.raises(EndpointRefused, match="OPENAI_BASE_URL is") as raised:
        list(asking().answers(requests(1)))
    assert "secret" not in str(raised.value)
    for name in served.environment:
        monkeypatch.delenv(name)
    with pytest.raises(EndpointRefused, match="set OPENAI_BASE_URL"):
        list(asking().answers(requests(1)))


def test_an_endpoint_that_answers_nothing_is_given_up_with_what_it_said(served, monkeypatch):
    served.fault = lambda _: refused(503, "loading the model")
    with pytest.raises(EndpointUnreachable, match=r"failed 8 requests in a row, the last with: 503: loading the model"):
        list(asking(patience_seconds=0.1).answers(requests(50)))
    monkeypatch.setenv("OPENAI_BASE_URL", "http://user:secret@127.0.0.1:9/v1")
    with pytest.raises(EndpointUnreachable, match=r"Connection error\. .*refused") as raised:
        list(asking(patience_seconds=0.1).answers(requests(50)))
    assert "secret" not in str(raised.value)


def test_a_web_page_is_no_answer(served):
    served.fault = first(1, loopback.saying("<html>Please log in</html>", content_type="text/html; charset=utf-8"))
    (found,) = asking().answers(requests(1))
    assert isinstance(found, Failure)
    assert "Please log in" in found.reason


def test_what_was_sent_before_an_interrupt_is_still_yielded(served, monkeypatch):
    served.fault = lambda _: slow(0.2)
    interrupts = iter([KeyboardInterrupt])

    def interrupted(*arguments, **options):
        for interrupt in interrupts:
            while served.most_at_once < 4:
                time.sleep(0.01)
            raise interrupt
        return wait(*arguments, **options)

    monkeypatch.setattr(endpoint, "wait", interrupted)
    found = []
    with pytest.raises(KeyboardInterrupt):
        found.extend(asking().answers(requests(50)))
    assert len(found) == len(served.seen) == 4
