"""Hidden states of texts, and of pairs with many adapters at once: the model runs no deeper and keeps no more than is
asked for.
"""

# N texts, L layers, T places of a batch, C cells (a text at a position), M places averaged over, D hidden size

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from prefassets.domain.probes.texts import EncodedPairTexts, Span, Text, TextTokens, encode_texts
from prefassets.domain.training.completions import MOST_DIFFERENCE, batches_of_similar_length
from prefassets.domain.training.cores import side_by_side
from prefassets.domain.training.language_model import LanguageModel
from prefassets.domain.training.lora import left_untouched
from prefassets.domain.training.pair_batch import PairBatch, PairTokens, ReadPlaces, begins, lay_out
from prefassets.domain.training.pair_reader import PairReader
from prefassets.domain.training.stacked_lora import stacks

CHECKED_TEXTS, CHECKED_TOKENS = 2, 32  # before a model is read: that it is read as transformers reads it
OnBatch = Callable[[int, int], None]


@dataclass(frozen=True)
class Activations:
    """Hidden states, `values` float32 of shape (N, layers, positions, D), of `items` in the order they were given.

    `left_out` says of every other item why it could not be read.
    """

    items: tuple[str, ...]
    values: np.ndarray
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class AdapterToRead:
    """A trained adapter as PEFT files, and the pairs to read with it."""

    key: str
    files: Mapping[str, bytes]
    pair_ids: tuple[str, ...]


def activations_of_texts(
    language_model: LanguageModel,
    texts: Sequence[Text],
    layers: Sequence[int],
    positions: Sequence[str],
    *,
    tokens_per_batch: int | None = None,
    on_batch: OnBatch | None = None,
) -> Activations:
    """The hidden states of each text, as a forward pass over it alone with `output_hidden_states=True` has them.

    In memory are those of all texts given, and one batch on its way through the model (on a CPU one for each core).

    Args:
        layers: as transformers numbers them: 0 the embeddings, the last read after the final norm.
        positions: some of `POSITIONS`.
        tokens_per_batch: tokens that the model reads at once; it changes the speed, not the numbers.
        on_batch: told the texts done and their total.

    Raises:
        ValueError: a layer that the model lacks, or what `encode_texts` refuses.
        NotImplementedError: the model is not built of layers that can be read one by one, texts laid out together.
    """
    _refuse_layers(language_model, layers)
    encoded = encode_texts(texts, language_model.tokenizer, _places(language_model), positions)
    laid = [_of_text(text, positions) for text in encoded.tokens.values()]
    values = _empty(language_model, (len(laid),), layers, positions)
    reader = PairReader(language_model.model)
    _refuse_a_model_read_otherwise(language_model, laid, layers)
    done = 0
    for rows, found_NCLD in _read(reader, reader.on_the_model(), [laid], layers, tokens_per_batch):
        values[rows] = found_NCLD.swapaxes(1, 2)
        done += len(rows)
        if on_batch:
            on_batch(done, len(laid))
    return Activations(tuple(encoded.tokens), values, encoded.left_out)


