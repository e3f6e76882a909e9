"""Synthetic PRISM: the released files' form, sizes and margins, with known preferences planted in it.

Every within-model pair differs in exactly one trait, so what a user prefers can be counted, and what an adapter ought
to find is known:

- *strength* pairs: one answer adapts to the person, the other does not. Everyone prefers the one that adapts, but not
  equally often: most often those to whom personalisation matters and safety does not, least often the reverse. Groups
  differ in how consistently they follow ONE preference (`personalisation`: A > B; `safety`: A < B).
- *direction* pairs: one answer is casual, the other formal. Young users prefer casual, the others formal, equally
  consistently. Groups of `age` prefer DIFFERENT things: no contrast, but A's adapter fails on B.
- nothing else: `region` is dealt out evenly over all of the above and is the null control; the other splits show only
  what their correlation with a planted one, or chance, gives them.

Beside who prefers what, covariates shift how large score gaps are; the sign of a preference is independent of its size.

Two margins are not mirrored, on purpose: the length of texts (44 words an answer; PRISM's have about 100), so that a
tiny language model learns them in a minute; and equal texts within a pair (none here, 265 in PRISM), so that every
pair differs. Empty answers are all among the openers for the same reason. `if_chosen` is true once per prompt.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.domain.prism.marginals import interleaved, published, repeated
from prefassets.domain.prism.released import UTTERANCE_COLUMNS
from prefassets.domain.prism.splits import YOUNG, assign
from prefassets.domain.prism.synthetic_conversations import (
    models,
    pair_gaps,
    planned_conversations,
    scores,
    subset_with_sum,
)
from prefassets.domain.prism.synthetic_survey import participants
from prefassets.domain.prism.synthetic_text import ACTS, EMPTY, TOPICS, prompts, responses
from prefassets.domain.prism.users import user_covariates

STRENGTH_SHARE = 0.65  # of pairs; the others are direction pairs

# P(the answer that adapts is preferred), by (personalisation, safety) at or above the median of users with pairs.
STRENGTH_CONSISTENCY = {(True, False): 0.96, (True, True): 0.75, (False, False): 0.75, (False, True): 0.54}
DIRECTION_CONSISTENCY = 0.88  # P(casual is preferred) if young, P(formal is preferred) if not

# Effects on the log odds of a larger score gap, those of the ordered logit reported on 2026-02-24: per point of stated
# importance, and per category against the lowest (the reports give ranges for age and education; the steps are ours).
GAP_PER_POINT = {
    "personalisation": 0.00218,
    "safety": -0.00152,
    "factuality": -0.00300,
    "helpfulness": -0.00312,
    "diversity": 0.00170,
}
GAP_PER_CATEGORY = {
    "age": {
        "25-34 years old": -0.18,
        "35-44 years old": -0.22,
        "45-54 years old": -0.27,
        "55-64 years old": -0.31,
        "65+ years old": -0.36,
    },
    "education": {
        "Some Secondary": 0.47,
        "Completed Secondary School": 0.49,
        "Vocational": 0.51,
        "Some University but no degree": 0.53,
        "University Bachelors Degree": 0.55,
        "Graduate / Professional degree": 0.57,
    },
}
SPLITS_PLANTED = {  # split -> effect, in words; every other split has effect `none`
    "personalisation": ("strength", "A prefers answers that adapt to the person more consistently than B"),
    "safety": ("strength", "B prefers answers that adapt to the person more consistently than A"),
    "age": ("direction", "A prefers casual answers, B formal ones, equally consistently"),
    "region": ("none", "null control: nothing planted, and dealt out evenly over what is"),
}
TRUTH = {"split": pl.String, "effect": pl.String, "quantity": pl.String, "value": pl.Float64, "description": pl.String}

FEWEST_PARTICIPANTS = 15
EMPTY_SCORED_ONE, EMPTY_SCORED_LOW = 0.75, 0.07  # shares of empty responses; the rest anywhere: mean 12, median 1


@dataclass(frozen=True)
class SyntheticPrism:
    """Synthetic `survey.jsonl` and `utterances.jsonl` as frames of the released columns, and what was planted in them.

    `planted_truth` has one row per fact: `split`, `effect` (strength, direction, gap_size or none), `quantity`, `value`
    and `description`. Its contrasts are those of `planted_contrasts`. Tests and reports read it, verdicts never.
    """

    survey: pl.DataFrame
    utterances: pl.DataFrame
    planted_truth: pl.DataFrame


def synthetic_prism(seed: int, scale: float = 1.0) -> SyntheticPrism:
    """Make synthetic PRISM. The same seed and scale give the same frames.

    At scale 1 all published counts hold exactly: 1,500 participants, 8,011 conversations, 27,172 interactions, 68,371
    utterances, 19,161 within-model pairs of which 18,064 are no ties. At another scale everything is in proportion.

    Args:
        seed: of everything random.
        scale: share of the 1,500 participants, 0.01 to 1.

    Raises:
        ValueError: the scale makes fewer than 15 participants, or more than 1,500.
    """
    users = round(scale * published()["participants"])
    if not FEWEST_PARTICIPANTS <= users <= published()["participants"]:
        raise ValueError(
            f"scale {scale} makes {users:,} participants; {FEWEST_PARTICIPANTS} to {published()['participants']:,} "
            f"were wanted, so a scale of {FEWEST_PARTICIPANTS / published()['participants']} to 1"
        )
    rng = np.random.default_rng(seed)
    conversations = planned_conversations(rng, users)
    conversation_user, turns = conversations["user"].to_numpy(), conversations["turns"].to_numpy()
    survey = participants(
        rng,
        conversations=np.bincount(conversation_user, minlength=users),
        pairs=np.bincount(conversation_user, turns - 1, minlength=users),
    )
    pair_user = np.repeat(conversation_user, turns - 1)
    gaps = pair_gaps(rng, pair_user, _gap_log_odds(survey)[pair_user])
    preferences = _preferences(rng, survey, pair_user, gaps)
    utterances = _utterances(rng, conversations, survey, gaps, preferences)
    return SyntheticPrism(survey, utterances, _planted_truth(survey, utterances, preferences))


def _gap_log_odds(survey: pl.DataFrame) -> NDArray[np.float64]:
    """Each participant's log odds of a larger score gap; who prefers not to say counts as the lowest category."""
    per_point = (effect * pl.col("stated_prefs").struct.field(name) for name, effect in GAP_PER_POINT.items())
    per_category = (
        pl.col(name).replace_strict(effects, default=0.0, return_dtype=pl.Float64)
        for name, effects in GAP_PER_CATEGORY.items()
    )
    return survey.select(pl.sum_horizontal(*per_point, *per_category)).to_series().to_numpy()


