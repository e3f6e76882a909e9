"""Least squares of what pairs of configurations have in common: the design, its rank, and errors that know of pairs.

A unit is what is drawn anew and on its own: a template, or a configuration where no template is named. Pairs that share
a unit are not independent of each other, whatever the number of pairs.
"""

# C configurations, P pairs of them, K columns: a constant, then distinct indicators; U units, B permutations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.domain.preferences.utility_correlations import Array

SINGULAR = 1e-8
FEWEST_UNITS = 3  # of two, both have the same share in every estimate
CELLS_AT_ONCE = 1_000_000  # of permuted columns: 8 MB
FREE, WITHIN, BETWEEN = "configurations", "configurations within templates", "templates"

Codes = NDArray[np.intp]


@dataclass(frozen=True)
class Design:
    """Which pairs share what.

    Attributes:
        fields: as given.
        first_P, second_P: the configurations of each pair.
        unit_C: the unit of each configuration.
        values_PK: the constant, and 1 where a pair shares the field, once for fields that always agree together.
        groups: the fields behind each column but the constant.
        level_CK: whose value of the column's fields each configuration has.
        constant: fields that make no column -> why.
        inverse_KP: the pseudoinverse of `values_PK`.
        rank: of `values_PK`.
        tangled: column -> the columns, itself among them, of which only combinations can be estimated.
    """

    fields: tuple[str, ...]
    first_P: Codes
    second_P: Codes
    unit_C: Codes
    values_PK: Array
    groups: tuple[tuple[str, ...], ...]
    level_CK: Codes
    constant: Mapping[str, str]
    inverse_KP: Array
    rank: int
    tangled: Mapping[int, frozenset[int]]

    @property
    def configurations(self) -> int:
        return len(self.unit_C)

    @property
    def pairs(self) -> int:
        return len(self.first_P)

    @property
    def units(self) -> int:
        return len(np.unique(self.unit_C))

    def permuted(self, column: int) -> str:
        """What changes places to see how a column of no meaning would do: `FREE`, `WITHIN` or `BETWEEN`."""
        level_C = self.level_CK[:, column]
        if self.units == self.configurations or np.array_equal(level_C, self.unit_C):
            return FREE
        values = np.unique(np.column_stack([self.unit_C, level_C]), axis=0)
        return WITHIN if len(values) > self.units else BETWEEN


@dataclass(frozen=True)
class Fit:
    """Least squares, and the variance of each coefficient: of the smallest coefficients where the design lacks rank.

    With s_u the sum over a unit's pairs of what each contributes to a coefficient, `cautious` is sum_u s_u^2; `robust`
    is that less what pairs of two units are counted twice for.
    """

    correlation_P: Array
    coefficients_K: Array
    r_squared: float | None
    ols_variance_K: Array
    robust_variance_K: Array
    cautious_variance_K: Array


def design(labels: pl.DataFrame, fields: Sequence[str], unit: str) -> Design:
    """The columns for every pair of configurations.

    Args:
        labels: one row per configuration, with the fields and the column `unit`.
    """
    first_P, second_P = np.triu_indices(len(labels), 1)
    constant: dict[str, str] = {}
    alike: dict[bytes, list[str]] = defaultdict(list)
    levels = [np.zeros(len(labels), dtype=np.intp)]
    for name in fields:
        level_C = _codes(labels[name])
        same_P = level_C[first_P] == level_C[second_P]
        if same_P.all():
            constant[name] = "it is the same in all configurations"
        elif not same_P.any():
            constant[name] = "no two configurations have it the same"
        else:
            if same_P.tobytes() not in alike:
                levels.append(level_C)
            alike[same_P.tobytes()].append(name)
    level_CK = np.column_stack(levels)
    values_PK = (level_CK[first_P] == level_CK[second_P]).astype(float)
    inverse_KP = np.linalg.pinv(values_PK, rcond=SINGULAR)
    return Design(
        tuple(fields),
        first_P,
        second_P,
        _codes(labels[unit]),
        values_PK,
        tuple(tuple(sorted(names)) for names in alike.values()),
        level_CK,
        constant,
        inverse_KP,
        int(np.linalg.matrix_rank(values_PK)) if len(first_P) else 0,
        _tangled(inverse_KP @ values_PK),
    )


def fit(design: Design, correlation_P: Array) -> Fit | None:
    """Least squares; None where there are no more pairs than the design has rank."""
    if design.pairs <= design.rank:
        return None
    coefficients_K = design.inverse_KP @ correlation_P
    error_P = correlation_P - design.values_PK @ coefficients_K
    total, unexplained = float(((correlation_P - correlation_P.mean()) ** 2).sum()), float(error_P @ error_P)
    share_PK = design.inverse_KP.T * error_P[:, None]
    one_P, other_P = np.sort(np.stack([design.unit_C[design.first_P], design.unit_C[design.second_P]]), axis=0)
    two = one_P != other_P
    of_unit_UK = np.zeros((design.configurations, share_PK.shape[1]))
    np.add.at(of_unit_UK, one_P, share_PK)
    np.add.at(of_unit_UK, other_P[two], share_PK[two])
    of_two_units = np.zeros((design.configurations**2, share_PK.shape[1]))
    np.add.at(of_two_units, one_P[two] * design.configurations + other_P[two], share_PK[two])
    cautious_K = (of_unit_UK**2).sum(axis=0)
    return Fit(
        correlation_P,
        coefficients_K,
        1 - unexplained / total if total > 0 else None,
        (design.inverse_KP**2).sum(axis=1) * unexplained / (design.pairs - design.rank),
        cautious_K - (of_two_units**2).sum(axis=0),
        cautious_K,
    )


