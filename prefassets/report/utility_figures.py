"""The figures of utilities themselves: of each task, of all tasks by origin, and how alike configurations have them."""

from collections.abc import Sequence
from textwrap import wrap

import numpy as np
import polars as pl
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from prefassets.domain.preferences.tasks import ORIGINS
from prefassets.report import drawing
from prefassets.report.drawing import FAINT, INK, WIDTH
from prefassets.report.preference_figures import COLOURS, MARKERS

ENDS = 15  # tasks that are shown at either end, where there are more than two such ends
UNKNOWN = "unknown"  # origin of a task that is in no table any more
STYLES = {origin: (COLOURS[place], MARKERS[place]) for place, origin in enumerate(ORIGINS)} | {UNKNOWN: (FAINT, "x")}
LANE = 0.17  # inches
BINS = 30
MOST_NAMED = 16  # configurations whose names still fit beside the map
LEAST_SIZE = 5.0  # points: a number that would be smaller is left out
NAME = 24  # characters to a line

# Not the colours of A and B, and light enough to write on.
ALIKE = LinearSegmentedColormap.from_list("alike", ["#b78fc7", "#ffffff", "#7fc487"])


def ends(ranked: pl.DataFrame) -> pl.DataFrame:
    """The first and the last `ENDS` rows; all of them where these are no more."""
    return ranked if len(ranked) <= 2 * ENDS else pl.concat([ranked.head(ENDS), ranked.tail(ENDS)])


