"""Synthetic conversations: how many turns, which models, which scores, with PRISM's published margins.

Nothing here knows what is planted: who prefers what, and by how much, comes in as arguments.

Shapes: U participants, C conversations, P within-model pairs (one per turn after the first), O responses to openers.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr

from prefassets.domain.prism.marginals import dealt, interleaved, published, repeated, scaled

SCORES = np.arange(1, 101)

# Chosen so that users differ about as much as PRISM's: the mean score per user has sd 13 points, user-clustered errors
# of a logit of score gaps are 1.7 times the naive ones, an opener's best and worst answers are 56 points apart, and the
# longest conversation per user is distributed as published.
USER_SHARE_OF_TURNS = 0.4
USER_SHARE_OF_GAP = 0.2
USER_SHARE_OF_LEVEL = 0.35
USER_SHARE_OF_OPENERS = 0.15

# Score gaps fall off geometrically; one pair in fifty is far apart. This puts the cuts 6 / 14 / 29 near the quarters,
# the median at 15 and the mean at 21.5 points, as reported on 2026-02-24 (plots of the release agree).
TIED, UNTIED = 1_097, 18_064
GAP_DECAY, FAR_SHARE, FAR_FROM = 1 - 1 / 21.1, 0.02, 60
# Later turns are scored higher: the log odds that a score belongs to a later turn rise by this per point of score. It
# makes means of 70.2 after the opener and 58.6 on it (plots: 70.5 and 58.6, which do not quite add up to 65.1 overall).
LATER_PER_POINT = 0.0138


def planned_conversations(rng: np.random.Generator, participants: int) -> pl.DataFrame:
    """Who talks, how often and for how long; conversations in the order in which they began.

    Returns:
        One row per conversation: `user` (position among the participants), `turns`, `opener_responses`,
        `conversation_type`.
    """
    silent = published()["survey_only"]
    talkers = int(scaled([published()["participants"] - silent, silent], participants)[0])
    held = np.zeros(participants, dtype=np.int64)
    held[:talkers] = repeated(published()["conversations_per_participant"], talkers)
    held = rng.permutation(held)
    user = np.repeat(np.arange(participants), held)
    conversations = len(user)

    patience = _shared(rng, user, USER_SHARE_OF_TURNS)
    turns = np.empty(conversations, dtype=np.int64)
    turns[np.argsort(patience)] = repeated(published()["turns_per_conversation"], conversations)

    kinds = repeated(published()["conversation_type"], conversations)
    kinds = kinds[interleaved(rng, kinds)]  # everyone was asked for equally many of each

    began = np.argsort(user + rng.exponential(2.0, conversations))  # people's conversations overlap in time
    return pl.DataFrame(
        {
            "user": user,
            "turns": turns,
            "opener_responses": dealt(rng, published()["responses_per_opener"], conversations).astype(int),
            "conversation_type": pl.Series(kinds, dtype=pl.String()),
        }
    )[began]


def pair_gaps(rng: np.random.Generator, user: NDArray, log_odds: NDArray) -> NDArray[np.int64]:
    """Score gap of each pair, 0-99 points: published ties and gaps exactly, larger where `log_odds` are.

    A latent gap = log_odds + noise is ranked, and the ranks are given the published gaps. The noise is logistic for
    every pair and correlated within a user, so a pooled ordered logit, whatever its cuts, has exactly these log odds as
    its truth (a random intercept added to logistic noise would shrink them). Ties fall anywhere, whatever the log odds.

    Args:
        user, log_odds: P, of a larger gap.
    """
    gaps = np.zeros(len(user), dtype=np.int64)
    (untied,) = np.nonzero(~_tied(rng, user))
    latent = log_odds + logit(ndtr(_shared(rng, user, USER_SHARE_OF_GAP)))

    size = np.arange(1, 100)
    near, far = GAP_DECAY**size, 1.0 * (size >= FAR_FROM)
    share = (1 - FAR_SHARE) * near / near.sum() + FAR_SHARE * far / far.sum()
    gaps[untied[np.argsort(latent[untied])]] = np.repeat(size, scaled(share, len(untied)))
    return gaps


def _tied(rng: np.random.Generator, user: NDArray) -> NDArray[np.bool_]:
    """Which pairs are ties: as many as published; a few users have nothing else (3 of 1,396), the others have more."""
    users, pairs_of_user = np.unique(user, return_counts=True)
    only_ties = users[np.lexsort((rng.random(len(users)), pairs_of_user))][: round(3 * len(users) / 1_396)]
    tied = np.isin(user, only_ties)
    order = rng.permutation(len(user))
    first_of_user = order[np.unique(user[order], return_index=True)[1]]
    free = np.setdiff1d(np.nonzero(~tied)[0], first_of_user)
    ties = int(scaled([UNTIED, TIED], len(user))[1]) - int(tied.sum())
    tied[rng.choice(free, max(ties, 0), replace=False)] = True
    return tied


def scores(
    rng: np.random.Generator, pair_user: NDArray, gaps: NDArray, opener_user: NDArray
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Scores with the published histogram: the lower score of each pair, and one score per response to an opener.

    Pairs are scored first, within what their gaps allow; the openers then take what is left of the histogram. (In a
    very small study the pairs can use up a score; its surplus is then missing from other scores.)

    Args:
        pair_user, gaps: P.
        opener_user: O, the user of each response to an opener.
    """
    responses = 2 * len(gaps) + len(opener_user)
    histogram = scaled(published()["score_histogram"], responses)
    users = max(pair_user.max(), opener_user.max()) + 1
    level = rng.standard_normal(users)

    cumulative = _lower_score_given_gap(gaps, histogram).cumsum(axis=1)
    generosity = _shared(rng, pair_user, USER_SHARE_OF_LEVEL, level)
    generosity = (np.argsort(np.argsort(generosity)) + 0.5) / len(gaps)  # ranks: the mean is the same for every seed
    low = 1 + (cumulative[gaps] < generosity[:, None] * cumulative[gaps, -1:]).sum(axis=1)

    used = np.bincount(np.concatenate([low, low + gaps]), minlength=101)[1:]
    left = scaled(np.maximum(histogram - used, 0), len(opener_user))
    opener = np.empty(len(opener_user), dtype=np.int64)
    opener[np.argsort(_shared(rng, opener_user, USER_SHARE_OF_OPENERS, level))] = np.repeat(SCORES, left)
    return low, opener


