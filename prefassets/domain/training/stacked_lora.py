"""K LoRA adapters on one frozen model at once: each adapter's tokens pass through the base and through its own weights."""

# K adapters, P numbers of one adapter, T places of a batch, b its blocks, I inputs, O outputs, R rank

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from prefassets.domain.training.flat_attention import reads_pair_batches
from prefassets.domain.training.language_model import LanguageModel
from prefassets.domain.training.lora import left_untouched
from prefassets.domain.training.pair_batch import PairBatch
from prefassets.domain.training.recipe import Lora

PREFIX = "base_model.model."  # of every name in a PEFT file
WeightOrder = Mapping[str, torch.Size]


def as_row(weights: Mapping[str, torch.Tensor]) -> tuple[WeightOrder, torch.Tensor]:
    """An adapter's weights, by PEFT's names, as one row of float32 numbers, and where each stands in it."""
    order = {name: weight.shape for name, weight in sorted(weights.items())}
    return order, torch.cat([weights[name].flatten().float() for name in order])


def from_row(order: WeightOrder, row: torch.Tensor) -> dict[str, torch.Tensor]:
    """The weights that `as_row` put into a row, on the CPU."""
    parts = row.detach().cpu().split([shape.numel() for shape in order.values()])
    return {name: part.view(shape) for (name, shape), part in zip(order.items(), parts, strict=True)}


class StackedLora:
    """The weights of K adapters as one matrix, `weights_KP` in float32, and their gradients as another.

    A row is one whole adapter, so clipping, an optimizer's step and a copy are one operation on a row, and no row ever
    reads another. `order` says which PEFT weight stands where in it.
    """

    def __init__(self, language_model: LanguageModel, lora: Lora, order: WeightOrder, rows: Sequence[torch.Tensor]):
        """
        Args:
            order: where each PEFT weight stands in a row.
            rows: per adapter its P numbers, copied.

        Raises:
            ValueError: `order` names a layer that the model lacks.
        """
        self.language_model = language_model
        self.order = order
        self.weights_KP = torch.stack([row.detach().float() for row in rows]).to(language_model.model.device)
        self.gradient_KP = torch.zeros_like(self.weights_KP)
        self.dropout = lora.dropout
        self.generators: Sequence[torch.Generator] = ()
        self.batch: PairBatch | None = None
        self._layers = self._make_layers(lora.alpha / lora.rank)

    def _make_layers(self, scale: float) -> dict[str, "_StackedLinear"]:
        views, begin = {}, 0
        for name, shape in self.order.items():
            end = begin + shape.numel()
            view = nn.Parameter(self.weights_KP[:, begin:end].unflatten(1, shape))
            view.grad = self.gradient_KP[:, begin:end].unflatten(1, shape)  # autograd adds to it in place
            views[name] = view
            begin = end
        linear = dict(self.language_model.model.named_modules())
        layers = {}
        for layer in sorted({name.removeprefix(PREFIX).rpartition(".lora_")[0] for name in views}):
            a_KRI, b_KOR = (views.get(f"{PREFIX}{layer}.lora_{part}.weight") for part in "AB")
            if a_KRI is None or b_KOR is None or not isinstance(base := linear.get(layer), nn.Linear):
                raise ValueError(
                    f"the adapter's weights are not those of {self.language_model.name}: {layer} is unmatched"
                )
            layers[layer] = _StackedLinear(base, a_KRI, b_KOR, scale, self)
        return layers

    @contextmanager
    def on_the_model(self) -> Iterator[None]:
        """Inside, the model computes what `reading` says, each adapter on its own pairs; afterwards it is as before."""
        model = self.language_model.model
        with left_untouched(model), reads_pair_batches(model), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "grad and param do not obey the gradient layout contract")  # on purpose
            for name, layer in self._layers.items():
                parent, _, child = name.rpartition(".")
                setattr(model.get_submodule(parent), child, layer)
            yield

    def kept(self, inputs_TI: torch.Tensor) -> torch.Tensor | None:
        """What dropout leaves of an adapter's inputs, 0 or 1 / (1 - share) each; None if it leaves all.

        Each adapter's own generator draws for its own tokens, so that it trains as it would alone.
        """
        if not self.dropout or not self.generators:
            return None
        kept_TI = torch.empty_like(inputs_TI)
        for own, generator in zip(kept_TI.split(self.batch.places_by_adapter), self.generators, strict=True):
            own.bernoulli_(1 - self.dropout, generator=generator)
        return kept_TI.div_(1 - self.dropout)


