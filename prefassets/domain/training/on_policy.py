"""Answers that a base model writes itself: the yardstick for the weight that WPO gives to other text.

WPO weighs a pair with w = min(1, exp(a(chosen) + a(rejected))), a(y) = mean_t a_t, a_t = log pi(y_t) - log sum_v
pi(v)^2. Text on the model's own policy does not have weight 1, so a mean weight of .2 does not say "80 % off-policy".
Let p be the model's distribution of the next token.

    sampled from p:  E a_t = sum_v p_v log p_v - log sum_v p_v^2 = H_2(p) - H_1(p) <= 0,

the Renyi-2 minus the Shannon entropy, as Renyi's entropy falls with its order (Renyi 1961, "On measures of entropy and
information"). It is 0 only where p is uniform over what it can say at all. So what the model samples has, in the log
and on average, a weight below 1: the further below, the more uneven and the longer-tailed its distributions are.

    greedy:  a_t = log max_v p_v - log sum_v p_v^2 >= 0, as sum_v p_v^2 <= max_v p_v sum_v p_v = max_v p_v.

So greedy text always has weight 1, however odd it is. A weight says how likely tokens are beside what is typical of the
model where they stand, and on-policy samples are the text against which to read it.
"""

# N texts of a batch, T places; texts are padded on the left

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import polars as pl
import torch
from transformers import GenerationConfig, PreTrainedModel

from prefassets.domain.training.completions import complete
from prefassets.domain.training.encoding import EncodedPairs
from prefassets.domain.training.language_model import LanguageModel
from prefassets.domain.training.pair_batch import PairTokens
from prefassets.domain.training.quiet import quiet

SAMPLED, GREEDY = "T = 1", "greedy"
ANSWERS = {SAMPLED: 2, GREEDY: 1}  # to each prompt
PLACES_AT_ONCE = {"cpu": 2**16, "cuda": 2**18}  # of texts in writing: what the model keeps of them fills the memory


def on_policy_answers(
    language_model: LanguageModel,
    encoded: EncodedPairs,
    max_length: int,
    seed: int,
    on_batch: Callable[[int, int], None] | None = None,
) -> pl.DataFrame:
    """Two answers sampled at T = 1 and a greedy one to each prompt, scored by the code that makes the reference pass.

    Sampling is plain, whatever the model's own settings are (Qwen2.5's cut to 20 tokens and punish repetition): only
    then are the answers on policy. An answer ends with the token that ends a turn, or where the maximum length does.
    Scored are exactly the tokens that were written, the end of the turn included. What a chat template writes after
    that token (a line break in ChatML), and so the reference pass reads at the end of PRISM's answers, nobody sampled:
    it is left out.

    Args:
        encoded: the prompts, cut as for the reference pass; its answers are not looked at.
        max_length: tokens of prompt plus answer.
        seed: equal seeds give equal answers on one machine to the same prompts.
        on_batch: told the prompts answered and their number.

    Returns:
        In the order of `encoded`: `sampling` (`T = 1`, `greedy`), `pair_id`, `answer` (1, 2), `text`, `tokens`,
        `alignment_sum` (nats) and `finished` (whether the answer ended by itself).
    """
    prompts = [np.asarray(ids, dtype=np.int64) for ids in encoded.rows["prompt_ids"]]
    written: dict[str, list[list[np.ndarray]]] = {sampling: [[]] * len(prompts) for sampling in ANSWERS}
    ends = _ends_of_turn(language_model)
    done = 0
    with torch.random.fork_rng(), _without_own_settings(language_model.model):
        torch.manual_seed(seed)
        for rows in _batches(prompts, max_length, language_model.model.device):
            for sampling in ANSWERS:
                answers = _write(language_model, [prompts[row] for row in rows], sampling, max_length, ends)
                for row, answer in zip(rows, answers, strict=True):
                    written[sampling][row] = answer
            done += len(rows)
            if on_batch:
                on_batch(done, len(prompts))

    pairs = [
        PairTokens(prompt, answers[0], answers[-1])  # a lone answer as a pair with itself
        for sampling in ANSWERS
        for prompt, answers in zip(prompts, written[sampling], strict=True)
    ]
    alignment_sum = complete(language_model, pairs, alignment_sum=True).alignment_sum
    assert alignment_sum is not None
    of_sampling = dict(zip(ANSWERS, np.split(alignment_sum, len(ANSWERS)), strict=True))
    found = [
        {
            "sampling": sampling,
            "pair_id": pair_id,
            "answer": number + 1,
            "text": language_model.tokenizer.decode(answer, skip_special_tokens=True),
            "tokens": len(answer),
            "alignment_sum": float(of_sampling[sampling][row, number]),
            "finished": int(answer[-1]) in ends,
        }
        for row, pair_id in enumerate(encoded.rows["pair_id"])
        for sampling in ANSWERS
        for number, answer in enumerate(written[sampling][row])
    ]
    return pl.DataFrame(found, schema=_SCHEMA)


