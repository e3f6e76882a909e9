"""The evidence tables find what synthetic PRISM plants, know that users differ, and never hold a NaN."""

import math

import numpy as np
import polars as pl
import pytest

from prefassets.domain.evidence.covariates import COVARIATES
from prefassets.domain.evidence.models import OL, W2, coefficients, fitted, selection
from prefassets.domain.evidence.outcomes import outcomes
from prefassets.domain.prism.pairs import tied_pairs, within_model_pairs
from prefassets.domain.prism.splits import SPLITS, assign
from prefassets.domain.prism.synthetic import synthetic_prism
from prefassets.domain.prism.users import user_covariates
from prefassets.resources.tables import TABLES
from prefassets_tests.domain.prism.small_prism import user

ESTIMATES = [name for name, column in TABLES["evidence.w2_logit"].columns.items() if column.dtype == pl.Float64()]


class Made:
    """Synthetic PRISM as the evidence reads it."""

    def __init__(self, seed, scale=1.0):
        made = synthetic_prism(seed, scale)
        pairs = within_model_pairs(made.utterances).pairs
        self.users = user_covariates(made.survey, made.utterances, pairs)
        self.outcomes = outcomes(pairs, tied_pairs(made.utterances), self.users)
        self.groups = assign(self.users)
        self.planted = {
            split: value
            for split, quantity, value in made.planted_truth.select("split", "quantity", "value").iter_rows()
            if quantity == "log_odds"
        }


@pytest.fixture(scope="module")
def whole():
    return Made(0)


@pytest.fixture(scope="module")
def small():
    return Made(0, 0.1)


@pytest.fixture(scope="module")
def ordered(whole):
    return coefficients(OL, {"score_gap": whole.outcomes["score_gap"]}, whole.users)


def test_planted_effects_lie_in_their_clustered_intervals_and_outside_the_naive_ones(whole):
    within = {"clustered": 0, "naive": 0}
    tried = 0
    for made in (whole, Made(1), Made(2), Made(3)):
        found = fitted(OL, made.outcomes["score_gap"], made.users, tuple(COVARIATES))
        for place, term in enumerate(found.columns.terms):
            name = str(term) if term.reference else term.covariate.removeprefix("stated_")
            if name not in made.planted or term.covariate == "education":  # its six terms lean on the same few users
                continue
            tried += 1
            miss = abs(found.fit.coefficients_k[place] - made.planted[name])
            within["clustered"] += miss < 1.96 * found.fit.clustered_se_k[place]
            within["naive"] += miss < 1.96 * found.fit.naive_se_k[place]
    assert tried == 40
    assert within["clustered"] >= 35
    assert within["naive"] < 35


def test_clustered_variances_are_several_times_the_naive_ones(ordered):
    """The reports' errors are 1.66 to 1.75 times larger where they are clustered: 2.8 to 3.1 times the variance."""
    joint = ordered.filter(model="joint")
    assert joint["design_effect"].min() > 2
    assert (joint["clustered_p"] > joint["naive_p"]).all()


def test_there_is_a_row_per_outcome_model_and_term(ordered):
    terms = 5 + 6 + 2 + 4 + 2 + 8
    assert len(ordered) == 2 * terms
    assert ordered["state"].unique().to_list() == ["ok"]
    TABLES["evidence.ordered_logit"].conform(ordered)


def test_numbers_of_a_row_belong_together(ordered):
    for row in ordered.filter(covariate="stated_personalisation").to_dicts():
        assert row["odds_ratio"] == pytest.approx(math.exp(row["coefficient"]))
        z = row["coefficient"] / row["clustered_se"]
        assert row["clustered_p"] == pytest.approx(math.erfc(abs(z) / math.sqrt(2)))
        assert row["clustered_high"] - row["clustered_low"] == pytest.approx(2 * 1.959964 * row["clustered_se"])
        assert row["design_effect"] == pytest.approx((row["clustered_se"] / row["naive_se"]) ** 2)


