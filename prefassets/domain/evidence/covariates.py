"""The user covariates of the evidence models, and the columns that they give each pair.

`COVARIATES` is the one place that says which covariates the models have, against what each category is read, and which
split asks about which covariate.
"""

# n pairs, k columns

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.domain.evidence.fit import Array
from prefassets.domain.prism.released import PREFER_NOT
from prefassets.domain.prism.users import STATED

# A category of one user gets a clustered error of about zero (the user's scores add up to zero at the optimum), and one
# of a few users an error that is too small. Education's reference has some 16 users at full size, and intervals hold
# what they should (benchmarks.evidence); ten keeps smaller data usable.
FEWEST_USERS = 10
PER_POINT = "per point"


@dataclass(frozen=True)
class Covariate:
    """What is known of a user: a category (`levels`, the reference first) or a number (no levels).

    `split` is the split of `prefassets/domain/prism/splits.py` that asks about it, if one does. `merged` names answers
    that count as another level.
    """

    name: str
    split: str | None = None
    levels: tuple[str, ...] = ()
    merged: Mapping[str, str] = field(default_factory=dict)

    def of(self, users: pl.DataFrame) -> pl.Series:
        """Each user's value; null where the user did not give one, or gave one that is no level."""
        if not self.levels:
            return users[self.name].cast(pl.Float64)
        answers = users[self.name].replace(dict(self.merged))
        return users.select(pl.when(answers.is_in(self.levels)).then(answers).alias(self.name)).to_series()


COVARIATES: dict[str, Covariate] = {
    covariate.name: covariate
    for covariate in (
        Covariate(
            "age",
            "age",
            (
                "18-24 years old",
                "25-34 years old",
                "35-44 years old",
                "45-54 years old",
                "55-64 years old",
                "65+ years old",
            ),
        ),
        Covariate(
            "education",
            "education",
            (
                "Completed Primary School",
                "Some Secondary",
                "Completed Secondary School",
                "Vocational",
                "Some University but no degree",
                "University Bachelors Degree",
                "Graduate / Professional degree",
            ),
            {"Some Primary": "Completed Primary School"},  # 3 of PRISM's 1,500 users
        ),
        Covariate("gender", None, ("Male", "Female", "Non-binary / third gender")),
        Covariate("region", "region", ("Americas", "Europe", "Africa", "Asia", "Oceania")),
        Covariate("familiarity", "familiarity", ("Not familiar at all", "Somewhat familiar", "Very familiar")),
        *(
            Covariate(
                f"stated_{name}",
                name if name in ("factuality", "diversity", "safety", "personalisation", "helpfulness") else None,
            )
            for name in STATED
        ),
    )
}

EXCLUDED_SPLITS = {  # split -> why no model of score gaps may test it
    "behavioral": "circular: the groups are computed from the score gaps that the models explain",
}


@dataclass(frozen=True)
class Term:
    """One column of a design: a category against its covariate's reference, or a number per point."""

    covariate: str
    term: str
    reference: str | None = None

    def __str__(self) -> str:
        return f"{self.covariate}: {self.term}"


@dataclass(frozen=True)
class Design:
    """Columns for the pairs that have every value, and what became of the others.

    Attributes:
        terms: what each column is.
        values_nk: 0 or 1 for categories, points (0-100) for stated importance.
        kept: of all pairs that were given, which are here.
        left_out: terms that get no column -> why.
        dropped: reason -> number of pairs dropped for it (the first reason that applies).
    """

    terms: tuple[Term, ...]
    values_nk: Array
    kept: NDArray[np.bool_]
    left_out: Mapping[Term, str]
    dropped: Mapping[str, int]

    def columns_of(self, covariate: str) -> list[int]:
        """Positions of the columns of one covariate."""
        return [position for position, term in enumerate(self.terms) if term.covariate == covariate]


