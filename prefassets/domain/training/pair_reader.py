"""How a Hugging Face model is made to read a `PairBatch`: what stands in for its own parts meanwhile."""

# T places, Q of them read at the end, D hidden size; S slots, H heads, E numbers per head

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention, silu
from transformers import AttentionInterface, PreTrainedModel

from prefassets.domain.training.lora import left_untouched
from prefassets.domain.training.pair_batch import AdapterLayout, AttentionLayout, PairBatch

NAME = "pairs"
FUSED_ON = ("cuda",)  # devices on which small operations cost so much that it pays to compile them into one


class PairReader:
    """A model that reads pair batches while it is inside `on_the_model`."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self._now = threading.local()  # several threads may read a batch each
        self._replaceable = _replaceable(model)

    @property
    def adapters(self) -> AdapterLayout:
        """Whose the rows are that are passing through a layer in this thread right now."""
        return self._now.adapters

    @property
    def pads_attention(self) -> bool:
        """Whether texts must stand padded: flash attention over texts of any length has 16-bit GPU kernels only."""
        return self.model.device.type == "cpu" or self.model.dtype == torch.float32

    def last_hidden_state(self, batch: PairBatch) -> torch.Tensor:
        """The last hidden state (after the final norm) of the places that `batch.read` names: (T, D).

        Other places have no meaning: the last layer does not finish them.
        """
        self._now.adapters, self._now.read = batch.adapters, batch.read
        found = self.model.base_model(
            input_ids=batch.ids_T[None], position_ids=batch.position_T[None], use_cache=False, layout=batch.attention
        )
        return found.last_hidden_state[0]

    @contextmanager
    def on_the_model(self) -> Iterator[None]:
        """Inside, the model attends within the texts of a batch; afterwards it is as before.

        Raises:
            NotImplementedError: the model's attention cannot be replaced.
        """
        model = self.model
        if not getattr(model, "_supports_attention_backend", False):
            raise NotImplementedError(
                f"{type(model).__name__} has an attention of its own, which cannot read pairs without padding; "
                f"use a model whose attention can be chosen in transformers, such as Qwen2.5"
            )
        config = model.config.get_text_config()
        before = config._attn_implementation
        config._attn_implementation = NAME
        try:
            with left_untouched(model), _fused_rotary(model):
                for name, fused in self._replaceable.items():
                    replace_part(model.base_model, name, fused(model.base_model.get_submodule(name)))
                layers = getattr(model.base_model, "layers", [None])
                if isinstance(mlp := getattr(layers[-1], "mlp", None), nn.Module):
                    layers[-1].mlp = _OnlyWhereRead(mlp, self)
                yield
        finally:
            config._attn_implementation = before


def replace_part(model: nn.Module, name: str, by: nn.Module) -> None:
    """Put another module in the place of the model's part `name`."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, by)


class _OnlyWhereRead(nn.Module):
    """The last layer's feed-forward part, on the places whose state is read: what it adds elsewhere, nobody sees."""

    def __init__(self, mlp: nn.Module, reader: PairReader) -> None:
        super().__init__()
        self.mlp = mlp
        self._reader = [reader]  # in a list, so that torch does not take its model for a part of this one

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        (reader,) = self._reader
        now = reader._now
        everywhere, read = now.adapters, now.read
        rows = len(read.adapters.adapter_b) * read.adapters.block
        now.adapters = read.adapters
        try:
            found_QD = self.mlp(_Move.apply(states[0], read.place_Q, read.slot_Q, rows)[None])[0]
        finally:
            now.adapters = everywhere
        return _Move.apply(found_QD, read.slot_Q, read.place_Q, states.shape[1])[None]


