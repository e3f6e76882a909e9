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

from collections.abc import Callable

import numpy as np
import polars as pl
import torch

from prefassets.domain.training.completions import complete
from prefassets.domain.training.encoding import EncodedPairs
from prefassets.domain.training.generation import PLACES_AT_ONCE, batches, ends_of_turn, without_own_settings, write
from prefassets.domain.training.language_model import LanguageModel
from prefassets.domain.training.pair_batch import PairTokens

SAMPLED, GREEDY = "T = 1", "greedy"
ANSWERS = {SAMPLED: 2, GREEDY: 1}  # to each prompt


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
    ends = ends_of_turn(language_model)
    lengths, places = [len(prompt) for prompt in prompts], [max_length * max(ANSWERS.values())] * len(prompts)
    done = 0
    with torch.random.fork_rng(), without_own_settings(language_model.model):
        torch.manual_seed(seed)
        for rows in batches(lengths, places, PLACES_AT_ONCE[language_model.model.device.type]):
            of_batch = [prompts[row] for row in rows]
            rooms = [max_length - len(prompt) for prompt in of_batch]
            for sampling, count in ANSWERS.items():
                answers = write(language_model, of_batch, rooms, ends, sampled=sampling == SAMPLED, answers=count)
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
