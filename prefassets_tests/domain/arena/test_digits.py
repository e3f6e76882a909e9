"""Probabilities of digits read together are those of each prompt read alone, whatever the model does to its logits."""

from pathlib import Path

import numpy as np
import peft
import polars as pl
import pytest
import torch
import transformers
from bitsandbytes.nn import Linear4bit
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from prefassets.domain.arena.digits import digit_log_probabilities, predict_battles
from prefassets.domain.training.quiet import quiet
from prefassets.domain.training.tiny import train_tiny

SHAPE = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ARCHITECTURES = {
    "Qwen2": {"tie_word_embeddings": True},
    "Llama": {"attention_bias": True, "tie_word_embeddings": False},
    "Gemma": {"head_dim": 16},
    "Gemma2": {"head_dim": 16, "sliding_window": 16, "final_logit_softcapping": 0.5, "attn_logit_softcapping": 2.0},
    "Gemma3Text": {"head_dim": 16, "sliding_window": 16},
    "Cohere": {"logit_scale": 0.25},
    "Granite": {"logits_scaling": 3.0},
    "GPT2": {},  # positions are learned, not relative
}
DIGITS = (11, 7, 23)


def random_model(architecture="Qwen2", options=None):
    """Its weights are shaken, so that norms, biases and the digits' logits count."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{architecture}Config")(**SHAPE | (options or {}))
    model = AutoModelForCausalLM.from_config(config).requires_grad_(False).eval()
    for weight in model.parameters():
        weight.add_(0.1 * torch.randn_like(weight))
    return model


def prompts(count=30, longest=60):
    random = np.random.default_rng(0)
    return [random.integers(3, 97, random.integers(1, longest)).tolist() for _ in range(count)]


@torch.no_grad()
def one_by_one(model, ids, digits=DIGITS):
    """Each prompt alone, without padding, by all logits of the model's own forward pass."""
    logits = [model(torch.tensor([own]), use_cache=False).logits[0, -1, list(digits)] for own in ids]
    return torch.stack(logits).double().log_softmax(-1).numpy()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_prompts_of_any_length_together_are_the_same_prompts_alone(architecture):
    model, ids = random_model(architecture, ARCHITECTURES[architecture]), prompts()
    expected = one_by_one(model, ids)
    assert expected.std(0).min() > 0.02  # they are told apart
    for tokens_per_batch in (1, 150, 100_000):
        found = digit_log_probabilities(model, ids, DIGITS, pad=0, tokens_per_batch=tokens_per_batch)
        assert np.abs(found - expected).max() < 1e-5
        assert np.allclose(np.exp(found).sum(1), 1, atol=1e-12)


def test_what_fills_up_does_not_matter_and_progress_is_told():
    model, ids, told = random_model(), prompts(), []
    found = digit_log_probabilities(
        model, ids, DIGITS, pad=0, on_batch=lambda *both: told.append(both), tokens_per_batch=200
    )
    assert np.allclose(digit_log_probabilities(model, ids, DIGITS, pad=96), found, atol=1e-6)
    assert told[-1] == (30, 30)
    assert len(told) > 3
    assert told == sorted(told)


def test_no_prompt_has_no_probability():
    assert digit_log_probabilities(random_model(), [], DIGITS, pad=0).shape == (0, 3)


def test_an_adapter_in_training_is_refused_until_it_is_in_evaluation_mode():
    model = random_model()
    config = peft.LoraConfig(r=4, lora_dropout=0.5, init_lora_weights=False, target_modules=["q_proj", "down_proj"])
    with quiet():
        adapted, ids = peft.get_peft_model(model, config).train(), prompts()
    with pytest.raises(ValueError, match=r"call \.eval\(\)"):
        digit_log_probabilities(adapted, ids, DIGITS, pad=0)
    found = digit_log_probabilities(adapted.eval(), ids, DIGITS, pad=0)
    assert np.abs(found - one_by_one(adapted, ids)).max() < 1e-5
    with adapted.disable_adapter():
        assert np.abs(found - one_by_one(adapted, ids)).max() > 0.01

    adapted.train()(torch.tensor(ids[:1]), labels=torch.tensor(ids[:1])).loss.backward()  # and it goes on learning
    assert all(weight.grad is not None for weight in adapted.parameters() if weight.requires_grad)


