"""Answers by a model in this process: written freely, or drawn among those permitted by their probabilities."""

# N requests, K permitted answers

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import jinja2
import numpy as np

from prefassets.domain.preferences.asking import Answer, Request
from prefassets.domain.training.completions import complete
from prefassets.domain.training.generation import (
    PLACES_AT_ONCE,
    Draws,
    batches,
    ends_of_turn,
    without_own_settings,
    write,
)
from prefassets.domain.training.language_model import LanguageModel
from prefassets.domain.training.pair_batch import PairTokens

PROMPTS_AT_ONCE = 256  # between two times that answers are kept


class InProcess:
    """A language model as a backend. An answer depends on its request alone, up to rounding: not on the batch."""

    def __init__(self, language_model: LanguageModel, precision: str = "float32") -> None:
        self.model = language_model.name
        self.revision = f"{language_model.revision}:{precision}"
        self._language_model = language_model

    def answers(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Each request's answer, in batches of similar length, the longest prompts first.

        To one that does not fit into the model the answer is malformed, and says so: the next run would find the same.

        Raises:
            ValueError: the tokenizer has no chat template, or one that does not write what is asked: no tools, or no
                system message.
        """
        prompts = dict(zip((request.digest for request in requests), self._prompts(requests), strict=True))
        fitting = []
        for request in requests:
            length = len(prompts[request.digest]) + self._answer_tokens(request)
            if length > self._places:
                reason = f"{length} tokens of question and answer do not fit into the model's {self._places}"
                yield Answer(digest=request.digest, text=reason, malformed=True)
            else:
                fitting.append(request)
        yield from self._drawn([request for request in fitting if request.permitted], prompts)
        yield from self._written([request for request in fitting if not request.permitted], prompts)

    @property
    def _places(self) -> int:
        return getattr(self._language_model.model.config.get_text_config(), "max_position_embeddings", 2**31)

    def _answer_tokens(self, request: Request) -> int:
        return max(map(len, self._ids(request.permitted))) if request.permitted else request.most_tokens

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        tokenizer: Any = self._language_model.tokenizer
        return tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]

    def _prompts(self, requests: Sequence[Request]) -> list[np.ndarray]:
        texts = [self._prompt(request) for request in requests]
        return [np.asarray(ids, dtype=np.int64) for ids in self._ids(texts)] if texts else []

    def _prompt(self, request: Request) -> str:
        tokenizer: Any = self._language_model.tokenizer
        if tokenizer.chat_template is None:
            raise ValueError(
                f"the tokenizer of {self.model} has no chat template, so messages cannot be written as text; use an "
                f"instruction-tuned model, whose tokenizer has one"
            )

        def written(tools: list[Any] | None) -> str:
            return tokenizer.apply_chat_template(
                list(request.messages), tools=tools, tokenize=False, add_generation_prompt=True
            )

        try:
            text = written([request.tool] if request.tool else None)
            unheard = request.tool is not None and text == written(None)
        except jinja2.TemplateError as error:
            raise ValueError(
                f"the chat template of {self.model} refuses the messages of a question: {error}"
            ) from error
        if unheard:
            raise ValueError(
                f'the chat template of {self.model} knows no tools, which response_format="tool_use" needs; '
                f'ask with "regex" or "xml", or ask another model'
            )
        return text

    def _drawn(self, requests: Sequence[Request], prompts: dict[str, np.ndarray]) -> Iterator[Answer]:
        """Answers among the permitted; what is asked in the same words is read once, however often it is drawn."""
        same: dict[tuple[bytes, tuple[str, ...]], list[Request]] = defaultdict(list)
        for request in requests:
            same[prompts[request.digest].tobytes(), request.permitted].append(request)
        in_order = sorted(same.values(), key=lambda alike: -len(prompts[alike[0].digest]))
        for begin in range(0, len(in_order), PROMPTS_AT_ONCE):
            several = in_order[begin : begin + PROMPTS_AT_ONCE]
            logps = self._log_probabilities([(prompts[alike[0].digest], alike[0].permitted) for alike in several])
            for alike, logp_K in zip(several, logps, strict=True):
                for request in alike:
                    probability_K = _softmax(logp_K, request.temperature)
                    drawn = np.random.default_rng(request.draw).choice(len(probability_K), p=probability_K)
                    yield Answer(
                        digest=request.digest,
                        text=request.permitted[drawn],
                        probabilities=tuple(probability_K.tolist()),
                    )

    def _log_probabilities(self, asked: Sequence[tuple[np.ndarray, tuple[str, ...]]]) -> list[np.ndarray]:
        """Of each prompt's permitted answers: the sums over their tokens, after the prompt. Two share one reading."""
        pairs, places = [], []
        for number, (prompt, permitted) in enumerate(asked):
            ids = [np.asarray(answer, dtype=np.int64) for answer in self._ids(permitted)]
            for first in range(0, len(ids), 2):
                pairs.append(PairTokens(prompt, ids[first], ids[min(first + 1, len(ids) - 1)]))
                places.append((number, first))
        found = [np.empty(len(permitted)) for _, permitted in asked]
        for (number, first), logp_2 in zip(places, complete(self._language_model, pairs).logp, strict=True):
            found[number][first : first + 2] = logp_2[: len(found[number]) - first]
        return found

    def _written(self, requests: Sequence[Request], prompts: dict[str, np.ndarray]) -> Iterator[Answer]:
        """Answers as the model writes them, each by draws of its own."""
        model, ends = self._language_model.model, ends_of_turn(self._language_model)
        tokenizer: Any = self._language_model.tokenizer
        by_limits: dict[tuple[float, int], list[Request]] = defaultdict(list)
        for request in requests:
            by_limits[request.temperature, request.most_tokens].append(request)
        for (temperature, most), alike in by_limits.items():
            lengths = [len(prompts[request.digest]) for request in alike]
            places = [length + most for length in lengths]
            for rows in batches(lengths, places, PLACES_AT_ONCE[model.device.type]):
                of_batch = [alike[row] for row in rows]
                uniform_NT = np.stack([np.random.default_rng(request.draw).random(most) for request in of_batch])
                with without_own_settings(model):
                    texts = write(
                        self._language_model,
                        [prompts[request.digest] for request in of_batch],
                        [most] * len(of_batch),
                        ends,
                        sampled=False,
                        draws=Draws(uniform_NT, temperature) if temperature else None,
                    )
                for request, (ids,) in zip(of_batch, texts, strict=True):
                    yield Answer(
                        digest=request.digest,
                        text=tokenizer.decode(ids, skip_special_tokens=True),
                        tokens=len(ids),
                        finished=int(ids[-1]) in ends,
                    )


def _softmax(logp_K: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities among the permitted answers; at temperature 0 all of it on the likeliest."""
    if temperature == 0:
        return np.eye(len(logp_K))[logp_K.argmax()]
    exp_K = np.exp((logp_K - logp_K.max()) / temperature)
    return exp_K / exp_K.sum()
