"""The figures of a study's verdicts: rows of the verdict tables in, one SVG each out."""

from collections.abc import Mapping, Sequence

import polars as pl
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from prefassets.report import drawing
from prefassets.report.drawing import BAND, DASHES, FAINT, GROUP_COLOURS, GROUP_MARKERS, INK, PANEL, SHADE, WIDTH

STATE_MARKERS = {"CONFIRMED": "o", "CONTRADICTED": "X", "EQUIVALENT": "s", "INCONCLUSIVE": "o"}

# ---- differences of splits, with their intervals


def contrasts(verdict: pl.DataFrame, per_seed: pl.DataFrame, tolerance: float) -> str:
    """Forest plot: A - B of every split with its 95 % interval, state, reported rule and each seed's own difference.

    Args:
        verdict: rows of `verdicts.verdict` of one study, top row first.
        per_seed: its rows of `verdicts.per_seed` on the held-out readout; a split without a row has no seed.
        tolerance: points, up to which a difference counts as none.
    """
    seeds = {
        str(split): [found["difference_pp"] for found in differences if found["difference_pp"] is not None]
        for split, differences in per_seed.select("split", "differences_pp").iter_rows()
    }
    ends = verdict["lower_pp"], verdict["upper_pp"], verdict["estimate_pp"]
    reach = 1.06 * max(map(abs, drawing.extent(*ends, *map(pl.Series, seeds.values()), tolerance)))
    with drawing.styled("contrasts"):
        figure, axes = drawing.rows(len(verdict), 0.72, legend_lines=3)
        for place, row in enumerate(verdict.iter_rows(named=True)):
            sign = {"A > B": 1, "A < B": -1}.get(row["expected"], 0)
            if sign:
                colour = GROUP_COLOURS["A" if sign > 0 else "B"]
                axes.fill_between([0, sign * reach], place - 0.06, place + 0.42, color=colour, alpha=SHADE, lw=0)
            axes.fill_between([-tolerance, tolerance], place - 0.06, place + 0.42, color=BAND, lw=0)
            rule = row["reported_rule"]
            drawing.heading(axes, place - 0.37, row["split"], row["state"])
            drawing.subheading(
                axes, place - 0.19, f"expected: {row['expected']}", f"reported rule: {rule or 'none yet'}"
            )
            if row["estimate_pp"] is None:
                drawing.nothing(axes, place + 0.18)
                continue
            axes.vlines(0, place - 0.06, place + 0.42, color=FAINT, lw=0.8, zorder=1.5)
            drawing.interval(
                axes,
                place + 0.12,
                (row["estimate_pp"], row["lower_pp"], row["upper_pp"]),
                INK,
                STATE_MARKERS[row["state"]],
                filled=row["state"] != "INCONCLUSIVE",
                size=7.5 if row["state"] == "CONTRADICTED" else 5.5,
            )
            points = seeds.get(row["split"], [])
            axes.plot(points, [place + 0.31] * len(points), "o", ms=3.2, mfc="none", mec=FAINT, mew=0.9)
        axes.set_xlim(-reach, reach)
        axes.set_xlabel("A - B in pref_acc on held-out pairs, percentage points")
        drawing.legend(
            figure,
            [
                Line2D([], [], color=INK, marker="o", ms=5.5, label="estimate, 95 % interval"),
                Line2D([], [], color=INK, marker="o", ms=5.5, mfc="white", label="the same, INCONCLUSIVE"),
                Line2D([], [], ls="", marker="o", ms=3.2, mfc="none", mec=FAINT, label="one seed"),
                Patch(color=BAND, label=f"counts as none (within {tolerance:g})"),
                Patch(color=GROUP_COLOURS["A"], alpha=SHADE, lw=0, label="expected side: A higher"),
                Patch(color=GROUP_COLOURS["B"], alpha=SHADE, lw=0, label="expected side: B higher"),
            ],
        )
        return drawing.svg(
            figure, "contrasts", drawing.spoken("A - B in points, by split", verdict, "estimate_pp", "state")
        )