class _StackedLinear(nn.Module):
    """A linear layer with K adapters beside it."""

    def __init__(self, base: nn.Linear, a_KRI: nn.Parameter, b_KOR: nn.Parameter, scale: float, stack: StackedLora):
        super().__init__()
        self.base, self.a_KRI, self.b_KOR, self.scale = base, a_KRI, b_KOR, scale
        self._stack = [stack]  # in a list, so that torch does not take it for a part of the model

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        (stack,) = self._stack
        batch = stack.batch
        inputs_TI = inputs.flatten(0, -2)
        output_TO = _LinearWithAdapters.apply(
            inputs_TI,
            self.base.weight,
            self.base.bias,
            self.a_KRI.to(inputs.dtype),
            self.b_KOR.to(inputs.dtype),
            batch.adapter_b,
            batch.block,
            self.scale,
            stack.kept(inputs_TI),
        )
        return output_TO.view(*inputs.shape[:-1], -1)


class _LinearWithAdapters(torch.autograd.Function):
    """y = W x + bias + scale B_k A_k x, k being the adapter of x's block (Hu et al. 2021, https://arxiv.org/abs/2106.09685).

    Blocks of equal size make all adapters' small products one batched product, however many tokens each adapter has.
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs_TI: torch.Tensor,
        weight_OI: torch.Tensor,
        bias_O: torch.Tensor | None,
        a_KRI: torch.Tensor,
        b_KOR: torch.Tensor,
        adapter_b: torch.Tensor,
        block: int,
        scale: float,
        kept_TI: torch.Tensor | None,
    ) -> torch.Tensor:
        output_TO = nn.functional.linear(inputs_TI, weight_OI, bias_O)
        adapted_TI = inputs_TI if kept_TI is None else inputs_TI * kept_TI
        low_bNR = _blocks(adapted_TI, block) @ a_KRI.index_select(0, adapter_b).mT
        _blocks(output_TO, block).baddbmm_(low_bNR, b_KOR.index_select(0, adapter_b).mT, alpha=scale)
        ctx.save_for_backward(adapted_TI, weight_OI, a_KRI, b_KOR, adapter_b, low_bNR, kept_TI)
        ctx.block, ctx.scale = block, scale
        return output_TO

    @staticmethod
    def backward(ctx: Any, gradient_TO: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        adapted_TI, weight_OI, a_KRI, b_KOR, adapter_b, low_bNR, kept_TI = ctx.saved_tensors
        gradient_bNO = _blocks(gradient_TO, ctx.block)
        low_gradient_bNR = (gradient_bNO @ b_KOR.index_select(0, adapter_b)).mul_(ctx.scale)
        of_a_KRI = _by_adapter(low_gradient_bNR.mT @ _blocks(adapted_TI, ctx.block), adapter_b, len(a_KRI))
        of_b_KOR = _by_adapter(gradient_bNO.mT @ low_bNR, adapter_b, len(b_KOR)).mul_(ctx.scale)
        of_inputs_TI = None
        if ctx.needs_input_grad[0]:
            of_inputs_TI = gradient_TO @ weight_OI
            if kept_TI is None:
                _blocks(of_inputs_TI, ctx.block).baddbmm_(low_gradient_bNR, a_KRI.index_select(0, adapter_b))
            else:
                of_inputs_TI += (low_gradient_bNR @ a_KRI.index_select(0, adapter_b)).flatten(0, 1) * kept_TI
        return of_inputs_TI, None, None, of_a_KRI, of_b_KOR, None, None, None, None


def _blocks(values: torch.Tensor, block: int) -> torch.Tensor:
    return values.view(-1, block, values.shape[-1])


def _by_adapter(values_b: torch.Tensor, adapter_b: torch.Tensor, adapters: int) -> torch.Tensor:
    """Sums over each adapter's blocks. Not a product with zeros and ones: 0 x NaN would spoil the other adapters."""
    sums = values_b.new_zeros(adapters, *values_b.shape[1:], dtype=torch.float32)
    return sums.index_add_(0, adapter_b, values_b.float()).to(values_b.dtype)