_SCHEMA = {
    "sampling": pl.String,
    "pair_id": pl.String,
    "answer": pl.Int64,
    "text": pl.String,
    "tokens": pl.Int64,
    "alignment_sum": pl.Float64,
    "finished": pl.Boolean,
}


def _ends_of_turn(language_model: LanguageModel) -> set[int]:
    """Tokens after which the model is done: its tokenizer's, and those that its own settings add."""
    of_model = language_model.model.generation_config.eos_token_id
    ends = of_model if isinstance(of_model, list) else [of_model]
    return {int(token) for token in (*ends, language_model.tokenizer.eos_token_id) if token is not None}


@contextmanager
def _without_own_settings(model: PreTrainedModel) -> Iterator[None]:
    """What a GenerationConfig leaves open, `generate` takes from the model's own: here there is nothing to take."""
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        with quiet():
            yield
    finally:
        model.generation_config = own


def _batches(prompts: Sequence[np.ndarray], max_length: int, device: torch.device) -> Iterator[list[int]]:
    """Rows of prompts of similar length, the longest first."""
    size = max(1, PLACES_AT_ONCE[device.type] // (max_length * max(ANSWERS.values())))
    rows = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
    return (rows[begin : begin + size] for begin in range(0, len(rows), size))


def _write(
    language_model: LanguageModel, prompts: Sequence[np.ndarray], sampling: str, max_length: int, ends: set[int]
) -> list[list[np.ndarray]]:
    """The answers to each prompt as token numbers, each with its end of turn unless there was no room for it."""
    model: Any = language_model.model
    longest = max(map(len, prompts))
    prompt_NT = torch.full((len(prompts), longest), language_model.tokenizer.pad_token_id)
    attended_NT = torch.zeros_like(prompt_NT)
    for row, prompt in enumerate(prompts):
        prompt_NT[row, longest - len(prompt) :] = torch.from_numpy(prompt)
        attended_NT[row, longest - len(prompt) :] = 1
    found_NT = model.generate(
        input_ids=prompt_NT.to(model.device),
        attention_mask=attended_NT.to(model.device),
        generation_config=GenerationConfig(
            do_sample=sampling == SAMPLED,
            num_return_sequences=ANSWERS[sampling],
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            repetition_penalty=1.0,
            max_new_tokens=max_length - min(map(len, prompts)),
            eos_token_id=sorted(ends),
            pad_token_id=language_model.tokenizer.pad_token_id,
            use_cache=True,
        ),
    )
    answer_NT = found_NT[:, longest:].cpu().numpy()
    ends_NT = np.isin(answer_NT, list(ends))
    per_prompt: list[list[np.ndarray]] = []
    for row, prompt in enumerate(prompts):
        of_prompt = range(row * ANSWERS[sampling], (row + 1) * ANSWERS[sampling])
        room = max_length - len(prompt)
        lengths = [int(ends_NT[text].argmax()) + 1 if ends_NT[text].any() else room for text in of_prompt]
        per_prompt.append(
            [answer_NT[text, : min(length, room)] for text, length in zip(of_prompt, lengths, strict=True)]
        )
    return per_prompt
