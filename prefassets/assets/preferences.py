"""What models prefer, over all measurements: the tables that collect it, and how far to believe it."""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace

import dagster as dg
import polars as pl

from prefassets.assets.automation import AFTER_ANY_CHANGE
from prefassets.assets.declared import declared
from prefassets.assets.splits import NOT_BY_CHANCE
from prefassets.domain.preferences.measurement import Configuration, Measurement
from prefassets.domain.preferences.template import Template
from prefassets.domain.training.recipe import digest
from prefassets.measurements import all_measurements
from prefassets.resources.measuring import MeasurementData
from prefassets.resources.store import Store
from prefassets.resources.tables import TABLES

GROUP = "preferences"
MOST_WITHOUT_CHOICE = 0.2  # share of a configuration's answers; above it, what is left may not speak for the model
# Rows stay when a configuration leaves its file. They are not judged any more.
_TODAY = "semi join preferences.configuration using (measurement, configuration)"
COLLECTED = {  # table of all measurements -> the asset of each measurement that writes its parts
    "preferences.completions": "completions",
    "preferences.choices": "choices",
    "preferences.rounds": "choices",
    "preferences.ratings": "ratings",
    "preferences.utilities": "utilities",
    "preferences.fit": "utilities",
    "preferences.activations": "activations",
}


def collected_asset(table: str, parts: str) -> dg.AssetsDefinition:
    """The asset of one table of all measurements: the parts that stand, counted."""

    @dg.asset(
        **declared(table),
        deps=[key for measurement in all_measurements().values() if (key := _asset(measurement, parts))],
        group_name=GROUP,
        kinds={"duckdb"},
        automation_condition=AFTER_ANY_CHANGE,
    )
    def collected(store: Store) -> dg.MaterializeResult:
        rows = store.query(f"select count(*) from {table}").item()
        return dg.MaterializeResult(metadata={"dagster/row_count": rows, "parts": len(store.parts(table))})

    return collected


def _asset(measurement: Measurement, name: str) -> list[str] | None:
    """The key of one of a measurement's assets, if it has it."""
    has = {
        "completions": measurement.does_tasks,
        "choices": bool(measurement.choice_configurations),
        "utilities": bool(measurement.choice_configurations),
        "ratings": bool(measurement.rating_configurations),
        "activations": measurement.activations is not None,
    }
    return [measurement.name, name] if has[name] else None


@dg.asset(
    **declared("preferences.answered"),
    deps=[
        key
        for measurement in all_measurements().values()
        for name in ("choices", "ratings")
        if (key := _asset(measurement, name))
    ],
    group_name=GROUP,
    kinds={"duckdb"},
    automation_condition=AFTER_ANY_CHANGE,
)
def answered(store: Store) -> dg.MaterializeResult:
    """Every finished configuration of every measurement."""
    planned = sum(len(measurement.configurations) for measurement in all_measurements().values())
    finished = store.query("select count(*) from preferences.answered").item()
    return dg.MaterializeResult(metadata={"dagster/row_count": finished, "planned over all": planned})


@dg.multi_asset(
    specs=[
        dg.AssetSpec(**declared(f"preferences.{table}"), group_name=GROUP, kinds={"python"})
        for table in ("measurement", "configuration")
    ],
    code_version=digest([repr(measurement) for measurement in all_measurements().values()]),
)
def measurements(store: Store) -> Iterator[dg.MaterializeResult]:
    """What is asked of whom and how, as the measurement files say today."""
    found = all_measurements().values()
    for table, rows in (
        ("preferences.measurement", [measurement_row(measurement) for measurement in found]),
        ("preferences.configuration", [row for measurement in found for row in configuration_rows(measurement)]),
    ):
        yield store.replace(table, pl.DataFrame(rows, schema=TABLES[table].schema))


