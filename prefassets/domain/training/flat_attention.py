"""Attention over a `PairBatch`: the function that Hugging Face's models call in place of their own."""

# T tokens, S slots, H heads, G key-value heads, E numbers per head, N texts

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from prefassets.domain.training.pair_batch import AttentionLayout

NAME = "pairs"


def last_hidden_state(model: PreTrainedModel, batch: Any) -> torch.Tensor:
    """The model's last hidden state (after its final norm) of every place of a `PairBatch`: (T, hidden size)."""
    found = model.base_model(
        input_ids=batch.ids_T[None], position_ids=batch.position_T[None], use_cache=False, layout=batch.attention
    )
    return found.last_hidden_state[0]


def pads_attention(model: PreTrainedModel) -> bool:
    """Whether texts must stand padded: flash attention over texts of any length has 16-bit GPU kernels only."""
    return model.device.type == "cpu" or model.dtype == torch.float32


@contextmanager
def reads_pair_batches(model: PreTrainedModel) -> Iterator[None]:
    """Inside, the model attends within the texts of a `PairBatch`; afterwards as before.

    Raises:
        NotImplementedError: the model's attention cannot be replaced.
    """
    if not getattr(model, "_supports_attention_backend", False):
        raise NotImplementedError(
            f"{type(model).__name__} has an attention of its own, which cannot read pairs without padding; "
            f"use a model whose attention can be chosen in transformers, such as Qwen2.5"
        )
    config = model.config.get_text_config()
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before


@torch.compiler.disable
def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    layout: AttentionLayout,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each text; `query` is (1, H, T, E), keys and values (1, G, T, E), the result (1, T, H, E)."""
    if sliding_window is not None and sliding_window < layout.longest:
        raise NotImplementedError(
            f"the model looks back {sliding_window} tokens only, but a text has {layout.longest}; set the study's "
            f"hyperparameters.max_length to at most {sliding_window}"
        )
    if unknown := [name for name in ("softcap", "s_aux", "position_bias") if others.get(name) is not None]:
        raise NotImplementedError(
            f"attention with {unknown[0]} is not implemented; use a model without, such as Qwen2.5"
        )
    if dropout:
        raise NotImplementedError("attention dropout is not implemented; a frozen base model runs without it")
    slots = (_ToSlots.apply(states[0].transpose(0, 1), layout) for states in (query, key, value))
    attend = _padded if layout.groups else _variable_length
    output_SHE = attend(*slots, layout, scaling)
    return _FromSlots.apply(output_SHE, query.shape[2], layout)[None], None


AttentionInterface.register(NAME, _attention)


def _padded(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: AttentionLayout, scaling: float | None
) -> torch.Tensor:
    """Texts of similar length at once. They are padded at the end, where causal attention never looks."""
    outputs, begin = [], 0
    for texts, length in layout.groups:
        end = begin + texts * length
        group = (states[begin:end].unflatten(0, (texts, length)).transpose(1, 2) for states in (query, key, value))
        output = scaled_dot_product_attention(
            *group, is_causal=True, scale=scaling, enable_gqa=key.shape[1] < query.shape[1]
        )
        outputs.append(output.transpose(1, 2).flatten(0, 1))
        begin = end
    return torch.cat(outputs)


def _variable_length(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: AttentionLayout, scaling: float | None
) -> torch.Tensor:
    """Flash attention over texts of any length, one after the other; a GPU's, for 16-bit numbers."""
    from torch.nn.attention.varlen import varlen_attn

    places = (layout.begin_N, layout.begin_N, layout.longest, layout.longest)
    causal = (-1, 0)
    return varlen_attn(query, key, value, *places, scale=scaling, window_size=causal)


class _ToSlots(torch.autograd.Function):
    """States of tokens to the slots of attention, prompts twice. The gradient adds both, always in the same order."""

    @staticmethod
    def forward(ctx: Any, states_T: torch.Tensor, layout: AttentionLayout) -> torch.Tensor:
        ctx.layout, ctx.places = layout, len(states_T)
        return states_T.flatten(1).index_select(0, layout.token_S).view(-1, *states_T.shape[1:])

    @staticmethod
    def backward(ctx: Any, gradient_S: torch.Tensor) -> tuple[torch.Tensor, None]:
        layout: AttentionLayout = ctx.layout
        flat_S = gradient_S.flatten(1)
        gradient_T = flat_S.new_zeros(ctx.places, flat_S.shape[1])
        gradient_T.index_copy_(0, layout.filled_R, flat_S.index_select(0, layout.slot_R))
        gradient_T.index_add_(0, layout.twice_P, flat_S.index_select(0, layout.second_P))  # each token at most once
        return gradient_T.view(-1, *gradient_S.shape[1:]), None


class _FromSlots(torch.autograd.Function):
    """The outputs of attention back to tokens; a prompt's are read once, both being equal."""

    @staticmethod
    def forward(ctx: Any, output_S: torch.Tensor, places: int, layout: AttentionLayout) -> torch.Tensor:
        ctx.layout, ctx.slots = layout, len(output_S)
        flat_S = output_S.flatten(1)
        output_T = flat_S.new_zeros(places, flat_S.shape[1])
        output_T.index_copy_(0, layout.filled_R, flat_S.index_select(0, layout.slot_R))
        return output_T.view(-1, *output_S.shape[1:])

    @staticmethod
    def backward(ctx: Any, gradient_T: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        layout: AttentionLayout = ctx.layout
        flat_T = gradient_T.flatten(1)
        gradient_S = flat_T.new_zeros(ctx.slots, flat_T.shape[1])
        gradient_S.index_copy_(0, layout.slot_R, flat_T.index_select(0, layout.filled_R))
        return gradient_S.view(-1, *gradient_T.shape[1:]), None, None