class _Move(torch.autograd.Function):
    """Rows `source` of a matrix to rows `target` of one with `rows` rows, the others zero; each goes to one place."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, source: torch.Tensor, target: torch.Tensor, rows: int) -> torch.Tensor:
        ctx.save_for_backward(source, target)
        ctx.rows = len(values)
        return values.new_zeros(rows, values.shape[1]).index_copy_(0, target, values.index_select(0, source))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        source, target = ctx.saved_tensors
        moved = gradient.new_zeros(ctx.rows, gradient.shape[1])
        return moved.index_copy_(0, source, gradient.index_select(0, target)), None, None, None


@cache
def _compiled(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return torch.compile(function, dynamic=True)


def _rms_norm(states: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    exact = states.float()
    normal = exact * torch.rsqrt(exact.pow(2).mean(-1, keepdim=True) + epsilon)
    return weight * normal.to(states.dtype)


def _gate(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    return silu(gate) * up


class _FusedNorm(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return _compiled(_rms_norm)(states, self.norm.weight, self.norm.variance_epsilon)


class _FusedMlp(nn.Module):
    def __init__(self, mlp: nn.Module) -> None:
        super().__init__()
        self.mlp: Any = mlp

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.mlp.down_proj(_compiled(_gate)(self.mlp.gate_proj(states), self.mlp.up_proj(states)))


def _replaceable(model: PreTrainedModel) -> dict[str, Callable[[nn.Module], nn.Module]]:
    """Parts of a model on a GPU whose chains of small operations can be one kernel each, by name, and what they become.

    Those chains cost a GPU more than its matrices do. A part is taken for what it seems to be by its attributes only
    if it computes that, too.
    """
    if model.device.type not in FUSED_ON:
        return {}
    found: dict[str, Callable[[nn.Module], nn.Module]] = {}
    sample = (
        torch.linspace(-1, 1, 4 * model.config.get_text_config().hidden_size).view(4, -1).to(model.device, model.dtype)
    )
    for name, part in model.base_model.named_modules():
        if isinstance(part, nn.Linear):
            continue
        if _is_rms_norm(part, sample):
            found[name] = _FusedNorm
        elif _is_gated_mlp(part, sample):
            found[name] = _FusedMlp
    return found


@torch.no_grad()
def _is_rms_norm(part: Any, sample: torch.Tensor) -> bool:
    if not hasattr(part, "variance_epsilon") or part.weight.shape != sample.shape[1:]:
        return False
    return torch.equal(part(sample), _rms_norm(sample, part.weight, part.variance_epsilon))


@torch.no_grad()
def _is_gated_mlp(part: Any, sample: torch.Tensor) -> bool:
    if not {"gate_proj", "up_proj", "down_proj"} <= part._modules.keys():
        return False
    return torch.equal(part(sample), part.down_proj(_gate(part.gate_proj(sample), part.up_proj(sample))))


@contextmanager
def _fused_rotary(model: PreTrainedModel) -> Iterator[None]:
    """On a GPU, rotary embeddings as one kernel; the function is the module's own, compiled."""
    module: Any = sys.modules[type(model).__module__]
    rotary = getattr(module, "apply_rotary_pos_emb", None)
    if model.device.type not in FUSED_ON or rotary is None:
        yield
        return
    module.apply_rotary_pos_emb = _compiled(rotary)
    try:
        yield
    finally:
        module.apply_rotary_pos_emb = rotary


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
    """Causal attention within each text: (1, T, H, E), of queries (1, H, T, E) and keys and values with fewer heads."""
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
    query_SHE, key_SHE, value_SHE = (
        _ToSlots.apply(states[0].transpose(0, 1), layout) for states in (query, key, value)
    )
    attend = _padded if layout.groups else _variable_length
    output_SHE = attend(query_SHE, key_SHE, value_SHE, layout, scaling)
    return _FromSlots.apply(output_SHE, query.shape[2], layout)[None], None


AttentionInterface.register(NAME, _attention)


def _padded(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: AttentionLayout, scaling: float | None
) -> torch.Tensor:
    """Texts of similar length at once. They are padded at the end, where causal attention never looks."""
    outputs, begin = [], 0
    for texts, length in layout.groups:
        end = begin + texts * length
        own_query, own_key, own_value = (
            states[begin:end].unflatten(0, (texts, length)).transpose(1, 2) for states in (query, key, value)
        )
        output = scaled_dot_product_attention(
            own_query, own_key, own_value, is_causal=True, scale=scaling, enable_gqa=key.shape[1] < query.shape[1]
        )
        outputs.append(output.transpose(1, 2).flatten(0, 1))
        begin = end
    return torch.cat(outputs)


def _variable_length(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: AttentionLayout, scaling: float | None
) -> torch.Tensor:
    """Flash attention over texts of any length, one after the other; a GPU's, for 16-bit numbers."""
    from torch.nn.attention.varlen import varlen_attn

    begins, longest, causal = layout.begin_N, layout.longest, (-1, 0)
    output = varlen_attn(query, key, value, begins, begins, longest, longest, scale=scaling, window_size=causal)
    assert isinstance(output, torch.Tensor)  # no other result was asked for
    return output


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
        both_P = flat_S.index_select(0, layout.slot_P).add_(flat_S.index_select(0, layout.second_P))
        gradient_T.index_copy_(0, layout.twice_P, both_P)
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
