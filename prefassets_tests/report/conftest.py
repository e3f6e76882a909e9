"""A study's findings, written down instead of trained: what the page is given when every cell is finished."""

from dataclasses import replace
from datetime import UTC, datetime

import polars as pl
import pytest

from prefassets.report.page import Findings
from prefassets.resources.reports import READS
from prefassets.resources.sql_tables import all_tables
from prefassets.studies import demo

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


def written(states=STATES):
    splits = list(states)
    rows = {
        "training.cells": [
            {"recipe": "0123456789abcdef", "method": "dpo", "base_model": "tiny", "base_revision": "r", "steps": 110}
            | {"finished_at": MADE}
        ]
        * len(demo.STUDY.cells),
        "verdicts.counted": [{"study": "demo"}] * len(demo.STUDY.cells),
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
    assert set(rows) == set(READS)
    return Findings(
        demo.STUDY, "synthetic PRISM, scale 0.4, seed 0", cells(), {name: table(name, rows[name]) for name in READS}
    )


@pytest.fixture
def findings():
    return written()


@pytest.fixture
def without():
    """Findings of one split, quickly drawn, in which tables have no rows or cells have other states."""

    def lacking(*tables, **states):
        full = written({"age": STATES["age"]})
        kept = {name: rows.clear() if name in tables else rows for name, rows in full.tables.items()}
        return replace(full, tables=kept, cells=cells(**states))

    return lacking
