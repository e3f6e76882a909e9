"""One self-contained HTML page per measurement: how far to believe it first, then what the model seems to prefer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from textwrap import shorten
from typing import Any

import polars as pl
from markupsafe import Markup

from prefassets.domain.preferences.efficiency import CEILING
from prefassets.domain.preferences.measurement import ChoiceConfiguration, Measurement
from prefassets.report import preference_figures, probe_section, sensitivity_figures, utility_figures
from prefassets.report.templates import template

LONGEST = 200  # characters of a task's text
FEW = 12  # ways of asking; more are listed folded
MEANS = {  # state of preferences.reading -> what it says of a configuration, one and several
    "PREFERENCES": ("predicts choices that it has not seen", "predict choices that they have not seen"),
    "CIRCLES": ("predicts unseen choices but goes round in circles", "predict unseen choices but go round in circles"),
    "POSITION": ("is not shown to say more than position", "are not shown to say more than position"),
    "COINS": ("is not shown to say more than a coin", "are not shown to say more than a coin"),
    "CANNOT TELL": ("cannot be judged", "cannot be judged"),
}


@dataclass(frozen=True)
class MeasurementFindings:
    """What a home holds of one measurement: what was read, and nothing computed from it.

    `states` has a row per planned configuration: `configuration`, `state` (finished, missing, stale) and `reason`.
    `tables` has, by name, the measurement's own rows of each table that the page shows, and the tasks that have
    utilities; one that was never made is empty. `source` says where tasks come from.
    """

    measurement: Measurement
    source: str
    states: pl.DataFrame
    tables: Mapping[str, pl.DataFrame]


def render(findings: MeasurementFindings, made: datetime) -> str:
    """The page as HTML text. Equal findings give equal pages, but for the line that says when it was `made` (UTC)."""
    return template("measurement.html").render(**_told(findings), made=made)


def _told(findings: MeasurementFindings) -> dict[str, Any]:
    """Everything that the template says."""
    measurement = findings.measurement
    planned = [configuration.name for configuration in measurement.configurations]
    rows = {table: _in_order(found, planned) for table, found in findings.tables.items()}
    answered, readings = rows["preferences.answered"], rows["preferences.reading"]
    choosing = [configuration.name for configuration in measurement.choice_configurations]
    with_choices = [name for name in choosing if name in answered["configuration"]]
    return {
        "measurement": measurement,
        "source": findings.source,
        "counts": _counts(findings),
        "unfinished": _unfinished(findings),
        "asked": not answered.is_empty(),
        "models": _models(answered),
        "with_choices": with_choices,
        "not_judged": [name for name in with_choices if name not in readings["configuration"]],
        "readings": _readings(rows),
        "few": FEW,
        "in_short": _in_short(readings),
        "connectivity": _connectivity(readings, rows["preferences.current_fit"]),
        "cautions": _cautions(readings),
        **_utilities(rows, choosing),
        **_agreement(rows, choosing),
        **_ratings(rows["preferences.positivity"]),
        **_choice_of_pairs(rows),
        "probes": probe_section.told(rows),
    }


def _in_order(rows: pl.DataFrame, planned: Sequence[str]) -> pl.DataFrame:
    """Rows of planned configurations, in their order; a table that is not by configuration as it is."""
    if "configuration" not in rows.columns:
        return rows
    order = pl.DataFrame({"configuration": planned, "place_": range(len(planned))})
    return (
        rows.join(order, on="configuration", maintain_order="left").sort("place_", maintain_order=True).drop("place_")
    )


# ---- what is there


def _counts(findings: MeasurementFindings) -> list[tuple[str, int, int]]:
    """For choices and ratings, where any are planned: what they are called, how many are finished and planned."""
    finished = set(findings.states.filter(state="finished")["configuration"])
    measurement = findings.measurement
    kinds = ("choices", measurement.choice_configurations), ("ratings", measurement.rating_configurations)
    return [
        (what, sum(configuration.name in finished for configuration in configurations), len(configurations))
        for what, configurations in kinds
        if configurations
    ]


def _unfinished(findings: MeasurementFindings) -> list[dict[str, Any]]:
    """Per kind, state and reason: the configurations that are not finished, in the measurement's order."""
    kinds = {
        configuration.name: "choices" if isinstance(configuration, ChoiceConfiguration) else "ratings"
        for configuration in findings.measurement.configurations
    }
    return (
        findings.states.filter(pl.col("state") != "finished")
        .with_columns(kind=pl.col("configuration").replace_strict(kinds, return_dtype=pl.String))
        .group_by("kind", "state", "reason", maintain_order=True)
        .agg("configuration")
        .to_dicts()
    )


