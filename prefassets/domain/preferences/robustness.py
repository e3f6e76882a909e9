"""The report's robustness check: do utilities depend on how the published fit is started, bounded and penalised?"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl
from scipy.stats import rankdata

from prefassets.domain.preferences.comparisons import Comparisons, count_choices
from prefassets.domain.preferences.thurstonian import (
    LOG_SIGMA_BOUNDS,
    MU_BOUNDS,
    PUBLISHED_PENALTY,
    fit_utilities,
)


@dataclass(frozen=True)
class Variant:
    """One way of running the published fit. `random_mu` is the seed of a start with mu ~ N(0, 1); None starts at 0."""

    name: str
    start_sigma: float = 1.0
    random_mu: int | None = None
    mu_bounds: tuple[float, float] = MU_BOUNDS
    log_sigma_bounds: tuple[float, float] = LOG_SIGMA_BOUNDS
    penalty: float = PUBLISHED_PENALTY


VARIANTS = (
    Variant("as published"),
    Variant("sigma starts at 0.5", start_sigma=0.5),
    Variant("sigma starts at 2", start_sigma=2.0),
    Variant("mu starts at random, 1", random_mu=1),
    Variant("mu starts at random, 2", random_mu=2),
    Variant("log sigma in [-1, 1]", log_sigma_bounds=(-1.0, 1.0)),
    Variant("log sigma in [-3, 3]", log_sigma_bounds=(-3.0, 3.0)),
    Variant("mu in [-5, 5]", mu_bounds=(-5.0, 5.0)),
    Variant("mu in [-20, 20]", mu_bounds=(-20.0, 20.0)),
    Variant("penalty 0.1", penalty=0.1),
    Variant("penalty 10", penalty=10.0),
)


@dataclass(frozen=True)
class Robustness:
    """What came of the variants.

    `fits` has a row per variant: `variant`, `objective_value` (comparable only between equal penalties),
    `log_likelihood` (nats), `iterations`, `converged`. `correlations` has a row per two variants: `variant_a`,
    `variant_b`, `pearson` and `rank` (Spearman) of their mu over tasks; empty where one has all mu equal.
    """

    fits: pl.DataFrame
    correlations: pl.DataFrame

    @property
    def smallest_pearson(self) -> float | None:
        return self.correlations["pearson"].min()  # type: ignore[return-value]

    @property
    def smallest_rank(self) -> float | None:
        return self.correlations["rank"].min()  # type: ignore[return-value]


def robustness(choices: pl.DataFrame | Comparisons, variants: Sequence[Variant] = VARIANTS) -> Robustness:
    """Fit the published objective in several ways and correlate the utilities of every two."""
    comparisons = choices if isinstance(choices, Comparisons) else count_choices(choices)
    count = len(comparisons.tasks)
    fits = []
    for variant in variants:
        start_mu = 0.0 if variant.random_mu is None else np.random.default_rng(variant.random_mu).normal(size=count)
        fits.append(
            fit_utilities(
                comparisons,
                "published",
                penalty=variant.penalty,
                start_mu=start_mu,
                start_sigma=variant.start_sigma,
                mu_bounds=variant.mu_bounds,
                log_sigma_bounds=variant.log_sigma_bounds,
            )
        )
    mu_vn = np.array([fit.utilities["mu"].to_numpy() for fit in fits])
    with np.errstate(invalid="ignore", divide="ignore"):  # all mu equal: no correlation
        pearson_vv = np.corrcoef(mu_vn)
        rank_vv = np.corrcoef(rankdata(mu_vn, axis=1))
    names = [variant.name for variant in variants]
    rows = [
        (names[i], names[j], float(pearson_vv[i, j]), float(rank_vv[i, j]))
        for i, j in combinations(range(len(fits)), 2)
    ]
    return Robustness(
        pl.DataFrame(
            {
                "variant": names,
                "objective_value": [fit.objective_value for fit in fits],
                "log_likelihood": [fit.log_likelihood for fit in fits],
                "iterations": [fit.iterations for fit in fits],
                "converged": [fit.converged for fit in fits],
            }
        ),
        pl.DataFrame(
            rows,
            {"variant_a": pl.String, "variant_b": pl.String, "pearson": pl.Float64, "rank": pl.Float64},
            orient="row",
        ).with_columns(pl.col("pearson", "rank").fill_nan(None)),
    )
