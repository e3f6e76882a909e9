"""What a configuration that was asked all pairs says about asking fewer: policies at equal budgets, on its own answers.

Imports scipy: import it where it is used, not at the top of what definitions import.
"""

from collections.abc import Sequence

import polars as pl

from prefassets.domain.preferences.active_learning import Plan
from prefassets.domain.preferences.comparisons import WINS
from prefassets.domain.preferences.efficiency import RUNS, compare_policies, efficiency, held_out_pairs, redrawn
from prefassets.domain.preferences.thurstonian import fit_utilities

SHARES = (0.1, 0.2, 0.4, 0.7)  # of all pairs, as budgets
HELD_OUT = 0.1  # of all pairs, in each of the two sets
HELD_OUT_SAMPLES = 4  # answers to each
SEEDS = range(5)
FEWEST_CHOSE = 0.5  # of the answers
FEWEST_TASKS, MOST_TASKS = 16, 300  # fewer: no pairs to choose among; more: asking all of them is not what one does


def equal_budgets(choices: pl.DataFrame, tasks: Sequence[str], seed: int = 0) -> pl.DataFrame:
    """`efficiency` of active learning, random pairs, and all pairs in random order, on answers drawn again from these.

    Active learning has rounds of a twentieth of all pairs after a start of three per task, and asks each pair twice, as
    the others do: what is compared is the choice of pairs.

    Args:
        choices: `task_a`, `task_b`, `choice` of every pair of tasks.

    All fits are without a slot term, so losses compare with each other only.

    Returns:
        As `efficiency`; no rows for fewer than 16 tasks, or more than 300, where a pair is without an
        answer, or where fewer than half of the answers chose.
    """
    pairs = len(tasks) * (len(tasks) - 1) // 2
    answered = choices.select(
        pl.min_horizontal("task_a", "task_b"), pl.max_horizontal("task_a", "task_b").alias("other")
    )
    of_these = choices["task_a"].is_in(list(tasks)) & choices["task_b"].is_in(list(tasks))
    chose = choices["choice"].is_in(WINS).mean() or 0.0
    if (
        not FEWEST_TASKS <= len(tasks) <= MOST_TASKS
        or not of_these.all()
        or answered.n_unique() < pairs
        or float(chose) < FEWEST_CHOSE  # type: ignore[arg-type]
    ):
        return efficiency(pl.DataFrame(schema=RUNS))
    each = max(1, pairs // 20)
    plans = {
        policy: Plan(policy=policy, start_degree=3, pairs_per_round=each, samples=2)
        for policy in ("active", "random", "all")
    }
    oracle = redrawn(choices)
    budgets = [round(2 * share * pairs) for share in SHARES]

    def fit(of: pl.DataFrame) -> pl.DataFrame:
        return fit_utilities(of, tasks=tasks).utilities

    pilot = Plan(start_degree=3, pairs_per_round=each, samples=2, most_comparisons=max(budgets))
    held_out = held_out_pairs(oracle, fit, tasks, pilot, round(HELD_OUT * pairs), HELD_OUT_SAMPLES, seed)
    return efficiency(compare_policies(oracle, fit, tasks, plans, held_out, budgets, SEEDS))
