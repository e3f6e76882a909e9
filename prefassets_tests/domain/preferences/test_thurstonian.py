"""Utilities are those of the published fit where that is asked for, else the most probable ones, with honest errors."""

import math

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
from scipy.stats import norm

from prefassets.domain.preferences import thurstonian
from prefassets.domain.preferences.comparisons import count_choices
from prefassets.domain.preferences.thurstonian import fit_utilities, said_of
from prefassets_tests.domain.preferences.planted import planted_choices

# ---- the published fit


def test_the_published_utilities_come_out_again(villain):
    """Objective and iterations: train_thurstonian.yaml. Only rounding differs, so theirs was no numeric gradient."""
    choices, published = villain
    fit = fit_utilities(choices, "published", tasks=published["task_id"].to_list())
    assert fit.objective_value == pytest.approx(9634.564498851432, abs=1e-8)
    assert fit.log_likelihood == pytest.approx(-9097.229880437022, abs=1e-8), "the last of its history of losses"
    assert fit.iterations == 36
    assert fit.utilities["task_id"].equals(published["task_id"])
    assert fit.utilities["mu"].to_numpy() == pytest.approx(published["mu"].to_numpy(), abs=1e-10)
    assert fit.utilities["sigma"].to_numpy() == pytest.approx(published["sigma"].to_numpy(), abs=1e-10)


def test_a_slice_comes_out_as_the_reports_code_has_it(villain_slice):
    """168.857067220431 after 14 iterations: n x n matrices of wins, differentiated by torch, the same L-BFGS-B."""
    choices, tasks = villain_slice
    fit = fit_utilities(choices, "published", tasks=tasks)
    assert fit.objective_value == pytest.approx(168.85706722043136, abs=1e-6)
    assert fit.iterations == 14
    assert fit.utilities["mu"][:5].to_list() == pytest.approx(
        [0, -6.91546046, -1.87320871, -3.76868141, -3.25123965], abs=1e-5
    )
    assert fit.utilities["se"].null_count() == len(tasks)


def test_the_published_bounds_hold(villain_slice):
    choices, tasks = villain_slice
    fit = fit_utilities(choices, "published", tasks=tasks, mu_bounds=(-1, 1), log_sigma_bounds=(-0.5, 0.5))
    assert fit.utilities["mu"].is_between(-1, 1).all()
    assert fit.utilities["sigma"].log().is_between(-0.5 - 1e-12, 0.5 + 1e-12).all()


def test_where_a_probability_is_clipped_the_published_fit_is_blind():
    """y starts 10 above x with sigmas of .14, 52 spreads, yet x was chosen: each answer costs -log 1e-10, for good."""
    choices = pl.DataFrame({"task_a": ["x"] * 3, "task_b": ["y"] * 3, "choice": ["a"] * 3})
    fit = fit_utilities(
        choices, "published", penalty=0.0, start_mu=np.array([0.0, 10.0]), start_sigma=0.1353352832366127
    )
    assert fit.objective_value == pytest.approx(30 * math.log(10))
    assert fit.utilities["mu"].to_list() == [0, 10]


# ---- the most probable utilities, by what is known otherwise


def test_two_tasks_have_a_closed_form():
    """x chosen 30 times of 40 and next to no prior: mu_x - mu_y = sqrt 2 x the normal quantile of 3/4."""
    choices = pl.DataFrame({"task_a": "x", "task_b": "y", "choice": ["a"] * 30 + ["b"] * 10})
    fit = fit_utilities(choices, prior_sd=1e4, penalty=math.inf, repetition=0)
    x, y = fit.utilities["mu"]
    assert x - y == pytest.approx(math.sqrt(2) * norm.ppf(0.75), abs=1e-6)
    assert x == pytest.approx(-y, abs=1e-6)
    assert fit.log_likelihood == pytest.approx(30 * math.log(0.75) + 10 * math.log(0.25))


