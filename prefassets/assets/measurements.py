"""What each measurement asks of its model, one configuration at a time, and the utilities of its choices."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from prefassets.assets.gpu import on_gpu
from prefassets.domain.preferences.measurement import ChoiceConfiguration, Configuration, Measurement
from prefassets.measurements import all_measurements
from prefassets.resources.endpoint import EndpointRefused, EndpointUnreachable
from prefassets.resources.measuring import MeasurementData
from prefassets.resources.progress import progress_bar
from prefassets.resources.store import Store
from prefassets.resources.tables import TABLES

if TYPE_CHECKING:
    from prefassets.domain.preferences.asking import Asker, Backend

Answered = Mapping[str, pl.DataFrame]  # rows by table
Metadata = Mapping[str, Any]


class ConfigurationsFailed(dg.Failure):
    """Some configurations of a run did not come to their end; the others did.

    Args:
        reasons: by name of the configuration.
        to_do: what the reader may know or do.
    """

    def __init__(self, reasons: Mapping[str, str], to_do: str) -> None:
        said = [f"{name}: {reason}" for name, reason in reasons.items()]
        super().__init__("\n".join([*said, to_do]), allow_retries=False)


class _Unanswered(Exception):
    """Questions are without an answer; the reasons by digest of the question."""

    def __init__(self, failures: Mapping[str, str]) -> None:
        questions = "1 question has" if len(failures) == 1 else f"{len(failures)} questions have"
        super().__init__(f"{questions} no answer, e.g. {next(iter(failures.values()))}")


_KEPT = "what was answered is kept; run it again to ask for the rest"


def measurement_assets(measurement: Measurement) -> list[dg.AssetsDefinition]:
    """The assets of one measurement: those that it needs of completions, choices, utilities and ratings."""
    assets = [completions_asset(measurement)] if measurement.does_tasks else []
    if measurement.choice_configurations:
        assets += [choices_asset(measurement), utilities_asset(measurement)]
    if measurement.rating_configurations:
        assets.append(ratings_asset(measurement))
    return assets


def configuration_partitions(configurations: Sequence[Configuration]) -> dg.StaticPartitionsDefinition:
    """One partition per configuration, by its name."""
    return dg.StaticPartitionsDefinition([configuration.name for configuration in configurations])


def _of_model(measurement: Measurement) -> dict[str, Any]:
    """Arguments of `@dg.asset` for what asks the model: a GPU if it runs in this process; an endpoint has its own."""
    deps = [dg.AssetDep(["tasks", "tasks"])]
    if measurement.backend == "endpoint":
        return {"deps": deps, "kinds": {"openai"}, "group_name": measurement.name}
    mapping = dg.SpecificPartitionsPartitionMapping([measurement.model])
    deps.append(dg.AssetDep(["model", "base"], partition_mapping=mapping))
    return {"deps": deps, "kinds": {"pytorch"}, "group_name": measurement.name, **on_gpu()}


def completions_asset(measurement: Measurement) -> dg.AssetsDefinition:
    """`<measurement>/completions`."""

    @dg.asset(
        key=[measurement.name, "completions"],
        description="What the model makes of each task, once; configurations that ask afterwards build on it.",
        **_of_model(measurement),
    )
    def completions(store: Store) -> dg.MaterializeResult:
        from prefassets.domain.preferences.measure import complete_tasks

        data = MeasurementData(store, measurement)
        key = f"{measurement.name}.completions"
        stands = store.read("preferences.completions", [measurement.name])
        with (
            progress_bar(f"{measurement.name}: the model does the tasks") as show,
            data.asker(data.backend(), key, stands, show) as (asker, journal),
        ):
            rows = complete_tasks(measurement, data.tasks, asker)
        if asker.failures:
            raise ConfigurationsFailed({"completions": str(_Unanswered(asker.failures))}, _KEPT)
        journal.set_aside(rows["digest"])
        written = store.replace("preferences.completions", rows, [measurement.name])
        journal.discard()
        return dg.MaterializeResult(metadata={**(written.metadata or {}), "cut": int((~rows["finished"]).sum())})

    return completions


def choices_asset(measurement: Measurement) -> dg.AssetsDefinition:
    """`<measurement>/choices`."""

    def ask(data: MeasurementData, configuration: Configuration, asker: "Asker") -> Answered:
        from prefassets.domain.preferences.measure import measure_choices
        from prefassets.domain.preferences.thurstonian import fit_utilities

        assert isinstance(configuration, ChoiceConfiguration)
        tasks = list(data.tasks["task_id"])
        slot_bias = configuration.slots_are_random

        def mu(choices: pl.DataFrame) -> Any:
            if asker.failures:  # the next round would go by less than what the next run goes by, and ask other pairs
                raise _Unanswered(asker.failures)
            fit = fit_utilities(choices, tasks=tasks, slot_bias=slot_bias, standard_errors=False)
            return fit.utilities["mu"].to_numpy()

        found = measure_choices(measurement, configuration, data.tasks, asker, mu, data.completions)
        return {"preferences.choices": found.choices, "preferences.rounds": found.rounds}

    return _asked("choices", "Which of two tasks the model would rather do.", measurement, ask)


def ratings_asset(measurement: Measurement) -> dg.AssetsDefinition:
    """`<measurement>/ratings`."""

    def ask(data: MeasurementData, configuration: Configuration, asker: "Asker") -> Answered:
        from prefassets.domain.preferences.measure import measure_ratings

        assert not isinstance(configuration, ChoiceConfiguration)
        found = measure_ratings(measurement, configuration, data.tasks, asker, data.completions)
        return {"preferences.ratings": found}

    return _asked("ratings", "How the model rates each task.", measurement, ask)


def _asked(
    name: str,
    description: str,
    measurement: Measurement,
    ask: Callable[[MeasurementData, Configuration, "Asker"], Answered],
) -> dg.AssetsDefinition:
    """An asset with a partition per configuration; `ask` gives the rows of its tables, the answers' table first."""
    table = f"preferences.{name}"
    choosing = name == "choices"
    configurations = measurement.choice_configurations if choosing else measurement.rating_configurations
    arguments = _of_model(measurement)
    if any(configuration.asked == "after" for configuration in configurations):
        arguments["deps"].append(dg.AssetDep([measurement.name, "completions"]))

    @dg.asset(
        key=[measurement.name, name],
        description=f"{description} {measurement.question}",
        partitions_def=configuration_partitions(configurations),
        backfill_policy=dg.BackfillPolicy.single_run(),
        **arguments,
    )
    def asked(context: dg.AssetExecutionContext, store: Store) -> None:
        data = MeasurementData(store, measurement)
        backend = data.backend()
        failures: dict[str, str] = {}
        for key in context.partition_keys:
            configuration = measurement.configuration(key)
            kept = store.read(table, [measurement.name, key])
            try:
                with (
                    progress_bar(configuration.key) as show,
                    data.asker(backend, configuration.key, kept, show) as (asker, journal),
                ):
                    found = ask(data, configuration, asker)
                    if asker.failures:
                        raise _Unanswered(asker.failures)
            except (EndpointRefused, EndpointUnreachable) as error:
                reasons = failures | {key: str(error)}
                raise ConfigurationsFailed(reasons, "no other was asked after it") from None
            except (_Unanswered, ValueError) as error:
                failures[key] = str(error)
                continue
            summary = _summary(data, configuration, found[table], asker, backend, context.run_id)
            journal.set_aside(found[table]["digest"])
            _put(store, configuration, found, summary)
            journal.discard()
            told = ("answers", "refusals", "unparseable", "asked_now", "fingerprint")
            _tell(context, key, {name: summary[name] for name in told})
        if failures:
            raise ConfigurationsFailed(failures, _KEPT)

    return asked


