"""What a study could find: whole studies are simulated and judged like real ones, so power is counted, not assumed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.domain.inference.noise import Design, NoiseModel, simulate
from prefassets.domain.inference.study import Estimate, SplitResult, study_estimates
from prefassets.domain.inference.two_way import Measured, measure

SIMULATED_DRAWS = 400  # of a simulated split's users: its standard error to 3.5 %, which averages out over repetitions
TOLERANCE_PP = 5.0  # of equivalence, which power does not look at
PairsPerUser = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class StudyDesign:
    """What of a study decides what it can find.

    `directional` has, per split that expects a direction, the pairs of each user of A and of B; each of `placebos` has
    the users of both groups of the first of them, dealt in halves. `seeds` and `folds` are numbers of them.
    """

    directional: Mapping[str, tuple[PairsPerUser, PairsPerUser]]
    seeds: int
    folds: int = 1
    placebos: int = 0


@dataclass(frozen=True, kw_only=True)
class Detectable:
    """What a design can find, counted over simulated studies in which every directional split has the same effect.

    `found` is the share of splits with the right sign and Holm's adjusted p below .05, as `verdicts.verdict` judges;
    `found_lower` and `found_upper` are its 95 % interval (Wilson) over `repetitions` studies, whose splits are counted
    as one each. `found_alone` is the share with p below .05 / number of directional splits: found whatever the other
    splits do. `wrong_side` is the share found with the wrong sign, `covered` the share of 95 % intervals that hold the
    true effect. The standard error is the root mean square over splits; sizes and the minimum detectable effect, which
    goes with `found_alone`, are medians.
    `times_the_users` is how many times as many held-out users (with as many pairs each) would bring the minimum
    detectable effect down to `effect_pp`; None if no number would, because seeds or training samples spread too far.
    """

    seeds: int
    folds: int
    users_a: int
    users_b: int
    pairs_a: int
    pairs_b: int
    effect_pp: float
    standard_error_pp: float
    minimum_detectable_pp: float
    found: float
    found_lower: float
    found_upper: float
    found_alone: float
    wrong_side: float
    covered: float
    times_the_users: float | None
    repetitions: int


def simulated_study(
    model: NoiseModel, design: StudyDesign, effect_pp: float, generator: np.random.Generator
) -> list[SplitResult]:
    """The contrasts in pref_acc of one simulated study whose directional splits truly differ by `effect_pp` points."""
    results = [
        SplitResult(split, "directional", _measured(model, design, groups, effect_pp, generator))
        for split, groups in design.directional.items()
    ]
    everyone = np.concatenate(next(iter(design.directional.values())))
    for number in range(1, design.placebos + 1):
        halves = np.array_split(generator.permutation(everyone), 2)
        placebo = _measured(model, design, (halves[0], halves[1]), 0.0, generator)
        results.append(SplitResult(f"placebo_{number}", "placebo", placebo))
    return results


def _measured(
    model: NoiseModel,
    design: StudyDesign,
    groups: tuple[PairsPerUser, PairsPerUser],
    effect_pp: float,
    generator: np.random.Generator,
) -> list[Measured]:
    split = Design(pairs_per_user_a=groups[0], pairs_per_user_b=groups[1], seeds=design.seeds, folds=design.folds)
    scored = simulate(model, split, effect_pp, generator)
    draw_seed = int(generator.integers(2**31))
    return measure(scored, SIMULATED_DRAWS, draw_seed, quantities=["contrast"], metrics=["pref_acc"])


def detectable(
    model: NoiseModel,
    design: StudyDesign,
    effect_pp: float,
    repetitions: int,
    generator: np.random.Generator,
    on_repetition: Callable[[int], None] | None = None,
) -> Detectable:
    """Simulate `repetitions` studies of this design and count what they find.

    Raises:
        ValueError: no split of the design expects a direction, or the effect leaves the range of an accuracy.
    """
    from statsmodels.stats.proportion import proportion_confint

    if not design.directional:
        raise ValueError("no split of this design expects a direction, so there is nothing to find")
    level = 0.05 / len(design.directional)
    judged: list[Estimate] = []
    for repetition in range(1, repetitions + 1):
        study = study_estimates(simulated_study(model, design, effect_pp, generator), TOLERANCE_PP)
        judged += [estimate for estimate in study if estimate.role == "directional"]
        if on_repetition:
            on_repetition(repetition)

    told = pl.DataFrame(
        [
            (
                one.estimate,
                one.standard_error,
                one.minimum_detectable,
                one.p,
                one.p_adjusted,
                one.lower,
                one.upper,
                one.user_sd,
            )
            for one in judged
            if one.p is not None
        ],
        ["estimate", "error", "detectable", "p", "p_adjusted", "lower", "upper", "user_sd"],
        orient="row",
    )
    called = pl.col("p_adjusted") < 0.05
    right_side = pl.col("estimate") * (effect_pp or 1.0) > 0
    counted = told.select(
        found=(called & right_side).sum(),
        alone=((pl.col("p") < level) & right_side).sum(),
        wrong=(called & ~right_side).sum(),
        covered=((pl.col("lower") <= effect_pp) & (effect_pp <= pl.col("upper"))).mean(),
        error=(pl.col("error") ** 2).mean().sqrt(),
        detectable=pl.col("detectable").median(),
        user_share=(pl.col("user_sd") ** 2).mean() / (pl.col("error") ** 2).mean(),
    ).row(0, named=True)
    lower, upper = proportion_confint(counted["found"], len(judged), method="wilson")
    sizes = pl.DataFrame(
        [(one.users_a, one.users_b, one.pairs_a, one.pairs_b) for one in judged], ["ua", "ub", "pa", "pb"], orient="row"
    ).median()
    users_a, users_b, pairs_a, pairs_b = (round(size) for size in sizes.row(0))
    return Detectable(
        seeds=design.seeds,
        folds=design.folds,
        users_a=users_a,
        users_b=users_b,
        pairs_a=pairs_a,
        pairs_b=pairs_b,
        effect_pp=effect_pp,
        standard_error_pp=counted["error"],
        minimum_detectable_pp=counted["detectable"],
        found=counted["found"] / len(judged),
        found_lower=float(lower),
        found_upper=float(upper),
        found_alone=counted["alone"] / len(judged),
        wrong_side=counted["wrong"] / len(judged),
        covered=counted["covered"],
        times_the_users=_times_the_users(
            counted["error"] ** 2, counted["user_share"], effect_pp / counted["detectable"]
        ),
        repetitions=repetitions,
    )


def _times_the_users(variance: float, user_share: float, wanted_shrinkage: float) -> float | None:
    """By how much users must grow for the standard error to shrink to `wanted_shrinkage` of itself."""
    allowed = variance * wanted_shrinkage**2 - variance * (1 - user_share)
    return variance * user_share / allowed if allowed > 0 else None
