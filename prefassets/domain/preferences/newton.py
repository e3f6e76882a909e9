"""Newton's method for many parameters whose curvature is sparse: the steps by preconditioned conjugate gradients.

Nothing of size parameters x parameters is ever made, so ten thousand tasks are no more than ten thousand numbers.
"""

# m parameters, k right-hand sides

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Array = NDArray[np.float64]

CONVERGED = 1e-6  # what the last step promised, in nats: half the square of its length in standard errors
MOST_ITERATIONS = 200
MOST_CG_STEPS = 2_000
SUFFICIENT = 1e-4  # of the decrease that the slope promises (Armijo 1966)
SMALLEST_FRACTION = 1e-10
FLAT = 1e-12  # curvature along a direction, relative to the preconditioner's, that counts as none


class Point(Protocol):
    """An objective at one place: its value, its gradient, and how it curves.

    `preconditioner_m` is positive and near the diagonal of the Hessian; `times` is the Hessian times a vector.
    """

    @property
    def value(self) -> float: ...
    @property
    def gradient_m(self) -> Array: ...
    @property
    def preconditioner_m(self) -> Array: ...
    def times(self, direction_m: Array) -> Array: ...


Here = TypeVar("Here", bound=Point)


@dataclass(frozen=True)
class Minimum(Generic[Here]):
    """Where a search ended, and whether it had nothing left to gain."""

    parameters_m: Array
    point: Here
    iterations: int
    converged: bool


def minimise(
    evaluate: Callable[[Array], Here],
    start_m: Array,
    longest: Callable[[Array], float] = lambda step_m: 1.0,
    converged: float = CONVERGED,
) -> Minimum[Here]:
    """Find a minimum of a twice differentiable function.

    Each step solves H step = -gradient by conjugate gradients, roughly far from the minimum and precisely near it,
    stops at a direction along which the function does not curve upwards, and is halved until it decreases the function
    enough (Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 7.1).

    Args:
        evaluate: the function, by its parameters.
        start_m: where to begin.
        longest: the largest fraction (0-1) of a step that may be tried, by the step.
        converged: it stops after a step that promised no more than this.
    """
    parameters_m, here = start_m, evaluate(start_m)
    first_size = None
    for iteration in range(1, MOST_ITERATIONS + 1):
        size = float(np.sqrt(here.gradient_m @ (here.gradient_m / here.preconditioner_m)))
        first_size = first_size or size
        if size == 0:
            return Minimum(parameters_m, here, iteration, True)
        step_m = _newton_step(here, tolerance=min(0.25, float(np.sqrt(size / first_size))))
        slope = float(here.gradient_m @ step_m)
        fraction = longest(step_m)
        slack = 1e-13 * abs(here.value)  # at the minimum rounding decides which of two equal values is larger
        while not (there := evaluate(parameters_m + fraction * step_m)).value <= (
            here.value + SUFFICIENT * fraction * slope + slack
        ):
            fraction /= 2
            if fraction < SMALLEST_FRACTION:
                return Minimum(parameters_m, here, iteration, False)
        parameters_m, here = parameters_m + fraction * step_m, there
        if fraction == 1 and -slope / 2 <= converged:
            return Minimum(parameters_m, here, iteration, True)
    return Minimum(parameters_m, here, MOST_ITERATIONS, False)


def _newton_step(here: Point, tolerance: float) -> Array:
    """H step = -gradient, to `tolerance` of the gradient, or as far as the function curves upwards."""
    step_m, residual_m = np.zeros_like(here.gradient_m), -here.gradient_m
    scaled_m = residual_m / here.preconditioner_m
    direction_m, size = scaled_m, float(residual_m @ scaled_m)
    enough = tolerance**2 * size
    for _ in range(MOST_CG_STEPS):
        curved_m = here.times(direction_m)
        curvature = float(direction_m @ curved_m)
        if curvature <= FLAT * float(direction_m @ (here.preconditioner_m * direction_m)):
            return step_m if step_m.any() else direction_m
        along = size / curvature
        step_m = step_m + along * direction_m
        residual_m = residual_m - along * curved_m
        scaled_m = residual_m / here.preconditioner_m
        previous, size = size, float(residual_m @ scaled_m)
        if size <= enough:
            break
        direction_m = scaled_m + size / previous * direction_m
    return step_m


def solve(matrix_mm: sparse.csr_array, right_mk: Array, preconditioner_m: Array, tolerance: float) -> Array:
    """matrix x = right for several right-hand sides at once, by conjugate gradients, to a relative `tolerance`."""
    solution_mk, residual_mk = np.zeros_like(right_mk), right_mk.copy()
    scaled_mk = residual_mk / preconditioner_m[:, None]
    direction_mk, size_k = scaled_mk, np.einsum("mk,mk->k", residual_mk, scaled_mk)
    enough_k = tolerance**2 * size_k
    for _ in range(MOST_CG_STEPS):
        curved_mk = matrix_mm @ direction_mk
        along_k = size_k / np.einsum("mk,mk->k", direction_mk, curved_mk)
        solution_mk += along_k * direction_mk
        residual_mk -= along_k * curved_mk
        scaled_mk = residual_mk / preconditioner_m[:, None]
        previous_k, size_k = size_k, np.einsum("mk,mk->k", residual_mk, scaled_mk)
        if (size_k <= enough_k).all():
            break
        direction_mk = scaled_mk + size_k / previous_k * direction_mk
    return solution_mk
