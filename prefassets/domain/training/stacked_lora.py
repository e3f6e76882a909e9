"""K LoRA adapters on one frozen model at once: each adapter's tokens pass the base and that adapter's own weights."""

# K adapters, P numbers of one adapter, T places of a batch, b its blocks, I inputs, O outputs, R rank

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from prefassets.domain.training.language_model import LanguageModel
from prefassets.domain.training.lora import left_untouched, read_adapter
from prefassets.domain.training.pair_batch import AdapterLayout, PairBatch
from prefassets.domain.training.pair_reader import PairReader, replace_part
from prefassets.domain.training.recipe import Lora

ADAPTERS_AT_ONCE = 8  # trained ones, that are only read
PIECE = 2**20  # numbers of a piece's wider side: 4 MiB in float32, which stay in a CPU's cache
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
        model = language_model.model
        self.language_model = language_model
        self.reader = PairReader(model)
        self.weights_KP = torch.stack([row.detach().float() for row in rows]).to(model.device)
        self.gradient_KP = torch.zeros_like(self.weights_KP)
        self.dropout = lora.dropout
        self.generators: Sequence[torch.Generator] = ()
        # What the layers compute with: the same numbers, or their copies in the model's precision.
        self._used_KP = self.weights_KP if model.dtype == torch.float32 else self.weights_KP.to(model.dtype)
        self.anchor = torch.zeros((), device=model.device, requires_grad=True)
        self._layers = self._make_layers(order, lora.alpha / lora.rank)

    def _make_layers(self, order: WeightOrder, scale: float) -> dict[str, "_StackedLinear"]:
        places, begin = {}, 0
        for name, shape in order.items():
            places[name] = slice(begin, begin + shape.numel()), shape
            begin += shape.numel()
        linear = dict(self.language_model.model.named_modules())
        layers = {}
        for layer in sorted({name.removeprefix(PREFIX).rpartition(".lora_")[0] for name in order}):
            a, b = (places.get(f"{PREFIX}{layer}.lora_{part}.weight") for part in "AB")
            if a is None or b is None or not isinstance(base := linear.get(layer), nn.Linear):
                raise ValueError(
                    f"the adapter's weights are not those of {self.language_model.name}: {layer} is unmatched"
                )
            layers[layer] = _StackedLinear(base, self._weight(*a), self._weight(*b), scale, self)
        return layers

    def _weight(self, place: slice, shape: torch.Size) -> "_Weight":
        return _Weight(self._used_KP[:, place].unflatten(1, shape), self.gradient_KP[:, place].unflatten(1, shape))

    @contextmanager
    def on_the_model(self) -> Iterator[None]:
        """Inside, `last_hidden_state` is there to be asked; afterwards the model is as before."""
        model = self.language_model.model
        with left_untouched(model):
            for name, layer in self._layers.items():
                replace_part(model, name, layer)
            with self.reader.on_the_model():
                yield

    def begin_step(self) -> None:
        """Gradients from zero, and the weights as they are now."""
        self.gradient_KP.zero_()
        if self._used_KP is not self.weights_KP:
            self._used_KP.copy_(self.weights_KP)

    def last_hidden_state(self, batch: PairBatch) -> torch.Tensor:
        """As `PairReader.last_hidden_state`, each adapter on its own pairs; a backward pass adds to `gradient_KP`."""
        return self.reader.last_hidden_state(batch)

    def kept(self, inputs_TI: torch.Tensor, adapters: AdapterLayout) -> torch.Tensor | None:
        """What dropout leaves of an adapter's inputs, 0 or 1 / (1 - share) each; None if it leaves all.

        Each adapter's own generator draws for its own tokens, so that it trains as it would alone.
        """
        if not self.dropout or not self.generators:
            return None
        kept_TI = torch.empty_like(inputs_TI)
        for own, generator in zip(kept_TI.split(adapters.places_by_adapter), self.generators, strict=True):
            own.bernoulli_(1 - self.dropout, generator=generator)
        return kept_TI.div_(1 - self.dropout)


class HasAdapterFiles(Protocol):
    """Something with a trained adapter, as PEFT files."""

    @property
    def files(self) -> Mapping[str, bytes]: ...


