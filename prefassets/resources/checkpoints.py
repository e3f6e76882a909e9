"""The states of cells in training, in the store under their fingerprints, each with what is needed to trust it."""

from __future__ import annotations

import hashlib
import logging
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from prefassets.domain import training
from prefassets.resources.store import Store

if TYPE_CHECKING:
    from prefassets.domain.training.train import CellToTrain

_DIGITS = 64  # of a SHA-256 in hexadecimal
_logger = logging.getLogger(__name__)


class StoredCheckpoints:
    """Where the trainer keeps the state of the cells it trains: `domain.training.train.Checkpoints` over the store.

    A state is only good for the code that wrote it. What other code wrote, or what is damaged, counts as none: the cell
    starts anew, and the log says so.
    """

    def __init__(self, store: Store, seconds_between: float) -> None:
        self.store = store
        self.seconds_between = seconds_between

    def read(self, cell: CellToTrain) -> bytes | None:
        """The state that was written last for the cell's recipe, or None."""
        written = self.store.checkpoint(cell.recipe.fingerprint)
        if written is None:
            return None
        code, checksum, state = written[:_DIGITS], written[_DIGITS : 2 * _DIGITS], written[2 * _DIGITS :]
        if code != _code():
            why = "was written by another version of the trainer"
        elif checksum != _checksum(state):
            why = "is damaged"
        else:
            return state
        _logger.warning("the checkpoint of cell %s %s; the cell starts anew", cell.key, why)
        return None

    def write(self, cell: CellToTrain, state: bytes) -> None:
        """Replace the state, whole or not at all."""
        self.store.write_checkpoint(cell.recipe.fingerprint, _code() + _checksum(state) + state)


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


@cache
def _code() -> bytes:
    """Digest of everything that gives a state its meaning: the trainer's source and torch."""
    sources = sorted(Path(training.__file__).parent.rglob("*.py"))
    return _checksum(b"".join(file.read_bytes() for file in sources) + metadata.version("torch").encode())