def design(user_of_pair: pl.Series, users: pl.DataFrame, covariates: Sequence[str]) -> Design:
    """The columns of `covariates` for each pair.

    Who prefers not to say is dropped, pair by pair, and counted: they are 1 to 9 of PRISM's 1,500 users per question,
    too few for a category of their own (see `FEWEST_USERS`), and to put them with the reference would invent an answer.
    Categories of fewer than `FEWEST_USERS` users with pairs are dropped and counted likewise, and the first level that
    is left is the reference. A covariate that nobody gave, or that is the same for all, gets no column.

    Args:
        user_of_pair: the user_id of each pair.
        users: the table `prism.users`, one row per user.
        covariates: names of `COVARIATES`, in the order in which the columns shall stand.

    Raises:
        ValueError: a pair belongs to a user who is not in `users`.
    """
    chosen = [COVARIATES[name] for name in covariates]
    per_user = users.select("user_id", *(covariate.of(users).alias(covariate.name) for covariate in chosen))
    pairs = user_of_pair.alias("user_id").to_frame().join(per_user, on="user_id", how="left", maintain_order="left")
    if unknown := sorted(set(user_of_pair) - set(users["user_id"])):
        raise ValueError(f"{len(unknown)} users with pairs are not in prism.users, the first {unknown[0]!r}")

    left_out: dict[Term, str] = {}
    for covariate in [covariate for covariate in chosen if pairs[covariate.name].is_null().all()]:
        left_out |= dict.fromkeys(_all_terms(covariate), "nobody with pairs gave a value")
        chosen.remove(covariate)

    kept, dropped = pl.repeat(True, len(pairs), eager=True), {}
    reasons = [(f"{c.name}: {PREFER_NOT.lower()}", pairs[c.name].is_not_null()) for c in chosen]
    while reasons:
        for reason, remains in reasons:
            dropped[reason] = int((kept & ~remains).sum())
            kept = kept & remains
        reasons = _rare(pairs, chosen, kept, left_out)

    terms: list[Term] = []
    columns: list[NDArray] = []
    found = pairs.filter(kept)
    for covariate in chosen:
        for term, column in _columns(covariate, found[covariate.name], left_out):
            terms.append(term)
            columns.append(column)
    values_nk = np.column_stack(columns) if columns else np.empty((len(found), 0))
    return Design(
        tuple(terms),
        values_nk,
        kept.to_numpy(),
        left_out,
        {reason: pairs for reason, pairs in dropped.items() if pairs},
    )


def _all_terms(covariate: Covariate) -> list[Term]:
    if not covariate.levels:
        return [Term(covariate.name, PER_POINT)]
    reference, *others = covariate.levels
    return [Term(covariate.name, level, reference) for level in others]


def _rare(
    pairs: pl.DataFrame, covariates: Sequence[Covariate], kept: pl.Series, left_out: dict[Term, str]
) -> list[tuple[str, pl.Series]]:
    """Categories of a few users, with the pairs that remain without them; notes their terms in `left_out`."""
    reasons = []
    for covariate in covariates:
        counts = pairs.filter(kept).group_by(covariate.name).agg(pl.col("user_id").n_unique())
        of_level = dict(counts.iter_rows())
        for level in covariate.levels:
            if 0 < of_level.get(level, 0) < FEWEST_USERS:
                why = f"fewer than {FEWEST_USERS} users"
                left_out[Term(covariate.name, level)] = f"{why}; their pairs are left out"
                reasons.append((f"{covariate.name}: {level} has {why}", pairs[covariate.name] != level))
    return reasons


def _columns(covariate: Covariate, values: pl.Series, left_out: dict[Term, str]) -> list[tuple[Term, NDArray]]:
    if not covariate.levels:
        if values.n_unique() > 1:
            return [(Term(covariate.name, PER_POINT), values.to_numpy())]
        left_out[Term(covariate.name, PER_POINT)] = "every pair has the same value"
        return []
    present = [level for level in covariate.levels if (values == level).any()]
    noted = {term.term for term in left_out if term.covariate == covariate.name}
    for level in covariate.levels:
        if level not in present and level not in noted:
            left_out[Term(covariate.name, level)] = "no pair that has every value has this one"
    if len(present) < 2:
        left_out |= {Term(covariate.name, level): "every pair has the same value" for level in present}
        return []
    reference, *others = present
    return [(Term(covariate.name, level, reference), (values == level).cast(pl.Float64).to_numpy()) for level in others]