def _models(answered: pl.DataFrame) -> list[dict[str, Any]]:
    """Per model and revision that answered: how many configurations and answers, and when."""
    return (
        answered.group_by("model", "revision")
        .agg(
            configurations=pl.len(),
            answers=pl.col("answers").sum(),
            tasks=pl.col("tasks").max(),
            first=pl.col("finished_at").min(),
            last=pl.col("finished_at").max(),
        )
        .sort("configurations", "revision", descending=[True, False])
        .to_dicts()
    )


# ---- how far to believe it


def _readings(rows: Mapping[str, pl.DataFrame]) -> list[dict[str, Any]]:
    """Per judged configuration, everything that is known of it."""
    key = ["measurement", "configuration"]
    found = rows["preferences.reading"]
    cycles = rows["preferences.transitivity"].rename({"lower": "cycle_lower", "upper": "cycle_upper"})
    for other in (
        rows["preferences.current_fit"],
        cycles,
        rows["preferences.answered"],
        rows["preferences.reliability"],
    ):
        own = [*key, *(column for column in other.columns if column not in found.columns)]
        found = found.join(other.select(own), on=key, how="left", maintain_order="left")
    return found.to_dicts()


def _in_short(readings: pl.DataFrame) -> list[str]:
    """How many configurations are in each state, in words, best first."""
    counts = dict(readings.group_by("state").len().iter_rows())
    return [f"{counts[state]} {said[counts[state] > 1]}" for state, said in MEANS.items() if state in counts]


def _connectivity(readings: pl.DataFrame, fit: pl.DataFrame) -> list[tuple[str, str]]:
    """Each sentence once, with the judged configurations that it is said of."""
    judged = fit.join(readings, on="configuration", how="semi", maintain_order="left")
    return _said_of(judged.select("configuration", "connectivity").drop_nulls().rows(), len(readings))


def _cautions(readings: pl.DataFrame) -> list[tuple[str, str]]:
    """Each caution once, with the configurations that it concerns."""
    said = [
        (configuration, caution)
        for configuration, cautions in readings.select("configuration", "cautions").iter_rows()
        for caution in filter(None, (cautions or "").split("; "))
    ]
    return _said_of(said, len(readings))


def _said_of(said: Sequence[tuple[str, str]], of: int) -> list[tuple[str, str]]:
    """(text, whom it concerns) for (configuration, text): all `of` them in one word."""
    concerned: dict[str, list[str]] = {}
    for configuration, text in said:
        concerned.setdefault(text, []).append(configuration)
    return [
        (text, "all ways of asking" if len(names) == of > 1 else ", ".join(names)) for text, names in concerned.items()
    ]


# ---- what it seems to prefer


