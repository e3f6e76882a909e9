"""What WPO weights go with: tables that regress them. Those that one SELECT makes are in `sql/weights/`."""

from collections.abc import Callable
from functools import partial

import dagster as dg
import polars as pl

from prefassets.assets.automation import AFTER_ANY_CHANGE
from prefassets.assets.declared import declared
from prefassets.resources.store import Store
from prefassets.resources.tables import PASS_COLUMNS, TABLES

GROUP = "weights"
DEPS = [["model", "wpo_weights"], ["prism", "pairs"]]


@dg.asset(
    **declared("weights.source_model"),
    deps=DEPS,
    group_name=GROUP,
    kinds={"statsmodels"},
    automation_condition=AFTER_ANY_CHANGE,
)
def source_model(store: Store) -> dg.MaterializeResult:
    """Each source model's mean weight, as it is and at equal lengths of answers."""
    from prefassets.domain.inference.source_models import source_models  # numpy: only where it is used

    return _of_each_pass(store, "weights.source_model", source_models)


@dg.asset(
    **declared("weights.explained"),
    deps=DEPS,
    group_name=GROUP,
    kinds={"statsmodels"},
    automation_condition=AFTER_ANY_CHANGE,
)
def explained(store: Store) -> dg.MaterializeResult:
    """How much of the weights' variance goes with response length and source model, each alone and beyond the other."""
    from prefassets.domain.inference.source_models import explained

    return _of_each_pass(store, "weights.explained", partial(explained, seed=store.source().seed))


def _of_each_pass(store: Store, table: str, compute: Callable[[pl.DataFrame], pl.DataFrame]) -> dg.MaterializeResult:
    """What `compute` makes of the pairs' weights, one reference pass at a time."""
    rows = store.query(
        "select reference, base_model, revision, pair_id, user_id, model_name, weight, chosen_tokens, rejected_tokens"
        " from model.wpo_weights join prism.pairs using (pair_id)"
    )
    found = [TABLES[table].empty()]
    for labels, of_pass in sorted(rows.partition_by(*PASS_COLUMNS, as_dict=True).items()):
        named = zip(PASS_COLUMNS, labels, strict=True)
        found.append(compute(of_pass).select(*(pl.lit(value).alias(name) for name, value in named), pl.all()))
    return store.replace(table, pl.concat([TABLES[table].conform(rows) for rows in found]))
