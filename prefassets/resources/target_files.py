"""Files of what probes are to predict, as anyone has them: a CSV or Parquet table of items, or of choices, in."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from prefassets.domain.preferences.comparisons import CHOICES, WINS
from prefassets.domain.prism.released import BadInput
from prefassets.domain.probes.kinds import KINDS
from prefassets.domain.probes.suite import Target
from prefassets.resources.row_files import Place, csv_rows, is_empty, listed, parquet_rows, refuse

IDS = ("item", "task_id", "id")
TEXTS = ("topic", "origin", "text", "unit")
LENGTH = "length"
ABOUT = (*TEXTS, LENGTH)  # what a column of this name says is of the item, and no target
CHOSEN_FROM = (("item_a", "item_b"), ("task_a", "task_b"))


@dataclass(frozen=True)
class Targets:
    """What a file says of items: what is to be predicted, and what else it knows of them.

    `items` has a row per item of the file: `item`, `unit`, and of `topic`, `origin`, `text`, `length` those that the
    file has; of a file of choices, the items that were chosen from. `notes` tells what was left out, and how values
    were read.
    """

    file: Path
    items: pl.DataFrame
    targets: tuple[Target, ...]
    notes: list[str] = field(default_factory=list)


def read_targets(
    file: Path, wanted: Collection[str] = (), probes: Collection[str] = (), slot_bias: bool = False
) -> Targets:
    """The targets of a file; those columns only that are `wanted`, and for these kinds of probe, if any are named.

    A table of items names each by its column `item`, `task_id` or `id`, once. Its columns `topic`, `origin`, `text`,
    `length` and `unit` (what is held out together; otherwise each item by itself) are about the item; every other
    column of numbers, truth values, or two different values is a target, binary where it has two different values, of
    which the greater is 1. An empty value is missing.

    A table of choices has `item_a` and `item_b` (or `task_a`, `task_b`) and either `choice` (a, b, refusal or
    unparseable; only a and b are wins) or `wins_a` and `wins_b`. Its one target is `choices`; with `slot_bias`, what
    stands first was shown first, and that is fitted too.

    Raises:
        BadInput: naming file, line and column: it is no such file, a column is missing, an item is empty or stands
            twice, a value is none that was wanted.
    """
    readers = {".csv": csv_rows, ".parquet": parquet_rows}
    if file.suffix not in readers:
        raise BadInput(f"{file}: a file of targets ends in {' or '.join(readers)}; this one ends in {file.suffix!r}.")
    if not file.is_file():
        raise BadInput(f"{file} does not exist; a file of targets was wanted.")
    rows, place = readers[file.suffix](file)
    if rows.is_empty():
        raise BadInput(f"{file} holds no rows.")
    rows = rows.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String))
    for sides in CHOSEN_FROM:
        if set(sides) <= set(rows.columns):
            found = _choices(file, rows, place, sides, wanted, slot_bias)
            break
    else:
        if slot_bias:
            raise BadInput(f"{file} holds no choices ({' and '.join(CHOSEN_FROM[0])}), so nothing was shown first.")
        found = _values(file, rows, place, wanted)
    return _probed_by(file, found, probes) if probes else found


def _probed_by(file: Path, found: Targets, probes: Collection[str]) -> Targets:
    """Those targets that probes of these kinds are fitted to."""
    kinds = {kind.name: target for target, kind in KINDS.items()}
    for name in probes:
        if name not in kinds:
            raise BadInput(f"there is no kind of probe {name!r}; there are {', '.join(kinds)}.")
    of_kind = {kinds[name] for name in probes}
    kept = tuple(target for target in found.targets if target.kind in of_kind)
    others = [f"{target.name} ({KINDS[target.kind].name})" for target in found.targets if target.kind not in of_kind]
    if not kept:
        raise BadInput(f"{file} has no target for {' or '.join(probes)}; there is {', '.join(others)}.")
    left = [f"left out, not for {' or '.join(probes)}: {', '.join(others)}"] if others else []
    return Targets(file, found.items, kept, [*found.notes, *left])


# ---- a row per item


def _values(file: Path, rows: pl.DataFrame, place: Place, wanted: Collection[str]) -> Targets:
    there = listed(rows.columns)
    name = next((name for name in IDS if name in rows.columns), None)
    if name is None:
        raise BadInput(
            f"{file}: what names the items was wanted, as {', '.join(IDS)}, or choices between two, as "
            f"{' and '.join(CHOSEN_FROM[0])}; there is {there}."
        )
    rows = rows.with_columns(pl.col(name).cast(pl.String))
    refuse(file, rows, name, is_empty(name), place, "what names the item was wanted")
    refuse(file, rows, name, ~pl.col(name).is_first_distinct(), place, "each item has one row; it stands further up")
    items = _about(file, rows, place, name)
    others = [column for column in rows.columns if column and column not in (name, *ABOUT)]
    for column in wanted:
        if column not in others:
            raise BadInput(f"{file} has no target {column!r}; there is {listed(others) or 'none'}.")
    notes: list[str] = []
    targets = []
    for column in wanted or others:
        values = _numbers(file, rows, column, place, column in wanted, notes)
        if values is not None:
            target, how = _target(column, items["item"], *values)
            targets.append(target)
            notes += how
    if not targets:
        raise BadInput(
            "; ".join(
                [
                    f"{file}: a target was wanted, a column of numbers or of two different values; there is {there}",
                    *notes,
                ]
            )
            + "."
        )
    return Targets(file, items, tuple(targets), notes)


def _about(file: Path, rows: pl.DataFrame, place: Place, name: str) -> pl.DataFrame:
    """What the file says of each item beside targets; an item is its own unit where it names none."""
    texts = [column for column in TEXTS if column in rows.columns]
    rows = rows.with_columns(pl.col(texts).cast(pl.String))
    about = rows.select(
        pl.col(name).alias("item"),
        *(pl.when(~is_empty(column)).then(pl.col(column)).alias(column) for column in texts),
    )
    if "unit" in texts:
        refuse(
            file, about, "unit", pl.col("unit").is_null(), place, "the item's unit was wanted, as the others have one"
        )
    else:
        about = about.with_columns(unit="item")
    if LENGTH in rows.columns:
        numbers = rows[LENGTH].cast(pl.Float64, strict=False)
        wrong = numbers.is_null() & rows.select(pl.col(LENGTH).cast(pl.String)).select(~is_empty(LENGTH)).to_series()
        wrong |= (~numbers.is_finite() | (numbers < 0)).fill_null(False)
        refuse(file, rows, LENGTH, wrong, place, "a number of 0 or more was wanted, or nothing")
        about = about.with_columns(numbers)
    elif "text" in texts:
        about = about.with_columns(pl.col("text").str.len_chars().cast(pl.Float64).alias(LENGTH))
    return about


def _numbers(
    file: Path, rows: pl.DataFrame, column: str, place: Place, asked: bool, notes: list[str]
) -> tuple[pl.Series, str, str] | None:
    """A target's numbers, with the words for 0 and 1 where it is binary; None, and a note, if it is no target."""
    values = rows[column]
    if values.dtype == pl.Boolean:
        return values.cast(pl.Float64), "false", "true"
    if values.dtype == pl.String:
        values = values.str.strip_chars().replace("", None)
    elif not values.dtype.is_numeric():
        if asked:
            raise BadInput(f"{file}, column {column}: numbers were wanted; it is {values.dtype}.")
        notes.append(f"{column} is no target: it is {values.dtype}")
        return None
    numbers = values.cast(pl.Float64, strict=False)
    present = values.is_not_null().sum()
    read = numbers.is_not_null().sum()
    if values.dtype == pl.String and read < present:
        words = values.drop_nulls().unique().sort().to_list()
        if not read and len(words) == 2:
            return (values == words[1]).cast(pl.Float64), *words
        if asked or read > present / 2:
            refuse(
                file, rows, column, values.is_not_null() & numbers.is_null(), place, "a number was wanted, or nothing"
            )
        notes.append(f"{column} is no target: it is text, of {len(words):,} different values")
        return None
    refuse(file, rows, column, ~numbers.is_finite(), place, "a number was wanted, or nothing where there is none")
    if not present:
        if asked:
            raise BadInput(f"{file}, column {column}: numbers were wanted; it is empty throughout.")
        notes.append(f"{column} is no target: it is empty throughout")
        return None
    different = numbers.drop_nulls().unique().sort()
    if len(different) != 2:
        return numbers, "", ""
    low, high = different
    return (numbers == high).cast(pl.Float64), f"{low:g}", f"{high:g}"


