"""A cohort learns from its own pairs outside the held-out fold; matched groups from equally many."""

import polars as pl
import pytest

from prefassets.domain.prism.cohorts import sampled_prompts, training_pairs

# Fold 0 is held out. Outside it A has a1 (6 pairs) and a2 (6), B has b1 (5); n is in neither group.
PAIRS_OF = {"a0": 9, "a1": 6, "a2": 6, "b0": 2, "b1": 5, "n": 3}
PAIRS = pl.DataFrame(
    [{"pair_id": f"{user}.{n}", "user_id": user} for user, count in PAIRS_OF.items() for n in range(count)]
)
FOLDS = pl.DataFrame({"user_id": list(PAIRS_OF), "fold": [0, 1, 2, 0, 1, 1]})
GROUPS = pl.DataFrame(
    {"split": "age", "user_id": list(PAIRS_OF), "user_group": ["A", "A", "A", "B", "B", None]},
)


def ids(group, fold=0, cap=None, match=False, groups=GROUPS):
    split = None if group is None else "age"
    return training_pairs(PAIRS, FOLDS, groups, split, group, fold, cap, match)["pair_id"].to_list()


def test_without_matching_a_group_learns_from_all_its_pairs_outside_the_fold():
    assert (len(ids("A")), len(ids("B")), len(ids(None))) == (12, 5, 20)
    assert {pair.split(".")[0] for pair in ids("A")} == {"a1", "a2"}


@pytest.mark.parametrize(("fold", "smaller"), [(0, 5), (1, 2), (2, 7)])
def test_matched_groups_learn_from_as_many_pairs_as_the_smaller_has_in_each_fold(fold, smaller):
    assert len(ids("A", fold, match=True)) == len(ids("B", fold, match=True)) == smaller


def test_matching_leaves_the_smaller_group_and_the_baseline_as_they_are():
    assert ids("B", match=True) == ids("B")
    assert ids(None, match=True) == ids(None)


def test_matching_takes_the_very_pairs_that_a_cap_of_that_size_takes():
    assert ids("A", match=True) == ids("A", cap=5)


def test_the_smaller_of_cap_and_match_holds():
    assert len(ids("A", cap=3, match=True)) == len(ids("B", cap=3, match=True)) == 3
    assert len(ids("A", cap=8, match=True)) == 5


def test_with_nobody_to_compare_with_nothing_is_learned():
    alone = GROUPS.filter(pl.col("user_group") == "A")
    assert ids("A", match=True, groups=alone) == []


def test_sampled_prompts_differ_and_depend_on_neither_order_nor_how_many_are_wanted():
    pairs = pl.DataFrame(
        {
            "pair_id": [f"c{number}.1" for number in range(40)],
            "prompt": [[{"role": "user", "content": f"question {number % 30}"}] for number in range(40)],
        }
    )
    few, all_there_are = sampled_prompts(pairs, 10), sampled_prompts(pairs, 100)
    assert few["pair_id"].is_sorted()
    assert len({str(prompt) for prompt in few["prompt"]}) == 10
    assert len(all_there_are) == 30
    assert set(few["pair_id"]) < set(all_there_are["pair_id"])
    assert sampled_prompts(pairs.sample(fraction=1, shuffle=True, seed=1), 10).equals(few)
