"""Who is held out together: folds of units, and of topics or origins."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

NOWHERE = -1  # the fold of an item that a split leaves out


def dealt_folds(units: Sequence[str | None], folds: int, seed: int = 0) -> NDArray[np.int64]:
    """Deal units into folds; all items of a unit fall in one.

    Units are dealt one by one in the order of a digest of seed and name, so folds differ by at most one unit and depend
    neither on the order of items nor on how often a unit comes.

    Args:
        units: the unit of each item; an item without one is in no fold.
        folds: how many; with as many as there are units, or more, each unit is a fold of its own.

    Returns:
        The fold of each item, 0 to folds - 1, or `NOWHERE`.
    """
    distinct = sorted({unit for unit in units if unit is not None}, key=lambda unit: _digest(f"{seed}|{unit}"))
    of_unit = {unit: place % folds for place, unit in enumerate(distinct)}
    return np.array([NOWHERE if unit is None else of_unit[unit] for unit in units], dtype=np.int64)


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()
