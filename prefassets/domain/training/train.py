"""The seam between what is to be trained and what trains it: cells in, finished or failed cells out."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, Protocol

import polars as pl

from prefassets.domain.training.encoding import EncodedPairs
from prefassets.domain.training.language_model import LanguageModel
from prefassets.domain.training.pair_batch import PairTokens
from prefassets.domain.training.recipe import Recipe

OnStep = Callable[[str, int, int], None]
Engine = Literal["packed", "trl"]
LOG_SCHEMA = {
    "step": pl.Int64,
    "loss": pl.Float64,
    "margin": pl.Float64,
    "pref_acc": pl.Float64,
    "weight_mean": pl.Float64,
    "weight_min": pl.Float64,
    "weight_clamped": pl.Float64,
    "learning_rate": pl.Float64,
    "pairs_seen": pl.Int64,
    "epoch": pl.Float64,
}
_logger = logging.getLogger(__name__)


class StepNumbers(NamedTuple):
    """What a step's batch was before the step: mean loss, mean margin (nats x beta), share of pairs with margin > 0.

    Of its pairs' weights the mean, the smallest, and the share that is at its largest, 1 (see `Method.weight`); None
    for a method without weights.
    """

    loss: float
    margin: float
    pref_acc: float
    weight_mean: float | None
    weight_min: float | None
    weight_clamped: float | None


class Checkpoints(Protocol):
    """Where the state of a cell on its way is kept, for a job that was killed to go on from."""

    seconds_between: float

    def read(self, cell: "CellToTrain") -> bytes | None:
        """The state written last, or None."""

    def write(self, cell: "CellToTrain", state: bytes) -> None:
        """Replace the state, whole or not at all."""


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

    def tokens(self, pair_ids: Sequence[str]) -> list[PairTokens]:
        """These pairs' tokens, each array made once and shared by all cells.

        Raises:
            KeyError: a pair is not among the encoded ones.
        """
        if lacking := [pair_id for pair_id in pair_ids if pair_id not in self._tokens]:
            raise KeyError(f"{len(lacking)} of {len(pair_ids)} pairs are not encoded, e.g. {lacking[0]}")
        return [self._tokens[pair_id] for pair_id in pair_ids]

    @cached_property
    def _tokens(self) -> dict[str, PairTokens]:
        return dict(zip(self.encoded.rows["pair_id"], self.encoded.tokens(), strict=True))


@dataclass(frozen=True)
class FinishedCell:
    """A trained adapter as PEFT files, and its `log`: the columns of `LOG_SCHEMA`, one row per step.

    `seconds` is its share of the time that its pack took, `tokens` what its steps read (a pair's prompt counted once),
    and `cells_in_pack` how many were trained together at most.
    """

    key: str
    files: dict[str, bytes]
    log: pl.DataFrame
    seconds: float
    engine: str
    device: str
    train_pairs: int
    steps: int
    tokens: int
    cells_in_pack: int


@dataclass(frozen=True)
class FailedCell:
    """A cell without an adapter, and why."""

    key: str
    reason: str


def log_table(steps: Sequence[StepNumbers], learning_rates: Sequence[float], cell: CellToTrain) -> pl.DataFrame:
    """The log of the cell's first `len(steps)` steps: the columns of `LOG_SCHEMA`."""
    batch_size, pairs = cell.recipe.hyperparameters.batch_size, len(cell.pair_ids)
    rows = [
        (step, *numbers, learning_rate, step * batch_size, step * batch_size / pairs)
        for step, (numbers, learning_rate) in enumerate(zip(steps, learning_rates, strict=True), start=1)
    ]
    return pl.DataFrame(rows, schema=LOG_SCHEMA, orient="row")


def train_cells(
    cells: Sequence[CellToTrain],
    data: TrainingData,
    on_step: OnStep | None = None,
    *,
    engine: Engine = "packed",
    cells_per_pack: int | None = None,
    checkpoints: Checkpoints | None = None,
) -> Iterator[FinishedCell | FailedCell]:
    """Train each cell and yield it as it ends. A cell that fails or diverges fails alone; the others go on.

    The seed fixes the adapter's initialisation (`transformers.set_seed`, then PEFT's own), the order of the pairs
    (`data_order`) and dropout, and nothing else is random. On one machine equal recipes in equal packs give equal
    adapters, byte for byte, as far as its kernels add in a fixed order (they do on a CPU; attention on a GPU may not);
    in another pack, or by the other engine, equal up to rounding. The base model is the same afterwards, bit for bit.

    Args:
        on_step: told a cell's key, the step it finished, and its number of steps.
        engine: `packed`, many cells at once over one base model; or `trl`, TRL's DPOTrainer, one cell after the other.
        cells_per_pack: how many at once; None for as many as pay and fit into memory.
        checkpoints: where `packed` keeps the state of cells on their way, and finds it again.
    """
    if engine == "packed":
        from prefassets.domain.training.packed_engine import train_packed

        yield from train_packed(cells, data, on_step, cells_per_pack, checkpoints)
        return
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
