"""Folds are disjoint in users, alike, and the same every time."""

import polars as pl
import pytest

from prefassets.domain.prism.folds import user_folds
from prefassets.resources.tables import TABLES
from prefassets_tests.domain.prism.small_prism import user

AGES = ["18-24 years old", "25-34 years old", "35-44 years old", "55-64 years old"]
REGIONS = ["Europe", "Europe", "Americas", "Americas", "Oceania"]


def made_users(count: int) -> pl.DataFrame:
    return pl.DataFrame(
        [
            user(f"user{i}", age=AGES[i % 4], region=REGIONS[i * 7 % 5], pairs=1 + i * i % 31, gender="Male")
            for i in range(count)
        ],
        schema=TABLES["prism.users"].schema,
    )


def test_every_user_with_pairs_is_in_exactly_one_fold():
    users = pl.concat([made_users(50), pl.DataFrame([user("silent", pairs=0)], schema=TABLES["prism.users"].schema)])
    folds = user_folds(users, seed=0)
    assert folds.schema == TABLES["prism.folds"].schema
    assert sorted(folds["user_id"]) == sorted(made_users(50)["user_id"])
    assert set(folds["fold"]) == {0, 1, 2, 3, 4}


def test_folds_hold_a_fifth_of_users_pairs_and_groups():
    users = made_users(1000)
    held = user_folds(users, seed=0).join(users, on="user_id")
    sizes = held.group_by("fold").agg(
        users=pl.len(),
        pairs=pl.col("pairs").sum(),
        europe=(pl.col("region") == "Europe").sum(),
        young=(pl.col("age") < "35").sum(),
    )
    for column in ("users", "pairs", "europe", "young"):
        fifth = sizes[column].sum() / 5
        assert sizes[column].to_list() == pytest.approx([fifth] * 5, rel=0.05)


def test_the_seed_alone_decides():
    users = made_users(200)
    again = user_folds(users.sample(fraction=1, shuffle=True, seed=9), seed=1)
    assert again.equals(user_folds(users, seed=1))
    assert not again.equals(user_folds(users, seed=2))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [5, 6, 9, 23])
def test_strata_too_rare_to_spread_are_joined(count):
    sizes = user_folds(made_users(count), seed=0)["fold"].value_counts()["count"]
    assert len(sizes) == 5
    assert sizes.max() - sizes.min() <= 2


def test_fewer_users_than_folds_are_refused():
    with pytest.raises(ValueError, match="4 users have pairs; 5 folds need at least 5"):
        user_folds(made_users(4), seed=0)
