"""One pass of a model over pairs: the log-probabilities of responses that everything else is made of."""

# T places of a batch, C response tokens, D hidden size, V vocabulary, N texts

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from prefassets.domain.training.cores import side_by_side
from prefassets.domain.training.language_model import LanguageModel
from prefassets.domain.training.pair_batch import PairBatch, PairTokens, lay_out
from prefassets.domain.training.pair_reader import PairReader

LOGITS_AT_ONCE = {"cpu": 2**24, "cuda": 2**28}  # numbers: logits never exist for a whole batch
LOGITS_IN_CACHE = 2**20  # numbers: what is read again and again without waiting for memory
TOKENS_PER_BATCH = {"cpu": 2_048, "cuda": 65_536}
MOST_DIFFERENCE = 0.1  # of a state, relative to its norm: rounding to bfloat16 makes a few hundredths
UNSUPPORTED = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier", "lm_head_multiplier")


class _ResponseTokens(torch.autograd.Function):
    """Per response token log pi(y_t) and, if asked for, log sum_v pi(v)^2.

    The gradient of log pi(y_t) towards the state does not depend on the loss, which only scales it, so it is made while
    the logits are there: they are never kept and never computed twice.
    """

    @staticmethod
    def forward(
        ctx: Any, state_CD: torch.Tensor, target_C: torch.Tensor, weight_VD: torch.Tensor, squares: bool, gradient: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        chunk = max(1, LOGITS_AT_ONCE[state_CD.device.type] // len(weight_VD))
        logp_C = torch.empty(len(state_CD), dtype=torch.float32, device=state_CD.device)
        squares_C = torch.empty(len(state_CD) if squares else 0, dtype=torch.float32, device=state_CD.device)
        gradient_CD = torch.empty_like(state_CD) if gradient else state_CD.new_empty(0)
        for begin in range(0, len(state_CD), chunk):
            rows = slice(begin, begin + chunk)
            logits_CV = state_CD[rows] @ weight_VD.T
            logp_C[rows], log_squares, probability_CV = _statistics(state_CD.device.type)(
                logits_CV, target_C[rows], squares, gradient
            )
            if squares:
                squares_C[rows] = log_squares
            if gradient:
                torch.addmm(weight_VD[target_C[rows]], probability_CV, weight_VD, alpha=-1, out=gradient_CD[rows])
        ctx.save_for_backward(gradient_CD)
        ctx.mark_non_differentiable(squares_C)
        return logp_C, squares_C

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None]:
        (gradient_CD,) = ctx.saved_tensors
        return (gradient_CD * gradients[0][:, None]).to(gradient_CD.dtype), None, None, None, None


def _token_statistics(
    logits_CV: torch.Tensor, target_C: torch.Tensor, squares: bool, probabilities: bool
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """From the logits' distance to the largest, whose exponentials are made once and serve all three.

    Not with `log_softmax`: on a CPU it adds a large vocabulary up one after the other, which costs up to 1e-4 nats.
    """
    exact_CV = logits_CV.float()
    most_C1 = exact_CV.amax(-1, keepdim=True)
    exp_CV = (exact_CV - most_C1).exp()
    total_C1 = exp_CV.sum(-1, keepdim=True)
    logp_C = (exact_CV.gather(-1, target_C[:, None]) - most_C1 - total_C1.log())[:, 0]
    squares_C = (exp_CV.square().sum(-1) / total_C1[:, 0].square()).log() if squares else None
    probability_CV = (exp_CV / total_C1).to(logits_CV.dtype) if probabilities else None
    return logp_C, squares_C, probability_CV


def _in_cache(
    logits_CV: torch.Tensor, target_C: torch.Tensor, squares: bool, probabilities: bool
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """`_token_statistics`, a few tokens at a time; probabilities take the place of their logits."""
    rows = max(1, LOGITS_IN_CACHE // logits_CV.shape[1])
    logps, log_squares = [], []
    for own_CV, own_C in zip(logits_CV.split(rows), target_C.split(rows), strict=True):
        logp_C, squares_C, probability_CV = _token_statistics(own_CV, own_C, squares, probabilities)
        logps.append(logp_C)
        if squares_C is not None:
            log_squares.append(squares_C)
        if probability_CV is not None:
            own_CV.copy_(probability_CV)
    return torch.cat(logps), torch.cat(log_squares) if squares else None, logits_CV if probabilities else None


@cache
def _statistics(device: str) -> Callable[..., Any]:
    """However often a vocabulary's logits are read, they come from memory once: this is what their cost is about."""
    return torch.compile(_token_statistics, dynamic=True) if device == "cuda" else _in_cache


@dataclass(frozen=True)
class ResponseTokens:
    """Of every response token of a batch: `logp_C` (nats), and log sum_v pi(v)^2 where it was asked for."""

    logp_C: torch.Tensor
    log_squares_C: torch.Tensor


def response_tokens(model: PreTrainedModel, batch: PairBatch, hidden_TD: torch.Tensor, squares: bool) -> ResponseTokens:
    """Log-probabilities of the batch's response tokens, with gradients towards `hidden_TD` if it wants them."""
    head = output_head(model)
    state_CD = hidden_TD.index_select(0, batch.before_C)
    return ResponseTokens(
        *_ResponseTokens.apply(state_CD, batch.target_C, head.weight, squares, state_CD.requires_grad)
    )


def sum_by_text(values_C: torch.Tensor, batch: PairBatch) -> torch.Tensor:
    """Sums over each response: (pairs, 2), chosen and rejected, in float64."""
    total_N = torch.zeros(2 * batch.pairs + 1, dtype=torch.float64, device=values_C.device)  # the last: of no text
    return total_N.index_add(0, batch.text_C, values_C.double())[:-1].view(-1, 2)


def mean_alignment(tokens: ResponseTokens, batch: PairBatch) -> torch.Tensor:
    """Mean over each response of log pi(y_t) - log sum_v pi(v)^2 (nats): (pairs, 2), without gradient, in float64.

    The "sampled alignment" of Zhou et al. 2024, https://arxiv.org/abs/2406.11827.
    """
    aligned_C = tokens.logp_C.detach() - tokens.log_squares_C
    return sum_by_text(aligned_C, batch) / sum_by_text(torch.ones_like(aligned_C), batch).clamp(min=1)


@dataclass(frozen=True)
class Completions:
    """What one pass found, per pair (row) and response (column 0 chosen, column 1 rejected).

    `logp` is the sum of log pi(y_t) in nats, `alignment_sum` the sum of log pi(y_t) - log sum_v pi(v)^2,
    `hidden_mean` the mean of the last hidden state (after the final norm) over the response's own tokens; the last two
    are None unless asked for.
    """

    logp: np.ndarray
    alignment_sum: np.ndarray | None
    hidden_mean: np.ndarray | None


def complete(
    language_model: LanguageModel,
    pairs: Sequence[PairTokens],
    *,
    alignment_sum: bool = False,
    hidden_mean: bool = False,
    tokens_per_batch: int | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> Completions:
    """Both responses of each pair by the model as it is, in batches of similar length.

    Args:
        alignment_sum: find it, too.
        hidden_mean: find it, too.
        tokens_per_batch: tokens that the model reads at once; it changes the speed, not the numbers.
        on_batch: told the pairs done and their total.

    Raises:
        NotImplementedError: the model does not read pairs laid out together as it reads texts one by one.
    """
    model = language_model.model
    _refuse_a_model_that_mixes_texts(model, sorted(pairs, key=len)[:2])
    reader = PairReader(model)
    batches = list(batches_of_similar_length(pairs, model.device, tokens_per_batch))

    @torch.inference_mode()
    def read(rows: list[int]) -> dict[str, np.ndarray]:
        batch = lay_out([[pairs[row] for row in rows]], model.device, reader.pads_attention)
        hidden_TD = reader.last_hidden_state(batch)
        tokens = response_tokens(model, batch, hidden_TD, squares=alignment_sum)
        of_batch = {"logp": sum_by_text(tokens.logp_C, batch)}
        if alignment_sum:
            of_batch["alignment_sum"] = sum_by_text(tokens.logp_C - tokens.log_squares_C, batch)
        if hidden_mean:
            of_batch["hidden_mean"] = _mean_by_text(hidden_TD[batch.place_C], batch)
        return {name: values.cpu().numpy() for name, values in of_batch.items()}

    found = Completions(
        logp=np.zeros((len(pairs), 2)),
        alignment_sum=np.zeros((len(pairs), 2)) if alignment_sum else None,
        hidden_mean=np.zeros((len(pairs), 2, _hidden_size(model)), np.float32) if hidden_mean else None,
    )
    done = 0
    with reader.on_the_model(), side_by_side(model.device, len(batches)) as run:
        for rows, of_batch in zip(batches, run(read, batches), strict=True):
            for name, values in of_batch.items():
                getattr(found, name)[rows] = values
            done += len(rows)
            if on_batch:
                on_batch(done, len(pairs))
    return found


@torch.inference_mode()
def _refuse_a_model_that_mixes_texts(model: PreTrainedModel, pairs: Sequence[PairTokens]) -> None:
    """A layer that is no attention, such as a convolution or a recurrence, carries one text into the next, unseen."""
    if not pairs:
        return
    reader = PairReader(model)
    batch = lay_out([pairs], model.device, reader.pads_attention)
    with reader.on_the_model():
        together_CD = reader.last_hidden_state(batch).index_select(0, batch.before_C).float()
    alone_CD = torch.cat([_states_before(model, pair.prompt, answer) for pair in pairs for answer in pair.answers])
    difference_C = (together_CD - alone_CD).norm(dim=1) / alone_CD.norm(dim=1)
    if (difference_C > MOST_DIFFERENCE).any():
        raise NotImplementedError(
            f"{type(model).__name__} does not read pairs laid out together as it reads each text alone (its states "
            f"differ by up to {difference_C.max():.0%}): one of its layers mixes texts, as a convolution or a "
            f"recurrence does; use a model in which only attention does, such as Qwen2.5"
        )


def _states_before(model: PreTrainedModel, prompt: np.ndarray, answer: np.ndarray) -> torch.Tensor:
    """The states that predict an answer's tokens, the text being read by the model as it is."""
    ids = torch.from_numpy(np.concatenate([prompt, answer])).to(model.device)
    states_TD = model.base_model(input_ids=ids[None], use_cache=False).last_hidden_state[0]
    return states_TD[len(prompt) - 1 : len(ids) - 1].float()


def batches_of_similar_length(
    pairs: Sequence[PairTokens], device: torch.device, tokens_per_batch: int | None = None
) -> Iterator[list[int]]:
    """Rows of at most `tokens_per_batch` tokens together, the longest first: what does not fit fails at once."""
    most = tokens_per_batch or TOKENS_PER_BATCH[device.type]
    rows: list[int] = []
    tokens = 0
    for row in sorted(range(len(pairs)), key=lambda row: -len(pairs[row])):
        if rows and tokens + len(pairs[row]) > most:
            yield rows
            rows, tokens = [], 0
        rows.append(row)
        tokens += len(pairs[row])
    if rows:
        yield rows


def _mean_by_text(states_CD: torch.Tensor, batch: PairBatch) -> torch.Tensor:
    sums_ND = states_CD.new_zeros(2 * batch.pairs, states_CD.shape[1], dtype=torch.float32)
    sums_ND.index_add_(0, batch.text_C, states_CD.float())
    tokens_N2 = sum_by_text(torch.ones_like(batch.text_C), batch).clamp(min=1)
    return sums_ND.view(batch.pairs, 2, -1) / tokens_N2[..., None]


def _hidden_size(model: PreTrainedModel) -> int:
    return model.config.get_text_config().hidden_size


def output_head(model: PreTrainedModel) -> torch.nn.Linear:
    """The linear layer that makes logits of the last hidden state.

    Raises:
        NotImplementedError: the model scales, shifts or caps its logits after that layer.
    """
    config = model.config.get_text_config()
    if scaled := [name for name in UNSUPPORTED if getattr(config, name, None) not in (None, 1, 1.0)]:
        raise NotImplementedError(
            f"{type(model).__name__} changes its logits after the output head (config.{scaled[0]} is "
            f"{getattr(config, scaled[0])}), which this pass does not compute; use a model without it, such as Qwen2.5"
        )
    head = model.get_output_embeddings()
    if head.bias is not None:
        raise NotImplementedError(
            f"the output head of {type(model).__name__} has a bias, which this pass does not add; use a model without"
        )
    return head
