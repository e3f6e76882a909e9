"""Rows of two files meet by item, whatever their order, and what has no partner is left out and counted."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from prefassets.domain.prism.released import BadInput
from prefassets.domain.probes.suite import Target
from prefassets.resources.activation_files import Activations
from prefassets.resources.probe_files import matched
from prefassets.resources.target_files import Targets

PLACE = (16, "response_mean")


def activations(*items):
    """Of each item a vector that holds its number."""
    return Activations(Path("a.npz"), list(items), {PLACE: np.array([[float(item)] for item in items], np.float32)})


def targets(kind, items, **values):
    target = Target(name="v", kind=kind, values=pl.DataFrame(values))
    return Targets(Path("t.csv"), pl.DataFrame({"item": items, "unit": items}), (target,))


def test_items_meet_by_name_in_the_order_of_the_activations():
    probed, notes = matched(
        activations("3", "1", "4", "2"), targets("number", ["1", "2", "3", "5"], item=["1", "5", "2"], value=[1, 5, 2])
    )
    assert probed.items["item"].to_list() == ["3", "1", "2"]
    assert probed.activations[PLACE].tolist() == [[3], [1], [2]]
    assert probed.targets[0].values.rows() == [("1", 1), ("2", 2)]
    assert notes == [
        "left out: 1 of 4 items of a.npz, not in t.csv",
        "left out: 1 of 4 items of t.csv, without activations: 5",
    ]


def test_choices_are_kept_between_items_that_both_have_activations():
    chosen = {"item_a": ["1", "1"], "item_b": ["2", "3"], "wins_a": [1.0, 2.0], "wins_b": [0.0, 0.0]}
    probed, notes = matched(activations("1", "3"), targets("choices", ["1", "2", "3"], **chosen))
    assert probed.targets[0].values.rows() == [("1", "3", 2.0, 0.0)]
    assert "left out: 1 pairs of items that were chosen from, one of them without activations" in notes


def test_an_activation_that_is_no_number_is_refused_if_it_is_wanted():
    broken = activations("1", "2", "nan", "inf")
    assert matched(broken, targets("number", ["1", "2"], item=["1", "2"], value=[1, 2]))
    with pytest.raises(BadInput, match="at layer 16, response_mean: NaN or infinite for 1 of 2 items: nan"):
        matched(broken, targets("number", ["1", "nan"], item=["1", "nan"], value=[1, 2]))
    with pytest.raises(BadInput, match=r"a.npz and t.csv have no item in common: activations are of 1, 2, nan, \.\.\."):
        matched(broken, targets("number", ["7"], item=["7"], value=[1]))
