"""Raw PRISM to pairs, covariates and folds."""

from collections.abc import Iterator

import dagster as dg

from prefassets.assets.declared import declared
from prefassets.domain.prism.folds import user_folds
from prefassets.domain.prism.pairs import within_model_pairs
from prefassets.domain.prism.users import user_covariates
from prefassets.resources.prism_source import load
from prefassets.resources.store import Store
from prefassets.settings import settings

GROUP = "prism"
PUBLISHED_PAIRS, PUBLISHED_USERS = 18_064, 1_393  # report of 2026-02-24: pairs with a gap of at least 1, their users


@dg.multi_asset(
    specs=[
        dg.AssetSpec(**declared("prism.survey"), group_name=GROUP, kinds={"json", "polars"}, skippable=True),
        dg.AssetSpec(**declared("prism.utterances"), group_name=GROUP, kinds={"json", "polars"}, skippable=True),
        dg.AssetSpec(**declared("prism.planted_truth"), group_name=GROUP, kinds={"polars"}, skippable=True),
    ],
    can_subset=False,
)
def released(store: Store) -> Iterator[dg.MaterializeResult]:
    """The released files, validated row by row; or synthetic PRISM in the same form."""
    source = store.source(**settings().source)
    found, planted = load(source)
    store.pin(source)  # not before it could be read: a source that was mistyped must not stick
    ignored = {f"ignored: {column}": count for column, count in found.ignored.items()}
    for table, rows in (
        ("prism.survey", found.survey),
        ("prism.utterances", found.utterances),
        ("prism.planted_truth", planted),
    ):
        yield store.replace(table, rows, metadata={"source": str(source), **ignored})


@dg.asset(**declared("prism.pairs"), deps=[["prism", "utterances"]], group_name=GROUP, kinds={"polars"})
def pairs(store: Store) -> dg.MaterializeResult:
    """Two answers by one model to one user's prompt, the better-scored first."""
    found = within_model_pairs(store.read("prism.utterances"))
    dropped = {f"dropped: {reason}": count for reason, count in found.dropped.items()}
    return store.replace("prism.pairs", found.pairs, metadata={"users": found.pairs["user_id"].n_unique(), **dropped})


@dg.asset(
    **declared("prism.users"),
    deps=[["prism", "survey"], ["prism", "utterances"], ["prism", "pairs"]],
    group_name=GROUP,
    kinds={"polars"},
)
def users(store: Store) -> dg.MaterializeResult:
    """Every covariate that the reports use, one row per participant."""
    rows = user_covariates(store.read("prism.survey"), store.read("prism.utterances"), store.read("prism.pairs"))
    return store.replace("prism.users", rows, metadata={"users with pairs": int((rows["pairs"] > 0).sum())})


@dg.asset(**declared("prism.folds"), deps=[["prism", "users"]], group_name=GROUP, kinds={"scikitlearn"})
def folds(store: Store) -> dg.MaterializeResult:
    """Five user-disjoint folds, stratified, fixed by the home's seed: the same for every cell of every study."""
    rows = user_folds(store.read("prism.users"), seed=store.source().seed)
    return store.replace("prism.folds", rows)


@dg.asset_check(asset=["prism", "pairs"], blocking=True)
def chosen_is_scored_above_rejected(store: Store) -> dg.AssetCheckResult:
    """A pair whose chosen answer was not scored higher would teach the opposite of what the user said."""
    wrong = store.query(
        "from prism.pairs where chosen_score <= rejected_score or score_gap <> chosen_score - rejected_score"
    )
    return dg.AssetCheckResult(passed=wrong.is_empty(), metadata={"pairs": wrong["pair_id"].to_list()[:10]})


@dg.asset_check(asset=["prism", "pairs"], additional_deps=[["prism", "utterances"]], blocking=True)
def both_answers_have_one_user_model_and_prompt(store: Store) -> dg.AssetCheckResult:
    """Each answer of each pair is an utterance of that user, conversation, turn, model and prompt, with that score."""
    wrong = store.query(
        """
        with answers as (
            select *, chosen as answer, chosen_score as score from prism.pairs
            union all by name
            select *, rejected as answer, rejected_score as score from prism.pairs
        )
        select distinct pair_id from answers
        anti join prism.utterances as said
            on said.user_id = answers.user_id and said.conversation_id = answers.conversation_id
            and said.turn = answers.turn and said.model_name = answers.model_name and said.score = answers.score
            and said.model_response = answers.answer and said.user_prompt = answers.prompt[-1].content
        """
    )
    return dg.AssetCheckResult(passed=wrong.is_empty(), metadata={"pairs": wrong["pair_id"].to_list()[:10]})


@dg.asset_check(asset=["prism", "pairs"])
def counts_are_near_the_published_ones(store: Store) -> dg.AssetCheckResult:
    """The reports count 18,064 pairs of 1,393 users; another count means other data or another definition of a pair."""
    counted = store.query("select count(*) as pairs, count(distinct user_id) as users from prism.pairs").row(
        0, named=True
    )
    scale = store.source().scale
    near = all(
        abs(counted[name] - scale * published) <= 0.02 * scale * published
        for name, published in (("pairs", PUBLISHED_PAIRS), ("users", PUBLISHED_USERS))
    )
    return dg.AssetCheckResult(
        passed=near,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={**counted, "published pairs": PUBLISHED_PAIRS, "published users": PUBLISHED_USERS, "scale": scale},
    )


@dg.asset_check(asset=["prism", "folds"], additional_deps=[["prism", "pairs"]], blocking=True)
def no_user_is_on_both_sides_of_a_fold(store: Store) -> dg.AssetCheckResult:
    """A user in two folds would be trained on and judged on; a user in none would be lost."""
    wrong = store.query(
        "select user_id, count(fold) as folds from (select distinct user_id from prism.pairs) left join prism.folds"
        " using (user_id) group by user_id having count(fold) <> 1"
    )
    return dg.AssetCheckResult(passed=wrong.is_empty(), metadata={"users": wrong["user_id"].to_list()[:10]})
