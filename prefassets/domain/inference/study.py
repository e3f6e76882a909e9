"""From what each split measured to what a study may claim: pooled spread, intervals, tests, multiplicity.

Three things make a contrast differ from repetition to repetition: which users were held out, how the adapters started
(seeds), and whom they were trained on. The first is known per split. The second is a property of the trainer, so it is
pooled over the splits of a study: two or five seeds of one split say little, those of ten splits together enough. The
third no split can see in itself; placebo splits, groups that were dealt out at random, measure it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefassets.domain.inference.two_way import Measured

LEVEL = 0.95
POWER = 0.80  # at which the minimum detectable effect is stated
TRAINING = "training samples"  # a part of the spread, where placebo splits say how large it is
FEWEST_PLACEBOS = 5  # fewer do not say how wide the placebo contrasts spread
CONTROLS = ("null control", "placebo")
ROUNDING = 1e-9  # points, or nats x beta; a smaller standard error is what floating point leaves of none


@dataclass(frozen=True)
class SplitResult:
    """One planned split of a study: its role (directional, exploratory, null control, placebo) and what was measured;
    nothing while its cells are missing."""

    split: str
    role: str
    measured: Sequence[Measured]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One quantity of one split in one metric, with everything a verdict needs; units as in `Measured`.

    Whatever cannot be told is None, and `note` says why. `spread` names what the standard error contains: users, seeds
    and, with placebo splits, training samples. The fields are columns of `verdicts.estimate`.
    """

    split: str
    role: str
    quantity: str
    metric: str
    estimate: float
    standard_error: float | None
    degrees_of_freedom: float | None
    lower: float | None
    upper: float | None
    p: float | None
    p_adjusted: float | None
    adjustment: str
    p_equivalence: float | None
    minimum_detectable: float | None
    user_sd: float | None
    user_by_seed_sd: float | None
    seed_sd: float | None
    training_sd: float | None
    spread: str
    seeds: int
    users_a: int
    users_b: int
    pairs_a: int
    pairs_b: int
    note: str


def study_estimates(results: Sequence[SplitResult], equivalence_margin_pp: float, seed: int = 0) -> list[Estimate]:
    """Every quantity of every measured split of one study, with interval, tests and what could have been detected.

    The variance of an estimate is the sum of
    - users: that of the bootstrap draws of `measure`;
    - seeds: sigma_S^2 / S, where sigma_S^2 is the mean over the study's splits of the variance between seeds, less the
      user-by-seed noise that is in the first part already (it would count twice: Owen 2007, "The pigeonhole bootstrap",
      Annals of Applied Statistics 1); seeds are drawn from the deviations of all splits together;
    - training samples: sigma_T^2, by how much the squared placebo estimates exceed their first two parts on average;
      only where at least `FEWEST_PLACEBOS` placebo splits are in. It is taken to be alike for all splits, which is
      near the truth where groups are matched, and too little for a split of fewer users than random halves have: if it
      goes with 1 / users of A + 1 / users of B, by 27 % for `region` and 17 % for `familiarity` in `dpo_matched`. A
      placebo is judged by the spread of the others.
    Interval and tests are Student's t with the degrees of freedom of Welch and Satterthwaite over these parts. They
    assume independent users and seeds, and a trainer whose seeds spread alike on all splits of the study.

    p_adjusted is Holm's over the planned directional splits, Holm's over the planned null controls and placebos, and
    Benjamini and Hochberg's over the exploratory ones; a planned split that is not measured yet counts as p = 1, so no
    verdict gets easier by leaving one out. p_equivalence is the larger of two one-sided tests (Schuirmann 1987) that
    the quantity lies within +-`equivalence_margin_pp`. `minimum_detectable` is the true value that 80 % of repetitions
    would find at the level that the split's adjustment allows its first rejection.

    Args:
        results: every planned split of the study, in any order.
        equivalence_margin_pp: points; differences up to this count as none.
        seed: of the draws.
    """
    found = [
        estimate
        for quantity, metric in dict.fromkeys((m.quantity, m.metric) for result in results for m in result.measured)
        for estimate in _of_one_quantity(results, quantity, metric, equivalence_margin_pp, seed)
    ]
    order = {result.split: place for place, result in enumerate(results)}
    return sorted(found, key=lambda estimate: order[estimate.split])