def interactions(verdict: pl.DataFrame, estimate: pl.DataFrame) -> str:
    """Home advantages and their sum, the interaction, of every split with 95 % intervals: strength against direction.

    Args:
        verdict: rows of `verdicts.verdict` of one study, top row first.
        estimate: its rows of `verdicts.estimate` in pref_acc.
    """
    shown = {
        "advantage_on_a": (GROUP_COLOURS["A"], GROUP_MARKERS["A"], "on A's pairs: A's adapter - B's adapter"),
        "advantage_on_b": (GROUP_COLOURS["B"], GROUP_MARKERS["B"], "on B's pairs: B's adapter - A's adapter"),
        "interaction": (INK, "D", "interaction: the sum of the two"),
    }
    rows = estimate.filter(pl.col("quantity").is_in(list(shown)))
    found = {(row["split"], row["quantity"]): row for row in rows.iter_rows(named=True)}
    low, high = drawing.extent(rows["lower"], rows["upper"], rows["estimate"], 0)
    with drawing.styled("interactions"):
        figure, axes = drawing.rows(len(verdict), 0.66, legend_lines=3)
        for place, row in enumerate(verdict.iter_rows(named=True)):
            drawing.heading(axes, place - 0.3, row["split"], f"finding: {row['finding'] or 'cannot tell'}")
            axes.vlines(0, place - 0.18, place + 0.46, color=FAINT, lw=0.8, zorder=1)
            for lane, (quantity, (colour, marker, _)) in enumerate(shown.items()):
                if one := found.get((row["split"], quantity)):
                    values = one["estimate"], one["lower"], one["upper"]
                    drawing.interval(axes, place - 0.08 + 0.22 * lane, values, colour, marker, size=4.5)
            if not any((row["split"], quantity) in found for quantity in shown):
                drawing.nothing(axes, place + 0.14)
        axes.set_xlim(low - 0.06 * (high - low) - 1, high + 0.06 * (high - low) + 1)
        axes.set_xlabel("difference in pref_acc on held-out pairs, percentage points")
        drawing.legend(
            figure,
            [
                Line2D([], [], color=colour, marker=marker, ms=4.5, label=label)
                for colour, marker, label in shown.values()
            ],
            columns=1,
        )
        label = drawing.spoken("Interaction in points, by split", verdict, "interaction_pp", "finding")
        return drawing.svg(figure, "interactions", label)


def heterogeneity(rows: pl.DataFrame, splits: Sequence[str]) -> str:
    """H of groups A and B of each split with 95 % intervals.

    Args:
        rows: of `verdicts.heterogeneity` of one reference pass.
        splits: which, top row first.
    """
    found = {(row["split"], row["user_group"]): row for row in rows.iter_rows(named=True)}
    with drawing.styled("heterogeneity"):
        figure, axes = drawing.rows(len(splits), 0.52, legend_lines=1)
        for place, split in enumerate(splits):
            undefined = [
                group for group in GROUP_COLOURS if (found.get((split, group)) or {}).get("heterogeneity") is None
            ]
            axes.vlines([0, 1], place - 0.12, place + 0.46, color=FAINT, lw=0.8, zorder=1)
            drawing.heading(axes, place - 0.28, split, f"undefined: {' and '.join(undefined)}" if undefined else "")
            for lane, (group, colour) in enumerate(GROUP_COLOURS.items()):
                if group not in undefined:
                    one = found[split, group]
                    values = one["heterogeneity"], one["lower"], one["upper"]
                    drawing.interval(axes, place + 0.04 + 0.26 * lane, values, colour, GROUP_MARKERS[group], size=4.5)
        axes.set_xlabel("H (0: all users want one thing, 1: they share nothing)")
        drawing.legend(
            figure,
            [
                Line2D([], [], color=colour, marker=GROUP_MARKERS[group], ms=4.5, label=f"users of {group}")
                for group, colour in GROUP_COLOURS.items()
            ],
        )
        told = "; ".join(
            f"{split} {group} {one['heterogeneity']:.2f}"
            for (split, group), one in found.items()
            if split in splits and group in GROUP_COLOURS and one["heterogeneity"] is not None
        )
        return drawing.svg(figure, "heterogeneity", f"Heterogeneity H by split and group: {told}")


