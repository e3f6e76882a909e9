"""`verdicts.change_noise`: pairs of studies that differ by noise alone, labelled by the SQL that labels real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl

from prefassets.domain.training.recipe import digest
from prefassets.resources.sql_tables import run_sql
from prefassets.resources.tables import TABLES
from prefassets.studies.study import Expected, Study

if TYPE_CHECKING:
    from prefassets.domain.inference.change_noise import SeedSpread, UserSpread

TABLE = "verdicts.change_noise"
READS = ("verdicts.label_change", "verdicts.contrast", "verdicts.estimate", "verdicts.scored_users")
DRAWS = 20_000  # an eighth of them with the label before, 2,500, would tell a probability to .01

_LABELS = """
    select split, readout, expected, before_label, change <> 'no direction expected' as counts
    from verdicts.label_change where study = $study order by readout, split
"""
_DIFFERENCES = """
    select split, readout, study = $study as is_after, seed, difference_pp,
        if(pairs_a = pairs_b, 100 / pairs_a, null) as step_pp
    from verdicts.contrast where study in ($study, $other) and metric = 'pref_acc' order by all
"""
_USERS = """
    select
        split, quantity, study = $study as is_after,
        user_sd as user_sd_pp, user_by_seed_sd as user_by_seed_sd_pp, seeds, users_a + users_b as users
    from verdicts.estimate
    where metric = 'pref_acc' and user_sd is not null
      and ((study = $study and quantity in ('contrast', 'change')) or (study = $other and quantity = 'contrast'))
    order by all
"""
_COMMON_USERS = """
    select split, count(*) as users from (
        select split, user_id from verdicts.scored_users where study = $study and adapter = user_group
        intersect
        select split, user_id from verdicts.scored_users where study = $other and adapter = user_group
    ) group by split order by split
