"""How likely each winner of a battle is: the probabilities of three digits, from one forward pass and no generation."""

# N prompts of a batch, T places; prompts are padded on the left

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from peft import PeftModel
from transformers import PreTrainedModel

from prefassets.domain.arena.prompt import BattlePrompt
from prefassets.domain.training.completions import TOKENS_PER_BATCH
from prefassets.domain.training.cores import side_by_side
from prefassets.domain.training.generation import batches
from prefassets.domain.training.language_model import LanguageModel

_GIVEN = {name: pl.Float64() for name in ("a", "b", "tie")}
_SWAPPED = {f"{name}_swapped": pl.Float64() for name in _GIVEN}
_COUNTS = {"tokens": pl.Int64(), "left_out": pl.Int64()}
PREDICTED = pl.Schema({"predictor": pl.String(), "battle": pl.String(), **_GIVEN, **_SWAPPED, **_COUNTS})


def digit_log_probabilities(
    model: PreTrainedModel,
    ids: Sequence[Sequence[int] | NDArray[np.int32]],
    digits: Sequence[int],
    pad: int,
    on_batch: Callable[[int, int], None] | None = None,
    tokens_per_batch: int | None = None,
) -> NDArray[np.float64]:
    """Log-probability of each digit as the token after each prompt, given that it is one of them: (prompts, digits).

    In nats; the exponentials of a row add up to 1. The logits are those of the last place only, see `_digit_logits`.
    Prompts of similar length are read together; which these are changes a number by rounding only.

    Args:
        model: in evaluation mode; also one with an adapter, or in 4 bits. It may be in the midst of its training.
        ids: token ids of the prompts, each at least one.
        digits: token ids.
        pad: any token id, to fill up what is read together.
        on_batch: told the prompts done and their total.
        tokens_per_batch: tokens that the model reads at once, those that fill up included.

    Raises:
        ValueError: the model is in training mode, in which dropout would make the numbers random.
    """
    if model.training:
        raise ValueError("the model is in training mode, and dropout would make its predictions random; call .eval()")
    lengths = [len(own) for own in ids]
    together = list(batches(lengths, lengths, tokens_per_batch or TOKENS_PER_BATCH[model.device.type]))

    @torch.no_grad()  # not inference_mode: what a first pass keeps, such as weights in 4 bits, is trained with later
    def read(rows: list[int]) -> NDArray[np.float64]:
        longest = lengths[rows[0]]
        ids_NT = torch.full((len(rows), longest), pad)
        attended_NT = torch.zeros_like(ids_NT)
        for row, own in enumerate(rows):
            ids_NT[row, longest - lengths[own] :] = torch.as_tensor(ids[own])
            attended_NT[row, longest - lengths[own] :] = 1
        logits_NV = _digit_logits(model, ids_NT.to(model.device), attended_NT.to(model.device), digits)
        return logits_NV.double().log_softmax(-1).cpu().numpy()

    logp = np.empty((len(ids), len(digits)))
    done = 0
    with side_by_side(model.device, len(together)) as run:
        for rows, found in zip(together, run(read, together), strict=True):
            logp[rows] = found
            done += len(rows)
            if on_batch:
                on_batch(done, len(ids))
    return logp


def _digit_logits(
    model: PreTrainedModel, ids_NT: torch.Tensor, attended_NT: torch.Tensor, digits: Sequence[int]
) -> torch.Tensor:
    """Logits of the digits after each prompt, in float32: (prompts, digits).

    The model's own head would round them to its precision: in bfloat16, logits of some 20 lie .125 apart, and every
    tie of two digits would go to the first.
    """
    whole: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    hidden_NTD = whole.get_decoder()(
        input_ids=ids_NT,
        attention_mask=attended_NT,
        position_ids=(attended_NT.cumsum(1) - 1).clamp(min=0),
        use_cache=False,
    ).last_hidden_state
    head, config = whole.get_output_embeddings(), whole.config.get_text_config()
    rows = head.weight[list(digits)].float()
    bias = None if head.bias is None else head.bias[list(digits)].float()
    with torch.autocast(ids_NT.device.type, enabled=False):
        logits_NV = torch.nn.functional.linear(hidden_NTD[:, -1].float(), rows, bias)
    logits_NV = logits_NV * (getattr(config, "logit_scale", None) or 1)  # Cohere
    logits_NV = logits_NV / (getattr(config, "logits_scaling", None) or 1)  # Granite
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma 2
    return logits_NV if cap is None else cap * torch.tanh(logits_NV / cap)


def prompt_for(model: LanguageModel, prompt: str, max_tokens: int) -> BattlePrompt:
    """The prompt in the tokens of a model that has places for so many.

    Raises:
        ValueError: `max_tokens` are more than the model has places for, or what `BattlePrompt` refuses.
    """
    places = getattr(model.model.config.get_text_config(), "max_position_embeddings", max_tokens)
    if max_tokens > places:
        raise ValueError(
            f"max_tokens is {max_tokens}, but {model.name} reads {places} tokens at most; ask it with no more than that"
        )
    return BattlePrompt(model.tokenizer, prompt, max_tokens)


def predict_battles(
    model: LanguageModel,
    predictor: str,
    prompt: str,
    max_tokens: int,
    battles: pl.DataFrame,
    on_battle: Callable[[int, int], None] | None = None,
) -> pl.DataFrame:
    """How likely each winner of each battle is, its answers in both orders: a row for each, in order.

    Args:
        predictor: how the predictions are called.
        prompt: a key of PROMPTS.
        max_tokens: of the prompt; what does not fit is left out as `BattlePrompt` does it.
        battles: `battle`, `prompts`, `answers_a`, `answers_b`.
        on_battle: told the battles done and their total.

    Returns:
        `predictor`, `battle`; probabilities `a`, `b` and `tie` as the battle has its answers, and `a_swapped`,
        `b_swapped` and `tie_swapped` of the same winners with the answers exchanged; `tokens` read in one order,
        `left_out` of them.

    Raises:
        ValueError: `max_tokens` are more than the model has places for, or what `BattlePrompt` refuses.
    """
    encoder = prompt_for(model, prompt, max_tokens)
    ids: tuple[list[NDArray[np.int32]], list[NDArray[np.int32]]] = ([], [])  # as lists they are nine times as large
    left_out: list[int] = []
    for orders in encoder.encode_orders(battles):
        left_out.append(orders[0].left_out)
        for own, encoded in zip(ids, orders, strict=True):
            own.append(np.asarray(encoded.ids, np.int32))

    def tell(done: int, total: int) -> None:
        if on_battle:
            on_battle(done // 2, total // 2)  # a battle is read twice

    pad: int = model.tokenizer.pad_token_id
    probability = np.exp(digit_log_probabilities(model.model, ids[0] + ids[1], encoder.digits, pad, tell))
    given, exchanged = probability[: len(battles)], probability[len(battles) :, [1, 0, 2]]
    return pl.DataFrame(
        {
            "predictor": [predictor] * len(battles),
            "battle": battles["battle"],
            **dict(zip(_GIVEN, given.T, strict=True)),
            **dict(zip(_SWAPPED, exchanged.T, strict=True)),
            "tokens": [len(own) for own in ids[0]],
            "left_out": left_out,
        },
        PREDICTED,
    )