def changes(change: pl.DataFrame, tolerance: float) -> str:
    """A - B of the study that was repeated and of this one at the same seeds, and their difference with its interval.

    Args:
        change: rows of `verdicts.method_change` of one study on the held-out readout, top row first.
        tolerance: points, up to which a difference counts as none.
    """
    low, high = drawing.extent(
        *(change[name] for name in ("lower_pp", "upper_pp", "change_pp", "before_common_pp", "after_common_pp")),
        -tolerance,
        tolerance,
    )
    with drawing.styled("changes"):
        figure, axes = drawing.rows(len(change), 0.72, legend_lines=2)
        for place, row in enumerate(change.iter_rows(named=True)):
            axes.fill_between([-tolerance, tolerance], place - 0.06, place + 0.42, color=BAND, lw=0)
            drawing.heading(axes, place - 0.37, row["split"], row["change"])
            labels = f"reported rule: {row['before_label']} to {row['after_label']}"
            said = "" if row["change"] == "no direction expected" else labels
            drawing.subheading(axes, place - 0.19, f"expected: {row['expected']}", said)
            if row["before_common_pp"] is None:
                drawing.nothing(axes, place + 0.18)
                continue
            axes.vlines(0, place - 0.06, place + 0.42, color=FAINT, lw=0.8, zorder=1.5)
            if row["change_pp"] is not None:
                values = row["change_pp"], row["lower_pp"], row["upper_pp"]
                drawing.interval(axes, place + 0.08, values, INK, "D", size=4.5)
            ends = [row["before_common_pp"], row["after_common_pp"]]
            axes.plot(ends, [place + 0.3] * 2, color=FAINT, lw=0.9)
            axes.plot(ends[:1], [place + 0.3], "o", ms=4.5, mfc="white", mec=FAINT, mew=1.1)
            axes.plot(ends[1:], [place + 0.3], "o", ms=4.5, color=FAINT)
        axes.set_xlim(low - 0.06 * (high - low), high + 0.06 * (high - low))
        axes.set_xlabel("A - B in pref_acc on held-out pairs, percentage points")
        drawing.legend(
            figure,
            [
                Line2D([], [], color=INK, marker="D", ms=4.5, label="change, 95 % interval"),
                Patch(color=BAND, label=f"counts as none (within {tolerance:g})"),
                Line2D([], [], color=FAINT, lw=0.9, marker="o", ms=4.5, mfc="white", label="A - B before"),
                Line2D([], [], color=FAINT, lw=0.9, marker="o", ms=4.5, label="A - B after"),
            ],
        )
        return drawing.svg(
            figure, "changes", drawing.spoken("Change of A - B in points, by split", change, "change_pp", "change")
        )


# ---- curves


def baseline_curve(curve: pl.DataFrame, wanted_pp: float | None) -> str:
    """Training pref_acc of the baseline, each seed and their mean, beside what the gate wants of its last fifth.

    Args:
        curve: rows of `verdicts.learning_curve` of the cohort `everyone`, at least one.
        wanted_pp: percent that the gate wants; None if that is not known.
    """
    wanted = [] if wanted_pp is None else [wanted_pp]
    with drawing.styled("baseline"):
        figure, (axes,) = drawing.panel(WIDTH, [2.1], legend_lines=2)
        for _, rows in curve.group_by("seed", maintain_order=True):
            axes.plot(rows["last_step"], 100 * rows["pref_acc"], color=FAINT, lw=0.7, alpha=0.7)
        mean = _over_seeds(curve)
        axes.plot(mean["step"], mean["mean"], color=INK, lw=2.2)
        _, last = drawing.extent(mean["step"])
        axes.axvspan(0.8 * last, last, color=BAND, lw=0, zorder=0)
        low, high = drawing.extent(mean["lowest"], mean["highest"], *wanted)
        axes.hlines(wanted, 0, last, color=INK, lw=1, ls=(0, (4, 2)))
        axes.set_ylim(low - 4, high + 4)
        axes.set_xlim(0, last)
        axes.set_xlabel("training step")
        axes.set_ylabel("pref_acc of training batches, %")
        seeds = curve["seed"].n_unique()
        drawing.legend(
            figure,
            [
                Line2D([], [], color=INK, lw=2.2, label=f"mean of {drawing.counted(seeds, 'seed')}"),
                Line2D([], [], color=FAINT, lw=0.7, label="one seed"),
                *(Line2D([], [], color=INK, lw=1, ls=(0, (4, 2)), label=f"wanted: {value:.0f} %") for value in wanted),
                Patch(color=BAND, label="last fifth, which the gate reads"),
            ],
        )
        label = "; ".join(
            [
                f"Learning curve of the baseline, ending at {mean['mean'][-1]:.0f} %",
                *(f"{value:.0f} % wanted" for value in wanted),
            ]
        )
        return drawing.svg(figure, "baseline", label)


def group_curves(curve: pl.DataFrame, split: str, limits: tuple[float, float]) -> str:
    """Training pref_acc of A's and B's adapters of one split: mean over seeds, and from the lowest to the highest seed.

    Args:
        curve: its rows of `verdicts.learning_curve`, at least one.
        limits: of the vertical axis in percent, the same for all splits (`curve_limits`).
    """
    with drawing.styled(f"curve-{split}"):
        figure, (axes,) = drawing.panel(PANEL, [1.55], title=split)
        ends = []
        for group, colour in GROUP_COLOURS.items():
            rows = curve.filter(user_group=group)
            if rows.is_empty():
                continue
            mean = _over_seeds(rows)
            axes.fill_between(mean["step"], mean["lowest"], mean["highest"], color=colour, alpha=SHADE, lw=0)
            axes.plot(mean["step"], mean["mean"], color=colour, ls=DASHES[group])
            ends.append((group, rows["seed"].n_unique(), mean["mean"][-1]))
        axes.set_ylim(*limits)
        axes.set_xlim(0, drawing.extent(curve["last_step"])[1])
        axes.set_ylabel("pref_acc, %")
        seeds = {group: count for group, count, _ in ends}
        axes.set_xlabel(f"training step; seeds of A | of B: {seeds.get('A', 0)} | {seeds.get('B', 0)}")
        drawing.group_legend(
            axes, [Line2D([], [], color=GROUP_COLOURS[group], ls=DASHES[group], label=group) for group in seeds]
        )
        told = " and ".join(f"{group} at {end:.0f} %" for group, _, end in ends)
        return drawing.svg(figure, f"curve-{split}", f"Learning curves of {split}: {told} at the end")


