"""Ways of choosing pairs, compared at equal budgets on the same held-out pairs.

The report found active learning "around 10 % lower" in held-out accuracy than a fit to all pairs. That compared a few
thousand comparisons with all of them, and close pairs, which are hard for anybody, with random ones. Here every policy
has the same number of comparisons, and each held-out set has its own rows.

Imports scipy: import it where it is used, not at the top of what definitions import.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.domain.preferences.active_learning import Plan, measure
from prefassets.domain.preferences.held_out import Score, score
from prefassets.domain.preferences.pair_selection import pair_tasks, random_pairs

Oracle = Callable[[pl.DataFrame, np.random.Generator], pl.DataFrame]
FitUtilities = Callable[[pl.DataFrame], pl.DataFrame]

CEILING = "all pairs"
METRICS = ("accuracy", "log_loss", "correlation")
RUNS = {
    "policy": pl.String,
    "budget": pl.Int64,
    "seed": pl.Int64,
    "held_out": pl.String,
    "comparisons": pl.Int64,
    "pairs": pl.Int64,
    "accuracy": pl.Float64,
    "log_loss": pl.Float64,
    "correlation": pl.Float64,
}


def planted(utilities: pl.DataFrame) -> Oracle:
    """A chooser with known utilities (`task_id`, `mu`, `sigma`): a is chosen with the Thurstonian probability."""
    from scipy.special import ndtr

    places = {task: place for place, task in enumerate(utilities["task_id"])}
    mu_N, sigma_N = utilities["mu"].to_numpy(), utilities["sigma"].to_numpy()

    def answer(questions: pl.DataFrame, generator: np.random.Generator) -> pl.DataFrame:
        a_Q, b_Q = (questions[side].replace_strict(places).to_numpy() for side in ("task_a", "task_b"))
        chance_Q = ndtr((mu_N[a_Q] - mu_N[b_Q]) / np.hypot(sigma_N[a_Q], sigma_N[b_Q]))
        return _answered(questions, np.where(generator.random(len(questions)) < chance_Q, "a", "b"))

    return answer


def redrawn(choices: pl.DataFrame) -> Oracle:
    """A chooser that answers as one did who was asked all pairs: each answer is drawn of those that were given.

    Of those given in the same order of slots, if any were; else of those in the other, turned round.

    Args:
        choices: `task_a`, `task_b`, `choice` of every pair, asked any number of times.

    Raises:
        ValueError: when asked about a pair without an answer. Choices of which somebody chose the pairs cannot stand in
            for a chooser: a policy that may only ask what another asked is not compared with it.
    """
    turned = choices.select(
        task_a="task_b", task_b="task_a", choice=pl.col("choice").replace({"a": "b", "b": "a"})
    ).join(choices, on=("task_a", "task_b"), how="anti")
    given = (
        pl.concat([choices.select("task_a", "task_b", "choice"), turned])
        .group_by("task_a", "task_b", maintain_order=True)
        .agg(answers=pl.col("choice"))
    )

    def answer(questions: pl.DataFrame, generator: np.random.Generator) -> pl.DataFrame:
        found = questions.join(given, on=("task_a", "task_b"), how="left", maintain_order="left")
        unknown = found.filter(pl.col("answers").is_null())
        if not unknown.is_empty():
            raise ValueError(
                f"{len(unknown):,} of {len(found):,} questions are about pairs without an answer, first "
                f"{unknown['task_a'][0]!r} and {unknown['task_b'][0]!r}; an oracle needs choices of all pairs"
            )
        place = (pl.Series(generator.random(len(found))) * found["answers"].list.len()).cast(pl.Int64)
        return _answered(questions, found["answers"].list.get(place).to_numpy())

    return answer


def held_out_pairs(
    oracle: Oracle, fit: FitUtilities, tasks: Sequence[str], plan: Plan, pairs: int, samples: int, seed: int
) -> pl.DataFrame:
    """Two sets of `pairs` pairs with answers, to judge every policy on, which none may ask.

    Args:
        plan: an active one with a budget. A pilot of it, whose answers are used for nothing else, says which pairs
            active learning asks about.
        samples: answers to each pair, with each task first by turns.

    Returns:
        `held_out` ("random": uniformly of all pairs; "close": of those that the pilot asked after its start), `task_a`,
        `task_b`, `sample`, `choice`.

    Raises:
        ValueError: the pilot asked fewer than `pairs` pairs after its start.
    """
    generator = np.random.default_rng([seed, 0])
    drawn = random_pairs(len(tasks), pairs, np.empty(0, np.int64), generator)
    names = pl.Series(tasks, dtype=pl.String)
    one, other = (names.gather(side) for side in pair_tasks(drawn, len(tasks)))
    random = pl.DataFrame({"task_a": one, "task_b": other}).select(pl.lit("random").alias("held_out"), pl.all())
    pilot = measure(_ask(oracle, generator), _mu(fit), tasks, replace(plan, stop_correlation=None), seed, random)
    later = pilot.choices.filter(pl.col("round") > 0, pl.col("sample") == 0)
    if len(later) < pairs:
        raise ValueError(
            f"the pilot asked {len(later):,} pairs after its start and {pairs:,} are to be held out; "
            "give it a larger budget, or hold out fewer"
        )
    close = later.sample(pairs, seed=seed, shuffle=True).select(pl.lit("close").alias("held_out"), "task_a", "task_b")
    both = pl.concat([random, close])
    either = both, both.select("held_out", task_a="task_b", task_b="task_a")
    asked = [either[sample % 2].with_columns(sample=pl.lit(sample, pl.Int64)) for sample in range(samples)]
    return oracle(pl.concat(asked), generator)


def compare_policies(
    oracle: Oracle,
    fit: FitUtilities,
    tasks: Sequence[str],
    plans: Mapping[str, Plan],
    held_out: pl.DataFrame,
    budgets: Sequence[int],
    seeds: Sequence[int],
    on_run: Callable[[str, int], None] | None = None,
) -> pl.DataFrame:
    """How well each policy's utilities predict held-out answers, by budget and seed.

    A policy asks up to the largest budget; what it had asked by a smaller one is what it would have asked with that
    alone. Policies of one seed begin with the same pairs. Nothing stops early: budgets are equal.

    Args:
        oracle: answers questions; it is asked anew by every policy and seed.
        fit: takes choices, gives `task_id`, `mu`, `sigma` of every task.
        plans: by the name that is to stand in the result; their budgets and stops are not used.
        held_out: of `held_out_pairs`.
        budgets: comparisons. One below a policy's start has the start's first pairs.
        on_run: told the policy and the seed that are done.

    Returns:
        One row of `RUNS` per policy, budget, seed and held-out set: `comparisons` and `pairs` asked (a pair is asked as
        often as its plan says or not at all, so comparisons can be fewer than the budget by less than that), `accuracy`
        (the share of held-out answers that chose the task with the higher mu; equal mu count half), `log_loss` (nats
        per answer), `correlation` of mu (Pearson) with the fit to all pairs. That fit is the policy "all pairs", with
        the first seed: every pair that is not held out, as often as the most thorough of the plans asks.
    """
    samples = max(plan.samples for plan in plans.values())
    everything = measure(
        _ask(oracle, np.random.default_rng([seeds[0], 1])),
        _mu(fit),
        tasks,
        Plan(policy="all", samples=samples),
        seeds[0],
        held_out,
    )
    full = fit(everything.choices)
    rows = [
        {"policy": CEILING, "budget": len(everything.choices), "seed": seeds[0]} | row
        for row in _scores(everything.choices, full, full, held_out)
    ]
    for seed in seeds:
        for number, (name, plan) in enumerate(plans.items()):
            generator = np.random.default_rng([seed, 2, number])
            longest = replace(plan, stop_correlation=None, most_comparisons=max(budgets))
            asked = measure(_ask(oracle, generator), _mu(fit), tasks, longest, seed, held_out).choices
            for budget in budgets:
                choices = asked.head(budget if plan.policy == "all" else budget // plan.samples * plan.samples)
                rows += [
                    {"policy": name, "budget": budget, "seed": seed} | row
                    for row in _scores(choices, fit(choices), full, held_out)
                ]
            if on_run:
                on_run(name, seed)
    return pl.DataFrame(rows, RUNS)


def efficiency(runs: pl.DataFrame) -> pl.DataFrame:
    """Each policy's mean over seeds at each budget on each held-out set, with a 95 % interval (t over seeds).

    The intervals are of the seed (which pairs, which answers) for these tasks and these held-out answers; those, all
    policies share.

    Args:
        runs: of `compare_policies`.

    Returns:
        `policy`, `budget`, `held_out`, `seeds`, and for each of `METRICS` its mean and `_lower`, `_upper`, empty for a
        single seed.
    """
    keys = ("policy", "budget", "held_out")
    return (
        runs.group_by(*keys, maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("seeds"),
            *(part for metric in METRICS for part in _mean(pl.col(metric), metric)),
        )
        .pipe(_with_intervals, METRICS)
    )


def differences(runs: pl.DataFrame, than: str = "random") -> pl.DataFrame:
    """By how much each policy does better than the policy `than` at the same budget, seed by seed.

    Returns:
        `policy`, `than`, `budget`, `held_out`, `seeds`, and `accuracy_pp` (points), `log_loss` and `correlation`, each
        with `_lower`, `_upper` (95 %, t over seeds): the policy's minus the other's.
    """
    keys = ("budget", "seed", "held_out")
    base = runs.filter(policy=than).select(*keys, *(pl.col(metric).alias(f"{metric}_than") for metric in METRICS))
    both = runs.filter(pl.col("policy") != than).join(base, on=keys, maintain_order="left")
    points = {"accuracy": 100.0}
    names = {metric: f"{metric}_pp" if metric in points else metric for metric in METRICS}
    return (
        both.group_by("policy", "budget", "held_out", maintain_order=True)
        .agg(
            pl.lit(than).alias("than"),
            pl.len().cast(pl.Int64).alias("seeds"),
            *(
                part
                for metric, name in names.items()
                for part in _mean(points.get(metric, 1.0) * (pl.col(metric) - pl.col(f"{metric}_than")), name)
            ),
        )
        .pipe(_with_intervals, tuple(names.values()))
        .select("policy", "than", pl.exclude("policy", "than"))
    )


def apparent_loss(summary: pl.DataFrame, policy: str = "active") -> pl.DataFrame:
    """How much of "active learning is 10 % lower" is which pairs it was judged on, and how much the smaller budget.

    Args:
        summary: of `efficiency`.

    Returns:
        Per budget, in points of accuracy: `apparent_pp`, the fit to all pairs on random pairs minus `policy` on close
        ones; that is `difficulty_pp` (the fit to all pairs on random minus on close pairs) plus `budget_pp` (the fit to
        all pairs minus `policy`, both on close pairs).
    """
    accuracy = summary.select("policy", "budget", "held_out", "accuracy")
    ceiling = dict(accuracy.filter(policy=CEILING).select("held_out", "accuracy").iter_rows())
    own = accuracy.filter(policy=policy, held_out="close").sort("budget")
    return own.select(
        "policy",
        "budget",
        apparent_pp=100 * (ceiling["random"] - pl.col("accuracy")),
        difficulty_pp=pl.lit(100 * (ceiling["random"] - ceiling["close"])),
        budget_pp=100 * (ceiling["close"] - pl.col("accuracy")),
    )


def start_and_later(choices: pl.DataFrame, fit: FitUtilities, folds: int = 5, seed: int = 0) -> pl.DataFrame:
    """How well utilities predict the pairs of a measurement's random start, and those that active learning added.

    Both are held out by turns, all answers to a pair at once, and predicted by one fit to the rest; so a difference
    between the two is one of the pairs and not of the policy. It needs no oracle: any measured choices tell.

    Args:
        choices: `task_a`, `task_b`, `choice`, `round` (0 is the start) of one measurement.
        fit: takes choices, gives `task_id`, `mu`, `sigma` of every task.

    Returns:
        Two rows (`asked`: start, later): `pairs`, `choices`, `accuracy` and `log_loss` with 95 % intervals over pairs,
        as in `held_out.score`.

    Raises:
        ValueError: the start, or what was asked later, has fewer pairs than folds.
    """
    low, high = pl.min_horizontal("task_a", "task_b"), pl.max_horizontal("task_a", "task_b")
    told = choices.with_columns(asked=pl.when(pl.col("round") == 0).then(pl.lit("start")).otherwise(pl.lit("later")))
    pairs = told.select("asked", low=low, high=high).unique(("low", "high"), keep="first", maintain_order=True)
    counts = {str(asked): len(rows) for (asked,), rows in pairs.group_by("asked")}
    if len(counts) < 2 or min(counts.values()) < folds:
        raise ValueError(f"of pairs asked there are {counts}; at least {folds} each at the start and later are needed")
    dealt = np.random.default_rng(seed).permutation(len(pairs)) % folds
    told = (
        told.with_columns(low=low, high=high)
        .drop("asked")
        .join(pairs.with_columns(fold=pl.Series(dealt)), on=("low", "high"), maintain_order="left")
    )
    found: dict[str, list[Score]] = {"start": [], "later": []}
    for fold in range(folds):
        utilities = fit(told.filter(pl.col("fold") != fold))
        for asked, scores in found.items():
            scores.append(score(utilities, told.filter(fold=fold, asked=asked)))
    return pl.DataFrame([{"asked": asked} | _together(scores) for asked, scores in found.items()])


def _together(scores: Sequence[Score]) -> dict[str, float]:
    """Scores of disjoint sets of pairs as one."""
    weight_F = np.array([one.choices for one in scores]) / sum(one.choices for one in scores)
    told: dict[str, float] = {"pairs": sum(one.pairs for one in scores), "choices": sum(one.choices for one in scores)}
    for name in ("accuracy", "log_loss"):
        mean_F, upper_F = (np.array([getattr(one, f"{name}{end}") for one in scores]) for end in ("", "_upper"))
        mean, reach = float(weight_F @ mean_F), float(np.sqrt((weight_F**2) @ (upper_F - mean_F) ** 2))
        told |= {name: mean, f"{name}_lower": mean - reach, f"{name}_upper": mean + reach}
    return told


def _scores(
    choices: pl.DataFrame, utilities: pl.DataFrame, full: pl.DataFrame, held_out: pl.DataFrame
) -> list[dict[str, object]]:
    both = utilities.select("task_id", "mu").join(full.select("task_id", full="mu"), on="task_id")
    asked = {
        "comparisons": len(choices),
        "pairs": choices.select(
            low=pl.min_horizontal("task_a", "task_b"), high=pl.max_horizontal("task_a", "task_b")
        ).n_unique(),
        "correlation": both.select(pl.corr("mu", "full")).item(),
    }
    rows = []
    for (kind,), answers in held_out.group_by("held_out", maintain_order=True):
        found = score(utilities, answers)
        rows.append(asked | {"held_out": kind, "accuracy": found.accuracy, "log_loss": found.log_loss})
    return rows


def _ask(oracle: Oracle, generator: np.random.Generator) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda questions: oracle(questions, generator)


def _mu(fit: FitUtilities) -> Callable[[pl.DataFrame], dict[str, float]]:
    return lambda choices: dict(fit(choices).select("task_id", "mu").iter_rows())


def _answered(questions: pl.DataFrame, choices: NDArray[np.str_]) -> pl.DataFrame:
    return questions.with_columns(choice=pl.Series(choices, dtype=pl.String))


def _mean(value: pl.Expr, name: str) -> list[pl.Expr]:
    return [value.mean().alias(name), (value.std() / value.count().sqrt()).alias(f"{name}_error")]


def _with_intervals(summary: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """In the place of each `_error`, a `_lower` and an `_upper`."""
    from scipy.stats import t

    freedom = (summary["seeds"] - 1).clip(1).to_numpy()
    reach = pl.Series("reach", t.ppf(0.975, freedom))
    columns = []
    for name in names:
        within = reach * summary[f"{name}_error"]
        columns += [summary[name], (summary[name] - within).alias(f"{name}_lower")]
        columns += [(summary[name] + within).alias(f"{name}_upper")]
    return summary.select(pl.exclude(f"^({'|'.join(names)})(_error)?$")).with_columns(columns)
