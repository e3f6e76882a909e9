"""The figures of what a way of choosing pairs costs and of how consistent choices are: rows in, one SVG each out."""

import polars as pl
from matplotlib.lines import Line2D

from prefassets.report import drawing
from prefassets.report.drawing import FAINT, INK, WIDTH

# Of Okabe and Ito's palette what the groups A and B do not have.
COLOURS = (INK, "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v")
APART = 0.012  # of the width of the axes, between the marks of two policies at one budget


def efficiency(summary: pl.DataFrame, ceiling: str) -> str:
    """What each policy makes of equal budgets: accuracy on either held-out set, correlation with the fit to all pairs.

    A point of accuracy is as high on random as on close pairs, and the ceiling's level shows how much harder those are.

    Args:
        summary: rows of `efficiency` (domain) of one comparison, in the order in which policies are to be drawn.
        ceiling: the policy that asked all pairs; drawn as a level.
    """
    of_policies = summary.filter(pl.col("policy") != ceiling)
    policies = of_policies["policy"].unique(maintain_order=True).to_list()
    budgets = of_policies["budget"].unique().sort().to_list()
    panels = (
        ("random", "accuracy", "right, random pairs, %", 100.0),
        ("close", "accuracy", "right, close pairs, %", 100.0),
        ("random", "correlation", "r with all pairs", 1.0),  # whatever is held out
    )
    ranges = {
        kind: drawing.extent(
            *(100 * summary.filter(held_out=kind)[f"accuracy{end}"] for end in ("", "_lower", "_upper"))
        )
        for kind in ("random", "close")
    }
    reach = 0.56 * max(high - low for low, high in ranges.values()) + 0.1
    with drawing.styled("efficiency"):
        figure, stacked = drawing.panel(
            WIDTH, [1.5, 1.5, 1.3], "equal budgets, held-out pairs", legend_lines=1 + len(policies)
        )
        for axes, (kind, metric, label, scale) in zip(stacked, panels, strict=True):
            told = summary.filter(held_out=kind)
            for level in told.filter(policy=ceiling)[metric]:
                axes.axhline(scale * level, color=FAINT, lw=0.9)
            for place, policy in enumerate(policies):
                mine = told.filter(policy=policy).sort("budget")
                apart = (budgets[-1] / budgets[0]) ** (APART * (place - (len(policies) - 1) / 2))
                at = apart * mine["budget"].to_numpy()
                mean, lower, upper = (scale * mine[f"{metric}{end}"].to_numpy() for end in ("", "_lower", "_upper"))
                axes.vlines(at, lower, upper, color=COLOURS[place], lw=1.1)
                axes.plot(at, mean, MARKERS[place], ls="-", lw=1.1, ms=4, color=COLOURS[place])
            axes.set_xscale("log")
            axes.set_xticks(budgets, [f"{budget:,}" for budget in budgets] if axes is stacked[-1] else [])
            axes.set_xticks([], minor=True)
            axes.set_ylabel(label)
            if metric == "accuracy":
                middle = sum(ranges[kind]) / 2
                axes.set_ylim(middle - reach, middle + reach)
        stacked[-1].set_xlabel("comparisons asked")
        drawing.legend(
            figure,
            [
                *(
                    Line2D([], [], color=colour, marker=marker, ms=4, lw=1.1, label=policy)
                    for policy, colour, marker in zip(policies, COLOURS, MARKERS, strict=False)
                ),
                Line2D([], [], color=FAINT, lw=0.9, label=f"{ceiling}, {_asked(summary, ceiling):,} comparisons"),
            ],
            columns=1,
        )
        spoken = "; ".join(
            f"{policy} at {budget:,} {100 * accuracy:.1f} on {kind} pairs"
            for policy, budget, kind, accuracy in summary.select("policy", "budget", "held_out", "accuracy").iter_rows()
        )
        return drawing.svg(figure, "efficiency", f"Held-out accuracy in %, by comparisons asked: {spoken}")


def _asked(summary: pl.DataFrame, policy: str) -> int:
    return int(summary.filter(policy=policy)["budget"][0])


def transitivity(rows: pl.DataFrame, names: list[str]) -> str:
    """The share of triads that cycle, with its 95 % interval, beside what coins and what the utilities would give.

    Args:
        rows: of `transitivity` (domain), top row first.
        names: of what each row is of.
    """
    shown = rows.select("cycle_rate", "upper", "null_rate", "expected_rate")
    with drawing.styled("transitivity"):
        figure, axes = drawing.rows(len(rows), 0.58, legend_lines=3)
        for place, (name, row) in enumerate(zip(names, rows.iter_rows(named=True), strict=True)):
            drawing.heading(axes, place - 0.32, name, f"{drawing.counted(row['cycles'], 'cycle')} of {row['triads']:,}")
            if row["inflated"]:
                drawing.subheading(axes, place - 0.1, "close pairs were asked: inflated", "")
            if not row["triads"]:
                drawing.nothing(axes, place + 0.2)
                continue
            axes.plot([100 * row["null_rate"]] * 2, [place + 0.1, place + 0.34], color=FAINT, lw=2.2)
            lower, upper = (None if row[end] is None else 100 * row[end] for end in ("lower", "upper"))
            drawing.interval(axes, place + 0.22, (100 * row["cycle_rate"], lower, upper), INK, "o")
            if row["expected_rate"] is not None:
                drawing.interval(
                    axes, place + 0.22, (100 * row["expected_rate"], None, None), INK, "D", filled=False, size=4.5
                )
        axes.set_xlim(-1, 106 * drawing.extent(*shown, 0.05)[1])
        drawing.keep_labels_inside(axes)
        axes.set_xlabel("% of fully measured triads whose majorities form a cycle")
        drawing.legend(
            figure,
            [
                Line2D([], [], color=INK, marker="o", ms=5.5, label="measured, 95 % interval over tasks"),
                Line2D([], [], ls="", color=FAINT, marker="|", ms=8, mew=2.2, label="fair coins, as many answers"),
                Line2D(
                    [], [], ls="", color=INK, marker="D", ms=4.5, mfc="white", label="the utilities, as many answers"
                ),
            ],
            columns=1,
        )
        told = "; ".join(
            f"{name} {'not measured' if rate is None else f'{100 * rate:.1f}'}, coins {100 * (null or 0):.1f}"
            for name, rate, null in zip(names, rows["cycle_rate"], rows["null_rate"], strict=True)
        )
        return drawing.svg(figure, "transitivity", f"% of triads that cycle: {told}")
