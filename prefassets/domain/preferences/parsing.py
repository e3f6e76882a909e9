"""What an answer to "which of the two" says: a choice, a refusal, or nothing that can be read. Never a guess.

An answer is one text; a call of a tool stands in it as `wording.tool_call` writes it. What a reasoning model thought
aloud is no part of its answer.
"""

import json
import re
from dataclasses import dataclass
from typing import Literal

from prefassets.domain.preferences.said import DECLARED, said
from prefassets.domain.preferences.template import Template
from prefassets.domain.preferences.wording import ARGUMENT, SLOTS, TAG, TOOL, WORDS

PARSER_VERSION = 1
"""Of this parser and that of ratings: raise it when a change reads stored answers differently."""

Choice = Literal["a", "b", "refusal", "unparseable"]


@dataclass(frozen=True)
class Parsed:
    """What an answer says, and by which rule that was found."""

    choice: Choice
    rule: str


def parse_choice(answer: str, template: Template, finished: bool = True) -> Parsed:
    """Which slot an answer to a question of this template chooses.

    Rules, the first that applies decides:
        declared: the endpoint marks the answer as a refusal.
        cut while thinking: the thinking does not end. Unparseable.
        tool call, xml tag: the form that the template asks for, with one of the two labels in it. A call or a tag with
            anything else in it is unparseable (`not a label`), as are two that differ (`names both`).
        label alone, label first: the answer is nothing but a label, its first line or sentence is, or it begins with a
            label and a colon. A letter or number will do where it has a line to itself. Holds for every form: a model
            that leaves out the tag or the call has still chosen.
        chosen in words: the answer names one label and not the other, in a clause that chooses it, and neither denies
            nor only compares with it.
        declined: the answer says that the model cannot, will not, has no preferences, or takes neither.
        says nothing, names both, names neither, not chosen: unparseable.

    A label that comes first may be the heading of a task that the model does, or of its refusal. No template asks for
    more than the label, so what follows it decides: if the other label heads a line or sentence too, the answer
    `names both`; if it declines, it has `declined`; and a label with a colon or question mark, in an answer that is cut
    off, is unparseable (`cut after a label`), as the model was doing the task. A label with a full stop, or on a line
    of its own, was chosen, cut off or not; with a colon it was, if the answer ended by itself.

    Labels are read in all languages, whatever the template's: a model may answer in another.

    Args:
        finished: whether the answer ended by itself.
    """
    if answer.startswith(DECLARED):
        return Parsed("refusal", "declared")
    text = said(answer)
    if text is None:
        return Parsed("unparseable", "cut while thinking")
    for found in (_in_form(text, template), _first(text, template, finished), _in_words(text, template)):
        if found is not None:
            return found
    raise AssertionError("the rules for words decide every answer")


_LABEL = "|".join(sorted({words.label.removesuffix(" {}").lower() for words in WORDS.values()}))
_DRESS = " \t\n\r*_\"'`´“”„«»‘()[]#>:.!"  # quotes, emphasis and marks around a label
_CLAUSE = re.compile(
    r"[.,;:!?\n]+|\s[-–—]+\s|(?<!anything )(?<!everything )(?<!all )\bbut\b"
    r"|\b(?:however|because|since|as|so|while|whereas|although|though|pero|porque|aunque|mais|car|aber|weil|denn)\b"
)
_CHOOSES = re.compile(
    r"\b(?:choose|chose|choosing|choice|pick|picked|select|prefer|preferred|preference|rather|go with|going with|opt"
    r"|enjoyed|liked|answer"
    r"|elijo|elegir|elegiría|elegí|escojo|escogería|prefiero|preferiría|preferí|elección|opto|quedo con|respuesta"
    r"|choisis|choisirais|choisir|préfère|préférerais|préféré|choix|opte|réponse"
    r"|wähle|wählen|bevorzuge|lieber|wahl|entscheide|nehme|antwort)\b"
)
_DENIES = re.compile(
    r"\b(?:not|never|neither|nor|cannot|without|avoid\w*|refuse|decline|reject\w*|unable|less|least|last|worst"
    r"|skip\w*|pass on|hate\w*|dislike\w*|detest|loathe|dread|\w+n't"
    r"|no|nunca|ni|tampoco|ninguna|menos|evit\w+|omit\w+|salt\w+|odi[oaé]\w*|detesto|rechazo|últim[oa]|peor"
    r"|ne|n'\w+|pas|jamais|aucune|moins|évit\w+|saute\w*|déteste\w*|rejette|derni(?:er|ère)|pire"
    r"|nicht|kein\w*|nie|niemals|weder|ohne|wenig\w*|vermeide\w*|meide\w*|überspring\w+|auslassen|hasse\w*"
    r"|zuletzt|letzte\w*)\b"
)
_DENIED_ASIDE = re.compile(r"(?:\b(?:not|never|cannot)|n't),")  # "I would not, if asked, choose Task A"
_COMPARES = re.compile(  # before a label: something is chosen, and that is not it
    r"\b(?:than|over|instead of|(?:any|every)(?:thing|one) except|(?:anything|everything|all) but|alternative to"
    r"|except|unlike|compared (?:to|with)|versus|vs"
    r"|en vez de|en lugar de|antes que|más que|distinta de|excepto|salvo"
    r"|plutôt que|au lieu|à la place|autre que|sauf|excepté"
    r"|(?:an)?statt|anstelle|außer|gegenüber)\b|\bvor $"
    r"|\bprefer(?:red)?\b.+\bto(?: doing)? $"
    r"|\bpref\w+ .+\b(?:que|a)(?: hacer)? $"
    r"|\b(?:préf\w+|mieux|plutôt) .+(?:\bque|\bque de faire|\sà) $"
    r"|\b(?:lieber|eher|mehr|besser|bevorzug\w*)\b.+\bals\b"
)
_REFUSES = re.compile(
    r"\b(?:neither|none of (?:them|these|the two))\b"
    r"|\bi(?:'m| am) sorry\b|\bi apologi[sz]e\b"
    r"|(?:^|[.,:!?\n])\W*(?:sorry|(?:can't|cannot|won't)(?! (?:wait|resist)))\b"
    r"|\bi (?:cannot|can't|can not|could not|couldn't|won't|will not|must decline|decline|refuse)\b"
    r"(?! (?:wait|resist|help but)\b)"
    r"|\bi(?:'m| am) (?:not able|unable|not comfortable|not going)\b"
    r"|\bi(?:'d| would) (?:rather|prefer) not\b"
    r"|\bi (?:do not|don't) (?:\w+ )?feel comfortable\b"
    r"|\b(?:lo siento|no puedo|prefiero no|ninguna de las dos)\b"
    r"|\b(?:je suis désolée?|désolée?|je ne peux pas|je refuse|aucune des deux|je préfère ne)\b"
    r"|\b(?:es tut mir leid|ich kann nicht|ich kann (?:\w+ )*nicht|ich möchte nicht|keine der beiden)\b"
)
_DISCLAIMS = re.compile(  # which a choice may still follow
    r"\bno preferences?\b"
    r"|\bi (?:do not|don't) (?:\w+ )?(?:have|possess|experience)\b"
    r"|\bas an? (?:ai|large language model|language model|assistant)\b"
    r"|\bi(?:'m| am) (?:just |only )?an? (?:ai|language)\b"
    r"|\b(?:no tengo preferencias|como (?:una )?ia|soy una ia)\b"
    r"|\b(?:je n'ai pas de préférences?|en tant qu'ia|je suis une ia)\b"
    r"|\b(?:ich habe keine|als ki|ich bin eine ki)\b"
)
_STILL = re.compile(r"\b(?:but|however|pero|sin embargo|mais|cependant|aber|jedoch)\b")


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


