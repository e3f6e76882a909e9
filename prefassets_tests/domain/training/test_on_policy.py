"""Answers that the model writes itself: from its own distribution, scored by the definition, nothing left changed."""

from copy import deepcopy

import numpy as np
import polars as pl
import pytest
import torch
from transformers import GenerationConfig

from prefassets.domain.training import on_policy
from prefassets.domain.training.completions import complete
from prefassets.domain.training.encoding import EncodedPairs, encode_pairs
from prefassets.domain.training.on_policy import on_policy_answers
from prefassets.resources.tables import TABLES

LENGTH, PROMPTS = 96, 60
OWN_SETTINGS = GenerationConfig(do_sample=True, top_k=2, top_p=0.8, temperature=0.7, repetition_penalty=1.5)


@pytest.fixture(scope="module")
def prompts(pairs, tiny):
    """Of 3 kinds of length, so that some are padded."""
    longer = pairs.head(PROMPTS).with_columns(
        prompt=pl.Series(
            [
                [{"role": "user", "content": " ".join([message["content"]] * (1 + row % 3))} for message in prompt]
                for row, prompt in enumerate(pairs["prompt"][:PROMPTS])
            ]
        )
    )
    return encode_pairs(longer, tiny.tokenizer, LENGTH)


@pytest.fixture(scope="module")
def written(tiny, prompts):
    """The rows, and the token numbers behind them by (sampling, row, answer)."""
    scored = []

    def spy(language_model, pairs, **options):
        scored.extend(pairs)
        return complete(language_model, pairs, **options)

    own = tiny.model.generation_config
    tiny.model.generation_config = deepcopy(OWN_SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_policy, "complete", spy)
        rows = on_policy_answers(tiny, prompts, LENGTH, seed=0)
    assert tiny.model.generation_config.to_dict() == OWN_SETTINGS.to_dict()
    tiny.model.generation_config = own
    tokens = {
        (sampling, row, number + 1): (pair.prompt, pair.answers[number])
        for sampling, pairs in (("T = 1", scored[:PROMPTS]), ("greedy", scored[PROMPTS:]))
        for row, pair in enumerate(pairs)
        for number in range(2 if sampling == "T = 1" else 1)
    }
    return rows, tokens


@pytest.fixture(scope="module")
def by_definition(tiny, written):
    """Per answer from full logits, one text at a time: a_t, its mean and variance under p, and if y is argmax p."""
    found = {}
    for key, (prompt, answer) in written[1].items():
        with torch.no_grad():
            logits = tiny.model(torch.from_numpy(np.concatenate([prompt, answer]))[None]).logits[0].double()
        log_p = logits[len(prompt) - 1 : -1].log_softmax(-1)
        a = log_p - (2 * log_p).logsumexp(-1, keepdim=True)
        mean = (log_p.exp() * a).sum(-1)
        variance = (log_p.exp() * a**2).sum(-1) - mean**2
        of_answer = a[range(len(answer)), answer]
        found[key] = of_answer.numpy(), mean.numpy(), variance.numpy(), (log_p.argmax(-1).numpy() == answer)
    return found


def test_what_is_scored_is_what_was_written_by_the_definition(written, by_definition):
    rows, tokens = written
    assert len(rows) == 3 * PROMPTS
    order = {pair_id: row for row, pair_id in enumerate(rows["pair_id"].unique(maintain_order=True))}
    for row in rows.iter_rows(named=True):
        key = row["sampling"], order[row["pair_id"]], row["answer"]
        assert row["tokens"] == len(tokens[key][1])
        assert row["alignment_sum"] == pytest.approx(by_definition[key][0].sum(), abs=1e-4)


def test_greedy_answers_are_the_likeliest_tokens_and_have_weight_1(written, by_definition):
    for (sampling, *_), (a, _, _, likeliest) in by_definition.items():
        if sampling == "greedy":
            assert likeliest.all()
            assert (a >= 0).all(), "sum_v p^2 <= max_v p"
    greedy = written[0].filter(sampling="greedy")
    assert (greedy["alignment_sum"] > -1e-5).all()