Adapter = TypeVar("Adapter", bound=HasAdapterFiles)


def stacks(adapters: Sequence[Adapter], language_model: LanguageModel) -> Iterator[tuple[list[Adapter], StackedLora]]:
    """Trained adapters of one shape, some at a time, and their stack.

    Raises:
        ValueError: an adapter belongs to another base model.
    """
    by_shape: dict[Lora, list[Adapter]] = {}
    for adapter in adapters:
        lora, _ = read_adapter(language_model, adapter.files)
        by_shape.setdefault(lora, []).append(adapter)
    for lora, alike in by_shape.items():
        for begin in range(0, len(alike), ADAPTERS_AT_ONCE):
            some = alike[begin : begin + ADAPTERS_AT_ONCE]
            weights = [as_row(read_adapter(language_model, adapter.files)[1]) for adapter in some]
            yield some, StackedLora(language_model, lora, weights[0][0], [row_P for _, row_P in weights])


@dataclass(frozen=True)
class _Weight:
    """One weight of all adapters, (K, rows, columns), and where its gradient is added up, in float32."""

    values: torch.Tensor
    gradient: torch.Tensor


class _StackedLinear(nn.Module):
    """A linear layer with K adapters beside it."""

    def __init__(self, base: nn.Linear, a_KRI: _Weight, b_KOR: _Weight, scale: float, stack: StackedLora) -> None:
        super().__init__()
        self.base, self.a_KRI, self.b_KOR, self.scale = base, a_KRI, b_KOR, scale
        self._stack = [stack]  # in a list, so that torch does not take its model for a part of this one

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        (stack,) = self._stack
        adapters = stack.reader.adapters
        inputs_TI = inputs.flatten(0, -2)
        product = PRODUCTS[inputs.device.type]
        output_TO = product.apply(inputs_TI, stack.anchor, self, adapters, stack.kept(inputs_TI, adapters))
        return output_TO.view(*inputs.shape[:-1], -1)


# Both of the following compute y = W x + bias + scale B_k A_k x, k being the adapter whose x it is (Hu et al. 2021,
# https://arxiv.org/abs/2106.09685), add the gradients of A and B where the layer keeps them, and return that of x.
# The anchor is a number that wants a gradient, so that the first layer, whose x does not, has one to go through.


