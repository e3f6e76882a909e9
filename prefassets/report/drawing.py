"""What figures are drawn with: style, axes, and the marks that look alike everywhere.

Equal rows give equal bytes. A and B keep their colours in every figure (blue and vermillion of Okabe and Ito's palette,
which colour-blind readers can tell apart), and differ in shape too. Figures are as wide as a phone's screen, so that
nothing has to be shrunk to be read there. Text stays text: it can be searched, and takes the page's own typeface.
"""

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from io import StringIO
from typing import Any
from xml.sax.saxutils import quoteattr

import matplotlib as mpl
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import Transform

GROUP_COLOURS = {"A": "#0072B2", "B": "#D55E00"}
GROUP_MARKERS = {"A": "o", "B": "s"}
DASHES = {"A": "-", "B": (0, (5, 1.5))}
INK, FAINT, BAND = "#222222", "#5f5f5f", "#e4e4e4"
SHADE = 0.18
WIDTH = 4.0  # inches of 72 points: 384 pixels on a screen
PANEL = 3.2  # inches: two beside each other on a page, one on a phone

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 8.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": False,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.6,
}


def styled(name: str) -> AbstractContextManager[None]:
    """The style of every figure, with ids that depend on `name` and content alone."""
    return mpl.rc_context(STYLE | {"svg.hashsalt": name})


def rows(count: int, height: float, legend_lines: int) -> tuple[Figure, Axes]:
    """Axes with a row for each of `count` splits, `height` inches each, the first on top; above 0 is its heading."""
    below = 0.5 + 0.2 * legend_lines
    whole = max(1, count) * height + below + 0.06
    figure = Figure(figsize=(WIDTH, whole))
    axes = figure.add_axes((0.02, below / whole, 0.96, 1 - (below + 0.06) / whole))
    axes.set_ylim(max(1, count) - 0.45, -0.55)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    for place in range(1, count):
        axes.axhline(place - 0.5, color="#d5d5d5", lw=0.5)
    return figure, axes


def panel(
    width: float, heights: Sequence[float], title: str = "", legend_lines: int = 0, tick_lines: int = 1
) -> tuple[Figure, list[Axes]]:
    """Axes of these heights below one another (inches), at the same place in every panel of the same arguments."""
    left, right, gap = 0.6, 0.06, 0.1
    above = 0.26 if title else 0.08
    below = 0.22 + 0.17 * tick_lines + 0.19 * legend_lines + (0.06 if legend_lines else 0)
    whole = above + sum(heights) + gap * (len(heights) - 1) + below
    figure = Figure(figsize=(width, whole))
    stacked, top = [], whole - above
    for height in heights:
        axes = figure.add_axes((left / width, (top - height) / whole, 1 - (left + right) / width, height / whole))
        axes.grid(axis="y", color="#ececec", lw=0.6)
        axes.set_axisbelow(True)
        stacked.append(axes)
        top -= height + gap
    figure.align_ylabels(stacked)
    if title:
        stacked[0].set_title(title, loc="left", fontsize=9, fontweight="bold", pad=5)
    return figure, stacked


def keep_labels_inside(axes: Axes) -> None:
    """Leave out the ticks whose labels the figure's sides would cut: axes of `rows` are as wide as the figure."""
    left, right = axes.get_xlim()
    room = 0.04 * (right - left)
    axes.set_xticks([tick for tick in axes.get_xticks() if left + room <= tick <= right - room])


def across(axes: Axes) -> Transform:
    """Horizontally the width of the axes, vertically its data."""
    return axes.get_yaxis_transform()


def heading(axes: Axes, height: float, left: str, right: str) -> None:
    axes.text(0, height, left, fontsize=9, fontweight="bold", va="center", transform=across(axes))
    axes.text(1, height, right, fontsize=9, ha="right", va="center", transform=across(axes))


def subheading(axes: Axes, height: float, left: str, right: str) -> None:
    axes.text(0, height, left, fontsize=8, color=FAINT, va="center", transform=across(axes))
    axes.text(1, height, right, fontsize=8, color=FAINT, ha="right", va="center", transform=across(axes))


def nothing(axes: Axes, height: float) -> None:
    axes.text(0.5, height, "nothing measured yet", ha="center", va="center", color=FAINT, transform=across(axes))


def interval(
    axes: Axes,
    place: float,
    values: tuple[float, float | None, float | None],
    colour: str,
    marker: str,
    filled: bool = True,
    size: float = 5.5,
) -> None:
    estimate, lower, upper = values
    if lower is not None and upper is not None:
        axes.plot([lower, upper], [place, place], color=colour, solid_capstyle="butt")
    face = colour if filled else "white"
    axes.plot([estimate], [place], marker=marker, ms=size, color=colour, mfc=face, mew=1.2, zorder=3)


def legend(figure: Figure, handles: Sequence[Line2D | Patch], columns: int = 2) -> None:
    """Below the axes."""
    figure.legend(handles=handles, loc="lower left", ncols=columns, borderaxespad=0.1, columnspacing=1.2)


def group_legend(axes: Axes, handles: Sequence[Line2D]) -> None:
    """Beside the title."""
    axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1.02, 1.0), ncols=2, borderaxespad=0.1)


def extent(*values: pl.Series | float) -> tuple[float, float]:
    """The least and the greatest of all that is there."""
    found = [one for value in values for one in (value.drop_nulls() if isinstance(value, pl.Series) else [value])]
    return float(min(found)), float(max(found))


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def spoken(what: str, rows: pl.DataFrame, value: str, word: str) -> str:
    """What a figure shows, for those who hear the page."""
    told = (
        f"{split} {'not measured' if points is None else f'{points:+.1f}'}" + (f", {said}" if said else "")
        for split, points, said in rows.select("split", value, word).iter_rows()
    )
    return f"{what}: {'; '.join(told)}"


def svg(figure: Figure, name: str, label: str) -> str:
    """The figure as one `svg` element, spoken as `label`; its ids begin with `name`, so that several fit on a page."""
    text = StringIO()
    figure.savefig(
        text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}, transparent=True
    )
    svg = text.getvalue()
    svg = svg[svg.index("<svg ") :].strip()
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label={quoteattr(label)} ', 1)
