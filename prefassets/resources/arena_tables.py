"""The tables that Python writes of Arena: battles, predictions of who wins them, and what those are worth."""

import polars as pl

from prefassets.resources.table import BOOLEAN, INTEGER, REAL, TEXT, Column, Table, optional

TEXTS = pl.List(pl.String())
BATTLE = Column(TEXT, "the battle's identifier, as its source has it")
WINNER = Column(TEXT, "what the person said: A, B, or tie (equally good, or both bad)")
PROMPT_DIGEST = Column(TEXT, "digest of the first turn's prompt, normalised; battles that share it are one unit")
RECIPE = Column(TEXT, "the recipe's name")
MODEL = Column(TEXT, "`tiny` or a Hugging Face model id")
REVISION = Column(TEXT, "revision of the base model")
PREDICTOR = Column(
    TEXT,
    "what predicts: a recipe's name, a base model as `model@max_tokens:precision:prompt`, or a baseline: prior (shares "
    "of winners in training), longer (those shares given which answer is longer), length_and_words (gradient-boosted "
    "trees on lengths, format and TF-IDF)",
)
FINGERPRINT = Column(TEXT, "digest of everything that determines it")
BATTLES = Column(INTEGER, "battles")
PROMPTS = Column(INTEGER, "different prompts (`prompt_digest`) among them: what is drawn again for intervals")
LOWER = optional(REAL, "lower end of the 95 % interval, prompts drawn again")
UPPER = optional(REAL, "upper end")
ORDERS = Column(
    TEXT,
    "given: the answers as the battle has them; both: mean probabilities of that and of the answers exchanged",
)
MEASURED = Column(
    TEXT,
    "log_loss (nats), accuracy, brier (sum over the three), calibration_error (expected, ten bins of equal size), "
    "swap_consistency (share of battles whose predicted winner stays when the answers are exchanged), first_shown "
    "(mean probability that the answer shown first wins, minus that of the second, over both orders)",
)
JUDGED = {"predictor": PREDICTOR, "orders": ORDERS}

