"""The tables that Python writes of what language models themselves prefer: asked, answered, fitted, and believed."""

import polars as pl

from prefassets.resources.table import BOOLEAN, INTEGER, REAL, TEXT, Column, Table, optional

MEASUREMENT = Column(TEXT, "the measurement's name")
CONFIGURATION = Column(TEXT, "one way of asking, unique within its measurement")
MODEL = Column(TEXT, "`tiny`, a Hugging Face model id, or the name under which an endpoint serves the model")
REVISION = Column(TEXT, "revision of the model; of an endpoint, the name that was asked for")
TASK = Column(TEXT, "the task, as in tasks.tasks")
ASKED = Column(TEXT, "`before` or `after` the model has done the tasks")
SAMPLE = Column(INTEGER, "which asking of the same, from 0")
ADJUSTMENT = Column(TEXT, "`none`, or `list position`: a cubic in the task's place is taken out of each mu first")
ASKED_AS = {"measurement": MEASUREMENT, "configuration": CONFIGURATION}
ANSWERED = {
    "answer": Column(TEXT, "what the model wrote, as it came"),
    "tokens": optional(INTEGER, "tokens of it, where somebody counted"),
    "finished": Column(BOOLEAN, "whether it ended by itself"),
    "malformed": Column(BOOLEAN, "whether it is no answer of a model but whatever came instead"),
    "digest": Column(TEXT, "digest of everything that was asked: equal content is asked once"),
    "model": MODEL,
    "revision": REVISION,
}
CONFIGURATION_PARTITION = ("measurement", "configuration")

