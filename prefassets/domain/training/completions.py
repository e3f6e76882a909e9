"""One pass of a model over the responses of encoded pairs: the log-probabilities that everything else is made of."""

# N sequences of a batch, T tokens, C response tokens of a batch, D hidden size, V vocabulary

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from prefassets.domain.training.encoding import RESPONSES, EncodedPairs
from prefassets.domain.training.language_model import LanguageModel

LOGITS_AT_ONCE = 2**26  # numbers, 256 MiB in float32: logits never exist for a whole batch
TOKENS_PER_BATCH = {"cpu": 4_096, "cuda": 65_536}  # padding included
UNSUPPORTED = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier", "lm_head_multiplier")


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


@torch.inference_mode()
def complete(
    language_model: LanguageModel,
    encoded: EncodedPairs,
    *,
    everything: bool = False,
    tokens_per_batch: int | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> Completions:
    """Score both responses of each pair, in batches of similar length, with logits at response tokens only.

    Args:
        everything: also `alignment_sum` and `hidden_mean`.
        tokens_per_batch: padded tokens that the model reads at once; it changes the speed, not the numbers.
        on_batch: told the responses done and their total.
    """
    model = language_model.model
    prompts = [np.asarray(ids, dtype=np.int64) for ids in encoded.rows["prompt_ids"]]
    responses = [[np.asarray(ids, dtype=np.int64) for ids in encoded.rows[f"{name}_ids"]] for name in RESPONSES]
    sequences = [(prompt, responses[side][row]) for row, prompt in enumerate(prompts) for side in range(2)]

    total = len(sequences)
    logp = np.zeros(total)
    alignment_sum = np.zeros(total) if everything else None
    hidden_mean = np.zeros((total, model.config.get_text_config().hidden_size), np.float32) if everything else None
    done = 0
    for rows in _batches(sequences, tokens_per_batch or TOKENS_PER_BATCH[model.device.type]):
        batch = _collate([sequences[row] for row in rows], language_model)
        logp_N, alignment_N, hidden_ND = _complete_batch(model, *batch, everything)
        logp[rows] = logp_N.cpu().numpy()
        if alignment_sum is not None and hidden_mean is not None:
            alignment_sum[rows] = alignment_N.cpu().numpy()
            hidden_mean[rows] = hidden_ND.cpu().numpy()
        done += len(rows)
        if on_batch:
            on_batch(done, total)
    pairs = len(prompts)
    return Completions(
        logp=logp.reshape(pairs, 2),
        alignment_sum=None if alignment_sum is None else alignment_sum.reshape(pairs, 2),
        hidden_mean=None if hidden_mean is None else hidden_mean.reshape(pairs, 2, hidden_mean.shape[1]),
    )


def _batches(sequences: list[tuple[np.ndarray, np.ndarray]], tokens_per_batch: int) -> Iterator[list[int]]:
    """Rows of similar length together, the longest first: what does not fit into memory fails at once."""
    length = [len(prompt) + len(response) for prompt, response in sequences]
    by_length = sorted(range(len(sequences)), key=lambda row: -length[row])
    begin = 0
    while begin < len(by_length):
        end = begin + max(1, tokens_per_batch // max(1, length[by_length[begin]]))
        yield by_length[begin:end]
        begin = end


def _collate(
    sequences: list[tuple[np.ndarray, np.ndarray]], language_model: LanguageModel
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token numbers, what is not padding, and what is response; padded on the right."""
    longest = max(len(prompt) + len(response) for prompt, response in sequences)
    ids_NT = np.full((len(sequences), longest), language_model.tokenizer.pad_token_id, dtype=np.int64)
    real_NT = np.zeros_like(ids_NT, dtype=bool)
    response_NT = np.zeros_like(ids_NT, dtype=bool)
    for row, (prompt, response) in enumerate(sequences):
        begin, end = len(prompt), len(prompt) + len(response)
        ids_NT[row, :begin], ids_NT[row, begin:end] = prompt, response
        real_NT[row, :end] = True
        response_NT[row, begin:end] = True
    device = language_model.model.device
    ids, real, is_response = (torch.from_numpy(array).to(device) for array in (ids_NT, real_NT, response_NT))
    return ids, real, is_response


def _complete_batch(
    model: PreTrainedModel, ids_NT: torch.Tensor, real_NT: torch.Tensor, response_NT: torch.Tensor, everything: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    head = output_head(model)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=model.dtype == torch.bfloat16):  # as in training
        backbone = model.base_model(input_ids=ids_NT, attention_mask=real_NT, use_cache=False)
        hidden_NTD = backbone.last_hidden_state
        row_C, position_C = response_NT.nonzero(as_tuple=True)
        before_CD = hidden_NTD[row_C, position_C - 1]  # the state that predicts each response token
        target_C = ids_NT[row_C, position_C]
        chunk = max(1, LOGITS_AT_ONCE // head.weight.shape[0])
        logp_parts, alignment_parts = [], []
        for state_D, target in zip(before_CD.split(chunk), target_C.split(chunk), strict=True):
            logits_V = head(state_D).float()
            log_normaliser = logits_V.logsumexp(-1)
            token_logp = logits_V.gather(-1, target[:, None])[:, 0] - log_normaliser
            logp_parts.append(token_logp)
            if everything:
                log_sum_of_squares = (2 * logits_V).logsumexp(-1) - 2 * log_normaliser
                alignment_parts.append(token_logp - log_sum_of_squares)

    def sum_by_row(parts: list[torch.Tensor]) -> torch.Tensor:
        total_N = torch.zeros(len(ids_NT), dtype=torch.float64, device=ids_NT.device)
        return total_N.index_add_(0, row_C, torch.cat(parts).double()) if parts else total_N

    weight_NT = response_NT.float() / response_NT.sum(-1, keepdim=True).clamp(min=1)
    hidden_ND = torch.einsum("nt,ntd->nd", weight_NT, hidden_NTD.float()) if everything else hidden_NTD[:, 0]
    return sum_by_row(logp_parts), sum_by_row(alignment_parts), hidden_ND


def output_head(model: PreTrainedModel) -> torch.nn.Linear:
    """The linear layer that makes logits of the last hidden state.

    Raises:
        NotImplementedError: the model scales or caps its logits after that layer.
    """
    config = model.config.get_text_config()
    if scaled := [name for name in UNSUPPORTED if getattr(config, name, None) not in (None, 1, 1.0)]:
        raise NotImplementedError(
            f"{type(model).__name__} changes its logits after the output head (config.{scaled[0]} is "
            f"{getattr(config, scaled[0])}), which this pass does not compute; use a model without it, such as Qwen2.5"
        )
    return model.get_output_embeddings()
