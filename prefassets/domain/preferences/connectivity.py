"""Whether comparisons tie tasks together well enough for utilities to exist without a prior."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from prefassets.domain.preferences.comparisons import Comparisons


@dataclass(frozen=True)
class Connectivity:
    """How a comparison graph hangs together.

    `groups`: within one, every task was chosen over every other, directly or by a chain of choices (strongly connected
    components of "was chosen over"). `islands`: between two, no comparison was answered by a choice (weakly connected
    components). `largest_group`, `largest_island`: tasks in the largest.
    """

    tasks: int
    groups: int
    largest_group: int
    islands: int
    largest_island: int

    @property
    def likelihood_has_maximum(self) -> bool:
        """Whether the plain maximum-likelihood utilities, with all sigmas equal, exist: there is one group only.

        If the tasks can be parted so that nothing in one part was ever chosen over anything in the other, the
        likelihood only grows as the parts move apart; if they cannot, it has a maximum. Source: Ford (1957), Solution
        of a Ranking Problem from Binary Comparisons, Amer. Math. Monthly 64; Hunter (2004), MM Algorithms for
        Generalized Bradley-Terry Models, Ann. Statist. 32, assumption 1. The argument asks of the law of choice only
        that it is log-concave, which the normal one is.
        """
        return self.groups <= 1

    @property
    def sentence(self) -> str:
        """What follows for the utilities, in words."""
        tasks = f"{self.tasks:,} tasks"
        if self.likelihood_has_maximum:
            return (
                f"The {tasks} are one strongly connected group: each was chosen over each other by some chain of "
                "choices, so plain maximum-likelihood utilities exist where all sigmas are equal."
            )
        said = (
            f"The {tasks} fall into {self.groups:,} strongly connected groups (the largest has {self.largest_group:,} "
            "tasks): plain maximum-likelihood utilities do not exist, and how far the groups lie apart is the prior's "
            "or the bounds' doing."
        )
        if self.islands > 1:
            said += (
                f" No choice links {self.islands:,} islands of tasks (the largest has {self.largest_island:,}): "
                "utilities of different islands cannot be compared except by the prior."
            )
        return said


def connectivity(comparisons: Comparisons) -> Connectivity:
    """See `Connectivity`. Refusals are no wins, so they link nothing; a task that was never compared is alone."""
    count = len(comparisons.tasks)
    winner = np.concatenate([comparisons.slot_a_p[comparisons.a_p > 0], comparisons.slot_b_p[comparisons.b_p > 0]])
    loser = np.concatenate([comparisons.slot_b_p[comparisons.a_p > 0], comparisons.slot_a_p[comparisons.b_p > 0]])
    chosen_over = sparse.csr_array((np.ones(len(winner)), (winner, loser)), shape=(count, count))
    groups, group_n = connected_components(chosen_over, directed=True, connection="strong")
    islands, island_n = connected_components(chosen_over, directed=True, connection="weak")
    return Connectivity(
        count,
        int(groups),
        int(np.bincount(group_n, minlength=1).max()),
        int(islands),
        int(np.bincount(island_n, minlength=1).max()),
    )
