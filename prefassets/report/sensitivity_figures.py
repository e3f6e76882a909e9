"""The figures of how one asks: which template fields utilities depend on, and how positive ratings are."""

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from prefassets.domain.preferences.sensitivity import ALIASED
from prefassets.report import drawing
from prefassets.report.drawing import FAINT, INK, WIDTH

ADJUSTMENT_MARKERS = {"none": "o", "list position": "D"}
ADJUSTMENT_LABELS = {"none": "as fitted", "list position": "without the list position"}
NUMBERS = 0.33  # of the width: where estimates are written out
LINE, LANE = 0.14, 0.22  # inches: of text below a heading, of an interval

# Not the colours of A and B, and light enough to write on.
VALUES = LinearSegmentedColormap.from_list("values", ["#b78fc7", "#ffffff", "#7fc487"])


def coefficients(rows: pl.DataFrame, fit: pl.DataFrame) -> str:
    """How much higher utilities correlate between configurations that share a template field, with 95 % intervals.

    Fields that cannot be told apart have one row together, in grey and hollow.

    Args:
        rows: of `preferences.sensitivity` of one measurement, of one adjustment or of both; at least one.
        fit: its rows of `preferences.sensitivity_fit`.
    """
    adjustments = [name for name in ADJUSTMENT_MARKERS if name in rows["adjustment"]]
    groups = (
        rows.filter(adjustment=adjustments[0])
        .unique("field_group", keep="first", maintain_order=True)
        .sort("estimate", descending=True, nulls_last=True, maintain_order=True)
    )
    found = {(row["field_group"], row["adjustment"]): row for row in rows.iter_rows(named=True)}
    told = []
    handles = _legend(rows, fit, adjustments)
    with drawing.styled("sensitivity"):
        below_title = {row["field_group"]: wrap(_below_title(row, fit), 62) for row in groups.iter_rows(named=True)}
        measured = groups.drop_nulls("estimate")["field_group"]
        lines = max((len(below_title[group]) for group in measured), default=1)
        height = 0.3 + LINE * lines + LANE * len(adjustments)  # inches
        figure, axes = drawing.rows(len(groups), height, legend_lines=len(handles))
        low, high = drawing.extent(rows["lower"], rows["upper"], rows["estimate"], 0)
        margin = 0.04 * (high - low) or 0.1
        left, right = low - margin, high + margin
        axes.set_xlim(left, right + (right - left) * NUMBERS / (1 - NUMBERS))
        for place, row in enumerate(groups.iter_rows(named=True)):
            top, inch = place - 0.5, 1 / height
            lanes = [found.get((row["field_group"], name)) for name in adjustments]
            drawing.heading(axes, top + 0.13 * inch, _title(row), _p_values(lanes))
            for number, line in enumerate(below_title[row["field_group"]]):
                drawing.subheading(axes, top + (0.29 + LINE * number) * inch, line, "")
            if row["estimate"] is None:
                told.append(f"{row['field_group']} {row['state']}")
                continue
            first = top + (0.35 + LINE * lines) * inch
            axes.vlines(
                0, first - 0.11 * inch, first + (LANE * len(lanes) - 0.11) * inch, color=FAINT, lw=0.8, zorder=1
            )
            for number, (name, one) in enumerate(zip(adjustments, lanes, strict=True)):
                if one and one["estimate"] is not None:
                    _lane(axes, first + LANE * number * inch, one, ADJUSTMENT_MARKERS[name])
            estimates = (f"{one['estimate']:+.2f}" for one in lanes if one and one["estimate"] is not None)
            told.append(f"{row['field_group']} {' and '.join(estimates)}")
        axes.set_xticks([tick for tick in axes.get_xticks() if left <= tick <= right])
        drawing.keep_labels_inside(axes)
        axes.set_xlabel("correlation if the field is the same - if it differs", loc="left")
        drawing.legend(figure, handles, columns=1)
        how = " and ".join(ADJUSTMENT_LABELS[name] for name in adjustments)
        label = f"How much higher utilities correlate if a template field is the same, {how}: {'; '.join(told)}"
        return drawing.svg(figure, "sensitivity", label)


