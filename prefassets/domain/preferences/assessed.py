"""The utilities of one configuration, with all that says how far they can be believed.

Imports scipy: import it where it is used, not at the top of what definitions import.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import polars as pl

from prefassets.domain.preferences.comparisons import Comparisons, count_choices
from prefassets.domain.preferences.connectivity import connectivity
from prefassets.domain.preferences.held_out import FOLDS, held_out_gain, held_out_score
from prefassets.domain.preferences.robustness import robustness
from prefassets.domain.preferences.thurstonian import Fit, fit_utilities

MOST_TASKS_VARIED = 2_000  # the robustness check fits eleven times; above this it is left out, and the note says so


@dataclass(frozen=True)
class Assessed:
    """`utilities` (`task_id`, `mu`, `sigma`, `se`, `comparisons`, `place`) in the order of tasks; `fit`, one row."""

    utilities: pl.DataFrame
    fit: pl.DataFrame


def assessed_utilities(choices: pl.DataFrame, tasks: Sequence[str], slot_bias: bool, seed: int = 0) -> Assessed:
    """Fit utilities to choices and ask what speaks against them.

    Args:
        choices: `task_a`, `task_b`, `choice`.
        tasks: the tasks and their order; one that was never chosen from has the prior's utility, 0.
        slot_bias: whether to estimate what being shown first is worth; only where slots were drawn at random.
        seed: of the pairs that are held out.

    Returns:
        `fit` has `log_likelihood` (nats), `converged`, `slot_bias` and its `_se`, held-out `accuracy` (0-1) and
        `log_loss` (nats) by cross-validation over pairs, and the `gain` of the latter over position alone, each with
        `_lower` and `_upper`, `held_out_pairs`; `groups`,
        `islands` and `connectivity` of the comparisons; `published_objective` of the published fit to the same choices,
        the Pearson correlation of its mu with these, and the smallest among its variants; and a `note` on what of these
        could not be told.
    """
    comparisons = count_choices(choices, tasks)
    fit = fit_utilities(comparisons, slot_bias=slot_bias)
    held_out, why_not = _held_out(comparisons, slot_bias, seed)
    graph = connectivity(comparisons)
    published = fit_utilities(comparisons, "published")
    notes = [why_not]
    least_robust = None
    if len(tasks) > MOST_TASKS_VARIED:
        notes.append(f"variants of the published fit are not compared beyond {MOST_TASKS_VARIED:,} tasks")
    elif comparisons.won_p.any():
        least_robust = robustness(comparisons).smallest_pearson
    notes += [f"{count} answers dropped: {reason}" for reason, count in comparisons.dropped.items()]
    row = {
        "log_likelihood": fit.log_likelihood,
        "converged": fit.converged,
        "slot_bias": fit.slot_bias.value if fit.slot_bias else None,
        "slot_bias_se": fit.slot_bias.se if fit.slot_bias else None,
        **held_out,
        "groups": graph.groups,
        "islands": graph.islands,
        "connectivity": graph.sentence,
        "published_objective": published.objective_value,
        "published_correlation": _correlation(fit, published),
        "least_robust_correlation": least_robust,
        "note": "; ".join(filter(None, notes)),
    }
    place = pl.Series("place", range(len(tasks)), dtype=pl.Int64)
    return Assessed(fit.utilities.with_columns(place), pl.DataFrame([row], infer_schema_length=None))


def _held_out(comparisons: Comparisons, slot_bias: bool, seed: int) -> tuple[dict[str, float | int | None], str]:
    """The numbers on held-out pairs; or none, and why."""
    fit = partial(fit_utilities, slot_bias=slot_bias)
    names = [f"{metric}{end}" for metric in ("accuracy", "log_loss", "gain") for end in ("", "_lower", "_upper")]
    try:
        score = held_out_score(comparisons, fit, FOLDS, seed)
        gain = held_out_gain(comparisons, fit, FOLDS, seed)
    except ValueError as error:
        return dict.fromkeys([*names, "held_out_pairs"]), f"nothing held out: {error}"
    found = {**asdict(score), **dict(zip(names[6:], gain, strict=True))}
    return {**{name: found[name] for name in names}, "held_out_pairs": score.pairs}, ""


def _correlation(one: Fit, other: Fit) -> float | None:
    """Pearson's, of mu over tasks; None where one has all mu equal."""
    mu_2n = np.stack([fit.utilities["mu"].to_numpy() for fit in (one, other)])
    return float(np.corrcoef(mu_2n)[0, 1]) if (mu_2n.std(axis=1) > 0).all() else None
