"""What a home holds of a measurement, written down instead of asked: two ways of asking and their tasks."""

from dataclasses import replace

import polars as pl

from prefassets.domain.preferences.active_learning import Plan
from prefassets.domain.preferences.measurement import Measurement, Revealed, Stated
from prefassets.domain.preferences.template import Template
from prefassets.report.measurement_page import MeasurementFindings
from prefassets.resources.measurement_reports import READS
from prefassets.resources.reports import PROBES
from prefassets.resources.sql_tables import all_tables

ORIGINS = ("MATH", "ALPACA", "BAILBENCH")
BY_TEMPLATE = ("plain", "seed1", "xml")
RATED = "rating-honest-yes_somewhat_no-after_tasks"
MEASUREMENT = Measurement(
    name="liked",
    question="Which tasks does it like?",
    model="someone/model-8B",
    backend="endpoint",
    revealed=Revealed(
        templates=(Template(), replace(Template(), seed=1), replace(Template(), response_format="xml")),
        plan=Plan(policy="active"),
    ),
    stated=Stated(framings=("honest",), options=("yes_somewhat_no",)),
    tasks=6,
    origins=ORIGINS,
)


def table(name, rows):
    """Rows of a declared table; what is not said is empty."""
    blank = dict.fromkeys(all_tables()[name].columns) | {"measurement": "liked"}
    columns = all_tables()[name].columns
    return pl.DataFrame(
        [{column: (blank | row)[column] for column in columns} for row in rows], schema=all_tables()[name].schema
    )


def states(measurement=MEASUREMENT, **changed):
    """Every configuration finished, unless `changed` says otherwise of its name, with `-` written `_`."""
    rows = []
    for configuration in measurement.configurations:
        state, reason = changed.get(configuration.name.replace("-", "_"), ("finished", ""))
        rows.append((configuration.name, state, reason))
    return pl.DataFrame(rows, ["configuration", "state", "reason"], orient="row")


def written(measurement=MEASUREMENT, tasks=6, state="PREFERENCES", **changed):
    """A finished measurement: utilities fall from 2 to -2, and all ways of asking but the first are in POSITION."""
    ways = [configuration.name for configuration in measurement.choice_configurations]
    identities = [f"t{place}" for place in range(tasks)]
    rows = {
        "preferences.answered": [
            {
                "configuration": configuration.name,
                "model": "someone/model-8B",
                "revision": "model-8B-0914",
                "tasks": tasks,
            }
            | {"answers": 100, "refusals": 7, "unparseable": 3, "finished_at": f"2026-11-26T0{place % 10}:30:00+00:00"}
            for place, configuration in enumerate(measurement.configurations)
        ],
        "preferences.reading": [
            {"configuration": way, "state": "POSITION" if place else state, "sentence": f"What may be said of {way}."}
            | {"first_slot": 0.7, "first_slot_lower": 0.6, "first_slot_upper": 0.8, "one_slot_accuracy": 0.7}
            | {"coins_rate": 0.2, "cautions": "10.0 % of answers chose no task"}
            for place, way in enumerate(ways)
        ],
        "preferences.reliability": [
            {"configuration": way, "answers": 100, "agreement": 0.625, "cycle_rate": 0.05} for way in ways
        ],
        "preferences.current_fit": [
            {"configuration": way, "accuracy": 0.812, "accuracy_lower": 0.75, "accuracy_upper": 0.87, "log_loss": 0.4}
            | {"gain": 0.21, "gain_lower": 0.1, "gain_upper": 0.32, "published_correlation": 0.93}
            | {"connectivity": "The 6 tasks are one group.", "note": ""}
            for way in ways
        ],
        "preferences.transitivity": [
            {"configuration": way, "cycle_rate": 0.05, "lower": 0.01, "upper": 0.09, "null_rate": 0.25} for way in ways
        ],
        "preferences.current_utilities": [
            {"configuration": way, "task_id": task, "place": place, "mu": 2 - 4 * place / max(1, tasks - 1), "se": 0.25}
            for way in ways
            for place, task in enumerate(identities)
        ],
        "preferences.mean_utility": [
            {"configuration": way, "grouped_by": by, "origin": origin, "topic": topic, "tasks": 2, "mean_mu": 0.4}
            | {"lower": -0.1, "upper": 0.9}
            for way in ways
            for origin in ORIGINS
            for by, topic in (("origin", None), ("topic", "number_theory"))
        ],
        "preferences.utility_correlation": [
            {
                "adjustment": adjustment,
                "configuration_a": one,
                "configuration_b": other,
                "correlation": 0.5 - 0.1 * place,
            }
            for adjustment in ("none", "list position")
            for place, one in enumerate(ways)
            for other in ways[place + 1 :]
        ],
        "preferences.sensitivity": [
            {"adjustment": adjustment, "field": field, "field_group": field, "same_pairs": 4, "estimate": estimate}
            | {"lower": estimate and estimate - 0.1, "upper": estimate and estimate + 0.1, "permutation_p": 0.04}
            | {"state": "estimated" if estimate else "does not vary", "reason": None if estimate else "it is the same"}
            for adjustment in ("none", "list position")
            for field, estimate in (("response_format", 0.3), ("phrasing", None))
        ],
        "preferences.sensitivity_fit": [
            {"adjustment": adjustment, "configurations": len(ways), "templates": 2, "pairs": 3, "r_squared": 0.2}
            | {"columns": 4, "design_rank": 3, "mean_correlation": 0.45, "aliased": "seed, template"}
            for adjustment in ("none", "list position")
        ],
        "preferences.positivity": [
            {"when_asked": when, "framing": "honest", "options": "yes_somewhat_no", "asked": 6, "valid": 6}
            | {f"{side}_{end}": 0.5 for side in ("positive", "negative") for end in ("share", "lower", "upper")}
            | {"mean_value": 0.0}
            for when in ("after", "before")
        ],
        "preferences.efficiency": [
            {"configuration": way, "policy": policy, "budget": budget, "held_out": kind}
            | {f"{metric}{end}": 0.7 for metric in ("accuracy", "correlation") for end in ("", "_lower", "_upper")}
            for way in ways[:1]
            for policy, budgets in (("active", (10, 20)), ("random", (10, 20)), ("all pairs", (30,)))
            for budget in budgets
            for kind in ("random", "close")
        ],
        "preferences.rounds": [
            {
                "configuration": way,
                "policy": "active",
                "round": number,
                "pairs_asked": 5,
                "comparisons": 10 * (number + 1),
            }
            | {
                "least_degree": 3,
                "rank_correlation": 0.97 if number else None,
                "ended_by": "converged" if number else None,
            }
            for way in ways
            for number in (0, 1)
        ],
        "tasks.tasks": [
            {"task_id": task, "origin": ORIGINS[place % 3], "topic": "number_theory", "text": f"Text of {task}."}
            for place, task in enumerate(identities)
        ],
    }
    rows |= {name: [] for name in PROBES}  # a figure each: test_probe_section has them
    assert set(rows) == set(READS)
    tables = {name: table(name, rows[name]) for name in READS}
    return MeasurementFindings(measurement, "tasks from the hub, seed 0", states(measurement, **changed), tables)


def lacking(*tables, **how):
    """The same without rows in these tables."""
    full = written(**how)
    return replace(full, tables={name: rows.clear() if name in tables else rows for name, rows in full.tables.items()})
