"""Synthetic PRISM goes through the same gate as the released files, and gives the published counts."""

import pytest

from prefassets.domain.prism.folds import user_folds
from prefassets.domain.prism.pairs import within_model_pairs
from prefassets.domain.prism.released import check_released, read_released
from prefassets.domain.prism.splits import SPLITS, assign
from prefassets.domain.prism.synthetic import synthetic_prism
from prefassets.domain.prism.users import user_covariates
from prefassets.resources.tables import TABLES


@pytest.fixture(scope="module")
def whole():
    return synthetic_prism(seed=7)


@pytest.fixture(scope="module")
def pairs(whole):
    return within_model_pairs(whole.utterances)


@pytest.fixture(scope="module")
def users(whole, pairs):
    return user_covariates(whole.survey, whole.utterances, pairs.pairs)


def test_written_as_json_lines_it_is_read_back_the_same(tmp_path):
    made = synthetic_prism(seed=7, scale=0.05)
    survey, utterances = tmp_path / "survey.jsonl", tmp_path / "utterances.jsonl"
    made.survey.write_ndjson(survey)
    made.utterances.write_ndjson(utterances)
    read = read_released(survey, utterances)
    assert read.survey.equals(made.survey)
    assert read.utterances.equals(made.utterances)
    assert read.ignored == {}


def test_the_whole_of_it_passes_the_checks(whole):
    checked = check_released(whole.survey, whole.utterances)
    assert (len(checked.survey), len(checked.utterances)) == (1_500, 68_371)


def test_pairs_and_their_users_are_as_many_as_published(pairs, users):
    assert len(pairs.pairs) == 18_064
    assert pairs.dropped == {"ties": 19_161 - 18_064, "lone answers": 0}
    assert pairs.pairs["pair_id"].n_unique() == 18_064
    assert (users["pairs"] > 0).sum() == 1_393
    assert TABLES["prism.pairs"].schema == pairs.pairs.schema


def test_every_prompt_alternates_and_ends_with_the_users(pairs):
    for turn, prompt in pairs.pairs.select("turn", "prompt").iter_rows():
        assert [message["role"] for message in prompt] == ["user", "assistant"] * turn + ["user"]


def test_every_user_with_pairs_is_in_every_split_once(users):
    assigned = assign(users)
    assert len(assigned) == 1_393 * len(SPLITS)
    assert assigned.select("split", "user_id").is_unique().all()


def test_a_fold_holds_a_fifth_of_users_and_pairs(users):
    held = user_folds(users, seed=7).join(users, on="user_id")
    assert held["fold"].value_counts()["count"].to_list() == pytest.approx([1_393 / 5] * 5, abs=1)
    pairs_held = [part["pairs"].sum() for part in held.partition_by("fold")]
    assert pairs_held == pytest.approx([18_064 / 5] * 5, rel=0.05)