class _InBlocks(torch.autograd.Function):
    """For a GPU: blocks of equal size make all adapters' small products one, however many tokens each adapter has."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs_TI: torch.Tensor,
        anchor: torch.Tensor,
        layer: _StackedLinear,
        adapters: AdapterLayout,
        kept_TI: torch.Tensor | None,
    ) -> torch.Tensor:
        base, block = layer.base, adapters.block
        output_TO = nn.functional.linear(inputs_TI, base.weight, base.bias)
        adapted_TI = inputs_TI if kept_TI is None else inputs_TI * kept_TI
        low_bNR = _blocks(adapted_TI, block) @ layer.a_KRI.values.index_select(0, adapters.adapter_b).mT
        b_bOR = layer.b_KOR.values.index_select(0, adapters.adapter_b)
        _blocks(output_TO, block).baddbmm_(low_bNR, b_bOR.mT, alpha=layer.scale)
        ctx.save_for_backward(adapted_TI, low_bNR, kept_TI)
        ctx.layer, ctx.adapters = layer, adapters
        return output_TO

    @staticmethod
    def backward(ctx: Any, gradient_TO: torch.Tensor) -> tuple[torch.Tensor | None, None, None, None, None]:
        adapted_TI, low_bNR, kept_TI = ctx.saved_tensors
        layer, adapter_b, block = ctx.layer, ctx.adapters.adapter_b, ctx.adapters.block
        gradient_bNO = _blocks(gradient_TO.contiguous(), block)
        of_low_bNR = (gradient_bNO @ layer.b_KOR.values.index_select(0, adapter_b)).mul_(layer.scale)
        # Not by a product with zeros and ones: 0 x NaN would spoil the other adapters.
        of_a_bRI = of_low_bNR.mT @ _blocks(adapted_TI, block)
        layer.a_KRI.gradient.index_add_(0, adapter_b, of_a_bRI.float())
        layer.b_KOR.gradient.index_add_(0, adapter_b, (gradient_bNO.mT @ low_bNR).float(), alpha=layer.scale)
        if not ctx.needs_input_grad[0]:
            return None, None, None, None, None
        of_inputs_TI = gradient_TO @ layer.base.weight
        a_bRI = layer.a_KRI.values.index_select(0, adapter_b)
        if kept_TI is None:
            _blocks(of_inputs_TI, block).baddbmm_(of_low_bNR, a_bRI)
        else:
            of_inputs_TI += (of_low_bNR @ a_bRI).flatten(0, 1) * kept_TI
        return of_inputs_TI, None, None, None, None


def _blocks(values: torch.Tensor, block: int) -> torch.Tensor:
    return values.view(-1, block, values.shape[-1])


class _InPieces(torch.autograd.Function):
    """For a CPU: pieces that stay in its cache between the base's product and the adapter's."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs_TI: torch.Tensor,
        anchor: torch.Tensor,
        layer: _StackedLinear,
        adapters: AdapterLayout,
        kept_TI: torch.Tensor | None,
    ) -> torch.Tensor:
        weight_IO, bias_O = layer.base.weight.T, layer.base.bias
        adapted_TI = inputs_TI if kept_TI is None else inputs_TI * kept_TI
        output_TO = inputs_TI.new_empty(len(inputs_TI), weight_IO.shape[1])
        low_TR = inputs_TI.new_empty(len(inputs_TI), layer.b_KOR.values.shape[2])
        for piece, adapter in _pieces(adapters, max(weight_IO.shape)):
            if bias_O is None:
                torch.mm(inputs_TI[piece], weight_IO, out=output_TO[piece])
            else:
                torch.addmm(bias_O, inputs_TI[piece], weight_IO, out=output_TO[piece])
            torch.mm(adapted_TI[piece], layer.a_KRI.values[adapter].T, out=low_TR[piece])
            output_TO[piece].addmm_(low_TR[piece], layer.b_KOR.values[adapter].T, alpha=layer.scale)
        ctx.save_for_backward(adapted_TI, low_TR, kept_TI)
        ctx.layer, ctx.adapters = layer, adapters
        return output_TO

    @staticmethod
    def backward(ctx: Any, gradient_TO: torch.Tensor) -> tuple[torch.Tensor | None, None, None, None, None]:
        adapted_TI, low_TR, kept_TI = ctx.saved_tensors
        layer: _StackedLinear = ctx.layer
        weight_OI = layer.base.weight
        of_inputs_TI = torch.empty_like(adapted_TI) if ctx.needs_input_grad[0] else None
        for piece, adapter in _pieces(ctx.adapters, max(weight_OI.shape)):
            gradient_NO = gradient_TO[piece]
            of_low_NR = (gradient_NO @ layer.b_KOR.values[adapter]).mul_(layer.scale)
            layer.a_KRI.gradient[adapter].add_(of_low_NR.T @ adapted_TI[piece])
            layer.b_KOR.gradient[adapter].add_(gradient_NO.T @ low_TR[piece], alpha=layer.scale)
            if of_inputs_TI is None:
                continue
            torch.mm(gradient_NO, weight_OI, out=of_inputs_TI[piece])
            if kept_TI is None:
                of_inputs_TI[piece].addmm_(of_low_NR, layer.a_KRI.values[adapter])
            else:
                of_inputs_TI[piece] += (of_low_NR @ layer.a_KRI.values[adapter]) * kept_TI[piece]
        return of_inputs_TI, None, None, None, None


def _pieces(adapters: AdapterLayout, widest: int) -> Iterator[tuple[slice, int]]:
    """Every adapter's places, as many at once as stay in the cache; where they are cut depends on no other adapter."""
    rows, begin = max(64, PIECE // widest), 0
    for adapter, places in enumerate(adapters.places_by_adapter):
        for start in range(begin, begin + places, rows):
            yield slice(start, min(start + rows, begin + places)), adapter
        begin += places


PRODUCTS = {"cpu": _InPieces, "cuda": _InBlocks}
