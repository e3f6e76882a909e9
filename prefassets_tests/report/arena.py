"""What a home holds of Arena, written down instead of trained: recipes, a base model, three baselines."""

from datetime import UTC, datetime
from math import exp

import polars as pl

from prefassets.arena_recipes import all_recipes
from prefassets.domain.arena.recipe import WINNERS
from prefassets.report.arena_page import ArenaFindings
from prefassets.resources.arena_reports import READS
from prefassets.resources.sql_tables import all_tables, run_sql

FINISHED = ("lora", "qlora", "rank_32", "averaged")
BASELINES = {"prior": 1.0972, "longer": 1.0721, "length_and_words": 1.0166}
BASE_LOG_LOSS = 1.31
LENGTHS = ("A over twice as long", "A longer", "within 10 %", "B longer", "B over twice as long")
MODELS = (
    "gpt-4-1106-preview",
    "claude-2.1",
    "mixtral-8x7b-instruct-v0.1",
    "vicuna-13b",
    "nous-hermes-2-mixtral-8x7b-dpo",
)


def frame(table, rows):
    """Rows of a declared table; what is not said is empty."""
    declared = all_tables()[table]
    return pl.DataFrame([dict.fromkeys(declared.columns) | row for row in rows], schema=declared.schema)


def log_losses(finished=FINISHED):
    """By predictor: recipes fall from 1.010 in steps of .004, below every baseline."""
    recipes = {name: 1.010 - 0.004 * place for place, name in enumerate(finished)}
    bases = dict.fromkeys(bases_of(finished), BASE_LOG_LOSS)
    return recipes | bases | BASELINES


def bases_of(names):
    return list(dict.fromkeys(all_recipes()[name].base for name in names))


def judged_by(predictor):
    """The orders of answers that a predictor is judged by."""
    return "given" if predictor in BASELINES else "both"


def accuracy(log_loss):
    return 0.349 + max(-0.02, 0.9 * (1.0972 - log_loss))


def comparison(finished=FINISHED):
    rows = []
    for predictor, log_loss in log_losses(finished).items():
        of = {"predictor": predictor, "battles": 11495, "prompts": 10390}
        values = {"log_loss": log_loss, "accuracy": accuracy(log_loss), "brier": 0.66, "calibration_error": 0.03}
        halves = {"log_loss": 0.008, "accuracy": 0.009, "brier": 0.006, "calibration_error": 0.006}
        for orders, gain in (("given", 0.0), ("both", -0.003)):
            if orders == "both" and predictor in BASELINES:
                continue
            told = values | ({"swap_consistency": 0.71, "first_shown": 0.042} if orders == "both" else {})
            for metric, value in told.items():
                estimate = value + gain * (metric == "log_loss")
                half = halves.get(metric, 0.01)
                rows.append(
                    of
                    | {"orders": orders, "metric": metric, "estimate": estimate}
                    | {"lower": estimate - half, "upper": estimate + half}
                )
    return rows


def difference(finished=FINISHED):
    """Of models, to each baseline, their base, and the recipe that they change."""
    known = log_losses(finished)
    rows = []
    for predictor, log_loss in known.items():
        if predictor in BASELINES:
            continue
        than = list(BASELINES)
        if predictor in finished:
            than += [all_recipes()[predictor].base, *filter(None, [all_recipes()[predictor].variant_of])]
        for other in than:
            if other not in known:
                continue
            for orders in ("given", "both"):
                apart = log_loss - known[other]
                for metric, value in (("log_loss", apart), ("accuracy", -0.9 * apart)):
                    rows.append(
                        {"predictor": predictor, "orders": orders, "than": other, "metric": metric}
                        | {"difference": value, "lower": value - 0.006, "upper": value + 0.006}
                        | {"widened_lower": value - 0.009, "widened_upper": value + 0.009}
                        | {"battles": 11495, "prompts": 10390}
                    )
    return rows


def breakdown(finished=FINISHED, pairs=40):
    values = {
        "winner": {"A": 4012, "B": 3931, "tie": 3552},
        "length": dict(zip(LENGTHS, (2100, 2900, 1500, 2850, 2145), strict=True)),
        "turns": {"1": 9980, "2": 900, "3 or more": 615},
        "fits": {"all of it read": 9000, "cut": 2495},
        "answers": {"one is empty": 9, "equal": 41, "different": 11445},
        "models": {"other pairs": 5000}
        | {f"{MODELS[place % 5]} vs {MODELS[(place + 1) % 5]}{place}": 200 - 4 * place for place in range(pairs)},
    }
    rows = []
    for predictor, log_loss in log_losses(finished).items():
        for dimension, of_one in values.items():
            if dimension == "fits" and predictor in BASELINES:
                continue
            for place, (value, battles) in enumerate(of_one.items()):
                here = log_loss + 0.03 * (place - (len(of_one) - 1) / 2) / max(1, len(of_one) / 5)
                half = 1.0 / battles**0.5
                known = battles >= 20
                rows.append(
                    {"predictor": predictor, "orders": judged_by(predictor), "dimension": dimension, "value": value}
                    | {"battles": battles, "prompts": battles, "log_loss": here, "accuracy": accuracy(here)}
                    | {
                        "log_loss_lower": here - half if known else None,
                        "log_loss_upper": here + half if known else None,
                    }
                    | {"accuracy_lower": accuracy(here) - half / 2 if known else None}
                    | {"accuracy_upper": accuracy(here) + half / 2 if known else None}
                )
    return rows