BATTLE_COLUMNS = {
    "battle": BATTLE,
    "model_a": Column(TEXT, "who wrote the answers A"),
    "model_b": Column(TEXT, "who wrote the answers B"),
    "prompts": Column(TEXTS, "the prompt of each turn; empty text where it had none"),
    "answers_a": Column(TEXTS, "answer A to each; empty text where it had none"),
    "answers_b": Column(TEXTS, "answer B to each"),
    "winner": WINNER,
    "turns": Column(INTEGER, "turns, 1 or more"),
    "length_a": Column(INTEGER, "characters of all answers A"),
    "length_b": Column(INTEGER, "characters of all answers B"),
    "prompt_digest": PROMPT_DIGEST,
}
DROPPED_COLUMNS = {
    "reason": Column(TEXT, "what is wrong with them"),
    "rows": Column(INTEGER, "rows of the source that are left out for it"),
    "examples": Column(TEXTS, "up to five of them: identifier, or line of the file, and what was found there"),
}
FOLD_COLUMNS = {
    "battle": BATTLE,
    "prompt_digest": PROMPT_DIGEST,
    "fold": Column(INTEGER, "0 to 9; battles of one prompt are in one fold"),
    "part": Column(TEXT, "held_out (folds 0 and 1), validation (2: early stopping), or training"),
}
PREDICTION_COLUMNS = {
    "predictor": PREDICTOR,
    "battle": BATTLE,
    "a": Column(REAL, "probability that A wins, 0-1; with b and tie 1"),
    "b": Column(REAL, "probability that B wins"),
    "tie": Column(REAL, "probability of a tie"),
    "a_swapped": optional(REAL, "the same with the answers exchanged, still of A; empty for baselines"),
    "b_swapped": optional(REAL, "of B"),
    "tie_swapped": optional(REAL, "of a tie"),
    "tokens": optional(INTEGER, "tokens that the model read, template included; empty for baselines"),
    "left_out": optional(INTEGER, "tokens of prompt and answers that did not fit; empty for baselines"),
}
PREDICTED = {**PREDICTION_COLUMNS, "fingerprint": FINGERPRINT}
CURVE_COLUMNS = {
    "adapter": Column(INTEGER, "which of the recipe's adapters, from 0"),
    "step": Column(INTEGER, "optimiser step, from 1"),
    "loss": Column(REAL, "mean loss of the batch, nats: minus the log of the winner's digit among the three"),
    "accuracy": Column(REAL, "share of the batch whose winner's digit is the likeliest: token accuracy of the answer"),
    "learning_rate": Column(REAL, "learning rate of the step"),
    "gradient_norm": optional(REAL, "norm of the gradient before it is clipped"),
    "battles_seen": Column(INTEGER, "battles seen so far, repeats counted"),
    "validation_log_loss": optional(REAL, "log loss of validation after this step; empty between evaluations"),
    "validation_accuracy": optional(REAL, "accuracy of validation"),
}
SCORE_COLUMNS = {
    **JUDGED,
    "metric": MEASURED,
    "estimate": Column(REAL, "its value over the held-out battles"),
    "lower": LOWER,
    "upper": UPPER,
    "battles": BATTLES,
    "prompts": PROMPTS,
}
DIFFERENCE_COLUMNS = {
    **JUDGED,
    "than": Column(TEXT, "the predictor it is compared with, on the same battles; as shown in `orders` if it can be"),
    "metric": MEASURED,
    "difference": Column(REAL, "its value minus the other's; of log_loss, below 0 is better"),
    "lower": LOWER,
    "upper": UPPER,
    "widened_lower": optional(
        REAL, "lower end of what all recipes and base models share (Bonferroni); empty for baselines"
    ),
    "widened_upper": optional(REAL, "upper end"),
    "battles": BATTLES,
    "prompts": PROMPTS,
}
BREAKDOWN_COLUMNS = {
    **JUDGED,
    "dimension": Column(
        TEXT,
        "by what battles are told apart: winner, length, turns, models (pairs with 20 battles or more), fits (whether "
        "all of it was read) or answers (whether one is empty, or both are equal)",
    ),
    "value": Column(TEXT, "which of them"),
    "battles": BATTLES,
    "prompts": PROMPTS,
    "accuracy": Column(REAL, "share whose winner is predicted"),
    "accuracy_lower": LOWER,
    "accuracy_upper": UPPER,
    "log_loss": Column(REAL, "mean log loss, nats"),
    "log_loss_lower": LOWER,
    "log_loss_upper": UPPER,
}
CONFUSION_COLUMNS = {
    **JUDGED,
    "winner": WINNER,
    "predicted": Column(TEXT, "the likeliest winner: A, B or tie"),
    "battles": BATTLES,
}
CALIBRATION_COLUMNS = {
    **JUDGED,
    "winner": WINNER,
    "bin": Column(INTEGER, "0 to 9: tenths of the battles, by the probability of this winner"),
    "probability": Column(REAL, "mean probability predicted"),
    "frequency": Column(REAL, "share of the battles in which it won"),
    "lower": Column(REAL, "lower end of that share's 95 % Wilson interval"),
    "upper": Column(REAL, "upper end"),
    "battles": BATTLES,
}


def arena_artifact(recipe: str) -> str:
    """Name of a recipe's adapter in the store."""
    return f"arena/{recipe}"


