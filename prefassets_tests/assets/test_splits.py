"""The checks on groups warn of what would spoil a comparison, by name, and are silent otherwise."""

import polars as pl
import pytest

from prefassets.assets.splits import groups_are_exposed_alike, users_are_dealt_as_meant
from prefassets.resources.store import Store
from prefassets.resources.tables import TABLES


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(home=str(tmp_path / "home"))


def exposed(store, *ratios):
    columns = {name: [0] * len(ratios) for name in TABLES["splits.exposure"].columns}
    of_study = {
        "study": ["dpo_w2"] * len(ratios),
        "split": ["familiarity"] * len(ratios),
        "fold": range(len(ratios)),
        "exposure_ratio": ratios,
    }
    rows = pl.DataFrame(columns | of_study, schema=TABLES["splits.exposure"].schema)
    store.replace("splits.exposure", rows)
    return groups_are_exposed_alike(store)


def test_groups_that_see_their_pairs_unequally_often_are_named_with_the_worst_fold(store):
    found = exposed(store, 1.05, 2.58, None)
    assert not found.passed
    assert found.severity.name == "WARN"
    assert found.metadata["exposed unevenly"].value == {"dpo_w2 familiarity": "2.58 times"}


def test_a_ratio_of_exactly_one_point_one_is_alike(store):
    assert exposed(store, 1.0, 1.1, None).passed


@pytest.mark.parametrize(("p", "passed"), [(0.0009, False), (0.001, True), (None, True)])
def test_a_deal_that_chance_hardly_makes_is_named(store, p, passed):
    row = {"assignment": "placebo_1", "within": "age", "stratum": "other", "assigned_to": "A", "users": 9, "p": p}
    rows = pl.DataFrame([row | {"expected_users": 4.5}], schema=TABLES["splits.sample_ratio"].schema)
    store.replace("splits.sample_ratio", rows)
    found = users_are_dealt_as_meant(store)
    assert found.passed == passed
    assert list(found.metadata["not dealt as meant"].value) == ([] if passed else ["placebo_1 within age"])
