"""A model in this process answers by its own probabilities, each request by draws of its own."""

import numpy as np
import pytest
import torch

from prefassets.domain.preferences import in_process
from prefassets.domain.preferences.active_learning import Plan
from prefassets.domain.preferences.asking import Asker, InMemory, Request
from prefassets.domain.preferences.in_process import InProcess
from prefassets.domain.preferences.measure import complete_tasks, completion_texts, measure_choices, measure_ratings
from prefassets.domain.preferences.measurement import Measurement, Revealed, Stated
from prefassets.domain.preferences.template import Template
from prefassets.domain.training.tiny import train_tiny
from prefassets_tests.domain.preferences.answering import TASKS, flat

TEXTS = [f"Please do thing {number}, as {word} as you can." for number in range(20) for word in ("well", "soon")]


@pytest.fixture(scope="module")
def model():
    texts = [[{"role": "user", "content": text}, {"role": "assistant", "content": f"Task A. {text}"}] for text in TEXTS]
    return train_tiny(texts * 10, seed=0, steps=3).language_model


@pytest.fixture
def backend(model):
    return InProcess(model)


def request(text: str = "Which?", **more) -> Request:
    messages = ({"role": "user", "content": text},)
    return Request(**{"model": "tiny", "revision": "1", "messages": messages, "most_tokens": 12} | more)


def logps_of(model, text: str, permitted: tuple[str, ...]) -> np.ndarray:
    """Of each answer by the definition: full logits, one text at a time."""
    prompt = model.tokenizer(f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
    sums = []
    for answer in permitted:
        ids = model.tokenizer(answer)["input_ids"]
        with torch.no_grad():
            logp_TV = model.model(torch.tensor([prompt + ids])).logits[0].double().log_softmax(-1)
        sums.append(sum(logp_TV[len(prompt) - 1 + place, token].item() for place, token in enumerate(ids)))
    return np.array(sums)


@pytest.mark.parametrize("permitted", [("Task A", "Task B"), ("good", "neutral", "bad"), ("yes",)])
@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
def test_permitted_answers_have_their_share_of_the_models_probability(model, backend, permitted, temperature):
    asked = [request(text, permitted=permitted, temperature=temperature) for text in TEXTS[:5]]
    found = {answer.digest: answer for answer in backend.answers(asked)}
    for one in asked:
        logps = logps_of(model, one.messages[0]["content"], permitted)
        wanted = np.exp(logps / temperature) if temperature else (logps == logps.max()).astype(float)
        np.testing.assert_allclose(found[one.digest].probabilities, wanted / wanted.sum(), atol=1e-5)
        assert found[one.digest].text in permitted


def test_what_is_drawn_comes_as_often_as_it_is_probable_and_the_model_reads_it_once(backend, monkeypatch):
    read = []
    complete = in_process.complete
    monkeypatch.setattr(in_process, "complete", lambda model, pairs: read.extend(pairs) or complete(model, pairs))
    asked = [request(permitted=("Task A", "Task B"), sample=sample) for sample in range(2_000)]
    found = list(backend.answers(asked))
    probability = found[0].probabilities[0]
    share = np.mean([answer.text == "Task A" for answer in found])
    assert abs(share - probability) < 4 * np.sqrt(probability * (1 - probability) / len(found))
    assert len(read) == 1
    assert [answer.text for answer in backend.answers(asked[:50])] == [answer.text for answer in found[:50]]


def test_what_is_written_depends_on_the_request_and_not_on_what_is_asked_beside_it(backend, monkeypatch):
    asked = [request(text, sample=sample) for text in TEXTS[:6] for sample in range(2)]
    together = {answer.digest: answer for answer in backend.answers(asked)}
    assert len({answer.text for answer in together.values()}) > 6, "samples of one question differ"
    monkeypatch.setattr(in_process, "PLACES_AT_ONCE", {"cpu": 1})
    for one in asked:
        assert list(backend.answers([one])) == [together[one.digest]]
    assert all(answer.tokens == 12 or answer.finished for answer in together.values())


def test_at_temperature_0_the_likeliest_tokens_are_written(model, backend):
    (answer,) = backend.answers([request(temperature=0.0, most_tokens=4)])
    ids = model.tokenizer("<|im_start|>user\nWhich?<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
    begin = len(ids)
    with torch.no_grad():
        while len(ids) < begin + 4 and ids[-1] != model.tokenizer.eos_token_id:
            ids.append(int(model.model(torch.tensor([ids])).logits[0, -1].argmax()))
    assert answer.text == model.tokenizer.decode(ids[begin:], skip_special_tokens=True)


def test_what_does_not_fit_into_the_model_is_malformed_and_the_rest_is_answered(backend):
    long = request("thing " * 5_000, permitted=("Task A", "Task B"))
    found = {answer.digest: answer for answer in backend.answers([long, request()])}
    assert found[long.digest].malformed
    assert "do not fit into the model's 4096" in found[long.digest].text
    assert not found[request().digest].malformed


def test_a_model_that_is_not_told_of_a_tool_is_not_asked_to_call_it(model, backend, monkeypatch):
    tool = {"type": "function", "function": {"name": "choose", "parameters": {}}}
    with pytest.raises(ValueError, match="knows no tools"):
        list(backend.answers([request(tool=tool)]))
    monkeypatch.setattr(model.tokenizer, "chat_template", "{{ tools | tojson }}" + model.tokenizer.chat_template)
    assert next(backend.answers([request(tool=tool)])).text is not None


@pytest.mark.parametrize("template", [Template(), Template(response_format="xml", language="de")])
def test_constrained_every_row_is_a_choice_and_every_rating_a_word(backend, template):
    measurement = Measurement(
        name="m",
        question="?",
        model="tiny",
        revealed=Revealed(templates=(template,), asked=("before", "after"), plan=Plan(policy="all", samples=2)),
        stated=Stated(asked=("before", "after")),
        answering="constrained",
        most_completion_tokens=8,
    )
    asker = Asker(backend, InMemory())
    completions = completion_texts(complete_tasks(measurement, TASKS, asker))
    for configuration in measurement.choice_configurations:
        choices = measure_choices(measurement, configuration, TASKS, asker, flat, completions).choices
        assert len(choices) == 30
        assert set(choices["choice"]) <= {"a", "b"}
        assert choices["probability_a"].is_between(0, 1, closed="none").all()
    for rating in measurement.rating_configurations:
        ratings = measure_ratings(measurement, rating, TASKS, asker, completions)
        assert ratings["value"].null_count() == 0
        assert ratings["probabilities"].list.sum().to_list() == pytest.approx([1.0] * 6)
