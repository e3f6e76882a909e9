"""How alike the groups of a split are in all but what the split asks: sizes, covariates, source models, exposure."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.domain.prism.splits import SPLITS
from prefassets.domain.prism.users import STATED

SHARES = ("age", "gender", "education", "region", "familiarity")
MEANS = (
    *(f"stated_{name}" for name in STATED),
    "conversations",
    "utterances",
    "mean_score",
    "sd_score",
    "pairs",
    "mean_score_gap",
)
IMBALANCE = 0.1  # standardised difference above which a covariate counts as imbalanced (Austin 2009, section 3)
EXPOSURE_RATIO = 1.1  # groups whose epochs differ by more are not exposed alike
FEWEST_EXPECTED = 5  # users that a chi-square test wants in every cell (Cochran 1954)
GROUPS = ("A", "B", "neither")


def balance(assignments: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """How large each group is.

    Args:
        assignments: the table `splits.assignments`.
        pairs: the table `prism.pairs`.

    Returns:
        `split`, `user_group` (`A`, `B`, `neither`), `label`, `users`, `pairs`, `pairs_per_user` (their mean), and
        `mean_score_gap` of those pairs in points. All three groups of every split are there, with zero users if empty.
    """
    groups = pl.DataFrame(
        [
            (name, group, label)
            for name in assignments["split"].unique(maintain_order=True)
            for group, label in zip(
                GROUPS, (SPLITS[name].group_a, SPLITS[name].group_b, "in neither group"), strict=True
            )
        ],
        {"split": pl.String, "user_group": pl.String, "label": pl.String},
        orient="row",
    )
    of_user = pairs.group_by("user_id").agg(pairs=pl.len(), points=pl.col("score_gap").sum())
    sizes = (
        assignments.with_columns(pl.col("user_group").fill_null("neither"))
        .join(of_user, on="user_id", how="left")
        .group_by("split", "user_group")
        .agg(users=pl.len(), pairs=pl.col("pairs").sum(), points=pl.col("points").sum())
    )
    return groups.join(sizes, on=["split", "user_group"], how="left", maintain_order="left").select(
        "split",
        "user_group",
        "label",
        pl.col("users", "pairs").fill_null(0).cast(pl.Int64),
        pl.when(pl.col("users") > 0).then(pl.col("pairs") / pl.col("users")).alias("pairs_per_user"),
        pl.when(pl.col("pairs") > 0).then(pl.col("points") / pl.col("pairs")).alias("mean_score_gap"),
    )


def covariate_balance(assignments: pl.DataFrame, users: pl.DataFrame) -> pl.DataFrame:
    """How differently the covariates are distributed over the users of A and of B.

    The standardised difference is d = (m_A - m_B) / sqrt((s_A^2 + s_B^2) / 2), with m and s^2 the mean and the variance
    (n - 1) of a number, or the share p and p (1 - p) of a category: Austin 2009, "Balance diagnostics for comparing the
    distribution of baseline covariates", Statistics in Medicine 28, 3083-3107, https://doi.org/10.1002/sim.3697. It has
    no unit and does not shrink as users are added: it says how much the groups differ, not whether more than by chance
    (of random halves of 700 users each, it exceeds .1 for one covariate in sixteen).

    Args:
        assignments: the table `splits.assignments`. Users of neither group are left out.
        users: the table `prism.users`. A user without an answer is left out of that covariate.

    Returns:
        One row per split, covariate and category that occurs in either group (`mean` for numbers): `users_a`, `users_b`
        (with an answer), `value_a`, `value_b` (mean, or share 0-1), `standardised_difference`, `imbalanced` (above
        `IMBALANCE` in either direction; true if neither group varies and they differ) and `reason`, which says why
        something is empty.
    """
    members = assignments.drop_nulls("user_group").join(users, on="user_id")
    index = ["split", "user_group"]
    numbers = (
        members.select(*index, pl.col(MEANS).cast(pl.Float64))
        .unpivot(index=index, variable_name="covariate")
        .drop_nulls("value")
        .group_by(*index, "covariate")
        .agg(users=pl.len(), spread=pl.col("value").var(), value=pl.col("value").mean())
        .with_columns(category=pl.lit("mean"))
    )
    answers = members.unpivot(SHARES, index=index, variable_name="covariate", value_name="category").drop_nulls()
    answered = answers.group_by(*index, "covariate").agg(users=pl.len())
    shares = (
        answers.select("split", "covariate", "category")
        .unique()
        .join(answered, on=["split", "covariate"])
        .join(answers.group_by(*index, "covariate", "category").len(), on=[*index, "covariate", "category"], how="left")
        .with_columns(value=pl.col("len").fill_null(0) / pl.col("users"))
        .with_columns(spread=pl.col("value") * (1 - pl.col("value")))
    )
    columns = ["split", "user_group", "covariate", "category", "users", "value", "spread"]
    found = pl.concat([numbers.select(columns), shares.select(columns)])

    row = ["split", "covariate", "category"]
    a, b = (found.filter(user_group=group).select(*row, "users", "value", "spread") for group in "AB")
    difference = pl.col("value_a") - pl.col("value_b")
    pooled = ((pl.col("spread_a") + pl.col("spread_b")) / 2).sqrt()
    alike = difference.abs() < 1e-12
    return (
        a.join(b, on=row, how="full", coalesce=True, suffix="_b")
        .rename({"users": "users_a", "value": "value_a", "spread": "spread_a"})
        .with_columns(pl.col("users_a", "users_b").fill_null(0).cast(pl.Int64))
        .with_columns(
            standardised_difference=pl.when(pooled > 0).then(difference / pooled).when(pooled == 0, alike).then(0.0),
            reason=pl.when(pl.col("users_a") == 0)
            .then(pl.lit("nobody in A has an answer"))
            .when(pl.col("users_b") == 0)
            .then(pl.lit("nobody in B has an answer"))
            .when(pooled.is_null())
            .then(pl.lit("a group of one user has no variance"))
            .when(pooled == 0, ~alike)
            .then(pl.lit("no user differs from the rest of its group, and the groups differ")),
        )
        .with_columns(
            imbalanced=pl.when(pooled == 0, ~alike)
            .then(True)
            .otherwise(pl.col("standardised_difference").abs() > IMBALANCE)
        )
        .sort(_order("split", assignments), _order("covariate", (*SHARES, *MEANS)), "category")
        .select(*row, "users_a", "users_b", "value_a", "value_b", "standardised_difference", "imbalanced", "reason")
    )


def _order(column: str, of: pl.DataFrame | tuple[str, ...]) -> pl.Expr:
    """The rank of a column's values in the order in which they stand in `of`."""
    values = list(dict.fromkeys(of[column] if isinstance(of, pl.DataFrame) else of))
    return pl.col(column).replace_strict(values, range(len(values)), return_dtype=pl.Int64)


