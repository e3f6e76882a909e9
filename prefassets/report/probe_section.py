"""What both kinds of page say of probes: the part that `probes.html` shows, from the tables of `probes`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from markupsafe import Markup

from prefassets.report import probe_figures
from prefassets.report.probe_figures import Probe

MEANS = {  # state of probes.reading -> what it says of a target, one and several
    "READABLE": ("can be read off", "can be read off"),
    "BASELINE": ("is predicted, but not shown beyond a baseline", "are predicted, but not shown beyond a baseline"),
    "NOT SHOWN": ("is not shown to be readable", "are not shown to be readable"),
    "CANNOT TELL": ("cannot be judged", "cannot be judged"),
}
SPLITS = {  # split of probes.score -> what was left out, and the columns of probes.reading
    "unit": ("{} left out", "estimate", "widened"),
    "leave_one_topic_out": ("topics left out", "other_topics", "other_topics"),
    "leave_one_origin_out": ("origins left out", "other_origins", "other_origins"),
}
OF_ADAPTERS = {  # quantity, metric of probes.adapter -> title, unit
    ("contrast", "shift"): ("A - B: how far they move", "standard deviations"),
    ("interaction", "own_shift"): ("interaction: each moves its own further", "standard deviations"),
    ("divergence", "direction"): ("divergence: they move elsewhere", "cosine within groups - between"),
}


def told(rows: Mapping[str, pl.DataFrame], splits: Sequence[str] = ()) -> dict[str, Any]:
    """Everything that `probes.html` says.

    Args:
        rows: by name, one experiment's rows of `probes.reading`, `probes.against_baselines`, `probes.score`,
            `probes.sweep` and `probes.cross`; of a study `probes.adapter` too.
        splits: of a study, in its order.
    """
    readings = rows["probes.reading"]
    judged = readings.drop_nulls("estimate")
    kinds = Counter(readings["target"])
    titles = {
        (row["target"], row["probe"]): row["target"] + (f", {row['probe']}" if kinds[row["target"]] > 1 else "")
        for row in readings.iter_rows(named=True)
    }
    counts = Counter(readings["state"])
    return {
        "readings": readings.to_dicts(),
        "titles": titles,
        "in_short": [f"{counts[state]} {said[counts[state] > 1]}" for state, said in MEANS.items() if state in counts],
        "tried": max(readings["tried"], default=0),
        "cautions": _cautions(readings, titles),
        "beside": [
            Markup(probe_figures.beside_baselines(of_one, rows["probes.score"], f"probes-{metric}"))
            for (metric,), of_one in judged.partition_by("metric", as_dict=True, maintain_order=True).items()
        ],
        "left_out": _left_out(judged, rows["probes.score"], titles),
        "places": _places(rows["probes.against_baselines"], titles),
        "sweeps": _sweeps(judged, rows["probes.sweep"], titles),
        **_cross(judged, rows["probes.cross"], titles),
        "adapters": _adapters(rows.get("probes.adapter"), splits),
    }


def _cautions(readings: pl.DataFrame, titles: Mapping[tuple[str, str], str]) -> list[tuple[str, str]]:
    """Each caution once, with the targets that it concerns."""
    said: dict[str, list[str]] = {}
    for row in readings.iter_rows(named=True):
        for caution in filter(None, (row["cautions"] or "").split("; ")):
            said.setdefault(caution, []).append(titles[row["target"], row["probe"]])
    return [(caution, ", ".join(concerned)) for caution, concerned in said.items()]


def _left_out(
    judged: pl.DataFrame, scores: pl.DataFrame, titles: Mapping[tuple[str, str], str]
) -> dict[str, Any] | None:
    """The same probes where whole topics or origins were left out, beside the best baseline there; None without any."""
    present = [split for split in SPLITS if split in scores["split"]]
    if len(present) < 2:
        return None
    found = []
    for reading in judged.iter_rows(named=True):
        here = probe_figures.at_place(scores, reading).filter(
            pl.col("features").is_in(list(probe_figures.BASELINES)), metric=reading["metric"]
        )
        cells = []
        for split in present:
            _, estimate, ends = SPLITS[split]
            best = here.filter(split=split).drop_nulls("estimate").sort("estimate", descending=True).head(1)
            baselines = best.select("features", "estimate").iter_rows()
            baseline = next((f"{probe_figures.BASELINES[name][0]} {value:z.2f}" for name, value in baselines), None)
            own = {"estimate": reading[estimate]} | {end: reading[f"{ends}_{end}"] for end in ("lower", "upper")}
            cells.append(own | {"baseline": baseline or "no baseline"})
        metric = probe_figures.METRICS[reading["metric"]]
        found.append({"title": titles[reading["target"], reading["probe"]], "metric": metric, "cells": cells})
    return {"splits": [SPLITS[split][0] for split in present], "rows": found}


def _places(places: pl.DataFrame, titles: Mapping[tuple[str, str], str]) -> list[Markup]:
    known = places.drop_nulls("estimate")
    spans = probe_figures.spans(known)
    return [
        Markup(
            probe_figures.places(
                known.filter(target=target, probe=probe),
                spans[str(known.filter(target=target, probe=probe)["metric"][0])],
                f"probes-places-{number}",
                title,
            )
        )
        for number, ((target, probe), title) in enumerate(titles.items())
        if not known.filter(target=target, probe=probe).is_empty()
    ]


def _sweeps(judged: pl.DataFrame, sweep: pl.DataFrame, titles: Mapping[tuple[str, str], str]) -> list[Markup]:
    panels = []
    for number, row in enumerate(judged.iter_rows(named=True)):
        mine = sweep.filter(target=row["target"], probe=row["probe"], features=probe_figures.ACTIVATIONS)
        place = row["layer"], row["position"]
        if not mine.filter(layer=place[0], position=place[1]).drop_nulls("r_squared").is_empty():
            title = titles[row["target"], row["probe"]]
            panels.append(Markup(probe_figures.sweep(mine, place, f"probes-sweep-{number}", title)))
    return panels


def _cross(judged: pl.DataFrame, cross: pl.DataFrame, titles: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """Targets among themselves at one layer and position, the one that most readings name; each at all of them."""
    probes = _probes(cross, titles)
    at = Counter((row["layer"], row["position"]) for row in judged.iter_rows(named=True))
    place, matrices = None, []
    if at:
        place = at.most_common(1)[0][0]
        here = [probe for probe in probes if probe[2:] == place]
        if len(here) > 1:
            matrices = [
                Markup(probe_figures.cosines(cross, here, "probes-cosines", "cosine of directions")),
                Markup(probe_figures.transfers(cross, here, "probes-transfers", "transfer, r")),
            ]
    same = [
        Markup(probe_figures.agreements(cross, mine, f"probes-agreement-{number}", title))
        for number, (key, title) in enumerate(titles.items())
        if len(mine := [probe for probe in probes if probe[:2] == key]) > 1
    ]
    return {
        "cross": matrices,
        "cross_at": probe_figures.place_name(*place) if place else None,
        "same_target": same,
    }


def _probes(cross: pl.DataFrame, titles: Mapping[tuple[str, str], str]) -> list[Probe]:
    """All that are compared: by target as they are read, then by layer and position."""
    targets = list(titles)
    sides = [
        cross.select(pl.col(f"{part}_{side}") for part in ("target", "probe", "layer", "position")) for side in "ab"
    ]
    found: set[Probe] = {row for side in sides for row in side.iter_rows() if row[:2] in titles}
    positions = probe_figures.in_order(position for *_, position in found)
    return sorted(found, key=lambda one: (targets.index(one[:2]), one[2], positions.index(one[3])))


def _adapters(rows: pl.DataFrame | None, splits: Sequence[str]) -> list[Markup]:
    if rows is None:
        return []
    panels = []
    for (quantity, metric), (title, unit) in OF_ADAPTERS.items():
        of_one = rows.filter(quantity=quantity, metric=metric)
        if not of_one["estimate"].drop_nulls().is_empty():
            panels.append(Markup(probe_figures.adapters(of_one, splits, f"probes-{quantity}", title, unit)))
    return panels
