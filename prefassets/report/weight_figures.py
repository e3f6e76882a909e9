"""The figures of what WPO's weights say, under the base model: rows of the tables of `weights` in, one SVG each out."""

from collections.abc import Sequence

import polars as pl
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from prefassets.report import drawing
from prefassets.report.drawing import BAND, FAINT, GROUP_COLOURS, GROUP_MARKERS, INK, WIDTH

OF_PRISM = ("pairs of PRISM", "chosen with rejected")  # names in weights.histogram and in weights.yardstick
ON_POLICY = ("two sampled at T = 1", "two sampled at T = 1")
DASHED = (0, (4, 2))
ON_POLICY_LABEL = "two answers of the base model, T = 1"


def histogram(bins: pl.DataFrame, yardstick: pl.DataFrame) -> str:
    """How the weights of PRISM's pairs are distributed, beside those of pairs that the base model wrote itself.

    Args:
        bins: rows of `weights.histogram` of one reference pass, at least one.
        yardstick: its rows of `weights.yardstick`.
    """
    medians = _of_pairs(yardstick, "median")
    with drawing.styled("weights"):
        figure, (axes,) = drawing.panel(WIDTH, [2.1], legend_lines=3)
        for (text, pairs), dashes, fill in ((OF_PRISM, "-", True), (ON_POLICY, DASHED, False)):
            mine = bins.filter(text=text).sort("bin")
            if mine.is_empty():
                continue
            edges = [*mine["lower"], mine["upper"][-1]]
            if fill:
                axes.stairs(100 * mine["share"], edges, fill=True, color=BAND)
            axes.stairs(100 * mine["share"], edges, color=INK, lw=1.1, ls=dashes)
            if pairs in medians:
                axes.axvline(medians[pairs], color=INK, lw=2.2, ls=dashes)
        axes.set_xlim(0, 1.02)
        axes.set_ylim(0, 106 * drawing.extent(bins["share"])[1])
        axes.set_xlabel("weight of a pair; greedy text has 1")
        axes.set_ylabel("% of pairs")
        drawing.legend(
            figure,
            [
                Patch(fc=BAND, ec=INK, lw=1.1, label="pairs of PRISM"),
                Line2D([], [], color=INK, lw=1.1, ls=DASHED, label=ON_POLICY_LABEL),
                Line2D([], [], color=INK, lw=2.2, label="upright: their medians"),
            ],
            columns=1,
        )
        told = "; ".join(f"{text} {value:.2f}" for text, value in medians.items())
        return drawing.svg(figure, "weights", f"Histogram of the weights of pairs, with medians: {told}")


def by_score_gap(means: pl.DataFrame, yardstick: pl.DataFrame) -> str:
    """Mean weight with its 95 % interval by how far apart the user scored the two answers.

    Args:
        means: rows of `weights.mean` of one reference pass, of dimensions `score gap` (at least one) and `all pairs`.
        yardstick: its rows of `weights.yardstick`.
    """
    gaps = means.filter(dimension="score gap").sort("level_order")
    overall = means.filter(dimension="all pairs")["mean_weight"].to_list()
    on_policy = _of_pairs(yardstick, "mean_weight").get(ON_POLICY[1])
    with drawing.styled("weight-gap"):
        figure, (upper, lower) = drawing.panel(WIDTH, [1.7, 0.7], legend_lines=2)
        places = range(len(gaps))
        for place, row in zip(places, gaps.iter_rows(named=True), strict=True):
            if row["lower"] is not None:
                upper.plot([place, place], [row["lower"], row["upper"]], color=INK)
            upper.plot([place], [row["mean_weight"]], "o", ms=4.5, color=INK)
        upper.hlines(overall, -0.5, len(gaps) - 0.5, color=FAINT, lw=0.9)
        if on_policy is not None:
            upper.axhline(on_policy, color=INK, lw=1.1, ls=DASHED)
        upper.set_ylabel("mean weight")
        upper.set_xticks(list(places), [])
        low, high = drawing.extent(gaps["lower"], gaps["upper"], gaps["mean_weight"], *filter(None, [on_policy]))
        # What hardly differs must not fill the figure: a tenth of all that a weight can be is the least to be shown.
        margin = max(0.08 * (high - low), (0.1 - (high - low)) / 2)
        upper.set_ylim(max(0.0, low - margin), min(1.005, high + margin))
        lower.bar(list(places), gaps["pairs"], color=BAND, ec=FAINT, lw=0.6)
        lower.set_ylabel("pairs")
        lower.set_xticks(list(places), [str(level).split("-")[0] for level in gaps["level"]])
        lower.set_xlabel("score gap, points, from")
        for axes in (upper, lower):
            axes.set_xlim(-0.5, len(gaps) - 0.5)
        drawing.legend(
            figure,
            [
                Line2D([], [], color=INK, marker="o", ms=4.5, label="mean, 95 % interval"),
                Line2D([], [], color=FAINT, lw=0.9, label="mean of all pairs"),
                *([Line2D([], [], color=INK, lw=1.1, ls=DASHED, label=ON_POLICY_LABEL)] if on_policy else []),
            ],
        )
        told = "; ".join(f"{level} {mean:.2f}" for level, mean in gaps.select("level", "mean_weight").iter_rows())
        return drawing.svg(figure, "weight-gap", f"Mean weight of pairs by score gap: {told}")


