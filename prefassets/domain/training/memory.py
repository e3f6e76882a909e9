"""How many cells one device trains at once: what a cell adds to its memory, measured before the first step."""

# P numbers of one adapter

from collections.abc import Sequence
from dataclasses import dataclass

import psutil
import torch

from prefassets.domain.training.completions import LOGITS_AT_ONCE, response_tokens, sum_by_text
from prefassets.domain.training.language_model import LanguageModel
from prefassets.domain.training.lora import initial_weights
from prefassets.domain.training.pair_batch import PairTokens, lay_out
from prefassets.domain.training.recipe import Lora
from prefassets.domain.training.stacked_lora import StackedLora, as_row

MOST_CELLS = {"cpu": 8, "cuda": 32}  # more at once are not faster (benchmarks/results/training_*.txt)
MOST_TOKENS = {"cpu": 2_048, "cuda": 32_768}  # of one pass: what a CPU's cache holds, what fills a GPU
SHARE = 0.8  # of what is free; the rest is for what the estimate does not see, such as the backward pass's own
NUMBERS_PER_WEIGHT = 4  # weight, gradient and AdamW's two moments, in float32
BYTES_PER_LOGIT = 12  # the logits, their exponentials and their probabilities, in float32


@dataclass(frozen=True)
class MemoryOfCell:
    """Bytes that one more cell takes for its adapter and optimizer, and one more token of a pass for the way back."""

    adapter: int
    per_token: float


@dataclass(frozen=True)
class Pack:
    """How many cells are trained at once, how many of their tokens go through the model in one pass (one cell's at
    least), and how many fit into memory in all passes that are on their way at the same time."""

    cells: int
    tokens_per_pass: int
    tokens_at_once: int


def pack_that_fits(language_model: LanguageModel, lora: Lora, pairs: Sequence[PairTokens]) -> Pack:
    """As many cells and tokens at once as fit into free memory, but no more than pays.

    Adapters get at most half of the memory, activations what is left.

    Args:
        pairs: some of the cells' pairs, to measure with.
    """
    device = language_model.model.device
    of_cell = memory_of_cell(language_model, lora, pairs[:2])
    room = SHARE * free_memory(device) - LOGITS_AT_ONCE[device.type] * BYTES_PER_LOGIT
    cells = max(1, min(MOST_CELLS[device.type], int(room / 2 // of_cell.adapter)))
    tokens = max(1, int((room - cells * of_cell.adapter) // of_cell.per_token))
    return Pack(cells, min(MOST_TOKENS[device.type], tokens), tokens)


def memory_of_cell(language_model: LanguageModel, lora: Lora, pairs: Sequence[PairTokens]) -> MemoryOfCell:
    """Measured on one forward pass over `pairs`: the bytes that autograd keeps for the way back."""
    model = language_model.model
    order, row_P = as_row(initial_weights(language_model, lora, seed=0))
    stack = StackedLora(language_model, lora, order, [row_P])
    batch = lay_out([pairs], model.device, stack.reader.pads_attention)
    frozen = {weight.untyped_storage().data_ptr() for weight in (*model.parameters(), stack.weights_KP)}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in frozen:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with stack.on_the_model(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        tokens = response_tokens(model, batch, stack.last_hidden_state(batch), squares=False)
        graph = sum_by_text(tokens.logp_C, batch)  # while it lives, no storage is used twice
    del graph
    adapter = NUMBERS_PER_WEIGHT * stack.weights_KP.nbytes
    return MemoryOfCell(adapter, sum(kept.values()) / len(batch.ids_T))


def free_memory(device: torch.device) -> int:
    """Bytes that a training job may still take on its device."""
    if device.type == "cuda":
        free, _total = torch.cuda.mem_get_info(device)
        reserved_but_unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + reserved_but_unused
    return psutil.virtual_memory().available
