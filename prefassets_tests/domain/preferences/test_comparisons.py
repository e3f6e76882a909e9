"""Choices are counted as they were made: slots apart, refusals for nobody, and nothing lost in silence."""

import numpy as np
import polars as pl
import pytest

from prefassets.domain.preferences.comparisons import count_choices

CHOICES = pl.DataFrame(
    [
        ("x", "y", "a"),
        ("x", "y", "b"),
        ("x", "y", "a"),
        ("y", "x", "a"),
        ("y", "x", "refusal"),
        ("y", "z", "unparseable"),
        ("z", "z", "a"),
        ("x", "w", "b"),
    ],
    ["task_a", "task_b", "choice"],
    orient="row",
)


def rows_of(counted):
    columns = counted.slot_a_p, counted.slot_b_p, counted.a_p, counted.b_p, counted.refused_p
    return [
        (counted.tasks[slot_a], counted.tasks[slot_b], *counts)
        for slot_a, slot_b, *counts in zip(*(column.tolist() for column in columns), strict=True)
    ]


def test_both_orders_of_slots_are_counted_apart():
    counted = count_choices(CHOICES, ["x", "y", "z"])
    assert rows_of(counted) == [("x", "y", 2, 1, 0), ("y", "x", 1, 0, 1)]
    assert counted.per_task_n.tolist() == [4, 4, 0]


def test_rows_that_say_nothing_are_counted_by_reason():
    assert count_choices(CHOICES, ["x", "y", "z"]).dropped == {
        "a task compared with itself": 1,
        "a task that is not listed": 1,
        "unparseable": 1,
    }


def test_without_a_list_tasks_are_all_that_occur_whatever_the_order_of_rows():
    counted = count_choices(CHOICES)
    assert counted.tasks == ("w", "x", "y", "z")
    assert rows_of(count_choices(CHOICES.reverse())) == rows_of(counted)


def test_regardless_of_slots_the_first_task_stands_in_slot_a():
    assert rows_of(count_choices(CHOICES, ["x", "y"]).regardless_of_slots()) == [("x", "y", 2, 2, 1)]
    assert rows_of(count_choices(CHOICES, ["y", "x"]).regardless_of_slots()) == [("y", "x", 2, 2, 1)]


def test_a_refusal_is_a_win_for_slot_b_only_where_that_is_asked_for():
    turned = count_choices(CHOICES, ["x", "y"]).regardless_of_slots(refusals_as_b=True)
    assert rows_of(turned) == [("x", "y", 3, 2, 0)], "y was in slot A when the model refused, so x was in slot B"


def test_answers_to_the_same_two_tasks_count_for_less_in_either_order():
    counted = count_choices(CHOICES, ["x", "y", "z"])
    assert counted.discount_p(0).tolist() == [1, 1]
    assert counted.discount_p(1) == pytest.approx([1 / 5, 1 / 5]), "five answers, refusals among them, count as one"
    assert counted.discount_p(0.5) == pytest.approx([1 / 3, 1 / 3])


def test_no_rows_are_no_comparisons():
    counted = count_choices(CHOICES.clear(), ["x", "y"])
    assert rows_of(counted) == []
    assert rows_of(counted.regardless_of_slots()) == []
    assert np.array_equal(counted.per_task_n, [0, 0])


def test_what_is_no_choice_is_refused():
    with pytest.raises(ValueError, match="'c' is no choice; one of a, b, refusal, unparseable"):
        count_choices(pl.DataFrame({"task_a": ["x"], "task_b": ["y"], "choice": ["c"]}))
    with pytest.raises(ValueError, match="task 'x' is listed twice"):
        count_choices(CHOICES, ["x", "y", "x"])