def test_the_marginal_effect_is_the_change_of_the_top_bin_s_share(whole, ordered):
    """By its definition: move everyone by one point, and see how the mean probability of the top bin changes."""
    (row,) = ordered.filter(model="alone", covariate="stated_personalisation").to_dicts()
    found = fitted(OL, whole.outcomes["score_gap"], whole.users, ("stated_personalisation",))

    def top_share(values):
        return (1 / (1 + np.exp(found.fit.cuts_c[-1] - values @ found.fit.coefficients_k))).mean()

    values = found.columns.values_nk
    assert row["marginal_effect_pp"] == pytest.approx(
        100 * (top_share(values + 0.5) - top_share(values - 0.5)), rel=1e-4
    )


def test_w2_and_the_ordered_logit_agree_on_signs_that_are_clear(whole, ordered):
    binary = coefficients(W2, {"score_gap": whole.outcomes["score_gap"]}, whole.users)
    both = ordered.join(binary, on=["model", "covariate", "term"], suffix="_w2").filter(pl.col("clustered_p") < 0.01)
    assert len(both) >= 5
    assert (both["coefficient"].sign() == both["coefficient_w2"].sign()).all()


def test_selection_says_who_passes_and_what_it_predicts(whole):
    rows = selection(whole.outcomes["score_gap"], whole.users, whole.groups)
    TABLES["evidence.selection"].conform(rows)
    of = {(row["test"], row["covariate"] or row["split"]): row for row in rows.to_dicts()}
    assert set(of) >= {(test, covariate) for test in ("W2", "OL") for covariate in COVARIATES}
    assert {row["threshold"] for row in of.values() if row["test"] == "W2"} == {0.10}
    assert {row["threshold"] for row in of.values() if row["test"] == "OL"} == {0.05}
    for test in ("W2", "OL"):
        age, stated = of[test, "age"], of[test, "stated_personalisation"]
        assert (age["degrees_of_freedom"], age["predicted"], age["selected_clustered"]) == (5, "A > B", True)
        assert (stated["degrees_of_freedom"], stated["predicted"], stated["selected_clustered"]) == (1, "A > B", True)
        assert stated["direction_clustered_p"] == pytest.approx(stated["clustered_p"])
        assert of[test, "stated_safety"]["predicted"] == "A < B"
        assert of[test, "gender"]["predicted"] is None
    assert of["W2", "region"]["selected_naive"]
    assert not of["W2", "region"]["selected_clustered"]  # nothing is planted there: naive errors see a ghost


def test_behavioral_is_excluded_because_it_is_computed_from_the_outcome(whole):
    rows = selection(whole.outcomes["score_gap"], whole.users, whole.groups).filter(split="behavioral")
    assert len(rows) == 2
    assert all(state.startswith("excluded, circular") for state in rows["state"])
    assert rows["selected_naive"].null_count() == rows["beta"].null_count() == 2


def test_a_split_that_asks_about_no_covariate_has_a_row_that_says_so(whole, monkeypatch):
    monkeypatch.setitem(SPLITS, "placebo", SPLITS["age"])
    rows = selection(whole.outcomes["score_gap"], whole.users, whole.groups).filter(split="placebo")
    assert rows["state"].to_list() == ["no covariate of the evidence models stands behind this split"] * 2


def nothing_but_states(rows):
    """No NaN or infinity anywhere; numbers exactly where the state is ok."""
    for name, dtype in rows.schema.items():
        if dtype.is_float():
            assert rows[name].drop_nulls().is_finite().all(), name
    numbers = [name for name in ESTIMATES if name in rows.columns]
    for row in rows.to_dicts():
        assert {row[name] is not None for name in numbers} == {row["state"] == "ok"}, row


@pytest.mark.parametrize("test", [W2, OL], ids=lambda test: test.name)
def test_a_small_prism_gives_numbers_or_states(small, test):
    rows = coefficients(test, small.outcomes, small.users)
    nothing_but_states(rows)
    assert {"score_gap", "score_gap_ties", "score_gap_in_sd"} == set(rows["outcome"])
    assert rows.filter(pl.col("state").str.starts_with("fewer than 10 users")).height > 0