def measurement_row(measurement: Measurement) -> dict[str, object]:
    """The row of `preferences.measurement`."""
    same = ("question", "model", "backend", "answering", "temperature", "tasks", "seed")
    return {
        "measurement": measurement.name,
        **{name: getattr(measurement, name) for name in same},
        "configurations": len(measurement.configurations),
    }


def configuration_rows(measurement: Measurement) -> list[dict[str, object]]:
    """The rows of `preferences.configuration`."""
    blank = dict.fromkeys(TABLES["preferences.configuration"].columns)
    rows = []
    for choice in measurement.choice_configurations:
        rows.append(
            blank
            | _name(choice)
            | {"kind": "choice", "template": replace(choice.template, seed=0).name, **choice.template.fields()}
        )
    for rating in measurement.rating_configurations:
        rows.append(blank | _name(rating) | {"kind": "rating", "framing": rating.framing, "options": rating.options})
    return rows


def _name(configuration: Configuration) -> dict[str, object]:
    return {
        "measurement": configuration.measurement,
        "configuration": configuration.name,
        "asked": configuration.asked,
    }


def _judging(table: str, made: Callable[[Store], pl.DataFrame], *reads: str) -> dg.AssetsDefinition:
    """An asset that judges all measurements' choices or ratings at once."""

    @dg.asset(
        **declared(table),
        deps=[read.split(".") for read in reads],
        group_name=GROUP,
        kinds={"scipy"},
        automation_condition=AFTER_ANY_CHANGE,
    )
    def judged(store: Store) -> dg.MaterializeResult:
        return store.replace(table, made(store))

    return judged


def transitivity_rows(store: Store) -> pl.DataFrame:
    """The rows of `preferences.transitivity`."""
    from prefassets.domain.preferences.transitivity import transitivity  # scipy: only where it is used

    found = [TABLES["preferences.transitivity"].empty()]
    for (measurement, configuration), choices in _by_configuration(store, "preferences.choices"):
        planned = all_measurements().get(measurement)
        if planned is None or planned.revealed is None:
            continue  # its file has changed since `preferences.configuration` was written
        utilities = _current_utilities(store, measurement, configuration)
        rows = transitivity(choices, planned.revealed.plan.policy, None if utilities.is_empty() else utilities)
        found.append(_labelled(rows, "preferences.transitivity", measurement=measurement, configuration=configuration))
    return pl.concat(found)


def efficiency_rows(store: Store) -> pl.DataFrame:
    """The rows of `preferences.efficiency`: of the first configuration of each measurement that asks all pairs."""
    from prefassets.domain.preferences.equal_budgets import equal_budgets  # scipy: only where it is used

    found = [TABLES["preferences.efficiency"].empty()]
    for measurement in all_measurements().values():
        if measurement.revealed is None or measurement.revealed.plan.policy != "all":
            continue
        configuration = measurement.choice_configurations[0]
        utilities = _current_utilities(store, measurement.name, configuration.name)
        if not utilities.is_empty():
            choices = store.read("preferences.choices", [measurement.name, configuration.name])
            rows = equal_budgets(choices, utilities["task_id"].to_list(), measurement.seed)
            labels = {"measurement": measurement.name, "configuration": configuration.name}
            found.append(_labelled(rows, "preferences.efficiency", **labels))
    return pl.concat(found)


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            **declared(f"preferences.{table}"),
            deps=[["preferences", "current_utilities"], ["preferences", "configuration"]],
            group_name=GROUP,
            kinds={"scipy"},
            automation_condition=AFTER_ANY_CHANGE,
        )
        for table in ("sensitivity", "sensitivity_fit", "utility_correlation")
    ],
)
def sensitivities(store: Store) -> Iterator[dg.MaterializeResult]:
    """What the agreement of configurations' utilities depends on, measurement by measurement."""
    from prefassets.domain.preferences.sensitivity import sensitivity  # scipy: only where it is used

    tables = {name: f"preferences.{name}" for name in ("sensitivity", "sensitivity_fit", "utility_correlation")}
    found = {name: [TABLES[table].empty()] for name, table in tables.items()}
    configurations = store.query("from preferences.configuration where kind = 'choice'")
    utilities = store.query("select * rename (place as list_index) from preferences.current_utilities")
    for (measurement,), of_one in sorted(utilities.partition_by("measurement", as_dict=True).items()):
        ways = configurations.filter(measurement=measurement).select(
            "configuration", "template", "asked", *(field.name for field in fields(Template))
        )
        judged = sensitivity(ways, of_one, adjustments=("none", "list position"))
        for name, rows in (
            ("sensitivity", judged.coefficients),
            ("sensitivity_fit", judged.fit),
            ("utility_correlation", judged.correlations),
        ):
            found[name].append(_labelled(rows, tables[name], measurement=measurement))
    for name, table in tables.items():
        yield store.replace(table, pl.concat(found[name]))


