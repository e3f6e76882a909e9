"""Pairs laid out for one pass of a model: each token once, no padding, a prompt shared by its two answers."""

# T places in b blocks, R of them filled, Q of them read at the end; S slots that attention reads; C response tokens;
# N texts, two per pair

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch

BLOCK = {"cpu": 1, "cuda": 128}  # places; all of a block's belong to one adapter
LEAST_OF_LONGEST = 0.8  # on a CPU, texts down to this share of the longest are padded to it for attention


@dataclass(frozen=True)
class PairTokens:
    """One pair as token numbers."""

    prompt: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray

    def __len__(self) -> int:
        """Tokens that a model must read: the prompt once."""
        return len(self.prompt) + len(self.chosen) + len(self.rejected)

    @property
    def answers(self) -> tuple[np.ndarray, np.ndarray]:
        return self.chosen, self.rejected

    @property
    def read(self) -> int:
        """Places whose last state is read: those of both answers, and the one before them."""
        return 1 + len(self.chosen) + len(self.rejected)

    @property
    def longest_text(self) -> int:
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


@dataclass(frozen=True)
class AdapterLayout:
    """Whose the places are: adapter by adapter, `places_by_adapter` each, whole blocks of `block` places.

    `adapter_b` says whose each block is; an adapter's last block may have places that stand empty.
    """

    adapter_b: torch.Tensor
    places_by_adapter: tuple[int, ...]
    block: int


@dataclass(frozen=True)
class ReadPlaces:
    """The places whose last state is read, those of responses and the one before them: nobody looks at the others'.

    `place_Q` are these places among all, and `slot_Q` where each stands among them alone, laid out as `adapters` says.
    """

    place_Q: torch.Tensor
    slot_Q: torch.Tensor
    adapters: AdapterLayout


@dataclass(frozen=True)
class AttentionLayout:
    """Which texts attend within themselves: prompt + chosen and prompt + rejected of each pair.

    `token_S` says whose query, key and value fill a slot; a prompt's tokens fill two. Token `filled_R` finds its output
    in `slot_R`. Prompt tokens `twice_P` stand in `slot_P` and in `second_P`. Texts of similar length stand padded in
    `groups` of (texts, slots per text); without groups, one after the other from `begin_N` on, N + 1 numbers.
    """

    token_S: torch.Tensor
    filled_R: torch.Tensor
    slot_R: torch.Tensor
    twice_P: torch.Tensor
    slot_P: torch.Tensor
    second_P: torch.Tensor
    groups: tuple[tuple[int, int], ...]
    begin_N: torch.Tensor
    longest: int


@dataclass(frozen=True)
class PairBatch:
    """Pairs of one or more adapters, adapter by adapter; a pair's tokens as prompt, chosen, rejected.

    Of each response token, `before_C` is the place whose state predicts it, `place_C` its own, `target_C` its number,
    and `text_C` its text: twice its pair, plus 1 in a rejected answer.
    """

    ids_T: torch.Tensor
    position_T: torch.Tensor
    attention: AttentionLayout
    adapters: AdapterLayout
    read: ReadPlaces
    before_C: torch.Tensor
    place_C: torch.Tensor
    target_C: torch.Tensor
    text_C: torch.Tensor
    pairs: int


