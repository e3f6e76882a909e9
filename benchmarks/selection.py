"""Choosing pairs: what it costs beside the fit, and what active learning is worth at equal budgets.

Time: a fit to 7.5 pairs a task, five answers each (as the villain data have), then the choice of one more pair a task.
Policies: a chooser with planted Thurstonian utilities answers all of them; 300 tasks, several seeds.

`--choices FILE` (JSON lines or Parquet: task_a, task_b, choice) plants the utilities fitted to 300 of its tasks instead.
Its choices cannot be the oracle: somebody's active learning chose which pairs are in it, and a policy that may only ask
those is not that policy. They are only judged as they are: what they say of cycles, and of close pairs.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import polars as pl

from prefassets.domain.preferences.active_learning import Plan
from prefassets.domain.preferences.efficiency import (
    CEILING,
    apparent_loss,
    compare_policies,
    differences,
    efficiency,
    held_out_pairs,
    planted,
)
from prefassets.domain.preferences.held_out import score
from prefassets.domain.preferences.pair_selection import close_pairs, pair_count, pair_tasks, random_pairs, start_pairs
from prefassets.domain.preferences.thurstonian import fit_utilities

RESULTS = Path(__file__).parent / "results"
SIZES = (1_000, 10_000)
PAIRS_PER_TASK, ANSWERS = 7.5, 5
TASKS, SEEDS = 300, tuple(range(1, 11))
BUDGETS = (3_750, 7_500, 15_000, 30_000)
HELD_OUT_PAIRS = 1_000
PLANS = {
    "active": Plan(policy="active", pairs_per_round=300),
    "active, each pair once": Plan(policy="active", pairs_per_round=1_500, samples=1),
    "random": Plan(policy="random", pairs_per_round=300),
    "all, spread evenly": Plan(policy="all"),
}


def planted_utilities(tasks: int, seed: int) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    names = [f"t{number:05}" for number in range(tasks)]
    return pl.DataFrame(
        {"task_id": names, "mu": generator.normal(0, 2, tasks), "sigma": np.exp(generator.normal(0, 0.3, tasks))}
    )


def time_selection(tasks: int) -> float:
    """Print what a choice of pairs takes and what the fit does; CPU seconds of the fit over those of the choice."""
    generator = np.random.default_rng(0)
    truth = planted_utilities(tasks, 0)
    none = np.empty(0, np.int64)
    started = time.process_time()
    start = start_pairs(tasks, 5, none, generator)
    start_seconds = time.process_time() - started
    asked = np.union1d(
        start, random_pairs(tasks, round(PAIRS_PER_TASK * tasks) - len(start), np.sort(start), generator)
    )
    one, other = (truth["task_id"].gather(np.repeat(side, ANSWERS)) for side in pair_tasks(asked, tasks))
    choices = planted(truth)(pl.DataFrame({"task_a": one, "task_b": other}), generator)

    names = truth["task_id"].to_list()
    fit_utilities(choices.head(1_000), standard_errors=False)  # imports scipy
    started = time.process_time()
    mu = fit_utilities(choices, tasks=names, standard_errors=False).utilities["mu"].to_numpy()
    fit_seconds = time.process_time() - started
    seconds = []
    for _ in range(5):
        started = time.process_time()
        chosen = close_pairs(mu, asked, none, tasks, 10, 20, generator)
        seconds.append(time.process_time() - started)
    once = float(np.median(seconds))
    print(
        f"{tasks:,} tasks, {pair_count(tasks):,} pairs, {len(choices):,} choices: start {start_seconds:.2f} s once, "
        f"{tasks:,} of {chosen.candidates:,} candidates chosen in {1000 * once:.1f} ms (median of 5), fit without "
        f"standard errors {fit_seconds:.2f} s: {fit_seconds / once:.0f} x as long (CPU seconds)"
    )
    return fit_seconds / once


def compare(truth: pl.DataFrame, draw: bool) -> None:
    """Print the comparison at equal budgets and keep it as `selection.csv` and the figure."""
    oracle, tasks = planted(truth), truth["task_id"].to_list()

    def fit(choices: pl.DataFrame) -> pl.DataFrame:
        return fit_utilities(choices, tasks=tasks).utilities

    pilot = Plan(policy="active", pairs_per_round=300, most_comparisons=max(BUDGETS))
    held_out = held_out_pairs(oracle, fit, tasks, pilot, HELD_OUT_PAIRS, ANSWERS, seed=0)
    started = time.perf_counter()
    runs = compare_policies(oracle, fit, tasks, PLANS, held_out, BUDGETS, SEEDS)
    took = time.perf_counter() - started
    summary = efficiency(runs)
    best = {kind: score(truth, held_out.filter(held_out=kind)).accuracy for kind in ("random", "close")}
    print(
        f"{len(tasks)} tasks, sd of mu {truth['mu'].std():.2f}, {HELD_OUT_PAIRS:,} held-out pairs of each kind x {ANSWERS} "
        f"answers, {len(SEEDS)} seeds, {took:.0f} s; the planted utilities themselves get "
        f"{100 * best['random']:.1f} % of random pairs right and {100 * best['close']:.1f} % of close ones"
    )
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=160, float_precision=3, tbl_hide_dataframe_shape=True):
        print(summary.select("policy", "budget", "held_out", "accuracy", "log_loss", "correlation"))
        print("minus random pairs at the same budget and seed, random held-out pairs")
        print(differences(runs).filter(held_out="random").drop("than", "held_out", "seeds"))
        print("minus random pairs at the same budget and seed, held-out pairs as active learning picks")
        print(
            differences(runs).filter(held_out="close").drop("than", "held_out", "seeds", pl.selectors.contains("corr"))
        )
        print("what 'active learning is lower' is made of, points")
        print(apparent_loss(summary))
    if draw:
        from prefassets.report.preference_figures import efficiency as figure

        summary.write_csv(RESULTS / "selection.csv", float_precision=5)
        (RESULTS / "selection.svg").write_text(figure(summary, CEILING))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--choices", type=Path, help="plant utilities fitted to these choices")
    given = parser.parse_args()
    if given.choices:
        read = pl.read_parquet if given.choices.suffix == ".parquet" else pl.read_ndjson
        fitted = fit_utilities(read(given.choices)).utilities
        print(f"planted: utilities fitted to {given.choices.name}")
        compare(fitted.sample(TASKS, seed=0), draw=False)
        return
    ratios = [time_selection(tasks) for tasks in SIZES]
    compare(planted_utilities(TASKS, 0), draw=True)
    if min(ratios) < 1:
        raise SystemExit("choosing pairs took longer than the fit")


if __name__ == "__main__":
    main()
