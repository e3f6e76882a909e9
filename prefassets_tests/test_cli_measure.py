"""The tiny model is asked, fitted and judged by `prefassets demo`, and asked nothing when it is asked again."""

import json

import duckdb

from prefassets.resources.preference_tables import PREFERENCE_TABLES
from prefassets.resources.sql_tables import sql_tables

CONFIGURATIONS, TASKS = 5, 8  # of `short_demo`: three for choices, two for ratings


def test_the_tiny_model_s_preferences_are_measured_to_the_end_and_once(copied_home):
    tables = [*(table.name for table in PREFERENCE_TABLES), *(name for name in sql_tables() if "preferences." in name)]
    with duckdb.connect(str(copied_home.folder / "warehouse.duckdb"), read_only=True) as connection:
        rows = {name: connection.execute(f"select count(*) from {name}").fetchall()[0][0] for name in tables}
        choices = connection.execute("select distinct choice from preferences.choices order by all").fetchall()
    lacking = {name for name, count in rows.items() if not count}
    assert lacking == {"preferences.efficiency"}, "which wants 16 tasks: see `runs/test_measuring.py`"
    assert rows["preferences.choices"] == 3 * TASKS * (TASKS - 1)
    assert rows["preferences.ratings"] == 2 * TASKS
    assert choices == [("a",), ("b",)], "it could answer in no other way"
    states = copied_home.rows("measure", "demo_tasks", "--list")
    assert [row["state"] for row in states] == ["finished"] * (CONFIGURATIONS + 1)  # and the activations
    again = copied_home.run("measure", "demo_tasks", "--format", "json")
    names = {row["configuration"] for row in states} - {"activations"}
    chosen = {name for name in names if not name.startswith("rating")}
    assert {row["configuration"] for row in json.loads(again.stdout)} == chosen
    assert [line for line in again.stderr.splitlines() if "demo_tasks" in line] == [], "nothing was asked or fitted"
