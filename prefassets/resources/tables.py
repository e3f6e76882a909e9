"""Every table that Python writes, declared once: columns, types, comments, partitions.

The same declaration makes the empty table, checks every write, and feeds Dagster's column schema, the comments in
`warehouse.duckdb` and the data dictionary. Those of a language model's own preferences are in `preference_tables.py`,
those of probes in `probe_tables.py`.
Tables that SQL writes declare themselves in `sql/` (see `sql_tables.py`).
"""

import polars as pl

from prefassets.domain.prism.released import SURVEY_COLUMNS, UTTERANCE_COLUMNS
from prefassets.resources.arena_tables import ARENA_TABLES
from prefassets.resources.preference_tables import PREFERENCE_TABLES
from prefassets.resources.probe_tables import PROBE_TABLES, READ, READING
from prefassets.resources.table import BOOLEAN, INTEGER, REAL, TEXT, Column, Table, optional

MESSAGES = pl.List(pl.Struct({"role": pl.String(), "content": pl.String()}))

STUDY = Column(TEXT, "the study's name")
COHORT = Column(TEXT, "who the adapter learned from: `<split>.A`, `<split>.B` or `everyone`")
SPLIT = Column(TEXT, "the split, a rule that puts users in group A, B or neither")
CELL_SPLIT = optional(TEXT, "the split of the cohort; empty for `everyone`")
CELL_GROUP = optional(TEXT, "the cohort's group, `A` or `B`; empty for `everyone`")
SEED = Column(INTEGER, "the replicate: fixes adapter initialisation and data order")
FOLD = Column(INTEGER, "the held-out fold, 0 to 4")
FINGERPRINT = Column(TEXT, "digest of everything that determines the adapter")
TASK_ID = Column(TEXT, "the task: `alpaca_1400` is row 1400 of Alpaca, counted from 0; `synthetic_...` was made here")
RESPONSE = Column(TEXT, "`chosen` or `rejected`")
PAIR_ID = Column(TEXT, "`<conversation_id>.<turn>`")
REASON = optional(TEXT, "why a value is empty, where one is")
BASE_MODEL = Column(TEXT, "`tiny`, or a Hugging Face model id")
REFERENCE = Column(TEXT, "which reference pass: `<base model>@<maximum length>:<precision>`")
PASS_COLUMNS = {
    "reference": REFERENCE,
    "base_model": BASE_MODEL,
    "revision": Column(TEXT, "revision of the base model"),
}

CELL_COLUMNS = {
    "study": STUDY,
    "cohort": COHORT,
    "split": CELL_SPLIT,
    "user_group": CELL_GROUP,
    "seed": SEED,
    "fold": FOLD,
    "fingerprint": FINGERPRINT,
}
CELL_PARTITION = ("study", "cohort", "seed", "fold")


def cell_artifact(study: str, cohort: str, seed: str, fold: str) -> str:
    """Name of a cell's adapter in the store: `demo/age.A/seed-42`, or `seed-42.f1` for another fold than 0."""
    return f"{study}/{cohort}/seed-{seed}" + (f".f{fold}" if fold != "0" else "")