def _preferences(rng: np.random.Generator, survey: pl.DataFrame, pair_user: NDArray, gaps: NDArray) -> pl.DataFrame:
    """What each pair is about and what its user prefers, one row per pair in order of conversation and turn.

    Returns:
        `user_id`, `score_gap`, `trait` (strength or direction), `probability` that the user prefers the first side
        (adapts, casual) and `prefers_first`, drawn with it.
    """
    with_pairs = np.unique(pair_user[gaps > 0])

    def high(name: str) -> NDArray[np.bool_]:
        stated = survey["stated_prefs"].struct.field(name).to_numpy()
        return stated >= np.median(stated[with_pairs])

    cells = zip(high("personalisation"), high("safety"), strict=True)
    prefers_adapting = np.array([STRENGTH_CONSISTENCY[bool(personal), bool(safe)] for personal, safe in cells])
    prefers_casual = np.where(survey["age"].is_in(YOUNG).to_numpy(), DIRECTION_CONSISTENCY, 1 - DIRECTION_CONSISTENCY)

    # Every user gets the same mix, so that chance in the mix makes no contrast where none is planted.
    traits = repeated({"strength": STRENGTH_SHARE, "direction": 1 - STRENGTH_SHARE}, len(pair_user))
    strength = np.empty(len(pair_user), dtype=bool)
    strength[np.lexsort((rng.random(len(pair_user)), pair_user))] = traits[interleaved(rng, traits)] == "strength"
    probability = np.where(strength, prefers_adapting[pair_user], prefers_casual[pair_user])
    return pl.DataFrame(
        {
            "user_id": survey["user_id"].to_numpy()[pair_user],
            "score_gap": gaps,
            "trait": np.where(strength, "strength", "direction"),
            "probability": probability,
            "prefers_first": rng.random(len(pair_user)) < probability,
        }
    )


