"""What cannot be probed is refused in one sentence that says where it is."""

from collections.abc import Mapping
from dataclasses import replace
from weakref import WeakSet

import numpy as np
import polars as pl
import pytest

from prefassets.domain.probes.cross_probe import cross_probe
from prefassets.domain.probes.suite import Target, probe_suite
from prefassets_tests.domain.probes.planted import activations_with, names, numbers, probed

ITEMS = 20
ACTIVATIONS, VALUES = activations_with(ITEMS, 6, 0.5)


def spoiled(value: float) -> np.ndarray:
    activations = ACTIVATIONS.copy()
    activations[[7, 3, 3], [1, 2, 4]] = value
    return activations


def with_layers(*layers: tuple[int, str]):
    return replace(probed(ACTIVATIONS, numbers(VALUES)), activations=dict.fromkeys(layers, ACTIVATIONS))


def choices(**columns) -> Target:
    return Target(name="choices", kind="choices", values=pl.DataFrame(columns))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (probed(spoiled(np.nan), numbers(VALUES)), "3 numbers of 2 items are NaN or infinite .* first of task_00003"),
        (probed(spoiled(np.inf), numbers(VALUES)), "layer 1 at prompt_last, the first of task_00003"),
        (probed(ACTIVATIONS[:-1], numbers(VALUES), item=names(20), unit=names(20)), r"\(19, 6\); wanted is a row for"),
        (
            probed(ACTIVATIONS, numbers(VALUES), item=["task_00001", *names(20)[1:]]),
            "task_00001 is there more than once",
        ),
        (probed(ACTIVATIONS, numbers(np.full(ITEMS, 0.3))), "utility is 0.3 for all 20 items"),
        (probed(ACTIVATIONS, numbers(VALUES[:4])), "4 units have a value of utility; 5 folds need at least as many"),
        (probed(ACTIVATIONS, numbers(VALUES), unit=["a", "b"] * 10), "2 units have a value of utility"),
        (probed(ACTIVATIONS, numbers([*VALUES, 1.0])), "task_00020 is not among the 20 items"),
        (probed(ACTIVATIONS, numbers([*VALUES[:-1], np.nan])), "the value of task_00019 is NaN or infinite"),
        (probed(ACTIVATIONS, numbers(VALUES, kind="binary")), "is binary, but has values"),
        (probed(ACTIVATIONS, numbers(np.ones(ITEMS), kind="binary")), "is 1 for all 20 items"),
        (probed(ACTIVATIONS, numbers(VALUES), numbers(VALUES)), "each needs its own name"),
        (probed(ACTIVATIONS, numbers(VALUES), unit=[None, *names(19)]), "1 of 20 items have no name or no unit"),
        (
            probed(ACTIVATIONS, choices(item_a=["task_00000"], item_b=["task_00001"], wins_a=[0], wins_b=[0])),
            "no answer that chose one of two items",
        ),
        (probed(ACTIVATIONS, choices(item_a=["task_00000"], wins_a=[0], wins_b=[0])), r"no column \['item_b'\]"),
        (
            with_layers((1, "prompt_last"), (1, "prompt_mean"), (2, "prompt_last")),
            "no activations of layer 2 at prompt_mean",
        ),
        (with_layers(), "there are no activations"),
    ],
)
def test_broken_input_is_one_clear_error(given, said):
    with pytest.raises(ValueError, match=said):
        probe_suite(given, draws=10)


def test_of_several_targets_one_that_cannot_be_probed_gets_a_note_and_the_others_go_on():
    given = probed(ACTIVATIONS, numbers(VALUES), numbers(np.ones(ITEMS), name="valence"))
    found = probe_suite(given, draws=10, seeds=2)
    (row,) = found.scores.filter(pl.col("target") == "valence").iter_rows(named=True)
    assert row["estimate"] is None
    assert row["note"] == "valence is 1 for all 20 items; a probe needs it to differ"
    assert found.directions["target"].to_list() == ["utility"]


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (np.ones(ITEMS), "utility is 1 for all 20 items; a probe needs it to differ"),
        (VALUES[:4], "4 units have a value of utility; 5 folds need at least as many"),
    ],
)
def test_the_only_target_gets_a_note_too_where_that_is_asked_for(values, note):
    given = probed(ACTIVATIONS, numbers(values), topic=["math", "chat"] * 10, text=names(ITEMS))
    found = probe_suite(given, draws=10, seeds=2, lone_target="note")
    (row,) = found.scores.iter_rows(named=True)
    assert (row["estimate"], row["note"]) == (None, note)
    assert [len(rows) for rows in (found.sweep, found.directions, found.predictions, found.fold_directions)] == [0] * 4
    assert cross_probe(given, found).is_empty()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (probed(spoiled(np.nan), numbers(np.ones(ITEMS))), "3 numbers of 2 items are NaN or infinite"),
        (probed(ACTIVATIONS, numbers(np.ones(ITEMS)), item=["task_00001", *names(20)[1:]]), "more than once"),
        (probed(ACTIVATIONS, numbers([*VALUES, 1.0])), "task_00020 is not among the 20 items"),
    ],
)
def test_broken_input_is_an_error_whatever_becomes_of_the_only_target(given, said):
    with pytest.raises(ValueError, match=said):
        probe_suite(given, draws=10, lone_target="note")


class Read(Mapping):
    """Activations that know which places were read, and how many of the arrays they gave were held meanwhile."""

    def __init__(self, places: list[tuple[int, str]]) -> None:
        self.places, self.read, self.given, self.most_held = places, [], WeakSet(), 0

    def __getitem__(self, place):
        self.most_held = max(self.most_held, len(self.given))
        rows = ACTIVATIONS.copy().view(Held)
        self.read.append(place)
        self.given.add(rows)
        return rows

    def __iter__(self):
        return iter(self.places)

    def __len__(self):
        return len(self.places)


class Held(np.ndarray):
    """An array that a set can hold by a weak reference."""

    __hash__ = object.__hash__


def test_places_are_read_twice_one_after_the_other_and_only_the_last_is_kept():
    places = [(layer, "prompt_last") for layer in range(6)]
    activations = Read(places)
    probe_suite(replace(probed(ACTIVATIONS, numbers(VALUES)), activations=activations), draws=10, seeds=2)
    assert activations.read == places * 2
    assert activations.most_held <= 1


def test_values_given_twice_are_refused():
    values = pl.DataFrame({"item": [*names(ITEMS), "task_00004"], "value": [*VALUES, 1.0]})
    with pytest.raises(ValueError, match="task_00004 is valued more than once"):
        probe_suite(probed(ACTIVATIONS, Target(name="utility", kind="number", values=values)))


@pytest.mark.parametrize("wrong", [{"folds": 2}, {"seeds": 1}, {"draws": 0}])
def test_fewer_folds_or_seeds_than_can_be_used_are_refused(wrong):
    with pytest.raises(ValueError, match="wanted are 3, 2, 1 or more"):
        probe_suite(probed(ACTIVATIONS, numbers(VALUES)), **wrong)
