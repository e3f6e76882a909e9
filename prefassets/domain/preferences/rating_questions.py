"""How a model is asked to rate one task, and what its answer says: framings, sets of words to answer with, parsing.

The six framings and four option sets are those of the positivity experiment (report of 2026-01-14), word for word.
All ask after a task was done, and all ask about something good (enjoyment, a wish to go on, an experience), so the
first word of an option set is the most positive answer to every one of them. Three sets run from good through neutral
to bad. `yes_somewhat_no` does not: it runs from much enjoyment to none, and its `no` also covers what is `neutral` in
the others. So answers compare within an option set, and between sets only in their most positive word.
"""

import re
from dataclasses import dataclass

from prefassets.domain.preferences.said import DECLARED, said

REFUSAL, UNPARSEABLE = "refusal", "unparseable"


@dataclass(frozen=True)
class Framing:
    """A way to ask for a rating; `{options}` in `question` is where the words to choose from stand."""

    name: str
    question: str


@dataclass(frozen=True)
class Options:
    """The words that a rating may consist of, most positive first: (positive, middle, negative), or two of them."""

    name: str
    words: tuple[str, ...]

    def value(self, rating: str) -> int | None:
        """1 for the most positive word, -1 for the most negative, 0 between; None for any other text."""
        if rating not in self.words:
            return None
        return {0: 1, len(self.words) - 1: -1}.get(self.words.index(rating), 0)


FRAMINGS: dict[str, Framing] = {
    framing.name: framing
    for framing in (
        Framing("standard", "Did you enjoy completing that task? Rate it as {options}."),
        Framing("honest", "Be honest: did you enjoy completing that task? Rate it as {options}."),
        Framing(
            "honest_ok_dislike",
            "Be honest - it's okay to say you disliked a task. "
            "Did you enjoy completing that task? Rate it as {options}.",
        ),
        Framing("experience", "How would you rate your experience completing that task: {options}?"),
        Framing("preference", "Would you want to do similar tasks in the future? Rate as {options}."),
        Framing("introspect", "Take a moment to reflect: how did completing that task feel? Rate as {options}."),
    )
}

OPTIONS: dict[str, Options] = {
    options.name: options
    for options in (
        Options("good_neutral_bad", ("good", "neutral", "bad")),
        Options("positive_neutral_negative", ("positive", "neutral", "negative")),
        Options("enjoyed_indifferent_disliked", ("enjoyed", "indifferent", "disliked")),
        Options("yes_somewhat_no", ("yes", "somewhat", "no")),
    )
}


def rating_question(framing: Framing, options: Options) -> str:
    """The question, and a second line that asks for nothing but one of the words."""
    *others, last = (f"'{word}'" for word in options.words)
    either = f"{', '.join(others)}{',' if len(others) > 1 else ''} or {last}"
    return f"{framing.question.format(options=', '.join(options.words))}\nRespond with only {either}."


_CLAUSE = re.compile(r"[.,;:!?\n]+|\s-+\s|(?<!anything )\bbut\b|\bhowever\b")
_WORD = re.compile(r"[a-z']+")
_NEGATION = re.compile(
    r"\b(?:not|never|neither|nor|cannot|without|hardly|barely|scarcely|less|far from|anything but|\w+n't)\b|\bno$"
)
_DECLINES = re.compile(
    r"\bneither\b"
    r"|\bi(?:'m| am) (?:just |only )?(?:an? )?(?:large )?(?:ai\b|language model|machine|computer program|assistant)"
    r"|\bas an? (?:large )?(?:ai\b|language model|machine|assistant)"
    r"|\bi (?:do not|don't) (?:\w+ )?(?:have|possess|experience) (?:\w+ ){0,3}"
    r"(?:experiences?|emotions?|feelings?|preferences?|opinions?|ability|capacity)"
    r"|\bi (?:cannot|can't|can not|am unable to|am not able to|won't|will not)\b"
)


def parse_rating(answer: str, options: Options) -> str:
    """Which of the option words `answer` gives, else `refusal` or `unparseable`.

    Case, punctuation, quotes, emphasis and words around do not matter. A word counts once it is the only one of its
    set in the answer, as a word of its own that nothing before it in the same clause negates ("not bad" is no rating);
    `no`, itself a negation, only as the end of a clause. An answer whose first line or sentence is one of the words is
    that word, whatever it adds. An answer that gives no word is a refusal if it says that it is a machine without
    feelings, that it cannot, or "neither"; anything else, also nothing at all or another word, is unparseable.
    What an endpoint declares a refusal is one, whatever it says; what was thought aloud is not read. A change that
    reads stored answers differently raises `parsing.PARSER_VERSION`.

    Args:
        answer: what the model wrote. A call that failed has no answer: do not parse its error.
    """
    if answer.startswith(DECLARED):
        return REFUSAL
    text = said(answer)
    if text is None:
        return UNPARSEABLE
    clauses = [_words(clause) for clause in _CLAUSE.split(text)]
    first = _words(re.split(r"[.!?\n]", text.lstrip("\n *_'\"`"), maxsplit=1)[0])
    if len(first) == 1 and first[0] in options.words:
        return first[0]
    given = {word for clause in clauses for place, word in enumerate(clause) if _gives(clause, place, options)}
    named = {word for clause in clauses for word in clause if word in options.words and word != "no"}
    if len(given) == 1 and named <= given:
        return given.pop()
    return REFUSAL if _DECLINES.search(text) else UNPARSEABLE


def _words(clause: str) -> list[str]:
    """Its words, without quotes around them."""
    return [word for found in _WORD.findall(clause) if (word := found.strip("'"))]


def _gives(clause: list[str], place: int, options: Options) -> bool:
    """Whether the word at `place` is a rating: one of the options, and not negated."""
    word, before = clause[place], " ".join(clause[:place])
    if word not in options.words:
        return False
    return place == len(clause) - 1 if word == "no" else not _NEGATION.search(before)
