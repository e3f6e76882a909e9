"""A study's findings, written down instead of trained: what the page is given when every cell is finished."""

from dataclasses import replace
from datetime import UTC, datetime

import polars as pl
import pytest

from prefassets.report.page import Findings
from prefassets.resources.reports import PROBES, READS
from prefassets.resources.sql_tables import all_tables
from prefassets.studies import demo, wpo_demo

MADE = datetime(2026, 11, 26, 14, 0, tzinfo=UTC)
STATES = {"personalisation": "CONFIRMED", "safety": "CONTRADICTED", "age": "INCONCLUSIVE", "region": "EQUIVALENT"}
GROUPS = ("A", "B")
SEEDS = demo.STUDY.seeds


def table(name, rows):
    """Rows of a declared table; what is not said is empty."""
    return pl.DataFrame(
        [dict.fromkeys(all_tables()[name].columns) | row for row in rows], schema=all_tables()[name].schema
    )


def cells(**states):
    """Every cell of the demo, finished unless `states` says otherwise of its key, with `|` and `.` written `_`."""
    rows = []
    for cell in demo.STUDY.cells:
        state, reason = states.get(cell.key.replace("|", "_").replace(".", "_"), ("finished", ""))
        rows.append((cell.cohort, cell.seed_key, state, reason))
    return pl.DataFrame(rows, ["cohort", "seed", "state", "reason"], orient="row")


def written(states=STATES, study=demo.STUDY):
    splits = list(states)
    rows = {
        "training.cells": [
            {"recipe": "0123456789abcdef", "method": "dpo", "base_model": "tiny", "base_revision": "r", "steps": 110}
            | {"finished_at": MADE}
        ]
        * len(demo.STUDY.cells),
        "verdicts.counted": [
            {"study": "demo", "cohort": cell.cohort, "seed": cell.seed, "fold": cell.fold} for cell in demo.STUDY.cells
        ],
        "verdicts.gate": [
            {"gate": "baseline_trained", "state": "failed", "wanted_pp": 70.0, "withholds": False, "on_failure": "warn"}
            | {"explanation": "the baseline is at 56.7 %"}
        ],
        "verdicts.verdict": [
            {"split": split, "state": state, "sentence": f"What may be said of {split}.", "expected": "A > B"}
            | {"role": "directional", "seeds_run": 3, "seeds_planned": 3, "finding": "strength", "exposure_ratio": 1.0}
            | {
                "estimate_pp": 4.0 + place,
                "lower_pp": 1.0,
                "upper_pp": 9.0,
                "p_adjusted": 0.04,
                "reported_rule": "MATCH",
            }
            | {
                "interaction_pp": 2.0,
                "interaction_lower_pp": -1.0,
                "interaction_upper_pp": 5.0,
                "cautions": "few users",
            }
            for place, (split, state) in enumerate(states.items())
        ],
        "verdicts.estimate": [
            {"split": split, "quantity": quantity, "metric": "pref_acc", "estimate": 2.0, "lower": -1.0, "upper": 5.0}
            | {"users_a": 50, "users_b": 60, "pairs_a": 500, "pairs_b": 600, "spread": "users and seeds"}
            for split in splits
            for quantity in ("contrast", "interaction", "advantage_on_a", "advantage_on_b")
        ],
        "verdicts.per_seed": [
            {"split": split, "readout": "held_out"}
            | {"differences_pp": [{"seed": seed, "difference_pp": 4.0} for seed in SEEDS]}
            for split in splits
        ],
        "verdicts.transfer": [
            {"split": split, "seed": seed, "metric": "pref_acc"}
            | {"a_on_a": 0.7, "a_on_b": 0.5, "b_on_a": 0.55, "b_on_b": 0.65, "everyone_on_a": 0.6}
            for split in splits
            for seed in SEEDS
        ],
        "verdicts.learning_curve": [
            {"cohort": f"{split}.{group}" if split else "everyone", "split": split, "user_group": group, "seed": seed}
            | {"step_window": window, "last_step": 5 * window, "pref_acc": 0.5 + 0.01 * window + seed / 1e4}
            for split, group in [(None, None), *((split, group) for split in splits for group in GROUPS)]
            for seed in SEEDS
            for window in range(1, 21)
        ],
        "verdicts.mid_curve": [
            {"split": split, "stretch": stretch, "difference_pp": 3.0, "lower_pp": 1.0, "upper_pp": 5.0, "seeds_run": 3}
            for split in splits
            for stretch in ("middle", "after")
        ],
        "verdicts.score_gap": [
            {"split": split, "user_group": group, "outcome": outcome, "held_out_pairs": 100 + outcome}
            | {"score_gap": ["1-6", "7-14", "15-29", "30+"][outcome - 1], "pref_acc": 0.6, "mean_margin": 0.3}
            for split in splits
            for group in GROUPS
            for outcome in (1, 2, 3, 4)
        ],
        "verdicts.heterogeneity": [
            {"split": split, "user_group": group, "heterogeneity": 0.4, "lower": 0.3, "upper": 0.5}
            for split in splits
            for group in GROUPS
        ],
        "splits.balance": [
            {"split": split, "user_group": group, "label": f"those of {split}", "users": 50}
            for split in splits
            for group in GROUPS
        ],
        "prism.planted_truth": [
            {"split": "age", "effect": "direction", "quantity": quantity, "value": 53.14}
            | {"description": "A prefers casual answers, B formal ones; ideal adapters"}
            for quantity in ("contrast_pp", "interaction_pp")
        ],
    }
    rows |= of_change(splits) | of_weights(splits)
    rows |= {name: [] for name in (*PROBES, "probes.adapter")}  # a figure each: test_probe_section has them
    assert set(rows) == set(READS)
    return Findings(
        study, "synthetic PRISM, scale 0.4, seed 0", cells(), {name: table(name, rows[name]) for name in READS}
    )


