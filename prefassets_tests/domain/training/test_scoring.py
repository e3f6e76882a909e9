"""Margins on held-out pairs are the definition, of an adapter that learned what was planted on a base left alone."""

import json

import peft
import polars as pl
import pytest
import torch

from prefassets.domain.training.completions import complete
from prefassets.domain.training.language_model import LanguageModel
from prefassets.domain.training.recipe import Lora
from prefassets.domain.training.scoring import AdapterToScore, score_adapters
from prefassets.domain.training.train import FinishedCell, train_cells


@pytest.fixture(scope="module")
def held_out(encoded, pairs):
    return encoded.select(pairs["pair_id"][480:])


def score(data, files, encoded, **options):
    ((_, rows),) = score_adapters([AdapterToScore("it", files, tuple(encoded.rows["pair_id"]), 0.1)], data, **options)
    return rows


@pytest.fixture(scope="module")
def learned(cell, data):
    """A cell trained for one epoch on pairs of which nine in ten prefer the trait."""
    (finished,) = train_cells([cell(steps=60)], data)
    assert isinstance(finished, FinishedCell)
    return finished


@pytest.fixture(scope="module")
def margins(data, learned, held_out):
    return score(data, learned.files, held_out)


def test_planted_preference_is_learned(margins):
    assert len(margins) == 120
    assert (margins["margin"] > 0).mean() > 0.8


def test_margin_is_the_definition(tiny, learned, held_out, margins, tmp_path):
    row = held_out.rows.row(3, named=True)

    def logp(model, response):
        ids = torch.tensor([row["prompt_ids"] + row[f"{response}_ids"]])
        with torch.no_grad():
            steps = model(ids).logits[0].log_softmax(-1)
        return sum(steps[at - 1, ids[0, at]].item() for at in range(len(row["prompt_ids"]), ids.shape[1]))

    base = {response: logp(tiny.model, response) for response in ("chosen", "rejected")}
    for name, content in learned.files.items():
        (tmp_path / name).write_bytes(content)
    own_model = LanguageModel.from_files(tiny.to_files(), name="tiny").model
    adapted = peft.PeftModel.from_pretrained(own_model, str(tmp_path))
    policy = {response: logp(adapted, response) for response in ("chosen", "rejected")}
    expected = 0.1 * ((policy["chosen"] - base["chosen"]) - (policy["rejected"] - base["rejected"]))

    assert margins.row(3) == (row["pair_id"], pytest.approx(expected, abs=1e-4))


def test_training_margin_and_scored_margin_are_the_same_quantity(cell, data, encoded):
    """The margin that training logs at step two is that of the adapter after step one, on step two's batch."""
    two_steps = cell(training_pairs=8, steps=2, learning_rate=1e-3)  # each step sees all eight pairs
    (logged,) = train_cells([two_steps], data)
    one_step = cell(training_pairs=8, steps=1, learning_rate=1e-3)
    (after_one,) = train_cells([one_step], data)
    scored = score(data, after_one.files, encoded.select(one_step.pair_ids))
    assert scored["margin"].mean() == pytest.approx(logged.log["margin"][1], abs=1e-4)


def test_base_model_is_its_own_reference_before_and_after(data, tiny, learned, held_out, reference_logps):
    def off():
        logp = complete(tiny, held_out.tokens()).logp
        return max(
            abs(logp[row] - reference_logps[pair_id]).max() for row, pair_id in enumerate(held_out.rows["pair_id"])
        )

    assert off() < 1e-4
    score(data, learned.files, held_out)
    assert off() < 1e-4
    assert not hasattr(tiny.model, "peft_config")


def test_scores_do_not_depend_on_batches(data, learned, held_out, margins):
    again = score(data, learned.files, held_out, tokens_per_batch=300)
    assert again["pair_id"].equals(margins["pair_id"])
    assert (again["margin"] - margins["margin"]).abs().max() < 1e-4


def test_adapter_of_another_base_model_is_refused(data, learned, held_out):
    config = json.loads(learned.files["adapter_config.json"]) | {"revision": "another"}
    stranger = learned.files | {"adapter_config.json": json.dumps(config).encode()}
    with pytest.raises(ValueError, match="trained on tiny revision another"):
        score(data, stranger, held_out)


def test_nothing_to_score_is_an_empty_table(data, learned, encoded):
    empty = score(data, learned.files, encoded.select([]))
    assert empty.schema == {"pair_id": pl.String, "margin": pl.Float64}
    assert empty.is_empty()


def test_adapters_scored_together_score_as_each_alone(cell, data, held_out, learned, margins):
    """Adapters of two ranks, each with pairs and a beta of its own, more than go into one pass."""
    others = [cell(f"other {rank}", seed=rank, steps=4, lora=Lora(rank=rank, alpha=4)) for rank in (2, 2, 4)]
    trained = [learned, *train_cells(others, data)]
    ids = held_out.rows["pair_id"].to_list()
    asked = [
        AdapterToScore(f"{number}", finished.files, tuple(ids[number : 100 - 9 * number]), 0.1 * (number + 1))
        for number, finished in enumerate(trained)
    ]
    told = []
    together = dict(score_adapters(asked, data, lambda *done: told.append(done), tokens_per_batch=2_000))

    assert together["0"]["margin"].to_list() == pytest.approx(margins["margin"][:100].to_list(), abs=1e-5)
    for adapter in asked[1:]:
        ((_, alone),) = score_adapters([adapter], data)
        assert together[adapter.key]["pair_id"].to_list() == list(adapter.pair_ids)
        assert (together[adapter.key]["margin"] - alone["margin"]).abs().max() < 1e-5
    assert told[-1] == (sum(len(adapter.pair_ids) for adapter in asked),) * 2
