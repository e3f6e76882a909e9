"""One self-contained HTML page per study, from the rows of the verdict tables: nothing is fetched, nothing is run."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
from markupsafe import Markup

from prefassets.domain.prism.splits import SPLITS
from prefassets.domain.training.methods import METHODS
from prefassets.report import figures, probe_section, weight_figures
from prefassets.report.templates import template
from prefassets.studies.study import Study


@dataclass(frozen=True)
class Findings:
    """What a home holds of one study: what was read, and nothing computed from it.

    `cells` has a row per planned cell: `cohort`, `seed` (its key, `42` or `42.f1`), `state` (finished, missing,
    unscored, unread, stale) and `reason`. `tables` has, by name, the study's own rows of each table that the page
    shows; one that was never made is empty. `source` says what PRISM they come from.
    """

    study: Study
    source: str
    cells: pl.DataFrame
    tables: Mapping[str, pl.DataFrame]


def render(findings: Findings, made: datetime) -> str:
    """The page as HTML text. Equal findings give equal pages, but for the line that says when it was `made` (UTC)."""
    return template("page.html").render(**_told(findings), made=made)


def _told(findings: Findings) -> dict[str, Any]:
    """Everything that the template says."""
    study = findings.study
    rows = {table: _in_order(found, study) for table, found in findings.tables.items()}
    verdict = rows["verdicts.verdict"]
    ran, weighted = bool(len(rows["training.cells"])), METHODS[study.method].weight is not None
    states = findings.cells["state"]
    behind = _behind(rows["verdicts.estimate"])
    return {
        "study": study,
        "splits": [(SPLITS[split], expected.value, study.role(split)) for split, expected in study.expected.items()],
        "source": findings.source,
        "finished": int((states == "finished").sum()),
        "counted": len(rows["verdicts.counted"]),
        "unfinished": _unfinished(findings.cells),
        "recipes": _recipes(rows["training.cells"]),
        "ran": ran,
        "gates": rows["verdicts.gate"].sort("gate").to_dicts() if ran else [],
        "verdicts": verdict.to_dicts(),
        "cautions": _cautions(verdict) if ran else [],
        "behind": behind,
        "spread": "; ".join(dict.fromkeys(row["spread"] for row in behind.values())),
        "groups": {(row["split"], row["user_group"]): row for row in rows["splits.balance"].iter_rows(named=True)},
        "transfer": _transfer(rows["verdicts.transfer"], study),
        "middle": _middle(rows["verdicts.mid_curve"]),
        "planted": _planted(rows["prism.planted_truth"], verdict),
        "weighted": weighted,
        # Drawn only where the page shows them: each takes longer than all tables together.
        **(_figures(study, rows) if ran else {}),
        **(_changes(study, rows) if ran and study.variant_of else {}),
        **(_weights(study, rows) if ran and weighted else {}),
        **({"probes": probe_section.told(rows, list(study.expected))} if ran else {}),
    }


def _in_order(rows: pl.DataFrame, study: Study) -> pl.DataFrame:
    """Rows of the study's splits, in its order; a table without a split as it is, and what is held out by another."""
    if "split" not in rows.columns or "features" in rows.columns:
        return rows
    order = pl.DataFrame({"split": list(study.expected), "place": range(len(study.expected))})
    kept = rows.filter(pl.col("split").is_null() | pl.col("split").is_in(list(study.expected)))
    return (
        kept.join(order, on="split", how="left", maintain_order="left").sort("place", maintain_order=True).drop("place")
    )