def by_source_model(models: pl.DataFrame) -> str:
    """Mean weight of each source model's pairs, as they are and at equal length of answers, with 95 % intervals.

    Args:
        models: rows of `weights.source_model` of one reference pass, at least one.
    """
    ordered = models.sort("mean_weight", "model_name", descending=[True, False])
    shown = (("mean_weight", "lower", "upper", True), ("adjusted_weight", "adjusted_lower", "adjusted_upper", False))
    low, high = drawing.extent(*(ordered[name] for *names, _ in shown for name in names))
    with drawing.styled("weight-source"):
        figure, axes = drawing.rows(len(ordered), 0.4, legend_lines=1)
        for place, row in enumerate(ordered.iter_rows(named=True)):
            about = f"{row['pairs']:,} pairs, {row['mean_tokens']:.0f} tokens"
            drawing.subheading(axes, place - 0.27, "", about)
            name = row["model_name"].rpartition("/")[2]  # without the publisher, it fits beside the numbers
            axes.text(0, place - 0.27, name, va="center", transform=drawing.across(axes))
            for lane, (mean, lower, upper, filled) in enumerate(shown):
                if row[mean] is not None:
                    values = row[mean], row[lower], row[upper]
                    colour = INK if filled else FAINT
                    drawing.interval(axes, place + 0.04 + 0.24 * lane, values, colour, "o", filled, size=4)
        axes.set_xlim(low - 0.04 * (high - low) - 1e-3, high + 0.04 * (high - low) + 1e-3)
        drawing.keep_labels_inside(axes)
        axes.set_xlabel("mean weight of the model's pairs")
        drawing.legend(
            figure,
            [
                Line2D([], [], color=INK, marker="o", ms=4, label="as they are"),
                Line2D([], [], color=FAINT, marker="o", ms=4, mfc="white", label="at equal length of answers"),
            ],
        )
        told = "; ".join(f"{name} {mean:.2f}" for name, mean in ordered.select("model_name", "mean_weight").iter_rows())
        return drawing.svg(figure, "weight-source", f"Mean weight of pairs by source model: {told}")


def by_group(means: pl.DataFrame, compared: pl.DataFrame, splits: Sequence[str]) -> str:
    """The weights of A's and of B's pairs in each split: mean with its interval, quartiles, and 5th to 95th percentile.

    Args:
        means: rows of `weights.mean` of one reference pass, dimension `split`.
        compared: its rows of `weights.split`.
        splits: which, top row first.
    """
    found = {row["level"]: row for row in means.filter(dimension="split").iter_rows(named=True)}
    differences = {row["split"]: row for row in compared.iter_rows(named=True)}
    shown = [found[f"{split}.{group}"] for split in splits for group in GROUP_COLOURS if f"{split}.{group}" in found]
    low, high = drawing.extent(*(row[name] for row in shown for name in ("p05", "p95", "mean_weight")))
    with drawing.styled("weight-group"):
        figure, axes = drawing.rows(len(splits), 0.58, legend_lines=2)
        for place, split in enumerate(splits):
            one = differences.get(split)
            said = "" if one is None or one["lower"] is None else _difference(one)
            drawing.heading(axes, place - 0.3, split, said)
            for lane, (group, colour) in enumerate(GROUP_COLOURS.items()):
                if row := found.get(f"{split}.{group}"):
                    height = place + 0.02 + 0.26 * lane
                    axes.plot([row["p05"], row["p95"]], [height] * 2, color=colour, lw=0.9)
                    axes.plot(
                        [row["p25"], row["p75"]], [height] * 2, color=colour, lw=5, alpha=0.35, solid_capstyle="butt"
                    )
                    values = row["mean_weight"], row["lower"], row["upper"]
                    drawing.interval(axes, height, values, colour, GROUP_MARKERS[group], size=4)
        axes.set_xlim(low - 0.04 * (high - low) - 1e-3, high + 0.04 * (high - low) + 1e-3)
        drawing.keep_labels_inside(axes)
        axes.set_xlabel("weight of a pair; right of each name: mean of A - mean of B")
        drawing.legend(
            figure,
            [
                *(
                    Line2D([], [], color=colour, marker=GROUP_MARKERS[group], ms=4, label=f"mean of {group}'s pairs")
                    for group, colour in GROUP_COLOURS.items()
                ),
                Line2D([], [], color=FAINT, lw=5, alpha=0.5, label="middle half of the pairs"),
                Line2D([], [], color=FAINT, lw=0.9, label="5th to 95th percentile"),
            ],
        )
        told = "; ".join(f"{split} {_difference(differences[split])}" for split in splits if split in differences)
        return drawing.svg(figure, "weight-group", f"Weights of A's and B's pairs, mean of A - mean of B: {told}")


def _of_pairs(yardstick: pl.DataFrame, column: str) -> dict[str, float]:
    """A column of the rows that are of pairs, by text."""
    return dict(yardstick.filter(unit="pair").select("text", column).iter_rows())


def _difference(row: dict[str, float]) -> str:
    return f"{row['difference']:+.3f} [{row['lower']:+.3f}, {row['upper']:+.3f}]"
