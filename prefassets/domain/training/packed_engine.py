"""The engine "packed": many cells at once over one frozen base model, each as if it were alone."""

# K cells of a pack, C response tokens, P numbers of one adapter

import io
import logging
import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

import polars as pl
import torch
from torch import Tensor, nn

from prefassets.domain.training.completions import mean_alignment, response_tokens, sum_by_text
from prefassets.domain.training.language_model import LanguageModel
from prefassets.domain.training.lora import adapter_files, initial_weights
from prefassets.domain.training.memory import Pack, pack_that_fits
from prefassets.domain.training.methods import METHODS
from prefassets.domain.training.order import data_order
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
from prefassets.domain.training.recipe import Lora
from prefassets.domain.training.stacked_lora import StackedLora, as_row, from_row
from prefassets.domain.training.train import (
    LOG_SCHEMA,
    CellToTrain,
    Checkpoints,
    Diverged,
    FailedCell,
    FinishedCell,
    OnStep,
    TrainingData,
)

ENGINE = "packed"
LOOK_EVERY = {"cpu": 1, "cuda": 10}  # steps between two looks at the losses: each look waits for the GPU
GRAPHS = 4  # sizes of batches that a pass has CUDA graphs for
_Batch = tuple[list[PairTokens], list[tuple[float, float]]]  # pairs and their reference log-probabilities
_logger = logging.getLogger(__name__)


def train_packed(
    cells: Sequence[CellToTrain],
    data: TrainingData,
    on_step: OnStep | None,
    cells_per_pack: int | None,
    checkpoints: Checkpoints | None,
) -> Iterator[FinishedCell | FailedCell]:
    """Train cells in packs of `cells_per_pack`, or as many as fit into memory, and yield each as it ends.

    The cells of a pack need adapters of one shape; method, steps, batch size and everything else may differ.
    """
    stackable: dict[Lora, list[CellToTrain]] = {}
    for cell in cells:
        stackable.setdefault(cell.recipe.hyperparameters.lora, []).append(cell)
    for together in stackable.values():
        yield from _Queue(together, data, on_step, cells_per_pack, checkpoints).outcomes()


