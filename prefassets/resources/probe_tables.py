"""The tables of activations and of the probes that are fitted to them, of studies and measurements alike."""

import polars as pl

from prefassets.resources.preference_tables import MEASUREMENT, TASK
from prefassets.resources.table import INTEGER, REAL, TEXT, VECTOR, Column, Table, optional

LAYER = Column(INTEGER, "the layer whose output it is: 0 the embeddings, then 1 to the model's number of layers")
POSITION = Column(
    TEXT,
    "where in the text: prompt_last, prompt_mean, turn_boundary (the last token before the response), response_last or "
    "response_mean",
)
WIDTH = Column(INTEGER, "numbers of the activation: the model's hidden size")
ACTIVATION = Column(VECTOR, "the hidden state")
READING = Column(TEXT, "digest of everything that determines what was read together")
READ = {"layer": LAYER, "position": POSITION, "width": WIDTH, "activation": ACTIVATION}

EXPERIMENT = Column(TEXT, "the study or the measurement whose activations are probed")
MODEL = Column(TEXT, "`tiny` or a Hugging Face model id: whose activations they are")
TARGET = Column(
    TEXT,
    "what is to be predicted: valence, utility, choices; score_gap, chosen, or the user's group, `group:<split>`",
)
PROBE = Column(TEXT, "the kind of probe: ridge, logistic or bradley_terry")
WHERE = {"layer": LAYER, "position": POSITION}
PROBED = {"experiment": EXPERIMENT, "target": TARGET, "probe": PROBE, **WHERE}
LOWER = optional(REAL, "lower end of the 95 % interval")
UPPER = optional(REAL, "upper end")

SCORE_COLUMNS = {
    **PROBED,
    "split": Column(
        TEXT,
        "how what is predicted was held out: unit (tasks, users), leave_one_topic_out or leave_one_origin_out (whole "
        "topics or origins, of units that were not fitted either)",
    ),
    "features": Column(
        TEXT,
        "what it is predicted from: activations; or a baseline: shuffled labels, random activations, topic, length or "
        "text (TF-IDF); `activations minus text` (or topic, or length) is the difference to the best of these",
    ),
    "metric": Column(
        TEXT,
        "r_squared, r_squared_within_topics (topic means taken out of both), pearson_r, mse, pairwise_accuracy; of "
        "binary targets accuracy, auc, log_loss",
    ),
    "estimate": optional(REAL, "its value over everything held out, each predicted by a probe that has not seen it"),
    "lower": LOWER,
    "upper": UPPER,
    "interval": Column(TEXT, "what the interval rests on: units drawn again, or seeds of the baseline"),
    "rows": Column(INTEGER, "rows predicted"),
    "units": Column(INTEGER, "units (tasks or users) they are of"),
    "seeds": Column(INTEGER, "seeds averaged over; 1 where nothing is drawn"),
    "note": optional(TEXT, "what could not be told, and why"),
}
SWEEP_COLUMNS = {
    **PROBED,
    "features": Column(TEXT, "activations, or the baseline whose penalty is swept"),
    "alpha": Column(REAL, "the penalty"),
    "r_squared": optional(REAL, "mean score of inner folds: R^2, of binary targets and choices McFadden's"),
    "lower": optional(
        REAL, "that minus twice its spread over outer folds, which share most of their rows: no interval"
    ),
    "upper": optional(REAL, "and plus"),
    "in_sample": optional(REAL, "the same score on the rows that were fitted"),
    "chosen": Column(INTEGER, "outer folds that chose this penalty"),
}
DIRECTION_COLUMNS = {
    **PROBED,
    "alpha": Column(REAL, "the penalty chosen by cross-validation over all rows"),
    "intercept": Column(REAL, "what is predicted of an activation of zeros"),
    "rows": Column(INTEGER, "rows fitted"),
    "width": WIDTH,
    "direction": Column(VECTOR, "the probe's weights in units of the target per unit of activation"),
}
PREDICTION_COLUMNS = {
    **PROBED,
    "item": Column(TEXT, "the row predicted: a task, a pair, or a pair and its response"),
    "fold": Column(INTEGER, "the outer fold that held it out"),
    "actual": Column(REAL, "the target's value"),
    "predicted": Column(REAL, "as predicted by a probe that has not seen it (probability, of binary targets)"),
}
CROSS_COLUMNS = {
    "experiment": EXPERIMENT,
    **{
        f"{name}_{side}": column
        for side in ("a", "b")
        for name, column in {"target": TARGET, "probe": PROBE, **WHERE}.items()
    },
    "cosine": optional(
        REAL,
        "cosine of the two directions, intercepts apart, as array_cosine_similarity has it; of a probe with itself, of "
        "fits that lack a fold each. Empty across layers",
    ),
    "cosine_by_chance": optional(
        REAL, "half-width of what holds 95 % of cosines with directions fitted to shuffled labels; empty across layers"
    ),
    "agreement": optional(REAL, "Pearson r over all items of what both read off, held out"),
    "transfer": optional(
        REAL,
        "Pearson r of b's target with what probe a, fitted without their units, predicts from b's activations; empty "
        "across layers",
    ),
    "lower": LOWER,
    "upper": UPPER,
    "transfer_by_chance": optional(
        REAL,
        "half-width of what holds 95 % of transfers of a's direction fitted to shuffled labels; empty across layers",
    ),
    "rows": Column(INTEGER, "rows of b predicted; 0 across layers"),
}
ADAPTER_COLUMNS = {
    "study": Column(TEXT, "the study"),
    "split": Column(TEXT, "the split"),
    "role": Column(TEXT, "directional, null control, exploratory or placebo"),
    **WHERE,
    "quantity": Column(
        TEXT,
        "contrast, interaction, advantage_on_a, advantage_on_b, difficulty: as in verdicts.estimate. Of direction, how "
        "alike the adapters' changes are: within_a, within_b: those of two seeds of A, of B; between: those of A and B "
        "of two seeds; divergence: the mean of the former two - between",
    ),
    "metric": Column(
        TEXT,
        "shift: how much further apart than in the base model a pair's chosen and rejected response lie along the base "
        "model's preference direction, in standard deviations of its hidden states along it; separation: share of "
        "pairs whose chosen response lies further along, percentage points; own_shift, own_separation: the same along "
        "the direction of the user's own group; direction: cosine. The direction that judges a user is of other "
        "users' pairs",
    ),
    "estimate": optional(REAL, "mean over seeds, folds pooled; of direction, over pairs of seeds"),
    "standard_error": optional(REAL, "standard error over what `spread` names"),
    "degrees_of_freedom": optional(REAL, "how well the standard error is known (Welch and Satterthwaite)"),
    "lower": LOWER,
    "upper": UPPER,
    "p": optional(REAL, "two-sided p that it is zero"),
    "p_adjusted": optional(REAL, "the same, adjusted over splits; not over layers, positions, quantities and metrics"),
    "adjustment": Column(TEXT, "how, and over how many planned splits of the study"),
    "p_exchanged": optional(
        REAL,
        "of divergence: share of the exchanges of A's and B's adapters, seed by seed, that diverge as much as they do. "
        "It cannot be below 2^(1 - seeds); empty below five seeds",
    ),
    "minimum_detectable": optional(REAL, "true value that 80 % of repetitions would find at that level"),
    "user_sd": optional(REAL, "part of the standard error that is from users"),
    "user_by_seed_sd": optional(REAL, "standard deviation between seeds that users alone make"),
    "seed_sd": optional(REAL, "standard deviation between seeds beyond their users', pooled over the study"),
    "training_sd": optional(REAL, "standard deviation from whom an adapter was trained on, from placebos"),
    "spread": Column(TEXT, "what the standard error contains: users, seeds, training samples"),
    "seeds": Column(INTEGER, "seeds that count"),
    "users_a": Column(INTEGER, "users of A whose pairs are looked at"),
    "users_b": Column(INTEGER, "users of B"),
    "pairs_a": Column(INTEGER, "their pairs"),
    "pairs_b": Column(INTEGER, "their pairs"),
    "state": Column(
        TEXT,
        "above zero or below zero (p_adjusted at most .05), not told from zero, no interval, undefined; of divergence "
        "without placebo splits: cannot tell",
    ),
    "note": Column(TEXT, "what could not be told, and why"),
}

