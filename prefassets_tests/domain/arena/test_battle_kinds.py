"""Battles are told apart by what a reader would see: who won, lengths, turns, models, empty and equal answers."""

import pytest

from prefassets.domain.arena.battle_kinds import KINDS, told_apart
from prefassets_tests.domain.arena.held_out import battles


def value_of(kind, **columns):
    (one,) = told_apart(battles(["A"], **{name: [value] for name, value in columns.items()}))[kind]
    return one


@pytest.mark.parametrize(
    ("a", "b", "length"),
    [
        (201, 100, "A over twice as long"),
        (200, 100, "A longer"),
        (111, 100, "A longer"),
        (110, 100, "within 10 %"),
        (100, 100, "within 10 %"),
        (0, 0, "within 10 %"),
        (100, 110, "within 10 %"),
        (100, 111, "B longer"),
        (100, 200, "B longer"),
        (100, 201, "B over twice as long"),
        (0, 1, "B over twice as long"),
    ],
)
def test_lengths_are_told_apart_at_their_borders(a, b, length):
    assert value_of("length", length_a=a, length_b=b) == length


@pytest.mark.parametrize(("turns", "value"), [(1, "1"), (2, "2"), (3, "3 or more"), (40, "3 or more")])
def test_turns(turns, value):
    assert value_of("turns", turns=turns) == value


@pytest.mark.parametrize(
    ("a", "b", "value"),
    [
        (["yes"], ["no"], "different"),
        (["yes"], ["yes"], "equal"),
        ([""], ["yes"], "one is empty"),
        ([" ", ""], ["yes", ""], "one is empty"),
        (["yes", ""], ["yes", "more"], "different"),  # one turn without an answer is not an empty side
        ([""], [" "], "equal"),
    ],
)
def test_answers(a, b, value):
    assert value_of("answers", answers_a=a, answers_b=b) == value


def test_a_pair_of_models_is_told_from_twenty_battles_on_whichever_was_a():
    first = ["gpt", "llama"] * 10 + ["gpt"] * 19 + ["vicuna"] * 20
    second = ["llama", "gpt"] * 10 + ["vicuna"] * 19 + ["vicuna"] * 20
    found = told_apart(battles(["A"] * 59, model_a=first, model_b=second))["models"]
    assert {name: len(rows) for name, rows in found.items()} == {
        "gpt vs llama": 20,
        "vicuna vs vicuna": 20,
        "other pairs": 19,
    }
    assert list(found)[-1] == "other pairs"


def test_every_battle_is_of_one_value_of_each_kind_in_their_order():
    held = battles(["tie", "A", "B", "A"], turns=[1, 2, 3, 9], length_a=[1, 2, 300, 4])
    found = told_apart(held)
    assert list(found) == list(KINDS)
    assert list(found["winner"]) == ["A", "B", "tie"]
    assert found["winner"]["A"].tolist() == [1, 3]
    for rows in found.values():
        assert sorted(row for some in rows.values() for row in some) == [0, 1, 2, 3]