class _Run:
    """One cell on its way: its adapter and optimizer, its place in its data, and its log so far."""

    def __init__(self, cell: CellToTrain, data: TrainingData) -> None:
        self.cell = cell
        self.method = METHODS[cell.recipe.method]
        self.hyperparameters = cell.recipe.hyperparameters
        self.steps = self.hyperparameters.steps
        self.batches = data_order(len(cell.pair_ids), self.steps, self.hyperparameters.batch_size, cell.recipe.seed)
        self.pairs = data.tokens(cell.pair_ids)
        self.reference = [data.reference_logps[pair_id] for pair_id in cell.pair_ids]
        device = data.language_model.model.device
        weights = initial_weights(data.language_model, self.hyperparameters.lora, cell.recipe.seed)
        self.order, row_P = as_row(weights)
        self.row_P = nn.Parameter(row_P.to(device))
        self.optimizer = torch.optim.AdamW([self.row_P], lr=self.learning_rate(0), weight_decay=0.0, fused=True)
        self.dropout = torch.Generator(device)
        self.done = 0
        self.log: list[tuple[float, float, float]] = []
        self.seconds = 0.0
        self.cells_in_pack = 1

    def learning_rate(self, step: int) -> float:
        """It falls linearly to zero. `step` counts from 0."""
        return self.hyperparameters.learning_rate * (1 - step / self.steps)

    def next_batch(self) -> _Batch:
        places = self.batches[self.done]
        self.dropout.manual_seed(self.cell.recipe.seed * 2**32 + self.done)  # so that a step needs no history
        return [self.pairs[place] for place in places], [self.reference[place] for place in places]

    def pairs_of_step(self, ahead: int) -> list[PairTokens]:
        """Of the step after `ahead` others."""
        return [self.pairs[place] for place in self.batches[self.done + ahead]]

    def tokens_of_steps(self) -> list[int]:
        return [sum(len(self.pairs[place]) for place in places) for places in self.batches]

    def take_step(self) -> None:
        """With the gradient that stands beside the adapter's weights."""
        self.optimizer.param_groups[0]["lr"] = self.learning_rate(self.done)
        self.optimizer.step()
        self.done += 1

    def state(self) -> bytes:
        """Everything that changes on the way, for `restore`."""
        file = io.BytesIO()
        state = {name: getattr(self, name) for name in ("done", "log", "seconds", "cells_in_pack")}
        torch.save({**state, "row_P": self.row_P.detach().clone(), "optimizer": self.optimizer.state_dict()}, file)
        return file.getvalue()

    def restore(self, state: bytes) -> None:
        """Go on from where `state` was taken."""
        found = torch.load(io.BytesIO(state), map_location=self.row_P.device, weights_only=True)
        self.row_P.data.copy_(found.pop("row_P"))
        self.optimizer.load_state_dict(found.pop("optimizer"))
        for name, value in found.items():
            setattr(self, name, value)

    def finished(self, language_model: LanguageModel) -> FinishedCell:
        """
        Raises:
            Diverged: a weight is not a finite number.
        """
        weights = from_row(self.order, self.row_P)
        for name, weight in weights.items():
            if not weight.isfinite().all():
                raise Diverged(f"weight {name} is not finite after step {self.steps}")
        return FinishedCell(
            key=self.cell.key,
            files=adapter_files(weights, language_model, self.hyperparameters.lora),
            log=self._log_table(),
            seconds=self.seconds,
            engine=ENGINE,
            device=str(language_model.model.device),
            train_pairs=len(self.pairs),
            steps=self.steps,
            tokens=sum(self.tokens_of_steps()),
            cells_in_pack=self.cells_in_pack,
        )

    def _log_table(self) -> pl.DataFrame:
        batch_size, pairs = self.hyperparameters.batch_size, len(self.pairs)
        rows = [
            (step, *numbers, self.learning_rate(step - 1), step * batch_size, step * batch_size / pairs)
            for step, numbers in enumerate(self.log, start=1)
        ]
        return pl.DataFrame(rows, schema=LOG_SCHEMA, orient="row")


