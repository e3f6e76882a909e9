"""The W2 binary logit: is a pair's score gap above the cut? By statsmodels, with user-clustered errors."""

import warnings

import numpy as np
from numpy.typing import NDArray

from prefassets.domain.evidence.fit import Array, Fit, NotEstimable, refuse_separated, standardised


def logit(values_nk: Array, above_n: NDArray[np.bool_], users_n: NDArray) -> Fit:
    """Fit P(Z = 1 | x) = sigma(x beta - theta) by maximum likelihood; the constant of the usual notation is -theta.

    Args:
        values_nk: covariates in any units, without a constant column.
        above_n: Z, whether the pair is above the cut.
        users_n: who each pair belongs to.

    Raises:
        NotEstimable: fewer than two users, Z is the same for all, a singular design, or a separated outcome.

    Source: `statsmodels.Logit`; errors by its `cov_cluster` (CR1, as in `clustered_covariance`). W2 design: report of
    2026-02-23.
    """
    # a second to import: only where it is used
    import statsmodels.api as sm
    from statsmodels.stats.sandwich_covariance import cov_cluster
    from statsmodels.tools.sm_exceptions import PerfectSeparationError

    columns = standardised(values_nk, users_n, above_n.astype(np.int64), bins=2)
    with_constant_nm = np.column_stack([columns.values_nk, np.ones(len(above_n))])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about separation, which is refused below
            found = sm.Logit(above_n.astype(float), with_constant_nm).fit(disp=False, maxiter=100, tol=1e-10)
            clustered_mm = cov_cluster(found, np.unique(users_n, return_inverse=True)[1], use_correction=True)
    except (PerfectSeparationError, np.linalg.LinAlgError) as error:
        raise NotEstimable("separated: covariates predict the outcome of some pairs perfectly") from error
    refuse_separated(with_constant_nm @ found.params)
    if not found.mle_retvals["converged"]:
        raise NotEstimable("no optimum found in 100 iterations")

    to_cut = np.eye(len(found.params))
    to_cut[-1, -1] = -1  # theta = -constant
    back_mm = columns.to_own_units(1) @ to_cut
    own_units_m = back_mm @ found.params
    return Fit(
        coefficients_k=own_units_m[:-1],
        cuts_c=own_units_m[-1:],
        naive_mm=back_mm @ found.cov_params() @ back_mm.T,
        clustered_mm=back_mm @ clustered_mm @ back_mm.T,
        pairs=len(above_n),
        users=len(np.unique(users_n)),
        log_likelihood=float(found.llf),
        iterations=int(found.mle_retvals["iterations"]),
    )