def lay_out(
    pairs_by_adapter: Sequence[Sequence[PairTokens]], device: torch.device, padded: bool, block: int | None = None
) -> PairBatch:
    """One batch of all adapters' pairs; an adapter may have any number of them, also none.

    Args:
        padded: attention reads texts of similar length padded, as every device can, and not one after the other, as
            flash attention on a GPU can.
        block: places of which all belong to one adapter; None for what suits the device.

    Raises:
        ValueError: there is no pair at all, or a pair with an empty prompt (nothing predicts its answers' first token).
    """
    pairs = [pair for own in pairs_by_adapter for pair in own]
    if not pairs:
        raise ValueError("a batch needs at least one pair")
    prompt_N, response_N = _text_lengths(pairs)
    if not prompt_N.all():
        raise ValueError("a pair has an empty prompt, so nothing predicts the first token of its answers")

    block = block or BLOCK[device.type]
    lengths = [np.array([len(pair) for pair in own], dtype=np.int64) for own in pairs_by_adapter]
    pair_begin, places = begins(lengths, block)
    read_lengths = [np.array([pair.read for pair in own], dtype=np.int64) for own in pairs_by_adapter]
    read_begin, read_places = begins(read_lengths, block)
    prompt_begin_N = np.repeat(pair_begin, 2)
    response_begin_N = prompt_begin_N + prompt_N
    response_begin_N[1::2] += response_N[0::2]

    places_R = _ranges(pair_begin, np.concatenate(lengths))
    ids_T = np.zeros(sum(places), dtype=np.int64)
    ids_T[places_R] = np.concatenate([part for pair in pairs for part in (pair.prompt, pair.chosen, pair.rejected)])
    place_C = _ranges(response_begin_N, response_N)
    first_of_answer = _ranges(np.zeros_like(response_N), response_N) == 0
    last_of_prompt_C = np.repeat(prompt_begin_N + prompt_N - 1, response_N)

    # Per text its prompt's places, then its response's.
    place_L = _ranges(_both(prompt_begin_N, response_begin_N), _both(prompt_N, response_N))
    length_N = prompt_N + response_N
    within_L = _ranges(np.zeros_like(length_N), length_N)
    position_T = np.zeros_like(ids_T)
    position_T[place_L] = within_L
    slot_begin_N, slots, groups = _slots(length_N, padded)
    slot_L = np.repeat(slot_begin_N, length_N) + within_L
    # Padding reads its own text: attention gives it no weight, but 0 x NaN of another adapter's would be NaN.
    in_order = np.argsort(slot_begin_N)
    token_S = np.repeat(prompt_begin_N[in_order], np.diff(slot_begin_N[in_order], append=slots))
    token_S[slot_L] = place_L
    first_slot_T = np.zeros_like(ids_T)
    first_slot_T[place_L[::-1]] = slot_L[::-1]
    again_L = np.repeat(np.arange(len(length_N)) % 2 == 1, length_N) & (within_L < np.repeat(prompt_N, length_N))

    def tensor(values: np.ndarray, dtype: type = np.int64) -> torch.Tensor:
        return torch.from_numpy(values.astype(dtype, copy=False)).to(device, non_blocking=True)

    def adapters(places_by_adapter: list[int]) -> AdapterLayout:
        blocks = [places // block for places in places_by_adapter]
        return AdapterLayout(tensor(np.repeat(np.arange(len(blocks)), blocks)), tuple(places_by_adapter), block)

    return PairBatch(
        ids_T=tensor(ids_T),
        position_T=tensor(position_T),
        attention=AttentionLayout(
            token_S=tensor(token_S),
            filled_R=tensor(place_L[~again_L]),
            slot_R=tensor(slot_L[~again_L]),
            twice_P=tensor(place_L[again_L]),
            slot_P=tensor(first_slot_T[place_L[again_L]]),
            second_P=tensor(slot_L[again_L]),
            groups=groups,
            begin_N=tensor(np.append(slot_begin_N, slots), np.int32),
            longest=int(length_N.max()),
        ),
        adapters=adapters(places),
        read=ReadPlaces(
            place_Q=tensor(_ranges(pair_begin + prompt_N[0::2] - 1, np.concatenate(read_lengths))),
            slot_Q=tensor(_ranges(read_begin, np.concatenate(read_lengths))),
            adapters=adapters(read_places),
        ),
        before_C=tensor(np.where(first_of_answer, last_of_prompt_C, place_C - 1)),
        place_C=tensor(place_C),
        target_C=tensor(ids_T[place_C]),
        text_C=tensor(np.repeat(np.arange(len(response_N)), response_N)),
        pairs=len(pairs),
    )


def _text_lengths(pairs: Sequence[PairTokens]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of prompt and of response, per text."""
    prompt = np.array([len(pair.prompt) for pair in pairs])
    responses = np.array([(len(pair.chosen), len(pair.rejected)) for pair in pairs])
    return np.repeat(prompt, 2), responses.reshape(-1)


def begins(lengths: Sequence[np.ndarray], block: int) -> tuple[np.ndarray, list[int]]:
    """Where each pair begins, and the places of each adapter: one pair after the other, adapters in whole blocks."""
    begins, places, start = [], [], 0
    for own in lengths:
        begins.append(start + np.cumsum(own) - own)
        places.append(-(-int(own.sum()) // block) * block)
        start += places[-1]
    return np.concatenate(begins), places


def _slots(length_N: np.ndarray, padded: bool) -> tuple[np.ndarray, int, tuple[tuple[int, int], ...]]:
    """Where each text begins in attention, how many slots there are, and the padded groups of texts, if any."""
    if not padded:
        return np.cumsum(length_N) - length_N, int(length_N.sum()), ()
    begin_N = np.zeros_like(length_N)
    longest_first = np.argsort(-length_N, kind="stable")
    groups, done, slots = [], 0, 0
    while done < len(longest_first):
        longest = int(length_N[longest_first[done]])
        texts = int((length_N[longest_first[done:]] >= LEAST_OF_LONGEST * longest).sum())
        begin_N[longest_first[done : done + texts]] = slots + longest * np.arange(texts)
        groups.append((texts, longest))
        done, slots = done + texts, slots + texts * longest
    return begin_N, slots, tuple(groups)


def _ranges(begin: np.ndarray, length: np.ndarray) -> np.ndarray:
    """The numbers begin[i], begin[i] + 1, ... (length[i] of them), for each i in turn."""
    before = np.cumsum(length) - length
    return np.arange(length.sum()) + np.repeat(begin - before, length)


def _both(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.stack([first, second], axis=1).reshape(-1)


@dataclass(frozen=True)
class BatchSizes:
    """How many there are of each kind of number in a batch, attention being without padding.

    Batches padded to equal sizes can go through one CUDA graph.
    """

    places: int
    filled: int
    slots: int
    prompt_tokens: int
    read_places: int
    read: int
    response_tokens: int

    @classmethod
    def of(cls, pairs_by_adapter: Sequence[Sequence[PairTokens]], block: int) -> "BatchSizes":
        """Of the batch that `lay_out` makes of these pairs."""
        pairs = [pair for own in pairs_by_adapter for pair in own]
        prompts = sum(len(pair.prompt) for pair in pairs)
        tokens = sum(map(len, pairs))

        def whole_blocks(lengths: Sequence[int]) -> int:
            return sum(-(-length // block) * block for length in lengths)

        return cls(
            places=whole_blocks([sum(map(len, own)) for own in pairs_by_adapter]),
            filled=tokens,
            slots=tokens + prompts,
            prompt_tokens=prompts,
            read_places=whole_blocks([sum(pair.read for pair in own) for own in pairs_by_adapter]),
            read=sum(pair.read for pair in pairs),
            response_tokens=tokens - prompts,
        )

    def most(self, other: "BatchSizes") -> "BatchSizes":
        """The larger of each."""
        return BatchSizes(*map(max, astuple(self), astuple(other)))

    def holds(self, other: "BatchSizes") -> bool:
        return self.most(other) == self


def pad(batch: PairBatch, sizes: BatchSizes) -> PairBatch:
    """The batch with more of everything, to no effect.

    An index that is there already is there again, so that the same number is written to the same place; a response
    token more belongs to no text (`text_C` is one past the last); blocks more, of the last adapter, stand empty.
    """

    def longer(values: torch.Tensor, size: int, by: torch.Tensor | int | None = None) -> torch.Tensor:
        more = values.new_empty(size - len(values))
        return torch.cat([values, more.fill_(values[0] if by is None else by)])

    def more_blocks(adapters: AdapterLayout, places: int) -> AdapterLayout:
        last = adapters.adapter_b[-1]
        return replace(adapters, adapter_b=longer(adapters.adapter_b, places // adapters.block, last))

    attention, read = batch.attention, batch.read
    return replace(
        batch,
        ids_T=longer(batch.ids_T, sizes.places, 0),
        position_T=longer(batch.position_T, sizes.places, 0),
        attention=replace(
            attention,
            token_S=longer(attention.token_S, sizes.slots),
            filled_R=longer(attention.filled_R, sizes.filled),
            slot_R=longer(attention.slot_R, sizes.filled),
            twice_P=longer(attention.twice_P, sizes.prompt_tokens),
            slot_P=longer(attention.slot_P, sizes.prompt_tokens),
            second_P=longer(attention.second_P, sizes.prompt_tokens),
        ),
        adapters=more_blocks(batch.adapters, sizes.places),
        read=ReadPlaces(
            place_Q=longer(read.place_Q, sizes.read),
            slot_Q=longer(read.slot_Q, sizes.read),
            adapters=more_blocks(read.adapters, sizes.read_places),
        ),
        before_C=longer(batch.before_C, sizes.response_tokens),
        place_C=longer(batch.place_C, sizes.response_tokens),
        target_C=longer(batch.target_C, sizes.response_tokens),
        text_C=longer(batch.text_C, sizes.response_tokens, 2 * batch.pairs),
    )


def tensors_of(part: Any) -> list[torch.Tensor]:
    """Every tensor of a batch or of a part of one, always in the same order."""
    found = []
    for field in fields(part):
        value = getattr(part, field.name)
        found += [value] if isinstance(value, torch.Tensor) else tensors_of(value) if is_dataclass(value) else []
    return found


def on_device(part: Any, device: torch.device) -> Any:
    """A copy of a batch, or of a part of one, on another device."""
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    moved = {
        name: value.to(device) if isinstance(value, torch.Tensor) else on_device(value, device)
        for name, value in values.items()
        if isinstance(value, torch.Tensor) or is_dataclass(value)
    }
    return replace(part, **moved)