def _utilities(rows: Mapping[str, pl.DataFrame], choosing: Sequence[str]) -> dict[str, Any]:
    """The first configuration with utilities: its tasks from the highest to the lowest, and means by group."""
    utilities = rows["preferences.current_utilities"]
    shown = next((name for name in choosing if name in utilities["configuration"]), None)
    if shown is None:
        return {"shown": None}
    ranked = (
        utilities.filter(configuration=shown)
        .join(rows["tasks.tasks"].select("task_id", "origin", "topic", "text"), on="task_id", how="left")
        .sort("mu", "task_id", descending=[True, False])
        .with_row_index("rank", offset=1)
        .with_columns(
            pl.col("origin").fill_null(utility_figures.UNKNOWN),
            lower=pl.col("mu") - 1.96 * pl.col("se"),
            upper=pl.col("mu") + 1.96 * pl.col("se"),
        )
    )
    listed = utility_figures.ends(ranked)
    state = rows["preferences.reading"].filter(configuration=shown)
    means = rows["preferences.mean_utility"].filter(configuration=shown)
    return {
        "shown": shown,
        "shown_reading": next(state.iter_rows(named=True), None),
        "tasks_figure": Markup(utility_figures.tasks(ranked)),
        "spread_figure": Markup(utility_figures.distribution(ranked)) if len(ranked) > len(listed) else None,
        "tasks_listed": [row | {"text": _shortened(row["text"])} for row in listed.iter_rows(named=True)],
        "tasks_in_all": len(ranked),
        "means": means.filter(grouped_by="origin").to_dicts(),
        "topics": means.filter(pl.col("grouped_by") == "topic", pl.col("topic").is_not_null()).to_dicts(),
    }


def _shortened(text: str | None) -> str:
    return "its text is not in tasks.tasks any more" if text is None else shorten(text, LONGEST, placeholder=" ...")


# ---- what that depends on


def _agreement(rows: Mapping[str, pl.DataFrame], choosing: Sequence[str]) -> dict[str, Any]:
    """How alike the configurations' utilities are, and which parts of asking that depends on."""
    correlations = rows["preferences.utility_correlation"]
    known = set(correlations["configuration_a"]) | set(correlations["configuration_b"])
    compared = [name for name in choosing if name in known]
    fit, coefficients = rows["preferences.sensitivity_fit"], rows["preferences.sensitivity"]
    varying = coefficients.filter(pl.col("state") != "does not vary")
    estimated = not (varying["estimate"].drop_nulls().is_empty() or fit.is_empty())
    return {
        "compared": compared,
        "agreement_figure": Markup(utility_figures.agreement(correlations, compared)) if len(compared) > 1 else None,
        "least_alike": _least_alike(correlations, compared),
        "sensitivity_figure": Markup(sensitivity_figures.coefficients(varying, fit)) if estimated else None,
        "sensitivity_fits": fit.to_dicts(),
        "not_estimated": coefficients.filter(pl.col("adjustment") == "none", pl.col("estimate").is_null())
        .group_by("state", "reason", maintain_order=True)
        .agg("field")
        .to_dicts(),
        "named_in_map": len(compared) <= utility_figures.MOST_NAMED,
    }


def _least_alike(correlations: pl.DataFrame, compared: Sequence[str]) -> dict[str, Any] | None:
    of_planned = correlations.filter(
        pl.col("configuration_a").is_in(list(compared)),
        pl.col("configuration_b").is_in(list(compared)),
        adjustment="none",
    )
    return next(of_planned.sort("correlation").iter_rows(named=True), None)


def _ratings(positivity: pl.DataFrame) -> dict[str, Any]:
    """A heat map of ratings for each time of asking."""
    found = positivity.partition_by("when_asked", as_dict=True, maintain_order=True)
    return {
        "ratings": {
            str(when): Markup(
                sensitivity_figures.positivity(of_one, f"ratings-{when}", f"rated {when} the task was done")
            )
            for (when,), of_one in found.items()
        }
    }


def _choice_of_pairs(rows: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    """What other policies would have made of these answers, and how rounds went where pairs were chosen."""
    efficiency, rounds = rows["preferences.efficiency"], rows["preferences.rounds"]
    chosen = rounds.filter(policy="active")
    ended = chosen.filter(pl.col("round") == pl.col("round").max().over("configuration"))
    return {
        "efficiency_figure": None
        if efficiency.is_empty()
        else Markup(preference_figures.efficiency(efficiency, CEILING)),
        "efficiency_of": next(iter(efficiency["configuration"]), None),
        "rounds": chosen.filter(pl.col("configuration") == pl.col("configuration").first()).to_dicts(),
        "rounds_ended": ended.to_dicts(),
    }
