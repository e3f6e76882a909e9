"""What follows from more than one SELECT: verdict tables that resample users."""

import dagster as dg
import polars as pl

from prefassets.assets.automation import AFTER_ANY_CHANGE
from prefassets.assets.declared import declared
from prefassets.resources.store import Store
from prefassets.resources.tables import TABLES

GROUP = "verdicts"


@dg.asset(
    **declared("verdicts.heterogeneity"),
    deps=[["model", "reference"], ["splits", "assignments"], ["prism", "pairs"]],
    group_name=GROUP,
    kinds={"numpy"},
    automation_condition=AFTER_ANY_CHANGE,
)
def heterogeneity(store: Store) -> dg.MaterializeResult:
    """One base model at a time: its hidden states of all pairs are the largest thing here."""
    from prefassets.domain.inference.heterogeneity import split_heterogeneity  # numpy: only where it is used

    assignments = store.read("splits.assignments")
    passes = store.query("select distinct reference, base_model, revision from model.reference order by all")
    found = [TABLES["verdicts.heterogeneity"].empty()]
    for labels in passes.iter_rows(named=True):
        features = store.query(
            """
            select user_id, conversation_id, chosen.hidden_mean as chosen, rejected.hidden_mean as rejected
            from prism.pairs
            join model.reference as chosen using (pair_id)
            join model.reference as rejected using (pair_id, reference, base_model, revision)
            where reference = $reference and base_model = $base_model and revision = $revision
              and chosen.response = 'chosen' and rejected.response = 'rejected'
            order by pair_id
            """,
            **labels,
        )
        rows = split_heterogeneity(features, assignments, seed=store.source().seed)
        found.append(rows.select(*(pl.lit(value).alias(name) for name, value in labels.items()), pl.all()))
    return store.replace("verdicts.heterogeneity", pl.concat(found))
