"""When an asset runs by itself (while Dagster's daemon runs)."""

import dagster as dg

# Not `eager()`: that one waits until no upstream partition is missing, and a study may lack seeds for weeks.
# Since it was last handled: a change that is seen while its run still goes on would be forgotten at the next look.
AFTER_ANY_CHANGE = (
    (dg.AutomationCondition.any_deps_updated() | dg.AutomationCondition.code_version_changed()).since_last_handled()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
).with_label("after any change")