def confusion(finished=FINISHED):
    counts = {"A": (2100, 1200, 712), "B": (1150, 2111, 670), "tie": (1300, 1290, 962)}
    return [
        {"predictor": predictor, "orders": orders, "winner": winner, "predicted": predicted, "battles": battles}
        for predictor in log_losses(finished)
        for orders in ("given", "both")
        if orders == "given" or predictor not in BASELINES
        for winner in WINNERS
        for predicted, battles in zip(WINNERS, counts[winner], strict=True)
    ]


def calibration(finished=FINISHED):
    """What is said to be likely happens a little less often: a slope of .9 about a third."""
    rows = []
    for predictor in log_losses(finished):
        if predictor == "prior":
            continue
        spread = 0.9 if "@" in predictor else 0.55
        for winner in WINNERS:
            for place in range(10):
                said = 0.05 + spread * place / 9 * (0.8 if winner == "tie" else 1.0)
                happened = 0.333 + 0.9 * (said - 0.333)
                rows.append(
                    {
                        "predictor": predictor,
                        "orders": judged_by(predictor),
                        "winner": winner,
                        "bin": place,
                        "probability": said,
                    }
                    | {"frequency": happened, "lower": happened - 0.027, "upper": happened + 0.027, "battles": 1149}
                )
    return rows


def curve(finished=FINISHED):
    """Loss falls from 1.35 to about 1.0, batch by batch above and below; validation turns up after step 700."""
    rows = []
    for name in finished:
        recipe = all_recipes()[name]
        for adapter in range(recipe.adapters):
            for step in range(1, recipe.steps + 1):
                level = 1.0 + 0.35 * exp(-step / 90)
                noise = 0.12 * (((step * 7919 + adapter * 31) % 101) / 50 - 1)
                evaluated = step % recipe.evaluate_every == 0
                validation = level + 0.02 + 0.05 * max(0.0, step - 700) / 300
                rows.append(
                    {"recipe": name, "adapter": adapter, "step": step, "loss": level + noise}
                    | {"accuracy": 0.5 - 0.4 * noise - 0.3 * (level - 1), "learning_rate": recipe.learning_rate}
                    | {"gradient_norm": 1.0, "battles_seen": step * recipe.batch_size}
                    | {"validation_log_loss": validation if evaluated else None}
                    | {"validation_accuracy": accuracy(validation) if evaluated else None}
                )
    return rows


def adapters(finished=FINISHED):
    return [
        {"recipe": name, "model": all_recipes()[name].model, "revision": "7ae557604adf67be", "quantised": False}
        | {"training_battles": 40000, "steps": all_recipes()[name].steps, "validation_log_loss": 1.02}
        | {"best_steps": [700] * all_recipes()[name].adapters, "stopped_early": False, "tokens": 9_100_000}
        | {"seconds": 1843.2, "device": "NVIDIA H100", "source": "battles from hub, seed 0"}
        | {"finished_at": datetime(2026, 11, 26, 9 + place % 12, 30, tzinfo=UTC)}
        for place, name in enumerate(finished)
    ]


def recipes():
    rows = []
    for recipe in all_recipes().values():
        of = {name: getattr(recipe, name, None) for name in all_tables()["arena.recipe"].columns}
        changes = []
        if recipe.variant_of:
            before = all_recipes()[recipe.variant_of].trained
            changes = [
                f"{name}: {before[name]} -> {now}" for name, now in recipe.trained.items() if now != before[name]
            ]
        rows.append(of | {"recipe": recipe.name, "changes": "; ".join(changes)})
    return rows


def states(finished=FINISHED, **changed):
    """Every recipe missing but for those that are finished, unless `changed` says otherwise."""
    known = dict.fromkeys(all_recipes(), ("missing", "it was never trained")) | dict.fromkeys(
        finished, ("finished", "")
    )
    known |= changed
    return [{"recipe": name, "state": state, "reason": reason} for name, (state, reason) in known.items()]


def parts():
    shares = {"A": 0.349, "B": 0.342, "tie": 0.309, "all": 1.0}
    return [
        {"part": part, "winner": winner, "battles": round(battles * share), "prompts": round(0.9 * battles * share)}
        | {"models": 64, "share": share, "several_turns": 0.131}
        | {"longer_wins": {"A": 0.613, "B": 0.616, "all": 0.615}.get(winner)}
        for part, battles in (("training", 40233), ("validation", 5749), ("held_out", 11495), ("all", 57477))
        for winner, share in shares.items()
    ]


DROPPED = [
    {"reason": "two winners", "rows": 3, "examples": ["id 12: A and tie", "line 77: A and B"]},
    {"reason": "a prompt that is no JSON list", "rows": 2, "examples": ['line 8: ["broken']},
]


def readings(finished=FINISHED):
    return [
        {"predictor": name, "state": "SIGNAL" if name in finished else "WORSE"}
        | {"sentence": f"What may be said of {name}.", "cautions": "one seed; half of the battles did not fit"}
        for name in log_losses(finished)
        if name not in BASELINES
    ]


def written(finished=FINISHED, lacking=(), **changed):
    """What the page is given where these recipes are finished; some tables without rows."""
    rows = {
        "arena.part": parts(),
        "arena.dropped": DROPPED,
        "arena.recipe": recipes(),
        "arena.states": states(finished, **changed),
        "arena.adapter": adapters(finished),
        "arena.curve": curve(finished),
        "arena.comparison": comparison(finished),
        "arena.difference": difference(finished),
        "arena.breakdown": breakdown(finished),
        "arena.confusion": confusion(finished),
        "arena.calibration": calibration(finished),
        "arena.reading": readings(finished),
    }
    tables = {name: frame(name, [] if name in lacking else of_one) for name, of_one in rows.items()}
    for name in ("arena.sweep", "arena.training_analysis"):
        found = run_sql(name, tables)
        tables[name] = found.clear() if name in lacking else found
    return ArenaFindings("battles from hub, seed 0", {name: tables[name] for name in READS})