class _Queue:
    """Cells that wait, and the pack that is being trained; whoever ends makes room for the next."""

    def __init__(
        self,
        cells: Sequence[CellToTrain],
        data: TrainingData,
        on_step: OnStep | None,
        cells_per_pack: int | None,
        checkpoints: Checkpoints | None,
    ) -> None:
        self.waiting: deque[CellToTrain | _Run] = deque(cells)
        self.pack: list[_Run] = []
        self.data = data
        self.on_step = on_step
        self.cells_per_pack = cells_per_pack
        self.fits: Pack | None = None
        self.checkpoints = checkpoints
        self.saved_at = time.monotonic()

    def outcomes(self) -> Iterator[FinishedCell | FailedCell]:
        """Every cell's, as it ends. The base model is as it was whenever this yields."""
        while self.waiting or self.pack:
            yield from self._fill()
            if self.pack:
                yield from self._train_until_one_ends()

    def _fill(self) -> list[FailedCell]:
        """Take waiting cells into the pack while there is room; returns those that cannot be trained at all."""
        failed = []
        while self.waiting and len(self.pack) < (self.fits.cells if self.fits else 1):
            waiting = self.waiting.popleft()
            if isinstance(waiting, _Run):
                self.pack.append(waiting)
                continue
            try:
                run = _Run(waiting, self.data)
                if self.checkpoints and (state := self.checkpoints.read(waiting)):
                    run.restore(state)
                if self.fits is None:
                    fits = pack_that_fits(self.data.language_model, run.hyperparameters.lora, run.pairs)
                    self.fits = replace(fits, cells=self.cells_per_pack or fits.cells)
            except Exception as error:  # whatever it is, it is this cell's; the others go on
                _logger.exception("cell %s failed", waiting.key)
                failed.append(_failed(waiting, error))
            else:
                self.pack.append(run)
        return failed

    def _train_until_one_ends(self) -> list[FinishedCell | FailedCell]:
        try:
            reasons = self._train()
        except torch.OutOfMemoryError as error:
            return self._with_less_memory(error)
        except Exception as error:  # of no one cell alone; those that wait go on
            _logger.exception("cells %s failed", [run.cell.key for run in self.pack])
            return self._end_all(error)
        ended: list[FinishedCell | FailedCell] = []
        for run in list(self.pack):
            if run.cell.key in reasons:
                ended.append(FailedCell(run.cell.key, reasons[run.cell.key]))
            elif run.done == run.steps:
                try:
                    ended.append(run.finished(self.data.language_model))
                except Diverged as error:
                    ended.append(FailedCell(run.cell.key, str(error)))
            else:
                continue
            self.pack.remove(run)
        return ended

    def _with_less_memory(self, error: Exception) -> list[FinishedCell | FailedCell]:
        """Fewer tokens at once, or fewer cells; if there is no less, the cell has failed."""
        assert self.fits is not None
        tokens = max(run.tokens_of_steps()[run.done] for run in self.pack)
        if self.fits.tokens_per_pass > tokens and len(self.pack) > 1:
            self.fits = replace(self.fits, tokens_per_pass=max(tokens, self.fits.tokens_per_pass // 2))
        elif len(self.pack) > 1:
            self.fits = replace(self.fits, cells=len(self.pack) // 2)
            self.waiting.extendleft(reversed(self.pack[self.fits.cells :]))
            self.pack = self.pack[: self.fits.cells]
        else:
            return self._end_all(error)
        _logger.warning("out of memory; going on with %s", self.fits)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return []

    def _end_all(self, error: Exception) -> list[FinishedCell | FailedCell]:
        ended, self.pack = [_failed(run.cell, error) for run in self.pack], []
        return [*ended]

    def _train(self) -> dict[str, str]:
        """Steps of the whole pack until a cell is done or has failed; why those failed that did, by key."""
        assert self.fits is not None
        runs, model = self.pack, self.data.language_model.model
        lora = runs[0].hyperparameters.lora
        stack = StackedLora(self.data.language_model, lora, runs[0].order, [run.row_P for run in runs])
        stack.generators = [run.dropout for run in runs]
        for run, row_P, gradient_P in zip(runs, stack.weights_KP, stack.gradient_KP, strict=True):
            run.row_P.data, run.row_P.grad = row_P, gradient_P
            run.cells_in_pack = max(run.cells_in_pack, len(runs))
        unseen: list[Tensor] = []
        looked_at = time.monotonic()
        with stack.on_the_model():
            passes = _passes(stack, runs, self.fits.tokens_per_pass)
            while True:
                unseen.append(_step(stack, runs, passes))
                for run in runs:
                    if self.on_step:
                        self.on_step(run.cell.key, run.done, run.steps)
                done = any(run.done == run.steps for run in runs)
                if not done and len(unseen) < LOOK_EVERY[model.device.type]:
                    continue
                reasons = _look(runs, torch.stack(unseen).tolist())
                unseen.clear()
                now = time.monotonic()
                for run in runs:
                    run.seconds += (now - looked_at) / len(runs)
                looked_at = now
                if done or reasons:
                    return reasons
                self._save_if_due()

    def _save_if_due(self) -> None:
        if self.checkpoints and time.monotonic() - self.saved_at > self.checkpoints.seconds_between:
            for run in self.pack:
                self.checkpoints.write(run.cell, run.state())
            self.saved_at = time.monotonic()


def _step(stack: StackedLora, runs: Sequence[_Run], passes: Sequence["_Pass"]) -> Tensor:
    """One step of every cell: (K, 3), the loss, mean margin and share of positive margins before the step."""
    batches = [run.next_batch() for run in runs]
    stack.begin_step()
    numbers = [one_pass.gradients(batches) for one_pass in passes]
    _clip(stack.gradient_KP, [run.hyperparameters.max_gradient_norm for run in runs])
    for run in runs:
        run.take_step()
    return torch.cat(numbers)


def _passes(stack: StackedLora, runs: Sequence[_Run], tokens_per_pass: int) -> list["_Pass"]:
    """The pack's cells, in order, shared out over as few passes as `tokens_per_pass` allows."""
    tokens = sum(sum(run.tokens_of_steps()) / run.steps for run in runs)
    number = min(len(runs), math.ceil(tokens / tokens_per_pass))
    bounds = [round(len(runs) * part / number) for part in range(number + 1)]
    cells = [range(begin, end) for begin, end in pairwise(bounds)]
    if stack.reader.pads_attention or stack.dropout:  # neither can be captured: the one varies, the other draws
        return [_Pass(stack, runs, some) for some in cells]
    return _captured([_GraphedPass(stack, runs, some) for some in cells])


class _Pass:
    """Some cells of a pack, whose pairs go through the model together, forward and back."""

    def __init__(self, stack: StackedLora, runs: Sequence[_Run], some: range) -> None:
        self.stack, self.runs, self.some = stack, runs, some
        self.device = stack.language_model.model.device

    def gradients(self, batches: Sequence[_Batch]) -> Tensor:
        """Add the gradients of these cells' losses; their rows of the step's numbers."""
        batch = lay_out(self._pairs(batches), self.device, self.stack.reader.pads_attention)
        return self._forward_and_back(batch, self._reference(batches).to(self.device))

    def _pairs(self, batches: Sequence[_Batch]) -> list[list[PairTokens]]:
        return [pairs if cell in self.some else [] for cell, (pairs, _) in enumerate(batches)]

    def _reference(self, batches: Sequence[_Batch]) -> Tensor:
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
        if weighted:
            alignments = mean_alignment(tokens, batch).split(sizes)
            losses = [
                loss if run.method.weight is None else loss * run.method.weight(*alignment.T)
                for run, loss, alignment in zip(runs, losses, alignments, strict=True)
            ]
        loss_K = torch.stack([loss.mean() for loss in losses])
        loss_K.sum().backward()
        margin_K = torch.stack([margin.mean() for margin in margins])
        accuracy_K = torch.stack([(margin > 0).double().mean() for margin in margins])
        return torch.stack([loss_K, margin_K, accuracy_K], dim=1).detach()


class _GraphedPass(_Pass):
    """A pass that a GPU replays from a CUDA graph: one launch instead of some ten thousand, which take it longer.

    A graph knows one size, so a batch is padded to the next of a few, each the largest of the steps that it is for.
    """

    def __init__(self, stack: StackedLora, runs: Sequence[_Run], some: range) -> None:
        super().__init__(stack, runs, some)
        self.graphs: list[_Graph] = []  # the smallest first; none if the model cannot be captured

    def gradients(self, batches: Sequence[_Batch]) -> Tensor:
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


def _captured(passes: list[_GraphedPass]) -> list["_Pass"]:
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


def _clip(gradient_KP: Tensor, most: Sequence[float]) -> None:
    """Each cell's gradient to its own norm, as `torch.nn.utils.clip_grad_norm_` does for one model."""
    norm_K = torch.linalg.vector_norm(gradient_KP, dim=1)
    factor_K = torch.tensor(most).to(norm_K) / (norm_K + 1e-6)
    gradient_KP.mul_(factor_K.clamp(max=1)[:, None])


def _look(runs: Sequence[_Run], numbers: list[list[list[float]]]) -> dict[str, str]:
    """Put the steps' numbers into the logs; why a cell has failed, by key."""
    reasons: dict[str, str] = {}
    for of_step in numbers:
        for run, (loss, margin, accuracy) in zip(runs, of_step, strict=True):
            run.log.append((loss, margin, accuracy))
            if not (math.isfinite(loss) and math.isfinite(margin)):
                reason = f"loss {loss} and margin {margin} at step {len(run.log)} of {run.steps}"
                reasons.setdefault(run.cell.key, reason)
    return reasons


def _failed(cell: CellToTrain, error: Exception) -> FailedCell:
    return FailedCell(cell.key, f"{type(error).__name__}: {error}")
