"""Synthetic battles: the released file's form, oddities and shares, with known reasons why an answer wins.

Three things make an answer better, each on the log odds that it wins (Davidson's model of ties, 1970,
https://doi.org/10.1080/01621459.1970.10481082):

- it is about what was asked (`ON_TOPIC`). Its own words do not tell: every topic is as common in good answers as in bad
  ones, and only prompt and answer together say which it is.
- it adapts to the person (`ADAPTS`): one sentence of a kind, which its words do tell.
- it is longer than the other (`LONGER`): as often as in the released file, where 61 % of decided battles are won so.

Stronger models write such answers more often. Sentences are those of synthetic PRISM, so that a language model trained
on it knows all words. As in the released file there are conversations of several turns, prompts that several battles
share, and answers that are empty (`[null]`, `[]`, `[""]`) or equal; such win, lose and tie as they did there.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from prefassets.domain.prism import synthetic_text as said
from prefassets.domain.prism.synthetic_text import ACTS, FILLER, FOLLOW_UPS, OPENING_PROMPTS, TOPICS

ON_TOPIC, ADAPTS, LONGER = 3.2, 1.0, 0.68  # log odds of A over B, if it is so of A and not of B
FIRST_SHOWN = 0.03  # log odds of A over B whatever they say: A won 34.9 % of the released battles, B 34.2 %
TIES = 1.36  # of a tie, against A and B of equal answers; 30.9 % of the released battles are ties

EMPTY_SHARE, EQUAL_SHARE = 0.006, 0.012  # of battles: one answer is empty, both answers are equal
AGAINST_EMPTY, IF_EQUAL = (0.04, 0.88, 0.08), (0.06, 0.06, 0.88)  # P(empty wins, the other wins, tie); P(A, B, tie)
EMPTY_ANSWERS = ("[null]", "[]", '[""]')
MORE_TURNS = {2: 0.09, 3: 0.03, 4: 0.01}  # shares; the others have one turn
REPEATED_SHARE = 0.1  # of battles, on the prompts of another battle
MODELS = {  # name -> how often it answers on topic, and how often it adapts
    "alder-13b": (0.85, 0.6),
    "alder-7b": (0.75, 0.5),
    "birch-large": (0.9, 0.7),
    "birch-small": (0.7, 0.4),
    "cedar-chat": (0.65, 0.6),
    "elm-70b": (0.85, 0.3),
    "elm-7b": (0.5, 0.3),
    "hazel-1": (0.45, 0.5),
    "hazel-2": (0.6, 0.6),
    "larch-3b": (0.3, 0.2),
    "maple-6b": (0.4, 0.4),
    "rowan-instruct": (0.55, 0.2),
}
CONTEXT = "I have {number} {things}, {people} to help, and want to start {when}."
WORDS = {
    "number": ("two", "three", "several", "many", "enough", "some"),
    "things": ("options", "sources", "goals", "guides", "points", "tries", "steps", "results"),
    "people": ("a friend", "friends", "the family", "experts", "others", "people"),
    "when": ("this week", "early", "later", "at home", "without pressure", "again", "with care", "well before others"),
}
SENTENCES = (2, 3)  # of an answer
ON_A_TOPIC = [sentence for sentence in FILLER if "{topic}" in sentence]


@dataclass(frozen=True)
class PlantedBattles:
    """Battles as the released file has them, and what was planted in them, which no predictor may see.

    `planted` has one row per battle: `id`; `on_topic_a`, `on_topic_b`, `adapts_a`, `adapts_b`; `a`, `b` and `tie`, the
    probabilities by which its winner was drawn.
    """

    rows: pl.DataFrame
    planted: pl.DataFrame


def synthetic_battles(seed: int, count: int) -> pl.DataFrame:
    """So many battles in the form of the released `train.csv`; equal arguments give equal battles.

    Returns:
        `id` (rising), `model_a`, `model_b`; `prompt`, `response_a`, `response_b`: JSON lists of one text per turn;
        `winner_model_a`, `winner_model_b`, `winner_tie`: one is 1, the others are 0; `line` of the file, from 2.
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
    repeated = rng.integers(len(conversations), size=count - len(conversations))
    asked = rng.permutation(np.concatenate([np.arange(len(conversations)), repeated]))
    drawn = [_battle(rng, *conversations[number]) for number in asked]
    first = np.cumsum(rng.integers(1, 150_000, size=count))
    rows, planted = zip(*drawn, strict=True)
    numbers = pl.DataFrame({"id": first, "line": np.arange(2, count + 2)})
    return PlantedBattles(
        pl.concat([numbers.select("id"), pl.DataFrame(rows), numbers.select("line")], how="horizontal"),
        pl.concat([numbers.select("id"), pl.DataFrame(planted)], how="horizontal"),
    )


