"""What splits and evidence know of a user: the survey's answers and how the user scored."""

import polars as pl

STATED = ("values", "creativity", "fluency", "factuality", "diversity", "safety", "personalisation", "helpfulness")


def user_covariates(survey: pl.DataFrame, utterances: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """One row per participant of the survey, in its order, with the columns of `prism.users`.

    `region` is the UN region of residence. A user who scored nothing has 0 counts and null means; `sd_score` has n - 1
    in the denominator, so it is null for a single score; `mean_score_gap` is over the user's pairs, ties excluded.
    """
    scoring = utterances.group_by("user_id").agg(
        conversations=pl.col("conversation_id").n_unique(),
        utterances=pl.len(),
        mean_score=pl.col("score").mean(),
        sd_score=pl.col("score").std(),
    )
    preferring = pairs.group_by("user_id").agg(pairs=pl.len(), mean_score_gap=pl.col("score_gap").mean())
    counts = "conversations", "utterances", "pairs"
    return (
        survey.join(scoring, on="user_id", how="left", maintain_order="left")
        .join(preferring, on="user_id", how="left", maintain_order="left")
        .with_columns(pl.col(counts).fill_null(0).cast(pl.Int64))
        .select(
            "user_id",
            "age",
            "gender",
            "education",
            pl.col("location").struct.field("reside_region").alias("region"),
            pl.col("lm_familiarity").alias("familiarity"),
            *(pl.col("stated_prefs").struct.field(name).alias(f"stated_{name}") for name in STATED),
            "conversations",
            "utterances",
            "mean_score",
            "sd_score",
            "pairs",
            "mean_score_gap",
        )
    )
