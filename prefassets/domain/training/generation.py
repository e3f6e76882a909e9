"""Text that a model writes: prompts of similar length at once, padded on the left, by the logits and nothing else."""

# N texts of a batch, T places, V vocabulary; texts are padded on the left

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from prefassets.domain.training.language_model import LanguageModel
from prefassets.domain.training.quiet import quiet

PLACES_AT_ONCE = {"cpu": 2**16, "cuda": 2**18}  # of texts in writing: what the model keeps of them fills the memory


def ends_of_turn(language_model: LanguageModel) -> set[int]:
    """Tokens after which the model is done: its tokenizer's, and those that its own settings add."""
    of_model = language_model.model.generation_config.eos_token_id
    ends = of_model if isinstance(of_model, list) else [of_model]
    return {int(token) for token in (*ends, language_model.tokenizer.eos_token_id) if token is not None}


@contextmanager
def without_own_settings(model: PreTrainedModel) -> Iterator[None]:
    """What a GenerationConfig leaves open, `generate` takes from the model's own: here there is nothing to take."""
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        with quiet():
            yield
    finally:
        model.generation_config = own


def batches(lengths: Sequence[int], places: Sequence[int], most_places: int) -> Iterator[list[int]]:
    """Rows of prompts of similar length, the longest first.

    Args:
        lengths: of each prompt.
        places: that each prompt takes with what may be written after it; of no shorter prompt more.
        most_places: that a batch may take.
    """
    rows = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    while rows:
        size = max(1, most_places // places[rows[0]])
        yield rows[:size]
        rows = rows[size:]


def write(
    language_model: LanguageModel,
    prompts: Sequence[np.ndarray],
    rooms: Sequence[int],
    ends: set[int],
    *,
    sampled: bool,
    answers: int = 1,
    draws: "Draws | None" = None,
) -> list[list[np.ndarray]]:
    """The answers to each prompt as token numbers, each with its end of turn unless there was no room for it.

    Args:
        rooms: the most tokens that may follow each prompt.
        sampled: at temperature 1 by torch's generator; else the likeliest token, or the one that `draws` says.
        answers: to each prompt.
    """
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
        logits_processor=LogitsProcessorList([draws] if draws else []),
        generation_config=GenerationConfig(
            do_sample=sampled,
            num_return_sequences=answers,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            repetition_penalty=1.0,
            max_new_tokens=max(rooms),
            eos_token_id=sorted(ends),
            pad_token_id=language_model.tokenizer.pad_token_id,
            use_cache=True,
        ),
    )
    answer_NT = found_NT[:, longest:].cpu().numpy()
    ends_NT = np.isin(answer_NT, list(ends))
    per_prompt: list[list[np.ndarray]] = []
    for row, room in enumerate(rooms):
        of_prompt = range(row * answers, (row + 1) * answers)
        lengths = [int(ends_NT[text].argmax()) + 1 if ends_NT[text].any() else room for text in of_prompt]
        per_prompt.append(
            [answer_NT[text, : min(length, room)] for text, length in zip(of_prompt, lengths, strict=True)]
        )
    return per_prompt


class Draws(LogitsProcessor):
    """Samples each text by draws of its own, so that what is written does not depend on what is written beside it.

    Token t of text n is the one in which draw n, t falls when the tokens' probabilities are laid end to end.

    Args:
        uniform_NT: draws between 0 and 1, a row for each text, as many as tokens are written at most.
        temperature: above 0; divides the logits.
    """

    def __init__(self, uniform_NT: np.ndarray, temperature: float) -> None:
        self._uniform_NT = torch.from_numpy(uniform_NT)
        self._temperature = temperature
        self._step = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        reached_NV = (scores.double() / self._temperature).softmax(-1).cumsum(-1)
        draw_N1 = self._uniform_NT[:, self._step, None].to(scores.device) * reached_NV[:, -1:]
        self._step += 1
        token_N1 = torch.searchsorted(reached_NV, draw_N1, right=True).clamp_(max=scores.shape[1] - 1)
        return torch.full_like(scores, -torch.inf).scatter_(1, token_N1, 0.0)
