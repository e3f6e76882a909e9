"""What follows from more than one SELECT: verdict tables that resample users."""

import dagster as dg
import polars as pl

from prefassets.assets.automation import AFTER_ANY_CHANGE
from prefassets.assets.declared import declared
from prefassets.resources import change_noise, estimates
from prefassets.resources.store import Store
from prefassets.resources.tables import TABLES
from prefassets.studies import all_studies

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


@dg.asset(
    **declared(estimates.TABLE),
    deps=[name.split(".") for name in estimates.READS],
    group_name=GROUP,
    kinds={"numpy"},
    automation_condition=AFTER_ANY_CHANGE,
)
def estimate(store: Store) -> dg.MaterializeResult:
    """Each study with results: two-way bootstrap of its splits, spread pooled over them, tests and multiplicity."""
    with store.connect(estimates.READS) as connection:
        for study in all_studies().values():
            store.replace(estimates.TABLE, estimates.estimate_study(connection, study), [study.name])
    rows = store.query(f"select count(*) as rows, count(distinct study) as studies from {estimates.TABLE}").row(0)
    return dg.MaterializeResult(metadata={"dagster/row_count": rows[0], "studies": rows[1]})


@dg.asset(
    **declared(change_noise.TABLE),
    deps=[name.split(".") for name in change_noise.READS],
    group_name=GROUP,
    kinds={"numpy", "sql"},
    automation_condition=AFTER_ANY_CHANGE,
)
def label_noise(store: Store) -> dg.MaterializeResult:
    """Each study that repeats another: both simulated with nothing to find, and labelled like real ones."""
    with store.connect(change_noise.READS) as connection:
        for study in all_studies().values():
            repeated = change_noise.read_repeated(connection, study)
            store.replace(change_noise.TABLE, change_noise.change_noise(repeated), [study.name])
    rows = store.query(f"select count(*) as rows, count(distinct study) as studies from {change_noise.TABLE}").row(0)
    return dg.MaterializeResult(metadata={"dagster/row_count": rows[0], "studies": rows[1]})
