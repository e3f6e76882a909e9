"""Score gaps are cut where the reports cut them; ties and the user's own scale are outcomes of their own."""

import numpy as np
import polars as pl
import pytest

from prefassets.domain.evidence.outcomes import outcomes

GAPS = [1, 6, 7, 14, 15, 29, 30, 99]


def made(sd_scores=None, ties=2):
    names = [f"u{place}" for place in range(len(GAPS))]
    pairs = pl.DataFrame({"user_id": names, "score_gap": GAPS})
    tied = pl.DataFrame({"user_id": ["u0"] * ties, "score_gap": [0] * ties}, {"user_id": pl.String, "score_gap": int})
    users = pl.DataFrame({"user_id": names, "sd_score": sd_scores or [10.0] * len(GAPS)})
    return outcomes(pairs, tied, users)


def test_a_gap_at_a_cut_is_below_it():
    gap = made()["score_gap"]
    assert gap.bins_n.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert gap.above_n.tolist() == [gap_points > 14 for gap_points in GAPS]
    assert gap.bins == 4


def test_ties_are_the_bottom_bin():
    with_ties = made()["score_gap_ties"]
    assert with_ties.bins == 5
    assert with_ties.bins_n.tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 0, 0]
    assert with_ties.user_id.to_list()[-2:] == ["u0", "u0"]
    assert int(with_ties.above_n.sum()) == 4


def test_the_gap_in_the_user_s_own_sd_is_cut_at_the_same_shares():
    relative = made([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])["score_gap_in_sd"]
    assert relative.values_n == pytest.approx([1, 3, 7 / 3, 3.5, 3, 29 / 6, 30 / 7, 99 / 8])
    assert np.bincount(relative.bins_n)[0] == 2  # a quarter, as of the gaps in points
    assert int(relative.above_n.sum()) == 4


def test_a_scale_that_is_the_same_for_all_changes_no_bin():
    found = made()
    assert found["score_gap_in_sd"].bins_n.tolist() == found["score_gap"].bins_n.tolist()


@pytest.mark.parametrize("sd", [None, 0.0])
def test_who_gives_one_score_only_has_no_scale_and_is_counted(sd):
    relative = made([sd] + [10.0] * 7)["score_gap_in_sd"]
    assert relative.dropped == {"the user's scores do not vary": 1}
    assert len(relative.values_n) == len(relative.user_id) == 7


def test_no_pairs_make_empty_outcomes():
    nothing = {"user_id": pl.String, "score_gap": pl.Int64}
    found = outcomes(
        pl.DataFrame(schema=nothing),
        pl.DataFrame(schema=nothing),
        pl.DataFrame(schema={"user_id": pl.String, "sd_score": float}),
    )
    assert [len(outcome.bins_n) for outcome in found.values()] == [0, 0, 0]
