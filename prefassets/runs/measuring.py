"""Running a measurement here: ask what was never answered, fit, judge, and publish."""

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

import dagster as dg

from prefassets.domain.preferences.measurement import Configuration, Measurement
from prefassets.measurements import all_measurements
from prefassets.resources.activations import ActivationChunks
from prefassets.resources.measurement_reports import wants_page
from prefassets.resources.measuring import MeasurementData, unfinished
from prefassets.runs.here import Launcher
from prefassets.runs.runs import RunFailed


def measure(launcher: Launcher, measurement: Measurement) -> Iterator[str]:
    """Ask whatever a measurement lacks, read activations, fit utilities; yields a line before each run.

    Answers that stand are not asked for again: of a finished measurement, nothing is.

    Raises:
        RunFailed: another run asks the same now, or some questions have no answer; then every other configuration is
            finished first, and what was answered of these is kept.
    """
    _leave_it_to_others(launcher, measurement)
    yield from _make_what_it_needs(launcher, measurement)
    lacking = [state.configuration for state in unfinished(launcher.store, measurement)]
    failures = []
    read = measurement.activations is not None and measurement.activations.of_responses
    undone = read and MeasurementData(launcher.store, measurement).undone
    if undone or any(configuration.asked == "after" for configuration in lacking):
        completions = dg.AssetKey([measurement.name, "completions"])
        try:
            yield from launcher.make(f"{measurement.name}: the model does the tasks", [completions])
        except RunFailed as error:
            failures.append(str(error))
            lacking = [configuration for configuration in lacking if configuration.asked != "after"]
    for asset, configurations in (
        ("choices", measurement.choice_configurations),
        ("ratings", measurement.rating_configurations),
    ):
        for together in _neighbours(configurations, lacking):
            try:
                yield from _run(launcher, measurement, asset, together)
            except RunFailed as error:
                failures.append(str(error))
    try:
        yield from _read(launcher, measurement)
    except (RunFailed, ValueError) as error:  # without completions, no responses can be read
        failures.append(str(error))
    to_fit = MeasurementData(launcher.store, measurement).unfitted()
    for together in _neighbours(measurement.choice_configurations, to_fit):
        try:
            yield from _run(launcher, measurement, "utilities", together)
        except RunFailed as error:
            failures.append(str(error))
    if failures:
        raise RunFailed("\n".join(failures))


def _read(launcher: Launcher, measurement: Measurement) -> Iterator[str]:
    """Keep the activations that the measurement wants and lacks."""
    if measurement.activations is None or not ActivationChunks(launcher.store, measurement).lacking():
        return
    activations = dg.AssetKey([measurement.name, "activations"])
    yield from launcher.make(f"{measurement.name}: activations of {measurement.model_read}", [activations])


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
    yield from launcher.make_models(measurement.models_here)


def _leave_it_to_others(launcher: Launcher, measurement: Measurement) -> None:
    asking = {(measurement.name, asset) for asset in ("completions", "choices", "ratings")}
    if others := [run for run in launcher.in_flight() if run.assets & asking]:
        raise RunFailed(
            f"{', '.join(map(str, others))} asks what {measurement.name} asks, and answers to both would be paid for; "
            f"wait for it, or end it in `prefassets ui`"
        )


def _neighbours(
    configurations: Sequence[Configuration], wanted: Collection[Configuration]
) -> list[list[Configuration]]:
    """Those that are wanted, as many together as stand together: Dagster names the partitions of a run by a range."""
    stretches = groupby(configurations, lambda configuration: configuration in wanted)
    return [list(stretch) for is_wanted, stretch in stretches if is_wanted]


def _run(launcher: Launcher, measurement: Measurement, asset: str, together: Sequence[Configuration]) -> Iterator[str]:
    """Make these configurations' parts of one asset, in one run."""
    several = f"{len(together)} configurations" if len(together) > 1 else together[0].name
    yield (what := f"{measurement.name}: {asset} of {several}")
    ends = together[0].name, together[-1].name
    launcher.run(what, [dg.AssetKey([measurement.name, asset])], partition_range=ends)