def tasks(ranked: pl.DataFrame) -> str:
    """mu of each task with its 95 % interval (mu +- 1.96 standard errors), highest on top; of many, both ends.

    Args:
        ranked: `rank` (1 the highest), `origin`, `mu`, `lower`, `upper`, in order of rank; at least one.
    """
    shown = ends(ranked)
    between = len(ranked) - len(shown)
    origins = [origin for origin in STYLES if origin in shown["origin"]]
    places = [place + (1.4 if between and place >= ENDS else 0) for place in range(len(shown))]
    with drawing.styled("tasks"):
        above, left, legend_lines = 0.06, 0.4, (len(origins) + 1) // 2
        below = 0.46 + 0.2 * legend_lines
        lanes = LANE * (places[-1] + 1)
        whole = above + lanes + below
        figure = Figure(figsize=(WIDTH, whole))
        axes = figure.add_axes((left / WIDTH, below / whole, 1 - (left + 0.06) / WIDTH, lanes / whole))
        axes.set_ylim(places[-1] + 0.6, -0.6)
        axes.set_yticks(places, [str(rank) for rank in shown["rank"]], fontsize=6.5)
        axes.tick_params(axis="y", length=0)
        gap = [ENDS - 0.4, ENDS + 0.8] if between else []
        stretches = [-0.6, *gap, places[-1] + 0.6]
        axes.vlines([0] * (len(stretches) // 2), stretches[::2], stretches[1::2], color=FAINT, lw=0.8, zorder=1)
        for place, row in zip(places, shown.iter_rows(named=True), strict=True):
            colour, marker = STYLES[row["origin"]]
            drawing.interval(axes, place, (row["mu"], row["lower"], row["upper"]), colour, marker, size=3.8)
        if between:
            axes.text(
                0.5,
                ENDS + 0.2,
                f"{between:,} tasks between",
                ha="center",
                va="center",
                color=FAINT,
                transform=drawing.across(axes),
            )
        axes.set_xlabel("utility mu")
        drawing.legend(
            figure,
            [
                Line2D([], [], color=STYLES[origin][0], marker=STYLES[origin][1], ms=3.8, label=origin)
                for origin in origins
            ],
        )
        told = "; ".join(f"{row['rank']} {row['origin']} {row['mu']:+.2f}" for row in shown.iter_rows(named=True))
        return drawing.svg(figure, "tasks", f"Utility mu of {len(shown)} of {len(ranked):,} tasks by rank: {told}")


def distribution(ranked: pl.DataFrame) -> str:
    """How the mu of all tasks are spread, origin by origin.

    Args:
        ranked: `origin`, `mu`; at least one row.
    """
    origins = [origin for origin in STYLES if origin in ranked["origin"]]
    low, high = drawing.extent(ranked["mu"], 0)
    edges = np.linspace(low, high + 1e-9, BINS + 1)
    told = []
    with drawing.styled("spread"):
        figure, axes = drawing.rows(len(origins), 0.62, legend_lines=0)
        for place, origin in enumerate(origins):
            mu = ranked.filter(origin=origin)["mu"].to_numpy()
            counts, _ = np.histogram(mu, edges)
            drawing.heading(axes, place - 0.36, origin, drawing.counted(len(mu), "task"))
            axes.bar(
                edges[:-1],
                -0.55 * counts / max(counts.max(), 1),
                np.diff(edges),
                bottom=place + 0.42,
                align="edge",
                color=STYLES[origin][0],
                lw=0,
            )
            mean = float(mu.mean())
            axes.plot([mean], [place - 0.2], "v", ms=4.5, color=INK)
            told.append(f"{origin} mean {mean:+.2f}")
        margin = 0.03 * (high - low) or 1.0
        axes.set_xlim(low - margin, high + margin)
        drawing.keep_labels_inside(axes)
        axes.set_xlabel("utility mu; the mark is the mean")
        return drawing.svg(figure, "spread", f"Distribution of mu by origin: {'; '.join(told)}")


def agreement(correlations: pl.DataFrame, configurations: Sequence[str]) -> str:
    """Pearson correlation of mu between each two configurations: as fitted below the diagonal, and above it without
    what the place in the list of tasks explains.

    Args:
        correlations: rows of `preferences.utility_correlation` of one measurement.
        configurations: those to show, top row first; at least two.
    """
    place_of = {name: place for place, name in enumerate(configurations)}
    found = {}
    for row in correlations.iter_rows(named=True):
        if row["configuration_a"] in place_of and row["configuration_b"] in place_of:
            one, other = sorted((place_of[row["configuration_a"]], place_of[row["configuration_b"]]))
            below = row["adjustment"] == "none"
            found[(other, one) if below else (one, other)] = row["correlation"]
    count = len(configurations)
    named = count <= MOST_NAMED
    names = ["\n".join(_lines(name)) + f"  {place}" for place, name in enumerate(configurations, start=1)]
    with drawing.styled("agreement"):
        longest = max(len(line) for name in names for line in name.splitlines())
        left = min(1.6, 0.14 + 0.054 * longest) if named else 0.3
        above, side = 0.22, WIDTH - left - 0.04
        below = 0.34
        whole = above + side + below
        figure = Figure(figsize=(WIDTH, whole))
        axes = figure.add_axes((left / WIDTH, below / whole, side / WIDTH, side / whole))
        axes.set_xlim(0, count)
        axes.set_ylim(count, 0)
        middles = [place + 0.5 for place in range(count)]
        numbers = [str(place) for place in range(1, count + 1)]
        sparse = slice(None) if named else slice(0, None, max(1, count // 12))
        axes.set_xticks(middles[sparse], numbers[sparse], fontsize=6.5)
        axes.set_yticks(middles[sparse], (names if named else numbers)[sparse], fontsize=6.5)
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        axes.spines[:].set_visible(False)
        size = min(6.5, 72 * side / count * 0.85 / 2.4)  # a number is 2.4 times as wide as its size
        for (down, across), value in found.items():
            colour = ALIKE((value + 1) / 2)
            axes.add_patch(Rectangle((across, down), 1, 1, fc=colour, ec="white", lw=0.8 if named else 0))
            if size >= LEAST_SIZE:
                text = f"{value:+.2f}".replace("0.", ".", 1)
                axes.text(across + 0.5, down + 0.5, text, fontsize=size, ha="center", va="center")
        for place in range(count):
            axes.add_patch(Rectangle((place, place), 1, 1, fc="#ececec", ec="white", lw=0.8 if named else 0))
        drawing.legend(
            figure,
            [
                Line2D([], [], ls="", marker="s", ms=8, color=ALIKE(place), mec=FAINT, mew=0.4, label=label)
                for place, label in ((1.0, "r = 1"), (0.5, "0"), (0.0, "-1"))
            ],
            columns=3,
        )
        below_diagonal = [value for (down, across), value in found.items() if down > across]
        told = (
            f"{min(below_diagonal):+.2f} to {max(below_diagonal):+.2f}, mean {np.mean(below_diagonal):+.2f}"
            if below_diagonal
            else "not known"
        )
        label = f"Correlation of utilities between {count} configurations: {told}"
        return drawing.svg(figure, "agreement", label)


def _lines(name: str) -> list[str]:
    """A configuration's name in lines that fit: broken after a hyphen, or anywhere if there is none."""
    return [line.replace("- ", "-") for line in wrap(name.replace("-", "- "), NAME)]
