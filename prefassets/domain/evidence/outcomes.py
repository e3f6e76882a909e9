"""What the evidence models explain: how far apart a user scored the two answers of a pair, cut into bins."""

# n pairs

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

W2_CUT = 14  # points; Z = 1 above it. Report of 2026-02-23
ORDERED_CUTS = (6, 14, 29)  # points; four bins, each with about a quarter of PRISM's pairs. Report of 2026-02-24
TIE_CUT = 0  # points; a tie is in the bin at or below it


@dataclass(frozen=True)
class Outcome:
    """The size of each pair's score gap, and where it is cut.

    A pair is in bin j if its value is above j of the `cuts`; at a cut it is not above it, as in Z = 1[gap > 14].
    """

    name: str
    user_id: pl.Series
    values_n: NDArray[np.float64]
    w2_cut: float
    cuts: tuple[float, ...]
    dropped: Mapping[str, int]

    @property
    def users_n(self) -> NDArray[np.int64]:
        """A number per user, for each pair: the clusters."""
        return self.user_id.rank("dense").cast(pl.Int64).to_numpy()

    @property
    def bins(self) -> int:
        return len(self.cuts) + 1

    def cuts_of(self, test: str) -> tuple[float, ...]:
        """The cuts of the test `W2` or `OL`, rounded to three digits, to be shown."""
        return tuple(round(cut, 3) for cut in ((self.w2_cut,) if test == "W2" else self.cuts))

    @property
    def bins_n(self) -> NDArray[np.int64]:
        """The ordered bin of each pair, 0 .. bins-1."""
        return np.searchsorted(np.array(self.cuts), self.values_n, side="left").astype(np.int64)

    @property
    def above_n(self) -> NDArray[np.bool_]:
        """Z of the W2 logit: whether each pair is above its cut."""
        return self.values_n > self.w2_cut


def outcomes(pairs: pl.DataFrame, ties: pl.DataFrame, users: pl.DataFrame) -> dict[str, Outcome]:
    """The three outcomes by name.

    - `score_gap`: the gap in points, cut at 6 / 14 / 29, and at 14 for W2; pairs with a gap of at least 1.
    - `score_gap_ties`: the same with ties as a fifth bin at the bottom. They are users' answers too: dropping them
      selects pairs by the outcome.
    - `score_gap_in_sd`: the gap divided by the standard deviation of all scores of its user, because who uses the whole
      scale has larger gaps for the same preference. It is cut where the bins have the shares that the bins of
      `score_gap` have, so that effects on a bin's probability are comparable. Users whose scores do not vary are
      dropped.

    Args:
        pairs: the table `prism.pairs`.
        ties: what `tied_pairs` returned.
        users: the table `prism.users`, for `sd_score`.
    """
    gap = _outcome("score_gap", pairs, W2_CUT, ORDERED_CUTS)
    return {
        outcome.name: outcome
        for outcome in (
            gap,
            _outcome(
                "score_gap_ties",
                pl.concat([pairs.select("user_id", "score_gap"), ties.select("user_id", "score_gap")]),
                W2_CUT,
                (TIE_CUT, *ORDERED_CUTS),
            ),
            _in_own_sd(gap, pairs, users),
        )
    }


def _outcome(name: str, pairs: pl.DataFrame, w2_cut: float, cuts: tuple[float, ...]) -> Outcome:
    return Outcome(name, pairs["user_id"], pairs["score_gap"].to_numpy().astype(np.float64), w2_cut, cuts, {})


def _in_own_sd(gap: Outcome, pairs: pl.DataFrame, users: pl.DataFrame) -> Outcome:
    scaled = pairs.select("user_id", "score_gap").join(
        users.select("user_id", "sd_score"), on="user_id", how="left", maintain_order="left"
    )
    varied = scaled.filter(pl.col("sd_score") > 0)
    values_n = (varied["score_gap"] / varied["sd_score"]).to_numpy()

    def at_share_of(cut: float) -> float:
        """The value that as large a share of pairs is at or below as of gaps is at or below `cut`."""
        if not len(values_n):
            return cut
        return float(np.quantile(values_n, (gap.values_n <= cut).mean(), method="inverted_cdf"))

    return Outcome(
        "score_gap_in_sd",
        varied["user_id"],
        values_n,
        at_share_of(gap.w2_cut),
        tuple(at_share_of(cut) for cut in gap.cuts),
        {"the user's scores do not vary": dropped} if (dropped := len(scaled) - len(varied)) else {},
    )
