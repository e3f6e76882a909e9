"""Passes: some cells' pairs through the model together, forward and back, on a GPU as one CUDA graph."""

# K cells of a pack

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from prefassets.domain.training.cell_run import Batch, CellRun
from prefassets.domain.training.completions import mean_alignment, response_tokens, sum_by_text
from prefassets.domain.training.cores import cores_of_this_process
from prefassets.domain.training.memory import Pack
from prefassets.domain.training.pair_batch import (
    BLOCK,
    BatchSizes,
    PairBatch,
    PairTokens,
    lay_out,
    on_device,
    pad,
    tensors_of,
)
from prefassets.domain.training.stacked_lora import StackedLora

GRAPHS = 4  # sizes of batches that a pass has CUDA graphs for
_logger = logging.getLogger(__name__)


def passes_of(stack: StackedLora, runs: Sequence[CellRun], fits: Pack) -> list["Pass"]:
    """The pack's cells, in order, shared out over as few passes as `fits` allows, on a CPU at least one per core."""
    tokens = sum(_tokens_of_a_step(run) for run in runs)
    at_once = cores_of_this_process() if stack.language_model.model.device.type == "cpu" else 1
    number = min(len(runs), max(at_once, math.ceil(tokens / fits.tokens_per_pass)))
    bounds = [round(len(runs) * part / number) for part in range(number + 1)]
    cells = [range(begin, end) for begin, end in pairwise(bounds)]
    if stack.reader.pads_attention or stack.dropout:  # neither can be captured: the one varies, the other draws
        return [Pass(stack, runs, some) for some in cells]
    return _captured([_GraphedPass(stack, runs, some) for some in cells])