def positivity_rows(store: Store) -> pl.DataFrame:
    """The rows of `preferences.positivity`."""
    from prefassets.domain.preferences.positivity import positivity  # scipy: only where it is used

    table = "preferences.positivity"
    ratings = store.query(
        "select measurement, asked as when_asked, * exclude (measurement, asked) "
        f"from preferences.ratings {_TODAY} order by configuration, task_id, sample"
    )
    found = [TABLES[table].empty()]
    for (measurement,), of_one in sorted(ratings.partition_by("measurement", as_dict=True).items()):
        found.append(_labelled(positivity(of_one, ["when_asked"]), table, measurement=measurement))
    return pl.concat(found)


def _current_utilities(store: Store, measurement: str, configuration: str) -> pl.DataFrame:
    """Utilities of the choices that stand, in the order of tasks; no rows where they are not fitted yet."""
    return store.query(
        "from preferences.current_utilities where measurement = $measurement and configuration = $configuration"
        " order by place",
        measurement=measurement,
        configuration=configuration,
    )


def _by_configuration(store: Store, table: str) -> list[tuple[tuple[str, str], pl.DataFrame]]:
    rows = store.query(f"select measurement, configuration, task_a, task_b, choice from {table} {_TODAY}")
    parts = rows.partition_by("measurement", "configuration", as_dict=True, include_key=False)
    return sorted((key, part) for key, part in parts.items())


def _labelled(rows: pl.DataFrame, table: str, **labels: str) -> pl.DataFrame:
    return TABLES[table].conform(rows.with_columns(pl.lit(value).alias(name) for name, value in labels.items()))


_CHOICES = ("preferences.choices", "preferences.current_utilities")

PREFERENCE_ASSETS = [
    *(collected_asset(table, parts) for table, parts in COLLECTED.items()),
    answered,
    measurements,
    _judging("preferences.transitivity", transitivity_rows, *_CHOICES, "preferences.configuration"),
    _judging("preferences.efficiency", efficiency_rows, *_CHOICES),
    _judging("preferences.positivity", positivity_rows, "preferences.ratings", "preferences.configuration"),
    sensitivities,
]


@dg.asset_check(
    asset=["preferences", "choices"],
    additional_deps=[["tasks", "tasks"], ["preferences", "configuration"]],
    blocking=True,
)
def every_question_is_answered_once(store: Store) -> dg.AssetCheckResult:
    """A question that counts twice, or about a task that nobody knows, would move utilities that it says nothing of."""
    wrong = store.query(
        f"""
        select
            measurement || '.' || configuration as configuration,
            count(*) filter (where times > 1) as twice,
            count(*) filter (where task_a = task_b) as of_one_task,
            count(*) filter (where not known) as of_unknown_tasks,
        from (
            select
                measurement,
                configuration,
                task_a,
                task_b,
                count(*) over (
                    partition by measurement, configuration, sample, least(task_a, task_b), greatest(task_a, task_b)
                ) as times,
                task_a in (select task_id from tasks.tasks) and task_b in (select task_id from tasks.tasks) as known
            from preferences.choices
            {_TODAY}
        )
        where times > 1 or task_a = task_b or not known
        group by all
        order by all
        """
    )
    return dg.AssetCheckResult(passed=wrong.is_empty(), metadata={"wrong rows": wrong.head(10).to_dicts()})


