"""Every participant has one row of covariates, with or without conversations."""

import statistics

import pytest

from prefassets.domain.prism.pairs import within_model_pairs
from prefassets.domain.prism.users import user_covariates
from prefassets.resources.tables import TABLES


@pytest.fixture
def users(survey, utterances):
    return user_covariates(survey, utterances, within_model_pairs(utterances).pairs)


def test_columns_are_those_of_the_declared_table(users):
    assert users.schema == TABLES["prism.users"].schema
    TABLES["prism.users"].conform(users)


def test_answers_are_those_of_the_survey(users):
    columns = ["user_id", "age", "education", "region", "familiarity", "stated_safety", "stated_personalisation"]
    assert users.select(columns).rows() == [
        ("user0", "18-24 years old", "University Bachelors Degree", "Europe", "Very familiar", 0, 70),
        ("user1", "65+ years old", "Vocational", "Americas", "Not familiar at all", 100, None),
        ("user2", "Prefer not to say", "University Bachelors Degree", "Europe", "Very familiar", 0, 70),
    ]


def test_scores_and_pairs_are_counted_by_hand(users):
    first, second, silent = users.to_dicts()
    assert (first["conversations"], first["utterances"], first["pairs"]) == (1, 8, 2)
    scores = [40, 80, 60, 90, 55, 55, 70, 69]
    assert first["mean_score"] == pytest.approx(statistics.mean(scores))
    assert first["sd_score"] == pytest.approx(statistics.stdev(scores))
    assert first["mean_score_gap"] == pytest.approx((30 + 1) / 2)  # the tie does not count
    assert (second["conversations"], second["utterances"], second["pairs"]) == (1, 5, 1)
    assert second["mean_score_gap"] == 99
    assert (silent["conversations"], silent["utterances"], silent["pairs"]) == (0, 0, 0)
    assert silent["mean_score"] is None
    assert silent["mean_score_gap"] is None
