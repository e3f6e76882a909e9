"""The splits are those of the reports, and random halves."""

import hashlib
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import scipy.stats

from prefassets.domain.prism import splits
from prefassets.domain.prism.released import SurveyRow
from prefassets.domain.prism.splits import SPLITS, Split, assign
from prefassets.resources.tables import TABLES
from prefassets_tests.domain.prism.small_prism import user

MEDIAN_SPLITS = ["personalisation", "safety", "factuality", "helpfulness", "diversity"]


def groups(split: str, *users: dict) -> str:
    """Each user's group in turn, `-` for neither."""
    frame = pl.DataFrame(users, schema=TABLES["prism.users"].schema)
    assigned = assign(frame).filter(pl.col("split") == split)["user_group"]
    return "".join(assigned.fill_null("-"))


def test_there_are_the_ten_splits_of_the_reports():
    of_the_reports = {name for name, split in SPLITS.items() if not split.placebo}
    assert of_the_reports == {"age", "education", "familiarity", "behavioral", "region", *MEDIAN_SPLITS}


@pytest.mark.parametrize(
    ("split", "column", "group_of"),
    [
        ("age", "age", {"18-24 years old": "A", "25-34 years old": "A", "Prefer not to say": "-"}),
        (
            "education",
            "education",
            {
                "University Bachelors Degree": "A",
                "Graduate / Professional degree": "A",
                "Prefer not to say": "-",
            },
        ),
        ("familiarity", "lm_familiarity", {"Very familiar": "A"}),
        ("region", "location.reside_region", {"Europe": "A", "Americas": "B", "else": "-"}),
    ],
)
def test_every_released_category_has_its_group(split, column, group_of):
    outer, _, inner = column.partition(".")
    annotation = SurveyRow.model_fields[outer].annotation
    categories = (annotation.model_fields[inner].annotation if inner else annotation).__args__
    name = {"lm_familiarity": "familiarity", "location.reside_region": "region"}.get(column, column)
    found = groups(split, *(user(f"u{i}", **{name: category}) for i, category in enumerate(categories)))
    assert dict(zip(categories, found, strict=True)) == {
        category: group_of.get(category, group_of.get("else", "B")) for category in categories
    }


@pytest.mark.parametrize("split", MEDIAN_SPLITS)
def test_the_median_itself_is_high_and_the_unstated_is_neither(split):
    stated = [10, 40, 40, 90, None]
    found = groups(split, *(user(f"u{i}", **{f"stated_{split}": value}) for i, value in enumerate(stated)))
    assert found == "BAAA-"


def test_the_median_of_an_even_number_lies_between_two_users():
    assert groups("safety", *(user(f"u{i}", stated_safety=value) for i, value in enumerate([1, 2, 3, 4]))) == "BBAA"


def test_users_without_pairs_are_in_no_split_and_move_no_median():
    silent = [user(f"s{i}", pairs=0, mean_score_gap=None, stated_safety=100) for i in range(5)]
    assert groups("safety", user("u0", stated_safety=10), user("u1", stated_safety=20), *silent) == "BA"


def test_high_discriminators_are_those_with_larger_mean_gaps():
    assert (
        groups("behavioral", *(user(f"u{i}", mean_score_gap=gap) for i, gap in enumerate([21.5, 7.0, 40.0]))) == "ABA"
    )


def placebo_groups(*user_ids: str) -> dict[str, dict[str, str]]:
    """Split -> user -> group, of the placebos alone."""
    assigned = assign(pl.DataFrame([user(name) for name in user_ids], schema=TABLES["prism.users"].schema))
    of_placebos = assigned.filter(pl.col("split").is_in([name for name, split in SPLITS.items() if split.placebo]))
    return {
        name: dict(rows.select("user_id", "user_group").iter_rows())
        for (name,), rows in of_placebos.group_by("split", maintain_order=True)
    }


def test_there_are_eight_placebos_and_each_user_keeps_a_half_whoever_else_is_there():
    some, more = placebo_groups("u3", "u1"), placebo_groups("u0", "u1", "u2", "u3")
    assert list(some) == [f"placebo_{number}" for number in range(1, 9)]
    for name, groups in some.items():
        for user_id, group in groups.items():
            first_byte = hashlib.sha256(f"{name} {user_id}".encode()).digest()[0]
            assert group == more[name][user_id] == ("A" if first_byte < 128 else "B")


def test_placebos_are_halves_and_independent_of_one_another():
    users = [f"user{number}" for number in range(1_400)]
    in_a = np.array([[groups[name] == "A" for name in users] for groups in placebo_groups(*users).values()])
    assert scipy.stats.chisquare([in_a.sum(), in_a.size - in_a.sum()]).pvalue > 0.001
    correlations = np.corrcoef(in_a)[np.triu_indices(8, k=1)]
    assert np.abs(correlations).max() < 4 / np.sqrt(1_400)


def test_assignments_have_the_declared_columns_and_every_split_in_order():
    assigned = assign(pl.DataFrame([user("u0"), user("u1")], schema=TABLES["prism.users"].schema))
    assert assigned.schema == TABLES["splits.assignments"].schema
    assert assigned.select("split", "user_id").rows() == [(split, name) for split in SPLITS for name in ("u0", "u1")]


def test_a_split_that_puts_a_user_in_both_groups_is_refused(monkeypatch):
    everyone = Split("both", "all", "all", "everyone is in A and in B", pl.lit(True), pl.lit(True))
    monkeypatch.setattr(splits, "SPLITS", {"both": everyone})
    with pytest.raises(ValueError, match="split both puts 1 users in both groups"):
        assign(pl.DataFrame([user("u0")], schema=TABLES["prism.users"].schema))


def test_importing_the_splits_is_light():
    heavy = {"pydantic", "sklearn", "dagster", "torch"}
    code = f"import sys, {splits.__name__}; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
