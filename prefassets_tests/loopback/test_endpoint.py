"""The loopback endpoint answers OpenAI's own client as a model with the planted preferences would, or fails as told."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from prefassets_tests.loopback.endpoint import (
    NONSENSE,
    REFUSAL,
    Endpoint,
    Planted,
    cut,
    digest,
    dropped,
    each,
    empty,
    first,
    refused,
    saying,
    slow,
    truncated,
)

BIRD, FISH, POEM = "Name a bird.", "Name a fish.", "Write a poem. Name a bird. Stop."
MODEL = Planted({BIRD: 1.0, FISH: -1.0, POEM: 0.0})
TOOL = {
    "type": "function",
    "function": {
        "name": "choose",
        "parameters": {"type": "object", "properties": {"task": {"type": "string", "enum": ["Task 1", "Task 2"]}}},
    },
}


def client(endpoint: Endpoint, key: str | None = None, timeout: float = 20) -> openai.OpenAI:
    return openai.OpenAI(api_key=key or endpoint.key, base_url=endpoint.url, max_retries=0, timeout=timeout)


def asked(*said: str, seed: int = 0, **more: Any) -> dict[str, Any]:
    messages = [{"role": ("user", "assistant")[turn % 2], "content": content} for turn, content in enumerate(said)]
    return {"model": "planted", "messages": messages, "seed": seed, **more}


def choice(a: str, b: str, wanted: str = "'Task A' or 'Task B'", seed: int = 0, **more: Any) -> dict[str, Any]:
    text = f"Which do you prefer?\nRespond with only {wanted}.\n\nTask A:\n{a}\n\nTask B:\n{b}"
    return asked(text, seed=seed, **more)


def chosen(model: Planted, *tasks: str, times: int = 2_000) -> float:
    """How often the first is chosen."""
    answers = Counter(model.message(choice(*tasks, seed=seed))["content"] for seed in range(times))
    assert set(answers) <= {"Task A", "Task B"}
    return answers["Task A"] / times


@pytest.mark.parametrize(("bias", "expected"), [(0.0, 0.9214), (0.5, 0.9721), (-2.0, 0.2793)])
def test_choices_are_as_likely_as_utilities_and_slot_bias_say(bias, expected):
    model = Planted(MODEL.utilities, slot_bias=bias)
    assert chosen(model, BIRD, FISH) == pytest.approx(expected, abs=0.03), "Phi(2 / sqrt(2) + bias), from a table"


def test_a_task_within_another_is_not_taken_for_it():
    assert chosen(MODEL, POEM, FISH) == pytest.approx(0.7602, abs=0.035), "Phi(1 / sqrt(2))"


def test_equal_requests_get_equal_answers_whoever_asks_and_when():
    bodies = [choice(BIRD, POEM, seed=seed) for seed in range(50)]
    with Endpoint(MODEL) as one, Endpoint(MODEL) as other:
        clients = [client(endpoint).chat.completions for endpoint in (one, other)]
        said = [[completions.create(**body).choices[0] for body in bodies] for completions in clients]
    texts = [[found.message.content for found in answers] for answers in said]
    assert texts[0] == texts[1] == [MODEL.message(body)["content"] for body in bodies]
    assert set(texts[0]) == {"Task A", "Task B"}
    assert {found.finish_reason for found in said[0]} == {"stop"}
    assert one.paid == Counter(digest(body) for body in bodies)
    assert one.paid_again == []


def test_answers_have_the_form_that_is_wanted():
    sure = Planted({BIRD: 30.0, FISH: -30.0})
    tagged = choice(FISH, BIRD, "<choice>Tâche A</choice> ou <choice>Tâche B</choice>")
    assert sure.message(tagged)["content"] == "<choice>Tâche B</choice>"
    in_tags = asked(f"<instructions>\nNow.\nRespond with only 'Task 1' or 'Task 2'.\n</instructions>\n{BIRD}\n{FISH}")
    assert sure.message(in_tags)["content"] == "Task 1"
    permitted = choice(FISH, BIRD, structured_outputs={"choice": ["first", "second"]})
    assert sure.message(permitted)["content"] == "second"
    after = asked(FISH, "Cod.", BIRD, "Owl.", "Which did you enjoy?\nRespond with only 'Task A' or 'Task B'.")
    assert sure.message(after)["content"] == "Task B", "the tasks are earlier turns"
    with Endpoint(sure) as endpoint:
        answer = client(endpoint).chat.completions.create(**choice(FISH, BIRD, tools=[TOOL])).choices[0]
    (call,) = answer.message.tool_calls
    assert (call.function.name, call.function.arguments) == ("choose", '{"task": "Task 2"}')
    assert answer.finish_reason == "tool_calls"


def test_one_task_is_rated_or_done():
    words = "Respond with only 'good', 'neutral', or 'bad'."
    rated = [
        MODEL.message(asked(task, "Done.", f"Did you like it?\n{words}"))["content"] for task in (BIRD, POEM, FISH)
    ]
    assert rated == ["good", "neutral", "bad"]
    two = "Respond with only 'yes' or 'no'."
    assert MODEL.message(asked(f"Task:\n{FISH}\n\nLike it?\n{two}"))["content"] == "no"
    with Endpoint(MODEL) as endpoint:
        done = client(endpoint).chat.completions.create(**asked(BIRD, max_tokens=3))
    assert done.choices[0].message.content == "Done, as well"
    assert done.choices[0].finish_reason == "length"
    assert done.usage.completion_tokens == 3


def test_refusals_and_nonsense_are_as_frequent_as_planted_and_never_where_answers_are_permitted():
    model = Planted(MODEL.utilities, refusal_rate=0.2, nonsense_rate=0.1)
    said = Counter(model.message(choice(BIRD, FISH, seed=seed))["content"] for seed in range(2_000))
    assert said[REFUSAL] / 2_000 == pytest.approx(0.2, abs=0.035)
    assert said[NONSENSE] / 2_000 == pytest.approx(0.1, abs=0.027)
    permitted = {"choice": ["Task A", "Task B"]}
    for seed in range(100):
        body = choice(BIRD, FISH, seed=seed, structured_outputs=permitted)
        assert model.message(body)["content"] in permitted["choice"]


@pytest.mark.parametrize(
    ("fault", "error", "paid"),
    [
        (refused(429, retry_after=2), openai.RateLimitError, False),
        (refused(500), openai.InternalServerError, False),
        (refused(503, "overloaded"), openai.InternalServerError, False),
        (dropped(), openai.APIConnectionError, False),
        (cut(), openai.APIConnectionError, True),
        (slow(30), openai.APITimeoutError, True),
    ],
    ids=["429", "500", "503", "dropped", "cut", "slow"],
)
def test_it_fails_as_told_and_then_answers(fault, error, paid):
    body = choice(BIRD, FISH)
    with Endpoint(MODEL, fault=first(1, fault)) as endpoint:
        with pytest.raises(error) as raised:
            client(endpoint, timeout=0.5).chat.completions.create(**body)
        if fault.status == 429:
            assert raised.value.response.headers["retry-after"] == "2"
        assert client(endpoint).chat.completions.create(**body).choices
        assert endpoint.paid[digest(body)] == 1 + paid
    assert [seen.body for seen in endpoint.seen] == [body] * len(endpoint.seen)


def test_what_is_no_answer_comes_with_status_200_and_is_billed():
    sent = (truncated(), empty(), saying("<html>Sign in</html>", content_type="text/html"))
    with Endpoint(MODEL, fault=lambda number: sent[number]) as endpoint:
        raw = client(endpoint).chat.completions.with_raw_response
        texts = [raw.create(**choice(BIRD, FISH, seed=seed)).http_response.text for seed in range(3)]
    assert texts[0].startswith('{"id"')
    assert not texts[0].endswith("}")
    assert texts[1].endswith('"choices": []}')
    assert texts[2] == "<html>Sign in</html>"
    assert endpoint.paid.total() == 3
    assert endpoint.statuses == {200: 3}


def test_wrong_keys_and_models_are_turned_away_unbilled():
    with Endpoint(MODEL) as endpoint:
        with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
            client(endpoint, key="another").chat.completions.create(**choice(BIRD, FISH))
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            client(endpoint).chat.completions.create(**(choice(BIRD, FISH) | {"model": "other"}))
        assert [model.id for model in client(endpoint).models.list()] == ["planted"]
    assert endpoint.paid.total() == 0


def test_requests_that_are_sent_at_once_are_answered_at_once_and_repeats_are_noticed():
    with Endpoint(MODEL, fault=lambda number: slow(0.3)) as endpoint, ThreadPoolExecutor(4) as pool:
        bodies = [choice(BIRD, FISH, seed=seed) for seed in (1, 2, 3, 1)]
        list(pool.map(lambda body: client(endpoint).chat.completions.create(**body), bodies))
    assert endpoint.most_at_once == 4
    assert endpoint.paid_again == [digest(bodies[0])]


def test_faults_come_in_turn():
    faults = each(3, refused(500), refused(429))
    assert [fault and fault.status for fault in map(faults, range(10))] == [
        *(None, None, None, 500, None, None, 429, None, None),
        500,
    ]
