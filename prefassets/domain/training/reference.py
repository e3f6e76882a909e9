"""One pass of the frozen base model over every pair, shared by all cells that start from it."""

from collections.abc import Callable

import polars as pl

from prefassets.domain.training.completions import complete
from prefassets.domain.training.encoding import RESPONSES, EncodedPairs
from prefassets.domain.training.language_model import LanguageModel


def reference_pass(
    language_model: LanguageModel,
    encoded: EncodedPairs,
    on_batch: Callable[[int, int], None] | None = None,
    tokens_per_batch: int | None = None,
) -> pl.DataFrame:
    """Per pair and response: log-probability, token counts, alignment sum (WPO) and mean hidden state.

    Args:
        on_batch: told the pairs done and their total.
        tokens_per_batch: tokens that the model reads at once; it changes the speed, not the numbers.

    Returns:
        Two rows per pair, chosen then rejected, in the order of `encoded`: `pair_id`, `response`, `logp` (nats),
        `tokens` (of the response, end of turn included), `prompt_tokens` and `truncated_tokens` (prompt and response
        together), `alignment_sum` (nats; sum of log pi(y_t) - log sum_v pi(v)^2, the "sampled alignment" of Zhou et al.
        2024, https://arxiv.org/abs/2406.11827) and `hidden_mean` (last layer, after the final norm).
    """
    found = complete(
        language_model,
        encoded.tokens(),
        alignment_sum=True,
        hidden_mean=True,
        tokens_per_batch=tokens_per_batch,
        on_batch=on_batch,
    )
    assert found.alignment_sum is not None
    assert found.hidden_mean is not None
    sides = [
        encoded.rows.select(
            "pair_id",
            response=pl.lit(response),
            logp=pl.Series(found.logp[:, side]),
            tokens=pl.col(f"{response}_ids").list.len().cast(pl.Int64),
            prompt_tokens=pl.col("prompt_ids").list.len().cast(pl.Int64),
            truncated_tokens=f"{response}_truncated",
            alignment_sum=pl.Series(found.alignment_sum[:, side]),
            hidden_mean=pl.Series(found.hidden_mean[:, side]).cast(pl.List(pl.Float32)),
        ).with_row_index("row")
        for side, response in enumerate(RESPONSES)
    ]
    return pl.concat(sides).sort("row", maintain_order=True).drop("row")