def _conversation(rng: np.random.Generator) -> tuple[str, list[str]]:
    """A topic, and the prompts of each turn on it."""
    turns = int(rng.choice([1, *MORE_TURNS], p=[1 - sum(MORE_TURNS.values()), *MORE_TURNS.values()]))
    topic, act = rng.choice(TOPICS), rng.choice(ACTS)
    openings = [opening for kind in OPENING_PROMPTS.values() for opening in kind]
    context = CONTEXT.format(**{name: rng.choice(words) for name, words in WORDS.items()})
    opening = f"{rng.choice(openings)} {context}"
    follow_ups = rng.choice(FOLLOW_UPS, size=turns - 1, replace=False)
    return str(topic), [text.format(topic=topic, act=act) for text in (opening, *follow_ups)]


def _battle(rng: np.random.Generator, topic: str, prompts: Sequence[str]) -> tuple[dict, dict]:
    """One row of the file without its numbers, and what was planted in it."""
    models = rng.choice(list(MODELS), size=2, replace=False)
    on_topic, adapts = ([bool(rng.random() < MODELS[model][trait]) for model in models] for trait in range(2))
    answers = [_answers(rng, topic, len(prompts), *traits) for traits in zip(on_topic, adapts, strict=True)]
    encoded = [json.dumps(texts) for texts in answers]
    oddity = rng.random()
    if oddity < EMPTY_SHARE:
        side = int(rng.integers(2))
        encoded[side] = str(rng.choice(EMPTY_ANSWERS))
        on_topic[side] = adapts[side] = False
        empty, other, tie = AGAINST_EMPTY
        chances = [empty, other, tie] if side == 0 else [other, empty, tie]
    elif oddity < EMPTY_SHARE + EQUAL_SHARE:
        encoded[1], on_topic[1], adapts[1] = encoded[0], on_topic[0], adapts[0]
        chances = list(IF_EQUAL)
    else:
        length_a, length_b = (sum(map(len, texts)) for texts in answers)
        lead = (
            ON_TOPIC * (on_topic[0] - on_topic[1])
            + ADAPTS * (adapts[0] - adapts[1])
            + LONGER * np.sign(length_a - length_b)
            + FIRST_SHOWN
        )
        weights = np.array([np.exp(lead / 2), np.exp(-lead / 2), TIES])
        chances = list(weights / weights.sum())
    winner = rng.choice(3, p=chances)
    row = {
        "model_a": str(models[0]),
        "model_b": str(models[1]),
        "prompt": json.dumps(list(prompts)),
        "response_a": encoded[0],
        "response_b": encoded[1],
        **{f"winner_{who}": int(winner == place) for place, who in enumerate(("model_a", "model_b", "tie"))},
    }
    planted = {
        "on_topic_a": on_topic[0],
        "on_topic_b": on_topic[1],
        "adapts_a": adapts[0],
        "adapts_b": adapts[1],
        **dict(zip(("a", "b", "tie"), map(float, chances), strict=True)),
    }
    return row, planted


def _answers(rng: np.random.Generator, asked: str, turns: int, on_topic: bool, adapts: bool) -> list[str]:
    """A model's answer to each turn: on the topic that was asked about or on another one; it adapts in one sentence."""
    topic = asked if on_topic else rng.choice([other for other in TOPICS if other != asked])
    act = rng.choice(ACTS)
    texts = []
    for _ in range(turns):
        sentences = rng.choice(ON_A_TOPIC, size=rng.choice(SENTENCES), replace=False)
        if adapts:
            sentences[rng.integers(len(sentences))] = rng.choice(said.ADAPTS)
        texts.append(" ".join(sentences).format(topic=topic, act=act))
    return texts
