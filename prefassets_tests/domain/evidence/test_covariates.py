"""Each pair gets its user's covariates as named columns, and nothing is dropped or left out without a reason."""

import numpy as np
import polars as pl
import pytest

from prefassets.domain.evidence.covariates import COVARIATES, EXCLUDED_SPLITS, FEWEST_USERS, Term, design
from prefassets.domain.prism.marginals import published
from prefassets.domain.prism.released import PREFER_NOT
from prefassets.domain.prism.splits import SPLITS
from prefassets_tests.domain.prism.small_prism import user

YOUNG, OLDER, OLDEST = "18-24 years old", "25-34 years old", "65+ years old"


def users(*groups):
    """Users from (how many, their answers)."""
    answers = [changes for count, changes in groups for _ in range(count)]
    return pl.DataFrame([user(f"user{place:03}", **changes) for place, changes in enumerate(answers)])


def columns(people, *covariates, pairs_each=2):
    return design(pl.concat([people["user_id"]] * pairs_each), people, covariates)


def test_the_nine_splits_of_the_reports_have_their_covariate_and_behavioral_has_none():
    asked = [covariate.split for covariate in COVARIATES.values() if covariate.split]
    reported = "age education personalisation safety factuality helpfulness diversity familiarity region"
    assert sorted(asked) == sorted(reported.split())
    assert set(EXCLUDED_SPLITS) == {"behavioral"}
    assert {*asked, *EXCLUDED_SPLITS} <= set(SPLITS)


@pytest.mark.parametrize("name", ["age", "education", "gender"])
def test_levels_are_all_answers_of_the_released_survey_but_prefer_not_to_say(name):
    covariate = COVARIATES[name]
    assert {*covariate.levels, *covariate.merged, PREFER_NOT} == set(published()["categories"][name])


def test_a_category_is_read_against_its_lowest_level_and_a_number_per_point():
    people = users((10, {"age": YOUNG, "stated_safety": 10}), (10, {"age": OLDER}), (10, {"age": OLDEST}))
    found = columns(people, "age", "stated_safety")
    assert found.terms == (Term("age", OLDER, YOUNG), Term("age", OLDEST, YOUNG), Term("stated_safety", "per point"))
    assert found.values_nk[:30].tolist() == [[0, 0, 10]] * 10 + [[1, 0, 50]] * 10 + [[0, 1, 50]] * 10
    assert np.array_equal(found.values_nk[30:], found.values_nk[:30])
    assert found.columns_of("stated_safety") == [2]


def test_who_prefers_not_to_say_is_dropped_and_counted():
    people = users(
        (10, {"age": YOUNG}),
        (10, {"age": OLDER, "stated_safety": 3}),
        (2, {"age": "Prefer not to say"}),
        (1, {"age": OLDER, "stated_safety": None}),
    )
    found = columns(people, "age", "stated_safety")
    assert found.dropped == {"age: prefer not to say": 4, "stated_safety: prefer not to say": 2}
    assert found.kept.tolist() == ([True] * 20 + [False] * 3) * 2
    assert len(found.values_nk) == 40


def test_a_category_of_few_users_is_dropped_counted_and_named_even_if_it_is_the_reference():
    people = users((FEWEST_USERS - 1, {"age": YOUNG}), (10, {"age": OLDER}), (10, {"age": OLDEST}))
    found = columns(people, "age")
    assert found.terms == (Term("age", OLDEST, OLDER),)
    assert found.dropped == {f"age: {YOUNG} has fewer than 10 users": 18}
    assert found.left_out[Term("age", YOUNG)] == "fewer than 10 users; their pairs are left out"


def test_a_category_that_becomes_rare_through_what_was_dropped_goes_too():
    people = users(
        (9, {"age": YOUNG, "gender": "Female"}),
        (9, {"age": OLDER, "gender": "Female"}),
        (20, {"age": OLDER}),
        (20, {"age": OLDEST}),
    )
    found = columns(people, "age", "gender")  # without the 9 young, only 9 women are left
    assert found.terms == (Term("age", OLDEST, OLDER),)
    assert int(found.kept.sum()) == 2 * 40
    assert found.left_out[Term("gender", "Female")].startswith("fewer than 10 users")
    assert found.left_out[Term("gender", "Male")] == "every pair has the same value"


def test_somebody_with_some_primary_school_counts_as_primary_school():
    people = users((5, {"education": "Some Primary"}), (5, {"education": "Completed Primary School"}), (10, {}))
    (term,) = columns(people, "education").terms
    assert (term.term, term.reference) == ("Vocational", "Completed Primary School")


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({"stated_safety": 50}, "every pair has the same value"),
        ({"stated_safety": None}, "nobody with pairs gave a value"),
    ],
)
def test_a_covariate_without_information_gets_no_column_and_costs_no_pair(answers, why):
    people = users((10, {"age": YOUNG, **answers}), (10, {"age": OLDER, **answers})).with_columns(
        pl.col("stated_safety").cast(pl.Int64)
    )
    found = columns(people, "stated_safety", "age")
    assert found.terms == (Term("age", OLDER, YOUNG),)
    assert found.left_out[Term("stated_safety", "per point")] == why
    assert found.kept.all()
    assert found.dropped == {}


def test_an_unknown_user_is_refused():
    with pytest.raises(ValueError, match=r"1 users with pairs are not in prism.users, the first 'stranger'"):
        design(pl.Series(["stranger"]), users((10, {})), ["age"])