def _figures(study: Study, rows: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    """Each figure, or None where it has no rows."""
    verdict, estimate = rows["verdicts.verdict"], rows["verdicts.estimate"].filter(metric="pref_acc")
    curve, gaps = rows["verdicts.learning_curve"], rows["verdicts.score_gap"].filter(pl.col("split").is_not_null())
    seeds = rows["verdicts.per_seed"].filter(readout="held_out")
    baseline, groups = curve.filter(pl.col("split").is_null()), curve.filter(pl.col("split").is_not_null())
    wanted = rows["verdicts.gate"].filter(gate="baseline_trained")["wanted_pp"]
    measured = not verdict["estimate_pp"].drop_nulls().is_empty()
    spread = rows["verdicts.heterogeneity"]
    by_curve, by_gap = _by_split(groups), _by_split(gaps)
    curve_limits = figures.curve_limits(groups) if by_curve else (0.0, 100.0)
    gap_limits = figures.gap_limits(gaps) if by_gap else {}
    return {
        "contrasts": Markup(figures.contrasts(verdict, seeds, study.null_tolerance_pp)) if measured else None,
        "interactions": Markup(figures.interactions(verdict, estimate))
        if not estimate.filter(quantity="interaction").is_empty()
        else None,
        "baseline_curve": Markup(figures.baseline_curve(baseline, next(iter(wanted), None)))
        if not baseline.is_empty()
        else None,
        "group_curves": {
            split: Markup(figures.group_curves(found, split, curve_limits)) for split, found in by_curve.items()
        },
        "score_gaps": {split: Markup(figures.score_gaps(found, split, gap_limits)) for split, found in by_gap.items()},
        "heterogeneity": Markup(figures.heterogeneity(spread, list(spread["split"].unique(maintain_order=True))))
        if not spread["heterogeneity"].drop_nulls().is_empty()
        else None,
    }


def _changes(study: Study, rows: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    """What the study changed against the one that it repeats: its rows, its figure, and the count of labels."""
    change = rows["verdicts.method_change"].filter(readout="held_out")
    paired = not change["before_common_pp"].drop_nulls().is_empty()
    return {
        "changes": change.to_dicts(),
        "change_cautions": _cautions(change),
        "changes_figure": Markup(figures.changes(change, study.null_tolerance_pp)) if paired else None,
        "change_counts": rows["verdicts.method_change_count"].sort("readout").to_dicts(),
    }


def _weights(study: Study, rows: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    """The four figures of the weights under the base model, what is said beside them, and the weights in training."""
    bins, means = rows["weights.histogram"], rows["weights.mean"]
    yardstick, models = rows["weights.yardstick"], rows["weights.source_model"]
    splits = [split for split in study.expected if means["level"].str.starts_with(f"{split}.").any()]
    gaps = means.filter(dimension="score gap")
    return {
        "yardstick": yardstick.filter(unit="pair").to_dicts(),
        "weight_correlations": rows["weights.score_gap"].sort("kind").to_dicts(),
        "weights_explained": rows["weights.explained"].filter(pl.col("state").str.starts_with("estimated")).to_dicts(),
        "weights_histogram": Markup(weight_figures.histogram(bins, yardstick)) if not bins.is_empty() else None,
        "weights_by_gap": Markup(weight_figures.by_score_gap(means, yardstick)) if not gaps.is_empty() else None,
        "weights_by_model": Markup(weight_figures.by_source_model(models)) if not models.is_empty() else None,
        "weights_by_group": Markup(weight_figures.by_group(means, rows["weights.split"], splits)) if splits else None,
        "weights_in_training": rows["weights.in_training"]
        .join(rows["verdicts.counted"], on=["cohort", "seed", "fold"], how="semi", maintain_order="left")
        .group_by("cohort", maintain_order=True)
        .agg(
            mean=pl.col("weight_mean").mean(),
            smallest=pl.col("weight_min").min(),
            clamped=pl.col("weight_clamped").mean(),
            first=pl.col("weight_mean_first").mean(),
            last=pl.col("weight_mean_last").mean(),
        )
        .to_dicts(),
    }


def _by_split(rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {str(split): found for (split,), found in rows.partition_by("split", as_dict=True).items()}


def _unfinished(cells: pl.DataFrame) -> list[dict[str, Any]]:
    """Per cohort, state and reason: the seeds that are not finished, in the study's order."""
    return (
        cells.filter(pl.col("state") != "finished")
        .group_by("state", "cohort", "reason", maintain_order=True)
        .agg(seeds=pl.col("seed"))
        .to_dicts()
    )


def _recipes(cells: pl.DataFrame) -> list[dict[str, Any]]:
    """Per recipe: how many finished cells it trained, on what base, and when."""
    return (
        cells.group_by("recipe", "method", "base_model", "base_revision", "steps")
        .agg(cells=pl.len(), first=pl.col("finished_at").min(), last=pl.col("finished_at").max())
        .sort("cells", "recipe", descending=[True, False])
        .to_dicts()
    )


def _cautions(rows: pl.DataFrame) -> list[tuple[str, list[str]]]:
    """Each caution once, with the splits that it concerns."""
    said: dict[str, list[str]] = {}
    for split, cautions in rows.select("split", "cautions").iter_rows():
        for caution in filter(None, (cautions or "").split("; ")):
            said.setdefault(caution, []).append(split)
    return list(said.items())


def _behind(estimate: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Per split, the contrast's own row: users and pairs behind it, and what its interval contains."""
    rows = estimate.filter(quantity="contrast", metric="pref_acc")
    return {row["split"]: row for row in rows.iter_rows(named=True)}


def _transfer(transfer: pl.DataFrame, study: Study) -> list[dict[str, Any]]:
    """Per split: pref_acc in percent of each adapter on each group's pairs, mean over its seeds; None without any."""
    names = [f"{adapter}_on_{group}" for adapter in ("a", "b", "everyone") for group in "ab"]
    means = {
        row["split"]: row
        for row in transfer.filter(metric="pref_acc")
        .group_by("split")
        .agg(pl.col(name).mean() * 100 for name in names)
        .iter_rows(named=True)
    }
    adapters = {"A's adapter": "a", "B's adapter": "b", "everyone's": "everyone"}
    found = []
    for split in study.expected:
        if split in means:
            values = {
                adapter: [means[split][f"{key}_on_{group}"] for group in "ab"] for adapter, key in adapters.items()
            }
            rows = [(adapter, [(value, _shade(value)) for value in pair]) for adapter, pair in values.items()]
            found.append({"split": split, "rows": rows})
    return found


def _shade(percent: float | None) -> str:
    """Background of a share: white up to 50 %, darker towards 100 %; dark text stays readable on all of it."""
    depth = 0.0 if percent is None else min(1.0, max(0.0, (percent - 50) / 50))
    red, green, blue = (round(255 - depth * (255 - full)) for full in (120, 180, 140))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _middle(mid_curve: pl.DataFrame) -> list[dict[str, Any]]:
    """Per split: A - B in the middle of training and after it, whole stretches."""
    whole = mid_curve.filter(pl.col("step_window").is_null())
    stretches: dict[str, dict[str, Any]] = {}
    for row in whole.iter_rows(named=True):
        stretches.setdefault(row["split"], {"split": row["split"]})[row["stretch"]] = row
    return [found for found in stretches.values() if {"middle", "after"} <= found.keys()]


def _planted(planted: pl.DataFrame, verdict: pl.DataFrame) -> list[dict[str, Any]]:
    """Per split: what was planted, beside what was found."""
    rows: dict[str, dict[str, Any]] = {}
    for row in planted.filter(pl.col("quantity").is_in(["contrast_pp", "interaction_pp"])).iter_rows(named=True):
        rows.setdefault(row["split"], {"effect": row["effect"]})[row["quantity"]] = row["value"]
        rows[row["split"]].setdefault("description", row["description"].partition(";")[0])
    found = {row["split"]: row for row in verdict.iter_rows(named=True)}
    return [
        {"split": split, "contrast_pp": None, "interaction_pp": None, **row, "found": found[split]}
        for split, row in rows.items()
        if split in found
    ]