def of_change(splits):
    """Personalisation moves by -2 points, and so on; the labels are those of the report's `helpfulness`."""
    return {
        "verdicts.method_change": [
            {"split": split, "readout": readout, "expected": "A > B", "before_label": "MISMATCH", "after_label": "WEAK"}
            | {"change": "IMPROVED", "before_common_pp": -5.0, "after_common_pp": -7.0 + place, "p_adjusted": 0.04}
            | {"change_pp": -2.0 + place, "lower_pp": -4.0, "upper_pp": 3.0, "reading": f"What changed in {split}."}
            | {"heterogeneity_a": 0.4, "heterogeneity_b": 0.5, "cautions": "users left out: 320"}
            for place, split in enumerate(splits)
            for readout in ("held_out", "tail")
        ],
        "verdicts.method_change_count": [
            {"readout": readout, "sentence": f"3 of 6 labels became better on {readout}."}
            for readout in ("tail", "held_out")
        ],
    }


def of_weights(splits):
    """Mean weights: .21 of PRISM's pairs, .09 of the base model's own; group A .02 above group B."""
    spread = {"lower": 0.2, "upper": 0.22, "p05": 0.1, "p25": 0.15, "p75": 0.3, "p95": 0.4, "median": 0.19}
    level = {"pairs": 500, "mean_tokens": 120.0, "mean_weight": 0.21} | spread
    return {
        "weights.yardstick": [
            {"unit": "pair", "text": text, "number": 256, "mean_weight": mean, "median": mean - 0.01}
            | {"lower": mean - 0.02, "upper": mean + 0.02}
            for text, mean in (
                ("chosen with rejected", 0.21),
                ("two sampled at T = 1", 0.09),
                ("greedy with itself", 1),
            )
        ],
        "weights.histogram": [
            {"text": text, "bin": place, "lower": (place - 1) / 50, "upper": place / 50, "share": share}
            for text, share in (("pairs of PRISM", 0.02), ("two sampled at T = 1", 0.01))
            for place in range(1, 51)
        ],
        "weights.mean": [
            level | {"dimension": "all pairs", "level": "all pairs", "level_order": 1},
            *(
                level
                | {"dimension": "score gap", "level": name, "level_order": place, "mean_weight": 0.2 + place / 100}
                for place, name in enumerate(("1-9", "10-19", "20-29"), start=1)
            ),
            *(
                level | {"dimension": "split", "level": f"{split}.{group}", "level_order": place}
                for place, split in enumerate(splits)
                for group in GROUPS
            ),
        ],
        "weights.score_gap": [
            {"kind": kind, "correlation": 0.004, "lower": -0.012, "upper": 0.019} for kind in ("pearson", "spearman")
        ],
        "weights.source_model": [
            {"model_name": name, "pairs": 1200, "mean_tokens": 150.0, "mean_weight": mean, "lower": mean - 0.01}
            | {"upper": mean + 0.01, "adjusted_weight": 0.21, "adjusted_lower": 0.2, "adjusted_upper": 0.22}
            for name, mean in (("Qwen/small", 0.3), ("openai/large", 0.15))
        ],
        "weights.explained": [
            {"part": part, "share": 0.082, "lower": 0.07, "upper": 0.09, "by_chance": 0.003, "state": "estimated"}
            for part in ("source model", "source model beyond length")
        ],
        "weights.split": [
            {"split": split, "difference": 0.02, "lower": 0.01, "upper": 0.03, "differs": True} for split in splits
        ],
        "weights.in_training": [
            {"cohort": f"{split}.{group}", "split": split, "user_group": group, "seed": seed, "fold": 0}
            | {
                "weight_mean": 0.22 if seed in SEEDS else 0.9,
                "weight_min": 0.04,
                "weight_clamped": 0.1,
                "weight_mean_first": 0.2,
                "weight_mean_last": 0.24,
            }
            for split in splits
            for group in GROUPS
            for seed in (*SEEDS, 7)  # finished, but not planned
        ],
    }


@pytest.fixture
def findings():
    return written()


@pytest.fixture
def weighed():
    """The same of a study that repeats the demo by a method with weights."""
    return written(study=wpo_demo.STUDY)


@pytest.fixture
def without():
    """Findings of one split, quickly drawn, in which tables have no rows or cells have other states."""

    def lacking(*tables, study=demo.STUDY, **states):
        full = written({"age": STATES["age"]}, study)
        kept = {name: rows.clear() if name in tables else rows for name, rows in full.tables.items()}
        return replace(full, tables=kept, cells=cells(**states))

    return lacking
