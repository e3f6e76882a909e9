"""Gradient and curvature are those of the value, by finite differences."""

import math

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from prefassets.domain.preferences.comparisons import count_choices
from prefassets.domain.preferences.likelihood import Posterior, choice_losses
from prefassets_tests.domain.preferences.planted import planted_choices

MU = [-1.5, -0.4, 0.2, 0.9, 2.0]


@pytest.mark.parametrize(
    ("penalty", "slot_bias", "refusals", "repetition"),
    [
        (math.inf, False, False, 0.0),
        (2.0, False, False, 0.0),
        (2.0, True, False, 0.4),
        (2.0, True, True, 0.4),
        (math.inf, False, True, 0.0),
    ],
)
def test_gradient_and_curvature_are_those_of_the_value(penalty, slot_bias, refusals, repetition):
    comparisons = count_choices(planted_choices(MU, pairs=10, answers=6, seed=0, refusal=(-1.0, -0.5)))
    posterior = Posterior(comparisons, 1.5, penalty, slot_bias, refusals, repetition)
    at_m = 0.5 * np.random.default_rng(0).normal(size=posterior.layout.size)
    here = posterior(at_m)
    assert here.gradient_m == pytest.approx(approx_fprime(at_m, lambda m: posterior(m).value, 1e-7), abs=1e-4)
    hessian_mm = approx_fprime(at_m, lambda m: posterior(m).gradient_m, 1e-7)
    assert here.matrix().toarray() == pytest.approx(hessian_mm, abs=1e-4)
    direction_m = np.random.default_rng(1).normal(size=len(at_m))
    assert here.times(direction_m) == pytest.approx(hessian_mm @ direction_m, abs=1e-4)
    curved_m = np.diag(hessian_mm) > posterior.precision_m
    assert here.preconditioner_m[curved_m] == pytest.approx(np.diag(hessian_mm)[curved_m], abs=1e-4)


def test_no_digits_are_lost_where_a_choice_was_all_but_impossible():
    """-log Phi(-40) by mpmath, to 40 digits: -mpmath.log(mpmath.ncdf(-40)); phi / Phi tends to -z - 1/z there."""
    losses = choice_losses(np.array([-40.0]), np.array([1.0]), np.array([0.0]))
    assert losses.value_p[0] == pytest.approx(804.6084420137538, rel=1e-12)
    assert losses.first_p[0] == pytest.approx(-(40 + 1 / 40), rel=1e-5)
    assert losses.second_p[0] == pytest.approx(1, rel=1e-2)