def _put(store: Store, configuration: Configuration, found: Answered, summary: Mapping[str, Any]) -> None:
    """Store the rows of a finished configuration, and last that it is finished.

    What says that of other answers is taken back first: killed half-way, it must not speak for these.
    """
    answered = TABLES["preferences.answered"]
    partition = [configuration.measurement, configuration.name]
    stands = store.read(answered.name, partition)
    if not stands.is_empty() and stands["fingerprint"].item() != summary["fingerprint"]:
        store.replace(answered.name, answered.empty(), partition)
    named = {"measurement": configuration.measurement, "configuration": configuration.name}
    for table, rows in found.items():
        store.replace(table, rows.with_columns(pl.lit(value).alias(name) for name, value in named.items()), partition)
    store.replace(answered.name, pl.DataFrame([summary], answered.schema), partition)


def _tell(context: dg.AssetExecutionContext, key: str, metadata: Metadata) -> None:
    """Tell Dagster of a configuration as it is made, not when all are."""
    context.log_event(dg.AssetMaterialization(context.asset_key, partition=key, metadata=metadata))
    # Dagster says it of every one once more if the step succeeds; both events then say the same.
    context.add_asset_metadata(metadata, asset_key=context.asset_key, partition_key=key)


def _summary(
    data: MeasurementData,
    configuration: Configuration,
    rows: pl.DataFrame,
    asker: "Asker",
    backend: "Backend",
    run_id: str,
) -> dict[str, Any]:
    """The row of `preferences.answered`."""
    choosing = isinstance(configuration, ChoiceConfiguration)
    outcomes = rows["choice" if choosing else "rating"]
    return {
        "measurement": data.measurement.name,
        "configuration": configuration.name,
        "kind": "choice" if choosing else "rating",
        "fingerprint": data.fingerprint(configuration),
        "model": backend.model,
        "revision": backend.revision,
        "tasks": len(data.tasks),
        "answers": len(rows),
        "refusals": int((outcomes == "refusal").sum()),
        "unparseable": int((outcomes == "unparseable").sum()),
        "asked_now": asker.asked,
        "run_id": run_id,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def utilities_asset(measurement: Measurement) -> dg.AssetsDefinition:
    """`<measurement>/utilities`."""

    @dg.asset(
        key=[measurement.name, "utilities"],
        description="Thurstonian utilities of each configuration's choices, and how far they can be believed.",
        deps=[[measurement.name, "choices"]],
        partitions_def=configuration_partitions(measurement.choice_configurations),
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name=measurement.name,
        kinds={"scipy"},
    )
    def utilities(context: dg.AssetExecutionContext, store: Store) -> None:
        from prefassets.domain.preferences.assessed import assessed_utilities  # scipy: only where it is used

        data = MeasurementData(store, measurement)
        states = {state.configuration.name: state for state in data.states()}
        failures: dict[str, str] = {}
        for key in context.partition_keys:
            if states[key].state != "finished":
                failures[key] = f"its choices are {states[key].state} ({states[key].reason})"
                continue
            partition = [measurement.name, key]
            configuration = measurement.configuration(key)
            assert isinstance(configuration, ChoiceConfiguration)
            # Before the choices: if they are replaced in between, this is the earlier run, and they are fitted again.
            run_id = store.read("preferences.answered", partition)["run_id"].item()
            found = assessed_utilities(
                store.read("preferences.choices", partition),
                list(data.tasks["task_id"]),
                slot_bias=configuration.slots_are_random,
            )
            named = {"measurement": measurement.name, "configuration": key}
            fit = found.fit.with_columns(run_id=pl.lit(run_id))
            for table, rows in (("preferences.utilities", found.utilities), ("preferences.fit", fit)):
                labels = [pl.lit(value).alias(name) for name, value in named.items()]
                store.replace(table, rows.select(*labels, pl.all()), partition)
            accuracy, log_loss = found.fit.select("accuracy", "log_loss").row(0)
            metadata = {"tasks": len(found.utilities), "held-out accuracy": accuracy, "held-out log loss": log_loss}
            known = {name: value for name, value in metadata.items() if value is not None}
            _tell(context, key, known)
        if failures:
            raise ConfigurationsFailed(failures, f"ask first: `prefassets measure {measurement.name}`")

    return utilities


MEASUREMENT_ASSETS = [asset for measurement in all_measurements().values() for asset in measurement_assets(measurement)]
