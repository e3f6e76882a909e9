"""The page of Arena: whether anything predicts what people prefer beyond what knows nothing of the answers, and why."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from textwrap import shorten
from typing import Any

import polars as pl
from markupsafe import Markup

from prefassets.domain.arena.prompt import PROMPTS
from prefassets.domain.arena.recipe import WINNERS
from prefassets.report import arena_figures
from prefassets.report.arena_figures import BASELINES, BEST_BASELINE, BOTH, GIVEN, PRIOR, Kind, Predictor
from prefassets.report.templates import template

FEW = 12  # recipes; more are listed folded
LONGEST = 160  # characters of what was found in a row that is left out
METRICS = ("log_loss", "accuracy", "brier", "calibration_error", "swap_consistency", "first_shown")
MEANS = {  # state of arena.reading -> what it says of a model, one and several
    "SIGNAL": ("predicts beyond lengths and words", "predict beyond lengths and words"),
    "BASELINE": (
        "predicts, but is not shown to know more than lengths and words",
        "predict, but are not shown to know more than lengths and words",
    ),
    "NOT SHOWN": ("is not shown to predict anything", "are not shown to predict anything"),
    "WORSE": ("predicts worse than the class prior", "predict worse than the class prior"),
    "CANNOT TELL": ("cannot be judged", "cannot be judged"),
}
DIMENSIONS = {  # dimension of arena.breakdown -> title of its figure
    "winner": "who won",
    "length": "which answer is longer",
    "turns": "turns",
    "answers": "what the answers are",
    "fits": "whether all of it was read",
}
PARTS = {"training": "training", "validation": "validation", "held_out": "held out", "all": "all"}


@dataclass(frozen=True)
class ArenaFindings:
    """What a home holds of Arena: what was read, and nothing computed from it.

    `tables` has, by name, the rows of each table that the page shows; one that was never made is empty. `source` says
    where the battles come from.
    """

    source: str
    tables: Mapping[str, pl.DataFrame]


def render(findings: ArenaFindings, made: datetime) -> str:
    """The page as HTML text. Equal findings give equal pages, but for the line that says when it was `made` (UTC)."""
    return template("arena.html").render(**_told(findings), made=made)


def _told(findings: ArenaFindings) -> dict[str, Any]:
    """Everything that the template says."""
    rows = findings.tables
    scores = rows["arena.comparison"]
    recipes = _with_states(rows["arena.recipe"], rows["arena.sweep"])
    predictors = _predictors(scores)
    best = next(iter(predictors), None)
    if best is not None and best.kind == "baseline":
        best = None
    shown = _shown(best, predictors, recipes)
    return {
        "source": findings.source,
        "recipes": recipes.to_dicts(),
        "finished": int((recipes["state"] == "finished").sum()),
        "unfinished": _unfinished(recipes),
        "few": FEW,
        "most_pairs": 2 * arena_figures.PAIRS,
        "adapters": _by_model(rows["arena.adapter"]),
        **_battles(rows["arena.part"], rows["arena.dropped"]),
        "judged": not scores.is_empty(),
        **_judged(rows, predictors),
        "best": best,
        "several_recipes": sum(predictor.kind == "recipe" for predictor in predictors) > 1,
        **_where(rows, best, shown),
        **_sweep(rows["arena.sweep"]),
        **_training(rows, recipes["recipe"].to_list()),
        "prompts": _prompts(recipes, predictors),
    }


def _as_judged(rows: pl.DataFrame) -> pl.DataFrame:
    """Of each predictor, the rows that it is judged by: of both orders of answers where there are any."""
    with_both = rows.filter(orders=BOTH)["predictor"].unique()
    return rows.filter((pl.col("orders") == BOTH) | ~pl.col("predictor").is_in(with_both.implode()))


# ---- what there is


def _predictors(scores: pl.DataFrame) -> list[Predictor]:
    """All that are scored: recipes, base models, baselines; of each kind the lowest log loss first."""
    ranked = _as_judged(scores).filter(metric="log_loss").sort("estimate", "predictor")["predictor"].to_list()
    kinds: dict[Kind, list[str]] = {
        "recipe": [name for name in ranked if "@" not in name and name not in BASELINES],
        "base": [name for name in ranked if "@" in name],
        "baseline": [name for name in ranked if name in BASELINES],
    }
    called = _bases_called(kinds["base"]) | {name: said for name, (said, _) in BASELINES.items()}
    return [Predictor(name, kind, called.get(name, name)) for kind, names in kinds.items() for name in names]


def _bases_called(bases: Sequence[str]) -> dict[str, str]:
    """The model without its owner and, where several differ in nothing else, how it is asked."""
    parts = {}
    for base in bases:
        model, _, asked = base.rpartition("@")
        tokens, precision, prompt = asked.split(":")
        parts[base] = (model.rpartition("/")[2], f"{int(tokens):,} tokens", precision, f"{prompt} prompt")
    alike = {base: [other for other in parts.values() if other[0] == of_one[0]] for base, of_one in parts.items()}
    return {
        base: ", ".join(
            part for place, part in enumerate(of_one) if not place or any(other[place] != part for other in alike[base])
        )
        for base, of_one in parts.items()
    }


def _shown(best: Predictor | None, predictors: Sequence[Predictor], recipes: pl.DataFrame) -> list[Predictor]:
    """Those that are looked at closely: the best recipe, its base model, the strongest baseline and the class prior."""
    if best is None:
        return []
    base = next(iter(recipes.filter(recipe=best.name)["base"]), None)
    names = [best.name, base, BEST_BASELINE, PRIOR]
    by_name = {predictor.name: predictor for predictor in predictors}
    return [by_name[name] for name in names if name in by_name]


def _with_states(recipes: pl.DataFrame, sweep: pl.DataFrame) -> pl.DataFrame:
    """Every recipe that there is, as written, with its state: one of which nothing is known is not finished either."""
    return recipes.join(
        sweep.select("recipe", "state", "reason"), on="recipe", how="left", maintain_order="left"
    ).with_columns(pl.col("state").fill_null("unknown"), pl.col("reason").fill_null("arena/sweep does not have it yet"))


def _unfinished(recipes: pl.DataFrame) -> list[dict[str, Any]]:
    """Per state and reason: the recipes that are not finished, in their order."""
    return (
        recipes.filter(pl.col("state") != "finished")
        .group_by("state", "reason", maintain_order=True)
        .agg("recipe")
        .to_dicts()
    )


def _by_model(adapters: pl.DataFrame) -> list[dict[str, Any]]:
    """Per base model and revision: how many recipes were trained on it, where, and when."""
    return (
        adapters.group_by("model", "revision")
        .agg(
            recipes=pl.len(),
            devices=pl.col("device").unique().sort(),
            sources=pl.col("source").unique().sort(),
            first=pl.col("finished_at").min(),
            last=pl.col("finished_at").max(),
        )
        .sort("recipes", "model", "revision", descending=[True, False, False])
        .to_dicts()
    )


def _battles(parts: pl.DataFrame, dropped: pl.DataFrame) -> dict[str, Any]:
    """How many battles there are in each part and how they ended, and what was left out."""
    table = []
    for part, said in PARTS.items():
        of_part = {row["winner"]: row for row in parts.filter(part=part).iter_rows(named=True)}
        if whole := of_part.get("all"):
            shares = {winner: of_part[winner]["share"] if winner in of_part else 0.0 for winner in WINNERS}
            table.append(whole | {"called": said, "shares": shares})
    left_out = [
        row | {"examples": [shorten(example, LONGEST, placeholder=" ...") for example in row["examples"] or []]}
        for row in dropped.sort("rows", descending=True).iter_rows(named=True)
    ]
    return {
        "parts": table,
        "battles": next((row for row in table if row["part"] == "all"), None),
        "held_out": next((row for row in table if row["part"] == "held_out"), None),
        "dropped": left_out,
        "dropped_rows": sum(row["rows"] for row in left_out),
    }


# ---- is anything predicted


def _judged(rows: Mapping[str, pl.DataFrame], predictors: Sequence[Predictor]) -> dict[str, Any]:
    """Each predictor with all that is known of it, and the picture."""
    scores, readings = rows["arena.comparison"], rows["arena.reading"]
    judged = _metrics(_as_judged(scores))
    one_order = _metrics(scores.filter(orders=GIVEN))
    apart = {
        (row["predictor"], row["than"]): row
        for row in _as_judged(rows["arena.difference"]).filter(metric="log_loss").iter_rows(named=True)
    }
    read = {row["predictor"]: row for row in readings.iter_rows(named=True)}
    base_of = dict(rows["arena.recipe"].select("recipe", "base").iter_rows())
    return {
        "predictors": [
            {
                "called": one.called,
                "kind": one.kind,
                "reading": read.get(one.name),
                "than_prior": apart.get((one.name, PRIOR)),
                "than_baseline": apart.get((one.name, BEST_BASELINE)),
                "than_base": apart.get((one.name, base_of.get(one.name, ""))),
                "one_order": one_order[one.name]["log_loss"] if one.kind != "baseline" else None,
                **judged[one.name],
            }
            for one in predictors
        ],
        "readings": len(readings),
        "in_short": _in_short(readings),
        "cautions": _cautions(readings, predictors),
        "comparison_figure": Markup(arena_figures.comparison(scores, predictors)) if predictors else None,
    }


def _metrics(scores: pl.DataFrame) -> dict[str, dict[str, dict[str, Any] | None]]:
    """By predictor, the row of each metric; None where it has none."""
    found: dict[str, dict[str, dict[str, Any] | None]] = {}
    for row in scores.iter_rows(named=True):
        found.setdefault(row["predictor"], dict.fromkeys(METRICS))[row["metric"]] = row
    return found


def _in_short(readings: pl.DataFrame) -> list[str]:
    """How many models are in each state, in words, best first."""
    counts = dict(readings.group_by("state").len().iter_rows())
    return [f"{counts[state]} {said[counts[state] > 1]}" for state, said in MEANS.items() if state in counts]


def _cautions(readings: pl.DataFrame, predictors: Sequence[Predictor]) -> list[tuple[str, str]]:
    """(whom it concerns, caution): first what is said of several models, then of each what is said of it alone."""
    called = {predictor.name: predictor.called for predictor in predictors}
    concerned: dict[str, list[str]] = {}
    for name, cautions in readings.select("predictor", "cautions").iter_rows():
        for caution in filter(None, (cautions or "").split("; ")):
            concerned.setdefault(caution, []).append(called.get(name, name))
    of_several = [
        ("all models" if len(names) == len(readings) else ", ".join(names), caution)
        for caution, names in concerned.items()
        if len(names) > 1
    ]
    of_one: dict[str, list[str]] = {}
    for caution, names in concerned.items():
        if len(names) == 1:
            of_one.setdefault(names[0], []).append(caution)
    return of_several + [(name, "; ".join(cautions)) for name, cautions in of_one.items()]


# ---- where it is right


def _where(rows: Mapping[str, pl.DataFrame], best: Predictor | None, shown: Sequence[Predictor]) -> dict[str, Any]:
    """The best recipe, beside its base model and baselines, by kind of battle and by what it says."""
    if best is None:
        return {"breakdowns": [], "pairs_figure": None, "said": []}
    names = [predictor.name for predictor in shown]
    judged = _as_judged(rows["arena.breakdown"].filter(pl.col("predictor").is_in(names)))
    return {
        "breakdowns": [
            Markup(arena_figures.breakdown(_spelled(of_one, dimension), shown, f"by-{dimension}", title))
            for dimension, title in DIMENSIONS.items()
            if not (of_one := judged.filter(dimension=dimension)).is_empty()
        ],
        **_pairs(judged.filter(dimension="models", predictor=best.name), rows["arena.comparison"], best),
        "said": list(_said(rows, [predictor for predictor in shown if predictor.name != PRIOR])),
    }


def _spelled(rows: pl.DataFrame, dimension: str) -> pl.DataFrame:
    if dimension == "winner":
        return rows.with_columns(pl.col("value").replace(arena_figures.WON))
    if dimension == "turns":
        return rows.with_columns(
            value=pl.format("{} turn{}", "value", pl.when(value="1").then(pl.lit("")).otherwise(pl.lit("s")))
        )
    return rows


def _pairs(rows: pl.DataFrame, scores: pl.DataFrame, best: Predictor) -> dict[str, Any]:
    """Pairs of models from the best predicted to the worst, and how many leave out what holds for all battles."""
    pairs = rows.filter(pl.col("value").str.contains(" vs ")).sort("log_loss", "value")
    if pairs.is_empty():
        return {"pairs_figure": None}
    of_best = _as_judged(scores).filter(predictor=best.name)
    overall: dict[str, float] = dict(of_best.select("metric", "estimate").iter_rows())
    known = pairs.drop_nulls("log_loss_lower")
    level = overall["log_loss"]
    return {
        "pairs_figure": Markup(arena_figures.pairs(pairs, overall)),
        "pairs": len(pairs),
        "pairs_known": len(known),
        "pairs_apart": len(known.filter((pl.col("log_loss_lower") > level) | (pl.col("log_loss_upper") < level))),
    }


def _said(rows: Mapping[str, pl.DataFrame], shown: Sequence[Predictor]) -> Iterable[Markup]:
    """Of each, how often what it says happens, beside what it says most of what happened."""
    calibration, confusion = (_as_judged(rows[f"arena.{table}"]) for table in ("calibration", "confusion"))
    names = [predictor.name for predictor in shown]
    of_shown = calibration.filter(pl.col("predictor").is_in(names))
    for number, predictor in enumerate(shown):
        if not (mine := of_shown.filter(predictor=predictor.name)).is_empty():
            highest = arena_figures.highest_probability(of_shown)
            yield Markup(arena_figures.calibration(mine, highest, f"calibration-{number}", predictor.called))
        if not (mine := confusion.filter(predictor=predictor.name)).is_empty():
            yield Markup(arena_figures.confusion(mine, f"confusion-{number}", predictor.called))


# ---- what the changes do


def _sweep(sweep: pl.DataFrame) -> dict[str, Any]:
    """Every recipe with what it gives, best first; drawn are those that are compared with what they change."""
    measured = sweep.drop_nulls("than_variant")
    return {
        "sweep": sweep.to_dicts(),
        "sweep_figure": None if measured.is_empty() else Markup(arena_figures.sweep(measured)),
    }


# ---- training


def _training(rows: Mapping[str, pl.DataFrame], recipes: Sequence[str]) -> dict[str, Any]:
    """The curve of every recipe that was trained, and what is made of it."""
    curves, analysis = rows["arena.curve"], rows["arena.training_analysis"]
    of_prior = rows["arena.comparison"].filter(predictor=PRIOR)
    prior = {"log_loss": None, "accuracy": None} | dict(of_prior.select("metric", "estimate").iter_rows())
    kept = dict(rows["arena.adapter"].select("recipe", "best_steps").iter_rows())
    by_recipe = {str(name): found for (name,), found in curves.partition_by("recipe", as_dict=True).items()}
    trained = [name for name in recipes if name in by_recipe]
    limits = arena_figures.curve_limits(curves, prior) if trained else {}
    several = analysis.with_columns(several=pl.len().over("recipe") > 1)
    order = pl.DataFrame({"recipe": recipes, "place": range(len(recipes))}, schema_overrides={"recipe": pl.String})
    return {
        "curves": [
            Markup(arena_figures.curve(by_recipe[name], kept.get(name) or [], prior, limits, f"curve-{name}", name))
            for name in trained
        ],
        "curve_key": Markup(arena_figures.curve_key()) if trained else None,
        "analysis": several.join(order, on="recipe").sort("place", "adapter").to_dicts(),
    }


# ---- how it was done


def _prompts(recipes: pl.DataFrame, predictors: Sequence[Predictor]) -> list[dict[str, Any]]:
    """The prompts that were used by what is scored, by how many tokens and by whom; else all that recipes name."""
    names = [predictor.name for predictor in predictors]
    scored = recipes.filter(pl.col("recipe").is_in(names))
    used = recipes.filter(pl.col("base").is_in(names)) if scored.is_empty() else scored
    found = (
        (recipes if used.is_empty() else used)
        .group_by("prompt", maintain_order=True)
        .agg(pl.col("max_tokens").unique().sort(), "recipe")
    )
    return [
        row | {"text": PROMPTS[row["prompt"]].template}
        for row in found.iter_rows(named=True)
        if row["prompt"] in PROMPTS
    ]
