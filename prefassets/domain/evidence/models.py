"""The evidence tables: which covariates shift how far apart users score two answers, and what follows for splits."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from prefassets.domain.evidence.covariates import COVARIATES, EXCLUDED_SPLITS, Covariate, Design, Term, design
from prefassets.domain.evidence.fit import Z_95, Array, Fit, NotEstimable
from prefassets.domain.evidence.logit import logit
from prefassets.domain.evidence.ordered_logit import ordered_logit
from prefassets.domain.evidence.outcomes import Outcome
from prefassets.domain.prism.splits import SPLITS

OK = "ok"
JOINT, ALONE = "joint", "alone"


@dataclass(frozen=True)
class Test:
    """A model of an outcome, and the p below which the reports keep a covariate (2026-02-24)."""

    name: str
    threshold: float
    fit: Callable[[Design, Outcome], Fit]


def _w2(columns: Design, outcome: Outcome) -> Fit:
    return logit(columns.values_nk, outcome.above_n[columns.kept], outcome.users_n[columns.kept])


def _ordered(columns: Design, outcome: Outcome) -> Fit:
    kept = columns.kept
    return ordered_logit(columns.values_nk, outcome.bins_n[kept], outcome.users_n[kept], outcome.bins)


W2 = Test("W2", 0.10, _w2)
OL = Test("OL", 0.05, _ordered)

COEFFICIENTS = {
    "outcome": pl.String,
    "model": pl.String,
    "covariate": pl.String,
    "term": pl.String,
    "reference": pl.String,
    "coefficient": pl.Float64,
    "odds_ratio": pl.Float64,
    "naive_se": pl.Float64,
    "naive_p": pl.Float64,
    "clustered_se": pl.Float64,
    "clustered_p": pl.Float64,
    "clustered_low": pl.Float64,
    "clustered_high": pl.Float64,
    "design_effect": pl.Float64,
    "marginal_effect_pp": pl.Float64,
    "marginal_effect_se_pp": pl.Float64,
    "pairs": pl.Int64,
    "users": pl.Int64,
    "state": pl.String,
}
SELECTION = {
    "test": pl.String,
    "covariate": pl.String,
    "split": pl.String,
    "term": pl.String,
    "beta": pl.Float64,
    "degrees_of_freedom": pl.Int64,
    "naive_p": pl.Float64,
    "clustered_p": pl.Float64,
    "threshold": pl.Float64,
    "selected_naive": pl.Boolean,
    "selected_clustered": pl.Boolean,
    "log_odds_a_minus_b": pl.Float64,
    "direction_naive_p": pl.Float64,
    "direction_clustered_p": pl.Float64,
    "predicted": pl.String,
    "pairs": pl.Int64,
    "users": pl.Int64,
    "state": pl.String,
}


@dataclass(frozen=True)
class Fitted:
    """A design and what came of fitting it: `fit`, or None and why in `state`."""

    columns: Design
    fit: Fit | None
    state: str
    pairs: int
    users: int

    def state_of(self, term: Term) -> str:
        return self.columns.left_out.get(term, self.state)


def fitted(test: Test, outcome: Outcome, users: pl.DataFrame, covariates: tuple[str, ...]) -> Fitted:
    """Fit `test` to `outcome` with `covariates`; what the data cannot give becomes a state, not an error."""
    columns = design(outcome.user_id, users, covariates)
    seen = int(columns.kept.sum()), len(np.unique(outcome.users_n[columns.kept]))
    if not columns.terms:
        return Fitted(columns, None, "no covariate differs between pairs", *seen)
    try:
        return Fitted(columns, test.fit(columns, outcome), OK, *seen)
    except NotEstimable as error:
        at_fault = ", ".join(str(columns.terms[position]) for position in error.columns)
        return Fitted(columns, None, f"{error} ({at_fault})" if at_fault else str(error), *seen)


def coefficients(test: Test, outcomes: Mapping[str, Outcome], users: pl.DataFrame) -> pl.DataFrame:
    """Every coefficient of `test`, for each outcome with all covariates jointly and with each alone.

    The marginal effect is on P(Z = 1) for W2 and on the probability of the top bin for the ordered logit, in points per
    unit of the column (`Fit.marginal_effects`).

    Args:
        outcomes: what `outcomes` returned.
        users: the table `prism.users`.

    Returns:
        `COEFFICIENTS`, one row per outcome, model (`joint`, `alone`), covariate and term. Where a number cannot be had
        it is null and `state` says why; otherwise `state` is `ok`.
    """
    groups = [(JOINT, tuple(COVARIATES)), *((ALONE, (name,)) for name in COVARIATES)]
    rows = [
        row | {"outcome": outcome.name, "model": model}
        for outcome in outcomes.values()
        for model, covariates in groups
        for row in _coefficient_rows(fitted(test, outcome, users, covariates), covariates)
    ]
    return pl.DataFrame(rows, schema=COEFFICIENTS)


def _coefficient_rows(found: Fitted, covariates: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    numbers = _numbers(found.fit, found.columns) if found.fit else {}
    for term in _in_order(found.columns, covariates):
        yield {
            **dict.fromkeys(COEFFICIENTS),
            "covariate": term.covariate,
            "term": term.term,
            "reference": term.reference,
            **numbers.get(term, {}),
            "pairs": found.pairs,
            "users": found.users,
            "state": found.state_of(term),
        }


def _in_order(columns: Design, covariates: tuple[str, ...]) -> list[Term]:
    """The terms of a design and those that were left out of it, by covariate and level."""

    def place(term: Term) -> tuple[int, int]:
        levels = COVARIATES[term.covariate].levels
        return covariates.index(term.covariate), levels.index(term.term) if levels else 0

    return sorted([*columns.terms, *columns.left_out], key=place)


def _numbers(fit: Fit, columns: Design) -> dict[Term, dict[str, float]]:
    effect_k, effect_se_k = fit.marginal_effects(columns.values_nk, cut=-1)
    beta_k, se_k = fit.coefficients_k, fit.clustered_se_k
    each_k1k = np.eye(len(beta_k))[:, None, :]
    by_name: dict[str, Array] = {
        "coefficient": beta_k,
        "odds_ratio": np.exp(beta_k),
        "naive_se": fit.naive_se_k,
        "naive_p": np.array([fit.wald(one_1k, fit.naive_mm) for one_1k in each_k1k]),
        "clustered_se": se_k,
        "clustered_p": np.array([fit.wald(one_1k, fit.clustered_mm) for one_1k in each_k1k]),
        "clustered_low": beta_k - Z_95 * se_k,
        "clustered_high": beta_k + Z_95 * se_k,
        "design_effect": fit.design_effect_k,
        "marginal_effect_pp": 100 * effect_k,
        "marginal_effect_se_pp": 100 * effect_se_k,
    }
    return {
        term: {name: float(values[position]) for name, values in by_name.items()}
        for position, term in enumerate(columns.terms)
    }


def selection(outcome: Outcome, users: pl.DataFrame, assignments: pl.DataFrame) -> pl.DataFrame:
    """Which covariates pass each test, and what they predict for the splits.

    Both tests are of the joint model. A covariate passes if the Wald test that all its coefficients are zero
    (`Fit.wald`; one coefficient for a number, levels - 1 for a category) has p below the test's threshold. `beta` is
    the coefficient of the largest size, of the column `term`.

    The prediction for a split is the sign of (mean over A's pairs - mean over B's pairs) of the covariate's own part of
    x beta, other covariates held fixed: the group whose gaps the covariate makes larger is predicted to be the higher
    one. For stated importance, where A is above the median, that is the sign of the coefficient, with the same p. A
    category may pass its test through levels that do not set A apart from B, so the prediction has a p of its own
    (`direction_*`; groups' means are treated as fixed). Splits in `EXCLUDED_SPLITS`, and those that ask about no
    covariate, have a row that says so.

    Args:
        outcome: the score gap.
        users: the table `prism.users`.
        assignments: the table `splits.assignments`.
    """
    rows = []
    for test in (W2, OL):
        found = fitted(test, outcome, users, tuple(COVARIATES))
        rows += [
            {"test": test.name, "threshold": test.threshold, **row}
            for row in (
                *(_tested(test, found, covariate, outcome, assignments) for covariate in COVARIATES.values()),
                *_untested(),
            )
        ]
    return pl.DataFrame([dict.fromkeys(SELECTION) | row for row in rows], schema=SELECTION)


def _tested(
    test: Test, found: Fitted, covariate: Covariate, outcome: Outcome, assignments: pl.DataFrame
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "covariate": covariate.name,
        "split": covariate.split,
        "pairs": found.pairs,
        "users": found.users,
    }
    positions = found.columns.columns_of(covariate.name)
    if found.fit is None or not positions:
        whys = [why for term, why in found.columns.left_out.items() if term.covariate == covariate.name]
        return row | {"state": found.state if positions or not whys else whys[0]}
    fit, beta_k = found.fit, found.fit.coefficients_k
    largest = max(positions, key=lambda position: abs(beta_k[position]))
    own_rk = np.eye(len(beta_k))[positions]
    naive_p, clustered_p = fit.wald(own_rk, fit.naive_mm), fit.wald(own_rk, fit.clustered_mm)
    row |= {
        "term": found.columns.terms[largest].term,
        "beta": float(beta_k[largest]),
        "degrees_of_freedom": len(positions),
        "naive_p": naive_p,
        "clustered_p": clustered_p,
        "selected_naive": naive_p < test.threshold,
        "selected_clustered": clustered_p < test.threshold,
        "state": OK,
    }
    return row | (_prediction(found, fit, positions, covariate.split, outcome, assignments) if covariate.split else {})


def _prediction(
    found: Fitted, fit: Fit, positions: list[int], split: str, outcome: Outcome, assignments: pl.DataFrame
) -> dict[str, Any]:
    """What the coefficients at `positions` say of A's pairs against B's, or a state that says why nothing."""
    groups = assignments.filter(pl.col("split") == split).select("user_id", "user_group")
    of_pair = outcome.user_id.alias("user_id").to_frame().join(groups, on="user_id", how="left", maintain_order="left")
    group_n = of_pair["user_group"].fill_null("neither").to_numpy()[found.columns.kept]
    in_a_n, in_b_n = group_n == "A", group_n == "B"
    if not in_a_n.any() or not in_b_n.any():
        return {"state": f"{OK}, but group A or B has no pair: no prediction"}
    values_nk = found.columns.values_nk
    a_minus_b_1k = np.zeros((1, values_nk.shape[1]))
    a_minus_b_1k[0, positions] = (values_nk[in_a_n].mean(axis=0) - values_nk[in_b_n].mean(axis=0))[positions]
    if not a_minus_b_1k.any():
        return {"state": f"{OK}, but A and B are alike in it: no prediction"}
    log_odds = float((a_minus_b_1k @ fit.coefficients_k).item())
    return {
        "log_odds_a_minus_b": log_odds,
        "direction_naive_p": fit.wald(a_minus_b_1k, fit.naive_mm),
        "direction_clustered_p": fit.wald(a_minus_b_1k, fit.clustered_mm),
        "predicted": "A > B" if log_odds > 0 else "A < B" if log_odds < 0 else "A = B",
    }


def _untested() -> Iterator[dict[str, Any]]:
    asked = {covariate.split for covariate in COVARIATES.values()}
    for split in SPLITS:
        if split in EXCLUDED_SPLITS:
            yield {"split": split, "state": f"excluded, {EXCLUDED_SPLITS[split]}"}
        elif split not in asked:
            yield {"split": split, "state": "no covariate of the evidence models stands behind this split"}
