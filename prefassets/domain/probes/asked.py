"""Activations and targets as they are given, checked, and in the form that probes are fitted in."""

# N items

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.domain.probes.kinds import KINDS, Kind
from prefassets.domain.probes.observed import Choices, Observed, Values

Where = tuple[int, str]
NAMES_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is to be predicted of some or all of the items.

    `values` has, of a number or a binary target, `item` and `value` (binary: 0 or 1); of choices `item_a`, `item_b`,
    `wins_a`, `wins_b`, how many answers chose each. Empty values count as not given. With `shown_in_order`, item_a is
    the one that was shown first, and the probe of choices gets a term for that.
    """

    name: str
    kind: Literal["number", "binary", "choices"]
    values: pl.DataFrame
    shown_in_order: bool = False


@dataclass(frozen=True, kw_only=True)
class Probed:
    """Activations and what they are of.

    `activations` has, by layer and position, an N x D array with a row for each of `items`, in their order. `items` has
    `item`, once each, `unit`, what is held out and drawn again together, and may have `topic`, `origin`, `text` and
    `length` (at least 0, in any unit): the baselines and splits that want a column are left out without it.
    """

    activations: Mapping[Where, NDArray[np.float32]]
    items: pl.DataFrame
    targets: tuple[Target, ...]


@dataclass(frozen=True)
class Asked:
    """One target by places of items, and the kind of probe that is fitted to it."""

    target: Target
    kind: Kind
    observed: Observed


class NotProbed(ValueError):
    """A target that says nothing a probe could be fitted to; others go on."""


def in_order(probed: Probed) -> Probed:
    """`probed` with its items, and their activations, in the order of their names.

    Raises:
        ValueError: items are there twice or have no unit; there are no activations, a layer lacks a position that
            another has; or two targets share a name. And when a place's activations are asked for: an array is not of
            the items, or numbers in it are not finite.
    """
    items = probed.items
    if missing := {"item", "unit"} - set(items.columns):
        raise ValueError(f"probes: items have no column {sorted(missing)}; there are {items.columns}")
    items = items.with_columns(pl.col("item", "unit").cast(pl.String))
    if empty := items.filter(pl.col("item").is_null() | pl.col("unit").is_null()).height:
        raise ValueError(f"probes: {empty} of {len(items)} items have no name or no unit; each needs both")
    if (twice := items.filter(pl.col("item").is_duplicated())["item"].unique().sort()).len():
        raise ValueError(f"probes: {_some(twice.to_list())} there more than once; activations need one row per item")
    if not probed.activations:
        raise ValueError("probes: there are no activations; at least one layer and position is needed")
    there = set(probed.activations)  # whether a mapping has a place, it may only find out by reading it
    layers, positions = (sorted({where[of] for where in there}) for of in (0, 1))
    if gaps := [(layer, at) for layer in layers for at in positions if (layer, at) not in there]:
        raise ValueError(
            f"probes: no activations of layer {gaps[0][0]} at {gaps[0][1]}; layers {layers} each need {positions}"
        )
    if len({target.name for target in probed.targets}) < len(probed.targets) or not probed.targets:
        raise ValueError(f"probes: targets are {[target.name for target in probed.targets]}; each needs its own name")
    return replace(probed, items=items.sort("item"), activations=_InOrder(probed.activations, items["item"]))


class _InOrder(Mapping[Where, NDArray[np.float32]]):
    """Activations in the order of names. One place is kept, the last asked for; others are read and checked again."""

    def __init__(self, given: Mapping[Where, NDArray[np.floating]], items: pl.Series) -> None:
        self._given, self._items = given, items
        self._order = None if items.is_sorted() else items.arg_sort().to_numpy()
        self._kept: tuple[Where, NDArray[np.float32]] | None = None

    def __getitem__(self, where: Where) -> NDArray[np.float32]:
        if self._kept is None or self._kept[0] != where:
            self._kept = None
            found = self._given[where]
            self._refuse_broken(where, found)
            self._kept = (where, found if self._order is None else found[self._order])
        return self._kept[1]

    def __iter__(self) -> Iterator[Where]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)

    def _refuse_broken(self, where: Where, activations: NDArray[np.floating]) -> None:
        place, items = f"activations of layer {where[0]} at {where[1]}", self._items
        if activations.ndim != 2 or len(activations) != len(items) or not activations.shape[1]:
            raise ValueError(f"probes: {place} are {activations.shape}; wanted is a row for each of {len(items)} items")
        finite_N = np.isfinite(activations).all(axis=1)
        if not finite_N.all():
            wrong, first = int((~np.isfinite(activations)).sum()), items[int(np.argmin(finite_N))]
            raise ValueError(
                f"probes: {wrong} numbers of {int((~finite_N).sum())} items are NaN or infinite in {place}, the first "
                f"of {first}; extract them again (bfloat16 where float16 overflows), or leave those items out"
            )


def asked(target: Target, items: pl.DataFrame, folds: int, fold_N: NDArray[np.int64]) -> Asked:
    """One target in places of `items`, which are in order; `fold_N` has the fold of each item's unit.

    Raises:
        ValueError: columns are missing, an item is unknown or valued twice, or a value is none of its kind.
        NotProbed: the target is the same for all, or too few units have it.
    """
    place = {item: number for number, item in enumerate(items["item"].to_list())}
    named = ("item_a", "item_b") if target.kind == "choices" else ("item",)
    counted = ("wins_a", "wins_b") if target.kind == "choices" else ("value",)
    if target.kind not in KINDS:
        raise ValueError(f"target {target.name}: no kind of probe for {target.kind}; there are {', '.join(KINDS)}")
    if missing := sorted({*named, *counted} - set(target.values.columns)):
        raise ValueError(f"target {target.name} has no column {missing}; there are {target.values.columns}")
    values = target.values.select(pl.col(*named).cast(pl.String), pl.col(*counted).cast(pl.Float64)).drop_nulls()
    values = values.sort(*named, *counted)
    if unknown := sorted({item for column in named for item in values[column].to_list()} - set(place)):
        raise ValueError(f"target {target.name}: {_some(unknown)} not among the {len(place)} items with activations")
    places = [values[column].replace_strict(place, return_dtype=pl.Int64).to_numpy() for column in named]
    numbers = [values[column].to_numpy() for column in counted]
    if not all(np.isfinite(column).all() for column in numbers):
        wrong = values.filter(~pl.all_horizontal(pl.col(*counted).is_finite()))[named[0]][0]
        raise ValueError(f"target {target.name}: the value of {wrong} is NaN or infinite; leave it empty if unknown")
    observed = _choices(target, places, numbers) if target.kind == "choices" else _values(target, places, numbers)
    units = items["unit"].gather(observed.named).n_unique()
    if units < folds:
        raise NotProbed(f"{units} units have a value of {target.name}; {folds} folds need at least as many")
    inside_P = observed.fold_of(fold_N)
    if (held_out := len(np.unique(inside_P[inside_P >= 0]))) < min(3, folds):
        raise NotProbed(f"only {held_out} folds of units have {target.name} to hold out; at least 3 are needed")
    return Asked(target, KINDS[target.kind], observed)


def _values(target: Target, places: list[NDArray[np.int64]], numbers: list[NDArray[np.float64]]) -> Values:
    (items_P,), (values_P,) = places, numbers
    if len(np.unique(items_P)) < len(items_P):
        again = target.values.filter(pl.col("item").is_duplicated())["item"].cast(pl.String).unique().sort().to_list()
        raise ValueError(f"target {target.name}: {_some(again)} valued more than once; one value per item is needed")
    if target.kind == "binary" and not np.isin(values_P, (0, 1)).all():
        raise ValueError(
            f"target {target.name} is binary, but has values {np.unique(values_P)[:5]}; wanted are 0 and 1"
        )
    if not len(values_P):
        raise NotProbed(f"no item has a value of {target.name}")
    if np.ptp(values_P) <= 1e-12 * np.abs(values_P).max():
        raise NotProbed(f"{target.name} is {values_P[0]:g} for all {len(values_P)} items; a probe needs it to differ")
    return Values(items_P, values_P[:, None])


def _choices(target: Target, places: list[NDArray[np.int64]], numbers: list[NDArray[np.float64]]) -> Choices:
    (a_P, b_P), (wins_a_P, wins_b_P) = places, numbers
    if (wins_a_P < 0).any() or (wins_b_P < 0).any():
        raise ValueError(f"target {target.name} has negative numbers of answers")
    answered_P = (wins_a_P + wins_b_P > 0) & (a_P != b_P)
    if not answered_P.any():
        raise NotProbed(f"{target.name} has no answer that chose one of two items")
    return Choices(a_P[answered_P], b_P[answered_P], wins_a_P[answered_P], wins_b_P[answered_P], target.shown_in_order)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    if len(names) == 1:
        return f"{shown} is"
    return f"{shown} are" if len(names) <= NAMES_SHOWN else f"{shown} and {len(names) - NAMES_SHOWN} more are"
