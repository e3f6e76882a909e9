"""What linear probes read off the activations of each experiment, beside what they would read off nothing."""

import logging
from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from prefassets.assets.automation import AFTER_ANY_CHANGE
from prefassets.assets.declared import declared
from prefassets.measurements import all_measurements
from prefassets.resources import adapter_directions
from prefassets.resources.probing import PROBES_VERSION, ToProbe, to_probe
from prefassets.resources.progress import progress_bar
from prefassets.resources.store import Store
from prefassets.resources.tables import TABLES
from prefassets.studies import all_studies

GROUP = "probes"
FOUND = ("probes.score", "probes.sweep", "probes.direction", "probes.prediction", "probes.cross")
RECORD = "probes.experiment"
_logger = logging.getLogger(__name__)
EXPERIMENTS: dict[str, Any] = {**all_studies(), **all_measurements()}


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            **declared(table),
            deps=[
                ["preferences", "activations"],
                ["preferences", "probe_value"],
                ["preferences", "probe_choice"],
                ["tasks", "tasks"],
                ["model", "activations"],
                ["training", "cells"],
                ["prism", "pairs"],
                ["splits", "assignments"],
            ],
            group_name=GROUP,
            kinds={"scikitlearn"},
            code_version=str(PROBES_VERSION),
            automation_condition=AFTER_ANY_CHANGE,
        )
        for table in (*FOUND, RECORD)
    ],
)
def probes(store: Store) -> Iterator[dg.MaterializeResult]:
    """Probe every experiment whose activations or targets have changed; of one without activations, nothing is said.

    One that cannot be probed says so in its record, and stops no other, nor the pages that are made of all.
    """
    stands = dict(store.query(f"select experiment, fingerprint from {RECORD}").iter_rows())
    for name, of in EXPERIMENTS.items():
        found = to_probe(store, of)
        if found is None or stands.get(name) != found.fingerprint:
            _forget(store, name)
        if found is not None and stands.get(name) != found.fingerprint:
            _probe(store, found)
    for name in stands.keys() - EXPERIMENTS.keys():
        _forget(store, name)
    for table in (*FOUND, RECORD):
        rows = store.query(f"select count(*) from {table}").item()
        yield dg.MaterializeResult(asset_key=table.split("."), metadata={"dagster/row_count": rows})


def _forget(store: Store, experiment: str) -> None:
    """Take back what is said of an experiment, its record first: killed half-way, the next run goes on."""
    for table in (RECORD, *FOUND):
        if not store.read(table, [experiment]).is_empty():
            store.replace(table, TABLES[table].empty(), [experiment])


def _probe(store: Store, found: ToProbe) -> None:
    """Run the suite on an experiment and store what it found, and last that it has."""
    from prefassets.domain.probes.cross_probe import cross_probe  # scikit-learn: only where it is used
    from prefassets.domain.probes.suite import probe_suite

    rows: dict[str, list[pl.DataFrame]] = {table: [TABLES[table].empty()] for table in FOUND}
    notes: list[str] = []
    with progress_bar(f"probes of {found.experiment}") as show:
        for probed in found.probed:
            try:
                suite = probe_suite(probed, on_fit=show, lone_target="note")
            except ValueError as error:  # such as hidden states that are no numbers
                named = ", ".join(target.name for target in probed.targets)
                _logger.warning("%s of %s cannot be probed: %s", named, found.experiment, error)
                notes.append(f"{named}: {error}")
                continue
            crossed = cross_probe(probed, suite)
            of_tables = (suite.scores, suite.sweep, suite.directions, suite.predictions, crossed)
            for table, made in zip(FOUND, of_tables, strict=True):
                labelled = made.with_columns(experiment=pl.lit(found.experiment))
                rows[table].append(TABLES[table].conform(labelled))
    for table, parts in rows.items():
        store.replace(table, pl.concat(parts), [found.experiment])
    units = {unit for probed in found.probed for unit in probed.items["unit"]}
    row = {
        "experiment": found.experiment,
        "kind": found.kind,
        "model": found.model,
        "revision": found.revision,
        "items": max((len(probed.items) for probed in found.probed), default=0),
        "units": len(units),
        "targets": [target.name for probed in found.probed for target in probed.targets],
        "note": "; ".join(notes) or None,
        "fingerprint": found.fingerprint,
    }
    store.replace(RECORD, pl.DataFrame([row], TABLES[RECORD].schema), [found.experiment])


@dg.asset(
    **declared(adapter_directions.TABLE),
    deps=[name.split(".") for name in adapter_directions.READS],
    group_name=GROUP,
    kinds={"numpy"},
    automation_condition=AFTER_ANY_CHANGE,
)
def adapters(store: Store) -> dg.MaterializeResult:
    """Each study that keeps activations: does A's adapter move the preference direction differently from B's?"""
    for study in all_studies().values():
        rows = adapter_directions.adapter_directions(store, study)
        if not rows.equals(store.read(adapter_directions.TABLE, [study.name])):
            store.replace(adapter_directions.TABLE, rows, [study.name])
    said_of = store.query(f"select distinct study from {adapter_directions.TABLE}")["study"]
    for name in set(said_of) - all_studies().keys():
        store.replace(adapter_directions.TABLE, TABLES[adapter_directions.TABLE].empty(), [name])
    rows = store.query(f"select count(*) as rows, count(distinct study) as studies from {adapter_directions.TABLE}")
    return dg.MaterializeResult(metadata={"dagster/row_count": rows.row(0)[0], "studies": rows.row(0)[1]})
