"""A cohort learns from its own pairs outside the held-out fold; matched groups from equally many."""

from collections import Counter

import numpy as np
import polars as pl
import pytest

from prefassets.domain.prism.cohorts import Matching, held_out_pairs, probed_pairs, sampled_prompts, training_pairs

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
    split, matching = None if group is None else "age", Matching.PAIRS if match else Matching.NONE
    return training_pairs(PAIRS, FOLDS, groups, split, group, fold, cap, matching)["pair_id"].to_list()


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


# ---- source models


@pytest.fixture(scope="module")
def mixed():
    """300 users dealt to five folds, A, B and neither; A's pairs are mostly of `large`, B's of `small`."""
    rng = np.random.default_rng(4)
    users = pl.DataFrame(
        {
            "user_id": [f"u{number}" for number in range(300)],
            "fold": rng.integers(5, size=300),
            "user_group": rng.choice(["A", "B", None], 300, p=[0.5, 0.4, 0.1]),
        }
    )
    mix = {"A": [0.6, 0.3, 0.1, 0.0], "B": [0.2, 0.7, 0.05, 0.05], None: [0.25] * 4}
    pairs = [
        (f"{user}.{turn}", user, rng.choice(["large", "small", "rare", "of B alone"], p=mix[group]))
        for user, _, group in users.iter_rows()
        for turn in range(rng.integers(1, 20))
    ]
    groups = users.select("user_id", "user_group", split=pl.lit("age"))
    return pl.DataFrame(pairs, ["pair_id", "user_id", "model_name"], orient="row"), users, groups


def of_same_sources(mixed, group, fold, cap=None):
    pairs, folds, groups = mixed
    return training_pairs(pairs, folds, groups, "age", group, fold, cap, Matching.SOURCES)


def judged(mixed, fold, matching):
    """The held-out pairs of the split, by the group of their user."""
    pairs, folds, groups = mixed
    rows = held_out_pairs(pairs, folds, groups, "age", fold, matching).join(groups, on="user_id")
    return {group: rows.filter(user_group=group) for group in "AB"}


def fewer_of_each(a, b):
    """Multisets of models; their intersection keeps of each model the smaller count."""
    return Counter(a["model_name"]) & Counter(b["model_name"])


@pytest.mark.parametrize("fold", range(5))
def test_of_each_source_model_both_groups_learn_from_as_many_pairs_as_the_one_with_fewer_has(mixed, fold):
    pairs, folds, groups = mixed
    all_of = {g: training_pairs(pairs, folds, groups, "age", g, fold, None) for g in "AB"}
    for group in "AB":
        kept = of_same_sources(mixed, group, fold)
        assert Counter(kept["model_name"]) == fewer_of_each(all_of["A"], all_of["B"])
        assert set(kept["pair_id"]) <= set(all_of[group]["pair_id"])


@pytest.mark.parametrize("fold", range(5))
def test_they_are_judged_on_as_many_of_each_source_model_too(mixed, fold):
    free, matched = (judged(mixed, fold, matching) for matching in (Matching.NONE, Matching.SOURCES))
    for group in "AB":
        assert Counter(matched[group]["model_name"]) == fewer_of_each(free["A"], free["B"])
        assert set(matched[group]["pair_id"]) <= set(free[group]["pair_id"])


@pytest.mark.parametrize("fold", range(5))
def test_nobody_who_is_judged_is_learned_from(mixed, fold):
    _, folds, _ = mixed
    held_out = set(folds.filter(fold=fold)["user_id"])
    for group, rows in judged(mixed, fold, Matching.SOURCES).items():
        assert set(rows["user_id"]) <= held_out
        assert not held_out & set(of_same_sources(mixed, group, fold)["user_id"])


@pytest.mark.parametrize("matching", [Matching.PAIRS, Matching.SOURCES])
def test_which_pairs_are_taken_does_not_depend_on_the_order_of_rows(mixed, matching):
    shuffled = [rows.sample(fraction=1, shuffle=True, seed=5) for rows in mixed]
    for cap in (None, 100):
        for group in "AB":
            assert training_pairs(*mixed, "age", group, 0, cap, matching).equals(
                training_pairs(*shuffled, "age", group, 0, cap, matching)
            )
    assert held_out_pairs(*mixed, "age", 0, matching).equals(held_out_pairs(*shuffled, "age", 0, matching))


@pytest.mark.parametrize("cap", [1, 7, 100, 400])
def test_a_cap_leaves_the_mixes_of_both_groups_equal_and_as_they_were(mixed, cap):
    whole = Counter(of_same_sources(mixed, "A", 0)["model_name"])
    a, b = (Counter(of_same_sources(mixed, group, 0, cap)["model_name"]) for group in "AB")
    assert a == b
    assert a.total() == cap
    for model, pairs in whole.items():
        assert abs(a[model] - cap * pairs / whole.total()) < 2


def test_under_a_cap_of_half_as_many_a_group_learns_from_some_of_the_same_pairs(mixed):
    few, many = (set(of_same_sources(mixed, "A", 0, cap)["pair_id"]) for cap in (200, 400))
    assert few < many


def test_a_source_model_that_only_one_group_has_is_left_out(mixed):
    assert "of B alone" in set(judged(mixed, 0, Matching.NONE)["B"]["model_name"])
    assert "of B alone" not in set(of_same_sources(mixed, "B", 0)["model_name"])
    assert "of B alone" not in set(judged(mixed, 0, Matching.SOURCES)["B"]["model_name"])


def test_the_baseline_learns_from_all_pairs_and_is_judged_on_all(mixed):
    pairs, folds, groups = mixed
    learned = training_pairs(pairs, folds, groups, None, None, 0, None, Matching.SOURCES)
    unseen = held_out_pairs(pairs, folds, groups, None, 0, Matching.SOURCES)
    assert sorted([*learned["pair_id"], *unseen["pair_id"]]) == sorted(pairs["pair_id"])


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


def test_users_take_turns_in_the_pairs_that_are_probed():
    """Of one user 50 pairs, of four others 2 each: ten pairs are of all five users, and no user has more than two."""
    counts = {"many": 50, **{f"few{number}": 2 for number in range(4)}, "seen": 9}
    rows = [
        {"pair_id": f"{user}.{number}", "user_id": user} for user, count in counts.items() for number in range(count)
    ]
    pairs, folds = pl.DataFrame(rows), pl.DataFrame({"user_id": [*counts], "fold": [0, 0, 0, 0, 0, 1]})
    ten = probed_pairs(pairs, folds, 0, 10)
    assert dict(ten["user_id"].value_counts().iter_rows()) == dict.fromkeys(list(counts)[:5], 2)
    assert probed_pairs(pairs.sample(fraction=1, shuffle=True, seed=1), folds, 0, 10).equals(ten)
    assert set(ten["pair_id"]) < set(probed_pairs(pairs, folds, 0, 20)["pair_id"])
    assert len(probed_pairs(pairs, folds, 0, 1_000)) == 58
