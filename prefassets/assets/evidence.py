"""Which user covariates shift how far apart users score two answers, and whether studies expect what that says."""

import dagster as dg

from prefassets.assets.automation import AFTER_ANY_CHANGE
from prefassets.assets.declared import declared
from prefassets.domain.evidence.models import OL, W2, Test, coefficients, selection
from prefassets.domain.evidence.outcomes import Outcome, outcomes
from prefassets.domain.prism.pairs import tied_pairs
from prefassets.resources.store import Store

GROUP = "evidence"


def read_outcomes(store: Store) -> dict[str, Outcome]:
    """The outcomes by name, ties included where an outcome wants them."""
    return outcomes(store.read("prism.pairs"), tied_pairs(store.read("prism.utterances")), store.read("prism.users"))


def evidence_asset(table: str, test: Test) -> dg.AssetsDefinition:
    """The asset of one model's coefficients."""

    @dg.asset(
        **declared(table),
        deps=[["prism", "pairs"], ["prism", "utterances"], ["prism", "users"]],
        group_name=GROUP,
        kinds={"python", "polars"},
        automation_condition=AFTER_ANY_CHANGE,
    )
    def estimate(store: Store) -> dg.MaterializeResult:
        found = read_outcomes(store)
        rows = coefficients(test, found, store.read("prism.users"))
        cuts = {f"cuts of {outcome.name}": str(outcome.cuts_of(test.name)) for outcome in found.values()}
        return store.replace(table, rows, metadata={"terms not estimated": int((rows["state"] != "ok").sum()), **cuts})

    return estimate


w2_logit = evidence_asset("evidence.w2_logit", W2)
ordered = evidence_asset("evidence.ordered_logit", OL)


@dg.asset(
    **declared("evidence.selection"),
    deps=[["prism", "pairs"], ["prism", "utterances"], ["prism", "users"], ["splits", "assignments"]],
    group_name=GROUP,
    kinds={"python", "polars"},
    automation_condition=AFTER_ANY_CHANGE,
)
def selected(store: Store) -> dg.MaterializeResult:
    """Which covariates pass the reports' tests, with naive and with clustered errors, and what they predict."""
    rows = selection(read_outcomes(store)["score_gap"], store.read("prism.users"), store.read("splits.assignments"))
    return store.replace(
        "evidence.selection",
        rows,
        metadata={column: int(rows[column].sum()) for column in ("selected_naive", "selected_clustered")},
    )


@dg.asset_check(asset=["verdicts", "expectation"])
def expectations_rest_on_evidence(store: Store) -> dg.AssetCheckResult:
    """A direction that the data speak against, or do not speak for, is a guess: its verdict should be read as one."""
    unsupported = store.query(
        "select study, split, expected, clustered_evidence from verdicts.expectation"
        " where role = 'directional' and clustered_evidence <> 'supported'"
    )
    found = {f"{study} {split}": f"{expected}: {says}" for study, split, expected, says in unsupported.iter_rows()}
    return dg.AssetCheckResult(
        passed=not found, severity=dg.AssetCheckSeverity.WARN, metadata={"without support": found}
    )
