"""What utilities depend on beside the tasks: do two configurations that share a template field agree more?

The correlation of two configurations' utilities is regressed on indicators "same value of this field", as the report of
2026-01-14 did. What went wrong there is told apart here: fields that always agree together (only their sum can be
estimated), pairs that share a configuration or a template and so are not independent (`shared_fields`), and utilities
that depend on the slot (`utility_correlations`).
"""

# P pairs of configurations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from prefassets.domain.preferences.shared_fields import (
    FEWEST_UNITS,
    Design,
    Fit,
    design,
    fit,
    permutation_p,
    smallest_coefficients,
)
from prefassets.domain.preferences.utility_correlations import Adjustment, Correlated, correlate

PERMUTATIONS = 10_000
CONFIDENCE = 0.95
TEMPLATE = "template"

ESTIMATED, ALIASED, CONSTANT, NOT_ESTIMABLE = "estimated", "aliased", "does not vary", "not estimable"

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
    "permuted": pl.String,
    "state": pl.String,
    "reason": pl.String,
}
FIT = {
    "adjustment": pl.String,
    "configurations": pl.Int64,
    "templates": pl.Int64,
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
    - `robust_se`: errors of pairs that share a unit may depend on each other in any way (Aronow, Samii and Assenova
      2015; Cameron and Miller 2014). The variance is estimated by a difference, which comes out near zero or negative
      (then this is empty) often enough where a field does not matter and its values are equally frequent.
    - `cautious_se`: the same without what is taken off, what pairs contribute alone, which both of their units count
      (the two-term estimator of MacKinnon, Nielsen and Webb 2021). Never below `robust_se`, sqrt(2) too large where
      pairs are in fact independent.
    - `lower`, `upper`, `p`: by `cautious_se`, and t with units - 1 degrees of freedom.
    - `permutation_p`: fields handed to other units (`shared_fields.permutation_p`). Go by this one: it kept its 5 % in
      every design that was simulated.

    The unit is the configuration; or the template, if it is named, as it must be where configurations repeat one. They
    agree also in what no field says, and a field that is constant within each of ten templates has ten values, however
    many configurations there are: taken as independent, most fields that do not matter pass for ones that do. Named,
    `template` is a column too: what configurations of one template agree in beyond its fields.

    Adjusted for the list position, a cubic in it is taken out of each configuration's utilities first. That is for
    measurements in which the list decided the slot, and it also takes out what tasks really have to do with their
    position. Where slots were drawn at random and the fit has a slot term, nothing is left to take out.

    Args:
        configurations: `configuration`, the template fields, a column each, and `template`, if several configurations
            have one in common. An empty value is a value.
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
    fields = [name for name in configurations.columns if name not in ("configuration", TEMPLATE)]
    unit = TEMPLATE if TEMPLATE in configurations.columns else "configuration"
    if not fields:
        raise ValueError("the configurations have no template field to compare them by; give at least one column")
    if configurations["configuration"].is_duplicated().any():
        raise ValueError("a configuration occurs twice; give each way of asking a name of its own")
    given = utilities.join(configurations.select("configuration"), on="configuration", how="semi")
    coefficients, fits, correlations = [], [], []
    for adjustment in adjustments:
        found = correlate(given, adjustment)
        named = pl.DataFrame({"configuration": found.names}, schema={"configuration": pl.String})
        labels = named.join(configurations, on="configuration", how="left", maintain_order="left")
        columns = design(labels, [*fields, TEMPLATE] if unit == TEMPLATE else fields, unit)
        rows = _correlation_rows(columns, found)
        fitted = fit(columns, rows["correlation"].to_numpy())
        silent = set(configurations["configuration"]) - set(found.names) - set(found.left_out)
        left_out = found.left_out | dict.fromkeys(sorted(silent), "no utilities")
        said = {"adjustment": adjustment}
        coefficients += [said | row for row in _coefficient_rows(columns, fitted, permutations, seed)]
        fits.append(said | {"permutations": permutations} | _fit_row(columns, rows, fitted, unit, left_out))
        correlations.append(rows.with_columns(adjustment=pl.lit(adjustment)).select(*CORRELATIONS))
    return Sensitivity(
        pl.DataFrame([dict.fromkeys(COEFFICIENTS) | row for row in coefficients], schema=COEFFICIENTS),
        pl.DataFrame([dict.fromkeys(FIT) | row for row in fits], schema=FIT),
        pl.concat(correlations),
    )


def _correlation_rows(columns: Design, found: Correlated) -> pl.DataFrame:
    first_P, second_P = columns.first_P, columns.second_P
    names = pl.Series(found.names, dtype=pl.String)
    return pl.DataFrame(
        {
            "configuration_a": names.gather(first_P),
            "configuration_b": names.gather(second_P),
            "tasks": found.tasks_CC[first_P, second_P],
            "correlation": found.correlation_CC[first_P, second_P],
        }
    )


def _coefficient_rows(columns: Design, fitted: Fit | None, permutations: int, seed: int) -> Iterator[dict[str, Any]]:
    if fitted is None:
        reason = (
            f"{columns.configurations} configurations (pairs: {columns.pairs}) are too few for "
            f"{1 + len(columns.fields)} coefficients and their errors; measure more configurations"
        )
        for name in columns.fields:
            yield {"field": name, "field_group": name, "state": NOT_ESTIMABLE, "reason": reason}
        return
    shared = _of_groups(columns, fitted, permutations, seed)
    smallest = smallest_coefficients(columns, fitted.correlation_P)
    column_of = {name: column for column, group in enumerate(columns.groups, start=1) for name in group}
    for name in columns.fields:
        if name in columns.constant:
            yield {"field": name, "field_group": name, "state": CONSTANT, "reason": columns.constant[name]}
        else:
            yield {"field": name, "minimum_norm": smallest[name], **shared[column_of[name]]}


def _of_groups(columns: Design, fitted: Fit, permutations: int, seed: int) -> dict[int, dict[str, Any]]:
    """Column -> what its fields have in common."""
    found = {}
    for column, group in enumerate(columns.groups, start=1):
        row = {"field_group": ", ".join(group), "same_pairs": int(columns.values_PK[:, column].sum())}
        if column in columns.tangled:
            reason = f"only combinations of these can be estimated: {_named(columns, columns.tangled[column])}"
            found[column] = row | {"state": NOT_ESTIMABLE, "reason": reason}
            continue
        row |= _numbers(columns, fitted, column)
        row["permutation_p"] = permutation_p(columns, fitted, column, permutations, seed)
        row["permuted"] = columns.permuted(column)
        alone = len(group) == 1
        row |= {"state": ESTIMATED} if alone else {"state": ALIASED, "reason": f"{_braces(group)} cannot be told apart"}
        found[column] = row
    return found


def _numbers(columns: Design, fitted: Fit, column: int) -> dict[str, Any]:
    from scipy import stats  # a quarter of a second to import: only where it is used

    estimate = float(fitted.coefficients_K[column])
    row = {"estimate": estimate, "ols_se": float(fitted.ols_variance_K[column]) ** 0.5}
    robust, error = float(fitted.robust_variance_K[column]), float(fitted.cautious_variance_K[column]) ** 0.5
    if columns.units < FEWEST_UNITS or error == 0:
        return row
    spread = stats.t(columns.units - 1)
    reach = error * float(spread.ppf((1 + CONFIDENCE) / 2))
    return row | {
        "robust_se": robust**0.5 if robust > 0 else None,
        "cautious_se": error,
        "lower": estimate - reach,
        "upper": estimate + reach,
        "p": float(2 * spread.sf(abs(estimate) / error)),
    }


def _fit_row(
    columns: Design, rows: pl.DataFrame, fitted: Fit | None, unit: str, left_out: Mapping[str, str]
) -> dict[str, Any]:
    aliased = [_braces(group) for group in columns.groups if len(group) > 1]
    tangles = sorted(_named(columns, tangled) for tangled in set(columns.tangled.values()))
    return {
        "configurations": columns.configurations,
        "templates": columns.units if unit == TEMPLATE else None,
        "pairs": columns.pairs,
        "fewest_tasks": rows["tasks"].min(),
        "mean_correlation": rows["correlation"].mean(),
        "r_squared": fitted.r_squared if fitted else None,
        "constant": float(fitted.coefficients_K[0]) if fitted and 0 not in columns.tangled else None,
        "columns": 1 + len(columns.fields),
        "design_rank": columns.rank,
        "aliased": "; ".join([*aliased, *tangles]) or None,
        "without_variation": ", ".join(columns.constant) or None,
        "left_out": "; ".join(f"{name}: {why}" for name, why in left_out.items()) or None,
    }


def _braces(names: Sequence[str]) -> str:
    return "{" + ", ".join(names) + "}"


def _named(columns: Design, tangled: frozenset[int]) -> str:
    """Columns of the design that depend on each other, by the fields behind them."""
    return _braces(["constant" if not column else " = ".join(columns.groups[column - 1]) for column in sorted(tangled)])
