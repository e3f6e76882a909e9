"""Synthetic battles: the released file's form, oddities and shares, with known reasons why an answer wins.

Three things make an answer better, each on the log odds that it wins (with ties as Davidson, 1970, has them,
https://doi.org/10.1080/01621459.1970.10481082):

- it adapts to the person (`ADAPTS`): it has one sentence of a kind, which its words tell;
- it begins with that sentence (`BEGINS`): the same words in another order, so that a count of words cannot tell;
- it is longer than the other (`LONGER`): as much as in the released file, where 61 % of decided battles are won so.

Stronger models write such answers more often. Sentences are in the words of synthetic PRISM, so that a language model
trained on that knows them. As in the released file there are conversations of several turns, prompts that several
battles share, and answers that are empty (`[null]`, `[]`, `[""]`) or equal; such lose and tie as they did there.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import exp
from random import Random
from typing import NamedTuple

import polars as pl

from prefassets.domain.prism.synthetic_text import ACTS, FILLER, FOLLOW_UPS, OPENING_PROMPTS, TOPICS

ADAPTS, BEGINS, LONGER = 1.0, 2.6, 0.76  # log odds of A over B, if it is so of A and not of B
FIRST_SHOWN = 0.03  # log odds of A over B whatever they say: A won 34.9 % of the released battles, B 34.2 %
TIES = 1.38  # the weight of a tie, where equal answers have 1 each: 30.9 % of the released battles are ties

EMPTY_SHARE, EQUAL_SHARE = 0.006, 0.012  # of battles: one answer is empty, both answers are equal
AGAINST_EMPTY, IF_EQUAL = (0.04, 0.88, 0.08), (0.06, 0.06, 0.88)  # P(empty wins, the other wins, tie); P(A, B, tie)
MORE_TURNS = {2: 0.09, 3: 0.03, 4: 0.01}  # shares; the others have one turn
REPEATED_SHARE = 0.1  # of battles, on the prompts of another battle
TRAITS = ("adapts", "begins")
MODELS = {  # how often each model's answers adapt, and how often those that do begin so
    "alder-13b": (0.8, 0.8),
    "alder-7b": (0.7, 0.6),
    "birch-large": (0.9, 0.9),
    "birch-small": (0.7, 0.4),
    "cedar-chat": (0.9, 0.6),
    "elm-70b": (0.6, 0.7),
    "elm-7b": (0.6, 0.3),
    "hazel-1": (0.8, 0.5),
    "hazel-2": (0.8, 0.7),
    "larch-3b": (0.4, 0.2),
    "maple-6b": (0.6, 0.4),
    "rowan-instruct": (0.5, 0.3),
}
CONTEXT = "I have {number} {things}, and I start {when}."
WORDS = {
    "number": ("two", "three", "several", "many", "enough", "some"),
    "things": ("options", "sources", "goals", "guides", "points", "tries", "steps", "results"),
    "when": ("this week", "early", "later", "at home", "without pressure", "again", "with care", "well before others"),
}
SENTENCES = (2, 3)  # of an answer
PLAIN = tuple(sentence for sentence in FILLER if "{topic}" in sentence)
ADAPTING = (
    "Given what you told me, I would fit {topic} around you.",
    "Since you mentioned your goals, I would adapt {topic} for you.",
    "For you personally, I would begin with the {topic} you enjoy.",
)


@dataclass(frozen=True)
class PlantedBattles:
    """Battles as the released file has them, and what was planted in them, which no predictor may see.

    `planted` has one row per battle: `id`; of both answers whether each of `TRAITS` is so (`adapts_a`, `adapts_b`
    and so on); and `a`, `b`, `tie`, the probabilities by which its winner was drawn: nothing predicts it better.
    """

    rows: pl.DataFrame
    planted: pl.DataFrame


def synthetic_battles(seed: int, count: int) -> pl.DataFrame:
    """So many battles in the form of the released `train.csv`; equal arguments give equal battles.

    Returns:
        As `read_battles` reads a file, all text but `line`: `id` (rising), `model_a`, `model_b`; `prompt`,
        `response_a`, `response_b` (JSON lists of one text per turn); `winner_model_a`, `winner_model_b`, `winner_tie`
        (one is 1, the others are 0); and `line`, from 2.
    """
    return planted_battles(seed, count).rows


def planted_battles(seed: int, count: int) -> PlantedBattles:
    """Synthetic battles with what was planted in them.

    Raises:
        ValueError: fewer than one battle is asked for.
    """
    if count < 1:
        raise ValueError(f"{count} synthetic battles were asked for; at least 1 is wanted")
    rng = Random(seed)
    conversations = [_conversation(rng) for _ in range(count - round(REPEATED_SHARE * count))]
    asked = conversations + rng.choices(conversations, k=count - len(conversations))
    rng.shuffle(asked)
    identifiers = [str(number) for number in accumulate(rng.randint(1, 150_000) for _ in range(count))]
    rows, planted = zip(*(_battle(rng, conversation) for conversation in asked), strict=True)
    return PlantedBattles(
        pl.DataFrame(rows).select(
            pl.Series("id", identifiers), pl.all(), line=pl.int_range(2, count + 2, dtype=pl.Int64())
        ),
        pl.DataFrame(planted).select(pl.Series("id", identifiers), pl.all()),
    )


class _Conversation(NamedTuple):
    """Prompts, one per turn, and what they are all about."""

    topic: str
    prompts: list[str]


@dataclass
class _Answers:
    """One model's answers to each prompt, as the file has them, and what was planted in them."""

    encoded: str
    length: int
    traits: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(TRAITS, False))


