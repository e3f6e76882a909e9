"""What a home holds of probes, written down instead of fitted: two targets at two layers and two positions."""

import polars as pl

from prefassets.resources.sql_tables import all_tables

TARGETS = {"valence": "ridge", "choices": "bradley_terry"}
METRICS = {"ridge": "r_squared", "bradley_terry": "pairwise_accuracy"}
PLACES = [(layer, position) for layer in (8, 12) for position in ("response_last", "prompt_last")]
BEST = {"layer": 12, "position": "response_last"}
BASELINES = {"topic": 0.18, "length": 0.03, "text": 0.16, "random activations": -0.01, "shuffled labels": 0.0}


def frame(table, rows):
    """Rows of a declared table; what is not said is empty."""
    declared = all_tables()[table]
    return pl.DataFrame(
        [dict.fromkeys(declared.columns) | {"experiment": "probed"} | row for row in rows], schema=declared.schema
    )


def chance(target):
    return 0.0 if TARGETS[target] == "ridge" else 0.5


def around(estimate, half=0.05):
    return {"estimate": estimate, "lower": estimate - half, "upper": estimate + half}


def scores(target):
    of = {"target": target, "probe": TARGETS[target], "rows": 400, "units": 400, "metric": METRICS[TARGETS[target]]}
    found = []
    for layer, position in PLACES:
        here = of | {"layer": layer, "position": position}
        own = chance(target) + 0.26 - 0.01 * (12 - layer) - 0.05 * (position == "prompt_last")
        found.append(here | {"split": "unit", "features": "activations"} | around(own))
        found += [
            here | {"split": "unit", "features": features} | around(chance(target) + value, 0.02)
            for features, value in BASELINES.items()
        ]
        found.append(here | {"split": "leave_one_topic_out", "features": "activations"} | around(own - 0.14))
        found.append(here | {"split": "leave_one_topic_out", "features": "text"} | around(chance(target) + 0.02))
    return found


def judged(target):
    """As `probes.against_baselines`: the layer and position with the highest score is beyond its baselines."""
    return [
        {name: row[name] for name in ("target", "probe", "layer", "position", "metric", "estimate", "lower", "upper")}
        | {"chance": chance(target), "tried": 4, "units": 400, "baseline": "topic"}
        | {"widened_lower": row["estimate"] - 0.07, "widened_upper": row["estimate"] + 0.07}
        | {"above_chance": True, "beyond_baselines": row["layer"] == 12 and row["position"] == "response_last"}
        for row in scores(target)
        if row["split"] == "unit" and row["features"] == "activations"
    ]


def reading(target, state="READABLE"):
    best = next(row for row in judged(target) if row["layer"] == 12 and row["position"] == "response_last")
    kept = {name: best[name] for name in best if name in all_tables()["probes.reading"].columns}
    within = {"within_topics": 0.09, "within_topics_lower": 0.02, "within_topics_upper": 0.16}
    return kept | {
        "state": state,
        "sentence": f"What may be said of {target}.",
        "cautions": "of 64 tasks only; not compared with text",
        "baseline_estimate": chance(target) + 0.18,
        "beyond": 0.08,
        "beyond_lower": 0.01,
        "beyond_upper": 0.15,
        "other_topics": chance(target) + 0.12,
        "other_topics_lower": 0.02,
        "other_topics_upper": 0.22,
        **(within if TARGETS[target] == "ridge" else {}),
    }


def sweep(target):
    """A score that rises and falls, from a probe that knows its own rows by heart to one that knows the mean."""
    return [
        {"target": target, "probe": TARGETS[target], "layer": layer, "position": position, "features": features}
        | {"alpha": 10.0**power, "r_squared": 0.25 - 0.05 * (power - 3) ** 2, "in_sample": 0.9 - 0.1 * power}
        | {"lower": 0.2 - 0.05 * (power - 3) ** 2, "upper": 0.3 - 0.05 * (power - 3) ** 2}
        | {"chosen": 5 * (power == 3)}
        for layer, position in PLACES
        for features in ("activations", "text")
        for power in range(-1, 8)
    ]


def cross():
    """Cosines of one layer are .30, or by chance where there is `prompt_last`; transfer is not symmetric."""
    probes = [(target, kind, layer, position) for target, kind in TARGETS.items() for layer, position in PLACES]
    parts = ("target", "probe", "layer", "position")
    return [
        {f"{part}_a": value for part, value in zip(parts, a, strict=True)}
        | {f"{part}_b": value for part, value in zip(parts, b, strict=True)}
        | {"cosine": None if a[2] != b[2] else 1.0 if a == b else 0.3 if a[3] == "response_last" else 0.01}
        | {"cosine_by_chance": 0.05 if a[2] == b[2] else None, "agreement": 1.0 if a == b else 0.77}
        | {
            "transfer": 0.5 if a == b else (0.41 if a < b else 0.23),
            "transfer_by_chance": 0.2,
            "lower": 0.1,
            "upper": 0.6,
            "rows": 400,
        }
        for a in probes
        for b in probes
    ]


def adapters(splits):
    quantities = (("contrast", "shift"), ("interaction", "own_shift"), ("divergence", "direction"))
    return [
        {"study": "probed", "split": split, "layer": layer, "position": position, "quantity": quantity}
        | {"metric": metric, "note": ""}
        | around(0.3 if split == "age" else 0.0, 0.1)
        for split in splits
        for layer, position in PLACES
        for quantity, metric in quantities
    ]


def tables(targets=tuple(TARGETS), splits=(), state="READABLE"):
    """Of one experiment, by name, everything that a page shows of its probes."""
    rows = {
        "probes.reading": [reading(target, state) for target in targets],
        "probes.against_baselines": [row for target in targets for row in judged(target)],
        "probes.score": [row for target in targets for row in scores(target)],
        "probes.sweep": [row for target in targets for row in sweep(target)],
        "probes.cross": cross(),
    }
    found = {name: frame(name, of_one) for name, of_one in rows.items()}
    if splits:
        declared = all_tables()["probes.adapter"]
        blank = dict.fromkeys(declared.columns)
        found["probes.adapter"] = pl.DataFrame([blank | row for row in adapters(splits)], schema=declared.schema)
    return found
