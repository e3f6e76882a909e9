"""What a language model may be asked to do."""

import dagster as dg

from prefassets.assets.declared import declared
from prefassets.domain.preferences.tasks import ORIGINS
from prefassets.resources.store import Store
from prefassets.resources.task_source import load_tasks
from prefassets.settings import settings


@dg.asset(**declared("tasks.tasks"), group_name="preferences", kinds={"polars"})
def tasks(store: Store) -> dg.MaterializeResult:
    """Tasks of released data sets, validated row by row; or synthetic ones of the same kinds."""
    source = store.source(**settings().source)
    found = load_tasks(source)
    store.pin(source)  # not before it could be read: a source that was mistyped must not stick
    counted = {f"tasks: {origin}": count for origin, count in sorted(found.tasks.group_by("origin").len().rows())}
    dropped = {f"dropped: {reason}": count for reason, count in found.dropped.items()}
    return store.replace("tasks.tasks", found.tasks, metadata={"source": source.of_tasks, **counted, **dropped})


@dg.asset_check(asset=["tasks", "tasks"], blocking=True)
def every_task_can_be_asked_and_told_apart(store: Store) -> dg.AssetCheckResult:
    """Choices name tasks by identifier: one that two tasks have, or that has no text, would make them mean nothing."""
    wrong = store.query(
        "from tasks.tasks qualify count(*) over (partition by task_id) > 1 or not regexp_matches(text, '\\S') "
        "or not list_contains($origins, origin)",
        origins=list(ORIGINS),
    )
    return dg.AssetCheckResult(passed=wrong.is_empty(), metadata={"tasks": wrong["task_id"].unique().to_list()[:10]})
