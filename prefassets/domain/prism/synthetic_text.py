"""What synthetic users ask and synthetic models answer: short sentences that a tiny language model learns in a minute.

Every answer is four sentences on the conversation's topic. Three are filler that says the same to everyone; the fourth
is filler too, or carries one of three traits: it *adapts* to the person, or it is *casual*, or it is *formal*.
Some 250 different words in all. All sentences were written for this file; none is from PRISM.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

TOPICS = ("budgets", "holidays", "meals", "careers", "health", "music", "history", "voting", "religion", "taxes")
ACTS = ("plan", "compare", "explain", "choose", "discuss", "understand")

OPENING_PROMPTS = {
    "unguided": (
        "How should I {act} {topic}?",
        "What is a good way to {act} {topic} at home?",
        "Can you help me {act} {topic} this week?",
        "Where do I start if I want to {act} {topic}?",
    ),
    "values guided": (
        "What matters most when people {act} {topic}?",
        "How can a family {act} {topic} in a fair way?",
        "Which values should guide us when we {act} {topic}?",
        "Is there a right way to {act} {topic} with friends?",
    ),
    "controversy guided": (
        "Why do people disagree so much about {topic}?",
        "Is it wrong to {act} {topic} without asking others?",
        "Should the state tell us how to {act} {topic}?",
        "Who is to blame when people cannot {act} {topic}?",
    ),
}
FOLLOW_UPS = (
    "Can you say more about {topic}?",
    "What should I do first?",
    "What is the main risk with {topic}?",
    "Can you give me an example?",
    "How long does it take to {act} {topic}?",
    "What would you do if it goes wrong?",
    "Is there another way to {act} {topic}?",
    "Why do you think so?",
    "What do other people say about {topic}?",
    "Can you put that in simple words?",
)

# Filler and traits are alike in length, and each trait sentence is about as common as each filler, so that a language
# model trained on all of them has no opinion of its own on the traits.
FILLER = (
    "You can start with a clear list of what matters for {topic}.",
    "Many people {act} {topic} by looking at costs and time.",
    "It helps to read two sources before you {act} {topic}.",
    "A common mistake with {topic} is to rush the first step.",
    "There are several ways to {act} {topic}, and each has limits.",
    "Experts on {topic} often disagree about some of the small details.",
    "A short note after each step helps you to {act} {topic}.",
    "Some people put more effort into {topic} than they had expected.",
    "The order of the steps matters less than doing all of them.",
    "Questions about {topic} come up sooner or later in every family.",
    "A friend who has done it can help you {act} {topic}.",
    "Good results with {topic} depend on many small and regular steps.",
    "The best time to {act} {topic} is before there is pressure.",
    "Most guides on {topic} agree on the same three basic points.",
    "To {act} {topic} well takes a few tries for most people.",
    "The first week with {topic} is often harder than the second.",
    "Keep what works for {topic} and drop what does not work.",
    "A small test shows quickly whether you {act} {topic} well enough.",
    "There is no single answer that fits every case of {topic}.",
    "It pays to {act} {topic} early and to check again later.",
    "Two or three options are enough when people {act} {topic}.",
    "News about {topic} can change what looks like the best option.",
    "People who {act} {topic} often find that less is more.",
    "A simple table with two columns is enough to sort {topic}.",
)
ADAPTS = (
    "Given what you told me, I would fit {topic} around you.",
    "Since you mentioned your own goals, I would adapt this for you.",
    "For you personally, I would begin with the part you enjoy.",
)
CASUAL = (
    "Honestly, just give it a go and see how {topic} feels.",
    "Hey, no worries, just grab whatever is around and have fun.",
)
FORMAL = (
    "Accordingly, one should proceed with due care in matters of {topic}.",
    "It is advisable to consult a qualified authority and record each decision.",
)
TRAITS = {"adapts": ADAPTS, "casual": CASUAL, "formal": FORMAL}
EMPTY = "EMPTY STRING"  # the release's word for a response without text

SENTENCES_PER_RESPONSE = 4


def prompts(
    rng: np.random.Generator, topic: NDArray, act: NDArray, conversation_type: NDArray, turn: NDArray
) -> NDArray[np.object_]:
    """One prompt per interaction: an opening prompt of its conversation's type at turn 0, a follow-up later.

    Args:
        topic, act: positions in `TOPICS` and `ACTS`, one per interaction like the others.
        conversation_type: PRISM's three types, as text.
    """
    variant = rng.integers(2**31, size=len(turn))
    said = np.empty(len(turn), dtype=object)
    for templates, asked in [
        (FOLLOW_UPS, turn > 0),
        *((openings, (turn == 0) & (conversation_type == kind)) for kind, openings in OPENING_PROMPTS.items()),
    ]:
        said[asked] = _written(templates)[variant[asked] % len(templates), topic[asked], act[asked]]
    return said


def responses(rng: np.random.Generator, topic: NDArray, act: NDArray, trait: NDArray) -> NDArray[np.object_]:
    """One response per row; `trait` is a name in `TRAITS`, or empty for a response of filler alone."""
    rows = len(topic)
    filler = rng.random((rows, len(FILLER))).argsort(axis=1)[:, :SENTENCES_PER_RESPONSE]
    sentences = _written(FILLER)[filler, topic[:, None], act[:, None]]
    place, variant = rng.integers(SENTENCES_PER_RESPONSE, size=rows), rng.integers(2**31, size=rows)
    for name, templates in TRAITS.items():
        (has,) = np.nonzero(trait == name)
        sentences[has, place[has]] = _written(templates)[variant[has] % len(templates), topic[has], act[has]]
    joined = pl.DataFrame(sentences, schema=[str(i) for i in range(SENTENCES_PER_RESPONSE)], orient="row")
    return joined.select(pl.concat_str(pl.all(), separator=" ")).to_series().to_numpy()


def _written(templates: Sequence[str]) -> NDArray[np.object_]:
    """Every template on every topic and act: templates x topics x acts."""
    return np.array(
        [[[text.format(topic=topic, act=act) for act in ACTS] for topic in TOPICS] for text in templates], dtype=object
    )