def test_with_equal_sigmas_it_is_a_probit():
    """statsmodels' Probit of "slot A was chosen" on (+1 in A's column, -1 in B's, 1 for the slot) / sqrt 2."""
    choices = planted_choices([-1, -0.5, 0, 0.4, 1.2], pairs=10, answers=24, seed=3, slot_bias=0.3)
    counted = count_choices(choices)
    place = {task: number for number, task in enumerate(counted.tasks)}
    design = np.zeros((len(choices), 6))
    for row, (task_a, task_b, _) in enumerate(choices.iter_rows()):
        design[row, place[task_a]], design[row, place[task_b]], design[row, 5] = 1, -1, 1
    chose_a = (choices["choice"] == "a").to_numpy().astype(float)
    anchored = sm.Probit(chose_a, design[:, 1:] / math.sqrt(2)).fit(disp=False, method="newton", tol=1e-12)

    vague = fit_utilities(counted, prior_sd=1e3, penalty=math.inf, slot_bias=True, repetition=0)
    mu = vague.utilities["mu"].to_numpy()
    assert mu[1:] - mu[0] == pytest.approx(anchored.params[:4], abs=1e-4)
    assert vague.slot_bias.value == pytest.approx(anchored.params[4], abs=1e-4)
    assert vague.slot_bias.se == pytest.approx(anchored.bse[4], rel=1e-3)
    assert vague.log_likelihood == pytest.approx(anchored.llf, abs=1e-4)

    fit = fit_utilities(counted, prior_sd=1.5, penalty=math.inf, slot_bias=True, repetition=0)
    at = np.append(fit.utilities["mu"].to_numpy(), fit.slot_bias.value)
    information = np.eye(6) / 1.5**2 - sm.Probit(chose_a, design / math.sqrt(2)).hessian(at)
    se = np.sqrt(np.diag(np.linalg.inv(information)))
    assert np.append(fit.utilities["se"].to_numpy(), fit.slot_bias.se) == pytest.approx(se, rel=1e-6)


def test_planted_utilities_are_recovered():
    generator = np.random.default_rng(5)
    mu, sigma = 2 * generator.normal(size=60), np.exp(0.4 * generator.normal(size=60))
    choices = planted_choices(mu, 1_770, 7, seed=6, sigma_n=sigma, slot_bias=-0.4, refusal=(-2.5, -0.6))
    fit = fit_utilities(choices, slot_bias=True, refusals=True)
    assert fit.converged
    assert np.corrcoef(mu, fit.utilities["mu"])[0, 1] > 0.99
    assert np.corrcoef(np.log(sigma), fit.utilities["sigma"].log())[0, 1] > 0.7
    assert abs(fit.slot_bias.value + 0.4) < 3 * fit.slot_bias.se
    assert abs(fit.refusal_slope.value + 0.6) < 3 * fit.refusal_slope.se + 0.06, "in units of the median sigma"
    assert fit.repetition < 0.05


def test_refusals_say_nothing_of_utilities_unless_asked():
    choices = planted_choices([-1, 0, 1], 3, 40, seed=1)
    refused = pl.concat([choices, choices.with_columns(choice=pl.lit("refusal"))])
    for fit in (fit_utilities(refused, repetition=0), fit_utilities(choices, repetition=0)):
        assert fit.refusal_level is None
        assert fit.utilities["mu"].to_list() == fit_utilities(choices, repetition=0).utilities["mu"].to_list()


# ---- standard errors


def squared_errors_in_se(pair_effect=0.0, **how):
    """Mean square of (mu - truth) / se over 20 studies whose mu are drawn from the prior: 1 if errors are honest."""
    found = []
    shrunk = math.sqrt(2 / (2 + pair_effect**2))  # mu's unit is what varies at a comparison, and pairs add to that
    tasks = [f"t{number:02}" for number in range(100)]
    for seed in range(20):
        mu = 1.5 * np.random.default_rng(1_000 + seed).normal(size=100)
        choices = planted_choices(mu, 500, 4, seed, pair_effect=pair_effect)
        fit = fit_utilities(choices, tasks=tasks, prior_sd=1.5 * shrunk, penalty=math.inf, **how)
        found.append(((fit.utilities["mu"] - shrunk * mu) / fit.utilities["se"]).to_numpy())
    return np.square(found).mean()


def test_standard_errors_are_those_of_repeated_studies():
    assert squared_errors_in_se(repetition=0) == pytest.approx(1, abs=0.1)
    assert squared_errors_in_se() == pytest.approx(1, abs=0.1), "nor does an estimated repetition spoil them"


def test_standard_errors_know_that_answers_repeat_each_other():
    assert squared_errors_in_se(pair_effect=2.0, repetition=0) > 1.8
    assert 1 < squared_errors_in_se(pair_effect=2.0) < 1.35, "repetition is estimated a little low"