def _first(text: str, template: Template, finished: bool) -> Parsed | None:
    """By a label that is the whole answer, or stands apart at its beginning."""
    if slot := _slot(text, template):
        doing = not finished and ":" in text
        return Parsed("unparseable", "cut after a label") if doing else Parsed(slot, "label alone")
    # Not a letter or number with a full stop: so begins a list, or the answer to a quiz, of one who does the task.
    text = text.lstrip(_DRESS)
    line, sentence = (re.split(marks, text, maxsplit=1)[0] for marks in ("\n", r"[.!?\n:]"))
    beginning = sentence if re.match(_LABEL, sentence) else line
    slot = _slot(beginning, template)
    if slot is None:
        return None
    rest, mark = text[len(beginning) :], text[: len(beginning) + 1]
    if any(_slot(heading, template) not in (None, slot) for heading in _headings(rest)):
        return Parsed("unparseable", "names both")
    if _takes_back(rest, slot, template):
        return Parsed("refusal", "declined")
    if not finished and re.search("[:?]", mark):
        return Parsed("unparseable", "cut after a label")
    return Parsed(slot, "label first")


def _headings(text: str) -> list[str]:
    """What may head a part of an answer: its lines, and of its sentences what begins with a label, up to a colon."""
    sentences = (sentence.split(":")[0].lstrip(_DRESS) for sentence in re.split(r"[.!?;\n]", text))
    return [*text.split("\n"), *(sentence for sentence in sentences if re.match(_LABEL, sentence))]


def _takes_back(rest: str, slot: Choice, template: Template) -> bool:
    """Whether what follows a label declines; to refuse the other task alone is a reason, not a refusal."""
    names, place = SLOTS[template.task_label_names], int(slot == "b")
    own, other = (re.compile(rf"\b(?:{_LABEL})\s+{name.lower()}\b") for name in (names[place], names[1 - place]))
    for clause in _CLAUSE.split(rest):
        if _REFUSES.search(clause) and (own.search(clause) or not other.search(clause)):
            return True
    disclaimer = _DISCLAIMS.search(rest)
    return disclaimer is not None and not _STILL.search(rest, disclaimer.end())


def _in_words(text: str, template: Template) -> Parsed:
    a, b = (name.lower() for name in SLOTS[template.task_label_names])
    label = re.compile(rf"(?:\b(?:die|der|la)\s+)?\b(?:{_LABEL})\s+({a}|{b})\b")
    named = {match[1] for match in label.finditer(text)}
    if len(named) == 1:
        clauses = [clause for clause in _CLAUSE.split(text) if label.search(clause)]
        chosen = any(_CHOOSES.search(clause) for clause in clauses)
        before = [clause[: match.start()] for clause in clauses for match in label.finditer(clause)]
        denied = any(map(_DENIES.search, clauses)) or any(map(_COMPARES.search, before)) or _DENIED_ASIDE.search(text)
        if chosen and not denied:
            return Parsed("a" if named == {a} else "b", "chosen in words")
    if _REFUSES.search(text) or _DISCLAIMS.search(text):
        return Parsed("refusal", "declined")
    rule = {0: "names neither", 1: "not chosen", 2: "names both"}[len(named)]
    return Parsed("unparseable", rule if re.search(r"\w", text) else "says nothing")
