"""What training costs on this device, by a few steps of it, and what a pack takes of its memory."""

from collections.abc import Sequence
from dataclasses import replace

from prefassets.domain.training.completions import LOGITS_AT_ONCE
from prefassets.domain.training.cores import cores_of_this_process
from prefassets.domain.training.cost import MemoryOfPack, Trained
from prefassets.domain.training.memory import BYTES_PER_LOGIT, free_memory, memory_of_cell, pack_that_fits
from prefassets.domain.training.recipe import Lora
from prefassets.domain.training.train import CellToTrain, Engine, FinishedCell, TrainingData, train_cells

WARM_UP_STEPS = 2
FEWEST_STEPS, MOST_STEPS = 5, 50


def take_steps(cells: Sequence[CellToTrain], data: TrainingData, engine: Engine, seconds: float) -> list[Trained]:
    """What some steps of these cells cost, all in one pack: about `seconds` together, after a warm-up.

    Raises:
        RuntimeError: a cell could not be trained.
    """
    warm_up = _train(cells, data, engine, WARM_UP_STEPS)
    seconds_per_step = sum(cell.seconds for cell in warm_up) / WARM_UP_STEPS
    return _train(cells, data, engine, max(FEWEST_STEPS, min(MOST_STEPS, int(seconds / seconds_per_step))))


def _train(cells: Sequence[CellToTrain], data: TrainingData, engine: Engine, steps: int) -> list[Trained]:
    short = [
        replace(cell, recipe=replace(cell.recipe, hyperparameters=replace(cell.recipe.hyperparameters, steps=steps)))
        for cell in cells
    ]
    method = {cell.key: cell.recipe.method for cell in cells}
    trained = []
    for outcome in train_cells(short, data, engine=engine, cells_per_pack=len(cells)):
        if not isinstance(outcome, FinishedCell):
            raise RuntimeError(f"cell {outcome.key} could not be trained: {outcome.reason}")
        trained.append(
            Trained(method[outcome.key], outcome.device, outcome.cells_in_pack, outcome.tokens, outcome.seconds)
        )
    return trained


def memory_of_pack(
    data: TrainingData, lora: Lora, pair_ids: Sequence[str], most_tokens: int, most_cells: int, chosen: int | None
) -> MemoryOfPack:
    """The memory of a pack of `chosen` cells; for None, of as many as pay and fit, as the packed engine would choose.

    Args:
        pair_ids: some pairs to measure with.
        most_tokens: of one cell's largest step.
        most_cells: how many cells there are.
    """
    model, pairs = data.language_model.model, data.tokens(pair_ids)
    fits = pack_that_fits(data.language_model, lora, pairs)
    cells = min(most_cells, chosen or fits.cells)
    at_once = cores_of_this_process() if model.device.type == "cpu" else 1
    in_passes = min(at_once * max(most_tokens, fits.tokens_per_pass), max(most_tokens, fits.tokens_at_once))
    tokens = min(cells * most_tokens, in_passes)
    of_cell = memory_of_cell(data.language_model, lora, pairs[:2])
    return MemoryOfPack(
        cells=cells,
        base_model=sum(weight.nbytes for weight in model.parameters()),
        of_adapter=of_cell.adapter,
        activations=int(of_cell.per_token * tokens),
        for_logits=LOGITS_AT_ONCE[model.device.type] * BYTES_PER_LOGIT,
        free=free_memory(model.device),
    )
