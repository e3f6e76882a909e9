"""By what battles are told apart, to see where a predictor is right and where it is not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.domain.arena.recipe import WINNERS

FEWEST_OF_A_PAIR = 20
OTHER_PAIRS = "other pairs"
LENGTHS = ("A over twice as long", "A longer", "within 10 %", "B longer", "B over twice as long")
TURNS = ("1", "2", "3 or more")
ANSWERS = ("one is empty", "equal", "different")


@dataclass(frozen=True)
class Kind:
    """One way to tell battles apart: an expression over BATTLE_COLUMNS, and its values in their order.

    Without `values`, they are what there is, by name, with what is left over last.
    """

    value: pl.Expr
    values: Sequence[str] | None = None


def _length() -> pl.Expr:
    """By characters of all answers. Within 10 %: the longer has at most 1.1 times the characters of the shorter."""
    a, b = pl.col("length_a"), pl.col("length_b")
    return (
        pl.when(a > 2 * b)
        .then(pl.lit(LENGTHS[0]))
        .when(b > 2 * a)
        .then(pl.lit(LENGTHS[4]))
        .when(10 * a > 11 * b)
        .then(pl.lit(LENGTHS[1]))
        .when(10 * b > 11 * a)
        .then(pl.lit(LENGTHS[3]))
        .otherwise(pl.lit(LENGTHS[2]))
    )


def _turns() -> pl.Expr:
    return pl.when(pl.col("turns") >= 3).then(pl.lit(TURNS[2])).otherwise(pl.col("turns").cast(pl.String))


def _models() -> pl.Expr:
    """The pair, whichever of the two was A; a model that meets itself is a pair too."""
    in_order = pl.col("model_a") <= pl.col("model_b")
    first = pl.when(in_order).then("model_a").otherwise("model_b")
    second = pl.when(in_order).then("model_b").otherwise("model_a")
    pair = pl.concat_str(first, second, separator=" vs ")
    return pl.when(pl.len().over(pair) >= FEWEST_OF_A_PAIR).then(pair).otherwise(pl.lit(OTHER_PAIRS))


def _answers() -> pl.Expr:
    """A side is empty if none of its answers has anything but white space; two empty sides are equal."""

    def empty(side: str) -> pl.Expr:
        return pl.col(side).list.eval(pl.element().str.strip_chars() == "").list.all()

    a, b = empty("answers_a"), empty("answers_b")
    return (
        pl.when(a != b)
        .then(pl.lit(ANSWERS[0]))
        .when((a & b) | (pl.col("answers_a") == pl.col("answers_b")))
        .then(pl.lit(ANSWERS[1]))
        .otherwise(pl.lit(ANSWERS[2]))
    )


KINDS: Mapping[str, Kind] = {
    "winner": Kind(pl.col("winner"), WINNERS),
    "length": Kind(_length(), LENGTHS),
    "turns": Kind(_turns(), TURNS),
    "models": Kind(_models()),
    "answers": Kind(_answers(), ANSWERS),
}


def told_apart(battles: pl.DataFrame) -> dict[str, dict[str, NDArray[np.int64]]]:
    """By kind and value, the row numbers of the battles that are so, ascending.

    Args:
        battles: BATTLE_COLUMNS.

    Returns:
        Only values that occur, in their order.
    """
    found = {}
    for name, kind in KINDS.items():
        value = battles.select(kind.value).to_series()
        values = kind.values or sorted(value.unique(), key=lambda one: (one == OTHER_PAIRS, one))
        rows = {one: np.flatnonzero((value == one).to_numpy()) for one in values}
        found[name] = {one: some for one, some in rows.items() if len(some)}
    return found
