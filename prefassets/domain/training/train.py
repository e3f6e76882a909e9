"""The seam between what is to be trained and what trains it: cells in, finished or failed cells out."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from prefassets.domain.training.encoding import EncodedPairs
from prefassets.domain.training.language_model import LanguageModel
from prefassets.domain.training.recipe import Recipe

OnStep = Callable[[str, int, int], None]
LOG_SCHEMA = {
    "step": pl.Int64,
    "loss": pl.Float64,
    "margin": pl.Float64,
    "pref_acc": pl.Float64,
    "learning_rate": pl.Float64,
    "pairs_seen": pl.Int64,
    "epoch": pl.Float64,
}
_logger = logging.getLogger(__name__)


class Diverged(ArithmeticError):
    """A loss or a weight of a cell is not a finite number any more."""


@dataclass(frozen=True)
class CellToTrain:
    """One adapter to train. `pair_ids` are its training pairs in canonical order, which the seed then shuffles."""

    key: str
    recipe: Recipe
    pair_ids: tuple[str, ...]


@dataclass(frozen=True)
class TrainingData:
    """What all cells share: the frozen base model, the pairs as tokens, and per pair the base model's log-probability
    of the chosen and of the rejected answer."""

    language_model: LanguageModel
    encoded: EncodedPairs
    reference_logps: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class FinishedCell:
    """A trained adapter as PEFT files, and its `log`: the columns of `LOG_SCHEMA`, one row per step."""

    key: str
    files: dict[str, bytes]
    log: pl.DataFrame
    seconds: float
    engine: str
    device: str
    train_pairs: int
    steps: int


@dataclass(frozen=True)
class FailedCell:
    """A cell without an adapter, and why."""

    key: str
    reason: str


def train_cells(
    cells: Iterable[CellToTrain], data: TrainingData, on_step: OnStep | None = None
) -> Iterator[FinishedCell | FailedCell]:
    """Train each cell and yield it as it ends. A cell that fails or diverges fails alone; the others go on.

    The seed fixes the adapter's initialisation (`transformers.set_seed`, then PEFT's own) and the order of the pairs
    (`data_order`), and nothing else is random: on one machine equal recipes give equal adapters, byte for byte, as far
    as its kernels add in a fixed order (they do on a CPU; attention on a GPU may not). The base model is the same
    afterwards, bit for bit.

    Args:
        on_step: told a cell's key, the step it finished, and its number of steps.
    """
    from prefassets.domain.training.trl_engine import train_cell  # trl takes seconds to import

    for cell in cells:
        outcome: FinishedCell | FailedCell
        try:
            outcome = train_cell(cell, data, on_step)
        except Diverged as error:
            outcome = FailedCell(cell.key, str(error))
        except Exception as error:  # whatever it is, it is this cell's; the others go on
            _logger.exception("cell %s failed", cell.key)
            outcome = FailedCell(cell.key, f"{type(error).__name__}: {error}")
        yield outcome
