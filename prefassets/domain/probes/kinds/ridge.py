"""Ridge regression of a number."""

# N items, P observed, f of them in one fold, T columns of labels, R coordinates, A penalties

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from prefassets.domain.probes.kinds.kind import Array, Kind, LeftOut, Path
from prefassets.domain.probes.observed import Observed, Values
from prefassets.domain.probes.row_space import RowSpace

MOST_NUMBERS = 8_000_000  # of stacked systems that are solved at once: 64 MB


def fit(
    space: RowSpace,
    observed: Observed,
    penalties_A: Array,
    start: Path | None = None,
    kept_PK: NDArray[np.bool_] | None = None,
) -> Path:
    """All penalties at once: along principal axis k the coefficient is z_k . y / (l_k + a)."""
    assert isinstance(observed, Values)
    mean_T = observed.values_PT.mean(axis=0)
    covariance_RT = space.coordinates_NR[observed.items_P].T @ (observed.values_PT - mean_T)
    shrunk_AR = 1 / (space.eigenvalues_R + penalties_A[:, None])
    coefficients_ATR = shrunk_AR[:, None, :] * covariance_RT.T[None]
    return Path(coefficients_ATR, np.broadcast_to(mean_T, (len(penalties_A), len(mean_T))))


def left_out(
    space: RowSpace, observed: Observed, inner_fold_N: NDArray[np.int64], penalties_A: Array
) -> Iterator[LeftOut]:
    """What fits without each inner fold predict of it, from the one decomposition of all rows.

    With H = 1/P + U diag(l / (l + a)) U' the fit's projection, residuals of rows f that are left out together are
    (I - H_ff)^-1 times their residuals when fitted: exact, and a system of the fold's size, or of the rank's by
    Woodbury's identity, whichever is smaller. Source: Cook and Weisberg 1982, Residuals and Influence in Regression,
    section 3.6 (deletion of several cases), for a quadratic penalty.
    """
    assert isinstance(observed, Values)
    count, rank = len(observed), len(space.eigenvalues_R)
    axes_PR = space.coordinates_NR[observed.items_P] / np.sqrt(space.eigenvalues_R)
    axes_PS = np.column_stack([np.full(count, count**-0.5), axes_PR])  # the mean is an axis without a penalty
    kept_AS = np.column_stack(
        [np.ones(len(penalties_A)), space.eigenvalues_R / (space.eigenvalues_R + penalties_A[:, None])]
    )
    along_ST = axes_PS.T @ observed.values_PT
    fold_P = observed.fold_of(inner_fold_N)
    for fold in np.unique(fold_P):
        inside_P = fold_P == fold
        axes_fS, values_fT = axes_PS[inside_P], observed.values_PT[inside_P]
        smaller = min(len(axes_fS), rank + 1)
        at_once = max(1, MOST_NUMBERS // (smaller**2 + axes_fS.size))
        predicted_AfT = np.empty((len(penalties_A), *values_fT.shape))
        for start in range(0, len(penalties_A), at_once):
            kept = kept_AS[start : start + at_once]
            residual_afT = values_fT - axes_fS @ (kept[:, :, None] * along_ST)
            if len(axes_fS) <= rank + 1:
                system_aff = np.eye(len(axes_fS)) - (kept[:, None, :] * axes_fS) @ axes_fS.T
                without_afT = np.linalg.solve(system_aff, residual_afT)
            else:
                system_aSS = np.eye(rank + 1) / kept[:, :, None] - axes_fS.T @ axes_fS
                without_afT = residual_afT + axes_fS @ np.linalg.solve(system_aSS, axes_fS.T @ residual_afT)
            predicted_AfT[start : start + at_once] = values_fT - without_afT
        yield observed.of(~inside_P), observed.of(inside_P), predicted_AfT


def loss(observed: Observed, predicted: Array) -> Array:
    assert isinstance(observed, Values)
    return (observed.values_PT - predicted) ** 2


def ignorant(observed: Observed) -> Array:
    assert isinstance(observed, Values)
    return observed.values_PT.mean(axis=0)


def expected(linear: Array) -> Array:
    return linear


KIND = Kind(
    name="ridge",
    target="number",
    description="Ridge regression: least squares with a penalty on the squared weights; the intercept has none.",
    equation="min sum (y - w . x - b)^2 + a |w|^2, eq. 2.3",
    source="Hoerl and Kennard 1970, Technometrics 12, https://doi.org/10.1080/00401706.1970.10488634",
    penalties_A=np.logspace(0, 7, 50),
    fit=fit,
    left_out=left_out,
    loss=loss,
    ignorant=ignorant,
    expected=expected,
)
