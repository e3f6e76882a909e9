"""What is known of a study's cells from a home, and from the study files alone."""

from dataclasses import replace

import polars as pl
import pytest

from prefassets.resources.cells import StudyData, group_sizes, shared_cells
from prefassets.resources.tables import TABLES
from prefassets.studies import all_studies
from prefassets.studies.study import Cell, Expected

STUDY = replace(all_studies()["demo"], expected={"age": Expected.EXPLORATORY}, seeds=(1,))
MATCHED = replace(STUDY, name="matched", match_groups=True)
PAIRS_OF = {"a": 20, "b": 12, "n": 9, "held_out": 4}


@pytest.fixture
def home(store):
    """Twenty training pairs of A, twelve of B, nine of nobody; one user of A is held out."""

    def frame(table, rows):
        blank = {
            name: "" if column.dtype == pl.String else [] if column.dtype.is_nested() else 0
            for name, column in TABLES[table].columns.items()
        }
        return pl.DataFrame([blank | row for row in rows], schema=TABLES[table].schema)

    pairs = [{"pair_id": f"{user}.{n}", "user_id": user} for user, count in PAIRS_OF.items() for n in range(count)]
    store.replace("prism.pairs", frame("prism.pairs", pairs))
    store.replace("prism.folds", pl.DataFrame({"user_id": list(PAIRS_OF), "fold": [1, 2, 3, 0]}))
    groups = zip(PAIRS_OF, ["A", "B", None, "A"], strict=True)
    rows = [{"split": "age", "user_id": user, "user_group": group} for user, group in groups]
    store.replace("splits.assignments", frame("splits.assignments", rows))
    base = {"base_model": "tiny", "revision": "r1"}
    store.replace("model.base", frame("model.base", [base]), ("tiny",))
    return store


def cells(study):
    return {cell.cohort: cell for cell in study.cells}


def test_matching_gives_both_groups_the_smaller_number_of_pairs(home):
    free, matched = StudyData(home, STUDY), StudyData(home, MATCHED)
    assert {name: len(free.training_pairs(cell)) for name, cell in cells(STUDY).items()} == {
        "everyone": 41,
        "age.A": 20,
        "age.B": 12,
    }
    assert {name: len(matched.training_pairs(cell)) for name, cell in cells(MATCHED).items()} == {
        "everyone": 41,
        "age.A": 12,
        "age.B": 12,
    }


def test_group_sizes_are_those_of_the_pairs_that_the_adapters_learn_from(home):
    found = group_sizes(home, [STUDY, MATCHED]).select("study", "split", "fold", "user_group", "users", "pairs")
    assert found.rows() == [
        ("demo", "age", 0, "A", 1, 20),
        ("demo", "age", 0, "B", 1, 12),
        ("matched", "age", 0, "A", 1, 12),
        ("matched", "age", 0, "B", 1, 12),
    ]


def test_a_cell_that_matching_leaves_alone_has_the_same_recipe_and_is_adopted(home):
    free, matched = StudyData(home, STUDY), StudyData(home, MATCHED)
    same = {
        name: free.recipe(cell).fingerprint == matched.recipe(replace(cell, study="matched")).fingerprint
        for name, cell in cells(STUDY).items()
    }
    assert same == {"everyone": True, "age.A": False, "age.B": True}


def test_a_group_too_small_for_a_batch_keeps_a_matched_study_from_training_either(home):
    hungry = replace(MATCHED, hyperparameters=replace(MATCHED.hyperparameters, batch_size=16))
    why = StudyData(home, hungry).unlearnable(Cell("matched", "age.A", 1))
    assert why.startswith("cohort age.A of matched has 12 training pairs outside fold 0, matched to the smaller group")


def test_without_looking_at_data_only_the_baseline_of_a_matched_study_is_known_to_be_shared():
    assert shared_cells(MATCHED, [STUDY]) == {"demo": 1}
    assert shared_cells(MATCHED, [replace(MATCHED, name="again")]) == {"again": 3}