def test_a_model_in_4_bits_is_read_as_it_reads_each_prompt_alone(tmp_path):
    random_model().save_pretrained(tmp_path)
    in_4_bits = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(
            Path(tmp_path), quantization_config=in_4_bits, dtype=torch.float32
        ).eval()
    for layer in model.modules():
        if isinstance(layer, Linear4bit):
            layer.support_avx512bf16_for_cpu = False  # it would be packed for reading alone, in 16 bits
    ids = prompts()
    found = digit_log_probabilities(model, ids, DIGITS, pad=0, tokens_per_batch=300)
    assert np.abs(found - one_by_one(model, ids)).max() < 1e-4
    assert np.abs(found - one_by_one(random_model(), ids)).max() > 0.01  # it is in 4 bits


@pytest.fixture(scope="module")
def tiny():
    text = "Which response would you prefer for the week? 0 1 2"
    return train_tiny(
        [[{"role": "user", "content": text}, {"role": "assistant", "content": text}]] * 60, 0, 3
    ).language_model


def battles(count=12):
    return pl.DataFrame(
        {
            "battle": [f"battle-{number}" for number in range(count)],
            "prompts": [["Plan it"] for _ in range(count)],
            "answers_a": [["rest " * 7 * number] for number in range(count)],
            "answers_b": [["work " * 40] for _ in range(count)],
        }
    )


def test_predictions_are_of_the_same_winners_in_both_orders(tiny):
    rows = battles()
    exchanged = rows.rename({"answers_a": "answers_b", "answers_b": "answers_a"})
    found, of_exchanged = (predict_battles(tiny, "base", "short", 256, given) for given in (rows, exchanged))
    for own, other in {"a": "b_swapped", "b": "a_swapped", "tie": "tie_swapped"}.items():
        assert np.allclose(found[own], of_exchanged[other], atol=1e-6)
        assert np.allclose(found[other], of_exchanged[own], atol=1e-6)
    assert np.abs(found["a"] - found["a_swapped"]).max() > 1e-4  # this model looks at the order
    assert np.allclose(found.select(pl.sum_horizontal("a", "b", "tie")), 1)
    assert np.allclose(found.select(pl.sum_horizontal("a_swapped", "b_swapped", "tie_swapped")), 1)


def test_a_prediction_is_what_the_model_says_after_the_chat_template(tiny):
    told = []
    found = predict_battles(tiny, "base", "short", 256, battles(3), lambda *both: told.append(both))
    asked = (
        f"<Q>Plan it</Q>\n<A>{'rest ' * 7}</A>\n<B>{'work ' * 40}</B>\nBetter? 0 A, 1 B, 2 tie<|im_end|>\n"
        f"<|im_start|>assistant\n"
    )
    ids = tiny.tokenizer(f"<|im_start|>user\n{asked}", add_special_tokens=False)["input_ids"]
    digits = [tiny.tokenizer(digit)["input_ids"][0] for digit in "012"]
    (expected,) = np.exp(one_by_one(tiny.model, [ids], digits))
    assert np.allclose(found.select("a", "b", "tie").row(1), expected, atol=1e-3)  # a space may belong to another token
    assert found.select("predictor", "battle", "left_out").row(1) == ("base", "battle-1", 0)
    assert abs(found["tokens"][1] - len(ids)) <= 2
    assert told[-1] == (3, 3)


def test_what_does_not_fit_is_counted_and_no_battle_is_no_prediction(tiny):
    found = predict_battles(tiny, "base", "short", 200, battles())
    assert found["battle"].to_list() == battles()["battle"].to_list()
    assert found["tokens"].max() <= 200
    assert (found["left_out"] > 0).any()
    assert predict_battles(tiny, "base", "short", 200, battles().clear()).schema == found.schema


def test_more_tokens_than_the_model_reads_are_refused(tiny):
    with pytest.raises(ValueError, match="reads 4096 tokens at most"):
        predict_battles(tiny, "base", "short", 5_000, battles())


def test_a_model_in_bfloat16_does_not_round_two_digits_to_a_tie():
    """Its own head does: logits of some 20 lie .125 apart."""
    model = random_model()
    head = model.get_output_embeddings().weight
    head[list(DIGITS)] = head[DIGITS[0]] + 0.0005 * torch.randn(len(DIGITS), head.shape[1])
    head[list(DIGITS)] *= 20
    model = model.to(torch.bfloat16)
    ids = prompts()
    logp = digit_log_probabilities(model, ids, DIGITS, pad=0)
    rounded = one_by_one(model, ids)
    ties = [sum(len(set(row)) < len(DIGITS) for row in found.tolist()) for found in (rounded, logp)]
    assert ties[0] > len(ids) / 6
    assert ties[1] == 0
