"""What training will cost, predicted from what cells have cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

NEWEST = 32  # cells that a rate is taken from: older ones may be of another version or of a busier machine


@dataclass(frozen=True)
class Trained:
    """What one cell cost: `seconds` is its share of its pack's time, `cells_in_pack` how many trained together."""

    method: str
    device: str
    cells_in_pack: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Rate:
    """Seconds of one device per token that a cell reads, and which cells say so."""

    seconds_per_token: float
    cells: int
    method: str
    cells_in_pack: int

    def seconds(self, tokens: float) -> float:
        return self.seconds_per_token * tokens

    def share_saved(self, alone: "Rate") -> float:
        """Share of the time of cells trained one by one that packs do not take; below 0 if packs are slower."""
        return 1 - self.seconds_per_token / alone.seconds_per_token


def rate(trained: Sequence[Trained], device: str, method: str, cells_in_pack: int) -> Rate | None:
    """Total seconds over total tokens of the cells most like the ones asked for; None if none trained on the device.

    Most like: first those of the same method, then those whose pack was nearest in size (by ratio; of two
    as near, the larger), then the newest.

    Args:
        trained: newest first, all of one base model and one engine.
    """
    comparable = [cell for cell in trained if cell.device == device]
    if not comparable:
        return None
    comparable = [cell for cell in comparable if cell.method == method] or comparable
    nearest = min(comparable, key=lambda cell: (abs(math.log(cell.cells_in_pack / cells_in_pack)), -cell.cells_in_pack))
    used = [
        cell for cell in comparable if (cell.method, cell.cells_in_pack) == (nearest.method, nearest.cells_in_pack)
    ][:NEWEST]
    seconds_per_token = sum(cell.seconds for cell in used) / sum(cell.tokens for cell in used)
    return Rate(seconds_per_token, len(used), nearest.method, nearest.cells_in_pack)


def expected_tokens(tokens_of_pairs: Sequence[int], steps: int, batch_size: int) -> float:
    """Tokens that one cell reads: pairs seen x mean tokens of its pairs. Exact for whole epochs.

    Args:
        tokens_of_pairs: of each training pair, the prompt counted once.
    """
    return steps * batch_size * sum(tokens_of_pairs) / len(tokens_of_pairs)


@dataclass(frozen=True)
class MemoryOfPack:
    """Bytes that `cells` trained together take, and how many are `free` beside the base model.

    `of_adapter` is one cell's, its optimizer included; `activations` are of the largest pass, `for_logits` of a part.
    """

    cells: int
    base_model: int
    of_adapter: int
    activations: int
    for_logits: int
    free: int

    @property
    def needed(self) -> int:
        """Of the whole pack, the one base model included."""
        return self.base_model + self.cells * self.of_adapter + self.activations + self.for_logits