def activations_of_pairs(
    language_model: LanguageModel,
    pairs: EncodedPairTexts,
    layers: Sequence[int],
    *,
    base: Sequence[str] = (),
    adapters: Sequence[AdapterToRead] = (),
    tokens_per_batch: int | None = None,
    on_batch: OnBatch | None = None,
) -> Iterator[tuple[str | None, np.ndarray]]:
    """Per adapter its key and the hidden states of its pairs, several adapters in one pass of the base model.

    First, with the key None, those of the base model by itself, if any are asked for. The base model is the same
    afterwards, bit for bit. In memory are those of up to `ADAPTERS_AT_ONCE` adapters at a time.

    Args:
        pairs: from `encode_pair_texts`, which says at which positions they are read.
        layers: as transformers numbers them: 0 the embeddings, the last read after the final norm.
        base: the pairs to read with the base model.
        tokens_per_batch: tokens that the model reads at once; it changes the speed, not the numbers.
        on_batch: told the pairs done and their total, over all adapters.

    Yields:
        float32 of shape (pairs, 2, layers, positions, D), chosen and rejected, in the order of the adapter's pairs.

    Raises:
        ValueError: a layer that the model lacks, or an adapter that belongs to another base model.
        KeyError: a pair is not among those encoded.
        NotImplementedError: the model is not built of layers that can be read one by one, texts laid out together.
    """
    _refuse_layers(language_model, layers)
    positions = pairs.positions
    asked = list(dict.fromkeys([*base, *(pair_id for adapter in adapters for pair_id in adapter.pair_ids)]))
    if lacking := [pair_id for pair_id in asked if pair_id not in pairs.tokens]:
        reason = pairs.left_out.get(lacking[0], "it was not given")
        raise KeyError(f"{len(lacking)} of {len(asked)} pairs are not encoded, e.g. {lacking[0]}: {reason}")
    laid = {pair_id: _of_pair(*pairs.tokens[pair_id], positions) for pair_id in asked}
    _refuse_a_model_read_otherwise(language_model, list(laid.values()), layers)
    total = len(base) + sum(len(adapter.pair_ids) for adapter in adapters)
    done = 0

    def read(
        reader: PairReader, on_the_model: AbstractContextManager[None], pair_ids: Sequence[Sequence[str]]
    ) -> list[np.ndarray]:
        nonlocal done
        found = [_empty(language_model, (len(own), 2), layers, positions) for own in pair_ids]
        whose = [(adapter, row) for adapter, own in enumerate(pair_ids) for row in range(len(own))]
        by_adapter = [[laid[pair_id] for pair_id in own] for own in pair_ids]
        for places, found_NCLD in _read(reader, on_the_model, by_adapter, layers, tokens_per_batch):
            for place, of_pair_CLD in zip(places, found_NCLD, strict=True):
                adapter, row = whose[place]
                found[adapter][row] = of_pair_CLD.reshape(2, len(positions), *of_pair_CLD.shape[1:]).swapaxes(1, 2)
            done += len(places)
            if on_batch:
                on_batch(done, total)
        return found

    if base:
        reader = PairReader(language_model.model)
        yield None, read(reader, reader.on_the_model(), [base])[0]
    for together, stack in stacks(adapters, language_model):
        found = read(stack.reader, stack.on_the_model(), [adapter.pair_ids for adapter in together])
        while found:  # what was handed out is not held any longer
            yield together[-len(found)].key, found.pop(0)


def _refuse_layers(language_model: LanguageModel, layers: Sequence[int]) -> None:
    model = language_model.model
    decoder: Any = model.base_model
    blocks, norm = getattr(decoder, "layers", None), getattr(decoder, "norm", None)
    count = model.config.get_text_config().num_hidden_layers
    if not (isinstance(blocks, nn.ModuleList) and len(blocks) == count and isinstance(norm, nn.Module)):
        raise NotImplementedError(
            f"{type(model).__name__} does not consist of `layers`, one after the other, and a `norm`, so its layers "
            f"cannot be read one by one; use a model built as Qwen2.5 or Llama is"
        )
    if not layers or len(set(layers)) < len(layers) or not all(0 <= layer <= count for layer in layers):
        raise ValueError(
            f"layers are {list(layers)}; {language_model.name} has {count}: wanted are some of 0 (the embeddings) to "
            f"{count}, each once"
        )


def _places(language_model: LanguageModel) -> int:
    return getattr(language_model.model.config.get_text_config(), "max_position_embeddings", 2**31)


def _empty(
    language_model: LanguageModel, shape: tuple[int, ...], layers: Sequence[int], positions: Sequence[str]
) -> np.ndarray:
    width = language_model.model.config.get_text_config().hidden_size
    return np.empty((*shape, len(layers), len(positions), width), np.float32)


