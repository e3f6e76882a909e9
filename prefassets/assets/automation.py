"""When an asset runs by itself (while Dagster's daemon runs)."""

import dagster as dg

# Not `eager()`: that one waits until no upstream partition is missing, and a study may lack seeds for weeks.
# Since it was last asked for, not since it was made: a change that is seen while a run goes on would be forgotten.
AFTER_ANY_CHANGE = (
    (dg.AutomationCondition.any_deps_updated() | dg.AutomationCondition.code_version_changed()).since(
        dg.AutomationCondition.newly_requested()
    )
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
).with_label("after any change")