EVIDENCE_COLUMNS = {
    "outcome": Column(
        TEXT, "score_gap, score_gap_ties (ties are the lowest bin) or score_gap_in_sd (over the user's score SD)"
    ),
    "model": Column(TEXT, "`joint` (all covariates together) or `alone` (one at a time)"),
    "covariate": Column(TEXT, "the user covariate, a column of prism.users"),
    "term": Column(TEXT, "the category, or `per point` of stated importance (0-100)"),
    "reference": optional(TEXT, "the category that the term is read against"),
    "coefficient": optional(REAL, "log odds of a larger gap, per unit of the term"),
    "odds_ratio": optional(REAL, "exp(coefficient)"),
    "naive_se": optional(REAL, "standard error if pairs were independent"),
    "naive_p": optional(REAL, "two-sided p with naive_se"),
    "clustered_se": optional(REAL, "standard error clustered by user (CR1)"),
    "clustered_p": optional(REAL, "two-sided p with clustered_se"),
    "clustered_low": optional(REAL, "lower end of the 95 % interval with clustered_se"),
    "clustered_high": optional(REAL, "upper end of the 95 % interval with clustered_se"),
    "design_effect": optional(REAL, "clustered variance / naive variance"),
    "marginal_effect_pp": optional(
        REAL, "average marginal effect per unit of the term on the probability of the highest bin, points"
    ),
    "marginal_effect_se_pp": optional(REAL, "its user-clustered standard error (delta method), points"),
    "pairs": Column(INTEGER, "pairs in the model"),
    "users": Column(INTEGER, "their users: the clusters"),
    "state": Column(TEXT, "`ok`, or why there are no numbers"),
}


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "prism.survey",
            "One row per participant: the released `survey.jsonl`, as released.",
            {name: Column(*column) for name, column in SURVEY_COLUMNS.items()},
        ),
        Table(
            "prism.utterances",
            "One row per scored response: the released `utterances.jsonl`, as released.",
            {name: Column(*column) for name, column in UTTERANCE_COLUMNS.items()},
        ),
        Table(
            "prism.planted_truth",
            "What synthetic PRISM planted, one row per split and quantity; empty for real data. No verdict reads it.",
            {
                "split": Column(TEXT, "the split, or the covariate behind it"),
                "effect": Column(TEXT, "strength, direction, gap_size or none"),
                "quantity": Column(TEXT, "contrast_pp, interaction_pp, or log_odds of a larger score gap"),
                "value": Column(REAL, "the planted value, in the unit that the quantity names"),
                "description": Column(TEXT, "the planted effect in words"),
            },
        ),
        Table(
            "prism.pairs",
            "One row per within-model pair: two answers by one model to one prompt of one user, better score first.",
            {
                "pair_id": PAIR_ID,
                "user_id": Column(TEXT, "the participant who asked and scored"),
                "conversation_id": Column(TEXT, "the conversation"),
                "turn": Column(INTEGER, "turn within the conversation, 1 or later"),
                "model_name": Column(TEXT, "the model that wrote both answers"),
                "prompt": Column(MESSAGES, "the conversation so far, ending with the user's prompt"),
                "chosen": Column(TEXT, "the answer with the higher score"),
                "rejected": Column(TEXT, "the answer with the lower score"),
                "chosen_score": Column(INTEGER, "score of the chosen answer, 1-100 points"),
                "rejected_score": Column(INTEGER, "score of the rejected answer, 1-100 points"),
                "score_gap": Column(INTEGER, "chosen_score - rejected_score, 1-99 points"),
            },
        ),
        Table(
            "prism.users",
            "One row per participant: the covariates that splits and evidence use.",
            {
                "user_id": Column(TEXT, "the participant"),
                "age": Column(TEXT, "age band, as released"),
                "gender": Column(TEXT, "gender, as released"),
                "education": Column(TEXT, "education, as released"),
                "region": Column(TEXT, "UN region of residence"),
                "familiarity": Column(TEXT, "familiarity with language models, as released"),
                **{
                    f"stated_{name}": optional(INTEGER, f"stated importance of {name}, 0-100; empty if not given")
                    for name in (
                        "values",
                        "creativity",
                        "fluency",
                        "factuality",
                        "diversity",
                        "safety",
                        "personalisation",
                        "helpfulness",
                    )
                },
                "conversations": Column(INTEGER, "conversations held"),
                "utterances": Column(INTEGER, "responses scored"),
                "mean_score": optional(REAL, "mean of all scores given, points"),
                "sd_score": optional(REAL, "standard deviation of all scores given (n - 1), points"),
                "pairs": Column(INTEGER, "within-model pairs with a gap of at least 1"),
                "mean_score_gap": optional(
                    REAL, "behavioural discrimination: mean score gap of the user's pairs, points"
                ),
            },
        ),
        Table(
            "prism.folds",
            "One row per user with pairs: the fold whose held-out set the user belongs to, the same for every cell.",
            {"user_id": Column(TEXT, "the participant"), "fold": FOLD},
        ),
        Table(
            "tasks.tasks",
            "One row per task that a language model may be asked to do, from released data sets or made here.",
            {
                "task_id": TASK_ID,
                "origin": Column(
                    TEXT, "the data set, or its kind: `MATH`, `ALPACA`, `WILDCHAT`, `BAILBENCH`, `MT_BENCH`"
                ),
                "topic": optional(TEXT, "what it is about, as the data set says; empty where it says nothing"),
                "text": Column(TEXT, "what the model is asked to do, in English as far as is known"),
            },
        ),
        Table(
            "splits.assignments",
            "One row per split and user with pairs: group A, B or neither, and the rule that decided.",
            {
                "split": SPLIT,
                "user_id": Column(TEXT, "the participant"),
                "user_group": optional(TEXT, "`A`, `B`, or empty for neither"),
                "rule": Column(TEXT, "the rule of the split in words"),
            },
        ),
        Table(
            "splits.balance",
            "One row per split and group: its size.",
            {
                "split": SPLIT,
                "user_group": Column(TEXT, "`A`, `B` or `neither`"),
                "label": Column(TEXT, "who is in the group"),
                "users": Column(INTEGER, "users with pairs"),
                "pairs": Column(INTEGER, "their pairs"),
                "pairs_per_user": optional(REAL, "mean number of pairs of a user; empty for a group of nobody"),
                "mean_score_gap": optional(REAL, "mean score gap of those pairs, points"),
            },
        ),
        Table(
            "splits.covariate_balance",
            "One row per split, covariate and category: how differently it is distributed over the users of A and B.",
            {
                "split": SPLIT,
                "covariate": Column(TEXT, "a column of prism.users"),
                "category": Column(TEXT, "one answer, or `mean` for a number"),
                "users_a": Column(INTEGER, "users of A with an answer"),
                "users_b": Column(INTEGER, "users of B with an answer"),
                "value_a": optional(REAL, "mean of A's users, or share of them in the category (0-1)"),
                "value_b": optional(REAL, "the same of B's users"),
                "standardised_difference": optional(
                    REAL, "A - B over the root mean square of the groups' standard deviations (Austin 2009); no unit"
                ),
                "imbalanced": optional(BOOLEAN, "whether it exceeds .1 in either direction"),
                "reason": REASON,
            },
        ),
        Table(
            "splits.source_models",
            "One row per split and model: how much of each group's pairs it wrote.",
            {
                "split": SPLIT,
                "model_name": Column(TEXT, "the model that wrote both answers"),
                "pairs_a": Column(INTEGER, "A's pairs of that model"),
                "pairs_b": Column(INTEGER, "B's pairs of that model"),
                "share_a": optional(REAL, "share of A's pairs, 0-1; empty for a group without pairs"),
                "share_b": optional(REAL, "share of B's pairs, 0-1; empty for a group without pairs"),
                "difference_pp": optional(REAL, "share_a - share_b, points"),
            },
        ),
        Table(
            "splits.source_mix",
            "One row per split: whether A's and B's pairs come from the models in the same proportions.",
            {
                "split": SPLIT,
                "models": Column(INTEGER, "models with pairs in either group"),
                "users_a": Column(INTEGER, "users of A with pairs"),
                "users_b": Column(INTEGER, "users of B with pairs"),
                "statistic": optional(REAL, "chi-square corrected for pairs of one user (Rao and Scott 1981)"),
                "df": optional(REAL, "its degrees of freedom, at most models - 1"),
                "p": optional(REAL, "its p: of such a difference between random groups of users"),
                "naive_p": optional(REAL, "p of Pearson's chi-square, which takes pairs for independent: too small"),
                "reason": REASON,
            },
        ),
        Table(
            "splits.exposure",
            "One row per study, split and fold: how often the adapters of A and of B see each of their pairs.",
            {
                "study": STUDY,
                "split": SPLIT,
                "fold": FOLD,
                "users_a": Column(INTEGER, "users that A's adapters learn from"),
                "users_b": Column(INTEGER, "users that B's adapters learn from"),
                "pairs_a": Column(INTEGER, "pairs that A's adapters learn from"),
                "pairs_b": Column(INTEGER, "pairs that B's adapters learn from"),
                "epochs_a": optional(REAL, "times that A's adapters see each of them; empty if there are none"),
                "epochs_b": optional(REAL, "times that B's adapters see each of them; empty if there are none"),
                "exposure_ratio": optional(REAL, "the larger number of epochs over the smaller, 1 or more"),
                "unlike_sources_pp": optional(
                    REAL, "points of these pairs that would have to be of another source model for A's mix to be B's"
                ),
            },
        ),
        Table(
            "splits.sample_ratio",
            "One row per assignment, stratum and group: whether users were dealt out as was meant.",
            {
                "assignment": Column(TEXT, "a placebo split, or `folds`"),
                "within": Column(TEXT, "`all users`, or what divides them into strata: `age`, `region`, `fold`"),
                "stratum": Column(TEXT, "which stratum; `other` pools the small ones"),
                "assigned_to": Column(TEXT, "`A` or `B` of a placebo, or the fold"),
                "users": Column(INTEGER, "users assigned"),
                "expected_users": Column(REAL, "users expected: the stratum's, divided evenly"),
                "statistic": optional(REAL, "chi-square, summed over the strata of this assignment"),
                "df": optional(INTEGER, "its degrees of freedom"),
                "p": optional(REAL, "its p; small: not dealt as meant"),
                "reason": REASON,
            },
        ),
        Table(
            "evidence.w2_logit",
            "One row per (outcome, model, covariate, term): binary logit of a score gap above the W2 cut (14 points).",
            EVIDENCE_COLUMNS,
        ),
        Table(
            "evidence.ordered_logit",
            "One row per (outcome, model, covariate, term): ordered logit of the binned score gap (cuts 6, 14, 29).",
            EVIDENCE_COLUMNS,
        ),
        Table(
            "evidence.selection",
            "One row per test and covariate, and per split that cannot be tested: does the covariate shift score gaps?",
            {
                "test": Column(
                    TEXT, "`W2` (binary logit) or `OL` (ordered logit) of score_gap, all covariates jointly"
                ),
                "covariate": optional(TEXT, "the covariate; empty for a split that is not tested"),
                "split": optional(TEXT, "the split that asks about it; empty if none does"),
                "term": optional(TEXT, "the category, or `per point`, that beta belongs to"),
                "beta": optional(REAL, "log odds of a larger gap; for a category, of the level furthest from 0"),
                "degrees_of_freedom": optional(INTEGER, "coefficients that the Wald test holds to be zero"),
                "naive_p": optional(REAL, "p of that test if pairs were independent"),
                "clustered_p": optional(REAL, "p of that test with user-clustered errors"),
                "threshold": Column(REAL, "p below which the covariate is selected"),
                "selected_naive": optional(BOOLEAN, "naive_p below the threshold"),
                "selected_clustered": optional(BOOLEAN, "clustered_p below the threshold"),
                "log_odds_a_minus_b": optional(REAL, "the covariate's log odds for A's pairs minus B's, others fixed"),
                "direction_naive_p": optional(REAL, "naive p of log_odds_a_minus_b against 0"),
                "direction_clustered_p": optional(REAL, "user-clustered p of log_odds_a_minus_b against 0"),
                "predicted": optional(TEXT, "`A > B` or `A < B`: higher is who the covariate gives larger gaps"),
                "pairs": optional(INTEGER, "pairs in the model"),
                "users": optional(INTEGER, "their users: the clusters"),
                "state": Column(TEXT, "`ok`, or what is missing and why"),
            },
        ),
        Table(
            "studies.study",
            "One row per study: what is asked and how it is trained.",
            {
                "study": STUDY,
                "question": Column(TEXT, "what the study asks"),
                "method": Column(TEXT, "the loss"),
                "weighted": Column(BOOLEAN, "whether the loss weighs pairs by how likely the policy is to write them"),
                "base_model": BASE_MODEL,
                "reference": REFERENCE,
                "steps": Column(INTEGER, "optimiser steps per adapter"),
                "batch_size": Column(INTEGER, "pairs per step"),
                "beta": Column(REAL, "DPO temperature"),
                "learning_rate": Column(REAL, "learning rate at the first step"),
                "lora_rank": Column(INTEGER, "rank of the adapters"),
                "lora_alpha": Column(INTEGER, "scale of the adapters, alpha / rank"),
                "lora_dropout": Column(REAL, "share of an adapter's inputs that a training step leaves out, 0-1"),
                "max_pairs": optional(INTEGER, "cap on training pairs per cohort; empty: all"),
                "max_length": Column(INTEGER, "tokens of prompt plus response"),
                "log_every": Column(INTEGER, "the reports' logging interval, steps"),
                "seeds": Column(pl.List(pl.Int64()), "planned seeds"),
                "folds": Column(pl.List(pl.Int64()), "planned held-out folds"),
                "matching": Column(
                    TEXT,
                    "how A and B of a split learn: `as large as they are`, from `equally many pairs`, or from `equally "
                    "many pairs of each source model`, on which they are then judged too",
                ),
                "variant_of": optional(TEXT, "the study that this one repeats with one thing changed, if any"),
                "cells": Column(INTEGER, "adapters planned"),
                "deviations": Column(pl.List(pl.String()), "what differs from the report it follows"),
            },
        ),
        Table(
            "studies.split",
            "One row per study and split: what the study expects of it.",
            {
                "study": STUDY,
                "split": SPLIT,
                "role": Column(TEXT, "directional, null control, exploratory, or placebo (random halves of the users)"),
                "expected": Column(TEXT, "`A > B`, `A < B`, `A = B` or `exploratory`"),
                "expected_sign": optional(INTEGER, "sign of A - B that is expected: 1, -1, 0; empty if exploratory"),
                "null_tolerance_pp": Column(REAL, "difference that still counts as none, points"),
                "seeds_planned": Column(INTEGER, "seeds the study plans"),
            },
        ),
        Table(
            "studies.gate",
            "One row per study and gate: what must hold before the study's verdicts are read, and what if it does not.",
            {
                "study": STUDY,
                "gate": Column(TEXT, "`baseline_trained` or `null_controls_hold`"),
                "wanted_pp": Column(
                    REAL, "least baseline pref_acc (percent), or largest difference (points) that is none"
                ),
                "on_failure": Column(
                    TEXT, "`warn`, or `withhold`: verdicts are INCONCLUSIVE while the gate fails or is not measured"
                ),
            },
        ),
        Table(
            "studies.cell",
            "One row per planned cell of every study.",
            {
                "study": STUDY,
                "cohort": COHORT,
                "split": CELL_SPLIT,
                "user_group": CELL_GROUP,
                "seed": SEED,
                "fold": FOLD,
                "cell": Column(TEXT, "the Dagster partition key, `cohort|seed`"),
            },
        ),
        Table(
            "model.base",
            "One row per base model in use.",
            {
                "base_model": BASE_MODEL,
                "revision": Column(TEXT, "commit of the model repository, or digest of the weights"),
                "source": Column(TEXT, "`trained here` or `hub`"),
                "architecture": Column(TEXT, "the model class"),
                "parameters": Column(INTEGER, "number of weights"),
                "vocabulary": Column(INTEGER, "number of tokens"),
                "hidden_size": Column(INTEGER, "width of the residual stream"),
                "layers": Column(INTEGER, "number of transformer layers"),
                "tokens_seen": optional(INTEGER, "tokens trained on here; empty for hub models"),
                "final_loss": optional(REAL, "training loss at the end, nats per token; empty for hub models"),
            },
            ("base_model",),
        ),
        Table(
            "model.reference",
            "One row per (base model, pair, response): what one pass of the frozen base model found.",
            {
                **PASS_COLUMNS,
                "pair_id": PAIR_ID,
                "response": RESPONSE,
                "logp": Column(REAL, "sum of log pi_ref over the response's tokens, nats"),
                "tokens": Column(INTEGER, "tokens of the response, its end token included"),
                "prompt_tokens": Column(INTEGER, "tokens of the prompt after truncation"),
                "truncated_tokens": Column(INTEGER, "tokens cut from prompt and response to fit the maximum length"),
                "alignment_sum": Column(REAL, "sum over tokens of log pi(y) - log sum_v pi(v)^2, nats (WPO)"),
                "hidden_mean": Column(
                    pl.List(pl.Float32()), "mean of the last hidden state over the response's tokens"
                ),
            },
            ("reference",),
        ),
        Table(
            "model.activations",
            "One row per (reference pass, pair, response, layer, position): hidden states of the frozen base model, on "
            "the held-out pairs that adapters are read on, too.",
            {**PASS_COLUMNS, "fingerprint": READING, "pair_id": PAIR_ID, "response": RESPONSE, **READ},
            ("reference",),
        ),
        Table(
            "model.on_policy",
            "One row per answer that the base model wrote itself to a sample of the pairs' prompts, two plain samples "
            "(no top-k, top-p or penalty) and a greedy one per prompt: what on-policy text weighs.",
            {
                **PASS_COLUMNS,
                "sampling": Column(
                    TEXT, "`T = 1` (from the model's own distribution) or `greedy` (the likeliest token)"
                ),
                "pair_id": Column(TEXT, "the pair whose prompt is answered, cut as for the reference pass"),
                "answer": Column(INTEGER, "1 or 2; 1 alone for `greedy`"),
                "text": Column(TEXT, "the answer"),
                "tokens": Column(INTEGER, "tokens of the answer, the end of turn that it wrote included"),
                "alignment_sum": Column(REAL, "sum over tokens of log pi(y) - log sum_v pi(v)^2, nats (WPO)"),
                "finished": Column(BOOLEAN, "whether it ended by itself within the maximum length; if not, it is cut"),
            },
            ("reference",),
        ),
        Table(
            "training.cells",
            "One row per finished cell: its recipe, what it cost and where it ran.",
            {
                **CELL_COLUMNS,
                "recipe": Column(
                    TEXT, "digest of what the cells of one study share: method, base model, hyperparameters"
                ),
                "method": Column(TEXT, "the loss"),
                "base_model": BASE_MODEL,
                "base_revision": Column(TEXT, "revision of the base model"),
                "steps": Column(INTEGER, "optimiser steps taken"),
                "train_users": Column(INTEGER, "users the adapter learned from"),
                "train_pairs": Column(INTEGER, "distinct training pairs"),
                "epochs": Column(REAL, "times each training pair was seen"),
                "final_loss": Column(REAL, "loss of the last step"),
                "tokens": Column(INTEGER, "tokens read in training, a pair's prompt counted once"),
                "seconds": Column(REAL, "the cell's share of the time that its pack trained, wall-clock seconds"),
                "cells_in_pack": Column(INTEGER, "most cells that were trained together with it, itself included"),
                "device": Column(TEXT, "what it trained on: `cpu`, or the GPU's name"),
                "node": Column(TEXT, "the machine, in a cluster the node"),
                "pod": optional(TEXT, "the pod; empty outside a cluster"),
                "image": optional(TEXT, "the pod's image with its digest; empty where the cluster did not say"),
                "engine": Column(TEXT, "what trained it"),
                "prism_source": Column(TEXT, "where the data came from"),
                "adopted_from": optional(TEXT, "study whose identical cell this is; empty if trained for this study"),
                "run_id": Column(TEXT, "the Dagster run"),
                "finished_at": Column(pl.Datetime("us", "UTC"), "when the record was written"),
            },
            CELL_PARTITION,
            cell_artifact,
        ),
        Table(
            "training.states",
            "One row per planned cell of every study: what the home holds of it. What `prefassets missing` prints.",
            {
                "study": STUDY,
                "cohort": COHORT,
                "split": CELL_SPLIT,
                "user_group": CELL_GROUP,
                "seed": SEED,
                "fold": FOLD,
                "cell": Column(TEXT, "the Dagster partition key, `cohort|seed`"),
                "state": Column(
                    TEXT,
                    "finished; missing (no adapter); unscored (no margins on today's held-out pairs); unread (no "
                    "activations that the study wants); stale (trained by another recipe or on other data than the "
                    "study now says)",
                ),
                "reason": Column(TEXT, "what is missing, or which field of the recipe differs; empty if finished"),
            },
        ),
        Table(
            "training.adapters",
            "One row per finished adapter: where it is.",
            {
                **CELL_COLUMNS,
                "uri": Column(TEXT, "folder of the adapter in PEFT layout, relative to the home"),
                "sha256": Column(TEXT, "of adapter_model.safetensors"),
                "bytes": Column(INTEGER, "size of adapter_model.safetensors"),
            },
            CELL_PARTITION,
            cell_artifact,
        ),
        Table(
            "training.log",
            "One row per finished cell and training step: the batch's own loss, margin, accuracy and weights.",
            {
                **CELL_COLUMNS,
                "step": Column(INTEGER, "optimiser step, from 1"),
                "loss": Column(REAL, "mean loss of the batch"),
                "margin": Column(REAL, "mean reward margin of the batch, nats x beta"),
                "pref_acc": Column(REAL, "share of the batch's pairs with margin > 0"),
                "weight_mean": optional(REAL, "mean weight of the batch's pairs, 0-1; empty if the method has none"),
                "weight_min": optional(REAL, "smallest weight of the batch's pairs; empty if the method has none"),
                "weight_clamped": optional(
                    REAL,
                    "share of the batch's pairs whose weight is 1, the largest, to which what would be larger is cut; "
                    "empty if the method has none",
                ),
                "learning_rate": Column(REAL, "learning rate of the step"),
                "pairs_seen": Column(INTEGER, "pairs seen so far, repeats counted"),
                "epoch": Column(REAL, "pairs_seen / distinct training pairs"),
            },
            CELL_PARTITION,
            cell_artifact,
        ),
        Table(
            "training.margins",
            "One row per finished cell and held-out pair: the adapter's reward margin.",
            {
                **CELL_COLUMNS,
                "pair_id": PAIR_ID,
                "margin": Column(REAL, "reward margin, nats x beta; above 0: the adapter prefers the chosen answer"),
            },
            CELL_PARTITION,
            cell_artifact,
        ),
        Table(
            "training.activations",
            "One row per (finished cell, held-out pair, response, layer, position): hidden states with its adapter.",
            {**CELL_COLUMNS, "reading": READING, "pair_id": PAIR_ID, "response": RESPONSE, **READ},
            CELL_PARTITION,
            cell_artifact,
        ),
        Table(
            "verdicts.estimate",
            "One row per (study, split, quantity, metric): what the held-out pairs say, its spread and its tests.",
            {
                "study": STUDY,
                "split": SPLIT,
                "role": Column(TEXT, "directional, null control, exploratory or placebo"),
                "quantity": Column(
                    TEXT,
                    "contrast: A's adapter on A's pairs - B's on B's; "
                    "interaction: (A on A - A on B) - (B on A - B on B), the sum of "
                    "advantage_on_a: A on A - B on A, and advantage_on_b: B on B - A on B; "
                    "difficulty: the baseline on A's pairs - on B's; "
                    "change: the contrast minus that of the study that this one repeats with one thing changed, at the "
                    "seeds and on the users of both",
                ),
                "metric": Column(TEXT, "pref_acc (percentage points) or margin (nats x beta)"),
                "estimate": Column(REAL, "mean over seeds, folds pooled"),
                "standard_error": optional(REAL, "standard error over what `spread` names"),
                "degrees_of_freedom": optional(REAL, "how well the standard error is known (Welch and Satterthwaite)"),
                "lower": optional(REAL, "lower end of the 95 % interval"),
                "upper": optional(REAL, "upper end of the 95 % interval"),
                "p": optional(REAL, "two-sided p of no difference"),
                "p_adjusted": optional(REAL, "the same, adjusted"),
                "adjustment": Column(TEXT, "how, and over how many planned splits of the study"),
                "p_equivalence": optional(REAL, "p of the two one-sided tests within the tolerance; pref_acc only"),
                "minimum_detectable": optional(REAL, "true value that 80 % of repetitions would find at that level"),
                "user_sd": optional(REAL, "part of the standard error that is from users"),
                "user_by_seed_sd": optional(
                    REAL,
                    "standard deviation between seeds that users alone make, whose pairs fall differently at each; "
                    "user_sd has it over the root of the seeds",
                ),
                "seed_sd": optional(
                    REAL, "standard deviation between seeds beyond their users', pooled over the study"
                ),
                "training_sd": optional(REAL, "standard deviation from whom an adapter was trained on, from placebos"),
                "spread": Column(TEXT, "what the standard error contains: users, seeds, training samples"),
                "seeds": Column(INTEGER, "seeds that count"),
                "users_a": Column(INTEGER, "held-out users of A behind it"),
                "users_b": Column(INTEGER, "held-out users of B behind it"),
                "pairs_a": Column(INTEGER, "their pairs"),
                "pairs_b": Column(INTEGER, "their pairs"),
                "note": Column(TEXT, "what could not be told, and why"),
                "digest": Column(TEXT, "digest of what it was made of, as in verdicts.basis"),
            },
            ("study",),
        ),
        Table(
            "verdicts.change_noise",
            "One row per (study, split, readout) whose change of label is counted: how likely noise alone would make "
            "its label a better one, or a worse, given the label before, if neither study had a difference to find. "
            "Simulated, and labelled by the SQL of the reported rule.",
            {
                "study": STUDY,
                "split": SPLIT,
                "readout": Column(TEXT, "held_out or tail, as in verdicts.contrast"),
                "before_label": Column(TEXT, "label of the study that this one repeats, given which all else is told"),
                "noise_better": optional(REAL, "probability that noise alone gives a better label: FIXED or IMPROVED"),
                "noise_worse": optional(REAL, "probability that noise alone gives a worse label"),
                "draws": Column(INTEGER, "simulated pairs of studies with that label before"),
                "between_seeds_sd_pp": optional(
                    REAL, "standard deviation of A - B between seeds, points, pooled over splits and both studies"
                ),
                "own_seed_sd_pp": optional(
                    REAL, "part of it that the studies do not share at one seed, points, from their common seeds"
                ),
                "before_user_sd_pp": optional(
                    REAL, "standard deviation of the other study's A - B from its held-out users, points; 0 on the tail"
                ),
                "after_user_sd_pp": optional(REAL, "the same of this study"),
                "user_correlation": optional(REAL, "correlation of these two parts between the studies"),
                "note": Column(TEXT, "what could not be told, and why"),
                "digest": Column(TEXT, "digest of what it was made of"),
            },
            ("study",),
        ),
        Table(
            "verdicts.heterogeneity",
            "One row per (reference pass, split, group; also the groups' difference and union): do its users prefer "
            "along one direction of the base model's hidden states (0), or each along their own (1)?",
            {
                **PASS_COLUMNS,
                "split": SPLIT,
                "user_group": Column(TEXT, "`A`, `B`, their difference `A - B`, or both together, `A + B`"),
                "pairs": Column(INTEGER, "pairs of the group, or of both"),
                "users": Column(INTEGER, "users with pairs"),
                "users_within": Column(
                    INTEGER, "users with pairs in two or more conversations, who alone count for kappa_within"
                ),
                "kappa_within": optional(
                    REAL, "mean inner product of the directions of two pairs of one user, from different conversations"
                ),
                "kappa_between": optional(REAL, "mean inner product of the directions of two pairs of different users"),
                "heterogeneity": optional(
                    REAL, "H = 1 - kappa_between / kappa_within; of `A - B`: H of A minus H of B. Not cut at 0 and 1"
                ),
                "lower": optional(REAL, "lower end of the 95 % interval over users"),
                "upper": optional(REAL, "upper end of the 95 % interval over users"),
                "draws": Column(INTEGER, "bootstrap draws behind the interval; 0 without one"),
                "state": Column(TEXT, "`estimated`, or `undefined: ` and why H, or its difference, is empty"),
            },
        ),
        Table(
            "weights.source_model",
            "One row per (reference pass, source model): WPO weights of its pairs, as they are and at equal lengths.",
            {
                **PASS_COLUMNS,
                "model_name": Column(TEXT, "the model that wrote both answers"),
                "pairs": Column(INTEGER, "its pairs"),
                "users": Column(INTEGER, "their users"),
                "mean_tokens": Column(REAL, "mean length of its answers, tokens"),
                "mean_weight": Column(REAL, "mean weight of its pairs, 0-1"),
                "lower": optional(REAL, "lower end of the 95 % interval, clustered by user; empty for one user"),
                "upper": optional(REAL, "upper end of the 95 % interval"),
                "adjusted_weight": optional(
                    REAL,
                    "mean weight if its answers were as long as all pairs' answers: least squares of the weight on "
                    "source models and natural cubic splines of the log tokens of the chosen and of the rejected "
                    "answer; empty if lengths and source models cannot be told apart",
                ),
                "adjusted_lower": optional(
                    REAL, "lower end of its 95 % interval, clustered by user, all pairs' lengths taken as given"
                ),
                "adjusted_upper": optional(REAL, "upper end of that interval"),
            },
        ),
        Table(
            "weights.explained",
            "One row per (reference pass, part): how much of the variance of WPO weights goes with response length and "
            "with the source model, each alone and beyond the other.",
            {
                **PASS_COLUMNS,
                "part": Column(
                    TEXT, "response length; source model; source model beyond length; or length beyond source model"
                ),
                "share": optional(REAL, "share of the variance over pairs, 0-1: R squared, or what is added to it"),
                "lower": optional(REAL, "lower end of the 95 % interval over users"),
                "upper": optional(REAL, "upper end of the 95 % interval over users"),
                "by_chance": optional(
                    REAL,
                    "what an unrelated part of as many columns would have in the mean, given how alike a user's pairs "
                    "are. Only what `share` has beyond this says something",
                ),
                "degrees_of_freedom": Column(INTEGER, "coefficients that the test is about; 0 without one"),
                "p": optional(REAL, "p that they are all zero: Wald, clustered by user"),
                "pairs": Column(INTEGER, "pairs"),
                "users": Column(INTEGER, "their users"),
                "state": Column(
                    TEXT,
                    "`estimated`, and which answers are too equally long for a curve; or `undefined: ` and why",
                ),
            },
        ),
        *PREFERENCE_TABLES,
        *PROBE_TABLES,
        *ARENA_TABLES,
    )
}