@dataclass(frozen=True)
class _Laid:
    """What is laid out as a pair, and the spans of its tokens (prompt, chosen, rejected) whose states are averaged."""

    tokens: PairTokens
    spans: tuple[Span, ...]


def _of_text(text: TextTokens, positions: Sequence[str]) -> _Laid:
    """A lone text as a pair that shares its first token with an empty answer: nothing is read twice, or unasked."""
    spans = tuple(text.span(position) for position in positions)
    ids = np.concatenate([text.prompt, text.response])[: max(end for _, end in spans)]
    return _Laid(_as_pair(ids), spans)


def _as_pair(ids: np.ndarray) -> PairTokens:
    return PairTokens(ids[:1], ids[1:], ids[:0])


def _of_pair(chosen: TextTokens, rejected: TextTokens, positions: Sequence[str]) -> _Laid:
    """The pair as far as its positions reach; spans by text, then position."""
    prompt, responses = chosen.prompt, []
    spans: list[Span] = []
    before = 0
    for text in (chosen, rejected):
        own = [text.span(position) for position in positions]
        responses.append(text.response[: max(0, max(end for _, end in own) - len(prompt))])
        spans += [(begin + before, end + before) if begin >= len(prompt) else (begin, end) for begin, end in own]
        before = len(responses[0])
    return _Laid(PairTokens(prompt, *responses), tuple(spans))


