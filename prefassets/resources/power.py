"""`prefassets power`: the study's users and spread from the home, simulated studies from `domain.inference.power`."""

from dataclasses import asdict

import numpy as np
import polars as pl

from prefassets.domain.inference.noise import NoiseModel, fit
from prefassets.domain.inference.power import StudyDesign, detectable
from prefassets.domain.inference.study import POWER
from prefassets.resources.cells import StudyData
from prefassets.resources.estimates import connect_current
from prefassets.resources.progress import progress_bar
from prefassets.resources.store import Store
from prefassets.studies.study import FOLDS, Cell, Study

SEEDS = (2, 3, 5, 10)  # beside what the study plans

# One row per held-out pair of an own-group adapter: how many seeds scored it, how many got it right.
_SCORED_PAIRS = """
    select margins.split, margins.user_group, user_id, pair_id,
        count(*)::bigint as seeds, count(*) filter (where margin > 0)::bigint as correct
    from training.margins
    join verdicts.counted using (study, cohort, seed, fold, fingerprint)
    join prism.pairs using (pair_id)
    join splits.assignments as groups using (split, user_id, user_group)
    where study = $study
    group by all
"""
_SPREADS = """
    select study, any_value(seed_sd) as seed_sd, any_value(training_sd) as training_sd
    from verdicts.estimate
    where quantity = 'contrast' and metric = 'pref_acc' and seed_sd is not null
    group by study order by study <> $study, sum(pairs_a + pairs_b) desc limit 1
"""


class NothingMeasured(ValueError):
    """A home has no scored cells from which spread could be learned."""


def noise_of(store: Store, study: Study) -> tuple[str, NoiseModel, bool]:
    """The noise model of a study's own cells, or of the best measured other study's: whose it is, the model, and
    whether the spread between training samples could be told; without placebo splits it could not, and is taken as 0.

    Raises:
        NothingMeasured: no study of this home has two scored seeds.
    """
    tables = ["verdicts.estimate", "training.margins", "verdicts.counted", "prism.pairs", "splits.assignments"]
    with connect_current(store, tables) as connection:
        spreads = connection.sql(_SPREADS, params={"study": study.name}).pl()
        if spreads.is_empty():
            raise NothingMeasured(
                "no study of this home has two scored seeds, so how users and seeds spread is unknown; run a small one "
                "first (two seeds of one split are enough), or ask with the demo's home"
            )
        of, seed_sd, training_sd = spreads.row(0)
        pairs = connection.sql(_SCORED_PAIRS, params={"study": of}).pl()
    # A contrast is a difference of two adapters, each with its own.
    model = fit(pairs, seed_pp=seed_sd / np.sqrt(2), training_pp=(training_sd or 0.0) / np.sqrt(2))
    return of, model, training_sd is not None


def _judged_pairs_per_user(data: StudyData, split: str) -> tuple[np.ndarray, np.ndarray]:
    """How many pairs each user of A, and each of B, is judged on once every fold was held out; ascending."""
    cells = (Cell(data.study.name, f"{split}.A", 0, fold) for fold in range(FOLDS))
    judged = pl.concat(data.held_out_pairs(cell).select("user_id") for cell in cells)
    of_user = (
        judged.join(data.groups.filter(split=split), on="user_id").group_by("user_group", "user_id").len().sort("len")
    )
    a, b = (of_user.filter(user_group=group)["len"].cast(pl.Int64).to_numpy() for group in "AB")
    return a, b


def power_table(
    store: Store, study: Study, effect_pp: float, repetitions: int, design_effect: float | None
) -> tuple[list[str], pl.DataFrame]:
    """What was assumed, in lines, and one row per design: the study's own plan first, then other seeds and folds.

    Raises:
        NothingMeasured: the home has no scored cells.
        ValueError: the study has no directional split with users in this home.
    """
    of, model, training_known = noise_of(store, study)
    data = StudyData(store, study)
    directional = {
        split: _judged_pairs_per_user(data, split) for split in study.expected if study.role(split) == "directional"
    }
    if not directional or min(len(users) for pair in directional.values() for users in pair) < FOLDS:
        raise ValueError(f"{study.name} has no directional split with at least {FOLDS} users a group in this home")
    if design_effect is not None:
        model = model.with_design_effect(design_effect, np.concatenate(next(iter(directional.values()))))
    placebos = sum(study.role(split) == "placebo" for split in study.expected)
    planned = len(study.seeds), len(study.folds)
    grid = [planned, *((seeds, folds) for folds in (1, FOLDS) for seeds in SEEDS if (seeds, folds) != planned)]

    rows = []
    with progress_bar("simulating studies", len(grid) * repetitions) as show:
        for number, (seeds, folds) in enumerate(grid):
            design = StudyDesign(directional=directional, seeds=seeds, folds=folds, placebos=placebos)
            done = number * repetitions
            found = detectable(
                model,
                design,
                effect_pp,
                repetitions,
                np.random.default_rng(number),
                on_repetition=lambda repetition, done=done: show(done + repetition),  # type: ignore[misc]
            )
            plan = "as planned" if number == 0 else "instead"
            rows.append({"design": plan, "cells": len(study.cohorts) * seeds * folds, **asdict(found)})
    table = pl.DataFrame(rows)
    enough = table.filter(pl.col("found") >= POWER).sort("cells")
    least = (
        f"cheapest of these that found {POWER:.0%} of {effect_pp:g} points in {repetitions} simulated studies: "
        f"{enough['seeds'][0]} seeds, {enough['folds'][0]} folds, {enough['cells'][0]} cells"
        if len(enough)
        else f"none of these finds {POWER:.0%} of differences of {effect_pp:g} points: more users are needed"
    )
    between_samples = (
        f"{model.training_pp:.1f} between training samples"
        if training_known
        else f"by nothing between training samples, which {of} cannot tell without placebo splits: power may be less"
    )
    return [
        f"spread as in {of}: accuracy {model.accuracy:.2f}, share of variance from users {model.user:.2f}, from pairs "
        f"{model.pair:.2f}; one adapter's accuracy varies by {model.seed_pp:.1f} points between seeds and "
        f"{between_samples}",
        least,
    ], table
