"""One cell on its way through the packed trainer."""

# P numbers of one adapter

import io

import torch
from torch import nn

from prefassets.domain.training.language_model import LanguageModel
from prefassets.domain.training.lora import adapter_files, initial_weights
from prefassets.domain.training.methods import METHODS
from prefassets.domain.training.order import data_order
from prefassets.domain.training.pair_batch import PairTokens
from prefassets.domain.training.stacked_lora import as_row, from_row
from prefassets.domain.training.train import CellToTrain, Diverged, FinishedCell, StepNumbers, TrainingData, log_table

ENGINE = "packed"
SEEDS_APART = 1_000_003  # more than a cell has steps
Batch = tuple[list[PairTokens], list[tuple[float, float]]]  # pairs and their reference log-probabilities


class CellRun:
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
        self.log: list[StepNumbers] = []
        self.seconds = 0.0
        self.cells_in_pack = 1

    def learning_rate(self, step: int) -> float:
        """It falls linearly to zero. `step` counts from 0."""
        return self.hyperparameters.learning_rate * (1 - step / self.steps)

    def next_batch(self) -> Batch:
        places = self.batches[self.done]
        # Of seed and step alone, so that a step needs no history; a CPU's generator takes 32 bits of it only.
        self.dropout.manual_seed((self.cell.recipe.seed * SEEDS_APART + self.done) % 2**32)
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

    def leave_the_pack(self) -> None:
        """Keep nothing of it: the adapter's weights and gradient are rows of matrices that hold all of its cells'."""
        self.row_P.data, self.row_P.grad = self.row_P.data.clone(), None

    def state(self) -> bytes:
        """Everything that changes on the way, for `restore`."""
        file = io.BytesIO()
        state = {name: getattr(self, name) for name in ("done", "seconds", "cells_in_pack")}
        state["log"] = [tuple(numbers) for numbers in self.log]
        torch.save({**state, "row_P": self.row_P.detach().clone(), "optimizer": self.optimizer.state_dict()}, file)
        return file.getvalue()

    def restore(self, state: bytes) -> None:
        """Go on from where `state` was taken."""
        found = torch.load(io.BytesIO(state), map_location=self.row_P.device, weights_only=True)
        self.row_P.data.copy_(found.pop("row_P"))
        self.optimizer.load_state_dict(found.pop("optimizer"))
        self.log = [StepNumbers(*numbers) for numbers in found.pop("log")]
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
            log=log_table(self.log, [self.learning_rate(step) for step in range(len(self.log))], self.cell),
            seconds=self.seconds,
            engine=ENGINE,
            device=language_model.device_name,
            train_pairs=len(self.pairs),
            steps=self.steps,
            tokens=sum(self.tokens_of_steps()),
            cells_in_pack=self.cells_in_pack,
        )