def of_users(people, gaps):
    """Every user has these gaps, so nothing depends on any covariate."""
    names = [name for name in people["user_id"] for _ in gaps]
    pairs = pl.DataFrame({"user_id": names, "score_gap": gaps * len(people)})
    return outcomes(pairs, pairs.clear(), people)


def people(count, **answers):
    return pl.DataFrame(
        [
            user(f"user{place:03}", **{name: answer(place) for name, answer in answers.items()})
            for place in range(count)
        ],
        infer_schema_length=None,
    ).with_columns(pl.col("^stated_.*$").cast(pl.Int64))


@pytest.mark.parametrize("test", [W2, OL], ids=lambda test: test.name)
@pytest.mark.parametrize(
    ("who", "gaps", "covariate", "why"),
    [
        (people(1), [3, 10, 20, 40], "stated_safety", "every pair has the same value"),
        (people(40), [3, 10, 20, 40], "age", "every pair has the same value"),
        (people(40, age=lambda place: "Prefer not to say"), [3, 10, 20, 40], "age", "nobody with pairs gave a value"),
        (people(40, stated_safety=lambda place: None), [3, 10], "stated_safety", "nobody with pairs gave a value"),
        (people(40, stated_safety=lambda place: place), [3, 3], "stated_safety", "no pair is in bin 2"),
        (people(2, stated_safety=lambda place: place), [3, 10, 20, 40], "stated_safety", "2 users cannot give errors"),
        (people(2, stated_safety=lambda place: place), [3, 10, 20, 40], "age", "fewer than 10 users"),
        (
            people(60, stated_safety=lambda place: place, stated_values=lambda place: 100 - place),
            [3, 10, 20, 40],
            "stated_safety",
            "singular design: these columns cannot be told apart (stated_values: per point, stated_safety: per point)",
        ),
        (
            people(60, stated_safety=lambda place: place),
            [3, 10, 20, 40],
            "stated_safety",
            "clustered errors vanish: the users do not differ from what the model expects of each",
        ),
    ],
)
def test_degenerate_data_give_states(test, who, gaps, covariate, why):
    found = of_users(who, gaps)
    rows = coefficients(test, found, who)
    nothing_but_states(rows)
    states = rows.filter(outcome="score_gap", covariate=covariate)["state"]
    assert states.str.contains(why, literal=True).any(), states.to_list()
    selected = selection(found["score_gap"], who, assign(who))
    TABLES["evidence.selection"].conform(selected)
    assert selected.filter(pl.col("state") == "ok")["clustered_p"].is_finite().all()


@pytest.mark.parametrize("test", [W2, OL], ids=lambda test: test.name)
def test_a_category_that_decides_the_outcome_is_separated(test):
    who = people(40, gender=lambda place: "Female" if place % 2 else "Male")
    pairs = pl.DataFrame(
        [
            (name, gap)
            for place, name in enumerate(who["user_id"])
            for gap in ([60, 70] if place % 2 else [3, 10, 20, 40])
        ],
        ["user_id", "score_gap"],
        orient="row",
    )
    rows = coefficients(test, outcomes(pairs, pairs.clear(), who), who).filter(covariate="gender", term="Female")
    nothing_but_states(rows)
    assert rows.filter(outcome="score_gap")["state"].str.starts_with("separated").all()


def test_a_split_without_a_group_gets_no_prediction(whole):
    only_a = whole.groups.with_columns(pl.lit("A").alias("user_group"))
    rows = selection(whole.outcomes["score_gap"], whole.users, only_a)
    assert rows["predicted"].null_count() == len(rows)
    assert rows.filter(covariate="age")["state"].to_list() == ["ok, but group A or B has no pair: no prediction"] * 2
    assert rows.filter(covariate="age")["clustered_p"].null_count() == 0