def _utterances(
    rng: np.random.Generator,
    conversations: pl.DataFrame,
    survey: pl.DataFrame,
    gaps: NDArray,
    preferences: pl.DataFrame,
) -> pl.DataFrame:
    """The released `utterances.jsonl`: one row per response, in order of conversation, turn and response."""
    turns, conversation_user = conversations["turns"].to_numpy(), conversations["user"].to_numpy()
    asked_in = np.repeat(np.arange(len(turns)), turns)  # per interaction: conversation, turn, number of answers
    asked_at = _position_within(turns)
    answers = np.where(asked_at == 0, conversations["opener_responses"].to_numpy()[asked_in], 2)

    interaction = np.repeat(np.arange(len(answers)), answers)  # per response
    conversation, turn = asked_in[interaction], asked_at[interaction]
    opener, later = turn == 0, turn > 0  # the later ones, two by two, are the pairs
    opener_conversation = conversation[opener]

    first_side = rng.integers(2, size=len(gaps))  # where the first side stands on the screen: position says nothing
    preferred = np.where(preferences["prefers_first"], first_side, 1 - first_side)
    pair_user = conversation_user[asked_in[asked_at > 0]]
    low, opener_score = scores(rng, pair_user, gaps, conversation_user[opener_conversation])
    wins = _best_of_each(rng, opener_score, opener_conversation)
    score = _spread(opener, opener_score, low[:, None] + gaps[:, None] * (preferred[:, None] == [0, 1]))

    opener_model = models(rng, opener_conversation, wins, turns - 1)
    model = _spread(opener, opener_model, opener_model[wins][conversation[later]])

    topic, act = (rng.integers(len(words), size=len(turns)) for words in (TOPICS, ACTS))
    kind = conversations["conversation_type"].to_numpy()
    prompt = prompts(rng, topic[asked_in], act[asked_in], kind[asked_in], asked_at)
    sides = np.array([["adapts", ""], ["casual", "formal"]], dtype=object)
    shown = sides[(preferences["trait"] == "direction").to_numpy().astype(int)]
    shown[first_side == 1] = shown[first_side == 1, ::-1]
    anything = rng.permutation(np.resize(shown.ravel(), len(opener_score)))  # traits mean nothing in an opener
    text = responses(rng, topic[conversation], act[conversation], _spread(opener, anything, shown))
    text[np.nonzero(opener)[0][_empty(rng, opener_score, wins)]] = EMPTY
    went_on_with = text[later].reshape(-1, 2)[np.arange(len(gaps)), preferred]

    conversation_id = np.char.add("c", np.arange(len(turns)).astype(str))
    number = np.empty(len(answers), dtype=np.int64)  # the release numbers interactions along conversation ids as text
    number[np.lexsort((asked_at, conversation_id[asked_in]))] = np.arange(len(answers))
    provider = {name: known["provider"] for name, known in published()["models"].items()}
    columns = {
        "utterance_id": np.char.add("ut", np.arange(len(turn)).astype(str)),
        "interaction_id": np.char.add("int", number.astype(str))[interaction],
        "conversation_id": conversation_id[conversation],
        "user_id": survey["user_id"].to_numpy()[conversation_user[conversation]],
        "turn": turn,
        "within_turn_id": _position_within(answers),
        "included_in_balanced_subset": _balanced(rng, survey, conversation_user, np.bincount(conversation))[
            conversation
        ],
        "conversation_type": kind[conversation],
        "user_prompt": prompt[interaction],
        "model_response": text,
        "model_name": model,
        "model_provider": [provider[name] for name in model],
        "score": score,
        # After the opener the release compares texts, so equal texts would both be chosen.
        "if_chosen": _spread(opener, wins, text[later] == np.repeat(went_on_with, 2)),
    }
    return pl.DataFrame([pl.Series(name, columns[name], dtype) for name, (dtype, *_) in UTTERANCE_COLUMNS.items()])


def _spread(opener: NDArray[np.bool_], of_openers: NDArray, of_others: NDArray) -> NDArray:
    """One array over all responses from the values of those to openers and, row by row, of the others."""
    values = np.empty(len(opener), dtype=of_openers.dtype)
    values[opener], values[~opener] = of_openers, of_others.ravel()
    return values


def _best_of_each(rng: np.random.Generator, score: NDArray, conversation: NDArray) -> NDArray[np.bool_]:
    """The best-scored response of each conversation, a random one of equals."""
    best_first = np.lexsort((rng.random(len(score)), -score, conversation))
    best = np.zeros(len(score), dtype=bool)
    best[best_first[np.unique(conversation[best_first], return_index=True)[1]]] = True
    return best


