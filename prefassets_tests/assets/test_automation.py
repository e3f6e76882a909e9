"""What follows by itself follows every change, also one that is seen while a run still goes on."""

import dagster as dg

from prefassets.assets.automation import AFTER_ANY_CHANGE


def test_a_change_that_is_seen_while_another_run_goes_on_is_judged_once_that_has_failed():
    instance = dg.DagsterInstance.ephemeral()
    looks = []

    @dg.asset
    def adapters():
        pass

    @dg.asset(deps=[adapters])
    def margins():
        look()  # the adapters are there, the margins are in progress
        raise RuntimeError("the node was taken away")

    @dg.asset(deps=[adapters, margins], automation_condition=AFTER_ANY_CHANGE)
    def verdicts():
        pass

    definitions = dg.Definitions(assets=[adapters, margins, verdicts])

    def look():
        cursor = looks[-1].cursor if looks else None
        looks.append(dg.evaluate_automation_conditions(definitions, instance, cursor=cursor))

    look()
    assert not dg.materialize([adapters, margins], instance=instance, raise_on_error=False).success
    look()
    look()
    assert [found.total_requested for found in looks] == [0, 0, 1, 0]
