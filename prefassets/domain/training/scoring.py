"""Margins of a trained adapter on pairs it never saw."""

from collections.abc import Mapping

import polars as pl

from prefassets.domain.training.completions import complete
from prefassets.domain.training.encoding import EncodedPairs
from prefassets.domain.training.language_model import LanguageModel
from prefassets.domain.training.lora import with_adapter


def score_adapter(
    language_model: LanguageModel,
    adapter_files: Mapping[str, bytes],
    encoded: EncodedPairs,
    reference_logps: Mapping[str, tuple[float, float]],
    beta: float,
    tokens_per_batch: int | None = None,
) -> pl.DataFrame:
    """`pair_id` and `margin` of each encoded pair, in the order of `encoded`.

    The margin is beta x ((log pi - log pi_ref)(chosen) - (log pi - log pi_ref)(rejected)), in nats x beta; each
    log pi is summed over the response's tokens. It is the difference of the two implicit rewards of
    https://arxiv.org/abs/2305.18290, section 4.
    The base model is the same afterwards, bit for bit.
    """
    with with_adapter(language_model, adapter_files) as adapted:
        logp = complete(adapted, encoded, tokens_per_batch=tokens_per_batch).logp
    pair_ids = encoded.rows["pair_id"]
    reference = pl.DataFrame(
        [reference_logps[pair_id] for pair_id in pair_ids], schema=["chosen", "rejected"], orient="row"
    ).to_numpy()
    gain = logp - reference
    return pl.DataFrame({"pair_id": pair_ids, "margin": beta * (gain[:, 0] - gain[:, 1])})