def _position_within(lengths: NDArray) -> NDArray[np.int64]:
    """0, 1, .. within each of consecutive runs."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def _empty(rng: np.random.Generator, opener_score: NDArray, wins: NDArray) -> NDArray[np.int64]:
    """Positions of the responses to openers that are empty: losers, most of them scored 1.

    None is in a pair: every pair shall differ in one trait only.
    """
    everywhere = [int(n) * count for n, count in published()["responses_per_opener"].items()]
    wanted = _in_proportion(published()["empty_responses"], everywhere, len(opener_score))
    at_one, low = round(EMPTY_SCORED_ONE * wanted), round(EMPTY_SCORED_LOW * wanted)
    candidates = rng.permutation(np.nonzero(~wins)[0])
    score = opener_score[candidates]
    return np.concatenate(
        [
            candidates[score == 1][:at_one],
            candidates[(score > 1) & (score <= 6)][:low],
            candidates[score > 6][: wanted - at_one - low],
        ]
    )


def _in_proportion(part: int, published_counts: Iterable[int], total: int) -> int:
    """As much of `total` as `part` is of all that was published."""
    return round(part * total / sum(published_counts))


def _balanced(
    rng: np.random.Generator, survey: pl.DataFrame, conversation_user: NDArray, sizes: NDArray
) -> NDArray[np.bool_]:
    """Which conversations are in the balanced subset: some of each of its participants, as many as published."""
    subset = published()["balanced_subset"]
    eligible = survey["included_in_balanced_subset"].to_numpy()[conversation_user]
    return subset_with_sum(
        rng,
        sizes,
        eligible,
        members=_in_proportion(subset["conversations"], published()["responses_per_opener"].values(), len(sizes)),
        total=_in_proportion(subset["utterances"], published()["score_histogram"], sizes.sum()),
    )


def _planted_truth(survey: pl.DataFrame, utterances: pl.DataFrame, preferences: pl.DataFrame) -> pl.DataFrame:
    untied = preferences.filter(pl.col("score_gap") > 0)
    contrasts = planted_contrasts(untied, assign(user_covariates(survey, utterances, untied)))
    return pl.concat([contrasts, _planted_gap_effects()])


def planted_contrasts(preferences: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """What ideal adapters of each split would score, from the planted probabilities of the actual users' actual pairs.

    The ideal adapter of a group knows, per trait, what most of the group's pairs prefer; it does not know the user. Its
    pref_acc on a group's pairs is the mean probability that a pair goes the way it says. The contrast is A's ideal on A
    minus B's on B; the interaction is (A's on A - B's on A) - (A's on B - B's on B), in points.

    Args:
        preferences: pairs with `user_id`, `trait`, `probability` (that the first side is preferred).
        groups: `split`, `user_id`, `user_group`.
    """
    by_group = (
        preferences.join(groups.filter(pl.col("user_group").is_not_null()), on="user_id", maintain_order="left_right")
        .group_by("split", "user_group", "trait", maintain_order=True)
        .agg(pairs=pl.len(), first=pl.col("probability").mean())
    )
    rows = []
    for split in groups["split"].unique(maintain_order=True):
        of_group = {
            group: {row["trait"]: row for row in by_group.filter(split=split, user_group=group).iter_rows(named=True)}
            for group in "AB"
        }

        def ideal_pref_acc(learned_from: Mapping[str, dict], judged_on: Mapping[str, dict]) -> float:
            pairs = sum(row["pairs"] for row in judged_on.values())
            return sum(
                row["pairs"] / pairs * (row["first"] if learned_from[trait]["first"] > 0.5 else 1 - row["first"])
                for trait, row in judged_on.items()
            )

        on_a, on_b = (
            {learner: ideal_pref_acc(of_group[learner], of_group[judged]) for learner in "AB"} for judged in "AB"
        )
        effect, what = SPLITS_PLANTED.get(split, ("none", "nothing planted"))
        contrast = on_a["A"] - on_b["B"]
        interaction = (on_a["A"] - on_a["B"]) - (on_b["A"] - on_b["B"])
        rows += [
            (split, effect, "contrast_pp", 100 * contrast, f"{what}; ideal adapters, A's on A minus B's on B"),
            (
                split,
                effect,
                "interaction_pp",
                100 * interaction,
                f"{what}; ideal adapters, A's lead on A minus its lead on B",
            ),
        ]
    return pl.DataFrame(rows, schema=TRUTH, orient="row")


def _planted_gap_effects() -> pl.DataFrame:
    per_point = [
        (name, "gap_size", "log_odds", effect, f"of a larger score gap, per point of stated importance of {name}")
        for name, effect in GAP_PER_POINT.items()
    ]
    against = {"age": "18-24 years old", "education": "primary school"}
    per_category = [
        (f"{name}: {category}", "gap_size", "log_odds", effect, f"of a larger score gap, against {against[name]}")
        for name, effects in GAP_PER_CATEGORY.items()
        for category, effect in effects.items()
    ]
    return pl.DataFrame(per_point + per_category, schema=TRUTH, orient="row")