def curve_limits(curve: pl.DataFrame) -> tuple[float, float]:
    """Vertical axis in percent that holds every seed of every cohort of `verdicts.learning_curve` rows."""
    low, high = drawing.extent(100 * curve["pref_acc"])
    return max(0.0, 5 * ((low - 2) // 5)), min(101.0, 5 * ((high + 2) // 5 + 1))


def score_gaps(rows: pl.DataFrame, split: str, limits: Mapping[str, tuple[float, float]]) -> str:
    """pref_acc and mean margin of A's and B's adapters on their own held-out pairs, by the size of the score gap.

    Args:
        rows: of `verdicts.score_gap` of one split, at least one.
        limits: of the vertical axes, the same for all splits: `pref_acc` in percent, `mean_margin` in nats x beta
            (`gap_limits`).
    """
    bins = {1: "1-6", 2: "7-14", 3: "15-29", 4: "30+"}
    with drawing.styled(f"gap-{split}"):
        figure, (upper, lower) = drawing.panel(PANEL, [1.5, 1.05], title=split, tick_lines=2)
        pairs = {}
        for group, colour in GROUP_COLOURS.items():
            mine = rows.filter(user_group=group).sort("outcome")
            pairs[group] = dict(mine.select("outcome", "held_out_pairs").iter_rows())
            for axes, values in ((upper, 100 * mine["pref_acc"]), (lower, mine["mean_margin"])):
                axes.plot(mine["outcome"], values, color=colour, marker=GROUP_MARKERS[group], ms=4.5)
        upper.axhline(50, color=FAINT, lw=0.8, ls=(0, (2, 2)), zorder=1)
        lower.axhline(0, color=FAINT, lw=0.8, ls=(0, (2, 2)), zorder=1)
        upper.set_ylim(*limits["pref_acc"])
        lower.set_ylim(*limits["mean_margin"])
        drawing.group_legend(
            upper,
            [
                Line2D([], [], color=colour, marker=GROUP_MARKERS[group], ms=4.5, label=group)
                for group, colour in GROUP_COLOURS.items()
            ],
        )
        upper.set_ylabel("pref_acc, %")
        upper.set_xticks(list(bins), [])
        upper.set_xlim(0.6, 4.4)
        lower.set_ylabel("mean margin,\nnats x beta")
        labels = [f"{name}\n{pairs['A'].get(place, 0)} | {pairs['B'].get(place, 0)}" for place, name in bins.items()]
        lower.set_xticks(list(bins), labels)
        lower.set_xlim(0.6, 4.4)
        lower.set_xlabel("score gap, points; pairs of A | of B")
        told = "; ".join(
            f"{row['user_group']} {row['score_gap']} {100 * row['pref_acc']:.0f} %"
            for row in rows.sort("user_group", "outcome").iter_rows(named=True)
        )
        return drawing.svg(figure, f"gap-{split}", f"pref_acc of {split} by score gap: {told}")


def gap_limits(rows: pl.DataFrame) -> dict[str, tuple[float, float]]:
    """Vertical axes that hold every split of `verdicts.score_gap` rows: 50 % and margin 0 always among them."""
    limits = {}
    for metric, scale, chance in (("pref_acc", 100, 50), ("mean_margin", 1, 0)):
        low, high = drawing.extent(scale * rows[metric], chance)
        margin = 0.08 * (high - low) or 1.0
        limits[metric] = low - margin, high + margin
    return limits


def _over_seeds(curve: pl.DataFrame) -> pl.DataFrame:
    """Per window: `step`, and `mean`, `lowest` and `highest` of the seeds' pref_acc in percent."""
    return (
        curve.group_by("step_window")
        .agg(
            step=pl.col("last_step").mean(),
            mean=100 * pl.col("pref_acc").mean(),
            lowest=100 * pl.col("pref_acc").min(),
            highest=100 * pl.col("pref_acc").max(),
        )
        .sort("step_window")
    )