def _read(
    reader: PairReader,
    on_the_model: AbstractContextManager[None],
    laid_by_adapter: Sequence[Sequence[_Laid]],
    layers: Sequence[int],
    tokens_per_batch: int | None = None,
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Batch by batch, which of all (counted over the adapters, one after the other) and their (N, spans, layers, D)."""
    device = reader.model.device
    laid = [one for own in laid_by_adapter for one in own]
    whose = [adapter for adapter, own in enumerate(laid_by_adapter) for _ in own]
    batches = list(batches_of_similar_length([one.tokens for one in laid], device, tokens_per_batch))
    depths = _Depths(reader, layers)

    @torch.inference_mode()
    def read(places: list[int]) -> tuple[list[int], np.ndarray]:
        by_adapter = [[place for place in places if whose[place] == adapter] for adapter in range(len(laid_by_adapter))]
        pairs = [[laid[place].tokens for place in own] for own in by_adapter]
        batch = lay_out(pairs, device, reader.pads_attention)
        first_N, _ = begins([np.array([len(pair) for pair in own], np.int64) for own in pairs], batch.adapters.block)
        in_order = [place for own in by_adapter for place in own]
        span_C2 = np.array([np.add(laid[place].spans, first) for place, first in zip(in_order, first_N, strict=True)])
        found_CLD = depths.read(batch, _Cells.of(span_C2.reshape(-1, 2), device))
        return in_order, found_CLD.unflatten(0, (len(in_order), -1)).cpu().numpy()

    with on_the_model, depths.on_the_model(), side_by_side(device, len(batches)) as run:
        yield from run(read, batches)


@dataclass(frozen=True)
class _Cells:
    """Which places of a batch are averaged: place `place_M` belongs to cell `cell_M`, which has `tokens_C` of them."""

    place_M: torch.Tensor
    cell_M: torch.Tensor
    tokens_C: torch.Tensor

    @classmethod
    def of(cls, span_C2: np.ndarray, device: torch.device) -> "_Cells":
        tokens_C = span_C2[:, 1] - span_C2[:, 0]
        cell_M = np.repeat(np.arange(len(span_C2)), tokens_C)
        place_M = np.arange(len(cell_M)) + np.repeat(span_C2[:, 0] - (np.cumsum(tokens_C) - tokens_C), tokens_C)
        return cls(*(torch.from_numpy(values).to(device) for values in (place_M, cell_M, tokens_C)))

    def mean(self, states_TD: torch.Tensor) -> torch.Tensor:
        """In float32: (C, D)."""
        sums_CD = states_TD.new_zeros(len(self.tokens_C), states_TD.shape[1], dtype=torch.float32)
        sums_CD.index_add_(0, self.cell_M, states_TD.index_select(0, self.place_M).float())
        return sums_CD / self.tokens_C[:, None]


class _Depths:
    """What a batch's states are at some layers, averaged as they come by; deeper layers are not there meanwhile."""

    def __init__(self, reader: PairReader, layers: Sequence[int]) -> None:
        self._reader, self._layers, self._deepest = reader, layers, max(layers)
        self._now = threading.local()  # several threads may read a batch each

    @contextmanager
    def on_the_model(self) -> Iterator[None]:
        """To be entered when the reader, and what adapters there are, are on the model."""
        decoder: Any = self._reader.model.base_model
        hooks = [
            decoder.layers[layer].register_forward_pre_hook(partial(self._take, layer), with_kwargs=True)
            for layer in self._layers
            if layer < self._deepest
        ]
        try:
            with left_untouched(self._reader.model):
                if self._deepest < len(decoder.layers):
                    decoder.layers, decoder.norm = decoder.layers[: self._deepest], nn.Identity()
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def read(self, batch: PairBatch, cells: _Cells) -> torch.Tensor:
        """The mean state of each cell at each layer: (C, L, D), float32."""
        self._now.cells, self._now.found = cells, {}
        everywhere = torch.arange(len(batch.ids_T), device=batch.ids_T.device)
        batch = replace(batch, read=ReadPlaces(everywhere, everywhere, batch.adapters))  # prompts, too
        self._now.found[self._deepest] = cells.mean(self._reader.last_hidden_state(batch))
        return torch.stack([self._now.found.pop(layer) for layer in self._layers], dim=1)

    def _take(self, layer: int, _block: nn.Module, states: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        (states_TD,) = states[0] if states else named["hidden_states"]
        self._now.found[layer] = self._now.cells.mean(states_TD)


def _refuse_a_model_read_otherwise(language_model: LanguageModel, laid: Sequence[_Laid], layers: Sequence[int]) -> None:
    """States of the beginnings of two texts, together and by transformers: what is unusual in a model shows there."""
    if not laid:
        return
    model = language_model.model
    shortest = sorted(laid, key=lambda one: len(one.tokens))[:CHECKED_TEXTS]
    texts = [np.concatenate([one.tokens.prompt, one.tokens.chosen]) for one in shortest]
    length = min(CHECKED_TOKENS, *map(len, texts))
    texts = [ids[:length] for ids in texts]
    expected = []
    with torch.inference_mode():
        for ids in texts:
            ids_T = torch.from_numpy(ids).to(model.device)
            found = model.base_model(input_ids=ids_T[None], use_cache=False, output_hidden_states=True)
            hidden_LTD = torch.cat(found.hidden_states)[list(layers)]
            expected.append(hidden_LTD.transpose(0, 1).float().cpu().numpy())
    reader = PairReader(model)
    every_token = tuple((place, place + 1) for place in range(length))
    together = [_Laid(_as_pair(ids), every_token) for ids in texts]
    for rows, found_NCLD in _read(reader, reader.on_the_model(), [together], layers):
        expected_NCLD = np.stack([expected[row] for row in rows])
        norm_NCL = np.linalg.norm(expected_NCLD, axis=-1).clip(1e-6)
        difference = (np.linalg.norm(found_NCLD - expected_NCLD, axis=-1) / norm_NCL).max()
        if difference > MOST_DIFFERENCE:
            raise NotImplementedError(
                f"{type(model).__name__} does not read texts laid out together, layer by layer, as it reads each text "
                f"alone (its states differ by up to {difference:.0%}); use a model in which only attention mixes "
                f"tokens and whose layers stand in a row, such as Qwen2.5 or Llama"
            )