def at_once(passes: Sequence["Pass"], fits: Pack) -> int:
    """How many of the passes may be on their way at the same time: as many as fit into memory, one at least."""
    largest = max(sum(_tokens_of_a_step(one_pass.runs[cell]) for cell in one_pass.some) for one_pass in passes)
    return max(1, min(len(passes), int(fits.tokens_at_once // largest)))


def _tokens_of_a_step(run: CellRun) -> float:
    return sum(run.tokens_of_steps()) / run.steps


class Pass:
    """Some cells of a pack, whose pairs go through the model together, forward and back."""

    def __init__(self, stack: StackedLora, runs: Sequence[CellRun], some: range) -> None:
        self.stack, self.runs, self.some = stack, runs, some
        self.device = stack.language_model.model.device

    def gradients(self, batches: Sequence[Batch]) -> Tensor:
        """Add the gradients of these cells' losses; their rows of the step's numbers."""
        batch = lay_out(self._pairs(batches), self.device, self.stack.reader.pads_attention)
        return self._forward_and_back(batch, self._reference(batches).to(self.device))

    def _pairs(self, batches: Sequence[Batch]) -> list[list[PairTokens]]:
        return [pairs if cell in self.some else [] for cell, (pairs, _) in enumerate(batches)]

    def _reference(self, batches: Sequence[Batch]) -> Tensor:
        return torch.tensor([logps for cell in self.some for logps in batches[cell][1]], dtype=torch.float64)

    def _forward_and_back(self, batch: PairBatch, reference: Tensor) -> Tensor:
        model = self.stack.language_model.model
        runs = [self.runs[cell] for cell in self.some]
        sizes = [run.hyperparameters.batch_size for run in runs]
        weighted = any(run.method.weight for run in runs)
        tokens = response_tokens(model, batch, self.stack.last_hidden_state(batch), squares=weighted)
        gains = (sum_by_text(tokens.logp_C, batch) - reference).split(sizes)
        margins = [run.hyperparameters.beta * (gain[:, 0] - gain[:, 1]) for run, gain in zip(runs, gains, strict=True)]
        losses = [run.method.loss(margin) for run, margin in zip(runs, margins, strict=True)]
        weights: list[Tensor | None] = [None] * len(runs)
        if weighted:
            alignments = mean_alignment(tokens, batch).split(sizes)
            weights = [
                run.method.weight and run.method.weight(*alignment.T)
                for run, alignment in zip(runs, alignments, strict=True)
            ]
            losses = [loss if weight is None else loss * weight for loss, weight in zip(losses, weights, strict=True)]
        torch.stack([loss.mean() for loss in losses]).sum().backward()
        return torch.stack([_numbers(*of_cell) for of_cell in zip(losses, margins, weights, strict=True)])


def _numbers(loss: Tensor, margin: Tensor, weight: Tensor | None) -> Tensor:
    """Of one cell's pairs, in the order of `StepNumbers`; not a number where there is no weight."""
    numbers = [loss.mean(), margin.mean(), (margin > 0).double().mean()]
    if weight is None:
        numbers += [margin.new_full((), math.nan)] * 3
    else:
        numbers += [weight.mean(), weight.min(), (weight >= 1).double().mean()]
    return torch.stack(numbers).detach()


class _GraphedPass(Pass):
    """A pass that a GPU replays from a CUDA graph: one launch instead of some ten thousand, which take it longer.

    A graph knows one size, so a batch is padded to the next of a few, each the largest of the steps that it is for.
    """

    def __init__(self, stack: StackedLora, runs: Sequence[CellRun], some: range) -> None:
        super().__init__(stack, runs, some)
        self.graphs: list[_Graph] = []  # the smallest first; none if the model cannot be captured

    def gradients(self, batches: Sequence[Batch]) -> Tensor:
        if not self.graphs:
            return super().gradients(batches)
        pairs = self._pairs(batches)
        sizes = BatchSizes.of(pairs, BLOCK[self.device.type])
        graph = next(graph for graph in self.graphs if graph.sizes.holds(sizes))
        return graph.replay(self._padded(pairs, graph.sizes), self._reference(batches))

    def wanted(self) -> list[tuple[BatchSizes, list[list[PairTokens]]]]:
        """The sizes to have graphs for, the smallest first, each with pairs that fit."""
        steps = min(self.runs[cell].steps - self.runs[cell].done for cell in self.some)
        found = []
        for ahead in range(steps):
            pairs = [run.pairs_of_step(ahead) if cell in self.some else [] for cell, run in enumerate(self.runs)]
            found.append((BatchSizes.of(pairs, BLOCK[self.device.type]), pairs))
        found.sort(key=lambda sizes_and_pairs: sizes_and_pairs[0].places)
        largest_so_far = list(accumulate((sizes for sizes, _ in found), BatchSizes.most))
        last = {math.ceil(steps * part / GRAPHS) - 1 for part in range(1, GRAPHS + 1)}
        return [(largest_so_far[step], found[step][1]) for step in sorted(last)]

    def warm_up(self, sizes: BatchSizes, example: list[list[PairTokens]]) -> None:
        """Compile what is compiled: capturing must meet nothing for the first time."""
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            self._forward_and_back(*self._inputs(sizes, example))
        torch.cuda.current_stream().wait_stream(beside)

    def capture(self, sizes: BatchSizes, example: list[list[PairTokens]], pool: Any) -> None:
        inputs, reference = self._inputs(sizes, example)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            numbers = self._forward_and_back(inputs, reference)
        self.graphs.insert(0, _Graph(sizes, graph, inputs, reference, numbers))

    def _padded(self, pairs: list[list[PairTokens]], sizes: BatchSizes) -> PairBatch:
        return pad(lay_out(pairs, torch.device("cpu"), padded=False, block=BLOCK[self.device.type]), sizes)

    def _inputs(self, sizes: BatchSizes, example: list[list[PairTokens]]) -> tuple[PairBatch, Tensor]:
        batch = self._padded(example, sizes)
        longest = max(pair.longest_text for cell in self.some for pair in self.runs[cell].pairs)
        inputs = on_device(replace(batch, attention=replace(batch.attention, longest=longest)), self.device)
        return inputs, torch.zeros(batch.pairs, 2, dtype=torch.float64, device=self.device)


def _captured(passes: list[_GraphedPass]) -> list["Pass"]:
    """The passes with their graphs. All share one memory, the largest being the first to lay it out."""
    wanted = [(sizes, example, one_pass) for one_pass in passes for sizes, example in one_pass.wanted()]
    wanted.sort(key=lambda one: -one[0].places)
    try:
        sizes, example, one_pass = wanted[-1]
        one_pass.warm_up(sizes, example)
        torch.cuda.empty_cache()  # a graph's memory is its own
        pool = torch.cuda.graph_pool_handle()
        for sizes, example, one_pass in wanted:
            one_pass.capture(sizes, example, pool)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # a model may do what no graph can hold, such as wait for a number
        _logger.warning("no CUDA graph of this model: %s", error)
        for one_pass in passes:
            one_pass.graphs.clear()
    return [*passes]


@dataclass(frozen=True)
class _Graph:
    """A captured pass, and the tensors it reads and writes."""

    sizes: BatchSizes
    graph: torch.cuda.CUDAGraph
    inputs: PairBatch
    reference: Tensor
    numbers: Tensor

    def replay(self, batch: PairBatch, reference: Tensor) -> Tensor:
        self.reference.copy_(reference, non_blocking=True)
        for own, new in zip(tensors_of(self.inputs), tensors_of(batch), strict=True):
            own.copy_(new, non_blocking=True)
        self.graph.replay()
        return self.numbers.clone()
