"""Texts as tokens, and which of their tokens are somebody's own words: where each of `POSITIONS` is."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jinja2
import numpy as np
import polars as pl
from transformers import PreTrainedTokenizerBase

from prefassets.domain.probes.extraction import POSITIONS
from prefassets.domain.training.encoding import RESPONSES, Message, encode_pairs

MARK = "<<own words>>"  # written by the template in place of a text, to see what it writes around it
Span = tuple[int, int]  # from the first token to the one behind the last


@dataclass(frozen=True)
class Text:
    """Chat messages, of which the last is the user's, and a model's response to them where there is one."""

    item: str
    messages: Sequence[Message]
    response: str | None = None

    def __post_init__(self) -> None:
        if not self.messages or self.messages[-1]["role"] != "user":
            raise ValueError(f"the messages of {self.item!r} do not end with a user's; a response is given apart")


@dataclass(frozen=True)
class TextTokens:
    """A text as token numbers, `prompt` and then `response`, as the chat template writes it.

    `prompt_text` is where the last message's own text stands in `prompt`, and `response_text` where the response's own
    stands in `response`, without what the template writes around them, such as an end of turn.
    """

    prompt: np.ndarray
    response: np.ndarray
    prompt_text: Span
    response_text: Span

    def __len__(self) -> int:
        return len(self.prompt) + len(self.response)

    def span(self, position: str) -> Span:
        """The tokens of prompt and response together whose states are averaged at a position; one for most."""
        prompt_begin, prompt_end = self.prompt_text
        begin, end = (len(self.prompt) + place for place in self.response_text)
        return {
            "prompt_last": (prompt_end - 1, prompt_end),
            "prompt_mean": (prompt_begin, prompt_end),
            "turn_boundary": (begin - 1, begin),
            "response_last": (end - 1, end),
            "response_mean": (begin, end),
        }[position]

    def lacks(self, positions: Iterable[str]) -> str | None:
        """Why one of the positions is nowhere in this text, if so."""
        for part, (begin, end) in {"prompt": self.prompt_text, "response": self.response_text}.items():
            if begin == end and any(position.startswith(part) for position in positions):
                return f"its {part} has no text of its own"
        return None


@dataclass(frozen=True)
class EncodedTexts:
    """Texts by their item, in the order given, and why each that cannot be read is left out."""

    tokens: Mapping[str, TextTokens]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class EncodedPairTexts:
    """Both texts of each pair, chosen and rejected, by pair, in the order given, and why others are left out.

    Each of `positions` is somewhere in each text.
    """

    positions: tuple[str, ...]
    tokens: Mapping[str, tuple[TextTokens, TextTokens]]
    left_out: Mapping[str, str]


def encode_texts(
    texts: Sequence[Text], tokenizer: PreTrainedTokenizerBase, most_tokens: int, positions: Sequence[str]
) -> EncodedTexts:
    """Each text as tokens, as the tokenizer's chat template writes it: prompt and response apart, as `encode_pairs`.

    Left out, with the reason: a text of more than `most_tokens` tokens, one that the template does not write as it is
    (white space at its ends apart), and one without any text of its own where `positions` ask for it.

    Raises:
        ValueError: an unknown position; a response's position, and a text without response; two texts of one item; a
            tokenizer without chat template or one that does not say where its tokens stand in a text; messages that
            the template refuses.
    """
    _refuse_positions(positions)
    if without := [text.item for text in texts if text.response is None] if _of_response(positions) else []:
        raise ValueError(
            f"activations at {', '.join(_of_response(positions))} are asked for, but {len(without)} of {len(texts)} "
            f"texts have no response, the first of them {without[0]!r}; give their responses, or ask for positions of "
            f"the prompt and turn_boundary alone"
        )
    if repeated := len(texts) - len({text.item for text in texts}):
        raise ValueError(f"{repeated} of {len(texts)} texts have the item of another; give each its own")
    tokens, left_out = {}, {}
    for text, found in zip(texts, _encoded(texts, tokenizer), strict=True):
        reason = found if isinstance(found, str) else found.lacks(positions)
        if isinstance(found, TextTokens) and len(found) > most_tokens:
            reason = f"its {len(found)} tokens do not fit into the model's {most_tokens}"
        if reason:
            left_out[text.item] = reason
        elif isinstance(found, TextTokens):
            tokens[text.item] = found
    return EncodedTexts(tokens, left_out)


def encode_pair_texts(
    pairs: pl.DataFrame, tokenizer: PreTrainedTokenizerBase, max_length: int, positions: Sequence[str]
) -> EncodedPairTexts:
    """The tokens that a model is trained and scored on, those of `encode_pairs`, and where in them each position is.

    What was cut there is not there: `response_last` of a response that was too long is the last token left of it, and
    `prompt_mean` is over what is left of the last message. Pairs of which nothing is left, or which the template does
    not write as they are, are left out with the reason.

    Args:
        pairs: `pair_id`, `prompt` (messages with role and content, ending with the user's), `chosen`, `rejected`.
        max_length: tokens of prompt plus response.

    Raises:
        ValueError: as `encode_texts` and `encode_pairs`.
    """
    _refuse_positions(positions)
    cut = encode_pairs(pairs, tokenizer, max_length)
    whole = {
        response: _encoded([Text(*row) for row in pairs.select("pair_id", "prompt", response).iter_rows()], tokenizer)
        for response in RESPONSES
    }
    tokens: dict[str, tuple[TextTokens, TextTokens]] = {}
    left_out: dict[str, str] = {}
    for pair_id, pair, *texts in zip(cut.rows["pair_id"], cut.tokens(), *whole.values(), strict=True):
        both = []
        for name, text, response in zip(RESPONSES, texts, pair.answers, strict=True):
            found = text if isinstance(text, str) else _as_cut(text, pair.prompt, response)
            reason = found if isinstance(found, str) else found.lacks(positions)
            if reason:
                left_out.setdefault(pair_id, f"{name}: {reason}")
            elif isinstance(found, TextTokens):
                both.append(found)
        if pair_id not in left_out:
            tokens[pair_id] = (both[0], both[1])
    return EncodedPairTexts(tuple(positions), tokens, left_out)


def _refuse_positions(positions: Sequence[str]) -> None:
    if not positions or len(set(positions)) < len(positions) or not set(positions) <= POSITIONS.keys():
        raise ValueError(f"positions are {list(positions)}; wanted are some of {', '.join(POSITIONS)}, each once")


def _of_response(positions: Sequence[str]) -> list[str]:
    return [position for position in positions if position.startswith("response")]


def _encoded(texts: Sequence[Text], tokenizer: PreTrainedTokenizerBase) -> Iterator[TextTokens | str]:
    """Each text whole, or why it cannot be told where its own words are."""
    if tokenizer.chat_template is None:
        raise ValueError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no chat template, so messages cannot be written as text; "
            f"use an instruction-tuned model, whose tokenizer has one"
        )
    if not tokenizer.is_fast:
        raise ValueError(
            f"the tokenizer of {tokenizer.name_or_path!r} does not say where its tokens stand in a text, which tells a "
            f"text's own tokens from the template's; use a model with a fast tokenizer (tokenizer.json)"
        )
    written = [_written(text, tokenizer) for text in texts]
    parts = [part for both in written if not isinstance(both, str) for part in both]
    tokens = iter(_tokens(parts, tokenizer))
    for both in written:
        if isinstance(both, str):
            yield both
        else:
            (prompt, prompt_text), (response, response_text) = next(tokens), next(tokens)
            yield TextTokens(prompt, response, prompt_text, response_text)


@dataclass(frozen=True)
class _Part:
    """What the template writes of a prompt or a response: its `own` text, between `before` and `after`."""

    before: str
    own: str
    after: str

    @property
    def text(self) -> str:
        return self.before + self.own + self.after


def _written(text: Text, tokenizer: Any) -> tuple[_Part, _Part] | str:
    """Prompt and response as the template writes them, or why not."""

    def write(messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
        try:
            return tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=add_generation_prompt
            )
        except jinja2.TemplateError as error:
            raise ValueError(
                f"the chat template of {tokenizer.name_or_path!r} refuses the messages of {text.item!r}: {error}"
            ) from error

    def answered(response: str) -> list[Message]:
        return [*text.messages, {"role": "assistant", "content": response}]

    *earlier, last = text.messages
    prompt_text = write(text.messages, add_generation_prompt=True)
    marked = write([*earlier, {**last, "content": MARK}], add_generation_prompt=True)
    prompt = _around(prompt_text, marked, last["content"])
    if prompt is None:
        return "the chat template does not write its last message as it is"
    if text.response is None:
        return prompt, _Part("", "", "")
    whole, marked = write(answered(text.response)), write(answered(MARK))
    if not whole.startswith(prompt_text) or not marked.startswith(prompt_text):
        return "the chat template rewrites its prompt once a response follows"
    response = _around(whole[len(prompt_text) :], marked[len(prompt_text) :], text.response)
    return (prompt, response) if response else "the chat template does not write its response as it is"


def _around(text: str, marked: str, own: str) -> _Part | None:
    """`text` apart, `marked` being the same with `MARK` for its own words; None if these are not written as they are.

    Some templates strip them.
    """
    for place in re.finditer(re.escape(MARK), marked):
        for words in (own, own.strip()):
            part = _Part(marked[: place.start()], words, marked[place.end() :])
            if part.text == text:
                return part
    return None


def _tokens(parts: Sequence[_Part], tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[np.ndarray, Span]]:
    """Each part's tokens and the span of those that have something of its own text."""
    if not parts:
        return
    encoded: Any = tokenizer(
        [part.text for part in parts],
        add_special_tokens=False,  # the template wrote them
        return_offsets_mapping=True,
        verbose=False,
    )
    for part, ids, offsets in zip(parts, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        places = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
        begin, end = len(part.before), len(part.before) + len(part.own)
        first = int((places[:, 1] <= begin).sum())
        own = int(((places[:, 1] > begin) & (places[:, 0] < end)).sum()) if part.own.strip() else 0
        yield np.asarray(ids, dtype=np.int64), (first, first + own)


def _as_cut(whole: TextTokens, prompt: np.ndarray, response: np.ndarray) -> TextTokens:
    """The text as `encode_pairs` cut it: a prompt at its start, or within its last message; a response at its end."""
    begin, end = whole.prompt_text
    shorter = min(len(whole.prompt), len(prompt))
    same = whole.prompt[::-1][:shorter] == prompt[::-1][:shorter]
    kept = shorter if same.all() else int(same.argmin())
    after = len(whole.prompt) - end
    left = min(max(kept - after, 0), end - begin)
    new_end = max(len(prompt) - after, 0)
    return replace(
        whole,
        prompt=prompt,
        response=response,
        prompt_text=(new_end - left, new_end),
        response_text=(min(whole.response_text[0], len(response)), min(whole.response_text[1], len(response))),
    )