def source_models(assignments: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Which models wrote the answers that each group chose between.

    Args:
        assignments, pairs: the tables `splits.assignments` and `prism.pairs`.

    Returns:
        One row per split and model with pairs in either group: `pairs_a`, `pairs_b`, `share_a`, `share_b` (of the
        group's pairs, 0-1; null for a group without pairs) and `difference_pp`, A - B in points.
    """
    counted = (
        pairs.select("user_id", "model_name")
        .join(assignments.drop_nulls("user_group"), on="user_id")
        .group_by("split", "model_name")
        .agg(*(_in_group(group).sum().cast(pl.Int64).alias(f"pairs_{group.lower()}") for group in "AB"))
    )
    shares = {name: pl.col(f"pairs_{name}") / pl.col(f"pairs_{name}").sum().over("split") for name in "ab"}
    return (
        counted.with_columns(share.fill_nan(None).alias(f"share_{name}") for name, share in shares.items())
        .with_columns(difference_pp=100 * (pl.col("share_a") - pl.col("share_b")))
        .sort(_order("split", assignments), "model_name")
        .select("split", "model_name", "pairs_a", "pairs_b", "share_a", "share_b", "difference_pp")
    )


def _in_group(group: str) -> pl.Expr:
    return pl.col("user_group") == group


def source_mix(assignments: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Whether the pairs of A and of B come from the models in the same proportions, users being the unit.

    All pairs of a user come from the few models that answered that user, so pairs are not independent and Pearson's
    test finds differences that are not there. With p_A, p_B the models' shares, p those of both groups together, and
    V_A, V_B the user-clustered covariances of the shares (each group's pairs are a ratio over users: linearised, times
    G / (G - 1) for G users), the statistic is s = sum_k (p_Ak - p_Bk)^2 / p_k. Under equal proportions it is
    distributed as a weighted sum of chi-squares whose weights are the eigenvalues of
    M = D^-1/2 (V_A + V_B) D^-1/2, D = diag(p). Satterthwaite's approximation of it, s tr(M) / tr(M^2) ~ chi-square
    with tr(M)^2 / tr(M^2) degrees of freedom, is the second-order correction of Rao and Scott 1981, "The analysis of
    categorical data from complex sample surveys", Journal of the American Statistical Association 76, 221-230. Unlike
    Wald's test it inverts nothing, so rare models do not upset it.

    Assumes independent users, and enough of them (tens a group) for the shares to be nearly normal.

    Args:
        assignments, pairs: the tables `splits.assignments` and `prism.pairs`.

    Returns:
        One row per split: `models`, `users_a`, `users_b` (with pairs), `statistic`, `df`, `p`, `naive_p` (Pearson's,
        which takes pairs for independent) and `reason`, which says why they are empty.
    """
    from scipy.special import chdtrc  # scipy takes a while to import: only where it is used

    counts = (
        pairs.select("user_id", "model_name")
        .group_by("user_id", "model_name")
        .len()
        .sort("model_name", "user_id")
        .pivot(on="model_name", index="user_id", values="len")
        .fill_null(0)
    )
    counts_UK = counts.drop("user_id").to_numpy().astype(float)  # U users, K models
    row_of = counts.select("user_id").with_row_index("row")
    rows = []
    for (split,), members in assignments.group_by("split", maintain_order=True):
        of_group = {group: members.filter(user_group=group).join(row_of, on="user_id")["row"] for group in "AB"}
        a_UK, b_UK = (counts_UK[rows_of_group.to_numpy()] for rows_of_group in of_group.values())
        models = int(((a_UK.sum(0) + b_UK.sum(0)) > 0).sum())
        row: dict[str, object] = {"split": split, "models": models, "users_a": len(a_UK), "users_b": len(b_UK)}
        if min(len(a_UK), len(b_UK)) < 2:
            row["reason"] = "a group has fewer than two users with pairs"
        elif models < 2:
            row["reason"] = "all pairs are of one model"
        else:
            statistic, df, naive = _rao_scott(a_UK, b_UK)
            if df:
                row |= {"statistic": statistic, "df": df, "p": chdtrc(df, statistic)}
            else:
                row["reason"] = "no user of a group differs from the rest in mix"
            row["naive_p"] = chdtrc(models - 1, naive)
        rows.append(row)
    types = {"users_a": pl.Int64, "users_b": pl.Int64, "statistic": pl.Float64, "df": pl.Float64}
    schema = {"split": pl.String, "models": pl.Int64, **types, "p": pl.Float64, "naive_p": pl.Float64}
    return pl.DataFrame(rows, {**schema, "reason": pl.String})


def _rao_scott(a_UK: NDArray, b_UK: NDArray) -> tuple[float, float, float]:
    """The corrected statistic, its degrees of freedom (0 if users do not vary), and Pearson's statistic."""
    pairs_a, pairs_b = a_UK.sum(), b_UK.sum()
    p_K = (a_UK.sum(0) + b_UK.sum(0)) / (pairs_a + pairs_b)
    difference_K = a_UK.sum(0) / pairs_a - b_UK.sum(0) / pairs_b
    occurs = p_K > 0
    distance = (difference_K[occurs] ** 2 / p_K[occurs]).sum()
    covariance_KK = (_covariance_of_shares(a_UK) + _covariance_of_shares(b_UK))[np.ix_(occurs, occurs)]
    m_KK = covariance_KK / np.sqrt(np.outer(p_K[occurs], p_K[occurs]))
    trace, trace_of_square = float(np.trace(m_KK)), float((m_KK**2).sum())
    naive = distance * pairs_a * pairs_b / (pairs_a + pairs_b)
    if trace < 1e-12:
        return 0.0, 0.0, naive
    return distance * trace / trace_of_square, trace**2 / trace_of_square, naive


def _covariance_of_shares(counts_UK: NDArray) -> NDArray:
    """User-clustered covariance of a group's shares of models."""
    shares_K = counts_UK.sum(0) / counts_UK.sum()
    residual_UK = (counts_UK - counts_UK.sum(1, keepdims=True) * shares_K) / counts_UK.sum()
    users = len(counts_UK)
    return users / (users - 1) * residual_UK.T @ residual_UK


def exposure(training: pl.DataFrame) -> pl.DataFrame:
    """How often the adapters of A and of B see each of their pairs.

    Args:
        training: per study, split, fold and user_group (A and B): `users` and `pairs` that the adapters learn from,
            how many of these pairs are of each source model (`sources`: `model_name`, `pairs`), and the study's
            `steps` and `batch_size`.

    Returns:
        One row per study, split and fold: `users_a`, `users_b`, `pairs_a`, `pairs_b`, `epochs_a`, `epochs_b` (steps x
        batch_size / pairs) and `exposure_ratio`, the larger number of epochs over the smaller, 1 or more. An adapter
        that sees its pairs more often remembers more of them: above `EXPOSURE_RATIO` a difference on training pairs
        says as much about that as about the groups. `unlike_sources_pp` is how many points of the pairs would have to
        be of another source model for A and B to have the same mix: half the sum over models of |share of A - share of
        B|. Where a group has no pairs, its epochs, the ratio and `unlike_sources_pp` are null.
    """
    row = ["study", "split", "fold"]
    seen = training.with_columns(
        epochs=pl.when(pl.col("pairs") > 0).then(pl.col("steps") * pl.col("batch_size") / pl.col("pairs"))
    )
    wide = seen.group_by(row, maintain_order=True).agg(
        pl.col(name).filter(_in_group(group)).first().alias(f"{name}_{group.lower()}")
        for name in ("users", "pairs", "epochs")
        for group in "AB"
    )
    share = pl.col("pairs") / pl.col("pairs").sum().over(*row, "user_group")
    unlike = (
        training.select(*row, "user_group", "sources")
        .explode("sources")
        .unnest("sources")
        .with_columns(signed_share=pl.when(_in_group("A")).then(share).otherwise(-share))
        .group_by(*row, "model_name")
        .agg(pl.col("signed_share").sum())
        .group_by(row)
        .agg(unlike_sources_pp=100 * pl.col("signed_share").abs().sum() / 2)
    )
    a, b = pl.col("epochs_a"), pl.col("epochs_b")
    both = a.is_not_null() & b.is_not_null()
    return (
        wide.with_columns(exposure_ratio=pl.when(both).then(pl.max_horizontal(a / b, b / a)))
        .join(unlike, on=row, how="left", maintain_order="left")
        .with_columns(pl.when(both).then("unlike_sources_pp"))
    )


def sample_ratio(assignments: pl.DataFrame, folds: pl.DataFrame, users: pl.DataFrame, k: int = 5) -> pl.DataFrame:
    """Whether users were dealt out as was meant: half of them to each side of a placebo, 1/k to each fold.

    Chi-square tests of goodness of fit (a sample-ratio check: Fabijan et al. 2019, "Diagnosing sample ratio mismatch in
    online controlled experiments", KDD, https://doi.org/10.1145/3292500.3330722), over all users and within the users'
    age band, region and fold, where the statistics of the strata are summed, as are their degrees of freedom. Strata
    too small for `FEWEST_EXPECTED` users in each group are pooled as `other`. Folds are dealt evenly on purpose, so
    their p is near 1; it is small only if users were lost or added after the deal.

    Args:
        assignments, folds, users: the tables `splits.assignments`, `prism.folds` and `prism.users`.
        k: number of folds.

    Returns:
        `assignment` (a placebo, or `folds`), `within` (`all users`, `age`, `region` or `fold`), `stratum`,
        `assigned_to`, `users`, `expected_users`; and of the whole test, the same in all its rows, `statistic`, `df` and
        `p`. `reason` says of a stratum still too small that it is left out of the test.
    """
    from scipy.special import chdtrc  # scipy takes a while to import: only where it is used

    placebos = [name for name, split in SPLITS.items() if split.placebo]
    dealt = pl.concat(
        [
            assignments.filter(pl.col("split").is_in(placebos)).select(
                "user_id", assignment="split", assigned_to="user_group"
            ),
            folds.select(
                "user_id", pl.lit("folds").alias("assignment"), pl.col("fold").cast(pl.String).alias("assigned_to")
            ),
        ]
    )
    possible = pl.DataFrame(
        [*((name, group) for name in placebos for group in "AB"), *(("folds", str(fold)) for fold in range(k))],
        {"assignment": pl.String, "assigned_to": pl.String},
        orient="row",
    )
    test, stratum = ["assignment", "within"], ["assignment", "within", "stratum"]
    strata = (
        dealt.join(users.select("user_id", "age", "region"), on="user_id")
        .join(folds.select("user_id", fold=pl.format("fold {}", "fold")), on="user_id", how="left")
        .with_columns(pl.lit("all users").alias("all users"))
        .unpivot(
            ["all users", "age", "region", "fold"],
            index=["assignment", "assigned_to"],
            variable_name="within",
            value_name="stratum",
        )
        .drop_nulls("stratum")
        .filter((pl.col("assignment") != "folds") | (pl.col("within") != "fold"))
        .join(possible.group_by("assignment").len("groups"), on="assignment")
    )
    fewest = FEWEST_EXPECTED * pl.col("groups")
    strata = strata.with_columns(
        stratum=pl.when(pl.len().over(stratum) >= fewest).then("stratum").otherwise(pl.lit("other"))
    )
    counted = (
        strata.select(*stratum, "groups")
        .unique()
        .join(possible, on="assignment")
        .join(
            strata.group_by(*stratum, "assigned_to").agg(users=pl.len().cast(pl.Int64)),
            on=[*stratum, "assigned_to"],
            how="left",
        )
        .with_columns(pl.col("users").fill_null(0))
        .with_columns(expected_users=pl.col("users").sum().over(stratum) / pl.col("groups"))
    )
    large = pl.col("expected_users") >= FEWEST_EXPECTED
    tested = (
        counted.filter(large)
        .group_by(test)
        .agg(
            statistic=((pl.col("users") - pl.col("expected_users")) ** 2 / pl.col("expected_users")).sum(),
            df=(pl.len() - pl.col("stratum").n_unique()).cast(pl.Int64),
        )
    )
    tested = tested.with_columns(p=pl.Series(chdtrc(tested["df"].to_numpy(), tested["statistic"].to_numpy())))
    left_out = f"fewer than {FEWEST_EXPECTED} users expected in each group: not in the test"
    return (
        counted.join(tested, on=test, how="left")
        .with_columns(pl.when(large).then(pl.col("statistic", "df", "p")))
        .with_columns(reason=pl.when(~large).then(pl.lit(left_out)))
        .sort(
            _order("assignment", (*placebos, "folds")),
            _order("within", ("all users", "age", "region", "fold")),
            "stratum",
            "assigned_to",
        )
        .select(*stratum, "assigned_to", "users", "expected_users", "statistic", "df", "p", "reason")
    )
