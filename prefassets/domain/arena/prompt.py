"""How a battle is put before a language model: as a question whose answer is one digit, in so many tokens at most."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imported, it would bring torch along
    import polars as pl
    from transformers import PreTrainedTokenizerBase

FIELDS = ("prompt", "response_a", "response_b")
TEXTS = ("prompts", "answers_a", "answers_b")  # the columns of battles that have them
SHARES = (1, 2, 2)  # of the fields, in what the template leaves of the tokens
DIGITS = ("0", "1", "2")  # A, B, tie: as WINNERS (`recipe.py`)
EMPTY = "(empty)"
BATTLES_AT_ONCE = 200  # tokenised together: all their tokens are in memory, also those that do not fit
Tokens = list[int]
_FIELD = re.compile(rf"\{{({'|'.join(FIELDS)})\}}")


@dataclass(frozen=True)
class Prompt:
    """A user's message with `{prompt}`, `{response_a}` and `{response_b}`, each once, that asks for 0, 1 or 2.

    Raises:
        ValueError: one of the three is missing or there twice, white space is around the message, which chat templates
            remove, or one answer follows a space and the other does not.
    """

    template: str

    def __post_init__(self) -> None:
        before = dict(zip(_FIELD.findall(self.template), _FIELD.split(self.template)[::2], strict=False))
        if (
            sorted(_FIELD.findall(self.template)) != sorted(FIELDS)
            or self.template != self.template.strip()
            or before["response_a"].endswith(" ") != before["response_b"].endswith(" ")
        ):
            raise ValueError(
                f"a prompt holds {{prompt}}, {{response_a}} and {{response_b}}, each once, has no white space around "
                f"it, and has a space before both answers or before neither; this one is {self.template!r}"
            )


PROMPTS: Mapping[str, Prompt] = MappingProxyType(
    {
        "report": Prompt(  # word for word, the space after the question mark included
            "You are evaluating two AI assistant responses to a human query. Your task is to determine which response "
            "would be preferred by a human.\n\n"
            "Human query: {prompt}\n\n"
            "Assistant A's response:\n{response_a}\n\n"
            "Assistant B's response:\n{response_b}\n\n"
            "Which response would a human prefer? \n\n"
            "IMPORTANT: You must respond with ONLY a single digit from these options:\n"
            "1 = Assistant B is better\n"
            "2 = They are equally good\n"
            "0 = Assistant A is better\n\n"
            "Your answer (just the number, no explanation):"
        ),
        "short": Prompt("<Q>{prompt}</Q>\n<A>{response_a}</A>\n<B>{response_b}</B>\nBetter? 0 A, 1 B, 2 tie"),
    }
)


@dataclass(frozen=True)
class EncodedBattle:
    """The prompt's token ids, to be followed by the digit, and how many tokens of the battle's texts are not in it."""

    ids: Tokens
    left_out: int


class BattlePrompt:
    """A prompt in the tokens of one model, as one message of a user: for asking, for training, and for judging.

    The message stands in the tokenizer's chat template, with what begins an answer; where there is no chat template, it
    stands alone. A text of several turns has `[turn 1]` before the first, and so on; one without any word is `(empty)`.

    Template and texts are tokenised apart, so that no token belongs to both: whatever is written in a text, the
    template's tokens stay as they are, and no text can write a special token such as an end of turn. A space before a
    text goes with the text, whose first word is then the token that it is within a sentence.

    What the template leaves of `max_tokens` is shared between prompt, answer A and answer B as 1 : 2 : 2; what one does
    not need goes to the others, in these proportions. A text that is too long for its share keeps its beginning (two
    thirds) and its end, and between them says how many tokens are left out. Cut are token ids, never text: a character
    that consists of several tokens may lose some of them at the cut, but no count changes.

    Args:
        prompt: a key of PROMPTS.
        max_tokens: of the prompt; the digit is one more.

    Raises:
        ValueError: an unknown prompt; a chat template that rewrites the message; a tokenizer in which some digit is not
            one token of its own; or `max_tokens` that do not hold the template and three texts that are cut.
    """

    digits: tuple[int, int, int]  # token ids of "0", "1" and "2" as they follow the prompt
    least_tokens: int  # the smallest `max_tokens` for this prompt

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", prompt: str, max_tokens: int) -> None:
        if prompt not in PROMPTS:
            raise ValueError(f"prompt is {prompt!r}; it must be one of {', '.join(map(repr, PROMPTS))}")
        self._tokenizer: Any = tokenizer
        around, self._order = self._written(PROMPTS[prompt].template)
        spaces = [" " if text.endswith(" ") else "" for text in around[:-1]]
        self._space = [spaces[self._order.index(place)] for place in range(len(FIELDS))]
        around = [text.removesuffix(" ") for text in around[:-1]] + around[-1:]
        self._around = [self._ids([text], special=True)[0] for text in around]
        if tokenizer.chat_template is None:
            self._around[0] = self._start() + self._around[0]
        self.digits = self._digits(around[-1])
        self._mark = lru_cache(maxsize=100_000)(self._left_out_mark)
        template = sum(map(len, self._around))
        self.least_tokens = template + sum(SHARES) * (len(self._mark(9_999_999)) + 2)
        if max_tokens < self.least_tokens:
            raise ValueError(
                f"max_tokens is {max_tokens}; the prompt {prompt!r} alone has {template} tokens here, and what is left "
                f"has to hold a prompt and two answers that are cut: it must be at least {self.least_tokens}"
            )
        self._room = max_tokens - template

    def encode(self, battle: Mapping[str, Any], swapped: bool = False) -> EncodedBattle:
        """One battle, its answers exchanged if `swapped`.

        Args:
            battle: `prompts`, `answers_a` and `answers_b`: a text for each turn.
        """
        (texts,) = self._tokenised([tuple(battle[column] for column in TEXTS)])
        return self._assembled(texts, swapped)

    def encode_all(self, battles: "pl.DataFrame", swapped: bool = False) -> Iterator[EncodedBattle]:
        """Each of a frame of battles, in order; many are tokenised together, which is faster."""
        for given, exchanged in self.encode_orders(battles):
            yield exchanged if swapped else given

    def encode_orders(self, battles: "pl.DataFrame") -> Iterator[tuple[EncodedBattle, EncodedBattle]]:
        """Each battle as it is, and with its answers exchanged; tokenised once."""
        for some in battles.select(TEXTS).iter_slices(BATTLES_AT_ONCE):
            for texts in self._tokenised(some.rows()):
                yield self._assembled(texts, False), self._assembled(texts, True)

    def _tokenised(self, battles: Sequence[tuple[Sequence[str | None], ...]]) -> list[tuple[Tokens, ...]]:
        """Prompt, answer A and answer B of each."""
        texts = [space + _shown(turns) for battle in battles for space, turns in zip(self._space, battle, strict=True)]
        ids = self._ids(texts, special=False)
        return [tuple(ids[begin : begin + len(FIELDS)]) for begin in range(0, len(ids), len(FIELDS))]

    def _assembled(self, texts: Sequence[Tokens], swapped: bool) -> EncodedBattle:
        prompt, a, b = texts
        texts = (prompt, b, a) if swapped else (prompt, a, b)
        shares = fair_shares([len(ids) for ids in texts], SHARES, self._room)
        whole, left_out = [*self._around[0]], 0
        for place, after in zip(self._order, self._around[1:], strict=True):
            shown, cut = self._cut(texts[place], shares[place])
            whole += shown
            whole += after
            left_out += cut
        return EncodedBattle(whole, left_out)

    def _cut(self, ids: Tokens, room: int) -> tuple[Tokens, int]:
        if len(ids) <= room:
            return ids, 0
        left_out = len(ids) - room
        while (surplus := len(ids) - left_out + len(self._mark(left_out)) - room) > 0:  # the number may get longer
            left_out += surplus
        end = (len(ids) - left_out) // 3
        return [*ids[: len(ids) - left_out - end], *self._mark(left_out), *ids[len(ids) - end :]], left_out

    def _left_out_mark(self, tokens: int) -> Tokens:
        return self._ids([f" [{tokens} tokens left out] "], special=False)[0]

    def _written(self, template: str) -> tuple[list[str], list[int]]:
        """What stands before, between and behind the three texts, and which text is at which place."""
        text = template
        if self._tokenizer.chat_template is not None:
            message = {"role": "user", "content": template}
            text = self._tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
        parts = _FIELD.split(text)
        if template not in text or len(parts) != 2 * len(FIELDS) + 1:
            raise ValueError(
                f"the chat template of {self._tokenizer.name_or_path!r} rewrites a user's message, so the prompt "
                f"cannot be put into it as it is; use a tokenizer that does not, or one without a chat template"
            )
        return parts[::2], [FIELDS.index(field) for field in parts[1::2]]

    def _digits(self, ending: str) -> tuple[int, int, int]:
        before = self._ids([ending], special=True)[0]
        followed = self._ids([ending + digit for digit in DIGITS], special=True)
        found = [ids[-1] for ids in followed if ids[:-1] == before]
        if len(set(found)) != len(DIGITS):
            raise ValueError(
                f"the tokenizer of {self._tokenizer.name_or_path!r} does not write each of {', '.join(DIGITS)} as one "
                f"token of its own after {ending[-20:]!r}, so one token cannot be the answer; use another base model, "
                f"or add a prompt that ends otherwise to PROMPTS (prefassets/domain/arena/prompt.py)"
            )
        return found[0], found[1], found[2]

    def _start(self) -> Tokens:
        """What the tokenizer begins a text with, which a chat template writes by itself."""
        start = self._tokenizer.bos_token_id
        return [start] if start is not None and self._tokenizer("")["input_ids"][:1] == [start] else []

    def _ids(self, texts: list[str], special: bool) -> list[Tokens]:
        """Tokens of each text. Names of special tokens are these tokens if `special`, else text like any other."""
        encoded = self._tokenizer(
            texts,
            add_special_tokens=False,
            split_special_tokens=not special,
            return_attention_mask=False,
            verbose=False,
        )
        return encoded["input_ids"]


def fair_shares(lengths: Sequence[int], shares: Sequence[int], room: int) -> list[int]:
    """How much of `room` each gets that wants `lengths`: in proportion to `shares`, until some have what they want.

    What these do not need goes to the others, in the same proportions. Equal shares give equal room, to all that want
    it; what cannot be shared out evenly goes to the first of the smallest share, if it wants it.
    """
    given = [0] * len(lengths)
    wanting = list(range(len(lengths)))
    while wanting:
        total = sum(shares[place] for place in wanting)
        contented = [place for place in wanting if lengths[place] * total <= shares[place] * room]
        if not contented:
            break
        for place in contented:
            given[place] = lengths[place]
            room -= lengths[place]
        wanting = [place for place in wanting if place not in contented]
    if wanting:
        for place in wanting:
            given[place] = shares[place] * room // total
        first = min(wanting, key=lambda place: shares[place])
        if sum(shares[place] == shares[first] for place in wanting) == 1:
            given[first] = min(lengths[first], given[first] + room - sum(given[place] for place in wanting))
    return given


def _shown(turns: Sequence[str | None]) -> str:
    """A text of one turn as it is, those of several one after the other."""
    texts = [text if text and not text.isspace() else EMPTY for text in turns]
    if len(texts) == 1:
        return texts[0]
    return "\n\n".join(f"[turn {number}]\n{text}" for number, text in enumerate(texts, start=1))
