"""Synthetic battles: the released file's form, oddities and shares, with known reasons why an answer wins.

Four things make an answer better, each on the log odds that it wins (with ties as Davidson, 1970, has them,
https://doi.org/10.1080/01621459.1970.10481082):

- it is about what was asked (`ON_TOPIC`). Its own words do not tell: every topic is as common in good answers as in bad
  ones, and only prompt and answer together say which it is.
- it adapts to the person (`ADAPTS`): one sentence of a kind, which its words do tell.
- it begins with that (`BEGINS`): the same words, in another order.
- it is longer than the other (`LONGER`): as often as in the released file, where 61 % of decided battles are won so.

Stronger models write such answers more often. Sentences are in the words of synthetic PRISM, so that a language model
trained on that knows them. As in the released file there are conversations of several turns, prompts that several
battles share, and answers that are empty (`[null]`, `[]`, `[""]`) or equal; such lose and tie as they did there.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import polars as pl

from prefassets.domain.prism.synthetic_text import ACTS, FILLER, FOLLOW_UPS, OPENING_PROMPTS, TOPICS

ON_TOPIC, ADAPTS, BEGINS, LONGER = 1.0, 1.2, 2.4, 0.7  # log odds of A over B, if it is so of A and not of B
FIRST_SHOWN = 0.03  # log odds of A over B whatever they say: A won 34.9 % of the released battles, B 34.2 %
TIES = 1.36  # the weight of a tie, where equal answers have 1 each: 30.9 % of the released battles are ties

EMPTY_SHARE, EQUAL_SHARE = 0.006, 0.012  # of battles: one answer is empty, both answers are equal
AGAINST_EMPTY, IF_EQUAL = (0.04, 0.88, 0.08), (0.06, 0.06, 0.88)  # P(empty wins, the other wins, tie); P(A, B, tie)
MORE_TURNS = {2: 0.09, 3: 0.03, 4: 0.01}  # shares; the others have one turn
REPEATED_SHARE = 0.1  # of battles, on the prompts of another battle
TRAITS = ("on_topic", "adapts", "begins")
MODELS = {  # how often each model's answers have each of them; it begins with what it has
    "alder-13b": (0.9, 0.8, 0.8),
    "alder-7b": (0.8, 0.7, 0.6),
    "birch-large": (0.95, 0.9, 0.9),
    "birch-small": (0.8, 0.7, 0.4),
    "cedar-chat": (0.7, 0.9, 0.6),
    "elm-70b": (0.9, 0.6, 0.7),
    "elm-7b": (0.6, 0.6, 0.3),
    "hazel-1": (0.5, 0.8, 0.5),
    "hazel-2": (0.7, 0.8, 0.7),
    "larch-3b": (0.4, 0.4, 0.2),
    "maple-6b": (0.5, 0.6, 0.4),
    "rowan-instruct": (0.7, 0.5, 0.3),
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

    `planted` has one row per battle: `id`; of both answers whether they are `on_topic_a`, `on_topic_b` and so on, as
    `TRAITS`; and `a`, `b`, `tie`, the probabilities by which its winner was drawn: nothing predicts it better.
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
    rng = np.random.default_rng(seed)
    conversations = [_conversation(rng) for _ in range(count - round(REPEATED_SHARE * count))]
    again = rng.integers(len(conversations), size=count - len(conversations))
    asked = rng.permutation(np.concatenate([np.arange(len(conversations)), again]))
    identifiers = np.cumsum(rng.integers(1, 150_000, size=count)).astype(str)
    rows, planted = zip(*(_battle(rng, conversations[number]) for number in asked), strict=True)
    return PlantedBattles(
        pl.DataFrame(rows).select(
            pl.Series("id", identifiers), pl.all(), line=pl.int_range(2, count + 2, dtype=pl.Int64())
        ),
        pl.DataFrame(planted).select(pl.Series("id", identifiers), pl.all()),
    )


class _Conversation(NamedTuple):
    topic: str
    prompts: list[str]


@dataclass
class _Answers:
    """One model's answers to each prompt, as the file has them, and what was planted in them."""

    encoded: str
    length: int
    traits: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(TRAITS, False))


def _conversation(rng: np.random.Generator) -> _Conversation:
    turns = int(rng.choice([1, *MORE_TURNS], p=[1 - sum(MORE_TURNS.values()), *MORE_TURNS.values()]))
    topic, act = str(rng.choice(TOPICS)), str(rng.choice(ACTS))
    openings = [opening for kind in OPENING_PROMPTS.values() for opening in kind]
    context = CONTEXT.format(**{name: rng.choice(words) for name, words in WORDS.items()})
    said = [f"{rng.choice(openings)} {context}", *rng.choice(FOLLOW_UPS, size=turns - 1, replace=False)]
    return _Conversation(topic, [text.format(topic=topic, act=act) for text in said])


def _battle(rng: np.random.Generator, conversation: _Conversation) -> tuple[dict, dict]:
    """A row of the file without its numbers, and what was planted in it."""
    models = [str(model) for model in rng.choice(list(MODELS), size=2, replace=False)]
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
    winner = rng.choice(3, p=chances)
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
    lead = FIRST_SHOWN + LONGER * float(np.sign(a.length - b.length))
    for name, worth in zip(TRAITS, (ON_TOPIC, ADAPTS, BEGINS), strict=True):
        lead += worth * (a.traits[name] - b.traits[name])
    weights = (float(np.exp(lead / 2)), float(np.exp(-lead / 2)), TIES)
    return weights[0] / sum(weights), weights[1] / sum(weights), weights[2] / sum(weights)


def _answers(rng: np.random.Generator, conversation: _Conversation, chances: Sequence[float]) -> _Answers:
    """All on the topic that was asked about, or all on another one; one sentence of each adapts, or none does."""
    on_topic, adapts, begins = (bool(rng.random() < chance) for chance in chances)
    topic = conversation.topic
    if not on_topic:
        topic = str(rng.choice([other for other in TOPICS if other != topic]))
    act = str(rng.choice(ACTS))
    texts = []
    for _ in conversation.prompts:
        sentences = rng.choice(PLAIN, size=rng.choice(SENTENCES), replace=False)
        if adapts:
            sentences[0 if begins else rng.integers(1, len(sentences))] = rng.choice(ADAPTING)
        texts.append(" ".join(sentences).format(topic=topic, act=act))
    traits = dict(zip(TRAITS, (on_topic, adapts, adapts and begins), strict=True))
    return _Answers(_encoded(texts), sum(map(len, texts)), traits)


def _empty(rng: np.random.Generator, turns: int) -> str:
    return _encoded(([None] * turns, [], [""] * turns)[rng.integers(3)])


def _encoded(texts: Sequence[str | None]) -> str:
    return json.dumps(texts, separators=(",", ":"))