ARENA_TABLES = (
    Table(
        "arena.battles",
        "One row per battle: two models' answers to the same prompts, and which one a person preferred.",
        BATTLE_COLUMNS,
    ),
    Table(
        "arena.dropped",
        "One row per reason for which rows of the source are no battle.",
        DROPPED_COLUMNS,
    ),
    Table(
        "arena.folds",
        "One row per battle: the part that it is in. Battles that share a prompt are in one fold.",
        FOLD_COLUMNS,
    ),
    Table(
        "arena.recipe",
        "One row per recipe of this version.",
        {
            "recipe": RECIPE,
            "question": Column(TEXT, "what it is to find out"),
            "variant_of": optional(TEXT, "the recipe that it changes, and is compared with"),
            "changes": Column(TEXT, "in which settings it differs from that"),
            "base": Column(TEXT, "the base model's own predictions that it is compared with, never in 4 bits"),
            "model": MODEL,
            "quantised": Column(BOOLEAN, "whether the base model is held in 4 bits (QLoRA)"),
            "prompt": Column(TEXT, "which prompt template"),
            "max_tokens": Column(INTEGER, "tokens of prompt and answers that the model reads"),
            "modules": Column(TEXT, "layers that have adapters"),
            "rank": Column(INTEGER, "rank of the adapters"),
            "alpha": Column(INTEGER, "their scale, over the rank"),
            "dropout": Column(REAL, "share of their inputs that a training step leaves out"),
            "precision": Column(TEXT, "float32 or bfloat16"),
            "steps": Column(INTEGER, "most optimiser steps"),
            "batch_size": Column(INTEGER, "battles of one step"),
            "learning_rate": Column(REAL, "highest learning rate"),
            "warmup_steps": Column(INTEGER, "steps until it is reached"),
            "schedule": Column(TEXT, "how it decays: cosine or linear"),
            "weight_decay": Column(REAL, "decay of weights (AdamW)"),
            "evaluate_every": Column(INTEGER, "steps between two looks at validation"),
            "patience": optional(INTEGER, "evaluations without a better one that end it; empty: all steps are taken"),
            "swapped": Column(BOOLEAN, "whether half of the battles are shown with their answers exchanged"),
            "hard_share": optional(REAL, "share of what is shown from the quarter that the base model predicts worst"),
            "order": Column(TEXT, "shuffled, or easiest first"),
            "adapters": Column(INTEGER, "adapters that are averaged"),
            "seed": Column(INTEGER, "of the order of battles and the first weights"),
        },
    ),
    Table(
        "arena.states",
        "One row per recipe: what the home holds of it. What `prefassets arena list` prints.",
        {
            "recipe": RECIPE,
            "state": Column(
                TEXT,
                "finished; missing (no adapter); unscored (no predictions of today's held-out battles by it, or by its "
                "base model); stale (trained by another recipe, or on other battles, than there are now)",
            ),
            "reason": Column(TEXT, "what is missing, or what differs; empty if finished"),
        },
    ),
    Table(
        "arena.adapter",
        "One row per trained recipe: what it cost, where it ran, and where the adapter is.",
        {
            "recipe": RECIPE,
            "model": MODEL,
            "revision": REVISION,
            "quantised": Column(BOOLEAN, "whether the base model was held in 4 bits"),
            "training_battles": Column(INTEGER, "battles that it could learn from"),
            "steps": Column(INTEGER, "optimiser steps taken, of all its adapters"),
            "best_steps": Column(pl.List(pl.Int64()), "the step whose weights each of its adapters has"),
            "stopped_early": Column(BOOLEAN, "whether one of them ended before its last step"),
            "validation_log_loss": Column(REAL, "log loss of validation, of the adapter that is kept"),
            "tokens": Column(INTEGER, "tokens read in training"),
            "seconds": Column(REAL, "wall-clock seconds that training took, validation included"),
            "device": Column(TEXT, "what it trained on: `cpu`, or the GPU's name"),
            "node": Column(TEXT, "the machine, in a cluster the node"),
            "pod": optional(TEXT, "the pod; empty outside a cluster"),
            "image": optional(TEXT, "the pod's image with its digest; empty where the cluster did not say"),
            "engine": Column(TEXT, "what trained it, with versions"),
            "source": Column(TEXT, "where the battles came from"),
            "uri": Column(TEXT, "folder of the adapter in PEFT layout, relative to the home"),
            "fingerprint": FINGERPRINT,
            "run_id": Column(TEXT, "the Dagster run"),
            "finished_at": Column(pl.Datetime("us", "UTC"), "when the record was written"),
        },
        ("recipe",),
        arena_artifact,
    ),
    Table(
        "arena.curve",
        "One row per (trained recipe, adapter, step): loss, accuracy, and validation where it was looked at.",
        {"recipe": RECIPE, **CURVE_COLUMNS},
        ("recipe",),
        arena_artifact,
    ),
    Table(
        "arena.baseline_eval",
        "One row per (baseline, held-out battle): how likely each winner is, from what cannot read the answers.",
        PREDICTED,
    ),
    Table(
        "arena.base_eval",
        "One row per (base model, held-out battle): how likely each winner is, by the model without an adapter.",
        PREDICTED,
        ("predictor",),
    ),
    Table(
        "arena.finetuned_eval",
        "One row per (recipe, held-out battle): how likely each winner is, by the model with the recipe's adapter.",
        PREDICTED,
        ("predictor",),
    ),
    Table(
        "arena.comparison",
        "One row per (predictor, orders, metric): how well held-out battles are predicted, baselines beside models.",
        {**SCORE_COLUMNS, "fingerprint": Column(TEXT, "of the predictions that it is of")},
    ),
    Table(
        "arena.difference",
        "One row per (predictor, orders, other predictor, metric): which is better, on the same held-out battles.",
        DIFFERENCE_COLUMNS,
    ),
    Table(
        "arena.breakdown",
        "One row per (predictor, orders, kind of battle): where it is right and where it is not.",
        BREAKDOWN_COLUMNS,
    ),
    Table(
        "arena.confusion",
        "One row per (predictor, orders, winner, predicted winner).",
        CONFUSION_COLUMNS,
    ),
    Table(
        "arena.calibration",
        "One row per (predictor, orders, winner, bin): whether what is said to be likely happens as often.",
        CALIBRATION_COLUMNS,
    ),
)
