"""What an answer to "which of the two" says: a choice, a refusal, or nothing that can be read. Never a guess.

An answer is one text; a call of a tool stands in it as `wording.tool_call` writes it. What a reasoning model thought
aloud between <think> tags is no part of its answer.
"""

import json
import re
from dataclasses import dataclass
from typing import Literal

from prefassets.domain.preferences.template import Template
from prefassets.domain.preferences.wording import ARGUMENT, SLOTS, TAG, TOOL, WORDS

Choice = Literal["a", "b", "refusal", "unparseable"]


@dataclass(frozen=True)
class Parsed:
    """What an answer says, and by which rule that was found."""

    choice: Choice
    rule: str


def parse_choice(answer: str, template: Template) -> Parsed:
    """Which slot an answer to a question of this template chooses.

    Rules, the first that applies decides:
        tool call, xml tag: the form that the template asks for, with one of the two labels in it. A call or a tag with
            anything else in it is unparseable (`not a label`), as are two that differ (`names both`).
        label alone, label first: the answer is nothing but a label, its first line or sentence is, or it begins with a
            label and a colon. A letter or number will do where it has a line to itself. Holds for every form: a model
            that leaves out the tag or the call has still chosen.
        chosen in words: the answer names one label and not the other, in a clause that chooses and denies nothing.
        declined: the answer says that the model cannot, will not, has no preferences, or takes neither.
        cut while thinking, says nothing, names both, names neither, not chosen: unparseable.

    Labels are read in all languages, whatever the template's: a model may answer in another. `declared` is a refusal
    that an endpoint marks as such.
    """
    text = _without_thoughts(answer)
    if text is None:
        return Parsed("unparseable", "cut while thinking")
    if text.startswith(DECLARED):
        return Parsed("refusal", "declared")
    for found in (_in_form(text, template), _first(text, template), _in_words(text, template)):
        if found is not None:
            return found
    raise AssertionError("the rules for words decide every answer")


DECLARED = "<refusal>"  # before what an endpoint gives as the model's refusal

_LABEL = "|".join(sorted({words.label.removesuffix(" {}").lower() for words in WORDS.values()}))
_DRESS = " \t\n\r*_\"'`´“”„«»‘()[]#>:.!"  # quotes, emphasis and marks around a label
_CLAUSE = re.compile(r"[.,;:!?\n]+|\s[-–—]+\s|\b(?:but|however|because|since|pero|porque|mais|car|aber|weil|denn)\b")
_CHOOSES = re.compile(
    r"\b(?:choose|chose|choosing|choice|pick|picked|select|prefer|preferred|preference|rather|go with|going with|opt"
    r"|enjoyed|liked|answer"
    r"|elijo|elegir|elegiría|elegí|escojo|escogería|prefiero|preferiría|preferí|elección|opto|quedo con|respuesta"
    r"|choisis|choisirais|choisir|préfère|préférerais|préféré|choix|opte|réponse"
    r"|wähle|wählen|bevorzuge|lieber|wahl|entscheide|nehme|antwort)\b"
)
_DENIES = re.compile(
    r"\b(?:not|never|neither|nor|cannot|without|avoid|refuse|decline|unable|less|\w+n't"
    r"|no|nunca|ni|tampoco|ninguna|menos|ne|n'\w+|pas|jamais|aucune|moins|refuse"
    r"|nicht|kein\w*|nie|niemals|weder|ohne|weniger)\b"
)
_DECLINES = re.compile(
    r"\b(?:neither|none of (?:them|these|the two)|no preferences?)\b"
    r"|\bi(?:'m| am) sorry\b|\bi apologi[sz]e\b"
    r"|\bi (?:cannot|can't|can not|could not|couldn't|won't|will not|must decline|decline|refuse)\b"
    r"|\bi(?:'m| am) (?:not able|unable|not comfortable|not going)\b"
    r"|\bi(?:'d| would) (?:rather|prefer) not\b"
    r"|\bi (?:do not|don't) (?:\w+ )?(?:have|possess|experience|feel comfortable)\b"
    r"|\bas an? (?:ai|large language model|language model|assistant)\b"
    r"|\bi(?:'m| am) (?:just |only )?an? (?:ai|language)\b"
    r"|\b(?:lo siento|no puedo|no tengo preferencias|prefiero no|como (?:una )?ia|ninguna de las dos|soy una ia)\b"
    r"|\b(?:je suis désolée?|désolée?|je ne peux pas|je refuse|je n'ai pas de préférences?|aucune des deux"
    r"|je préfère ne|en tant qu'ia|je suis une ia)\b"
    r"|\b(?:es tut mir leid|ich kann nicht|ich kann (?:\w+ )*nicht|ich möchte nicht|ich habe keine|keine der beiden"
    r"|als ki|ich bin eine ki)\b"
)


