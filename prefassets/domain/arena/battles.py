"""Battles: which rows of a released file are some, what is left out, and which battles share a prompt."""

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import polars as pl

BATTLE_SCHEMA = pl.Schema(
    {
        "battle": pl.String(),
        "model_a": pl.String(),
        "model_b": pl.String(),
        "prompts": pl.List(pl.String()),
        "answers_a": pl.List(pl.String()),
        "answers_b": pl.List(pl.String()),
        "winner": pl.String(),
        "turns": pl.Int64(),
        "length_a": pl.Int64(),
        "length_b": pl.Int64(),
        "prompt_digest": pl.String(),
    }
)
DROPPED_SCHEMA = pl.Schema({"reason": pl.String(), "rows": pl.Int64(), "examples": pl.List(pl.String())})
WINNER_OF_COLUMN = {"winner_model_a": "A", "winner_model_b": "B", "winner_tie": "tie"}

NO_IDENTIFIER = "no identifier"
NOT_JSON = "not JSON"
NO_TEXTS = "no list of texts"
NO_TURN = "no turn"
OTHER_TURNS = "answers to more or fewer turns than there are"
NO_FLAG = "a winner that is neither 0 nor 1"
NO_WINNER = "no winner"
TWO_WINNERS = "two winners or three"
SEEN_BEFORE = "identifier of an earlier battle"
REASONS = (
    NO_IDENTIFIER,
    NOT_JSON,
    NO_TEXTS,
    NO_TURN,
    OTHER_TURNS,
    NO_FLAG,
    NO_WINNER,
    TWO_WINNERS,
    SEEN_BEFORE,
)
EXAMPLES = 5  # of each reason
SHOWN = 60  # characters of what was found
NOTHING = "nothing"

_FLAGS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}
_JSON = json.JSONDecoder(strict=False)  # a line break inside a text is no reason to lose a battle
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
_AT_ENDS = " .,;:!?\"'`“”‘’。、"  # NFKC has made one of these of "…", "！" and the like


@dataclass(frozen=True)
class UsableBattles:
    """Battles, with the columns of `BATTLE_SCHEMA`, and what was left out by reason, with those of `DROPPED_SCHEMA`."""

    battles: pl.DataFrame
    dropped: pl.DataFrame


class _Unusable(Exception):
    def __init__(self, reason: str, found: str) -> None:
        super().__init__(reason, found)
        self.reason, self.found = reason, found


def usable_battles(rows: pl.DataFrame) -> UsableBattles:
    """Parse and check rows of Chatbot Arena; every one is either a battle or counted in `dropped` for one reason.

    Empty answers and equal ones are answers: somebody said who won. A list of answers in which nothing stands, however
    long, has an empty answer to each turn, and null is empty text. Half of a surrogate pair (`"\\ud83d"`), which cannot
    be written as UTF-8, becomes U+FFFD.

    Args:
        rows: as `read_battles` gives them: `id`, `model_a`, `model_b`, `prompt`, `response_a`, `response_b` (JSON lists
            of a text or null per turn), `winner_model_a`, `winner_model_b`, `winner_tie` (one of them 1, the others 0),
            and `line`, the row's place in its file.

    Returns:
        Battles in the order of the rows. A row is dropped for the first reason of `REASONS` that holds; one whose
        identifier an earlier battle has is dropped, whatever else it says, but not if that row was dropped itself.

    Raises:
        ValueError: the rows have no winners at all.
    """
    if absent := [column for column in WINNER_OF_COLUMN if column not in rows.columns]:
        raise ValueError(f"the battles have no {', '.join(absent)}; `unjudged_battles` takes those without winners")
    return _usable(rows, judged=True)


def unjudged_battles(rows: pl.DataFrame) -> UsableBattles:
    """As `usable_battles`, of rows that nobody has judged yet: `winner` is empty, whatever the rows say.

    Args:
        rows: `id`, `prompt`, `response_a`, `response_b` and `line`. `model_a` and `model_b` are empty text where the
            rows do not have them.
    """
    return _usable(rows, judged=False)


def prompt_digest(prompt: str) -> str:
    """Twelve hexadecimal digits that are equal for prompts which differ only in how they are written.

    That is in Unicode's compatible forms (NFKC), case, white space, and punctuation and quotes at the ends.
    """
    words = " ".join(unicodedata.normalize("NFKC", prompt).casefold().split())
    normal = words.strip(_AT_ENDS) or words
    return blake2b(normal.encode(errors="replace"), digest_size=6).hexdigest()


