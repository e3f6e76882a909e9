"""Within-model pairs: two answers by one model to one prompt, and which one the user scored higher."""

from dataclasses import dataclass

import polars as pl

SAME_QUESTION = ["user_id", "conversation_id", "turn", "model_name"]
PAIR_COLUMNS = [
    "pair_id",
    *SAME_QUESTION,
    "prompt",
    "chosen",
    "rejected",
    "chosen_score",
    "rejected_score",
    "score_gap",
]


@dataclass(frozen=True)
class WithinModelPairs:
    """`pairs`, and what was dropped on the way to them: reason -> count."""

    pairs: pl.DataFrame
    dropped: dict[str, int]


def within_model_pairs(utterances: pl.DataFrame) -> WithinModelPairs:
    """Pair the two answers one model gave one user to one prompt, better score first.

    Holding the model fixed takes "this user prefers GPT-4" out of the signal; what is left is which of two samples of
    the same model the user liked (W2 design, report of 2026-02-23).

    Args:
        utterances: the table `prism.utterances`. `score` is 1-100 points; `turn` is 0 for the opening prompt, whose
            answers come from different models and make no pairs.

    Returns:
        One row per pair with the columns of `prism.pairs`, sorted by user, conversation and turn. `prompt` is the
        conversation so far: per earlier turn the user's prompt and the answer that the conversation went on with, then
        this turn's prompt. Dropped are `ties` (pairs of equal scores) and `lone answers` (answers without another one
        by the same model): neither says what the user preferred.

    Raises:
        ValueError: a model answered one prompt more than twice, so "the other answer" has no meaning; or two models
            answered one later prompt twice each, so that `<conversation_id>.<turn>` names two pairs.
    """
    answered = _answered(utterances)
    twice = answered.filter(pl.col("answers") == 2)
    pairs = twice.filter(pl.col("score_gap") > 0)
    return WithinModelPairs(
        pairs.join(_conversation_so_far(pairs, utterances), on="pair_id", maintain_order="left").select(PAIR_COLUMNS),
        {"ties": len(twice) - len(pairs), "lone answers": int((answered["answers"] == 1).sum())},
    )


def tied_pairs(utterances: pl.DataFrame) -> pl.DataFrame:
    """The pairs that `within_model_pairs` drops as ties: two answers by one model to one prompt with equal scores.

    A tie does not say which answer the user preferred, so nothing can be learned from it; it does say that the gap is
    0, which evidence on the size of gaps may use.

    Args, Raises: as of `within_model_pairs`.

    Returns:
        `pair_id`, `SAME_QUESTION` and `score_gap` (0), sorted as pairs are.
    """
    ties = _answered(utterances).filter(pl.col("answers") == 2, pl.col("score_gap") == 0)
    return ties.select("pair_id", *SAME_QUESTION, "score_gap")


def _answered(utterances: pl.DataFrame) -> pl.DataFrame:
    """One row per question that a model answered after the opening turn, once or twice; the better answer is first."""
    later_turns = utterances.filter(pl.col("turn") >= 1)
    answered = (
        later_turns.sort("score", descending=True, maintain_order=True)
        .group_by(SAME_QUESTION, maintain_order=True)
        .agg(
            answers=pl.len(),
            chosen=pl.col("model_response").first(),
            rejected=pl.col("model_response").last(),
            chosen_score=pl.col("score").first(),
            rejected_score=pl.col("score").last(),
        )
        .with_columns(
            pair_id=pl.format("{}.{}", "conversation_id", "turn"),
            score_gap=pl.col("chosen_score") - pl.col("rejected_score"),
        )
        .sort(SAME_QUESTION)
    )
    _refuse(answered.filter(pl.col("answers") > 2), "has more than two answers by one model; a pair has two")
    _refuse(
        answered.filter(pl.col("answers") == 2).filter(pl.col("pair_id").is_duplicated()),
        "has pairs of two models; after the opening turn PRISM goes on with one model",
    )
    return answered


def _refuse(senseless: pl.DataFrame, problem: str) -> None:
    if not senseless.is_empty():
        first = senseless.row(0, named=True)
        raise ValueError(
            f"turn {first['turn']} of conversation {first['conversation_id']} {problem} ({len(senseless)} such cases)"
        )


def _conversation_so_far(pairs: pl.DataFrame, utterances: pl.DataFrame) -> pl.DataFrame:
    """`pair_id` and `prompt`: the messages before the pair's two answers.

    Where several answers of a turn carry `if_chosen` (their texts are equal) the lowest `within_turn_id` stands; where
    none does, the best-scored, which is the one that PRISM went on with.
    """
    unchosen_rank = pl.when("if_chosen").then(0).otherwise(-pl.col("score"))
    turns = (
        utterances.sort(~pl.col("if_chosen"), unchosen_rank, "within_turn_id")
        .group_by("conversation_id", "turn")
        .agg(user=pl.col("user_prompt").first(), assistant=pl.col("model_response").first())
    )
    messages = turns.unpivot(
        ["user", "assistant"], index=["conversation_id", "turn"], variable_name="role", value_name="content"
    )
    return (
        pairs.select("pair_id", "conversation_id", at="turn")
        .join(messages, on="conversation_id")
        .filter((pl.col("turn") < pl.col("at")) | ((pl.col("turn") == pl.col("at")) & (pl.col("role") == "user")))
        .sort("pair_id", "turn", pl.col("role") == "assistant")
        .group_by("pair_id", maintain_order=True)
        .agg(prompt=pl.struct("role", "content"))
    )
