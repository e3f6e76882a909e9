"""It is said whether utilities would exist without a prior, and that is true of the likelihood."""

import math

import networkx
import numpy as np
import polars as pl
import pytest

from prefassets.domain.preferences.comparisons import count_choices
from prefassets.domain.preferences.connectivity import connectivity
from prefassets.domain.preferences.thurstonian import fit_utilities


def choices_of(*wins):
    return pl.DataFrame([(winner, loser, "a") for winner, loser in wins], ["task_a", "task_b", "choice"], orient="row")


CIRCLE = choices_of("xy", "yz", "zx")
LADDER = choices_of("xy", "yz", "xz")
ISLANDS = choices_of("xy", "yx", "zw", "wz")


@pytest.mark.parametrize(
    ("choices", "groups", "islands", "words"),
    [
        (CIRCLE, 1, 1, "plain maximum-likelihood utilities exist where all sigmas are equal"),
        (LADDER, 3, 1, "plain maximum-likelihood utilities do not exist"),
        (ISLANDS, 2, 2, "utilities of different islands cannot be compared except by the prior"),
    ],
)
def test_groups_and_islands_are_counted(choices, groups, islands, words):
    found = connectivity(count_choices(choices))
    assert (found.groups, found.islands) == (groups, islands)
    assert words in found.sentence


def test_as_the_prior_fades_utilities_stay_only_where_they_are_said_to_exist():
    def spread(choices, prior_sd):
        return np.ptp(fit_utilities(choices, prior_sd=prior_sd, penalty=math.inf).utilities["mu"].to_numpy())

    mixed = pl.concat([CIRCLE, choices_of("xy", "xy", "yz")])
    assert connectivity(count_choices(mixed)).likelihood_has_maximum
    assert spread(mixed, 100) == pytest.approx(spread(mixed, 10_000), rel=1e-3)
    assert not connectivity(count_choices(LADDER)).likelihood_has_maximum
    assert spread(LADDER, 10_000) > 1.3 * spread(LADDER, 100)


def test_groups_are_those_of_networkx():
    generator = np.random.default_rng(0)
    wins = [(f"t{winner}", f"t{loser}") for winner, loser in generator.integers(0, 60, (90, 2)) if winner != loser]
    graph = networkx.DiGraph(wins)
    found = connectivity(count_choices(choices_of(*wins)))
    strong = list(networkx.strongly_connected_components(graph))
    weak = list(networkx.weakly_connected_components(graph))
    assert (found.groups, found.largest_group) == (len(strong), max(map(len, strong)))
    assert (found.islands, found.largest_island) == (len(weak), max(map(len, weak)))


def test_a_refusal_links_nothing_and_who_was_never_asked_is_alone():
    refused = CIRCLE.with_columns(choice=pl.lit("refusal"))
    assert connectivity(count_choices(refused)).islands == 3
    assert connectivity(count_choices(CIRCLE, ["x", "y", "z", "w"])).groups == 2
    assert connectivity(count_choices(CIRCLE, ["x"])).likelihood_has_maximum, "one task has nothing to be compared with"


def test_the_villains_comparisons_fall_into_ten_groups(villain):
    """9-10 by the data's README."""
    found = connectivity(count_choices(villain[0]))
    assert (found.groups, found.islands) == (10, 1)
