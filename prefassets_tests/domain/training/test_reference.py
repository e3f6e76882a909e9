"""The reference pass against the definitions, computed token by token from the model's full logits."""

import polars as pl
import pytest
import torch

from prefassets.domain.training import completions
from prefassets.domain.training.completions import output_head
from prefassets.domain.training.encoding import EncodedPairs
from prefassets.domain.training.reference import reference_pass
from prefassets.resources.tables import TABLES

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def naive(tiny, encoded):
    """For the first pairs and each response: log-prob, alignment sum and mean hidden state, one sequence at a time."""
    rows = []
    for row in encoded.rows.head(8).iter_rows(named=True):
        for response in ("chosen", "rejected"):
            prompt, answer = row["prompt_ids"], row[f"{response}_ids"]
            with torch.no_grad():
                out = tiny.model(torch.tensor([prompt + answer]), output_hidden_states=True)
            probabilities = out.logits[0].double().softmax(-1)
            logp = alignment = 0.0
            for offset, token in enumerate(answer):
                before = probabilities[len(prompt) + offset - 1]
                logp += before[token].log().item()
                alignment += before[token].log().item() - before.square().sum().log().item()
            hidden = out.hidden_states[-1][0, len(prompt) :].mean(0)
            rows.append((logp, alignment, hidden, len(prompt), len(answer)))
    return rows


def test_log_probs_and_alignment_are_the_definitions(reference, naive):
    found = reference.head(16)
    assert found["response"].to_list() == ["chosen", "rejected"] * 8
    for column, position in (("logp", 0), ("alignment_sum", 1)):
        assert found[column].to_list() == pytest.approx([row[position] for row in naive], abs=TOLERANCE)


def test_hidden_mean_is_over_the_response_alone(reference, naive):
    for found, (_, _, hidden, *_) in zip(reference["hidden_mean"], naive, strict=False):
        assert torch.allclose(torch.tensor(found.to_list()), hidden, atol=1e-5)


def test_token_counts_are_those_of_the_encoding(reference, naive):
    found = reference.head(16)
    assert found["prompt_tokens"].to_list() == [row[3] for row in naive]
    assert found["tokens"].to_list() == [row[4] for row in naive]


@pytest.mark.parametrize("tokens_per_batch", [1, 500, 100_000])
def test_numbers_do_not_depend_on_batches_or_order(tiny, encoded, reference, tokens_per_batch, monkeypatch):
    monkeypatch.setattr(completions, "LOGITS_AT_ONCE", {"cpu": 10_000})
    shuffled = EncodedPairs(encoded.rows.head(40).sample(fraction=1, shuffle=True, seed=5))
    found = reference_pass(tiny, shuffled, tokens_per_batch=tokens_per_batch)
    expected = reference.filter(pl.col("pair_id").is_in(shuffled.rows["pair_id"].implode()))

    both = found.join(expected, on=["pair_id", "response"], suffix="_expected")
    assert len(both) == 80
    assert found["pair_id"].unique(maintain_order=True).to_list() == shuffled.rows["pair_id"].to_list()
    for column in ("logp", "alignment_sum"):
        assert (both[column] - both[f"{column}_expected"]).abs().max() < TOLERANCE


def test_rows_fit_the_table_and_progress_reaches_the_end(tiny, encoded):
    told = []
    rows = reference_pass(
        tiny, EncodedPairs(encoded.rows.head(20)), on_batch=lambda *done: told.append(done), tokens_per_batch=600
    )

    labels = {"reference": "tiny@96", "base_model": "tiny", "revision": tiny.revision}
    TABLES["model.reference"].conform(rows.with_columns(pl.lit(value).alias(name) for name, value in labels.items()))
    assert len(told) > 1
    assert told[-1] == (20, 20)
    assert reference_pass(tiny, EncodedPairs(encoded.rows.head(0))).is_empty()


def test_model_that_caps_its_logits_is_refused_rather_than_misread(tiny, monkeypatch):
    monkeypatch.setattr(tiny.model.config, "final_logit_softcapping", 30.0, raising=False)
    with pytest.raises(NotImplementedError, match="final_logit_softcapping"):
        output_head(tiny.model)
