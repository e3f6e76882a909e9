"""What utilities depend on beside the tasks: do two configurations that share a template field agree more?

The correlation of two configurations' utilities is regressed on indicators "same value of this field", as the report of
2026-01-14 did. Three things went wrong there, and are told apart here: fields that always agree together (only their
sum can be estimated), pairs that share a configuration and so are not independent (errors), and utilities that depend
on the slot (`utility_correlations`).
"""

# C configurations, P pairs of them, K columns of the design: a constant, then distinct indicators

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.domain.preferences.utility_correlations import Adjustment, Array, Correlated, correlate

PERMUTATIONS = 10_000
SINGULAR = 1e-8
CELLS_AT_ONCE = 1_000_000  # of permuted columns: 8 MB

ESTIMATED, ALIASED, CONSTANT, NOT_ESTIMABLE = "estimated", "aliased", "does not vary", "not estimable"
CONFIDENCE = 0.95

COEFFICIENTS = {
    "adjustment": pl.String,
    "field": pl.String,
    "field_group": pl.String,
    "same_pairs": pl.Int64,
    "estimate": pl.Float64,
    "minimum_norm": pl.Float64,
    "ols_se": pl.Float64,
    "robust_se": pl.Float64,
    "cautious_se": pl.Float64,
    "lower": pl.Float64,
    "upper": pl.Float64,
    "p": pl.Float64,
    "permutation_p": pl.Float64,
    "state": pl.String,
    "reason": pl.String,
}
FIT = {
    "adjustment": pl.String,
    "configurations": pl.Int64,
    "pairs": pl.Int64,
    "fewest_tasks": pl.Int64,
    "mean_correlation": pl.Float64,
    "r_squared": pl.Float64,
    "constant": pl.Float64,
    "columns": pl.Int64,
    "design_rank": pl.Int64,
    "aliased": pl.String,
    "without_variation": pl.String,
    "left_out": pl.String,
    "permutations": pl.Int64,
}
CORRELATIONS = {
    "adjustment": pl.String,
    "configuration_a": pl.String,
    "configuration_b": pl.String,
    "tasks": pl.Int64,
    "correlation": pl.Float64,
}


@dataclass(frozen=True)
class Sensitivity:
    """Per adjustment: a row per field (`COEFFICIENTS`), one row (`FIT`), and a row per pair (`CORRELATIONS`)."""

    coefficients: pl.DataFrame
    fit: pl.DataFrame
    correlations: pl.DataFrame


