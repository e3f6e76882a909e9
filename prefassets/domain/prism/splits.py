"""The splits: which users are in group A, which in B, which in neither.

A new split is one entry of `SPLITS`, and nothing else. Ten are those of the reports (2026-02-23, v1, and 2026-02-24,
v2 and v3); the placebo splits are random halves, in which there is nothing to find.
"""

import hashlib
from dataclasses import dataclass

import polars as pl

YOUNG = ["18-24 years old", "25-34 years old"]
OLDER = ["35-44 years old", "45-54 years old", "55-64 years old", "65+ years old"]
BACHELOR_OR_MORE = ["University Bachelors Degree", "Graduate / Professional degree"]
BELOW_BACHELOR = [
    "Some Primary",
    "Completed Primary School",
    "Some Secondary",
    "Completed Secondary School",
    "Vocational",
    "Some University but no degree",
]


@dataclass(frozen=True, eq=False)
class Split:
    """A rule that puts each user in group A, group B or neither.

    `in_a` and `in_b` are expressions over `prism.users` cut to the users with pairs, so a median is over those users.
    Where an expression is null (a preference that was not stated) the user is in neither. A `placebo` puts users in A
    or B blindly: what an instrument finds between its groups is what it finds where nothing is.
    """

    name: str
    group_a: str
    group_b: str
    rule: str
    in_a: pl.Expr
    in_b: pl.Expr
    placebo: bool = False


def _stated(name: str) -> Split:
    column = f"stated_{name}"
    return Split(
        name=name,
        group_a=f"high stated {name}",
        group_b=f"low stated {name}",
        rule=f"stated importance of {name} at or above the median of users with pairs is A, below B; unstated: neither",
        in_a=pl.col(column) >= pl.col(column).median(),
        in_b=pl.col(column) < pl.col(column).median(),
    )


PLACEBOS = 8


def _placebo(number: int) -> Split:
    name = f"placebo_{number}"

    def first_half(user_ids: pl.Series) -> pl.Series:
        hashes = (hashlib.sha256(f"{name} {user_id}".encode()).digest() for user_id in user_ids)
        return pl.Series([first_byte < 128 for first_byte, *_ in hashes], dtype=pl.Boolean)

    in_a = pl.col("user_id").map_batches(first_half, return_dtype=pl.Boolean)
    return Split(
        name=name,
        group_a="one random half",
        group_b="the other random half",
        rule=f"placebo: SHA-256 of '{name} <user_id>' begins with bit 0 is A, with bit 1 B",
        in_a=in_a,
        in_b=~in_a,
        placebo=True,
    )


SPLITS: dict[str, Split] = {
    split.name: split
    for split in (
        Split(
            name="age",
            group_a="young (18-34)",
            group_b="older (35+)",
            rule="18 to 34 years is A, 35 or more B; prefer not to say: neither",
            in_a=pl.col("age").is_in(YOUNG),
            in_b=pl.col("age").is_in(OLDER),
        ),
        Split(
            name="education",
            group_a="bachelor's degree or more",
            group_b="below a bachelor's degree",
            rule="a bachelor's, graduate or professional degree is A, less is B; prefer not to say: neither",
            in_a=pl.col("education").is_in(BACHELOR_OR_MORE),
            in_b=pl.col("education").is_in(BELOW_BACHELOR),
        ),
        _stated("personalisation"),
        _stated("safety"),
        _stated("factuality"),
        _stated("helpfulness"),
        _stated("diversity"),
        Split(
            name="familiarity",
            group_a="very familiar with language models",
            group_b="somewhat or not at all familiar",
            rule="very familiar is A, somewhat or not at all familiar B",
            in_a=pl.col("familiarity") == "Very familiar",
            in_b=pl.col("familiarity").is_in(["Somewhat familiar", "Not familiar at all"]),
        ),
        Split(
            name="behavioral",
            group_a="high discriminators",
            group_b="low discriminators",
            rule="mean score gap of the user's pairs at or above the median of users with pairs is A, below B",
            in_a=pl.col("mean_score_gap") >= pl.col("mean_score_gap").median(),
            in_b=pl.col("mean_score_gap") < pl.col("mean_score_gap").median(),
        ),
        Split(
            name="region",
            group_a="lives in Europe",
            group_b="lives in the Americas",
            rule="UN region of residence Europe is A, Americas B; any other: neither",
            in_a=pl.col("region") == "Europe",
            in_b=pl.col("region") == "Americas",
        ),
        *(_placebo(number) for number in range(1, PLACEBOS + 1)),
    )
}


def assign(users: pl.DataFrame) -> pl.DataFrame:
    """Apply every split to every user with pairs.

    Args:
        users: the table `prism.users`. Users without pairs are left out: there is nothing to learn from them, and
            they must not move a median.

    Returns:
        `split`, `user_id`, `user_group` (`A`, `B`, or null for neither) and `rule`; one row per split and user, splits
        in the order of `SPLITS`.

    Raises:
        ValueError: a split puts a user in both groups.
    """
    with_pairs = users.filter(pl.col("pairs") > 0)
    return pl.concat([_assign(split, with_pairs) for split in SPLITS.values()])


def _assign(split: Split, users: pl.DataFrame) -> pl.DataFrame:
    if both := len(users.filter(split.in_a & split.in_b)):
        raise ValueError(f"split {split.name} puts {both} users in both groups; a user is in A, in B or in neither")
    return users.select(
        pl.lit(split.name).alias("split"),
        "user_id",
        pl.when(split.in_a).then(pl.lit("A")).when(split.in_b).then(pl.lit("B")).alias("user_group"),
        pl.lit(split.rule).alias("rule"),
    )
