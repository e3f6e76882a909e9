"""Margins on held-out pairs are the definition, of an adapter that learned what was planted on a base left alone."""

import json

import polars as pl
import pytest
import torch

from prefassets.domain.training.completions import complete
from prefassets.domain.training.lora import with_adapter
from prefassets.domain.training.scoring import score_adapter
from prefassets.domain.training.train import FinishedCell, train_cells


@pytest.fixture(scope="module")
def held_out(encoded, pairs):
    return encoded.select(pairs["pair_id"][480:])


@pytest.fixture(scope="module")
def learned(cell, data):
    """A cell trained for one epoch on pairs of which nine in ten prefer the trait."""
    (finished,) = train_cells([cell(steps=60)], data)
    assert isinstance(finished, FinishedCell)
    return finished


@pytest.fixture(scope="module")
def margins(tiny, learned, held_out, reference_logps):
    return score_adapter(tiny, learned.files, held_out, reference_logps, beta=0.1)


def test_planted_preference_is_learned(margins):
    assert len(margins) == 120
    assert (margins["margin"] > 0).mean() > 0.8


def test_margin_is_the_definition(tiny, learned, held_out, margins, reference_logps):
    row = held_out.rows.row(3, named=True)

    def logp(model, response):
        ids = torch.tensor([row["prompt_ids"] + row[f"{response}_ids"]])
        with torch.no_grad():
            steps = model(ids).logits[0].log_softmax(-1)
        return sum(steps[at - 1, ids[0, at]].item() for at in range(len(row["prompt_ids"]), ids.shape[1]))

    base = {response: logp(tiny.model, response) for response in ("chosen", "rejected")}
    with with_adapter(tiny, learned.files) as adapted:
        policy = {response: logp(adapted.model, response) for response in ("chosen", "rejected")}
    expected = 0.1 * ((policy["chosen"] - base["chosen"]) - (policy["rejected"] - base["rejected"]))

    assert margins.row(3) == (row["pair_id"], pytest.approx(expected, abs=1e-4))


def test_training_margin_and_scored_margin_are_the_same_quantity(cell, data, tiny, reference_logps, encoded):
    """The margin that training logs at step two is that of the adapter after step one, on step two's batch."""
    two_steps = cell(training_pairs=8, steps=2, learning_rate=1e-3)  # each step sees all eight pairs
    (logged,) = train_cells([two_steps], data)
    one_step = cell(training_pairs=8, steps=1, learning_rate=1e-3)
    (after_one,) = train_cells([one_step], data)
    scored = score_adapter(tiny, after_one.files, encoded.select(one_step.pair_ids), reference_logps, beta=0.1)
    assert scored["margin"].mean() == pytest.approx(logged.log["margin"][1], abs=1e-4)


def test_base_model_is_its_own_reference_before_and_after(tiny, learned, held_out, reference_logps):
    def off():
        logp = complete(tiny, held_out).logp
        return max(
            abs(logp[row] - reference_logps[pair_id]).max() for row, pair_id in enumerate(held_out.rows["pair_id"])
        )

    assert off() < 1e-4
    score_adapter(tiny, learned.files, held_out, reference_logps, beta=0.1)
    assert off() < 1e-4
    assert not hasattr(tiny.model, "peft_config")


def test_scores_do_not_depend_on_batches(tiny, learned, held_out, margins, reference_logps):
    again = score_adapter(tiny, learned.files, held_out, reference_logps, beta=0.1, tokens_per_batch=300)
    assert again["pair_id"].equals(margins["pair_id"])
    assert (again["margin"] - margins["margin"]).abs().max() < 1e-4


def test_adapter_of_another_base_model_is_refused(tiny, learned, held_out, reference_logps):
    config = json.loads(learned.files["adapter_config.json"]) | {"revision": "another"}
    stranger = learned.files | {"adapter_config.json": json.dumps(config).encode()}
    with pytest.raises(ValueError, match="trained on tiny revision another"):
        score_adapter(tiny, stranger, held_out, reference_logps, beta=0.1)


def test_nothing_to_score_is_an_empty_table(tiny, learned, encoded, reference_logps):
    empty = score_adapter(tiny, learned.files, encoded.select([]), reference_logps, beta=0.1)
    assert empty.schema == {"pair_id": pl.String, "margin": pl.Float64}
    assert empty.is_empty()
