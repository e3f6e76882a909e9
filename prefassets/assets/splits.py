"""Which user is in group A, B or neither of each split."""

import dagster as dg

from prefassets.assets.declared import declared
from prefassets.domain.prism.splits import assign, balance
from prefassets.resources.store import Store

GROUP = "splits"


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
