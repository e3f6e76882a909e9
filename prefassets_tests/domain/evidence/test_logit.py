"""The W2 logit is statsmodels' with user-clustered errors, whatever the units; what it cannot fit, it refuses."""

import numpy as np
import pytest
import statsmodels.api as sm

from prefassets.domain.evidence.fit import NotEstimable
from prefassets.domain.evidence.logit import logit
from prefassets_tests.domain.evidence.drawn import draw


@pytest.fixture(scope="module")
def drawn():
    return draw(bins=2)


@pytest.fixture(scope="module")
def theirs(drawn):
    return sm.Logit(drawn.bins_n, sm.add_constant(drawn.values_nk)).fit(
        disp=False, tol=1e-12, cov_type="cluster", cov_kwds={"groups": drawn.users_n, "use_correction": True}
    )


def test_coefficients_and_both_errors_are_statsmodels_own(drawn, theirs):
    ours = logit(drawn.values_nk, drawn.bins_n == 1, drawn.users_n)
    naive = sm.Logit(drawn.bins_n, sm.add_constant(drawn.values_nk)).fit(disp=False, tol=1e-12)
    assert ours.coefficients_k == pytest.approx(theirs.params[1:], rel=1e-6)
    assert ours.cuts_c == pytest.approx(-theirs.params[:1], rel=1e-6)
    assert ours.naive_se_k == pytest.approx(naive.bse[1:], rel=1e-6)
    assert ours.clustered_se_k == pytest.approx(theirs.bse[1:], rel=1e-6)


def test_marginal_effects_and_their_errors_are_statsmodels_own(drawn, theirs):
    effect, error = logit(drawn.values_nk, drawn.bins_n == 1, drawn.users_n).marginal_effects(drawn.values_nk, cut=-1)
    expected = theirs.get_margeff()
    assert effect == pytest.approx(expected.margeff, rel=1e-6)
    assert error == pytest.approx(expected.margeff_se, rel=1e-5)


def test_the_wald_test_is_statsmodels_own(drawn, theirs):
    ours = logit(drawn.values_nk, drawn.bins_n == 1, drawn.users_n)
    both = np.array([[1.0, 0, 0], [0, 0, 1.0]])
    expected = theirs.wald_test(np.column_stack([[0, 0], both]), use_f=False, scalar=True).pvalue
    assert ours.wald(both, ours.clustered_mm) == pytest.approx(float(expected), rel=1e-6)
    single = ours.wald(np.array([[0, 1.0, 0]]), ours.clustered_mm)
    assert single == pytest.approx(theirs.pvalues[2], rel=1e-6)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda x, z, u: (np.column_stack([x, 1.0 * (z & (np.arange(len(z)) % 9 == 0))]), z, u), "separated"),
        (lambda x, z, u: (z[:, None] + 0.0, z, u), "separated"),
        (lambda x, z, u: (np.column_stack([x, x[:, 0]]), z, u), "singular design"),
        (lambda x, z, u: (x, z, np.zeros(len(z))), "at least 2 users"),
        (lambda x, z, u: (x, np.full(len(z), True), u), "no pair is in bin 1 of 2"),
    ],
)
def test_data_that_give_no_coefficients_are_refused(drawn, change, problem):
    with pytest.raises(NotEstimable, match=problem):
        logit(*change(drawn.values_nk, drawn.bins_n == 1, drawn.users_n))
