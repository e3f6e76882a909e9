"""Margins of trained adapters on pairs they never saw."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from prefassets.domain.training.completions import batches_of_similar_length, response_tokens, sum_by_text
from prefassets.domain.training.cores import side_by_side
from prefassets.domain.training.pair_batch import lay_out
from prefassets.domain.training.stacked_lora import StackedLora, stacks
from prefassets.domain.training.train import TrainingData

SCORED = {"pair_id": pl.String, "margin": pl.Float64}


@dataclass(frozen=True)
class AdapterToScore:
    """A trained adapter as PEFT files, the pairs to score it on, and the beta of its margins."""

    key: str
    files: Mapping[str, bytes]
    pair_ids: tuple[str, ...]
    beta: float


def score_adapters(
    adapters: Sequence[AdapterToScore],
    data: TrainingData,
    on_batch: Callable[[int, int], None] | None = None,
    tokens_per_batch: int | None = None,
) -> Iterator[tuple[str, pl.DataFrame]]:
    """Each adapter's key with `pair_id` and `margin` of each of its pairs, several adapters in one pass of the base.

    The margin is beta x ((log pi - log pi_ref)(chosen) - (log pi - log pi_ref)(rejected)), in nats x beta; each
    log pi is summed over the response's tokens. It is the difference of the two implicit rewards of
    https://arxiv.org/abs/2305.18290, section 4.
    The base model is the same afterwards, bit for bit.

    Args:
        on_batch: told the pairs done and their total, over all adapters.
        tokens_per_batch: tokens that the model reads at once; it changes the speed, not the numbers.

    Raises:
        ValueError: an adapter belongs to another base model.
    """
    total, done = sum(len(adapter.pair_ids) for adapter in adapters), 0
    for together, stack in stacks(adapters, data.language_model):
        scores = [np.zeros((len(adapter.pair_ids), 2)) for adapter in together]
        for filled in _fill(scores, together, stack, data, tokens_per_batch):
            done += filled
            if on_batch:
                on_batch(done, total)
        for adapter, logp in zip(together, scores, strict=True):
            reference = [data.reference_logps[pair_id] for pair_id in adapter.pair_ids]
            gain = logp - np.array(reference, dtype=np.float64).reshape(-1, 2)
            margin = adapter.beta * (gain[:, 0] - gain[:, 1])
            yield adapter.key, pl.DataFrame({"pair_id": adapter.pair_ids, "margin": margin}, SCORED)


def _fill(
    scores: Sequence[np.ndarray],
    together: Sequence[AdapterToScore],
    stack: StackedLora,
    data: TrainingData,
    tokens_per_batch: int | None,
) -> Iterator[int]:
    """Write the log-probabilities of each adapter's pairs into its array, batch by batch; yields each batch's pairs."""
    model = data.language_model.model
    whose = [adapter for adapter, to_score in enumerate(together) for _ in to_score.pair_ids]
    rows = [row for to_score in together for row in range(len(to_score.pair_ids))]
    pairs = [tokens for to_score in together for tokens in data.tokens(to_score.pair_ids)]
    batches = list(batches_of_similar_length(pairs, model.device, tokens_per_batch))

    @torch.inference_mode()
    def read(places: list[int]) -> tuple[list[int], np.ndarray]:
        by_adapter: list[list[int]] = [[] for _ in together]
        for place in places:
            by_adapter[whose[place]].append(place)
        own_pairs = [[pairs[place] for place in own] for own in by_adapter]
        batch = lay_out(own_pairs, model.device, stack.reader.pads_attention)
        tokens = response_tokens(model, batch, stack.last_hidden_state(batch), squares=False)
        return [place for own in by_adapter for place in own], sum_by_text(tokens.logp_C, batch).cpu().numpy()

    with stack.on_the_model(), side_by_side(model.device, len(batches)) as run:
        for places, logp in run(read, batches):
            for place, found in zip(places, logp, strict=True):
                scores[whose[place]][rows[place]] = found
            yield len(places)