def _of_one_quantity(
    results: Sequence[SplitResult], quantity: str, metric: str, margin_pp: float, seed: int
) -> list[Estimate]:
    from scipy.stats import t  # scipy takes half a second: only where it is used

    measured = {
        result.split: (result.role, one)
        for result in results
        for one in result.measured
        if (one.quantity, one.metric) == (quantity, metric)
    }
    seeds = _between_seeds([one for _, one in measured.values()], same_adapters=quantity == "difficulty")
    generator = np.random.default_rng(seed)
    parts = {split: _parts(one, seeds, generator) for split, (_, one) in measured.items()}
    placebos = {
        split: (one.estimate, part.users_and_seeds)
        for split, (role, one) in measured.items()
        if role == "placebo" and (part := parts[split]) is not None
    }
    training = {split: _training_samples(placebos, split) for split in measured}
    spread = {split: _spread(part, training[split]) for split, part in parts.items()}
    p = {
        split: None if known is None else float(2 * t.sf(abs(measured[split][1].estimate) / known[0], known[1]))
        for split, known in spread.items()
    }
    adjusted = _adjusted(results, p)

    estimates = []
    for split, (role, one) in measured.items():
        error, freedom = spread[split] or (None, None)
        half = equivalence = detectable = None
        if error is not None and freedom is not None:
            half = float(t.ppf((1 + LEVEL) / 2, freedom)) * error
            if metric == "pref_acc":
                equivalence = float(t.sf((margin_pp - abs(one.estimate)) / error, freedom))
            level = (1 - LEVEL) / _family_size(results, role)
            detectable = float(t.ppf(1 - level / 2, freedom) + t.ppf(POWER, freedom)) * error
        part, of_training = parts[split], training[split]
        estimates.append(
            Estimate(
                split=split,
                role=role,
                quantity=quantity,
                metric=metric,
                estimate=one.estimate,
                standard_error=error,
                degrees_of_freedom=freedom,
                lower=None if half is None else one.estimate - half,
                upper=None if half is None else one.estimate + half,
                p=p[split],
                p_adjusted=adjusted[split],
                adjustment=_adjustment(results, role),
                p_equivalence=equivalence,
                minimum_detectable=detectable,
                user_sd=None if part is None else part.users**0.5,
                user_by_seed_sd=None if part is None or one.seeds < 2 else one.user_by_seed_noise**0.5,
                seed_sd=None if seeds is None else seeds.variance**0.5,
                training_sd=None if of_training is None else of_training.variance**0.5,
                spread=" and ".join(
                    name
                    for name, known in (("users", part), ("seeds", seeds), (TRAINING, of_training))
                    if known is not None
                ),
                seeds=one.seeds,
                users_a=one.users[0],
                users_b=one.users[1],
                pairs_a=one.pairs[0],
                pairs_b=one.pairs[1],
                note="; ".join(
                    filter(
                        None,
                        [
                            one.note,
                            "no split has two seeds, so the spread between seeds is unknown" if seeds is None else "",
                            "neither users nor seeds vary, so there is nothing to tell the spread from"
                            if part and not spread[split]
                            else "",
                        ],
                    )
                ),
            )
        )
    return estimates


@dataclass(frozen=True)
class _Pooled:
    """A variance that the splits of a study share. `uncertainty` is the variance of its estimate, halved: what its
    squared size over its degrees of freedom would be. Where the estimate was cut at zero, that of seeds stays, because
    seeds surely spread a little, and that of training samples is 0, because they then add nothing to the interval."""

    variance: float
    uncertainty: float
    deviations: NDArray[np.float64]


@dataclass(frozen=True)
class _Parts:
    """Variances of one split's mean over seeds, and sum of their squared sizes over their degrees of freedom."""

    users: float
    users_and_seeds: float
    uncertainty: float