def _lower_score_given_gap(gaps: NDArray, histogram: NDArray) -> NDArray[np.float64]:
    """P(lower score | gap), 100 gaps x 100 scores, under which pairs take the high end of the histogram.

    P(low | gap) ~ w(low) w(low + gap), with one weight w per score, fitted so that each score is expected as often in
    pairs as it belongs to later turns.
    """
    share_of_gap = np.bincount(gaps, minlength=100)
    low, gap = SCORES[None, :], np.arange(100)[:, None]
    fits = low + gap <= 100
    high = np.where(fits, low + gap, 1)

    offsets = np.linspace(-4, 4, 801)
    later_share = expit(LATER_PER_POINT * (SCORES - 65) + offsets[:, None])
    wanted = (later_share * histogram)[np.argmin(np.abs(later_share @ histogram - 2 * len(gaps)))]
    weight = histogram + 1e-9
    for _ in range(100):
        given_gap = np.where(fits, weight[low - 1] * weight[high - 1], 0)
        given_gap /= given_gap.sum(axis=1, keepdims=True)
        expected = share_of_gap[:, None] * given_gap
        at_score = expected.sum(axis=0) + np.bincount(high.ravel(), expected.ravel(), minlength=101)[1:]
        weight *= np.sqrt((wanted + 1e-9) / (at_score + 1e-9))
    return given_gap