def _conversation(rng: Random) -> _Conversation:
    (turns,) = rng.choices([1, *MORE_TURNS], [1 - sum(MORE_TURNS.values()), *MORE_TURNS.values()])
    topic, act = rng.choice(TOPICS), rng.choice(ACTS)
    openings = [opening for kind in OPENING_PROMPTS.values() for opening in kind]
    context = CONTEXT.format(**{name: rng.choice(words) for name, words in WORDS.items()})
    said = [f"{rng.choice(openings)} {context}", *rng.sample(FOLLOW_UPS, turns - 1)]
    return _Conversation(topic, [text.format(topic=topic, act=act) for text in said])


def _battle(rng: Random, conversation: _Conversation) -> tuple[dict, dict]:
    """A row of the file without its numbers, and what was planted in it."""
    models = rng.sample(list(MODELS), 2)
    a, b = (_answers(rng, conversation, MODELS[model]) for model in models)
    oddity = rng.random()
    if oddity < EMPTY_SHARE:
        empty = _Answers(_empty(rng, len(conversation.prompts)), 0)
        lost, won, tie = AGAINST_EMPTY
        if rng.random() < 0.5:
            a, chances = empty, (lost, won, tie)
        else:
            b, chances = empty, (won, lost, tie)
    elif oddity < EMPTY_SHARE + EQUAL_SHARE:
        b, chances = a, IF_EQUAL
    else:
        chances = _chances(a, b)
    (winner,) = rng.choices(range(3), chances)
    flags = {f"winner_{who}": str(int(winner == place)) for place, who in enumerate(("model_a", "model_b", "tie"))}
    row = {
        "model_a": models[0],
        "model_b": models[1],
        "prompt": _encoded(conversation.prompts),
        "response_a": a.encoded,
        "response_b": b.encoded,
        **flags,
    }
    traits = {f"{name}_{side}": of.traits[name] for name in TRAITS for side, of in (("a", a), ("b", b))}
    return row, {**traits, **dict(zip(("a", "b", "tie"), chances, strict=True))}


def _chances(a: _Answers, b: _Answers) -> tuple[float, float, float]:
    """P(A wins), P(B wins), P(tie)."""
    lead = FIRST_SHOWN + LONGER * ((a.length > b.length) - (a.length < b.length))
    for name, worth in zip(TRAITS, (ADAPTS, BEGINS), strict=True):
        lead += worth * (a.traits[name] - b.traits[name])
    weights = (exp(lead / 2), exp(-lead / 2), TIES)
    return weights[0] / sum(weights), weights[1] / sum(weights), weights[2] / sum(weights)


def _answers(rng: Random, conversation: _Conversation, chances: Sequence[float]) -> _Answers:
    """A model's answer to each turn; if they adapt, one sentence of each does, the first or the last."""
    adapts, begins = (rng.random() < chance for chance in chances)
    act = rng.choice(ACTS)
    texts = []
    for _ in conversation.prompts:
        sentences = rng.sample(PLAIN, rng.choice(SENTENCES))
        if adapts:
            sentences[0 if begins else -1] = rng.choice(ADAPTING)
        texts.append(" ".join(sentences).format(topic=conversation.topic, act=act))
    traits = dict(zip(TRAITS, (adapts, adapts and begins), strict=True))
    return _Answers(_encoded(texts), sum(map(len, texts)), traits)


def _empty(rng: Random, turns: int) -> str:
    return _encoded(rng.choice(([None] * turns, [], [""] * turns)))


def _encoded(texts: Sequence[str | None]) -> str:
    return json.dumps(texts, separators=(",", ":"))