def positivity(rows: pl.DataFrame, name: str = "positivity", title: str = "") -> str:
    """Framings by option sets: shares of the most positive and the most negative word, with 95 % intervals and n.

    Args:
        rows: of `preferences.positivity`, one per framing and option set; at least one.
        name: begins the ids of the figure, where several stand on a page.
        title: what the rows are of.
    """
    framings, sets = (rows[column].unique(maintain_order=True).to_list() for column in ("framing", "options"))
    cells = {(row["framing"], row["options"]): row for row in rows.iter_rows(named=True)}
    headings = [name.replace("_", "\n") for name in sets]
    with drawing.styled(name):
        row_height, aside, line = 0.52, 1.06, 0.14
        above = 0.1 + line * max(heading.count("\n") + 1 for heading in headings) + (0.22 if title else 0)
        below = 0.62
        whole = above + row_height * len(framings) + below
        figure = Figure(figsize=(WIDTH, whole))
        axes = figure.add_axes((aside / WIDTH, below / whole, 1 - (aside + 0.02) / WIDTH, 1 - (above + below) / whole))
        axes.set_xlim(0, len(sets))
        axes.set_ylim(len(framings), 0)
        axes.set_yticks([place + 0.5 for place in range(len(framings))], framings)
        axes.set_xticks([place + 0.5 for place in range(len(sets))], headings)
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        axes.spines[:].set_visible(False)
        for (down, framing), (across, options) in (
            (row, column) for row in enumerate(framings) for column in enumerate(sets)
        ):
            _cell(axes, across, down, cells.get((framing, options)))
        if title:
            figure.text(0.005, 1 - 0.04 / whole, title, fontsize=9, fontweight="bold", va="top")
        drawing.legend(
            figure,
            [
                Patch(fc=VALUES(1.0), ec=FAINT, lw=0.4, label="mean value 1"),
                Patch(fc=VALUES(0.5), ec=FAINT, lw=0.4, label="0"),
                Patch(fc=VALUES(0.0), ec=FAINT, lw=0.4, label="-1"),
            ],
            columns=3,
        )
        figure.text(
            0.01,
            0.3 / whole,
            "▲ % of valid answers that are the first word, ▼ the last word,\n"
            "[95 % interval]; n: valid answers of those asked",
            fontsize=8,
            va="bottom",
        )
        told = "; ".join(
            f"{row['framing']} {row['options']} "
            + ("no valid answer" if row["positive_share"] is None else f"{100 * row['positive_share']:.0f} %")
            for row in rows.iter_rows(named=True)
        )
        return drawing.svg(figure, name, f"Share of the most positive word by framing and option set: {told}")


def _title(row: dict[str, Any]) -> str:
    together = row["field_group"].count(",") + 1
    return row["field_group"] if together == 1 else f"{together} fields together"


def _below_title(row: dict[str, Any], fit: pl.DataFrame) -> str:
    if row["estimate"] is None:
        return f"{row['state']}: {row['reason']}"
    if "," in row["field_group"]:
        return row["field_group"]
    return f"the same in {row['same_pairs']:,} of {fit['pairs'][0]:,} pairs"


def _p_values(lanes: Sequence[dict[str, Any] | None]) -> str:
    found = [one["permutation_p"] for one in lanes if one and one["permutation_p"] is not None]
    return "p " + " | ".join(f"{value:.4f}".lstrip("0") for value in found) if found else ""


def _lane(axes: Axes, height: float, row: dict[str, Any], marker: str) -> None:
    told_apart = row["state"] != ALIASED
    values = row["estimate"], row["lower"], row["upper"]
    drawing.interval(axes, height, values, INK if told_apart else FAINT, marker, told_apart, size=4.5)
    estimate, lower, upper = ("" if value is None else f"{round(value, 2) + 0.0:+.2f}" for value in values)
    written = f"{estimate} [{lower}, {upper}]" if lower else f"{estimate}, no interval"
    axes.text(1, height, written, fontsize=8, ha="right", va="center", transform=drawing.across(axes))


def _legend(rows: pl.DataFrame, fit: pl.DataFrame, adjustments: Sequence[str]) -> list[Line2D]:
    squared = dict(fit.select("adjustment", "r_squared").iter_rows())
    handles = [
        Line2D(
            [],
            [],
            color=INK,
            marker=ADJUSTMENT_MARKERS[name],
            ms=4.5,
            label=ADJUSTMENT_LABELS[name] + ("" if squared.get(name) is None else f" (R² {squared[name]:.3f})"),
        )
        for name in adjustments
    ]
    if (rows["state"] == ALIASED).any():
        hollow = Line2D([], [], color=FAINT, marker="o", mfc="white", ms=4.5, label="fields that cannot be told apart")
        handles.append(hollow)
    unit = "configuration" if fit["templates"].is_null().all() else "template"
    notes = f"95 % intervals allow for pairs that share a {unit}", f"p: fields handed to other {unit}s at random"
    return [*handles, *(Line2D([], [], ls="", label=note) for note in notes)]


def _cell(axes: Axes, across: int, down: int, row: dict[str, Any] | None) -> None:
    measured = row is not None and row["mean_value"] is not None
    colour = VALUES((row["mean_value"] + 1) / 2) if row and measured else "white"
    axes.add_patch(Rectangle((across, down), 1, 1, fc=colour, ec="white", lw=1.5))
    if row is None:
        axes.text(across + 0.5, down + 0.5, "not asked", fontsize=7, ha="center", va="center", color=FAINT)
        return
    lines = [
        f"{sign}{100 * row[f'{side}_share']:.0f} [{100 * row[f'{side}_lower']:.0f}-{100 * row[f'{side}_upper']:.0f}]"
        for sign, side in (("▲", "positive"), ("▼", "negative"))
        if row[f"{side}_share"] is not None
    ]
    for place, line in enumerate([*(lines or ["no valid", "answer"]), f"n {row['valid']} of {row['asked']}"]):
        axes.text(across + 0.5, down + 0.22 + 0.28 * place, line, fontsize=6.5, ha="center", va="center")
