"""Do choices go round in circles: A over B, B over C, C over A?

Imports scipy: import it where it is used, not at the top of what definitions import.
"""

# N tasks

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.domain.preferences.active_learning import Policy
from prefassets.domain.preferences.comparisons import count_choices
from prefassets.domain.preferences.held_out import log_probabilities

if TYPE_CHECKING:
    from scipy.sparse import coo_array

DENSE = 0.05  # share of pairs from which a dense product is the faster one

TRANSITIVITY = {
    "policy": pl.String,
    "inflated": pl.Boolean,
    "tasks": pl.Int64,
    "pairs": pl.Int64,
    "triads": pl.Int64,
    "decided_triads": pl.Int64,
    "cycles": pl.Int64,
    "cycle_rate": pl.Float64,
    "lower": pl.Float64,
    "upper": pl.Float64,
    "null_rate": pl.Float64,
    "expected_rate": pl.Float64,
    "decided_cycle_rate": pl.Float64,
}


def transitivity(choices: pl.DataFrame, policy: Policy, utilities: pl.DataFrame | None = None) -> pl.DataFrame:
    """The share of triads of tasks whose three majority choices form a cycle, beside what coins would give.

    Only triads whose three pairs were all measured count, whoever was first in them: a pair is measured if a task was
    chosen in it at least once, and has a majority unless both were chosen equally often. A triad with a pair without
    majority is no cycle; so an even number of answers makes cycles rarer, and .25, known for coins, holds for odd
    numbers only. `null_rate` is exact for the numbers of answers at hand: the mean over triads of 1/4 x the probability
    that none of three pairs of fair coins is tied. Among triads without ties it is 1/4 whatever the numbers.

    The interval is over tasks (jackknife, t with N - 1 degrees of freedom, cut at 0 and 1). Triads that share a task or
    a pair are no independent draws: a task that the model chooses at whim turns up in all of its triads. The tasks are
    what was sampled, and one that is left out takes its triads along; that also moves the noise of its pairs, so both
    are covered, and the error is not too small on average (Efron and Stein 1981), and up to sqrt(3) times too large
    where tasks do not differ, as coins do not: 94 to 100 % of simulated intervals held the truth. For triads of
    networks: Lin, Lunde and Sarkar 2020, https://arxiv.org/abs/2004.08935. A bootstrap that drew a task twice would
    need its choice against itself.

    Args:
        choices: `task_a`, `task_b`, `choice`.
        policy: which pairs were asked (`active_learning.Plan`). Active learning asks close pairs, and triads of close
            pairs cycle more than triads of all tasks: `inflated`. Then only `expected_rate` is a yardstick.
        utilities: `task_id`, `mu`, `sigma` of every task that was chosen from, for `expected_rate`: the same rate if
            each answer were drawn with Phi((mu_i - mu_j) / sqrt(sigma_i^2 + sigma_j^2)), exact, for the numbers at
            hand. Far more cycles than that say that answers depend on the pair, or on who is first, and not on two
            utilities alone.

    Returns:
        One row of `TRANSITIVITY`. Rates are shares of `triads`, `decided_cycle_rate` of `decided_triads` (the ones
        without ties), each empty where there are none; the interval is empty below 4 tasks, or where no or every triad
        is a cycle, which leaves the jackknife nothing to see.

    Raises:
        ValueError: `utilities` lack a task.
    """
    from scipy.sparse import coo_array
    from scipy.stats import binom

    counted = count_choices(choices).regardless_of_slots()
    counted = counted.of(counted.won_p > 0)
    tasks, answers_p = len(counted.tasks), counted.won_p

    def matrix(low_over_high_p: np.ndarray, high_over_low_p: np.ndarray) -> "coo_array":
        rows, columns = counted.slot_a_p, counted.slot_b_p
        values = np.concatenate([low_over_high_p, high_over_low_p]).astype(np.float64)
        places = np.concatenate([rows, columns]), np.concatenate([columns, rows])
        return coo_array((values, places), shape=(tasks, tasks))

    def symmetric(values_p: np.ndarray) -> "coo_array":
        return matrix(values_p, values_p)

    ones_p = np.ones(len(answers_p))
    decided_p = counted.a_p != counted.b_p
    no_tie_p = 1 - np.where(answers_p % 2 == 0, binom.pmf(answers_p // 2, answers_p, 0.5), 0)
    triads_N = _closed_walks(symmetric(ones_p)) / 2  # round the triad one way and the other
    cycles_N = _closed_walks(matrix(counted.a_p > counted.b_p, counted.b_p > counted.a_p))
    triads, cycles = (round(of_N.sum() / 3) for of_N in (triads_N, cycles_N))  # each stands at three tasks
    decided = round(_closed_walks(symmetric(decided_p)).sum() / 6)

    expected = None
    if utilities is not None and triads:
        # without standard errors: a task is as far off in each of its pairs, which no average over pairs would keep
        _, *chances = log_probabilities(utilities.select("task_id", "mu", "sigma"), counted)
        wins = [binom.sf(answers_p // 2, answers_p, np.exp(log_p)) for log_p in chances]
        expected = float(_closed_walks(matrix(wins[0], wins[1])).sum() / 3 / triads)
    lower, upper = _interval(triads_N, cycles_N, triads, cycles)
    return pl.DataFrame(
        {
            "policy": [policy],
            "inflated": [policy == "active"],
            "tasks": [tasks],
            "pairs": [len(answers_p)],
            "triads": [triads],
            "decided_triads": [decided],
            "cycles": [cycles],
            "cycle_rate": [cycles / triads if triads else None],
            "lower": [lower],
            "upper": [upper],
            "null_rate": [float(_closed_walks(symmetric(no_tie_p)).sum() / 6 / 4 / triads) if triads else None],
            "expected_rate": [expected],
            "decided_cycle_rate": [cycles / decided if decided else None],
        },
        TRANSITIVITY,
    )


def _closed_walks(matrix_NN: "coo_array") -> NDArray[np.float64]:
    """The diagonal of its third power: per task the walks i -> j -> k -> i, weighed with the product of their steps."""
    if matrix_NN.nnz > DENSE * matrix_NN.shape[0] ** 2:
        dense_NN = matrix_NN.toarray()
        return np.einsum("ij,ji->i", dense_NN @ dense_NN, dense_NN)
    rows_NN = matrix_NN.tocsr()
    return np.asarray((rows_NN @ rows_NN).multiply(rows_NN.T).sum(axis=1))


def _interval(
    triads_N: NDArray[np.float64], cycles_N: NDArray[np.float64], triads: int, cycles: int
) -> tuple[float | None, float | None]:
    """95 % for cycles / triads, leaving out one task at a time."""
    from scipy.stats import t

    tasks = len(triads_N)
    without_N = triads - triads_N
    if tasks < 4 or cycles in (0, triads) or (without_N == 0).any():
        return None, None
    rate_N = (cycles - cycles_N) / without_N
    error = np.sqrt((tasks - 1) / tasks * ((rate_N - rate_N.mean()) ** 2).sum())
    reach, rate = t.ppf(0.975, tasks - 1) * error, cycles / triads
    return max(0.0, float(rate - reach)), min(1.0, float(rate + reach))
