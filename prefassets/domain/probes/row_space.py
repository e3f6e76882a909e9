"""Activations in the coordinates in which a penalised fit is cheapest: the principal axes of the rows fitted.

A penalty on the squared weights leaves weights in the span of the fitted rows, so whatever the width of an activation
no fit needs more numbers than there are rows; and along principal axes ridge is solved number by number.
"""

# N items, n of them fitted, D width, R rank (at most n - 1 and at most D), A penalties, T columns of labels

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SMALLEST_EIGENVALUE = 1e-12  # of the largest: what rounding leaves of none


@dataclass(frozen=True)
class RowSpace:
    """All items in the principal axes of the standardised rows that are fitted.

    `coordinates_NR` has every item, held out or not, standardised by the mean and standard deviation of the fitted
    rows; those are orthogonal along the axes, with sums of squares `eigenvalues_R`, which are the non-zero eigenvalues
    of their Gram matrix and of their scatter matrix alike. Without an axis (rows that are all the same) R is 0.
    """

    coordinates_NR: Array
    eigenvalues_R: Array
    mean_D: Array
    scale_D: Array
    axes_DR: Array | None
    standardised_nD: Array | None
    duals_nR: Array | None

    def weights(self, coefficients_RT: Array) -> Array:
        """Coefficients along the axes as weights per unit of activation, D x T."""
        if self.axes_DR is not None:
            weights_DT = self.axes_DR @ coefficients_RT
        else:
            assert self.standardised_nD is not None
            assert self.duals_nR is not None
            weights_DT = self.standardised_nD.T @ (self.duals_nR @ coefficients_RT)
        return weights_DT / self.scale_D[:, None]


def row_space(features_ND: NDArray[np.floating], fitted_n: NDArray[np.int64]) -> RowSpace:
    """Standardise by the rows `fitted_n` and turn to their principal axes, by one eigendecomposition.

    It is of the Gram matrix (n x n) where there are fewer rows than the activation is wide, and of the scatter matrix
    (D x D) otherwise. A number that is the same in all fitted rows tells nothing and gets weight 0.
    """
    fitted_nD = features_ND[fitted_n].astype(np.float64)
    mean_D, spread_D = fitted_nD.mean(axis=0), fitted_nD.std(axis=0)
    constant_D = spread_D <= 1e-12 * np.abs(mean_D)
    scale_D = np.where(constant_D, np.inf, spread_D)
    standardised_ND = (features_ND - mean_D) / scale_D
    standardised_nD = standardised_ND[fitted_n]
    if len(fitted_n) > features_ND.shape[1]:
        eigenvalues, vectors = _eigen(standardised_nD.T @ standardised_nD)
        return RowSpace(standardised_ND @ vectors, eigenvalues, mean_D, scale_D, vectors, None, None)
    gram_NN = standardised_ND @ standardised_ND.T
    eigenvalues, vectors = _eigen(gram_NN[np.ix_(fitted_n, fitted_n)])
    duals_nR = vectors / np.sqrt(eigenvalues)
    return RowSpace(gram_NN[:, fitted_n] @ duals_nR, eigenvalues, mean_D, scale_D, None, standardised_nD, duals_nR)


def _eigen(symmetric: Array) -> tuple[Array, Array]:
    eigenvalues, vectors = np.linalg.eigh(symmetric)
    kept = eigenvalues > SMALLEST_EIGENVALUE * max(eigenvalues[-1], 0.0)
    return eigenvalues[kept], vectors[:, kept]