def sensitivity(
    configurations: pl.DataFrame,
    utilities: pl.DataFrame,
    adjustments: Sequence[Adjustment] = ("none",),
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Sensitivity:
    """Regress the correlations of configurations' utilities on which template fields they share.

    r_ij = constant + sum_f beta_f 1[i and j have the same f] + error_ij, over pairs i < j, by least squares.

    - `ols_se`: as if pairs were independent.
    - `robust_se`: errors of pairs that share a configuration may depend on each other in any way (Aronow, Samii and
      Assenova 2015; Cameron and Miller 2014). The variance is estimated by a difference, which comes out near zero or
      negative (then this is empty) often enough where a field does not matter and its values are equally frequent.
    - `cautious_se`: the same without what is taken off, the square of each pair, which both of its configurations count
      (the two-term estimator of MacKinnon, Nielsen and Webb 2021). Never empty, never below `robust_se`, sqrt(2) too
      large where pairs are in fact independent.
    - `lower`, `upper`, `p`: by `cautious_se`, and t with configurations - 1 degrees of freedom.
    - `permutation_p`: what the other fields do not explain of a field's indicator is given to other configurations,
      rows and columns together, and the squared partial correlation compared (double semi-partialling: Dekker,
      Krackhardt and Snijders 2007). Go by this one: it alone kept its 5 % in every design that was simulated.

    All of these take configurations as exchangeable, at least. A field that is constant within each of a few templates
    has as many independent values as there are templates, and neither errors nor permutations know that.

    Adjusted for the list position, a cubic in it is taken out of each configuration's utilities first. That is for
    measurements in which the list decided the slot, and it also takes out what tasks really have to do with their
    position. Where slots were drawn at random and the fit has a slot term, nothing is left to take out.

    Args:
        configurations: `configuration` and the template fields, a column each; an empty value is a value.
        utilities: `configuration`, `task_id`, `mu`, and `list_index` if it is to be adjusted for. Those of other
            configurations are not used.
        adjustments: each gives rows of its own.
        permutations: per field.

    Returns:
        `estimate` is how much higher the correlation is if the field is the same. Fields that always agree together
        (`field_group`, state `aliased`) share all numbers, which are of their common column; `minimum_norm` is what a
        least-squares routine hands each of them, and what was published. `reason` says why a state is not `estimated`.

    Raises:
        ValueError: a configuration, or a task of one, occurs twice; no field; no `list_index` to adjust for.
    """
    fields = [name for name in configurations.columns if name != "configuration"]
    if not fields:
        raise ValueError("the configurations have no template field to compare them by; give at least one column")
    if configurations["configuration"].is_duplicated().any():
        raise ValueError("a configuration occurs twice; give each way of asking a name of its own")
    given = utilities.join(configurations.select("configuration"), on="configuration", how="semi")
    coefficients, fits, correlations = [], [], []
    for adjustment in adjustments:
        found = correlate(given, adjustment)
        design = _design(configurations, fields, found)
        fit = _fit(design, found)
        silent = set(configurations["configuration"]) - set(found.names) - set(found.left_out)
        left_out = found.left_out | dict.fromkeys(sorted(silent), "no utilities")
        tested = _permutation_p(design, fit, permutations, np.random.default_rng(seed)) if fit else {}
        coefficients += [{"adjustment": adjustment, **row} for row in _coefficient_rows(design, fit, tested)]
        fits.append({"adjustment": adjustment, "permutations": permutations, **_fit_row(design, found, fit, left_out)})
        correlations.append(_correlation_rows(design, found).with_columns(adjustment=pl.lit(adjustment)))
    return Sensitivity(
        pl.DataFrame([dict.fromkeys(COEFFICIENTS) | row for row in coefficients], schema=COEFFICIENTS),
        pl.DataFrame([dict.fromkeys(FIT) | row for row in fits], schema=FIT),
        pl.concat([rows.select(*CORRELATIONS) for rows in correlations]),
    )


@dataclass(frozen=True)
class _Design:
    """Which pairs share what. `groups` are the fields behind each column but the constant, which is the first one.

    `constant` are fields that no column can be made of -> why; `tangled` are columns that are combinations of others.
    """

    fields: tuple[str, ...]
    configurations: int
    first_P: NDArray[np.intp]
    second_P: NDArray[np.intp]
    values_PK: Array
    groups: tuple[tuple[str, ...], ...]
    constant: Mapping[str, str]
    inverse_KP: Array
    rank: int
    tangled: Mapping[int, frozenset[int]]

    @property
    def pairs(self) -> int:
        return len(self.first_P)


@dataclass(frozen=True)
class _Fit:
    """Least squares, and the errors of each column: of the minimum-norm solution where the design lacks rank."""

    correlation_P: Array
    coefficients_K: Array
    minimum_norm: Mapping[str, float]
    r_squared: float | None
    ols_variance_K: Array
    robust_variance_K: Array
    cautious_variance_K: Array


def _design(configurations: pl.DataFrame, fields: Sequence[str], found: Correlated) -> _Design:
    first_P, second_P = np.triu_indices(len(found.names), 1)
    labels = pl.DataFrame({"configuration": found.names}, schema={"configuration": pl.String}).join(
        configurations, on="configuration", how="left", maintain_order="left"
    )
    constant: dict[str, str] = {}
    alike: dict[bytes, list[str]] = defaultdict(list)
    for name in fields:
        values = labels[name].to_list()
        level_C = np.array([values.index(value) for value in values], dtype=int)
        same_P = level_C[first_P] == level_C[second_P]
        if same_P.all():
            constant[name] = "it is the same in all configurations"
        elif not same_P.any():
            constant[name] = "no two configurations have it the same"
        else:
            alike[same_P.tobytes()].append(name)
    indicators = [np.frombuffer(same, dtype=bool).astype(float) for same in alike]
    values_PK = np.column_stack([np.ones(len(first_P)), *indicators])
    inverse_KP = np.linalg.pinv(values_PK, rcond=SINGULAR)
    return _Design(
        tuple(fields),
        len(found.names),
        first_P,
        second_P,
        values_PK,
        tuple(tuple(sorted(names)) for names in alike.values()),
        constant,
        inverse_KP,
        int(np.linalg.matrix_rank(values_PK)) if len(first_P) else 0,
        _tangled(inverse_KP @ values_PK),
    )


def _tangled(resolution_KK: Array) -> dict[int, frozenset[int]]:
    """Column -> the columns, itself among them, of which only combinations can be estimated.

    `resolution_KK` takes coefficients to their least-squares estimates without noise: the identity, where all can be.
    """
    linked_KK = np.abs(resolution_KK - np.eye(len(resolution_KK))) > SINGULAR
    reached_KK = linked_KK.copy()
    for _ in range(len(linked_KK)):
        reached_KK |= (reached_KK.astype(int) @ linked_KK.astype(int)) > 0
    return {
        column: frozenset(np.flatnonzero(reached_KK[column] | (np.arange(len(linked_KK)) == column)).tolist())
        for column in range(len(linked_KK))
        if linked_KK[column].any()
    }


def _fit(design: _Design, found: Correlated) -> _Fit | None:
    """None where there are no more pairs than the design has rank."""
    if design.pairs <= design.rank:
        return None
    correlation_P = found.correlation_CC[design.first_P, design.second_P]
    inverse_KP, values_PK = design.inverse_KP, design.values_PK
    coefficients_K = inverse_KP @ correlation_P
    error_P = correlation_P - values_PK @ coefficients_K
    total = float(((correlation_P - correlation_P.mean()) ** 2).sum())
    # each pair's share in the estimate; summed over the pairs of a configuration, its share
    share_PK = inverse_KP.T * error_P[:, None]
    share_CK = np.zeros((design.configurations, share_PK.shape[1]))
    np.add.at(share_CK, design.first_P, share_PK)
    np.add.at(share_CK, design.second_P, share_PK)
    cautious_K, own_K = (share_CK**2).sum(axis=0), (share_PK**2).sum(axis=0)
    return _Fit(
        correlation_P,
        coefficients_K,
        _minimum_norm(design, correlation_P),
        1 - float(error_P @ error_P) / total if total > 0 else None,
        (inverse_KP**2).sum(axis=1) * float(error_P @ error_P) / (design.pairs - design.rank),
        cautious_K - own_K,
        cautious_K,
    )


def _minimum_norm(design: _Design, correlation_P: Array) -> dict[str, float]:
    """The smallest coefficients, field by field, among all that fit equally well; the constant is not counted."""
    names = [name for group in design.groups for name in group]
    columns = [column for column, group in enumerate(design.groups, start=1) for _ in group]
    centred_PF = design.values_PK[:, columns] - design.values_PK[:, columns].mean(axis=0)
    smallest_F = np.linalg.pinv(centred_PF, rcond=SINGULAR) @ (correlation_P - correlation_P.mean())
    return dict(zip(names, smallest_F.tolist(), strict=True))


@dataclass(frozen=True)
class _Partial:
    """What the other columns (an orthonormal basis of them) leave of one, as a matrix over configurations, and of the
    correlations; and how close the two are."""

    others_PK: Array
    own_CC: Array
    outcome_P: Array
    own_size: float
    closeness: float


def _partial(design: _Design, fit: _Fit, column: int) -> _Partial:
    others_PK, size, _ = np.linalg.svd(np.delete(design.values_PK, column, axis=1), full_matrices=False)
    others_PK = others_PK[:, size > SINGULAR * size[0]]
    own_P, outcome_P = (
        values_P - others_PK @ (others_PK.T @ values_P) for values_P in (design.values_PK[:, column], fit.correlation_P)
    )
    own_CC = np.zeros((design.configurations, design.configurations))
    own_CC[design.first_P, design.second_P] = own_CC[design.second_P, design.first_P] = own_P
    own_size = float(own_P @ own_P)
    return _Partial(others_PK, own_CC, outcome_P, own_size, float(own_P @ outcome_P) ** 2 / own_size)


def _permutation_p(design: _Design, fit: _Fit, permutations: int, randomness: np.random.Generator) -> dict[int, float]:
    """Column -> how often a permuted indicator goes with the correlations at least as closely, itself counted."""
    partials = {
        column: _partial(design, fit, column)
        for column in range(1, design.values_PK.shape[1])
        if column not in design.tangled
    }
    as_close = dict.fromkeys(partials, 1)
    everyone_BC = np.tile(np.arange(design.configurations), (permutations, 1))
    moved_BC = randomness.permuted(everyone_BC, axis=1)
    at_once = max(1, CELLS_AT_ONCE // design.pairs)
    for start in range(0, permutations, at_once):
        moved_bC = moved_BC[start : start + at_once]
        cell_bP = moved_bC[:, design.first_P] * design.configurations + moved_bC[:, design.second_P]
        for column, partial in partials.items():
            permuted_bP = partial.own_CC.ravel().take(cell_bP)
            size_b = partial.own_size - ((permuted_bP @ partial.others_PK) ** 2).sum(axis=1)
            product_b = permuted_bP @ partial.outcome_P
            closeness_b = np.divide(product_b**2, size_b, out=np.zeros_like(size_b), where=size_b > SINGULAR)
            as_close[column] += int((closeness_b >= partial.closeness * (1 - SINGULAR)).sum())
    return {column: count / (1 + permutations) for column, count in as_close.items()}


def _coefficient_rows(design: _Design, fit: _Fit | None, tested: Mapping[int, float]) -> Iterator[dict[str, Any]]:
    column_of = {name: column for column, group in enumerate(design.groups, start=1) for name in group}
    for name in design.fields:
        if fit is None:
            yield {"field": name, "field_group": name, "state": NOT_ESTIMABLE, "reason": _too_few(design)}
            continue
        if name in design.constant:
            yield {"field": name, "field_group": name, "state": CONSTANT, "reason": design.constant[name]}
            continue
        column = column_of[name]
        group = design.groups[column - 1]
        row: dict[str, Any] = {"field": name, "field_group": ", ".join(group)}
        row["same_pairs"] = int(design.values_PK[:, column].sum())
        row["minimum_norm"] = fit.minimum_norm[name]
        if column in design.tangled:
            reason = f"only combinations of these can be estimated: {_named(design, design.tangled[column])}"
            yield row | {"state": NOT_ESTIMABLE, "reason": reason}
            continue
        row |= _numbers(design, fit, column) | {"permutation_p": tested[column]}
        if len(group) > 1:
            yield row | {"state": ALIASED, "reason": f"{_braces(group)} cannot be told apart"}
        else:
            yield row | {"state": ESTIMATED}


def _numbers(design: _Design, fit: _Fit, column: int) -> dict[str, float | None]:
    from scipy import stats  # a quarter of a second to import: only where it is used

    estimate = float(fit.coefficients_K[column])
    robust, cautious = float(fit.robust_variance_K[column]), float(fit.cautious_variance_K[column])
    error = float(np.sqrt(cautious))
    spread = stats.t(design.configurations - 1)
    reach = error * spread.ppf((1 + CONFIDENCE) / 2)
    return {
        "estimate": estimate,
        "ols_se": float(np.sqrt(fit.ols_variance_K[column])),
        "robust_se": float(np.sqrt(robust)) if robust > 0 else None,
        "cautious_se": error,
        "lower": estimate - reach,
        "upper": estimate + reach,
        "p": float(2 * spread.sf(abs(estimate) / error)) if error > 0 else None,
    }


def _fit_row(design: _Design, found: Correlated, fit: _Fit | None, left_out: Mapping[str, str]) -> dict[str, Any]:
    correlation_P = found.correlation_CC[design.first_P, design.second_P]
    tangles = set(design.tangled.values())
    aliased = [_braces(group) for group in design.groups if len(group) > 1]
    return {
        "configurations": design.configurations,
        "pairs": design.pairs,
        "fewest_tasks": int(found.tasks_CC.min()) if design.pairs else None,
        "mean_correlation": float(correlation_P.mean()) if design.pairs else None,
        "r_squared": fit.r_squared if fit else None,
        "constant": float(fit.coefficients_K[0]) if fit and 0 not in design.tangled else None,
        "columns": 1 + len(design.fields),
        "design_rank": design.rank,
        "aliased": "; ".join([*aliased, *sorted(_named(design, columns) for columns in tangles)]) or None,
        "without_variation": ", ".join(design.constant) or None,
        "left_out": "; ".join(f"{name}: {why}" for name, why in left_out.items()) or None,
    }


def _correlation_rows(design: _Design, found: Correlated) -> pl.DataFrame:
    names = np.array(found.names, dtype=object)
    return pl.DataFrame(
        {
            "configuration_a": names[design.first_P],
            "configuration_b": names[design.second_P],
            "tasks": found.tasks_CC[design.first_P, design.second_P],
            "correlation": found.correlation_CC[design.first_P, design.second_P],
        },
        schema={name: dtype for name, dtype in CORRELATIONS.items() if name != "adjustment"},
    )


def _too_few(design: _Design) -> str:
    return (
        f"{design.configurations} configurations (pairs: {design.pairs}) are too few for {1 + len(design.fields)} "
        "coefficients and their errors; measure more configurations"
    )


def _braces(names: Sequence[str]) -> str:
    return "{" + ", ".join(names) + "}"


def _named(design: _Design, columns: frozenset[int]) -> str:
    """Columns of the design that depend on each other, by the fields behind them."""
    return _braces(["constant" if not column else " = ".join(design.groups[column - 1]) for column in sorted(columns)])
