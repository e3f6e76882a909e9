"""How many labels became better, and how many noise alone would have made better."""

from itertools import combinations
from math import prod

import pytest

from prefassets_tests.sql.small_study import frame

KEY = {"study": "wpo", "variant_of": "dpo", "readout": "tail"}


def rows(changes):
    """`verdicts.method_change` of (change, label before, noise_better, noise_worse)."""
    return [
        KEY | {"split": f"s{n}", "change": change, "before_label": before, "noise_better": better, "noise_worse": worse}
        for n, (change, before, better, worse) in enumerate(changes)
    ]


def count(run_sql, changes):
    given = {"verdicts.method_change": frame("verdicts.method_change", rows(changes))}
    (row,) = run_sql("verdicts.method_change_count", given).to_dicts()
    return row


def at_least(number, probabilities):
    """Summed over every set of splits that could be the ones."""
    every = range(len(probabilities))
    return sum(
        prod(probabilities[n] if n in chosen else 1 - probabilities[n] for n in every)
        for size in range(number, len(probabilities) + 1)
        for chosen in combinations(every, size)
    )


SEVEN = [
    ("FIXED", "MISMATCH", 0.4, 0.0),
    ("UNCHANGED", "MISMATCH", 0.5, 0.0),
    ("IMPROVED", "LEAN", 0.3, 0.25),
    ("STABLE", "MATCH", 0.0, 0.6),
    ("WORSE", "MATCH", 0.0, 0.5),
    ("WORSE", "WEAK", 0.2, 0.4),
    ("UNCHANGED", "LEAN", 0.35, 0.1),
]


def test_every_kind_of_change_is_counted(run_sql):
    row = count(run_sql, SEVEN)
    kinds = ("splits", "not_match_before", "fixed", "improved", "stable", "unchanged", "worse", "better")
    assert [row[kind] for kind in kinds] == [7, 5, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("better", range(4))
def test_the_probability_of_as_many_is_summed_over_all_ways_it_can_happen(run_sql, better):
    given = [("FIXED" if n < better else "UNCHANGED", "MISMATCH", p, 0.0) for n, p in enumerate((0.4, 0.5, 0.3))]
    row = count(run_sql, given)
    assert row["better_by_noise"] == pytest.approx(1.2)
    assert row["p_as_many_better"] == pytest.approx(at_least(better, [0.4, 0.5, 0.3]), rel=1e-12)


def test_expected_by_noise_is_the_sum_over_splits(run_sql):
    row = count(run_sql, SEVEN)
    assert row["better_by_noise"] == pytest.approx(0.4 + 0.5 + 0.3 + 0.2 + 0.35)
    assert row["worse_by_noise"] == pytest.approx(0.25 + 0.6 + 0.5 + 0.4 + 0.1)
    assert row["p_as_many_better"] == pytest.approx(at_least(2, [p for _, _, p, _ in SEVEN]), rel=1e-12)


def test_splits_without_an_expected_direction_are_not_counted(run_sql):
    row = count(run_sql, [*SEVEN[:1], ("no direction expected", "OK", None, None)])
    assert (row["splits"], row["better_by_noise"]) == (1, 0.4)
    given = {
        "verdicts.method_change": frame("verdicts.method_change", rows([("no direction expected", "OK", None, None)]))
    }
    assert run_sql("verdicts.method_change_count", given).is_empty()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            SEVEN[:2],
            "1 of 2 labels that were not MATCH before became better (FIXED or IMPROVED); noise alone would make 0.9 of "
            "them better, and at least 1 in 70 % of repetitions.",
        ),
        (
            SEVEN[1:2],
            "0 of 1 label that was not MATCH before became better (FIXED or IMPROVED); noise alone would make 0.5 of "
            "them better.",
        ),
        (SEVEN[3:5], "2 of 2 labels were MATCH before, so none could become better."),
        (
            [("FIXED", "MISMATCH", None, None), SEVEN[1]],
            "1 of 2 labels that were not MATCH before became better (FIXED or IMPROVED); what noise alone would give "
            "is not known.",
        ),
    ],
)
def test_the_count_in_words(run_sql, changes, sentence):
    row = count(run_sql, changes)
    assert row["sentence"] == sentence
    if "not known" in sentence:
        assert (row["better_by_noise"], row["worse_by_noise"], row["p_as_many_better"]) == (None, None, None)
