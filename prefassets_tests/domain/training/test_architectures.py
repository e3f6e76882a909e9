"""Other base models than Qwen2: read and trained as transformers and PEFT do it, or refused with a reason."""

from types import SimpleNamespace

import numpy as np
import peft
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from prefassets.domain.training.completions import complete, response_tokens, sum_by_text
from prefassets.domain.training.lora import initial_weights, left_untouched, lora_config
from prefassets.domain.training.pair_batch import PairTokens, lay_out
from prefassets.domain.training.quiet import quiet
from prefassets.domain.training.recipe import Lora
from prefassets.domain.training.stacked_lora import StackedLora, as_row, from_row

LORA = Lora(rank=4, alpha=8)
SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
READ = {
    "Llama": {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "Mistral": {"sliding_window": 64},
    "Qwen3": {"head_dim": 16},
    "Gemma3Text": {"head_dim": 8, "sliding_window": 64},
    "Mixtral": {"num_local_experts": 4},
}
REFUSED = {
    "Gemma2": ({"head_dim": 8}, "softcap"),
    "Mistral": ({"sliding_window": 8}, "looks back 8 tokens only"),
    "Phi": ({}, "has a bias"),
    "Cohere": ({}, "logit_scale"),
    "Lfm2": ({"layer_types": ["conv", "full_attention"]}, "mixes texts"),
}


def language_model(architecture, options):
    """A random model; its weights are shaken, so that norms and biases count."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{architecture}Config")(**SHAPE | options)
    model = AutoModelForCausalLM.from_config(config).requires_grad_(False).eval()
    for weight in model.parameters():
        weight.add_(0.1 * torch.randn_like(weight))
    return SimpleNamespace(model=model, name=architecture, revision="random")


@pytest.fixture(scope="module")
def pairs():
    random = np.random.default_rng(0)
    lengths = [(3, 5, 9), (12, 7, 4), (6, 1, 14), (20, 6, 6), (2, 0, 3), (9, 11, 2)]
    return [PairTokens(*(random.integers(3, 97, length) for length in of_pair)) for of_pair in lengths]


def one_by_one(model, pairs):
    """Log-probabilities of both answers, each text read alone by the model's own forward pass."""
    found = []
    for pair in pairs:
        for answer in pair.answers:
            ids = torch.from_numpy(np.concatenate([pair.prompt, answer]))
            logp_TV = model(ids[None], use_cache=False).logits[0].double().log_softmax(-1)
            found.append(logp_TV[len(pair.prompt) - 1 : -1][range(len(answer)), answer].sum())
    return torch.stack(found).view(-1, 2)


@pytest.mark.parametrize("architecture", READ)
def test_two_adapters_at_once_are_two_peft_models(architecture, pairs):
    own = language_model(architecture, READ[architecture])
    with torch.no_grad():
        expected = one_by_one(own.model, pairs)
    assert np.allclose(complete(own, pairs, alignment_sum=True).logp, expected, atol=1e-4)

    weights = [initial_weights(own, LORA, seed) for seed in (0, 1)]
    weights = [{name: w + 0.05 * torch.randn_like(w) for name, w in one.items()} for one in weights]
    order, _ = as_row(weights[0])
    stack = StackedLora(own, LORA, order, [as_row(one)[1] for one in weights])
    shares, factor = (pairs[:2], pairs[2:]), torch.arange(12.0).view(6, 2) - 5
    batch = lay_out(shares, own.model.device, padded=True)
    with stack.on_the_model():
        found = response_tokens(own.model, batch, stack.last_hidden_state(batch), squares=False)
        logp = sum_by_text(found.logp_C, batch)
        (logp * factor).sum().backward()

    for number, rows in enumerate((slice(0, 2), slice(2, 6))):
        with quiet(), left_untouched(own.model):
            adapted = peft.get_peft_model(own.model, lora_config(own, LORA))
            peft.set_peft_model_state_dict(adapted, weights[number])
            by_peft = one_by_one(adapted, shares[number])
            (by_peft * factor[rows]).sum().backward()
            gradients = {
                name.replace(".default", ""): weight.grad
                for name, weight in adapted.named_parameters()
                if weight.requires_grad
            }
        assert torch.allclose(logp[rows], by_peft, atol=1e-4)
        for name, gradient in from_row(order, stack.gradient_KP[number]).items():
            assert torch.allclose(gradient, gradients[name], rtol=1e-3, atol=1e-4), name


@pytest.mark.parametrize("architecture", REFUSED)
def test_a_model_that_would_be_read_wrongly_is_refused(architecture, pairs):
    options, reason = REFUSED[architecture]
    with pytest.raises(NotImplementedError, match=reason):
        complete(language_model(architecture, options), pairs)