def smallest_coefficients(design: Design, correlation_P: Array) -> dict[str, float]:
    """Field -> its coefficient in the smallest solution (minimum norm) that fits best; the constant is not counted."""
    names = [name for group in design.groups for name in group]
    columns = [column for column, group in enumerate(design.groups, start=1) for _ in group]
    centred_PF = design.values_PK[:, columns] - design.values_PK[:, columns].mean(axis=0)
    smallest_F = np.linalg.pinv(centred_PF, rcond=SINGULAR) @ (correlation_P - correlation_P.mean())
    return dict(zip(names, smallest_F.tolist(), strict=True))


def permutation_p(design: Design, found: Fit, column: int, permutations: int, seed: int) -> float:
    """How often the correlations go at least as closely with a column in which configurations changed places.

    Closeness is the squared partial correlation given the other columns. Where units have several configurations, a
    column that differs within units changes places within them only, and one that does not is handed from unit to unit.
    The column of the units themselves, and every column if units are single configurations, changes places freely. But
    for what is handed from unit to unit, it is what the other columns leave of a column that changes places, so that it
    keeps how it lies to them (double semi-partialling: Dekker, Krackhardt and Snijders 2007). The column as it is
    counts as one permutation.
    """
    others_PK, size, _ = np.linalg.svd(np.delete(design.values_PK, column, axis=1), full_matrices=False)
    others_PK = others_PK[:, size > SINGULAR * size[0]]
    outcome_P = found.correlation_P - others_PK @ (others_PK.T @ found.correlation_P)

    def closeness(columns_bP: Array) -> Array:
        size_b = (columns_bP**2).sum(axis=1) - ((columns_bP @ others_PK) ** 2).sum(axis=1)
        product_b = columns_bP @ outcome_P
        return np.divide(product_b**2, size_b, out=np.zeros_like(size_b), where=size_b > SINGULAR)

    own_P = design.values_PK[:, column]
    moved_BC = _moved(design, column, permutations, np.random.default_rng(seed))
    if design.permuted(column) == BETWEEN:
        level_C = design.level_CK[:, column]
        source_CC = (level_C[:, None] == level_C[None, :]).astype(float)
    else:
        source_CC = np.zeros((design.configurations, design.configurations))
        source_CC[design.first_P, design.second_P] = own_P - others_PK @ (others_PK.T @ own_P)
        source_CC += source_CC.T
    least = (1 - SINGULAR) * closeness(own_P[None, :])[0]
    as_close, at_once = 1, max(1, CELLS_AT_ONCE // design.pairs)
    for start in range(0, permutations, at_once):
        moved_bC = moved_BC[start : start + at_once]
        cell_bP = moved_bC[:, design.first_P] * design.configurations + moved_bC[:, design.second_P]
        as_close += int((closeness(source_CC.ravel().take(cell_bP)) >= least).sum())
    return as_close / (1 + permutations)


def _moved(design: Design, column: int, permutations: int, randomness: np.random.Generator) -> Codes:
    """Whose place each configuration takes, permutations x configurations."""
    if design.permuted(column) == BETWEEN:
        representatives, unit_C = np.unique(design.unit_C, return_inverse=True)
        everyone = np.tile(representatives, (permutations, 1))
        return randomness.permuted(everyone, axis=1)[:, unit_C]
    groups_C = design.unit_C if design.permuted(column) == WITHIN else np.zeros_like(design.unit_C)
    moved_BC = np.empty((permutations, design.configurations), dtype=np.intp)
    shuffled_BC = groups_C + randomness.random((permutations, design.configurations))  # group by group
    moved_BC[:, np.argsort(groups_C, kind="stable")] = np.argsort(shuffled_BC, axis=1)
    return moved_BC


def _codes(values: pl.Series) -> Codes:
    listed = values.to_list()
    first = {value: place for place, value in reversed(list(enumerate(listed)))}
    return np.array([first[value] for value in listed], dtype=np.intp)


def _tangled(resolution_KK: Array) -> dict[int, frozenset[int]]:
    """`resolution_KK` takes coefficients to their estimates without noise: the identity, where all can be estimated."""
    linked_KK = np.abs(resolution_KK - np.eye(len(resolution_KK))) > SINGULAR
    reached_KK = linked_KK.copy()
    for _ in range(len(linked_KK)):
        reached_KK |= (reached_KK.astype(int) @ linked_KK.astype(int)) > 0
    return {
        column: frozenset(np.flatnonzero(reached_KK[column] | (np.arange(len(linked_KK)) == column)).tolist())
        for column in range(len(linked_KK))
        if linked_KK[column].any()
    }
