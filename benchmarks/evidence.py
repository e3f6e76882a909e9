"""Are the errors of the evidence honest? The ordered logit on 100 synthetic PRISMs of full size whose truth is known.

Synthetic PRISM plants log odds of a larger score gap for age, education and five stated preferences, and nothing for
gender, region, familiarity and the other three. A 95 % interval should hold the planted value 95 times in 100; a test
at p < .05 should call an effect where none is planted 5 times in 100.
"""

import numpy as np
import polars as pl

from prefassets.domain.evidence.covariates import COVARIATES
from prefassets.domain.evidence.fit import Z_95
from prefassets.domain.evidence.models import OL, fitted
from prefassets.domain.evidence.outcomes import outcomes
from prefassets.domain.prism.pairs import tied_pairs, within_model_pairs
from prefassets.domain.prism.synthetic import GAP_PER_CATEGORY, GAP_PER_POINT, synthetic_prism
from prefassets.domain.prism.users import user_covariates

SEEDS = range(100, 200)
PLANTED = {**GAP_PER_CATEGORY, **{f"stated_{name}": {"per point": effect} for name, effect in GAP_PER_POINT.items()}}


def main() -> None:
    terms, tests = [], []
    for seed in SEEDS:
        made = synthetic_prism(seed)
        pairs = within_model_pairs(made.utterances).pairs
        users = user_covariates(made.survey, made.utterances, pairs)
        outcome = outcomes(pairs, tied_pairs(made.utterances), users)["score_gap"]
        found = fitted(OL, outcome, users, tuple(COVARIATES))
        fit, columns = found.fit, found.columns
        for place, term in enumerate(columns.terms):
            miss = abs(fit.coefficients_k[place] - PLANTED.get(term.covariate, {}).get(term.term, 0.0))
            within = (miss < Z_95 * se[place] for se in (fit.naive_se_k, fit.clustered_se_k))
            terms.append((term.covariate, *within, fit.design_effect_k[place]))
        for covariate in COVARIATES:
            if covariate not in PLANTED:
                own = np.eye(len(columns.terms))[columns.columns_of(covariate)]
                called = (fit.wald(own, covariance) < 0.05 for covariance in (fit.naive_mm, fit.clustered_mm))
                tests.append((covariate, *called))

    held = pl.DataFrame(terms, ["covariate", "naive", "clustered", "design_effect"], orient="row")
    called = pl.DataFrame(tests, ["covariate", "naive", "clustered"], orient="row")
    print(f"{len(SEEDS)} synthetic PRISMs of full size, ordered logit with all covariates jointly\n")
    print("95 % intervals that hold the truth, %              naive  clustered   variance ratio")
    for name, rows in [*held.group_by("covariate", maintain_order=True), (("all",), held)]:
        print(
            f"{name[0]:<25} {len(rows):>5} intervals     {100 * rows['naive'].mean():>9.1f}"
            f" {100 * rows['clustered'].mean():>10.1f} {rows['design_effect'].mean():>16.1f}"
        )
    print("\nTests at p < .05 that see what is not there, %     naive  clustered")
    for name, rows in [*called.group_by("covariate", maintain_order=True), (("all",), called)]:
        print(
            f"{name[0]:<25} {len(rows):>5} tests         {100 * rows['naive'].mean():>9.1f}"
            f" {100 * rows['clustered'].mean():>10.1f}"
        )


if __name__ == "__main__":
    main()
