"""Who is held out together: folds of units, and of topics or origins.

N items, F folds
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

NOWHERE = -1  # the fold of an item that a split leaves out


@dataclass(frozen=True)
class Split:
    """What is held out, and what may be fitted to predict it.

    `fold_N` is the fold in which each item is held out, 0 to F - 1, or `NOWHERE`; `fitted_FN` are the items that the
    fit of each fold may see. Those are all the others of folds of units, but fewer of topics (`crossed`).
    """

    fold_N: NDArray[np.int64]
    fitted_FN: NDArray[np.bool_]

    @classmethod
    def of(cls, fold_N: NDArray[np.int64]) -> Split:
        """Each fold is predicted by all the others."""
        folds = np.arange(fold_N.max(initial=NOWHERE) + 1)
        return cls(fold_N, (fold_N != NOWHERE) & (fold_N != folds[:, None]))

    @classmethod
    def crossed(cls, group_N: NDArray[np.int64], unit_N: NDArray[np.int64], unit_fold_N: NDArray[np.int64]) -> Split:
        """Each group (a topic, say) is predicted by fits that have seen neither the group nor the units.

        Of a group whose units have items in other groups too, each fold of units is held out by itself, and predicted
        from the other groups' items of the other folds: whatever is the unit's own would be recognised otherwise. Of a
        group whose units have no other, everything is held out at once.

        Args:
            group_N: the group of each item, from 0, or `NOWHERE`: neither fitted nor predicted.
            unit_N: the unit of each item, from 0.
            unit_fold_N: the fold of each item's unit.
        """
        inside_N = group_N != NOWHERE
        groups_of_unit = np.zeros((unit_N.max(initial=-1) + 1, group_N.max(initial=NOWHERE) + 1), dtype=bool)
        groups_of_unit[unit_N[inside_N], group_N[inside_N]] = True
        elsewhere_N = groups_of_unit.sum(axis=1)[unit_N] > 1
        fold_N = np.full(len(group_N), NOWHERE)
        fitted: list[NDArray[np.bool_]] = []
        for group in np.unique(group_N[inside_N]):
            of_group_N, others_N = group_N == group, inside_N & (group_N != group)
            if not elsewhere_N[of_group_N].any():
                fold_N[of_group_N] = len(fitted)
                fitted.append(others_N)
                continue
            for fold in np.unique(unit_fold_N[of_group_N]):
                fold_N[of_group_N & (unit_fold_N == fold)] = len(fitted)
                fitted.append(others_N & (unit_fold_N != fold))
        return cls(fold_N, np.array(fitted, dtype=bool).reshape(-1, len(group_N)))


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
