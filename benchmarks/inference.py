"""2,000 two-way bootstraps (users, seeds) of one split at PRISM's full size, with tests, against a loop over draws.

The loop is what one writes first: draw users with replacement, gather their rows, take means. It does one quantity in
one metric, users alone; ours does all five in both. Over users both must give the same standard error.
"""

import time

import numpy as np
import polars as pl

from prefassets.domain.inference.heterogeneity import compare_groups, user_sums
from prefassets.domain.inference.noise import Design, NoiseModel, simulate
from prefassets.domain.inference.study import SplitResult, study_estimates
from prefassets.domain.inference.two_way import DRAWS, measure

USERS, SEEDS, MOST_SECONDS, LEAST_RATIO = 700, 3, 1.0, 10.0  # users a group


def loop(scored: pl.DataFrame, draws: int, generator: np.random.Generator) -> float:
    """Standard error of the contrast in pref_acc, points, by a loop over draws."""
    groups = {}
    for group in "AB":
        rows = scored.filter(pl.col("adapter") == group, pl.col("user_group") == group)
        groups[group] = [
            (user["correct"].to_numpy(), user["pairs"].to_numpy()) for user in rows.partition_by("user_id")
        ]
    contrasts = []
    for _ in range(draws):
        means = []
        for users in groups.values():
            drawn = [users[number] for number in generator.integers(len(users), size=len(users))]
            correct = np.sum([correct for correct, _ in drawn], axis=0)
            means.append((correct / np.sum([pairs for _, pairs in drawn], axis=0)).mean())
        contrasts.append(100 * (means[0] - means[1]))
    return float(np.std(contrasts, ddof=1))


def heterogeneity_seconds(draws: int, generator: np.random.Generator) -> float:
    """Median seconds of H of both groups, their difference and their union, with Qwen2.5-0.5B's 896 numbers a pair."""
    user = np.repeat(np.arange(2 * USERS), 13)
    direction = generator.normal(size=(len(user), 896)).astype(np.float32)
    sums = user_sums(direction, user, np.arange(len(user)))
    a, b = sums.of(np.arange(USERS)), sums.of(np.arange(USERS, 2 * USERS))
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        compare_groups(a, b, draws=draws)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


def main() -> None:
    generator = np.random.default_rng(0)
    pairs_per_user = np.maximum(1, generator.negative_binomial(4, 4 / 17, USERS)).astype(np.int64)
    design = Design(pairs_per_user_a=pairs_per_user, pairs_per_user_b=pairs_per_user, seeds=SEEDS, folds=5)
    scored = simulate(NoiseModel(), design, 5.0, generator)
    baseline = scored.filter(pl.col("adapter") == "A").with_columns(adapter=pl.lit("everyone"))
    scored = pl.concat([scored, baseline])

    study_estimates([SplitResult("split", "directional", measure(scored))], equivalence_margin_pp=5.0)  # imports scipy
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        measured = measure(scored)
        study_estimates([SplitResult("split", "directional", measured)], equivalence_margin_pp=5.0)
        seconds.append(time.perf_counter() - started)
    ours = float(measured[0].user_draws_D.std(ddof=1))
    started = time.perf_counter()
    theirs = loop(scored, DRAWS, generator)
    looped = time.perf_counter() - started

    once = float(np.median(seconds))
    print(f"{2 * USERS:,} users, {2 * pairs_per_user.sum():,} pairs, {SEEDS} seeds, {DRAWS:,} draws")
    print(f"ours, {len(measured)} quantities and metrics: {once:.2f} s (median of 5); standard error {ours:.3f} points")
    print(f"a loop over draws, one of them: {looped:.1f} s; standard error {theirs:.3f} points")
    print(f"all of ours in 1 / {looped / once:.1f} of the time of one of the loop's")
    features = heterogeneity_seconds(DRAWS, generator)
    print(f"heterogeneity of one split, 896 features, {DRAWS:,} draws: {features:.2f} s (median of 5)")
    assert features < MOST_SECONDS, f"{features:.2f} s; under {MOST_SECONDS} s was wanted"
    assert once < MOST_SECONDS, f"{once:.2f} s; under {MOST_SECONDS} s was wanted"
    each = len(measured) * looped / once
    assert each > LEAST_RATIO, f"each only {each:.1f} times as fast; {LEAST_RATIO:g} was wanted"
    assert abs(ours / theirs - 1) < 0.1, f"standard errors differ: {ours:.3f} and {theirs:.3f}"


if __name__ == "__main__":
    main()