PREFERENCE_TABLES = (
    Table(
        "preferences.measurement",
        "One row per measurement file of this version: what is asked of one model.",
        {
            "measurement": MEASUREMENT,
            "question": Column(TEXT, "what it is to find out"),
            "model": MODEL,
            "backend": Column(TEXT, "`in_process` (transformers), or an OpenAI-compatible `endpoint`"),
            "answering": Column(TEXT, "`free`, or `constrained` to permitted answers, drawn by their probability"),
            "temperature": Column(REAL, "temperature of answers and completions"),
            "tasks": Column(INTEGER, "tasks drawn, evenly over their origins"),
            "seed": Column(INTEGER, "draws the tasks, the slots, and the answers"),
            "configurations": Column(INTEGER, "ways of asking"),
        },
    ),
    Table(
        "preferences.configuration",
        "One row per configuration: one way of asking for choices (a template) or ratings (a framing and options).",
        {
            "measurement": MEASUREMENT,
            "configuration": CONFIGURATION,
            "kind": Column(TEXT, "`choice` (pick one of two) or `rating` (rate one)"),
            "asked": ASKED,
            "template": optional(TEXT, "the template without its seed"),
            "task_order": optional(TEXT, "which task is shown first: random, canonical (list order) or reversed"),
            "instruction_position": optional(TEXT, "the instruction stands before or after the tasks"),
            "response_format": optional(TEXT, "what the model is to write: regex (a label), xml or tool_use"),
            "phrasing": optional(TEXT, "which wording of the instruction"),
            "punctuation": optional(TEXT, "standard or minimal"),
            "typos": optional(TEXT, "whether letters are swapped"),
            "language": optional(TEXT, "language of all but the tasks' own texts"),
            "task_label_names": optional(TEXT, "letter (Task A) or number (Task 1)"),
            "instruction_xml_tags": optional(TEXT, "whether the instruction stands between tags"),
            "situating_context": optional(TEXT, "whether the model is told that its preferences are measured"),
            "seed": optional(TEXT, "seed of the model's answers"),
            "framing": optional(TEXT, "framing of the rating's question"),
            "options": optional(TEXT, "the set of words to answer with"),
        },
    ),
    Table(
        "preferences.completions",
        "One row per answer of a model that was asked to do a task; configurations that ask afterwards build on these.",
        {"measurement": MEASUREMENT, "task_id": TASK, "sample": SAMPLE, **ANSWERED},
        ("measurement",),
    ),
    Table(
        "preferences.choices",
        "One row per answered question: which of two tasks a model would rather do. No row is a win that is not one.",
        {
            **ASKED_AS,
            "round": Column(INTEGER, "round of the plan, from 0"),
            "sample": SAMPLE,
            "task_a": Column(TEXT, "the task in slot A, shown first"),
            "task_b": Column(TEXT, "the task in slot B"),
            "choice": Column(TEXT, "a, b, refusal or unparseable"),
            "rule": Column(TEXT, "what in the answer said so"),
            "probability_a": optional(REAL, "probability of a among the permitted answers, where that is known"),
            **ANSWERED,
        },
        CONFIGURATION_PARTITION,
    ),
    Table(
        "preferences.rounds",
        "One row per (configuration, round): how the choice of pairs went on, and why it ended.",
        {
            **ASKED_AS,
            "policy": Column(TEXT, "how pairs are chosen: active, random or all"),
            "round": Column(INTEGER, "round, from 0"),
            "pairs_asked": Column(INTEGER, "pairs asked in it"),
            "pairs": Column(INTEGER, "pairs asked so far"),
            "comparisons": Column(INTEGER, "questions asked so far"),
            "least_degree": Column(INTEGER, "pairs of the task that is in fewest"),
            "candidates": optional(INTEGER, "pairs that the round's were drawn from"),
            "closest_percent": optional(REAL, "percentile of closeness that candidates are within"),
            "least_asked_percent": optional(REAL, "percentile of pairs asked that candidates are within"),
            "rank_correlation": optional(REAL, "Spearman correlation of utilities with those of the round before"),
            "converged": Column(BOOLEAN, "whether that is enough for the plan"),
            "ended_by": optional(TEXT, "in the last round: converged, budget, or all pairs asked"),
        },
        CONFIGURATION_PARTITION,
    ),
    Table(
        "preferences.ratings",
        "One row per answered question: how a model rates one task.",
        {
            **ASKED_AS,
            "framing": Column(TEXT, "framing of the question"),
            "options": Column(TEXT, "the set of words to answer with"),
            "asked": ASKED,
            "task_id": TASK,
            "sample": SAMPLE,
            "rating": Column(TEXT, "the word, or refusal or unparseable"),
            "value": optional(INTEGER, "1 for the most positive word, -1 for the most negative, 0 between"),
            "probabilities": optional(pl.List(REAL), "of the words in their order, where they are known"),
            **ANSWERED,
        },
        CONFIGURATION_PARTITION,
    ),
    Table(
        "preferences.answered",
        "One row per finished configuration: what came of it. It is written last, so its presence means done.",
        {
            **ASKED_AS,
            "kind": Column(TEXT, "choice or rating"),
            "fingerprint": Column(TEXT, "digest of everything that determines what is asked and of whom"),
            "model": MODEL,
            "revision": REVISION,
            "tasks": Column(INTEGER, "tasks asked about"),
            "answers": Column(INTEGER, "answered questions"),
            "refusals": Column(INTEGER, "of them, refusals"),
            "unparseable": Column(INTEGER, "of them, what says nothing that can be read; malformed answers are in it"),
            "asked_now": Column(INTEGER, "answers that the last run had to ask for; the others were there already"),
            "run_id": Column(TEXT, "the Dagster run that finished it"),
            "finished_at": Column(TEXT, "when, UTC"),
        },
        CONFIGURATION_PARTITION,
    ),
    Table(
        "preferences.utilities",
        "One row per (configuration, task): its Thurstonian utility, P(i > j) = Phi((mu_i - mu_j) / "
        "sqrt(sigma_i^2 + sigma_j^2)).",
        {
            **ASKED_AS,
            "task_id": TASK,
            "place": Column(INTEGER, "place in the measurement's list of tasks, from 0"),
            "mu": Column(REAL, "utility: most probable under a normal prior of mean 0"),
            "sigma": Column(REAL, "how uncertain choices about it are, on the scale of mu"),
            "se": optional(REAL, "standard error of mu, from the curvature at the optimum"),
            "comparisons": Column(INTEGER, "answers about it that chose a task"),
        },
        CONFIGURATION_PARTITION,
    ),
    Table(
        "preferences.fit",
        "One row per configuration: how its utilities were fitted, and how far they can be believed.",
        {
            **ASKED_AS,
            "log_likelihood": Column(REAL, "of the choices, nats"),
            "run_id": Column(TEXT, "the Dagster run that finished the choices it is fitted to"),
            "converged": Column(BOOLEAN, "whether the optimum was reached"),
            "slot_bias": optional(REAL, "what being shown first is worth, on the scale of mu; empty if not estimated"),
            "slot_bias_se": optional(REAL, "its standard error"),
            **{
                f"{metric}{end}": optional(REAL, f"{what}{meaning}")
                for metric, what in (
                    (
                        "accuracy",
                        "share of choices between held-out pairs that utilities and position together get right, 0-1",
                    ),
                    ("log_loss", "mean -log P of choices between held-out pairs, nats; a coin has .693"),
                    ("gain", "by how much that is below the loss of position alone, nats; above 0: tasks matter"),
                )
                for end, meaning in (
                    ("", ""),
                    ("_lower", ": lower end of the 95 % interval over pairs"),
                    ("_upper", ": upper end"),
                )
            },
            "held_out_pairs": optional(INTEGER, "pairs scored, each by utilities that have not seen it"),
            "groups": Column(INTEGER, "strongly connected groups of tasks; more than 1: the plain MLE does not exist"),
            "islands": Column(INTEGER, "groups without any choice between them"),
            "connectivity": Column(TEXT, "what follows, in words"),
            "published_objective": optional(REAL, "the published fit's objective on the same choices"),
            "published_correlation": optional(REAL, "Pearson correlation of these mu with the published fit's"),
            "least_robust_correlation": optional(
                REAL,
                "smallest Pearson correlation of mu between variants of the published fit: starts, bounds, penalty",
            ),
            "note": Column(TEXT, "what could not be told, and why"),
        },
        CONFIGURATION_PARTITION,
    ),
    Table(
        "preferences.transitivity",
        "One row per configuration of choices: how often majority choices go round in circles, beside what coins give.",
        {
            **ASKED_AS,
            "policy": Column(TEXT, "how pairs were chosen"),
            "inflated": Column(BOOLEAN, "whether close pairs were asked on purpose, whose triads cycle more"),
            "tasks": Column(INTEGER, "tasks in fully measured triads"),
            "pairs": Column(INTEGER, "pairs with a choice"),
            "triads": Column(INTEGER, "triads whose three pairs all have a choice"),
            "decided_triads": Column(INTEGER, "of them, those in which no pair is tied"),
            "cycles": Column(INTEGER, "triads whose majorities form a cycle"),
            "cycle_rate": optional(REAL, "cycles / triads"),
            "lower": optional(REAL, "lower end of its 95 % interval over tasks (jackknife)"),
            "upper": optional(REAL, "upper end"),
            "null_rate": optional(REAL, "the rate of fair coins with these numbers of answers; 1/4 without ties"),
            "expected_rate": optional(REAL, "the rate of answers drawn by the fitted utilities"),
            "decided_cycle_rate": optional(REAL, "cycles / decided triads; coins have 1/4"),
        },
    ),
    Table(
        "preferences.sensitivity",
        "One row per (measurement, adjustment, template field): how much more alike utilities are if it is the same.",
        {
            "measurement": MEASUREMENT,
            "adjustment": ADJUSTMENT,
            "field": Column(TEXT, "the template field"),
            "field_group": Column(TEXT, "the fields that cannot be told apart from it, itself among them"),
            "same_pairs": optional(INTEGER, "pairs of configurations that share it"),
            "estimate": optional(REAL, "what sharing it adds to the correlation of utilities, all else equal"),
            "minimum_norm": optional(REAL, "the same shared evenly among fields that cannot be told apart"),
            "ols_se": optional(REAL, "standard error if pairs of configurations were independent; they are not"),
            "robust_se": optional(REAL, "dyadic-robust standard error; empty if its estimate is negative"),
            "cautious_se": optional(REAL, "dyadic-robust, never too small on average; the interval's"),
            "lower": optional(REAL, "lower end of the 95 % interval"),
            "upper": optional(REAL, "upper end"),
            "p": optional(REAL, "two-sided p by cautious_se"),
            "permutation_p": optional(REAL, "p by permutation of configurations"),
            "permuted": optional(TEXT, "what was permuted: configurations, within templates, or templates"),
            "state": Column(TEXT, "estimated, aliased, does not vary, or not estimable"),
            "reason": optional(TEXT, "why it is not estimated"),
        },
    ),
    Table(
        "preferences.sensitivity_fit",
        "One row per (measurement, adjustment): the regression behind preferences.sensitivity, and its design.",
        {
            "measurement": MEASUREMENT,
            "adjustment": ADJUSTMENT,
            "configurations": Column(INTEGER, "configurations with utilities"),
            "templates": optional(INTEGER, "their templates: what differs by more than the seed"),
            "pairs": Column(INTEGER, "pairs of them"),
            "fewest_tasks": optional(INTEGER, "tasks of the pair that shares fewest"),
            "mean_correlation": optional(REAL, "mean Pearson correlation of utilities over pairs"),
            "r_squared": optional(REAL, "share of their variance explained"),
            "constant": optional(REAL, "correlation expected of configurations that share no field"),
            "columns": Column(INTEGER, "columns of the design, the constant counted"),
            "design_rank": Column(INTEGER, "its rank; below `columns`, fields cannot be told apart"),
            "aliased": optional(TEXT, "fields that cannot be told apart"),
            "without_variation": optional(TEXT, "fields that are the same, or never the same"),
            "left_out": optional(TEXT, "configurations left out, and why"),
            "permutations": Column(INTEGER, "permutations behind permutation_p"),
        },
    ),
    Table(
        "preferences.utility_correlation",
        "One row per (measurement, adjustment, pair of configurations): how alike their utilities are.",
        {
            "measurement": MEASUREMENT,
            "adjustment": ADJUSTMENT,
            "configuration_a": CONFIGURATION,
            "configuration_b": CONFIGURATION,
            "tasks": Column(INTEGER, "tasks that both have"),
            "correlation": Column(REAL, "Pearson correlation of mu"),
        },
    ),
    Table(
        "preferences.positivity",
        "One row per (measurement, when asked, framing, options): how often each word is given.",
        {
            "measurement": MEASUREMENT,
            "when_asked": ASKED,
            "framing": Column(TEXT, "framing of the question"),
            "options": Column(TEXT, "the set of words"),
            "asked": Column(INTEGER, "questions asked"),
            "valid": Column(INTEGER, "answers that are one of the words"),
            "refusals": Column(INTEGER, "refusals"),
            "unparseable": Column(INTEGER, "answers that cannot be read"),
            "errors": Column(INTEGER, "questions without an answer"),
            "tasks": Column(INTEGER, "tasks with a valid answer"),
            **{
                name: column
                for side in ("positive", "middle", "negative")
                for name, column in {
                    f"{side}_word": optional(TEXT, f"the {side} word"),
                    side: optional(INTEGER, "how often it was given"),
                    f"{side}_share": optional(REAL, "its share of valid answers, 0-1"),
                    f"{side}_lower": optional(REAL, "lower end of the 95 % interval (Wilson)"),
                    f"{side}_upper": optional(REAL, "upper end"),
                }.items()
            },
            "mean_value": optional(REAL, "mean value, -1 to 1"),
            "mean_lower": optional(REAL, "lower end of its 95 % interval"),
            "mean_upper": optional(REAL, "upper end"),
            "interval": Column(TEXT, "what the intervals rest on: each task once, or clustered by task"),
        },
    ),
    Table(
        "preferences.efficiency",
        "One row per (configuration asked all pairs, policy, budget, held-out set): how well utilities from so many "
        "comparisons predict, policies at equal budgets, answers drawn again from those given.",
        {
            **ASKED_AS,
            "policy": Column(TEXT, "how pairs were chosen; `all pairs`: every one as often as it was asked"),
            "budget": Column(INTEGER, "comparisons"),
            "held_out": Column(TEXT, "pairs judged on: random ones, or close ones as active learning asks"),
            "seeds": Column(INTEGER, "repetitions"),
            **{
                f"{metric}{end}": optional(REAL, what + meaning)
                for metric, what in (
                    ("accuracy", "share of held-out choices that went to the higher utility"),
                    ("log_loss", "mean -log P of held-out choices, nats"),
                    ("correlation", "Pearson correlation of mu with the fit to all pairs"),
                )
                for end, meaning in (
                    ("", ""),
                    ("_lower", ": lower end of the 95 % interval over seeds"),
                    ("_upper", ": upper end"),
                )
            },
        },
    ),
)