def _between_seeds(measured: Sequence[Measured], same_adapters: bool) -> _Pooled | None:
    """The variance of one seed's value beyond user-by-seed noise, pooled over the splits that have two seeds or more;
    `deviations` are the seeds' own, at that variance. Where all splits look at the same adapters (the baseline's), more
    splits do not make it better known."""
    several = [one for one in measured if one.seeds > 1 and len(one.user_draws_D)]
    freedom = sum(one.seeds - 1 for one in several)
    if not freedom:
        return None
    observed = sum(float(((one.by_seed_S - one.estimate) ** 2).sum()) for one in several) / freedom
    noise = sum((one.seeds - 1) * one.user_by_seed_noise for one in several) / freedom
    variance = max(0.0, observed - noise)
    scale = np.sqrt(variance / observed) if observed else 0.0
    deviations = [scale * np.sqrt(one.seeds / (one.seeds - 1)) * (one.by_seed_S - one.estimate) for one in several]
    known = max(one.seeds - 1 for one in several) if same_adapters else freedom
    return _Pooled(variance, observed**2 / known, np.concatenate(deviations))


def _parts(one: Measured, seeds: _Pooled | None, generator: np.random.Generator) -> _Parts | None:
    draws_D = one.user_draws_D
    if not len(draws_D):
        return None
    users = float(draws_D.var(ddof=1))
    total = sum(variance for variance, _ in one.user_variances)
    alike = sum(variance**2 / freedom for variance, freedom in one.user_variances)
    uncertainty = users**2 * alike / total**2 if total else 0.0
    if seeds is None:
        return _Parts(users, users, uncertainty)
    chosen_DS = generator.choice(seeds.deviations, size=(len(draws_D), one.seeds))
    both = float((draws_D + chosen_DS.mean(axis=1)).var(ddof=1))
    return _Parts(users, both, uncertainty + seeds.uncertainty / one.seeds**2)


def _training_samples(placebos: Mapping[str, tuple[float, float]], judged: str) -> _Pooled | None:
    """The variance that placebo estimates have beyond users and seeds, given each one's estimate and that variance;
    None with too few of them. A placebo that is itself judged is left out: among its own n it could never be further
    out than sqrt(n) standard errors, and no placebo would ever be found to differ."""
    if len(placebos) < FEWEST_PLACEBOS:
        return None
    estimates, expected = np.array([known for split, known in placebos.items() if split != judged]).T
    square = float((estimates**2).mean())
    variance = max(0.0, square - float(expected.mean()))
    # Where the placebos spread no wider than users and seeds explain, the variance is theirs and as well known; where
    # placebos alone decide, it has as many degrees of freedom as there are placebos. In between, in proportion: the
    # coverage of the interval was counted over this rule (benchmarks/calibration.py).
    return _Pooled(variance, square * variance / len(estimates), estimates)


def _spread(part: _Parts | None, training: _Pooled | None) -> tuple[float, float] | None:
    """Standard error and degrees of freedom."""
    if part is None:
        return None
    variance = part.users_and_seeds + (training.variance if training else 0.0)
    if variance < ROUNDING**2:
        return None
    uncertainty = part.uncertainty + (training.uncertainty if training else 0.0)
    return variance**0.5, max(1.0, variance**2 / uncertainty)


# ---- families


def _family(results: Sequence[SplitResult], role: str) -> list[str]:
    """The planned splits that a split of this role is adjusted with."""
    alike = CONTROLS if role in CONTROLS else (role,)
    return [result.split for result in results if result.role in alike]


def _family_size(results: Sequence[SplitResult], role: str) -> int:
    return len(_family(results, role))


def _adjustment(results: Sequence[SplitResult], role: str) -> str:
    name = "Benjamini-Hochberg" if role == "exploratory" else "Holm"
    kind = "control" if role in CONTROLS else role
    size = _family_size(results, role)
    return f"{name} over {size} {kind} split{'s' if size > 1 else ''}"


def _adjusted(results: Sequence[SplitResult], p: Mapping[str, float | None]) -> dict[str, float | None]:
    from scipy.stats import false_discovery_control

    adjusted: dict[str, float | None] = dict.fromkeys(p)
    for role in dict.fromkeys(result.role for result in results):
        family = _family(results, role)
        values = np.array([1.0 if (value := p.get(split)) is None else value for split in family])
        of_family = false_discovery_control(values) if role == "exploratory" else _holm(values)
        for split, value in zip(family, of_family, strict=True):
            if p.get(split) is not None:
                adjusted[split] = float(value)
    return adjusted


def _holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjusted p: the k-th smallest of m times m - k + 1, never less than the one before (Holm 1979).

    Not statsmodels' `multipletests`, which collects all garbage of the process at each call: most of a study's time.
    """
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted
