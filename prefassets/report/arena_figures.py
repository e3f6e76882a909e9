"""The figures of Arena: how well each predictor says whom people prefer, beside what knows nothing of the answers.

Rows of the tables of `arena` in, one SVG each out. What was finetuned is dark and filled, a base model green and
filled, a baseline grey and hollow, in every figure; A and B keep their colours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from textwrap import wrap
from typing import Any, Literal

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from prefassets.domain.arena.recipe import WINNERS
from prefassets.report import drawing
from prefassets.report.drawing import BAND, FAINT, GROUP_COLOURS, GROUP_MARKERS, INK, PANEL, WIDTH

Kind = Literal["recipe", "base", "baseline"]
Numbers = tuple[float | None, float | None, float | None]

GIVEN, BOTH = "given", "both"
PRIOR, BEST_BASELINE = "prior", "length_and_words"
BASELINES = {  # predictor -> what a row of it is called, and its mark
    PRIOR: ("class prior", "v"),
    "longer": ("longer answer", "^"),
    BEST_BASELINE: ("length and words", "D"),
}
GROUPS: dict[Kind, str] = {"recipe": "finetuned", "base": "base models", "baseline": "baselines"}
OF_KIND: dict[Kind, str] = {"recipe": "finetuned", "base": "base model", "baseline": "baseline"}
OF_BASE = OF_VALIDATION = "#009E73"  # of Okabe and Ito's palette
LOOKS: dict[Kind, tuple[str, str]] = {"recipe": (INK, "o"), "base": (OF_BASE, "s"), "baseline": (FAINT, "D")}
DOT = "#a9a9a9"
SEEN = {"log_loss": "loss", "accuracy": "accuracy"}  # metric -> the column of arena.curve that has it of a batch
WINNER_COLOURS = GROUP_COLOURS | {"tie": "#CC79A7"}
WINNER_MARKERS = GROUP_MARKERS | {"tie": "D"}
WON = {"A": "A won", "B": "B won", "tie": "a tie"}
PRIOR_DASHES, OTHER_DASHES = (0, (4, 2)), (0, (1, 1.6))
LANE, LINE = 0.13, 0.125  # inches: from one mark to the next, and of a line of a name
NAME, PAIR = 25, 31  # characters to a line
LEFT, LEFT_OF_PAIRS = 1.3, 1.62  # inches: names
LEAST_REACH = 0.04  # nats on either side of the class prior, at least: what hardly differs must not look strong
BEYOND = 0.6  # a log loss further above the class prior than so many times the best is below it lies off the axis
MANY_LOOKS = 30  # at validation; the marks of more would run into one another
WINDOWS = 100  # dots of a training curve, at most
PAIRS = 8  # pairs of models that are shown at either end, where there are more than two such ends

SHARES = LinearSegmentedColormap.from_list("shares", ["#ffffff", "#7fc487"])  # light enough to write on


@dataclass(frozen=True)
class Predictor:
    """What predicts who wins: its name in the tables, of which kind it is, and what figures call it."""

    name: str
    kind: Kind
    called: str


@dataclass(frozen=True)
class _Lane:
    """One mark in each column of `_columns`."""

    numbers: Mapping[str, Numbers]  # by metric
    colour: str
    marker: str
    filled: bool
    size: float = 4.2


@dataclass(frozen=True)
class _Row:
    called: Sequence[str]  # its lines
    lanes: Sequence[_Lane] = ()
    heads: bool = False  # whether it is the heading of those below
    note: str = ""  # said where its lanes would be, if it has none

    @property
    def height(self) -> float:
        """Inches."""
        if self.heads:
            return 0.24
        return max(LANE * len(self.lanes), LINE * len(self.called)) + 0.07


# ---- beside what knows nothing


def comparison(scores: pl.DataFrame, predictors: Sequence[Predictor]) -> str:
    """Log loss and accuracy of every predictor on the held-out battles with 95 % intervals, by kind, in their order.

    Filled is what is judged, the mean over both orders of answers; hollow, one order only. Upright are the class prior,
    which nothing that predicts may fail to beat, and the strongest baseline.

    Args:
        scores: rows of `arena.comparison`.
        predictors: those to show; one without scores says so.
    """
    found = {
        (str(name), str(orders)): _numbers(rows)
        for (name, orders), rows in scores.partition_by("predictor", "orders", as_dict=True).items()
    }
    rows = []
    for kind, heading in GROUPS.items():
        mine = [predictor for predictor in predictors if predictor.kind == kind]
        if mine:
            rows.append(_Row([heading], heads=True))
        for one in mine:
            shown = [numbers for orders in (BOTH, GIVEN) if (numbers := found.get((one.name, orders))) is not None]
            lanes = [_lane(one, numbers, filled=not place) for place, numbers in enumerate(shown)]
            rows.append(_Row(_lines(one.called), lanes, note="not scored"))
    one_order = Line2D([], [], color=INK, marker="o", mfc="white", ms=4.2, label="answers in one order only")
    handles = [
        *(
            _handle(kind, LOOKS[kind][1], OF_KIND[kind])
            for kind in GROUPS
            if any(one.kind == kind for one in predictors)
        ),
        *([one_order] if any(orders == BOTH for _, orders in found) else []),
        Line2D([], [], color=INK, lw=1, ls=PRIOR_DASHES, label="class prior"),
        Line2D([], [], color=INK, lw=1, ls=OTHER_DASHES, label="length and words"),
    ]
    upright = [
        ({metric: numbers[0] for metric, numbers in found[name, GIVEN].items()}, dashes)
        for name, dashes in ((PRIOR, PRIOR_DASHES), (BEST_BASELINE, OTHER_DASHES))
        if (name, GIVEN) in found
    ]
    nothing_known = found[PRIOR, GIVEN]["log_loss"][0] if (PRIOR, GIVEN) in found else None
    heard = "; ".join(
        f"{one.called} {_heard_of(found[one.name, orders])}"
        for one in predictors
        if (orders := BOTH if (one.name, BOTH) in found else GIVEN) and (one.name, orders) in found
    )
    label = f"Log loss and accuracy on held-out battles: {heard}"
    return _columns("comparison", label, rows, handles, upright, nothing_known)


def _numbers(rows: pl.DataFrame) -> dict[str, Numbers]:
    """Log loss and accuracy of one predictor in one order of answers."""
    found = {row["metric"]: (row["estimate"], row["lower"], row["upper"]) for row in rows.iter_rows(named=True)}
    return {metric: found.get(metric, (None, None, None)) for metric in SEEN}


def _heard_of(numbers: Mapping[str, Numbers]) -> str:
    log_loss, accuracy = numbers["log_loss"][0], numbers["accuracy"][0]
    return " and ".join(
        told
        for told in (
            None if log_loss is None else f"{log_loss:.3f}",
            None if accuracy is None else f"{100 * accuracy:.1f} %",
        )
        if told
    )


def breakdown(rows: pl.DataFrame, predictors: Sequence[Predictor], name: str, title: str) -> str:
    """Log loss and accuracy by one kind of battle, each predictor beside the others.

    Args:
        rows: of `arena.breakdown` of one dimension, one order of answers each; in the order of its values.
        predictors: those to show.
        name: begins the ids of the figure.
        title: by what battles are told apart.
    """
    shown = [predictor for predictor in predictors if predictor.name in rows["predictor"]]
    found = {(row["predictor"], row["value"]): row for row in rows.iter_rows(named=True)}
    counts = dict(rows.select("value", "battles").iter_rows())
    drawn = [
        _Row(
            [*_lines(value), f"{battles:,} battles" if battles != 1 else "1 battle"],
            [
                _lane(predictor, _broken_down(found[predictor.name, value]), filled=True)
                for predictor in shown
                if (predictor.name, value) in found
            ],
        )
        for value, battles in counts.items()
    ]
    heard = "; ".join(
        f"{value}: "
        + ", ".join(
            f"{one.called} {found[one.name, value]['log_loss']:.3f}" for one in shown if (one.name, value) in found
        )
        for value in counts
    )
    handles = [_handle(one.kind, _marker(one), one.called) for one in shown]
    nothing_known = max(rows.filter(predictor=PRIOR)["log_loss"], default=None)
    return _columns(name, f"Log loss by {title}: {heard}", drawn, handles, [], nothing_known, title)


def pairs(rows: pl.DataFrame, overall: Mapping[str, float]) -> str:
    """The pairs of models whose battles one predictor predicts best, and those that it predicts worst.

    Args:
        rows: of `arena.breakdown` of one predictor by pairs of models, best log loss first; at least one.
        overall: its log loss and accuracy on all held-out battles, drawn upright.
    """
    few = len(rows) <= 2 * PAIRS
    shown = rows if few else pl.concat([rows.head(PAIRS), rows.tail(PAIRS)])
    drawn = [
        _Row(_models(row["value"], row["battles"]), [_Lane(_broken_down(row), INK, "o", True)])
        for row in shown.iter_rows(named=True)
    ]
    if not few:
        drawn.insert(PAIRS, _Row([f"{len(rows) - 2 * PAIRS:,} pairs between"], heads=True))
    handles = [
        Line2D([], [], color=INK, marker="o", ms=4.2, label="pair of models, 95 % interval"),
        Line2D([], [], color=INK, lw=1, ls=PRIOR_DASHES, label="all held-out battles"),
    ]
    heard = "; ".join(f"{row['value']} {row['log_loss']:.3f}" for row in shown.iter_rows(named=True))
    label = f"Log loss by pair of models, {len(shown)} of {len(rows)}: {heard}"
    return _columns("pairs", label, drawn, handles, [(overall, PRIOR_DASHES)], None, left=LEFT_OF_PAIRS)


def _columns(
    name: str,
    label: str,
    rows: Sequence[_Row],
    handles: Sequence[Line2D],
    upright: Sequence[tuple[Mapping[str, float | None], tuple[int, tuple[float, ...]]]],
    nothing_known: float | None,
    title: str = "",
    left: float = LEFT,
) -> str:
    """Rows with a name and, of each lane, its log loss and its accuracy beside one another.

    Args:
        upright: by metric, where a line is drawn through all rows, and its dashes.
        nothing_known: log loss of the class prior; what is far above it lies off the axis. None: nothing does.
        left: inches for the names.
    """
    with drawing.styled(name):
        above, below = 0.3 if title else 0.08, 0.5 + 0.19 * ceil(len(handles) / 2)  # inches, as all here
        told = sum(row.height for row in rows)
        whole = above + told + below
        figure = Figure(figsize=(WIDTH, whole))

        def axes_at(left: float, width: float) -> Axes:
            axes = figure.add_axes((left / WIDTH, below / whole, width / WIDTH, told / whole))
            axes.set_ylim(told, 0)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            return axes

        names = axes_at(0.02, WIDTH - 0.08)
        names.set_axis_off()
        wide = (WIDTH - left - 0.06 - 0.18) / 2
        metrics = {"log_loss": axes_at(left, wide), "accuracy": axes_at(left + wide + 0.18, wide)}
        lanes = [lane for row in rows for lane in row.lanes]
        for (metric, axes), unit in zip(metrics.items(), ("log loss, nats", "accuracy, %"), strict=True):
            levels = [level for levels, _ in upright if (level := levels[metric]) is not None]
            axes.set_xlim(*_limits(metric, lanes, levels, nothing_known))
            axes.set_xlabel(unit)
            axes.xaxis.set_major_locator(MaxNLocator(4))
        top = 0.0
        for number, row in enumerate(rows):
            if number:
                names.axhline(top, color="#d5d5d5" if row.heads else "#ececec", lw=0.5, zorder=0)
            if row.heads:
                names.text(0, top + 0.14, row.called[0], fontsize=8, color=FAINT, va="center")
            else:
                first = top + (row.height - LINE * (len(row.called) - 1)) / 2
                for place, line in enumerate(row.called):
                    faint = place and line.endswith((" battles", " battle"))
                    names.text(0, first + LINE * place, line, fontsize=7, va="center", color=FAINT if faint else INK)
                if not row.lanes:
                    axes = metrics["accuracy"]
                    axes.text(
                        1,
                        top + row.height / 2,
                        row.note,
                        fontsize=7.5,
                        color=FAINT,
                        ha="right",
                        va="center",
                        transform=drawing.across(axes),
                        bbox={"fc": "white", "ec": "none", "pad": 1},
                    )
                first = top + (row.height - LANE * (len(row.lanes) - 1)) / 2
                for place, lane in enumerate(row.lanes):
                    for metric, axes in metrics.items():
                        _mark(axes, metric, first + LANE * place, lane)
            top += row.height
        for levels_of, dashes in upright:
            for metric, axes in metrics.items():
                if (level := levels_of[metric]) is not None:
                    axes.axvline(_scale(metric) * level, color=INK, lw=1, ls=dashes, zorder=1)
        for axes in metrics.values():
            _keep_labels_apart(axes)
        if title:
            figure.text(0.005, 1 - 0.04 / whole, title, fontsize=9, fontweight="bold", va="top")
        drawing.legend(figure, handles)
        return drawing.svg(figure, name, label)


def _limits(
    metric: str, lanes: Sequence[_Lane], levels: Sequence[float], nothing_known: float | None
) -> tuple[float, float]:
    """Of the axis; what is worse by far than to know nothing does not squeeze the others."""
    values = [value for lane in lanes for value in lane.numbers[metric] if value is not None]
    low, high = drawing.extent(*values, *levels)
    if metric == "log_loss" and nothing_known is not None:
        low = min(low, nothing_known - LEAST_REACH)
        high = max(min(high, nothing_known + BEYOND * (nothing_known - low)), nothing_known + LEAST_REACH / 2)
    margin = 0.04 * (high - low) or 0.01
    return _scale(metric) * (low - margin), _scale(metric) * (high + margin)


def _scale(metric: str) -> float:
    return 100.0 if metric == "accuracy" else 1.0


def _mark(axes: Axes, metric: str, at: float, lane: _Lane) -> None:
    scale, (left, right) = _scale(metric), axes.get_xlim()
    estimate, lower, upper = (None if value is None else scale * value for value in lane.numbers[metric])
    if estimate is None:
        return
    inside = right - 0.03 * (right - left)
    if estimate > inside:
        axes.plot([inside], [at], ">", ms=lane.size, color=lane.colour, mfc=lane.colour if lane.filled else "white")
        beside = right - 0.08 * (right - left)
        axes.text(beside, at, f"{estimate:.2f}", fontsize=7, ha="right", va="center", color=lane.colour)
        return
    shown = estimate, lower, None if upper is None else min(upper, right)
    drawing.interval(axes, at, shown, lane.colour, lane.marker, lane.filled, lane.size)


def _keep_labels_apart(axes: Axes) -> None:
    """Leave out the ticks whose labels would run into those of the neighbouring axes, or off the figure."""
    left, right = axes.get_xlim()
    room = 0.09 * (right - left)
    axes.set_xticks([tick for tick in axes.get_xticks() if left + room <= tick <= right - room])


def _lane(predictor: Predictor, numbers: Mapping[str, Numbers], filled: bool) -> _Lane:
    colour, _ = LOOKS[predictor.kind]
    return _Lane(numbers, colour, _marker(predictor), filled and predictor.kind != "baseline")


def _marker(predictor: Predictor) -> str:
    return BASELINES[predictor.name][1] if predictor.kind == "baseline" else LOOKS[predictor.kind][1]


def _handle(kind: Kind, marker: str, label: str) -> Line2D:
    colour, _ = LOOKS[kind]
    face = "white" if kind == "baseline" else colour
    return Line2D([], [], color=colour, marker=marker, mfc=face, ms=4.2, label=label)


def _broken_down(row: Mapping[str, float | None]) -> dict[str, Numbers]:
    return {
        metric: (row[metric], row[f"{metric}_lower"], row[f"{metric}_upper"]) for metric in ("log_loss", "accuracy")
    }


def _lines(name: str) -> list[str]:
    """A name in lines that fit: broken after a hyphen, an underscore or a space, or anywhere if there is none."""
    apart = name.replace("-", "-\0").replace("_", "_\0").replace("\0", " ") if len(name) > NAME else name
    lines = wrap(apart, NAME, break_on_hyphens=False)
    return [line.replace("- ", "-").replace("_ ", "_") for line in lines] or [""]


def _models(pair: str, battles: int) -> list[str]:
    """The two models of a pair, one a line, and of how many battles in brackets."""
    one, _, other = pair.partition(" vs ")
    names, counted = [name for name in (one, other) if name], f" ({battles:,})"
    return [_cut(name, PAIR) for name in names[:-1]] + [_cut(names[-1], PAIR - len(counted)) + counted]


def _cut(name: str, longest: int) -> str:
    return name if len(name) <= longest else f"{name[: longest - 9]}...{name[-6:]}"


# ---- what a change gives


def sweep(rows: pl.DataFrame) -> str:
    """Each recipe's log loss minus that of the recipe that it changes, on the same battles; left of 0 it is better.

    Args:
        rows: of `arena.sweep`, of recipes that are compared with the one that they change; top row first, at least one.
    """
    ends = (rows[f"than_variant{end}"] for end in ("", "_lower", "_upper", "_widened_lower", "_widened_upper"))
    low, high = drawing.extent(*ends, -LEAST_REACH / 4, LEAST_REACH / 4)
    margin = 0.06 * (high - low)
    changes = [wrap(text, 62) for text in rows["changes"]]
    heights = [0.46 + LINE * len(lines) for lines in changes]  # inches, as all here
    with drawing.styled("sweep"):
        told, below = sum(heights), 0.5 + 0.19 * 2
        whole = told + below + 0.06
        figure = Figure(figsize=(WIDTH, whole))
        axes = figure.add_axes((0.02, below / whole, 0.96, told / whole))
        axes.set_ylim(told, 0)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlim(low - margin, high + margin)
        top = 0.0
        for row, lines, height in zip(rows.iter_rows(named=True), changes, heights, strict=True):
            if top:
                axes.axhline(top, color="#d5d5d5", lw=0.5)
            drawing.heading(axes, top + 0.14, row["recipe"], _difference(row))
            for place, line in enumerate(lines):
                at = top + 0.29 + LINE * place
                axes.text(0, at, line, fontsize=7, color=FAINT, va="center", transform=drawing.across(axes))
            _change(axes, top + height - 0.12, row)
            top += height
        drawing.keep_labels_inside(axes)
        axes.set_xlabel("difference in log loss to the recipe that is changed, nats")
        drawing.legend(
            figure,
            [
                Line2D([], [], color=INK, marker="o", ms=4.8, label="differs, all recipes together"),
                Line2D([], [], color=INK, lw=1.6, label="95 % interval"),
                Line2D([], [], color=INK, marker="o", mfc="white", ms=4.8, label="not shown to differ"),
                Line2D([], [], color=INK, lw=0.7, label="for all recipes together"),
            ],
        )
        heard = "; ".join(f"{name} {value:+.3f}" for name, value in rows.select("recipe", "than_variant").iter_rows())
        return drawing.svg(figure, "sweep", f"Difference in log loss to the recipe that is changed: {heard}")


def _change(axes: Axes, at: float, row: Mapping[str, Any]) -> None:
    axes.vlines(0, at - 0.09, at + 0.09, color=FAINT, lw=0.8, zorder=1)
    widened = row["than_variant_widened_lower"], row["than_variant_widened_upper"]
    if None not in widened:
        axes.plot(widened, [at, at], color=INK, lw=0.7, solid_capstyle="butt")
    values = row["than_variant"], row["than_variant_lower"], row["than_variant_upper"]
    drawing.interval(axes, at, values, INK, "o", row["against_variant"] in ("better", "worse"), size=4.8)


def _difference(row: Mapping[str, Any]) -> str:
    lower, upper = row["than_variant_lower"], row["than_variant_upper"]
    return f"{row['than_variant']:+z.3f}" + ("" if lower is None else f" [{lower:+z.3f}, {upper:+z.3f}]")


# ---- training


def curve(
    rows: pl.DataFrame,
    kept: Sequence[int],
    prior: Mapping[str, float | None],
    limits: Mapping[str, tuple[float, float]],
    name: str,
    title: str,
) -> str:
    """Loss and accuracy of one recipe's training by step, validation beside them, and the step whose weights were kept.

    Light are the batches, in windows of steps; dark is their moving mean over a tenth of all steps.

    Args:
        rows: of `arena.curve` of one recipe, at least one; each of its adapters is drawn.
        kept: the step whose weights each adapter has, in order.
        prior: log loss and accuracy of the class prior, drawn level.
        limits: of the vertical axes, the same for all recipes (`curve_limits`).
        name: begins the ids of the figure.
        title: which recipe.
    """
    adapters = rows.sort("adapter", "step").partition_by("adapter", maintain_order=True)
    _, last = drawing.extent(rows["step"])
    with drawing.styled(name):
        figure, stacked = drawing.panel(PANEL, [1.45, 0.85], title)
        for axes, metric in zip(stacked, SEEN, strict=True):
            for place, mine in enumerate(adapters):
                _trained(axes, mine, metric, limits[metric], dots=len(adapters) == 1)
                _validated(axes, mine, metric, kept[place] if place < len(kept) else None)
            if (level := prior[metric]) is not None:
                axes.axhline(_scale(metric) * level, color=INK, lw=0.9, ls=PRIOR_DASHES, zorder=1)
            axes.set_ylim(*limits[metric])
            axes.set_xlim(0, 1.06 * last)
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        upper, lower = stacked
        upper.set_ylabel("log loss, nats")
        upper.tick_params(labelbottom=False)
        lower.set_ylabel("accuracy, %")
        lower.set_xlabel(f"step; kept: {', '.join(map(str, kept))}" if kept else "step")
        return drawing.svg(figure, name, f"Training of {title}: {_heard(adapters[0], kept)}")


def _trained(axes: Axes, mine: pl.DataFrame, metric: str, limits: tuple[float, float], dots: bool) -> None:
    scale, seen = _scale(metric), mine[SEEN[metric]]
    if dots:
        size = ceil(len(mine) / WINDOWS)
        windows = pl.DataFrame({"step": mine["step"], "seen": scale * seen}).with_row_index("place")
        means = windows.group_by(pl.col("place") // size, maintain_order=True).agg(pl.col("step", "seen").mean())
        axes.plot(means["step"], means["seen"].clip(*limits), ".", ms=3, color=DOT, mew=0, zorder=1.5)
    # A line of fewer points looks the same, and a page of twenty recipes is half as large.
    some = np.unique(np.linspace(0, len(mine) - 1, 2 * WINDOWS).astype(int))
    smooth = scale * _smoothed(seen).to_numpy()
    axes.plot(mine["step"].to_numpy()[some], smooth[some], color=INK, lw=1.5 if dots else 1.1)


def _validated(axes: Axes, mine: pl.DataFrame, metric: str, kept: int | None) -> None:
    known = mine.drop_nulls(f"validation_{metric}").select(
        "step", value=_scale(metric) * pl.col(f"validation_{metric}")
    )
    axes.plot(
        known["step"],
        known["value"],
        "o",
        ls="-",
        lw=1.1,
        ms=2.8 if len(known) <= MANY_LOOKS else 1.4,
        color=OF_VALIDATION,
    )
    ring = known.filter(pl.col("step").eq_missing(kept))
    axes.plot(ring["step"], ring["value"], "o", ms=7.5, mfc="none", mec=OF_VALIDATION, mew=1.4, zorder=3)


def curve_limits(rows: pl.DataFrame, prior: Mapping[str, float | None]) -> dict[str, tuple[float, float]]:
    """Vertical axes that hold all that is smoothed and validated, of every recipe; single batches may lie beyond."""
    limits = {}
    adapters = rows.sort("step").partition_by("recipe", "adapter")
    for metric, seen in SEEN.items():
        level = prior[metric]
        smooth = [_smoothed(mine[seen]) for mine in adapters]
        low, high = drawing.extent(*smooth, rows[f"validation_{metric}"], *([] if level is None else [level]))
        margin = 0.12 * (high - low) or 0.05
        limits[metric] = _scale(metric) * (low - margin), _scale(metric) * (high + margin)
    return limits


def curve_key() -> str:
    """What the marks of `curve` mean, for all panels."""
    handles = [
        Line2D([], [], ls="", marker=".", ms=4, color=DOT, mew=0, label="batches"),
        Line2D([], [], color=INK, lw=1.5, label="their moving mean"),
        Line2D([], [], color=OF_VALIDATION, marker="o", ms=2.8, lw=1.1, label="validation"),
        Line2D(
            [], [], ls="", marker="o", ms=7.5, mfc="none", mec=OF_VALIDATION, mew=1.4, label="the step that is kept"
        ),
        Line2D([], [], color=INK, lw=0.9, ls=PRIOR_DASHES, label="class prior"),
    ]
    with drawing.styled("curve-key"):
        figure = Figure(figsize=(WIDTH, 0.46))
        drawing.legend(figure, handles, columns=3)
        return drawing.svg(figure, "curve-key", "Key: " + ", ".join(str(handle.get_label()) for handle in handles))


def _smoothed(values: pl.Series) -> pl.Series:
    """Moving mean over a tenth of them, centred; at the ends over what there is."""
    return values.rolling_mean(max(1, len(values) // 10), min_samples=1, center=True)


def _heard(mine: pl.DataFrame, kept: Sequence[int]) -> str:
    loss, validated = _smoothed(mine["loss"]), mine["validation_log_loss"].drop_nulls().to_list()
    told = [f"loss from {loss[0]:.3f} to {loss[-1]:.3f}"]
    if validated:
        told.append(f"lowest log loss of validation {min(validated):.3f}")
    return ", ".join(told + ([f"kept step {', '.join(map(str, kept))}"] if kept else []))


# ---- what is said, and what happens


def calibration(rows: pl.DataFrame, highest: float, name: str, title: str) -> str:
    """How often each winner won where it was said to be so likely, with 95 % intervals; on the diagonal all is as said.

    Args:
        rows: of `arena.calibration` of one predictor, one order of answers; at least one.
        highest: end of both axes, in percent.
        name: begins the ids of the figure.
        title: what predicts.
    """
    with drawing.styled(name):
        figure, (axes,) = drawing.panel(PANEL, [2.25], title, legend_lines=1)
        axes.plot([0, 100], [0, 100], color=FAINT, lw=0.8, ls=(0, (2, 2)), zorder=1)
        for winner in WINNERS:
            mine = rows.filter(winner=winner).sort("bin")
            at = 100 * mine["probability"].to_numpy()
            colour, marker = WINNER_COLOURS[winner], WINNER_MARKERS[winner]
            axes.vlines(
                at, 100 * mine["lower"].to_numpy(), 100 * mine["upper"].to_numpy(), color=colour, lw=1.0, alpha=0.65
            )
            axes.plot(at, 100 * mine["frequency"].to_numpy(), marker=marker, ms=4, lw=0.7, color=colour)
        axes.set_xlim(0, highest)
        axes.set_ylim(0, highest)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("probability that was said, %")
        axes.set_ylabel("of these it happened, %")
        handles = [
            Line2D([], [], color=WINNER_COLOURS[winner], marker=WINNER_MARKERS[winner], ms=4, lw=0.7, label=WON[winner])
            for winner in WINNERS
        ]
        drawing.legend(figure, handles, columns=3)
        heard = "; ".join(
            f"{WON[row['winner']]} said {100 * row['probability']:.0f} % happened {100 * row['frequency']:.0f} %"
            for row in rows.sort("winner", "bin").iter_rows(named=True)
        )
        return drawing.svg(figure, name, f"Calibration, {title}: {heard}")


def highest_probability(rows: pl.DataFrame) -> float:
    """Percent that holds every bin of `arena.calibration` rows and its interval."""
    _, high = drawing.extent(100 * rows["probability"], 100 * rows["upper"])
    return min(105.0, 10 * ceil((high + 1) / 10) + 2.0)


def confusion(rows: pl.DataFrame, name: str, title: str) -> str:
    """Of the battles that ended as the row says, the share in percent for which each winner was the likeliest.

    Args:
        rows: of `arena.confusion` of one predictor, one order of answers.
        name: begins the ids of the figure.
        title: what predicts.
    """
    counts = {(row["winner"], row["predicted"]): row["battles"] for row in rows.iter_rows(named=True)}
    with drawing.styled(name):
        aside, above, side, below = 0.78, 0.62, 0.66, 0.26  # inches
        whole = above + side * len(WINNERS) + below
        figure = Figure(figsize=(PANEL, whole))
        axes = figure.add_axes((aside / PANEL, below / whole, 1 - (aside + 0.04) / PANEL, side * len(WINNERS) / whole))
        axes.set_xlim(0, len(WINNERS))
        axes.set_ylim(len(WINNERS), 0)
        places = [place + 0.5 for place in range(len(WINNERS))]
        of_row = [sum(counts.get((winner, predicted), 0) for predicted in WINNERS) for winner in WINNERS]
        axes.set_xticks(places, [f"says {'tie' if winner == 'tie' else winner}" for winner in WINNERS])
        axes.set_yticks(
            places, [f"{WON[winner]}\n{battles:,}" for winner, battles in zip(WINNERS, of_row, strict=True)]
        )
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        axes.spines[:].set_visible(False)
        heard = []
        for down, winner in enumerate(WINNERS):
            for across, predicted in enumerate(WINNERS):
                battles = counts.get((winner, predicted), 0)
                share = battles / of_row[down] if of_row[down] else 0.0
                axes.add_patch(
                    Rectangle(
                        (across + 0.02, down + 0.02),
                        0.96,
                        0.96,
                        fc=SHARES(share),
                        ec=INK if down == across else BAND,
                        lw=1.1 if down == across else 0.6,
                    )
                )
                axes.text(
                    across + 0.5,
                    down + 0.42,
                    f"{100 * share:.0f} %",
                    fontsize=9,
                    ha="center",
                    va="center",
                    fontweight="bold" if down == across else "normal",
                )
                axes.text(across + 0.5, down + 0.74, f"{battles:,}", fontsize=7, ha="center", va="center", color=FAINT)
                heard.append(f"{WON[winner]}, says {predicted} {100 * share:.0f} %")
        figure.text(0.005, 1 - 0.04 / whole, title, fontsize=9, fontweight="bold", va="top")
        figure.text(0.005, 0.05 / whole, "% of the row; framed: right", fontsize=8)
        return drawing.svg(figure, name, f"Likeliest winner by who won, {title}: {'; '.join(heard)}")
