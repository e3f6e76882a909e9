"""Which user is in group A, B or neither of each split, and how alike the groups are in all else."""

from collections.abc import Iterator
from dataclasses import asdict

import dagster as dg

from prefassets.assets.declared import declared
from prefassets.domain.prism.balance import (
    EXPOSURE_RATIO,
    balance,
    covariate_balance,
    exposure,
    sample_ratio,
    source_mix,
    source_models,
)
from prefassets.domain.prism.splits import assign
from prefassets.domain.training.recipe import digest
from prefassets.resources.cells import group_sizes
from prefassets.resources.store import Store
from prefassets.studies import all_studies

GROUP = "splits"
NOT_BY_CHANCE = 0.001  # below this p, users were not dealt out as was meant (sample-ratio mismatch)


@dg.asset(**declared("splits.assignments"), deps=[["prism", "users"]], group_name=GROUP, kinds={"polars"})
def assignments(store: Store) -> dg.MaterializeResult:
    """Every split of `domain/prism/splits.py` applied to every user with pairs."""
    rows = assign(store.read("prism.users"))
    return store.replace("splits.assignments", rows, metadata={"splits": rows["split"].n_unique()})


@dg.asset(
    **declared("splits.balance"),
    deps=[["splits", "assignments"], ["prism", "pairs"]],
    group_name=GROUP,
    kinds={"polars"},
)
def group_balance(store: Store) -> dg.MaterializeResult:
    """Users and pairs of each group."""
    return store.replace("splits.balance", balance(store.read("splits.assignments"), store.read("prism.pairs")))


@dg.asset(
    **declared("splits.covariate_balance"),
    deps=[["splits", "assignments"], ["prism", "users"]],
    group_name=GROUP,
    kinds={"polars"},
)
def covariates_of_groups(store: Store) -> dg.MaterializeResult:
    """Standardised differences of every covariate between A and B; the metadata count those above .1."""
    rows = covariate_balance(store.read("splits.assignments"), store.read("prism.users"))
    imbalanced = rows.filter("imbalanced").group_by("split", maintain_order=True).len()
    return store.replace(
        "splits.covariate_balance",
        rows,
        metadata={f"imbalanced in {split}": count for split, count in imbalanced.iter_rows()},
    )


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            **declared(f"splits.{table}"),
            deps=[["splits", "assignments"], ["prism", "pairs"]],
            group_name=GROUP,
            kinds={"polars"},
        )
        for table in ("source_models", "source_mix")
    ]
)
def models_of_groups(store: Store) -> Iterator[dg.MaterializeResult]:
    """Which models wrote each group's pairs, and whether the mix differs by more than chance, users being the unit."""
    assigned, pairs = store.read("splits.assignments"), store.read("prism.pairs")
    yield store.replace("splits.source_models", source_models(assigned, pairs))
    yield store.replace("splits.source_mix", source_mix(assigned, pairs))


@dg.asset(
    **declared("splits.exposure"),
    deps=[["splits", "assignments"], ["prism", "pairs"], ["prism", "folds"]],
    code_version=digest(
        [
            [name, list(study.expected), study.folds, study.matching.value, asdict(study.hyperparameters)]
            for name, study in all_studies().items()
        ]
    ),
    group_name=GROUP,
    kinds={"polars"},
)
def group_exposure(store: Store) -> dg.MaterializeResult:
    """How often each study's adapters of A and of B see each of their pairs."""
    return store.replace("splits.exposure", exposure(group_sizes(store, all_studies().values())))


@dg.asset(
    **declared("splits.sample_ratio"),
    deps=[["splits", "assignments"], ["prism", "folds"], ["prism", "users"]],
    group_name=GROUP,
    kinds={"polars"},
)
def dealt_users(store: Store) -> dg.MaterializeResult:
    """Chi-square tests of how users were dealt out to placebos and folds."""
    rows = sample_ratio(store.read("splits.assignments"), store.read("prism.folds"), store.read("prism.users"))
    return store.replace("splits.sample_ratio", rows)


@dg.asset_check(asset=["splits", "assignments"], blocking=True)
def groups_are_disjoint(store: Store) -> dg.AssetCheckResult:
    """A user in both groups of a split would be compared with themselves; a group of nobody cannot be compared."""
    twice = store.query("select split, user_id from splits.assignments group by all having count(*) > 1")
    lonely = store.query(
        "select split from splits.assignments group by split having count(distinct user_group) < 2 order by split"
    )
    return dg.AssetCheckResult(
        passed=twice.is_empty() and lonely.is_empty(),
        metadata={
            "in both groups": twice["user_id"].to_list()[:10],
            "splits without A or B": lonely["split"].to_list(),
        },
    )


@dg.asset_check(asset=["splits", "exposure"])
def groups_are_exposed_alike(store: Store) -> dg.AssetCheckResult:
    """An adapter that sees its pairs more often remembers more of them, whatever its group prefers."""
    uneven = store.query(
        "select study, split, max(exposure_ratio) as ratio from splits.exposure where exposure_ratio > $most"
        " group by all order by all",
        most=EXPOSURE_RATIO,
    )
    found = {f"{study} {split}": f"{ratio:.2f} times" for study, split, ratio in uneven.iter_rows()}
    return dg.AssetCheckResult(
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"exposed unevenly": found, "to do": "matching=Matching.PAIRS in a study of another name"},
    )


@dg.asset_check(asset=["splits", "sample_ratio"])
def users_are_dealt_as_meant(store: Store) -> dg.AssetCheckResult:
    """Halves that are no halves, or folds that are no fifths, say that users were lost or added after the deal."""
    uneven = store.query(
        'select distinct assignment, "within", p from splits.sample_ratio where p < $limit order by all',
        limit=NOT_BY_CHANCE,
    )
    found = {f"{assignment} within {within}": f"p = {p:.1e}" for assignment, within, p in uneven.iter_rows()}
    return dg.AssetCheckResult(
        passed=not found, severity=dg.AssetCheckSeverity.WARN, metadata={"not dealt as meant": found}
    )