PROBE_TABLES = (
    Table(
        "preferences.activations",
        "One row per (measurement, task, layer, position): the model's hidden state over the task and, at positions of "
        "the response, over what it made of it.",
        {
            "measurement": MEASUREMENT,
            "chunk": Column(INTEGER, "tasks that were read together, from 0"),
            "task_id": TASK,
            "model": MODEL,
            "revision": Column(TEXT, "revision of the model, and its precision"),
            "fingerprint": READING,
            **READ,
        },
        ("measurement", "chunk"),
    ),
    Table(
        "probes.experiment",
        "One row per experiment that was probed. It is written last, so its presence means done.",
        {
            "experiment": EXPERIMENT,
            "kind": Column(TEXT, "study or measurement"),
            "model": MODEL,
            "revision": Column(TEXT, "revision of the model"),
            "items": Column(INTEGER, "tasks, or pairs, with activations"),
            "units": Column(INTEGER, "what is held out together: tasks, or users"),
            "targets": Column(pl.List(pl.String()), "what was to be predicted"),
            "note": optional(TEXT, "which targets could not be probed, and why"),
            "fingerprint": Column(TEXT, "digest of the activations, the targets and the version of the probes"),
        },
        ("experiment",),
    ),
    Table(
        "probes.score",
        "One row per (experiment, target, probe, layer, position, split, features, metric): how well a target is "
        "predicted of what was held out, from activations and from what cannot know it.",
        SCORE_COLUMNS,
        ("experiment",),
    ),
    Table(
        "probes.sweep",
        "One row per (experiment, target, probe, layer, position, features, alpha): the sweep of penalties.",
        SWEEP_COLUMNS,
        ("experiment",),
    ),
    Table(
        "probes.direction",
        "One row per (experiment, target, probe, layer, position): the probe that is fitted to all rows.",
        DIRECTION_COLUMNS,
        ("experiment",),
    ),
    Table(
        "probes.prediction",
        "One row per (experiment, target, probe, layer, position, item): what was held out, and what was predicted.",
        PREDICTION_COLUMNS,
        ("experiment",),
    ),
    Table(
        "probes.cross",
        "One row per pair of an experiment's probes: how alike their directions are, and how one predicts the other's "
        "target.",
        CROSS_COLUMNS,
        ("experiment",),
    ),
    Table(
        "probes.adapter",
        "One row per (study, split, layer, position, quantity, metric): how far adapters move the base model's "
        "preference direction, and whether A's and B's move it differently.",
        {
            **ADAPTER_COLUMNS,
            "fingerprint": Column(TEXT, "digest of the activations, groups and code that it was made of"),
        },
        ("study",),
    ),
)
