"""The ordered logit is at the likelihood's maximum, and its errors are those that other libraries give."""

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit
from scipy.stats import logistic
from statsmodels.miscmodels.ordinal_model import OrderedModel
from statsmodels.stats.sandwich_covariance import cov_cluster
from statsmodels.tools.numdiff import approx_fprime, approx_hess

from prefassets.domain.evidence.fit import NotEstimable, clustered_covariance
from prefassets.domain.evidence.ordered_logit import ordered_logit
from prefassets_tests.domain.evidence.drawn import SCALES, draw


@pytest.fixture(scope="module")
def drawn():
    return draw()


@pytest.fixture(scope="module")
def found(drawn):
    return ordered_logit(drawn.values_nk, drawn.bins_n, drawn.users_n, 4)


def log_likelihood(parameters, drawn, each=False):
    """By the definition: the sum over pairs of log(F(theta_y - x beta) - F(theta_(y-1) - x beta)), F logistic."""
    size = drawn.values_nk.shape[1]
    cuts = np.concatenate([[-np.inf], parameters[size:], [np.inf]])
    log_odds = drawn.values_nk @ parameters[:size]
    per_pair = np.log(logistic.cdf(cuts[drawn.bins_n + 1] - log_odds) - logistic.cdf(cuts[drawn.bins_n] - log_odds))
    return per_pair if each else per_pair.sum()


def test_it_says_what_statsmodels_says_of_standardised_covariates(drawn):
    values = (drawn.values_nk - drawn.values_nk.mean(axis=0)) / drawn.values_nk.std(axis=0)
    ours = ordered_logit(values, drawn.bins_n, drawn.users_n, 4)
    theirs = OrderedModel(drawn.bins_n, values, distr="logit").fit(method="bfgs", disp=False, gtol=1e-8)
    size = values.shape[1]
    assert ours.coefficients_k == pytest.approx(theirs.params[:size], abs=1e-6)
    assert ours.cuts_c == pytest.approx(theirs.model.transform_threshold_params(theirs.params)[1:-1], abs=1e-6)
    assert ours.naive_se_k == pytest.approx(theirs.bse[:size], rel=1e-5)
    assert ours.log_likelihood == pytest.approx(theirs.llf, abs=1e-8)
    clustered = cov_cluster(theirs, drawn.users_n, use_correction=True)
    assert ours.clustered_se_k == pytest.approx(np.sqrt(np.diag(clustered))[:size], rel=1e-4)


def test_the_score_is_zero_at_the_estimate(drawn, found):
    estimate = np.concatenate([found.coefficients_k, found.cuts_c])
    unit = np.concatenate([1 / SCALES, np.ones(3)])
    score = approx_fprime(np.zeros(6), lambda moved: log_likelihood(estimate + unit * moved, drawn), centered=True)
    assert score == pytest.approx(np.zeros(6), abs=1e-4)
    assert found.log_likelihood == pytest.approx(log_likelihood(estimate, drawn), abs=1e-9)


def test_naive_errors_are_the_inverse_of_the_numeric_hessian(drawn):
    unit = np.concatenate([1 / SCALES, np.ones(3)])
    centred = replace(drawn, values_nk=drawn.values_nk - 5)  # numeric second derivatives need sane numbers; ours do not
    found = ordered_logit(centred.values_nk, drawn.bins_n, drawn.users_n, 4)
    estimate = np.concatenate([found.coefficients_k, found.cuts_c])
    hessian = approx_hess(np.zeros(6), lambda moved: log_likelihood(estimate + unit * moved, centred))
    assert found.naive_mm / np.outer(unit, unit) == pytest.approx(np.linalg.inv(-hessian), rel=1e-3, abs=1e-6)


def test_clustered_errors_are_the_sandwich_of_numeric_scores(drawn, found):
    estimate = np.concatenate([found.coefficients_k, found.cuts_c])
    unit = np.concatenate([1 / SCALES, np.ones(3)])
    scores = approx_fprime(
        np.zeros(6), lambda moved: log_likelihood(estimate + unit * moved, drawn, each=True), centered=True
    )
    of_users = [scores[drawn.users_n == user].sum(axis=0) for user in range(60)]
    meat = sum(np.outer(score, score) for score in of_users)
    bread = found.naive_mm / np.outer(unit, unit)
    expected = 60 / 59 * 599 / 594 * bread @ meat @ bread * np.outer(unit, unit)
    assert found.clustered_mm == pytest.approx(expected, rel=1e-4)


def test_units_of_the_covariates_do_not_matter(drawn, found):
    stretched = ordered_logit(drawn.values_nk * [1e-6, 1e6, -3] + [1e3, 0, 7], drawn.bins_n, drawn.users_n, 4)
    assert stretched.coefficients_k * [1e-6, 1e6, -3] == pytest.approx(found.coefficients_k, rel=1e-6)
    assert stretched.clustered_se_k * [1e-6, 1e6, 3] == pytest.approx(found.clustered_se_k, rel=1e-6)