def without_lone_surrogates(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair: UTF-8 has no bytes for those."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return _LONE_SURROGATE.sub("\ufffd", text)
    return text


def _usable(rows: pl.DataFrame, judged: bool) -> UsableBattles:
    battles: dict[str, list[Any]] = {column: [] for column in BATTLE_SCHEMA}
    line_of: dict[str, int] = {}
    found: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows.iter_rows(named=True):
        try:
            battle = _battle(row, judged)
            if battle["battle"] in line_of:
                raise _Unusable(SEEN_BEFORE, f"first in line {line_of[battle['battle']]}")
        except _Unusable as problem:
            found[problem.reason].append(f"{_cell(row['id'])}, line {row['line']}: {problem.found}")
            continue
        line_of[battle["battle"]] = row["line"]
        for column, values in battles.items():
            values.append(battle[column])
    dropped = [(reason, len(found[reason]), found[reason][:EXAMPLES]) for reason in REASONS if reason in found]
    return UsableBattles(
        pl.DataFrame(battles, schema=BATTLE_SCHEMA), pl.DataFrame(dropped, schema=DROPPED_SCHEMA, orient="row")
    )


def _battle(row: Mapping[str, Any], judged: bool) -> dict[str, Any]:
    if _cell(row["id"]) == NOTHING:
        raise _Unusable(NO_IDENTIFIER, f"model_a {_cell(row.get('model_a'))}, model_b {_cell(row.get('model_b'))}")
    texts = {column: _texts(column, row[column]) for column in ("prompt", "response_a", "response_b")}
    turns = len(texts["prompt"])
    if turns == 0:
        raise _Unusable(NO_TURN, f"prompt {_cell(row['prompt'])}")
    answers = (texts[column] for column in ("response_a", "response_b"))
    answers_a, answers_b = (found if any(found) else [""] * turns for found in answers)
    if not len(answers_a) == len(answers_b) == turns:
        raise _Unusable(OTHER_TURNS, ", ".join(f"{column} has {len(found)}" for column, found in texts.items()))
    return {
        "battle": str(row["id"]),
        "model_a": row.get("model_a") or "",
        "model_b": row.get("model_b") or "",
        "prompts": texts["prompt"],
        "answers_a": answers_a,
        "answers_b": answers_b,
        "winner": _winner(row) if judged else None,
        "turns": turns,
        "length_a": sum(map(len, answers_a)),
        "length_b": sum(map(len, answers_b)),
        "prompt_digest": prompt_digest(texts["prompt"][0]),
    }


def _texts(column: str, encoded: str | None) -> list[str]:
    """The texts of a JSON list, null as empty text; none of a cell without any."""
    if encoded is None or not encoded.strip():
        return []
    try:
        decoded = _JSON.decode(encoded)
    except json.JSONDecodeError as error:
        near = encoded[max(error.pos - SHOWN // 3, 0) :]
        raise _Unusable(NOT_JSON, f"{column}, {error.msg} at character {error.pos}, near {_shown(near)}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists in lists in lists
        raise _Unusable(NOT_JSON, f"{column}, {error}: {_shown(encoded)}") from error
    if decoded is None:
        return []
    if not isinstance(decoded, list) or not all(text is None or isinstance(text, str) for text in decoded):
        raise _Unusable(NO_TEXTS, f"{column} {_shown(encoded)}")
    return [without_lone_surrogates(text or "") for text in decoded]


def _winner(row: Mapping[str, Any]) -> str:
    said = {column: _FLAGS.get(str(row[column]).strip().lower()) for column in WINNER_OF_COLUMN}
    shown = ", ".join(f"{column} {_cell(row[column])}" for column in WINNER_OF_COLUMN)
    if None in said.values():
        raise _Unusable(NO_FLAG, shown)
    winners = [winner for column, winner in WINNER_OF_COLUMN.items() if said[column]]
    if not winners:
        raise _Unusable(NO_WINNER, shown)
    if len(winners) > 1:
        raise _Unusable(TWO_WINNERS, shown)
    return winners[0]


def _cell(value: object) -> str:
    return NOTHING if value is None or not str(value).strip() else _shown(str(value))


def _shown(text: str) -> str:
    """The beginning of a text, on one line."""
    text = without_lone_surrogates(" ".join(text[: 4 * SHOWN].split()))
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."
