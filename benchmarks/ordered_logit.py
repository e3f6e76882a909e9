"""Our ordered logit against statsmodels' on PRISM's size: the same numbers, and how long each takes.

Synthetic PRISM at scale 1, seed 0: 18,064 pairs, 25 columns. So that no pair is lost, who prefers not to say counts as
the commonest answer here; familiarity is left out to make 25.
"""

import time

import numpy as np
import polars as pl
from statsmodels.miscmodels.ordinal_model import OrderedModel

from prefassets.domain.evidence.covariates import COVARIATES, design
from prefassets.domain.evidence.ordered_logit import ordered_logit
from prefassets.domain.evidence.outcomes import outcomes
from prefassets.domain.prism.pairs import tied_pairs, within_model_pairs
from prefassets.domain.prism.released import PREFER_NOT
from prefassets.domain.prism.synthetic import synthetic_prism
from prefassets.domain.prism.users import user_covariates

OURS_REPEATED = 5
GRADIENT_TOLERANCE = 1e-7  # per pair; bfgs' own default of 1e-5 stops where the third digit still moves
STEP = 1e-5  # of the central differences that make R-style scores


def vcov_cl(model: OrderedModel, parameters: np.ndarray, inverse: np.ndarray, user_of: np.ndarray) -> np.ndarray:
    """R's `sandwich::vcovCL` with type HC1, on scores differentiated numerically from statsmodels' likelihood.

    bread: n H^-1; meat: crossprod of scores summed by cluster / n, x G/(G-1) x (n-1)/(n-k); bread meat bread / n.
    """
    n, k, clusters = len(user_of), len(parameters), len(np.unique(user_of))
    scores = np.empty((n, k))
    for j in range(k):
        step = np.zeros(k)
        step[j] = STEP
        scores[:, j] = (model.loglikeobs(parameters + step) - model.loglikeobs(parameters - step)) / (2 * STEP)
    by_user = pl.DataFrame(scores).with_columns(user=pl.Series(user_of)).group_by("user").sum().drop("user").to_numpy()
    meat = by_user.T @ by_user / n * clusters / (clusters - 1) * (n - 1) / (n - k)
    bread = n * inverse
    return bread @ meat @ bread / n


def main() -> None:
    made = synthetic_prism(seed=0, scale=1.0)
    pairs = within_model_pairs(made.utterances).pairs
    users = user_covariates(made.survey, made.utterances, pairs)
    commonest = {name: users[name].mode()[0] for name in ("age", "education", "gender", "region")}
    users = users.with_columns(pl.col(name).replace(PREFER_NOT, answer) for name, answer in commonest.items())
    outcome = outcomes(pairs, tied_pairs(made.utterances), users)["score_gap"]
    columns = design(outcome.user_id, users, [name for name in COVARIATES if name != "familiarity"])
    assert columns.kept.all()
    values = (columns.values_nk - columns.values_nk.mean(axis=0)) / columns.values_nk.std(axis=0)
    size = values.shape[1]
    clusters = len(np.unique(outcome.users_n))
    print(f"{values.shape[0]:,} pairs of {clusters:,} users, {size} columns, {outcome.bins} bins")

    ours_took = []
    for _ in range(OURS_REPEATED):
        started = time.perf_counter()
        ours = ordered_logit(values, outcome.bins_n, outcome.users_n, outcome.bins)
        ours_took.append(time.perf_counter() - started)
    ours_seconds = float(np.median(ours_took))
    print(f"ours: {1000 * ours_seconds:.0f} ms (median of {OURS_REPEATED}), both errors; {ours.iterations} iterations")

    model = OrderedModel(outcome.bins_n, values, distr="logit")
    started = time.perf_counter()
    theirs = model.fit(method="bfgs", disp=False, maxiter=2_000, gtol=GRADIENT_TOLERANCE)
    naive = theirs.cov_params()
    theirs_seconds = time.perf_counter() - started
    gradient = np.abs(theirs.mle_retvals["gopt"]).max()
    print(
        f"statsmodels: {theirs_seconds:.1f} s (bfgs, gtol {GRADIENT_TOLERANCE:g}: converged "
        f"{theirs.mle_retvals['converged']}, largest gradient {gradient:.1e} per pair), naive errors only"
    )
    ratio = theirs_seconds / ours_seconds
    clustered = vcov_cl(model, theirs.params, naive, outcome.users_n)

    beta, se, clustered_se = theirs.params[:size], np.sqrt(np.diag(naive))[:size], np.sqrt(np.diag(clustered))[:size]
    differences = {
        "coefficients, absolute": np.abs(ours.coefficients_k - beta).max(),
        "cuts, absolute": np.abs(ours.cuts_c - model.transform_threshold_params(theirs.params)[1:-1]).max(),
        "naive errors, relative": np.abs(ours.naive_se_k / se - 1).max(),
        "clustered errors, relative": np.abs(ours.clustered_se_k / clustered_se - 1).max(),
    }
    for what, largest in differences.items():
        print(f"largest difference of {what}: {largest:.1e}")
    print(f"log-likelihood, ours - statsmodels: {ours.log_likelihood - theirs.llf:.1e}")
    print(f"statsmodels / ours: {ratio:.0f} x")
    print(f"clustered / naive variance: {ours.design_effect_k.min():.1f} to {ours.design_effect_k.max():.1f}")
    if max(differences.values()) > 1e-4 or ratio < 20:
        raise SystemExit("not within 1e-4 of statsmodels, or not 20 x faster")


if __name__ == "__main__":
    main()