def test_two_bins_make_the_binary_logit_of_statsmodels(drawn):
    above = (drawn.bins_n >= 2).astype(int)
    ours = ordered_logit(drawn.values_nk, above, drawn.users_n, 2)
    theirs = sm.Logit(above, sm.add_constant(drawn.values_nk)).fit(disp=False, tol=1e-12)
    assert ours.coefficients_k == pytest.approx(theirs.params[1:], rel=1e-6)
    assert ours.cuts_c == pytest.approx(-theirs.params[:1], rel=1e-6)
    assert ours.naive_se_k == pytest.approx(theirs.bse[1:], rel=1e-6)
    clustered = cov_cluster(theirs, drawn.users_n, use_correction=True)
    assert ours.clustered_se_k == pytest.approx(np.sqrt(np.diag(clustered))[1:], rel=1e-6)


def test_without_covariates_the_cuts_are_the_shares(drawn):
    found = ordered_logit(np.empty((600, 0)), drawn.bins_n, drawn.users_n, 4)
    assert expit(found.cuts_c) == pytest.approx([0.25, 0.5, 0.75])


def test_if_every_pair_is_its_own_user_clustering_is_the_plain_sandwich():
    scores, inverse = np.random.default_rng(1).normal(size=(50, 3)), np.diag([0.1, 0.2, 0.3])
    plain = inverse @ scores.T @ scores @ inverse
    assert clustered_covariance(scores, inverse, np.arange(50)) == pytest.approx(50 / 49 * 49 / 47 * plain)


def test_pairs_of_one_user_that_say_the_same_count_once(drawn):
    """Every pair three times over: naive errors shrink by sqrt(3), clustered ones only forget the small correction."""
    once = ordered_logit(drawn.values_nk, drawn.bins_n, drawn.users_n, 4)
    thrice = ordered_logit(*(np.tile(part.T, 3).T for part in vars(drawn).values()), 4)
    assert thrice.naive_se_k == pytest.approx(once.naive_se_k / np.sqrt(3))
    correction = np.sqrt((1799 / 1794) / (599 / 594))
    assert thrice.clustered_se_k == pytest.approx(once.clustered_se_k * correction)
    assert thrice.design_effect_k == pytest.approx(3 * once.design_effect_k * correction**2)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda x, y, u: (np.column_stack([x, (y == 3) * 1.0]), y, u), "separated"),
        (lambda x, y, u: (y[:, None] + 0.0, y, u), "separated"),
        (lambda x, y, u: (np.column_stack([x, 2 * x[:, 0] - x[:, 2]]), y, u), "singular design"),
        (lambda x, y, u: (np.column_stack([x, np.full(len(x), 7.3)]), y, u), "every pair has the same value"),
        (lambda x, y, u: (x, y, np.zeros(len(y))), "at least 2 users; there are 1"),
        (lambda x, y, u: (x, y, u % 6), "6 users cannot give errors to 6 parameters"),
        (lambda x, y, u: (x, np.where(y == 1, 2, y), u), "no pair is in bin 2 of 4"),
        (lambda x, y, u: (x, np.minimum(y, 2), u), "no pair is in bin 4 of 4"),
        (lambda x, y, u: (x[:0], y[:0], u[:0]), "at least 2 users; there are 0"),
    ],
)
def test_data_that_give_no_coefficients_are_refused(drawn, change, problem):
    with pytest.raises(NotEstimable, match=problem):
        ordered_logit(*change(drawn.values_nk, drawn.bins_n, drawn.users_n), 4)


def test_the_columns_at_fault_are_named(drawn):
    twice = np.column_stack([drawn.values_nk, drawn.values_nk[:, 1]])
    with pytest.raises(NotEstimable) as refused:
        ordered_logit(twice, drawn.bins_n, drawn.users_n, 4)
    assert refused.value.columns == (1, 3)


def test_strong_effects_that_are_not_separated_are_found():
    """Newton's full step overshoots here from a start at zero; halved steps arrive at statsmodels' answer."""
    rng = np.random.default_rng(4)
    values = rng.standard_t(2, size=(400, 1))
    above = (values[:, 0] * 2 + rng.logistic(size=400) > 0).astype(int)
    values = np.clip(values, -4, 4)
    ours = ordered_logit(values, above, np.arange(400), 2)
    theirs = sm.Logit(above, sm.add_constant(values)).fit(disp=False, tol=1e-12)
    assert ours.coefficients_k == pytest.approx(theirs.params[1:], rel=1e-6)
