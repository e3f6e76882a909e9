"""The engine "packed": many cells at once over one frozen base model, each as if it were alone."""

# K cells of a pack, P numbers of one adapter

import logging
import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

import torch
from torch import Tensor

from prefassets.domain.training.cell_run import CellRun
from prefassets.domain.training.cores import Map, side_by_side
from prefassets.domain.training.memory import Pack, pack_that_fits
from prefassets.domain.training.passes import Pass, at_once, passes_of
from prefassets.domain.training.recipe import Lora
from prefassets.domain.training.stacked_lora import StackedLora
from prefassets.domain.training.train import (
    CellToTrain,
    Checkpoints,
    Diverged,
    FailedCell,
    FinishedCell,
    OnStep,
    StepNumbers,
    TrainingData,
)

LOOK_EVERY = {"cpu": 1, "cuda": 10}  # steps between two looks at the losses: each look waits for the GPU
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
        self.waiting: deque[CellToTrain | CellRun] = deque(cells)
        self.pack: list[CellRun] = []
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
            if isinstance(waiting, CellRun):
                self.pack.append(waiting)
                continue
            try:
                run = self._on_its_way(waiting)
                if self.fits is None:
                    fits = pack_that_fits(self.data.language_model, run.hyperparameters.lora, run.pairs)
                    self.fits = replace(fits, cells=self.cells_per_pack or fits.cells)
            except Exception as error:  # whatever it is, it is this cell's; the others go on
                _logger.exception("cell %s failed", waiting.key)
                failed.append(_failed(waiting, error))
            else:
                self.pack.append(run)
        return failed

    def _on_its_way(self, cell: CellToTrain) -> CellRun:
        """The cell where it was left, or at its beginning."""
        try:
            if self.checkpoints and (state := self.checkpoints.read(cell)) is not None:
                run = CellRun(cell, self.data)
                run.restore(state)
                return run
        except Exception:  # whatever is wrong with it, the cell can be trained without
            _logger.warning("cell %s starts anew: its checkpoint cannot be read", cell.key, exc_info=True)
        return CellRun(cell, self.data)

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
            later, self.pack = self.pack[self.fits.cells :], self.pack[: self.fits.cells]
            for run in later:
                run.leave_the_pack()
            self.waiting.extendleft(reversed(later))
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
        with ExitStack() as while_training:
            while_training.enter_context(stack.on_the_model())
            passes = passes_of(stack, runs, self.fits)
            run_passes = while_training.enter_context(side_by_side(model.device, at_once(passes, self.fits)))
            while True:
                try:
                    unseen.append(_step(stack, runs, passes, run_passes))
                except torch.OutOfMemoryError:  # the pack goes on, so the steps since the last look must not be lost
                    _look(runs, [numbers.tolist() for numbers in unseen])
                    raise
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
                try:
                    self.checkpoints.write(run.cell, run.state())
                except Exception:  # the cell is well; only a job that is killed now would lose its steps
                    _logger.warning("the state of cell %s cannot be written", run.cell.key, exc_info=True)
            self.saved_at = time.monotonic()


def _step(stack: StackedLora, runs: Sequence[CellRun], passes: Sequence[Pass], run_passes: Map) -> Tensor:
    """One step of every cell: (K, 6), the numbers of its batch in the order of `StepNumbers`."""
    batches = [run.next_batch() for run in runs]
    stack.begin_step()
    numbers = list(run_passes(lambda one_pass: one_pass.gradients(batches), passes))
    _clip(stack.gradient_KP, [run.hyperparameters.max_gradient_norm for run in runs])
    for run in runs:
        run.take_step()
    return torch.cat(numbers)


def _clip(gradient_KP: Tensor, most: Sequence[float]) -> None:
    """Each cell's gradient to its own norm, as `torch.nn.utils.clip_grad_norm_` does for one model."""
    norm_K = torch.linalg.vector_norm(gradient_KP, dim=1)
    factor_K = torch.tensor(most).to(norm_K) / (norm_K + 1e-6)
    gradient_KP.mul_(factor_K.clamp(max=1)[:, None])


def _look(runs: Sequence[CellRun], numbers: list[list[list[float]]]) -> dict[str, str]:
    """Put the steps' numbers into the logs; why a cell has failed, by key."""
    reasons: dict[str, str] = {}
    for of_step in numbers:
        for run, of_cell in zip(runs, of_step, strict=True):
            batch = StepNumbers(*of_cell)
            if run.method.weight is None:
                batch = batch._replace(weight_mean=None, weight_min=None, weight_clamped=None)
            run.log.append(batch)
            if not (math.isfinite(batch.loss) and math.isfinite(batch.margin)):
                reason = f"loss {batch.loss} and margin {batch.margin} at step {len(run.log)} of {run.steps}"
                reasons.setdefault(run.cell.key, reason)
    return reasons


def _failed(cell: CellToTrain, error: Exception) -> FailedCell:
    return FailedCell(cell.key, f"{type(error).__name__}: {error}")