@dg.asset_check(asset=["preferences", "choices"], additional_deps=[["preferences", "configuration"]])
def slots_are_dealt_as_meant(store: Store) -> dg.AssetCheckResult:
    """Where a coin says which task is shown first, it is fair, and each task of a pair is first equally often."""
    from scipy.stats import binomtest  # only where it is used

    dealt = store.query(
        """
        with pairs as (
            select
                measurement || '.' || configuration as configuration,
                count(*) filter (where task_a < task_b) - count(*) filter (where task_a > task_b) as one_way,
                bool_or(sample = 0 and task_a < task_b)::int as first_way
            from preferences.choices
            join preferences.configuration using (measurement, configuration)
            where task_order = 'random'
            group by measurement, configuration, least(task_a, task_b), greatest(task_a, task_b)
        )

        select
            configuration,
            count(*) as pairs,
            sum(first_way)::bigint as first_way,
            count(*) filter (where abs(one_way) > 1) as uneven
        from pairs
        group by all
        order by all
        """
    )
    found = {}
    for configuration, pairs, first_way, uneven in dealt.iter_rows():
        p = binomtest(first_way, pairs).pvalue
        if uneven or p < NOT_BY_CHANCE / len(dealt):
            found[configuration] = f"{first_way} of {pairs} pairs one way (p = {p:.1e}), {uneven} pairs unevenly"
    return dg.AssetCheckResult(
        passed=not found, severity=dg.AssetCheckSeverity.WARN, metadata={"not dealt as meant": found}
    )


@dg.asset_check(asset=["preferences", "answered"], additional_deps=[["tasks", "tasks"]])
def no_configuration_is_stale(store: Store) -> dg.AssetCheckResult:
    """The answers of a stale configuration are to other questions, or of another model, than its file asks for now."""
    stale = {
        state.configuration.key: state.reason
        for measurement in all_measurements().values()
        for state in MeasurementData(store, measurement).states()
        if state.state == "stale"
    }
    return dg.AssetCheckResult(
        passed=not stale,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"stale configurations": stale, "to do": "prefassets measure MEASUREMENT"},
    )


@dg.asset_check(asset=["preferences", "answered"], additional_deps=[["preferences", "configuration"]])
def most_answers_say_something(store: Store) -> dg.AssetCheckResult:
    """Refusals and what cannot be read are left out of utilities; if they are many, so is what the model avoids."""
    silent = store.query(
        f"""
        select measurement || '.' || configuration as configuration, refusals, unparseable, answers
        from preferences.answered
        {_TODAY}
        where refusals + unparseable > $most * answers
        order by all
        """,
        most=MOST_WITHOUT_CHOICE,
    )
    found = {
        configuration: f"{refusals} refusals and {unparseable} unparseable of {answers} answers"
        for configuration, refusals, unparseable, answers in silent.iter_rows()
    }
    return dg.AssetCheckResult(passed=not found, severity=dg.AssetCheckSeverity.WARN, metadata={"said little": found})


@dg.asset_check(asset=["preferences", "utilities"], blocking=True)
def utilities_are_finite(store: Store) -> dg.AssetCheckResult:
    """A utility that is no number, or without a spread, cannot be compared with any."""
    broken = store.query(
        """
        select measurement || '.' || configuration as configuration, task_id
        from preferences.utilities
        where not (isfinite(mu) and isfinite(sigma) and sigma > 0 and coalesce(isfinite(se) and se > 0, true))
        order by all
        """
    )
    return dg.AssetCheckResult(passed=broken.is_empty(), metadata={"utilities": broken.rows()[:10]})
