"""The figures of probes: how well a target is read off hidden states, beside what cannot know it.

Rows of the tables of `probes` in, one SVG each out. What is a probe's own is filled and dark, what is a baseline's is
hollow and grey, in every figure.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, floor, log10
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from prefassets.domain.probes.extraction import POSITIONS
from prefassets.report import drawing
from prefassets.report.drawing import BAND, FAINT, INK, PANEL

ACTIVATIONS, BY_UNIT = "activations", "unit"  # of probes.score: features, split
BASELINES = {  # features -> what a row of it is called, and its mark
    "topic": ("topic alone", "s"),
    "length": ("length alone", "D"),
    "text": ("text alone", "^"),
    "random activations": ("random activations", "v"),
    "shuffled labels": ("shuffled labels", "X"),
}
METRICS = {"r_squared": "R²", "auc": "AUC", "pairwise_accuracy": "share of choices right"}
PROBES = {"bradley_terry": "Bradley-Terry"}  # what is not called as its kind is
IN_SAMPLE = "#CC79A7"  # of Okabe and Ito's palette
LEFT, RIGHT = 0.3, 0.27  # of the width: what a row is of, and its numbers
LANE = 0.19  # inches
LEAST_SPAN = 0.1  # distance from chance that has the full colour, at least: what hardly differs must not look strong
FLOOR = -0.3  # scores below are cut off: how far a fit without penalty falls says nothing
MOST_NAMED = 16  # probes whose names still fit beside a matrix
LARGEST_CELL = 0.62  # inches
LEAST_SIZE = 4.8  # points: a number that would be smaller is left out
BY_CHANCE = "#f4f4f4"

# Not the colours of A and B, and light enough to write on.
VALUES = LinearSegmentedColormap.from_list("scores", ["#b78fc7", "#ffffff", "#7fc487"])


def place_name(layer: int, position: str) -> str:
    return f"{layer}, {position.replace('_', ' ')}"


def in_order(positions: Iterable[str]) -> list[str]:
    """As they come in a text, and after them what is none of the positions that are known."""
    known = list(POSITIONS)
    return sorted(set(positions), key=lambda one: (known.index(one) if one in known else len(known), one))


# ---- the penalty


def sweep(rows: pl.DataFrame, place: tuple[int, str], name: str, title: str) -> str:
    """The score of inner folds by penalty, at each layer and position, and which penalties the outer folds chose.

    The one at `place` has its band and, for contrast, the score on the rows that were fitted: where that is high and
    the other low, the probe has learned its rows by heart.

    Args:
        rows: of `probes.sweep` of one experiment, target and kind of probe; those of baselines are not drawn.
        place: layer and position whose band is drawn, as `probes.reading` names them.
        name: begins the ids of the figure, where several stand on a page.
        title: what the rows are of.
    """
    found = rows.filter(features=ACTIVATIONS).sort("layer", "position", "alpha")
    lines = {
        (int(layer), str(position)): line
        for (layer, position), line in found.partition_by(
            "layer", "position", as_dict=True, maintain_order=True
        ).items()
    }
    mine = lines[place]
    with drawing.styled(name):
        figure, (upper, lower) = drawing.panel(PANEL, [1.9, 0.45], title, legend_lines=3)
        for other, line in lines.items():
            if other != place:
                upper.plot(line["alpha"], line["r_squared"], color=FAINT, lw=0.5)
        upper.axhline(0, color=FAINT, lw=0.8, zorder=1)
        band = mine.drop_nulls(["lower", "upper"])
        upper.fill_between(band["alpha"], band["lower"], band["upper"], color=BAND, lw=0, zorder=1.5)
        upper.plot(mine["alpha"], mine["in_sample"], color=IN_SAMPLE, ls=(0, (4, 2)), lw=1.4)
        upper.plot(mine["alpha"], mine["r_squared"], color=INK, lw=1.6)
        low, high = drawing.extent(found["r_squared"], mine["in_sample"], 0)
        margin = 0.04 * (high - max(low, FLOOR))
        upper.set_ylim(max(low, FLOOR) - margin, high + margin)
        upper.set_ylabel("R²" if found["probe"][0] == "ridge" else "McFadden's R²")
        chosen = mine.filter(pl.col("chosen") > 0)
        lower.vlines(chosen["alpha"], 0, chosen["chosen"], color=INK, lw=2.4)
        lower.set_ylim(0, 1.1 * drawing.extent(mine["chosen"], 1)[1])
        lower.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        lower.set_ylabel("folds")
        lower.set_xlabel("penalty; below, folds that chose it")
        least, most = drawing.extent(found["alpha"])
        ticks, beside = _powers(least, most), (most / least) ** 0.05
        for axes in (upper, lower):
            axes.set_xscale("log")
            axes.set_xlim(least / beside, most * beside)
            axes.set_xticks(ticks, [_power(tick) for tick in ticks] if axes is lower else [])
            axes.set_xticks([], minor=True)
        others = len(lines) - 1
        drawing.legend(
            figure,
            [
                Line2D([], [], color=INK, label=f"inner folds, layer {place_name(*place)}"),
                Line2D([], [], color=IN_SAMPLE, ls=(0, (4, 2)), label="the rows it was fitted to"),
                *(
                    [Line2D([], [], color=FAINT, lw=0.5, label=f"the {others} other layers and positions")]
                    if others
                    else []
                ),
            ],
            columns=1,
        )
        best = mine.drop_nulls("r_squared").sort("r_squared", descending=True)
        heard = (
            f"highest {best['r_squared'][0]:.2f} at penalty {best['alpha'][0]:.2g}, "
            f"where fitted rows have {best['in_sample'][0] or 0:.2f}"
            if len(best)
            else "not known"
        )
        return drawing.svg(figure, name, f"Score of inner folds by penalty, {title}, {place_name(*place)}: {heard}")


def _powers(least: float, most: float) -> list[float]:
    """Powers of ten between, no more than six."""
    first, last = ceil(log10(least) - 1e-9), floor(log10(most) + 1e-9)
    return [10.0**power for power in range(first, last + 1, max(1, ceil((last - first) / 5)))]


def _power(value: float) -> str:
    return f"{value:g}" if 1e-3 <= value < 1e4 else f"1e{round(log10(value))}"


# ---- beside what cannot know


def beside_baselines(readings: pl.DataFrame, scores: pl.DataFrame, name: str) -> str:
    """Each probe's score on what was held out, and that of every baseline, with intervals; chance is the upright line.

    Args:
        readings: rows of `probes.reading` of one experiment and one metric, top row first; at least one.
        scores: rows of `probes.score` of that experiment.
        name: begins the ids of the figure.
    """
    metric, chance = readings["metric"][0], readings["chance"][0]
    blocks = [(row, _lanes(row, scores)) for row in readings.iter_rows(named=True)]
    drawn = [value for _, lanes in blocks for *_, numbers in lanes for value in numbers if value is not None]
    low, high = drawing.extent(*drawn, chance, chance + 0.02)
    low = max(low, chance - max(LEAST_SPAN, high - chance))
    margin = 0.05 * (high - low)
    left, right = low - margin, high + margin
    whole = (right - left) / (1 - LEFT - RIGHT)
    height = 0.52 + LANE * max(len(lanes) for _, lanes in blocks)  # inches
    inch = 1 / height
    with drawing.styled(name):
        figure, axes = drawing.rows(len(blocks), height, legend_lines=1)
        axes.set_xlim(left - LEFT * whole, right + RIGHT * whole)
        for place, (row, lanes) in enumerate(blocks):
            top = place - 0.5
            drawing.heading(axes, top + 0.14 * inch, row["target"], row["state"])
            drawing.subheading(axes, top + 0.29 * inch, _what_probe(row), f"{row['units']:,} units")
            first = top + 0.48 * inch
            ends = first - 0.1 * inch, first + (LANE * (len(lanes) - 1) + 0.1) * inch
            axes.vlines(chance, *ends, color=FAINT, lw=0.9, zorder=1)
            for number, (called, marker, own, numbers) in enumerate(lanes):
                at = first + LANE * number * inch
                axes.text(0, at, called, fontsize=8, va="center", transform=drawing.across(axes))
                _lane(axes, at, numbers, marker, own, left)
        axes.set_xticks([tick for tick in axes.get_xticks() if left <= tick <= right])
        axes.spines["bottom"].set_bounds(left, right)
        axes.set_xlabel(f"{METRICS[metric]}, held out; upright: nothing known", loc="left")
        drawing.legend(
            figure,
            [
                Line2D([], [], color=INK, marker="o", ms=5, label="read off activations"),
                Line2D([], [], color=FAINT, marker="s", mfc="white", ms=4.5, label="a baseline"),
            ],
        )
        heard = "; ".join(
            f"{row['target']}, {row['state']}: "
            + ", ".join(f"{called} {'unknown' if one[0] is None else f'{one[0]:.2f}'}" for called, _, _, one in lanes)
            for row, lanes in blocks
        )
        return drawing.svg(figure, name, f"{METRICS[metric]} on what was held out: {heard}")


Numbers = tuple[float | None, float | None, float | None]


def _lanes(reading: dict[str, Any], scores: pl.DataFrame) -> list[tuple[str, str, bool, Numbers]]:
    """What a row is called, its mark, whether it is read off activations, and its estimate and interval."""
    own: list[tuple[str, str, bool, Numbers]] = [
        ("probe", "o", True, (reading["estimate"], reading["widened_lower"], reading["widened_upper"]))
    ]
    if reading["within_topics"] is not None:
        ends = reading["within_topics_lower"], reading["within_topics_upper"]
        own.append(("within topics", "d", True, (reading["within_topics"], *ends)))
    found = at_place(scores, reading).filter(split=BY_UNIT, metric=reading["metric"])
    of = {row["features"]: (row["estimate"], row["lower"], row["upper"]) for row in found.iter_rows(named=True)}
    return own + [(called, marker, False, of[name]) for name, (called, marker) in BASELINES.items() if name in of]


def at_place(scores: pl.DataFrame, reading: dict[str, Any]) -> pl.DataFrame:
    """Of the rows of the reading's target and probe, those of its layer and position; of a baseline that is told once
    for all of them, that."""
    of_probe = scores.filter(target=reading["target"], probe=reading["probe"]).with_columns(
        here=(pl.col("layer") == reading["layer"]) & (pl.col("position") == reading["position"])
    )
    return (
        of_probe.filter(pl.col("here") | (pl.col("features") != ACTIVATIONS))
        .sort("here", "estimate", descending=True, nulls_last=True, maintain_order=True)
        .unique(["split", "features", "metric"], keep="first", maintain_order=True)
        .drop("here")
    )


def _lane(axes: Axes, at: float, numbers: Numbers, marker: str, own: bool, left: float) -> None:
    estimate, lower, upper = numbers
    if estimate is None:
        axes.text(
            1, at, "cannot be told", fontsize=8, ha="right", va="center", color=FAINT, transform=drawing.across(axes)
        )
        return
    colour = INK if own else FAINT
    if estimate < left:
        axes.plot([left], [at], "<", ms=4.5, color=colour, mfc=colour if own else "white", mew=1.2)
    else:
        shown = (max(lower, left) if lower is not None else None), upper
        drawing.interval(axes, at, (estimate, *shown), colour, marker, own, size=5.5 if own else 4.5)
    written = _short(estimate) + ("" if lower is None or upper is None else f" [{_short(lower)}, {_short(upper)}]")
    axes.text(1, at, written, fontsize=8, ha="right", va="center", transform=drawing.across(axes))


def _what_probe(row: dict[str, Any]) -> str:
    return f"{PROBES.get(row['probe'], row['probe'])} probe, layer {place_name(row['layer'], row['position'])}"


def _short(value: float) -> str:
    """Two decimals without the leading zero and no minus zero; of a number far beyond any score, its size."""
    return _bare(f"{value:z.2f}") if abs(value) < 100 else f"{value:.0e}"


def _bare(number: str) -> str:
    return number.replace("0.", ".", 1) if number.lstrip("+-").startswith("0.") else number


# ---- layers and positions


def spans(places: pl.DataFrame) -> dict[str, float]:
    """By metric, the distance from chance that has the full colour, so that the maps of several targets compare."""
    apart = places.with_columns(apart=(pl.col("estimate") - pl.col("chance")).abs())
    return {
        str(metric): max(LEAST_SPAN, float(largest or 0))
        for metric, largest in apart.group_by("metric").agg(pl.col("apart").max()).iter_rows()
    }


def places(rows: pl.DataFrame, span: float, name: str, title: str) -> str:
    """Score on what was held out by layer and position. Bold: above chance; framed: and beyond every baseline.

    Args:
        rows: of `probes.against_baselines` of one experiment, target and kind of probe; at least one.
        span: distance from chance that has the full colour.
        name: begins the ids of the figure.
        title: what the rows are of.
    """
    layers = rows["layer"].unique().sort(descending=True).to_list()
    positions = in_order(rows["position"])
    found = {(row["layer"], row["position"]): row for row in rows.iter_rows(named=True)}
    chance, roomy = rows["chance"][0], len(layers) <= 8
    with drawing.styled(name):
        aside, above, below, side = 0.42, 0.62, 0.26, 0.42 if roomy else 0.2  # inches
        whole = above + side * len(layers) + below
        figure = Figure(figsize=(PANEL, whole))
        axes = figure.add_axes((aside / PANEL, below / whole, 1 - (aside + 0.04) / PANEL, side * len(layers) / whole))
        axes.set_xlim(0, len(positions))
        axes.set_ylim(len(layers), 0)
        axes.set_xticks([one + 0.5 for one in range(len(positions))], [one.replace("_", "\n") for one in positions])
        axes.set_yticks([one + 0.5 for one in range(len(layers))], [str(one) for one in layers])
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        axes.set_ylabel("layer")
        axes.spines[:].set_visible(False)
        for down, layer in enumerate(layers):
            for across, position in enumerate(positions):
                _place(axes, across, down, found.get((layer, position)), chance, span, roomy)
        figure.text(0.005, 1 - 0.04 / whole, title, fontsize=9, fontweight="bold", va="top")
        figure.text(0.005, 0.05 / whole, "bold: above chance; framed: beyond every baseline", fontsize=8)
        heard = "; ".join(
            f"{place_name(row['layer'], row['position'])} "
            + ("unknown" if row["estimate"] is None else f"{row['estimate']:z.2f}{_verdict(row)}")
            for row in rows.iter_rows(named=True)
        )
        return drawing.svg(figure, name, f"{METRICS[rows['metric'][0]]} by layer and position, {title}: {heard}")


def _verdict(row: dict[str, Any]) -> str:
    return " beyond every baseline" if row["beyond_baselines"] else " above chance" if row["above_chance"] else ""


def _place(
    axes: Axes, across: int, down: int, row: dict[str, Any] | None, chance: float, span: float, roomy: bool
) -> None:
    if row is None or row["estimate"] is None:
        axes.add_patch(Rectangle((across, down), 1, 1, fc="white", ec=BAND, lw=0.6))
        axes.text(across + 0.5, down + 0.5, "none", fontsize=6.5, ha="center", va="center", color=FAINT)
        return
    colour = VALUES(0.5 + max(-0.5, min(0.5, (row["estimate"] - chance) / span / 2)))
    axes.add_patch(Rectangle((across + 0.02, down + 0.03), 0.96, 0.94, fc=colour, lw=0))
    if row["beyond_baselines"]:
        axes.add_patch(Rectangle((across + 0.03, down + 0.045), 0.94, 0.91, fc="none", ec=INK, lw=1.3, zorder=2))
    weight = "bold" if row["above_chance"] else "normal"
    told = roomy and row["widened_lower"] is not None
    middle = down + (0.36 if told else 0.5)
    axes.text(across + 0.5, middle, _short(row["estimate"]), fontsize=8, ha="center", va="center", fontweight=weight)
    if told:
        ends = f"[{_short(row['widened_lower'])}, {_short(row['widened_upper'])}]"
        axes.text(across + 0.5, down + 0.72, ends, fontsize=6.2, ha="center", va="center")


# ---- probes among themselves

Probe = tuple[str, str, int, str]  # target, kind, layer, position


def cosines(rows: pl.DataFrame, probes: Sequence[Probe], name: str, title: str) -> str:
    """Cosine between each two probes' directions. Faded: no further from 0 than those of shuffled labels.

    On the diagonal are fits of one probe that lack a fold each: no other cosine can be expected to be larger.

    Args:
        rows: of `probes.cross` of one experiment.
        probes: those to show, of one layer, top row first; at least two.
        name: begins the ids of the figure.
        title: what is shown, and where.
    """
    found = {}
    for (one, other), row in _pairs(rows, probes).items():
        if row["cosine"] is not None:
            found[max(one, other), min(one, other)] = row["cosine"], _within(row["cosine"], row["cosine_by_chance"])
    note = "diagonal: fits of one probe on other folds"
    return _matrix(found, probes, name, title, note, "Cosine between directions of probes")


def transfers(rows: pl.DataFrame, probes: Sequence[Probe], name: str, title: str) -> str:
    """Pearson r of what the probe of the row predicts with the target of the column, on what it has not seen.

    On the diagonal each probe predicts its own target. Faded: the interval has 0 in it, or a probe of shuffled labels
    would do as well.

    Args:
        rows: of `probes.cross` of one experiment.
        probes: those to show, of one layer, top row first; at least two.
        name: begins the ids of the figure.
        title: what is shown, and where.
    """
    found = {}
    for place, row in _pairs(rows, probes).items():
        if row["transfer"] is not None:
            with_zero = row["lower"] is not None and row["lower"] <= 0 <= row["upper"]
            found[place] = row["transfer"], with_zero or _within(row["transfer"], row["transfer_by_chance"])
    note = "row: the probe; column: what it predicts"
    return _matrix(found, probes, name, title, note, "Correlation of what each probe predicts with each target")


def agreements(rows: pl.DataFrame, probes: Sequence[Probe], name: str, title: str) -> str:
    """Pearson r over all items of what each two probes read off, held out; of one target, at several places.

    Args:
        rows: of `probes.cross` of one experiment.
        probes: those to show, top row first; at least two.
        name: begins the ids of the figure.
        title: what they read off.
    """
    found = {
        (one, other): (row["agreement"], False)
        for (one, other), row in _pairs(rows, probes).items()
        if row["agreement"] is not None and one > other
    }
    return _matrix(
        found, probes, name, title, "r of what both read off", "Correlation of what each two probes read off"
    )


def _within(value: float, half_width: float | None) -> bool:
    return half_width is not None and abs(value) <= half_width


def _pairs(rows: pl.DataFrame, probes: Sequence[Probe]) -> dict[tuple[int, int], dict[str, Any]]:
    at = {probe: place for place, probe in enumerate(probes)}
    sides = [[f"{part}_{side}" for part in ("target", "probe", "layer", "position")] for side in ("a", "b")]
    found = {}
    for row in rows.iter_rows(named=True):
        one, other = (at.get(tuple(row[part] for part in side)) for side in sides)
        if one is not None and other is not None:
            found[one, other] = row
    return found


def _matrix(
    found: Mapping[tuple[int, int], tuple[float, bool]],
    probes: Sequence[Probe],
    name: str,
    title: str,
    note: str,
    heard_as: str,
) -> str:
    count = len(probes)
    named = count <= MOST_NAMED
    names = [f"{called}  {place}" for place, called in enumerate(_called(probes), start=1)]
    with drawing.styled(name):
        longest = max(map(len, names))
        left = min(1.5, 0.14 + 0.056 * longest) if named else 0.3  # inches
        above, below = 0.46, 0.56
        side = min(PANEL - left - 0.04, LARGEST_CELL * count)
        whole = above + side + below
        figure = Figure(figsize=(PANEL, whole))
        axes = figure.add_axes((left / PANEL, below / whole, side / PANEL, side / whole))
        axes.set_xlim(0, count)
        axes.set_ylim(count, 0)
        middles = [place + 0.5 for place in range(count)]
        numbers = [str(place) for place in range(1, count + 1)]
        sparse = slice(None) if named else slice(0, None, max(1, count // 12))
        axes.set_xticks(middles[sparse], numbers[sparse], fontsize=7)
        axes.set_yticks(middles[sparse], (names if named else numbers)[sparse], fontsize=7)
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        axes.spines[:].set_visible(False)
        size = min(8.0, 72 * side / count * 0.85 / 2.4)  # a number is 2.4 times as wide as its size
        for (down, across), (value, by_chance) in found.items():
            colour = BY_CHANCE if by_chance else VALUES((value + 1) / 2)
            axes.add_patch(Rectangle((across, down), 1, 1, fc=colour, ec="white", lw=0.8 if named else 0))
            if size >= LEAST_SIZE:
                text = _bare(f"{value:+z.2f}") if abs(value) < 0.995 else f"{value:+.0f}"
                ink = "#8a8a8a" if by_chance else INK
                axes.text(across + 0.5, down + 0.5, text, fontsize=size, ha="center", va="center", color=ink)
        figure.text(0.005, 1 - 0.04 / whole, title, fontsize=9, fontweight="bold", va="top")
        figure.text(0.01, 0.32 / whole, note, fontsize=8, va="center")
        drawing.legend(
            figure,
            [
                *(
                    Line2D([], [], ls="", marker="s", ms=8, color=VALUES(place), mec=FAINT, mew=0.4, label=label)
                    for place, label in ((1.0, "1"), (0.0, "-1"))
                ),
                Line2D([], [], ls="", marker="s", ms=8, color=BY_CHANCE, mec=FAINT, mew=0.4, label="not told from 0"),
            ],
            columns=3,
        )
        apart = [value for (down, across), (value, _) in found.items() if down != across]
        heard = f"{min(apart):+.2f} to {max(apart):+.2f}" if apart else "not known"
        faded = sum(by_chance for (down, across), (_, by_chance) in found.items() if down != across)
        return drawing.svg(
            figure, name, f"{heard_as}, {count} probes, {title}: {heard}; {faded} of {len(apart)} not told from 0"
        )


def _called(probes: Sequence[Probe]) -> list[str]:
    """What tells them apart: target, kind, layer, position, as far as each differs among them."""
    parts = [
        (target, PROBES.get(kind, kind), str(layer), position.replace("_", " "))
        for target, kind, layer, position in probes
    ]
    differing = [len(set(values)) > 1 for values in zip(*parts, strict=True)]
    # The kind is told only where one target has several: valence by ridge, choices by Bradley-Terry need no kind.
    differing[1] = len({(target, kind) for target, kind, *_ in parts}) > len({target for target, *_ in parts})
    return [", ".join(value for value, told in zip(one, differing, strict=True) if told) for one in parts]


# ---- adapters


def adapters(rows: pl.DataFrame, splits: Sequence[str], name: str, title: str, unit: str) -> str:
    """One quantity of each split, at every layer and position, with 95 % intervals over users and seeds.

    Args:
        rows: of `probes.adapter` of one study, one quantity and one metric.
        splits: which, top row first.
        name: begins the ids of the figure.
        title: which quantity.
        unit: what it is measured in.
    """
    wheres = [
        (layer, position)
        for layer in rows["layer"].unique().sort().to_list()
        for position in in_order(rows.filter(layer=layer)["position"])
    ]
    found = {(row["split"], row["layer"], row["position"]): row for row in rows.iter_rows(named=True)}
    measured = set(rows.drop_nulls("estimate")["split"])
    low, high = drawing.extent(rows["lower"], rows["upper"], rows["estimate"], 0)
    margin = 0.05 * (high - low) or 0.1
    left, right = low - margin, high + margin
    lane = 0.15
    heights = [0.36 + (lane * len(wheres) if split in measured else 0.1) for split in splits]  # inches, as all here
    with drawing.styled(name):
        above, below, told = 0.28, 0.5, sum(heights)
        whole = above + told + below
        figure = Figure(figsize=(PANEL, whole))
        axes = figure.add_axes((0.02, below / whole, 0.96, told / whole))
        axes.set_ylim(told, 0)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlim(left - LEFT / (1 - LEFT) * (right - left), right)
        top = 0.0
        for split, height in zip(splits, heights, strict=True):
            if top:
                axes.axhline(top, color="#d5d5d5", lw=0.5)
            drawing.heading(axes, top + 0.15, split, "")
            if split not in measured:
                why = next((row["note"] for row in rows.filter(split=split).iter_rows(named=True)), None)
                drawing.subheading(axes, top + 0.33, why or "nothing measured yet", "")
            else:
                axes.vlines(0, top + 0.25, top + height - 0.06, color=FAINT, lw=0.8, zorder=1)
                for number, where in enumerate(wheres):
                    _adapter(axes, top + 0.34 + lane * number, where, found.get((split, *where)))
            top += height
        axes.set_xticks([tick for tick in axes.get_xticks() if left <= tick <= right])
        axes.spines["bottom"].set_bounds(left, right)
        axes.set_xlabel(unit, loc="left")
        figure.text(0.005, 1 - 0.04 / whole, title, fontsize=9, fontweight="bold", va="top")
        heard = (
            f"{row['split']} {place_name(row['layer'], row['position'])} {row['estimate']:+.2f}"
            for row in rows.drop_nulls("estimate").iter_rows(named=True)
        )
        return drawing.svg(figure, name, f"{title}, {unit}: {'; '.join(heard) or 'nothing measured yet'}")


def _adapter(axes: Axes, at: float, where: tuple[int, str], row: dict[str, Any] | None) -> None:
    axes.text(0, at, place_name(*where), fontsize=7, va="center", transform=drawing.across(axes))
    if row and row["estimate"] is not None:
        apart = row["lower"] is not None and not row["lower"] <= 0 <= row["upper"]
        told = apart and row["state"] != "cannot tell"
        drawing.interval(axes, at, (row["estimate"], row["lower"], row["upper"]), INK, "o", told, size=4)