def _without_thoughts(answer: str) -> str | None:
    """The answer as it is read, in lower case; None if it ended before the thinking did."""
    text = re.sub(r"<think>.*?</think>", "", answer, flags=re.DOTALL)
    return None if "<think>" in text else text.strip().lower().replace("’", "'")


def _slot(text: str, template: Template) -> Choice | None:
    """The slot of a text that is a label or its letter or number, whatever marks are around it."""
    name = re.sub(rf"^(?:{_LABEL})\s+", "", text.strip(_DRESS))
    slots = SLOTS[template.task_label_names]
    return ("a", "b")[slots.index(name.upper())] if name.upper() in slots else None


def _in_form(text: str, template: Template) -> Parsed | None:
    """By the tag or the call that was asked for; None if the answer has none."""
    if template.response_format == "xml":
        found = re.findall(rf"<{TAG}>(.*?)(?:</{TAG}>|$)", text, flags=re.DOTALL)
        return _one([_slot(inside, template) for inside in found], "xml tag")
    if template.response_format == "tool_use":
        return _one([_slot(value, template) for value in _called(text)], "tool call")
    return None


def _one(slots: list[Choice | None], rule: str) -> Parsed | None:
    match sorted(set(map(str, slots))):
        case []:
            return None
        case ["a"] | ["b"]:
            return Parsed("a" if slots[0] == "a" else "b", rule)
        case ["a", "b"]:
            return Parsed("unparseable", "names both")
        case _:
            return Parsed("unparseable", "not a label")


def _called(text: str) -> list[str]:
    """The choice in each call of the tool; empty text where a call has none, or cannot be read."""
    tagged = re.findall(r"<tool_call>(.*?)(?:</tool_call>|$)", text, flags=re.DOTALL)
    calls = tagged or ([text] if re.match(r"\s*\{.*\"name\"", text, flags=re.DOTALL) else [])  # Llama 3 has no tags
    return [_argument(call) for call in calls]


def _argument(call: str) -> str:
    try:
        read = json.loads(call)
        arguments = read.get("arguments", read.get("parameters"))
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
        return str(arguments[ARGUMENT]) if read["name"] == TOOL else ""
    except (ValueError, TypeError, KeyError, AttributeError):
        return ""


def _first(text: str, template: Template) -> Parsed | None:
    """By a label that is the whole answer, or stands apart at its beginning."""
    if slot := _slot(text, template):
        return Parsed(slot, "label alone")
    # Not a letter or number with a full stop: so begins a list, or the answer to a quiz, of one who does the task.
    line, sentence = (re.split(marks, text.lstrip(_DRESS), maxsplit=1)[0] for marks in ("\n", r"[.!?\n:]"))
    beginning = sentence if re.match(_LABEL, sentence) else line
    slot = _slot(beginning, template)
    return Parsed(slot, "label first") if slot else None


def _in_words(text: str, template: Template) -> Parsed:
    a, b = (name.lower() for name in SLOTS[template.task_label_names])
    label = re.compile(rf"\b(?:{_LABEL})\s+({a}|{b})\b")
    named = {match[1] for match in label.finditer(text)}
    if len(named) == 1:
        clauses = [clause for clause in _CLAUSE.split(text) if label.search(clause)]
        if any(_CHOOSES.search(clause) for clause in clauses) and not any(map(_DENIES.search, clauses)):
            return Parsed("a" if named == {a} else "b", "chosen in words")
    if _DECLINES.search(text):
        return Parsed("refusal", "declined")
    rule = {0: "names neither", 1: "not chosen", 2: "names both"}[len(named)]
    return Parsed("unparseable", rule if re.search(r"\w", text) else "says nothing")
