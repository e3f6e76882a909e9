"""A pair's weight is the definition, computed token by token, wherever it is computed or logged."""

import math
import statistics
from dataclasses import replace
from random import Random

import polars as pl
import pytest
import torch

from prefassets.domain.training.encoding import EncodedPairs
from prefassets.domain.training.reference import reference_pass
from prefassets.domain.training.train import TrainingData, train_cells

TOLERANCE = 1e-5


def greedy(model, prompt, tokens):
    """The model's own likeliest answer: each of its tokens is at least as likely as sum_v p(v)^2."""
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(tokens):
            ids.append(model(torch.tensor([ids])).logits[0, -1].argmax().item())
    return ids[len(prompt) :]


@pytest.fixture(scope="module")
def few(tiny, encoded):
    """Five pairs: in the first four some tokens were drawn blindly, the last is what the model itself would write."""
    random = Random(0)
    rows = encoded.rows.head(5).to_dicts()
    for strange, row in enumerate(rows[:-1], start=1):
        row["rejected_ids"] = [random.randrange(len(tiny.tokenizer)) for _ in range(strange)] + row["rejected_ids"]
    rows[-1] |= {
        "chosen_ids": greedy(tiny.model, rows[-1]["prompt_ids"], 12),
        "rejected_ids": greedy(tiny.model, rows[-1]["prompt_ids"], 7),
    }
    return EncodedPairs(pl.DataFrame(rows, schema=encoded.rows.schema))


@pytest.fixture(scope="module")
def naive(tiny, few):
    """By pair: min(1, exp(mean_t [log p(y_t) - log sum_v p(v)^2] of the chosen + the same of the rejected answer))."""

    def mean_alignment(prompt, answer):
        with torch.no_grad():
            probabilities = tiny.model(input_ids=torch.tensor([prompt + answer])).logits[0].double().softmax(-1)
        total = 0.0
        for offset, token in enumerate(answer):
            before = probabilities[len(prompt) + offset - 1]
            total += math.log(before[token]) - math.log(sum(p * p for p in before.tolist()))
        return total / len(answer)

    weights = {}
    for row in few.rows.iter_rows(named=True):
        alignment = sum(
            mean_alignment(row["prompt_ids"], row[f"{response}_ids"]) for response in ("chosen", "rejected")
        )
        weights[row["pair_id"]] = min(1.0, math.exp(alignment))
    *others, of_its_own = weights.values()
    assert max(others) < 1 == of_its_own
    return weights


@pytest.fixture(scope="module")
def data(tiny, few):
    logps = reference_pass(tiny, few).pivot("response", index="pair_id", values="logp")
    return TrainingData(tiny, few, {pair_id: (chosen, rejected) for pair_id, chosen, rejected in logps.iter_rows()})


@pytest.fixture(scope="module")
def first_step(cell, data):
    """The log of a weighted cell's first step on the pairs given, by the engine given: its policy is the base model."""

    def train(engine, *pair_ids):
        some = cell(steps=1, training_pairs=len(pair_ids), batch_size=len(pair_ids))
        some = replace(some, recipe=replace(some.recipe, method="wpo"), pair_ids=pair_ids)
        (finished,) = train_cells([some], data, engine=engine)
        (numbers,) = finished.log.to_dicts()
        return numbers

    return train


def test_the_reference_passs_sums_give_each_pairs_weight(tiny, few, naive):
    found = (
        reference_pass(tiny, few)
        .group_by("pair_id")
        .agg(weight=(pl.col("alignment_sum") / pl.col("tokens")).sum().exp().clip(upper_bound=1))
    )
    assert dict(found.iter_rows()) == pytest.approx(naive, abs=TOLERANCE)


@pytest.mark.parametrize("engine", ["packed", "trl"])
def test_the_weight_of_each_pair_is_what_training_logs(first_step, naive, engine):
    for pair_id, weight in naive.items():
        numbers = first_step(engine, pair_id)
        assert numbers["weight_mean"] == numbers["weight_min"] == pytest.approx(weight, abs=TOLERANCE)
        assert numbers["weight_clamped"] == (weight == 1)


@pytest.mark.parametrize("engine", ["packed", "trl"])
def test_a_batchs_weights_are_logged_and_weigh_its_loss(first_step, naive, engine):
    numbers = first_step(engine, *naive)
    assert numbers["weight_mean"] == pytest.approx(statistics.mean(naive.values()), abs=TOLERANCE)
    assert numbers["weight_min"] == pytest.approx(min(naive.values()), abs=TOLERANCE)
    assert numbers["weight_clamped"] == pytest.approx(1 / 5)
    # Every margin is 0, so the losses of a pair without weight are all log 2.
    assert numbers["loss"] == pytest.approx(math.log(2) * statistics.mean(naive.values()), abs=TOLERANCE)
