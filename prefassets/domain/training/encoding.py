"""Preference pairs as tokens: each prompt and answer once, cut to a maximum length in a way that is counted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from transformers import PreTrainedTokenizerBase

from prefassets.domain.training.pair_batch import PairTokens

Message = dict[str, str]

LEAST_PROMPT = 4  # a prompt keeps at least a 4th of the maximum length, if it is that long
RESPONSES = ("chosen", "rejected")
PARTS = ("prompt", *RESPONSES)
_TOKENS, _COUNT = pl.List(pl.Int32()), pl.Int64()
_SCHEMA = pl.Schema(
    {
        "pair_id": pl.String(),
        "prompt_ids": _TOKENS,
        "chosen_ids": _TOKENS,
        "rejected_ids": _TOKENS,
        "chosen_truncated": _COUNT,
        "rejected_truncated": _COUNT,
    }
)


@dataclass(frozen=True)
class EncodedPairs:
    """Pairs as tokens, one row each.

    `rows` has pair_id, prompt_ids, chosen_ids, rejected_ids (token numbers; the model reads prompt_ids + chosen_ids or
    prompt_ids + rejected_ids), chosen_truncated and rejected_truncated (tokens cut from prompt and response).
    """

    rows: pl.DataFrame

    def __len__(self) -> int:
        return len(self.rows)

    def tokens(self) -> list[PairTokens]:
        """The pairs as arrays of token numbers, in order."""
        columns = ([np.asarray(ids, dtype=np.int64) for ids in self.rows[f"{part}_ids"]] for part in PARTS)
        return [PairTokens(*parts) for parts in zip(*columns, strict=True)]

    def select(self, pair_ids: Iterable[str]) -> "EncodedPairs":
        """These pairs, in this order.

        Raises:
            KeyError: a pair is not among the encoded ones.
        """
        wanted = pl.DataFrame({"pair_id": list(pair_ids)}, schema={"pair_id": pl.String})
        found = wanted.join(self.rows, on="pair_id", how="left", maintain_order="left")
        if lacking := found.filter(pl.col("prompt_ids").is_null())["pair_id"].to_list():
            raise KeyError(f"{len(lacking)} of {len(wanted)} pairs are not encoded, e.g. {lacking[0]}")
        return EncodedPairs(found)


def encode_pairs(pairs: pl.DataFrame, tokenizer: PreTrainedTokenizerBase, max_length: int) -> EncodedPairs:
    """Tokenise each prompt, chosen and rejected answer once, as the tokenizer's chat template writes them.

    A response is what the template adds to the prompt when the answer follows: the text and its end of turn
    (`<|im_end|>\\n` in ChatML). Prompt and response are tokenised apart, because that is what a model that answers the
    prompt sees. Their tokens together are those of the whole conversation, except where an answer begins with white
    space that the tokenizer would merge into the prompt's last token.

    What is longer than `max_length` is cut, never dropped. A response is cut at its end, to what is left beside a
    quarter of `max_length` for the prompt (or the whole prompt if that is shorter). Then the prompt, which both
    responses of a pair share, loses its oldest messages, a user's message with its answer at a time but never the last
    one, and then the start of the last message's text.

    Args:
        pairs: `pair_id`, `prompt` (messages with role and content, ending with the user's), `chosen`, `rejected`.
        max_length: tokens of prompt plus response.

    Raises:
        ValueError: the tokenizer has no chat template, or a template that rewrites the prompt once an answer follows.
    """
    if tokenizer.chat_template is None:
        raise ValueError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no chat template, so a prompt's messages cannot be "
            f"written as text; use an instruction-tuned model, whose tokenizer has one"
        )
    if pairs.is_empty():
        return EncodedPairs(pl.DataFrame(schema=_SCHEMA))
    prompts: list[list[Message]] = pairs["prompt"].to_list()
    prompt_texts = _prompt_texts(prompts, tokenizer)
    prompt_ids = _token_ids(prompt_texts, tokenizer)
    whole_length = [len(ids) for ids in prompt_ids]

    response_ids, response_cut = {}, {}
    for response in RESPONSES:
        ids = _token_ids(_response_texts(prompts, prompt_texts, pairs[response].to_list(), tokenizer), tokenizer)
        room = [max_length - min(length, max(1, max_length // LEAST_PROMPT)) for length in whole_length]
        response_ids[response] = [row[:most] for row, most in zip(ids, room, strict=True)]
        response_cut[response] = [max(0, len(row) - most) for row, most in zip(ids, room, strict=True)]

    longest = (max(len(chosen), len(rejected)) for chosen, rejected in zip(*response_ids.values(), strict=True))
    _shorten(prompts, prompt_ids, [max_length - length for length in longest], tokenizer)
    prompt_cut = [length - len(ids) for length, ids in zip(whole_length, prompt_ids, strict=True)]
    return EncodedPairs(
        pl.DataFrame(
            {
                "pair_id": pairs["pair_id"],
                "prompt_ids": prompt_ids,
                "chosen_ids": response_ids["chosen"],
                "rejected_ids": response_ids["rejected"],
                "chosen_truncated": [a + b for a, b in zip(prompt_cut, response_cut["chosen"], strict=True)],
                "rejected_truncated": [a + b for a, b in zip(prompt_cut, response_cut["rejected"], strict=True)],
            },
            schema=_SCHEMA,
        )
    )


def _prompt_texts(prompts: Sequence[list[Message]], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    texts: Any = tokenizer.apply_chat_template(list(prompts), tokenize=False, add_generation_prompt=True)
    return texts


def _response_texts(
    prompts: list[list[Message]], prompt_texts: list[str], answers: list[str], tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    """What the chat template adds to each prompt once the answer follows."""
    conversations = [
        [*prompt, {"role": "assistant", "content": answer}] for prompt, answer in zip(prompts, answers, strict=True)
    ]
    texts: Any = tokenizer.apply_chat_template(conversations, tokenize=False)
    for text, prompt in zip(texts, prompt_texts, strict=True):
        if not text.startswith(prompt):
            raise ValueError(
                f"the chat template of {tokenizer.name_or_path!r} rewrites the prompt once an answer follows, so the "
                f"answer's log-probability given the prompt has no meaning: {prompt[-80:]!r} against "
                f"{text[len(prompt) - 80 : len(prompt) + 20]!r}"
            )
    return [text[len(prompt) :] for text, prompt in zip(texts, prompt_texts, strict=True)]


def _token_ids(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    return tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]  # the template wrote the special ones


def _shorten(
    prompts: list[list[Message]], prompt_ids: list[list[int]], room: list[int], tokenizer: PreTrainedTokenizerBase
) -> None:
    """Bring each prompt's tokens down to its room, in place: by whole messages, oldest first, then within the last."""
    too_long = [row for row, most in enumerate(room) if len(prompt_ids[row]) > most]
    later_starts = {row: _user_messages_after_the_first(prompts[row]) for row in too_long}
    while droppable := [row for row in too_long if later_starts[row]]:
        tails = [prompts[row][later_starts[row].pop(0) :] for row in droppable]
        for row, ids in zip(droppable, _token_ids(_prompt_texts(tails, tokenizer), tokenizer), strict=True):
            prompt_ids[row] = ids
        too_long = [row for row in too_long if len(prompt_ids[row]) > room[row]]
    for row in too_long:
        prompt_ids[row] = _without_start(prompts[row][-1], room[row], tokenizer)


def _user_messages_after_the_first(prompt: list[Message]) -> list[int]:
    """Where a shorter prompt may begin: many templates want a user's message first."""
    return [index for index, message in enumerate(prompt) if index > 0 and message["role"] == "user"]


def _without_start(message: Message, room: int, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens of a prompt of one message, the first tokens of the message's text left out so that `room` remain."""
    (text,) = _prompt_texts([[message]], tokenizer)
    encoded: Any = tokenizer(text, add_special_tokens=False, verbose=False, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    surplus = len(ids) - room
    content = message["content"].strip()  # some templates strip it
    begin = text.rfind(content)
    header = sum(end <= begin for _, end in offsets) if begin >= 0 else 0
    body = sum(begin < end <= begin + len(content) for _, end in offsets) if begin >= 0 else 0
    if body < surplus:  # the template alone is longer than the room
        return ids[surplus:]
    return ids[:header] + ids[header + surplus :]
