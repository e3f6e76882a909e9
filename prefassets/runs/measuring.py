"""Running a measurement here: ask what was never answered, fit, judge, and publish."""

from collections.abc import Iterator, Sequence

import dagster as dg

from prefassets.domain.preferences.measurement import Configuration, Measurement
from prefassets.measurements import all_measurements
from prefassets.resources.measurement_reports import wants_page
from prefassets.resources.measuring import MeasurementData, unfinished
from prefassets.runs.here import Launcher
from prefassets.runs.runs import RunFailed


def measure(launcher: Launcher, measurement: Measurement) -> Iterator[str]:
    """Ask whatever a measurement lacks, then fit utilities; yields a line before each run.

    Answers that stand are not asked for again: of a finished measurement, nothing is.

    Raises:
        RunFailed: some questions have no answer; every other configuration is finished first, and what was answered of
            these is kept.
    """
    store = launcher.store
    yield from _make_what_it_needs(launcher, measurement)
    lacking = [state.configuration for state in unfinished(store, measurement)]
    if any(configuration.asked == "after" for configuration in lacking):
        completions = dg.AssetKey([measurement.name, "completions"])
        yield from launcher.make(f"{measurement.name}: the model does the tasks", [completions])
    failures = []
    for asset, configurations in (
        ("choices", measurement.choice_configurations),
        ("ratings", measurement.rating_configurations),
    ):
        if asked := [configuration for configuration in configurations if configuration in lacking]:
            try:
                yield from _run(launcher, measurement, asset, asked)
            except RunFailed as error:
                failures.append(str(error))
    stand = {state.configuration.name for state in MeasurementData(store, measurement).states() if not state.reason}
    query = "select configuration from preferences.fit where measurement = $name"
    fitted = set(store.query(query, name=measurement.name)["configuration"])
    to_fit = [
        configuration
        for configuration in measurement.choice_configurations
        if configuration.name in stand and (configuration in lacking or configuration.name not in fitted)
    ]
    if to_fit:
        yield from _run(launcher, measurement, "utilities", to_fit)
    if failures:
        raise RunFailed("\n".join(failures))


def believe(launcher: Launcher) -> None:
    """Collect what models have answered, judge how far to believe it, write pages, and publish warehouse.duckdb."""
    from prefassets.definitions import BELIEVED, defs

    graph = defs.resolve_asset_graph()
    selection = (BELIEVED | dg.AssetSelection.groups("warehouse")).resolve(graph)
    without = {
        dg.AssetKey(["report", measurement.name])
        for measurement in all_measurements().values()
        if not wants_page(launcher.store, measurement)
    }
    launcher.run("what models prefer, pages and warehouse.duckdb", sorted(selection - without))


def _make_what_it_needs(launcher: Launcher, measurement: Measurement) -> Iterator[str]:
    if not launcher.store.parts("tasks.tasks"):
        yield from launcher.make("tasks", [dg.AssetKey(["tasks", "tasks"])])
    if MeasurementData(launcher.store, measurement).revision is not None:
        return
    if measurement.model == "tiny" and not launcher.store.parts("prism.utterances"):
        released = [dg.AssetKey(["prism", table]) for table in ("survey", "utterances", "planted_truth")]
        yield from launcher.make("raw data, which the tiny model learns from", released)
    yield from launcher.make(f"model {measurement.model}", [dg.AssetKey(["model", "base"])], measurement.model)


def _run(
    launcher: Launcher, measurement: Measurement, asset: str, configurations: Sequence[Configuration]
) -> Iterator[str]:
    """Make these configurations' parts of one asset; those that stand between them are made of what is there."""
    several = f"{len(configurations)} configurations" if len(configurations) > 1 else configurations[0].name
    yield (what := f"{measurement.name}: {asset} of {several}")
    ends = configurations[0].name, configurations[-1].name
    launcher.run(what, [dg.AssetKey([measurement.name, asset])], partition_range=ends)