"""

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Repeated:
    """What a home has of a study and of the one that it repeats: all that `change_noise` needs."""

    study: str
    labels: Rows
    differences: Rows
    users: Rows
    common_users: Rows

    @property
    def digest(self) -> str:
        return digest(asdict(self) | {"draws": DRAWS})


def read_repeated(connection: duckdb.DuckDBPyConnection, study: Study) -> Repeated:
    """From the tables `READS` of `connection`; without labels if `study` repeats no other or either has none."""

    def rows(sql: str, **parameters: str) -> Rows:
        return connection.sql(sql, params=parameters).pl().to_dicts()

    labels = rows(_LABELS, study=study.name)
    if study.variant_of is None or not labels:
        return Repeated(study.name, labels=[], differences=[], users=[], common_users=[])
    names = {"study": study.name, "other": study.variant_of}
    return Repeated(
        study=study.name,
        labels=labels,
        differences=rows(_DIFFERENCES, **names),
        users=rows(_USERS, **names),
        common_users=rows(_COMMON_USERS, **names),
    )


def change_noise(repeated: Repeated) -> pl.DataFrame:
    """The rows of `verdicts.change_noise` of one study."""
    from prefassets.domain.inference.change_noise import seed_spread  # numpy: only where it is used

    answered = cache(_answer)
    found = []
    for readout in dict.fromkeys(label["readout"] for label in repeated.labels):
        labels = [label for label in repeated.labels if label["readout"] == readout]
        by_seed = {label["split"]: _by_seed(repeated, label["split"], readout) for label in labels}
        users = {label["split"]: _users(repeated, label["split"], readout) for label in labels}
        known = [spread.change_variance for spread in users.values() if spread]
        seeds = seed_spread(
            [before for before, _ in by_seed.values()],
            [after for _, after in by_seed.values()],
            sum(known) / len(known) if known else 0.0,
        )
        for label in labels:
            if label["counts"]:
                before, after = by_seed[label["split"]]
                answer = answered(
                    label["expected"],
                    label["before_label"],
                    tuple(before),
                    tuple(after),
                    users[label["split"]],
                    seeds,
                    _step(repeated, label["split"], readout),
                )
                found.append(
                    {
                        "study": repeated.study,
                        "split": label["split"],
                        "readout": readout,
                        "before_label": label["before_label"],
                        "digest": repeated.digest,
                        **answer,
                    }
                )
    return pl.DataFrame(found, schema=TABLES[TABLE].schema)


def _by_seed(repeated: Repeated, split: str, readout: str) -> tuple[dict[int, float], dict[int, float]]:
    """A - B by seed, before and after."""
    of: tuple[dict[int, float], dict[int, float]] = ({}, {})
    for row in repeated.differences:
        if (row["split"], row["readout"]) == (split, readout):
            of[row["is_after"]][row["seed"]] = row["difference_pp"]
    return of


def _users(repeated: Repeated, split: str, readout: str) -> UserSpread | None:
    """None if the spread of the held-out users of either study is not known. The tail has other pairs at each seed."""
    from prefassets.domain.inference.change_noise import Known, UserSpread, user_spread

    if readout == "tail":
        return UserSpread()
    of = {
        (row["quantity"], row["is_after"]): Known(**{field.name: row[field.name] for field in fields(Known)})
        for row in repeated.users
        if row["split"] == split
    }
    before, after = of.get(("contrast", False)), of.get(("contrast", True))
    if before is None or after is None:
        return None
    common = next((row["users"] for row in repeated.common_users if row["split"] == split), 0)
    return user_spread(before, after, of.get(("change", True)), common)


def _step(repeated: Repeated, split: str, readout: str) -> float | None:
    steps = {row["step_pp"] for row in repeated.differences if (row["split"], row["readout"]) == (split, readout)}
    return steps.pop() if len(steps) == 1 else None


def _answer(
    expected: str,
    before_label: str,
    before_seeds: tuple[int, ...],
    after_seeds: tuple[int, ...],
    users: UserSpread | None,
    seeds: SeedSpread | None,
    step_pp: float | None,
) -> dict[str, object]:
    """What becomes of this label where nothing but noise is. Equal questions have equal answers."""
    if users is None or seeds is None:
        why = "no split has two seeds in one study, so the spread between seeds is unknown"
        if users is None:
            why = "the spread of the held-out users is unknown in one study, see verdicts.estimate"
        return {"noise_better": None, "noise_worse": None, "draws": 0, "note": why}
    import numpy as np

    from prefassets.domain.inference.change_noise import simulate

    simulated = simulate(before_seeds, after_seeds, users, seeds, DRAWS, np.random.default_rng(0), step_pp)
    changes = _changes(expected, *simulated)
    alike = changes.filter(before_label=before_label)["change"]
    return {
        "noise_better": alike.is_in(["FIXED", "IMPROVED"]).mean(),
        "noise_worse": (alike == "WORSE").mean(),
        "draws": len(alike),
        "between_seeds_sd_pp": seeds.between_pp,
        "own_seed_sd_pp": seeds.own_pp,
        "before_user_sd_pp": users.before_pp,
        "after_user_sd_pp": users.after_pp,
        "user_correlation": users.correlation,
        "note": "" if len(alike) else f"noise never gave {before_label} before",
    }


def _changes(expected: str, before: Mapping[int, Any], after: Mapping[int, Any]) -> pl.DataFrame:
    """`verdicts.label_change` of simulated differences by seed, each draw a split of its own."""
    draws = pl.Series("split", range(DRAWS)).cast(pl.String)
    contrast = pl.concat(
        pl.DataFrame({"split": draws, "difference_pp": value_D}).with_columns(
            study=pl.lit(study), seed=seed, readout=pl.lit("tail"), metric=pl.lit("pref_acc")
        )
        for study, by_seed in (("before", before), ("after", after))
        for seed, value_D in by_seed.items()
    )
    asked = Expected(expected)
    split = pl.concat(
        pl.DataFrame({"split": draws}).with_columns(
            study=pl.lit(study),
            role=pl.lit(asked.role),
            expected=pl.lit(asked.value),
            expected_sign=pl.lit(asked.sign),
            seeds_planned=len(by_seed),
        )
        for study, by_seed in (("before", before), ("after", after))
    )
    study = pl.DataFrame({"study": ["before", "after"], "variant_of": [None, "before"]})
    return run_sql(
        "verdicts.label_change", {"verdicts.contrast": contrast, "studies.split": split, "studies.study": study}
    )