def models(
    rng: np.random.Generator, opener_conversation: NDArray, opener_wins: NDArray, later_turns: NDArray
) -> NDArray[np.object_]:
    """The model behind each response to an opener: all different within a conversation, with the published totals.

    The winner of an opener answers the rest of its conversation twice a turn. A model's total is therefore its openers
    plus twice the turns it won; openers were drawn evenly, so the rest of each total says how many turns it won.

    Args:
        opener_conversation, opener_wins: O; conversations are 0 .. C-1 and each has one winner.
        later_turns: C.
    """
    names = list(published()["models"])
    responses = len(opener_conversation) + 2 * later_turns.sum()
    totals = scaled([model["utterances"] for model in published()["models"].values()], responses)
    even = len(opener_conversation) / len(names)
    turns_left = scaled(np.maximum(totals - even, 1), later_turns.sum())

    winner = np.empty(len(later_turns), dtype=np.int64)
    turns_won = np.zeros(len(names), dtype=np.int64)
    # The longest first: the many short ones at the end make every sum come out.
    for conversation in np.lexsort((rng.random(len(later_turns)), -later_turns)):
        room = turns_left - turns_won
        room = np.where(room >= later_turns[conversation], room, 0) if room.max() >= later_turns[conversation] else room
        chances = np.maximum(room, 0).cumsum()
        winner[conversation] = np.searchsorted(chances, rng.random() * chances[-1], side="right")
        turns_won[winner[conversation]] += later_turns[conversation]

    model = np.empty(len(opener_conversation), dtype=np.int64)
    model[opener_wins] = winner[opener_conversation[opener_wins]]
    losers = np.maximum(totals - 2 * turns_won - np.bincount(winner, minlength=len(names)), 0)
    model[~opener_wins] = rng.permutation(np.repeat(np.arange(len(names)), scaled(losers, int((~opener_wins).sum()))))
    _make_different(rng, model, opener_conversation, opener_wins)
    return np.array(names, dtype=object)[model]


def _make_different(rng: np.random.Generator, model: NDArray, conversation: NDArray, fixed: NDArray) -> None:
    """Exchange models that occur twice in a conversation with models elsewhere until none does."""
    (free,) = np.nonzero(~fixed)
    for _ in range(1_000):
        key = conversation * 100 + model
        order = np.lexsort((~fixed, key))  # the fixed one counts as the first, so that the other is the repeat
        repeats = order[1:][key[order[1:]] == key[order[:-1]]]
        if not len(repeats):
            return
        others = rng.choice(np.setdiff1d(free, repeats), len(repeats), replace=False)
        model[repeats], model[others] = model[others], model[repeats]
    raise ValueError("no way found to give each conversation different models; choose a larger scale")


def subset_with_sum(
    rng: np.random.Generator, sizes: NDArray, eligible: NDArray, members: int, total: int
) -> NDArray[np.bool_]:
    """`members` of the eligible, with sizes that sum to `total` (or near it, if the sizes do not allow it)."""
    (free,) = np.nonzero(eligible)
    inside = np.zeros(len(sizes), dtype=bool)
    inside[rng.permutation(free)[:members]] = True
    for _ in range(1_000):
        short = total - sizes[inside].sum()
        if short == 0 or inside[free].all():
            break
        leaves, enters = rng.choice(np.nonzero(inside)[0], 500), rng.choice(free[~inside[free]], 500)
        gain = (sizes[enters] - sizes[leaves]) * np.sign(short)
        (useful,) = np.nonzero((gain > 0) & (gain <= abs(short)))
        if len(useful):
            best = useful[np.argmax(gain[useful])]
            inside[leaves[best]], inside[enters[best]] = False, True
    return inside


def _shared(rng: np.random.Generator, user: NDArray, share: float, level: NDArray | None = None) -> NDArray[np.float64]:
    """Standard normal per row; `share` of its variance is the user's own, given as `level` (per user) or drawn."""
    level = rng.standard_normal(user.max() + 1) if level is None else level
    return np.sqrt(share) * level[user] + np.sqrt(1 - share) * rng.standard_normal(len(user))