def test_samples_are_of_the_whole_distribution_whatever_the_models_own_settings(by_definition):
    sampled = [values for key, values in by_definition.items() if key[0] == "T = 1"]
    a, mean, variance, likeliest = (np.concatenate(column) for column in zip(*sampled, strict=True))
    assert len(a) > 2_000
    assert (mean <= 1e-12).all(), "Renyi-2 minus Shannon entropy"
    assert abs((a - mean).sum()) < 4 * np.sqrt(variance.sum()), "a sum of martingale differences"
    assert not likeliest.all()


def test_an_answer_ends_with_its_turn_or_where_the_maximum_length_does(tiny, prompts, written):
    end = tiny.tokenizer.eos_token_id
    longest = max(len(ids) for ids in prompts.rows["prompt_ids"])
    short = longest + 9
    for rows, most, tokens in (
        (written[0], LENGTH, written[1]),
        (on_policy_answers(tiny, prompts, short, 0), short, None),
    ):
        for row in rows.iter_rows(named=True):
            (prompt,) = prompts.rows.filter(pair_id=row["pair_id"])["prompt_ids"]
            assert row["finished"] or row["tokens"] == most - len(prompt)
            assert row["tokens"] <= most - len(prompt)
            assert "<|" not in row["text"]
        if tokens:
            assert all((ids[:-1] != end).all() for _, ids in tokens.values())
            assert rows["finished"].to_list() == [
                bool(tokens[key][1][-1] == end) for key in sorted(tokens, key=lambda key: (key[1], key[0]))
            ]
        else:
            assert (~rows["finished"]).sum() > 0


def test_equal_seeds_write_equal_answers_and_nothing_is_left_changed(tiny, prompts, written):
    own, state = tiny.model.generation_config, torch.random.get_rng_state()
    assert on_policy_answers(tiny, prompts, LENGTH, seed=0).equals(written[0]), "with other settings of the model's own"
    other = on_policy_answers(tiny, prompts, LENGTH, seed=1)
    greedy = pl.col("sampling") == "greedy"
    assert other.filter(greedy)["text"].equals(written[0].filter(greedy)["text"])
    assert not other.filter(~greedy)["text"].equals(written[0].filter(~greedy)["text"])
    assert tiny.model.generation_config is own
    assert tiny.model.config.use_cache is False
    assert torch.equal(torch.random.get_rng_state(), state)


def test_greedy_answers_do_not_depend_on_batches_and_progress_reaches_the_end(tiny, prompts, written, monkeypatch):
    monkeypatch.setattr(on_policy, "PLACES_AT_ONCE", {"cpu": 7 * 2 * LENGTH})
    told = []
    rows = on_policy_answers(tiny, prompts, LENGTH, seed=0, on_batch=lambda *done: told.append(done))
    assert [done for done, _ in told] == [*range(7, PROMPTS, 7), PROMPTS]
    of_batches, at_once = (found.filter(sampling="greedy") for found in (rows, written[0]))
    assert of_batches["text"].equals(at_once["text"])
    assert rows["pair_id"].equals(written[0]["pair_id"])


def test_rows_fit_the_table(tiny, prompts, written):
    labels = {"reference": "tiny@96", "base_model": "tiny", "revision": tiny.revision}
    TABLES["model.on_policy"].conform(
        written[0].with_columns(pl.lit(value).alias(name) for name, value in labels.items())
    )
    assert on_policy_answers(tiny, EncodedPairs(prompts.rows.head(0)), LENGTH, seed=0).is_empty()


def test_every_end_that_the_models_own_settings_name_ends_an_answer(tiny, prompts, written, monkeypatch):
    (_, answer) = written[1]["greedy", 0, 1]
    also = int(answer[3])
    own = GenerationConfig(eos_token_id=[tiny.tokenizer.eos_token_id, also])
    monkeypatch.setattr(tiny.model, "generation_config", own)
    rows = on_policy_answers(tiny, EncodedPairs(prompts.rows.head(1)), LENGTH, seed=0)
    (greedy,) = rows.filter(sampling="greedy").iter_rows(named=True)
    assert greedy["tokens"] == 1 + answer.tolist().index(also)
    assert greedy["finished"]