def test_estimated_standard_errors_are_near_the_exact_ones(monkeypatch):
    choices = planted_choices(2 * np.random.default_rng(0).normal(size=80), 600, 2, seed=0, refusal=(-2, -0.5))
    exact = fit_utilities(choices, slot_bias=True, refusals=True)
    monkeypatch.setattr(thurstonian, "EXACT_PARAMETERS", 0)
    near = fit_utilities(choices, slot_bias=True, refusals=True)
    assert (exact.se_exact, near.se_exact) == (True, False)
    ratio = (near.utilities["se"] / exact.utilities["se"]).to_numpy()
    assert ratio.mean() == pytest.approx(1, abs=0.02)
    assert ratio.std() < 0.06
    assert near.slot_bias.se == pytest.approx(exact.slot_bias.se, rel=1e-3)
    assert near.refusal_slope.se == pytest.approx(exact.refusal_slope.se, rel=1e-3)


# ---- whatever the rows are


def test_the_order_of_rows_changes_nothing(villain_slice):
    choices, _ = villain_slice
    for objective in ("map", "published"):
        as_it_lies = fit_utilities(choices, objective)
        assert fit_utilities(choices.sample(fraction=1, shuffle=True, seed=1), objective).utilities.equals(
            as_it_lies.utilities
        )


def test_without_a_slot_bias_it_does_not_matter_which_task_came_first(villain_slice):
    choices, _ = villain_slice
    turned = choices.select(task_a="task_b", task_b="task_a", choice=pl.col("choice").replace({"a": "b", "b": "a"}))
    assert fit_utilities(turned).utilities.equals(fit_utilities(choices).utilities)
    biased, mirrored = fit_utilities(choices, slot_bias=True), fit_utilities(turned, slot_bias=True)
    assert mirrored.slot_bias.value == pytest.approx(-biased.slot_bias.value, abs=1e-6)


ANSWERS = {
    "no rows": [],
    "one task, with itself": [("x", "x", "a")],
    "all refused": [("x", "y", "refusal")] * 5,
    "all unparseable": [("x", "y", "unparseable")] * 5,
    "one winner": [("x", "y", "a"), ("x", "z", "a"), ("y", "x", "b")] * 50,
    "islands": [("x", "y", "a"), ("z", "w", "b")],
    "only slot A": [("x", "y", "a"), ("y", "x", "a"), ("y", "z", "a")] * 20,
}


@pytest.mark.parametrize("objective", ["map", "published"])
@pytest.mark.parametrize("answers", ANSWERS)
def test_utilities_are_finite_whatever_was_answered(answers, objective):
    choices = pl.DataFrame(
        ANSWERS[answers], {"task_a": pl.String, "task_b": pl.String, "choice": pl.String}, orient="row"
    )
    tasks = ["x"] if answers.startswith("one task") else ["x", "y", "z", "w"]
    terms = {"slot_bias": True, "refusals": True} if objective == "map" else {}
    fit = fit_utilities(choices, objective, tasks=tasks, **terms)
    assert fit.converged
    assert fit.utilities["task_id"].to_list() == tasks
    assert fit.utilities.select(pl.col("mu", "sigma").is_finite().all()).row(0) == (True, True)
    assert said_of(fit, count_choices(choices, tasks))
    if objective == "map":
        assert fit.utilities["se"].is_between(0, 5).all(), "about the prior's 4 at most"
    if answers == "one winner":
        assert fit.utilities["mu"][0] > max(fit.utilities["mu"][1:3])


def test_a_task_never_compared_is_what_the_prior_says():
    choices = pl.DataFrame({"task_a": ["x"], "task_b": ["y"], "choice": ["a"]})
    mu, sigma, se = fit_utilities(choices, tasks=["x", "y", "z"]).utilities.select("mu", "sigma", "se").row(2)
    assert (mu, sigma) == (0, 1)
    assert se == pytest.approx(4)


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ({"objective": "mle"}, "there is no objective 'mle'; map and published are"),
        ({"prior_sd": 0.0}, "a positive number was wanted"),
        ({"penalty": 0.0}, "map wants a positive one"),
        ({"penalty": math.inf, "objective": "published"}, "a finite number from 0 up"),
        ({"repetition": 2.0}, "a number from 0 to 1 was wanted"),
    ],
)
def test_arguments_out_of_range_are_refused(villain_slice, how, complaint):
    with pytest.raises(ValueError, match=complaint):
        fit_utilities(villain_slice[0], **how)