def _target(name: str, items: pl.Series, values: pl.Series, zero: str, one: str) -> tuple[Target, list[str]]:
    """The target of these values, and what must be known of how they were read."""
    rows = pl.DataFrame({"item": items, "value": values})
    known = rows.drop_nulls()
    notes = []
    if one and (zero, one) not in (("0", "1"), ("false", "true")):
        notes.append(f"{name} is binary: 1 is {one}, 0 is {zero}")
    if missing := len(rows) - len(known):
        notes.append(f"{name} is empty for {missing:,} of {len(rows):,} items")
    return Target(name=name, kind="binary" if one else "number", values=known), notes


# ---- a row per choice


def _choices(
    file: Path, rows: pl.DataFrame, place: Place, sides: tuple[str, str], wanted: Collection[str], slot_bias: bool
) -> Targets:
    if absent := [name for name in wanted if name != "choices"]:
        raise BadInput(f"{file} has no target {absent[0]!r}; it is a file of choices, whose one target is `choices`.")
    rows = rows.with_columns(pl.col(sides).cast(pl.String))
    for side in sides:
        refuse(file, rows, side, is_empty(side), place, "what names the item was wanted")
    notes = []
    if "choice" in rows.columns:
        as_read = pl.col("choice").cast(pl.String).str.strip_chars().str.to_lowercase()
        unknown = as_read.is_null() | ~as_read.is_in(CHOICES)
        refuse(file, rows, "choice", unknown, place, f"one of {', '.join(CHOICES)} was wanted")
        rows = rows.with_columns(as_read)
        for outcome, count in rows.filter(~pl.col("choice").is_in(WINS)).group_by("choice").len().sort("choice").rows():
            notes.append(f"{count:,} of {len(rows):,} choices are {outcome}: a win for neither item")
        wins = [(pl.col("choice") == win).cast(pl.Float64) for win in WINS]
    elif {"wins_a", "wins_b"} <= set(rows.columns):
        wins = [pl.col(name).cast(pl.Float64, strict=False) for name in ("wins_a", "wins_b")]
        for name, number in zip(("wins_a", "wins_b"), wins, strict=True):
            wrong = number.is_null() | ~number.is_finite() | (number < 0)
            refuse(file, rows, name, wrong, place, "how often the item was chosen was wanted, 0 or more")
    else:
        raise BadInput(
            f"{file}: beside {' and '.join(sides)}, choice was wanted, or wins_a and wins_b; there is "
            f"{listed(rows.columns)}."
        )
    rows = rows.select(item_a=pl.col(sides[0]), item_b=pl.col(sides[1]), wins_a=wins[0], wins_b=wins[1])
    same = rows["item_a"] == rows["item_b"]
    if same.any():
        notes.append(f"left out: {same.sum():,} choices between an item and itself")
    won = (
        rows.filter(~same)
        .group_by("item_a", "item_b", maintain_order=True)
        .agg(pl.col("wins_a", "wins_b").sum())
        .filter(pl.col("wins_a") + pl.col("wins_b") > 0)
    )
    if won.is_empty():
        raise BadInput("; ".join([f"{file}: choices between two items were wanted, there is none", *notes]) + ".")
    items = pl.concat([won["item_a"], won["item_b"]]).unique(maintain_order=True)
    target = Target(name="choices", kind="choices", values=won, shown_in_order=slot_bias)
    return Targets(file, pl.DataFrame({"item": items, "unit": items}), (target,), notes)
