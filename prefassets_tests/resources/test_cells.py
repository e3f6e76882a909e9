"""What is known of a study's cells from a home, and from the study files alone."""

from dataclasses import asdict, replace

import polars as pl
import pytest

from prefassets.domain.prism.balance import exposure
from prefassets.resources.cells import StudyData, artifact, cell_states, group_sizes, shared_cells
from prefassets.resources.tables import TABLES
from prefassets.studies import all_studies
from prefassets.studies.study import Cell, Expected, Matching

STUDY = replace(all_studies()["demo"], activations=None, expected={"age": Expected.EXPLORATORY}, seeds=(1,))
MATCHED = replace(STUDY, name="matched", matching=Matching.PAIRS)
SAME_SOURCES = replace(STUDY, name="same_sources", matching=Matching.SOURCES)
PAIRS_OF = {"a": 20, "b": 12, "n": 9, "held_out": 4, "held_out_b": 3}


def frame(table, rows):
    blank = {
        name: "" if column.dtype == pl.String else [] if column.dtype.is_nested() else 0
        for name, column in TABLES[table].columns.items()
    }
    return pl.DataFrame([blank | row for row in rows], schema=TABLES[table].schema)


@pytest.fixture
def home(store):
    """Twenty training pairs of A, twelve of B, nine of nobody; four of A and three of B are held out.

    Of A's, 15 are of the model `large`, of B's 6; the others are of `small`, as is all that is held out.
    """
    large = {f"a.{n}" for n in range(15)} | {f"b.{n}" for n in range(6)}
    pairs = [
        {"pair_id": pair, "user_id": user, "model_name": "large" if pair in large else "small"}
        for user, count in PAIRS_OF.items()
        for pair in (f"{user}.{n}" for n in range(count))
    ]
    store.replace("prism.pairs", frame("prism.pairs", pairs))
    store.replace("prism.folds", pl.DataFrame({"user_id": list(PAIRS_OF), "fold": [1, 2, 3, 0, 0]}))
    groups = zip(PAIRS_OF, ["A", "B", None, "A", "B"], strict=True)
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


def test_matching_by_source_gives_both_groups_the_smaller_number_of_each_model(home):
    learned = StudyData(home, SAME_SOURCES)
    models = {name: learned.training_pairs(cell)["model_name"] for name, cell in cells(SAME_SOURCES).items()}
    assert {name: (list(of).count("large"), list(of).count("small")) for name, of in models.items()} == {
        "everyone": (21, 20),
        "age.A": (6, 5),
        "age.B": (6, 5),
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


def test_how_unlike_the_sources_are_is_said_of_the_pairs_that_the_adapters_learn_from(home):
    found = exposure(group_sizes(home, [STUDY, MATCHED, SAME_SOURCES]))
    unlike = dict(found.select("study", "unlike_sources_pp").rows())
    assert unlike["demo"] == pytest.approx(75 - 50)  # 15 of A's 20 and 6 of B's 12 are of one model of the two
    assert unlike["matched"] > 0
    assert unlike["same_sources"] == 0


def finish(home, study, judged_like=None):
    """Give every cell of a study an adapter of today's recipe, and margins on what `judged_like` is judged on."""
    data, judged = StudyData(home, study), StudyData(home, judged_like or study)
    for cell in study.cells:
        recipe = data.recipe(cell)
        home.put(artifact(cell), {}, {"recipe": recipe.as_dict(), "fingerprint": recipe.fingerprint})
        identity = asdict(cell) | {"split": cell.split, "user_group": cell.user_group}
        scored = [
            {"pair_id": pair, "fingerprint": recipe.fingerprint} for pair in judged.held_out_pairs(cell)["pair_id"]
        ]
        home.replace("training.margins", frame("training.margins", [identity | row for row in scored]), cell.partition)
    return {state.cell.cohort: (state.state, state.reason) for state in cell_states(home, study)}


def test_a_study_matched_by_source_is_not_finished_by_margins_on_pairs_of_another_mix(home):
    other = ("unscored", "margins are of other held-out pairs than today's")
    finished = ("finished", "")
    assert finish(home, SAME_SOURCES, judged_like=STUDY) == {"everyone": finished, "age.A": other, "age.B": other}
    assert set(finish(home, SAME_SOURCES).values()) == {finished}
    assert set(finish(home, STUDY).values()) == set(finish(home, MATCHED, judged_like=STUDY).values()) == {finished}


def test_a_group_too_small_for_a_batch_keeps_a_matched_study_from_training_either(home):
    hungry = replace(MATCHED, hyperparameters=replace(MATCHED.hyperparameters, batch_size=16))
    why = StudyData(home, hungry).unlearnable(Cell("matched", "age.A", 1))
    assert why.startswith(
        "cohort age.A of matched has 12 training pairs outside fold 0, matched to the other group: equally many pairs; "
    )


def test_without_looking_at_data_only_the_baseline_of_a_matched_study_is_known_to_be_shared():
    assert shared_cells(MATCHED, [STUDY]) == {"demo": 1}
    assert shared_cells(MATCHED, [SAME_SOURCES]) == {"same_sources": 1}
    assert shared_cells(MATCHED, [replace(MATCHED, name="again")]) == {"again": 3}


def test_the_seeds_that_the_report_left_out_are_added_to_the_cells_that_stand():
    studies = all_studies()
    again = shared_cells(studies["wpo_ol_seeds"], [studies["wpo_ol"]])
    assert again == {"wpo_ol": len(studies["wpo_ol"].cells)}
