"""Utilities of choices that were replaced since are shown nowhere, however long the new fit takes to come."""

import polars as pl
import pytest

from prefassets.resources.sql_tables import all_tables

WAY = {"measurement": "m", "configuration": "plain"}


def frame(table, *rows):
    schema = all_tables()[table].schema
    return pl.DataFrame([dict.fromkeys(schema) | WAY | row for row in rows], schema=schema)


@pytest.mark.parametrize(("fitted_to", "read"), [("run 2", 1), ("run 1", 0)])
def test_a_fit_is_read_only_if_it_is_of_the_choices_that_stand(run_sql, fitted_to, read):
    stored = {
        "preferences.fit": frame("preferences.fit", {"run_id": fitted_to}),
        "preferences.answered": frame("preferences.answered", {"run_id": "run 2"}),
        "preferences.configuration": frame("preferences.configuration", {"kind": "choice"}),
    }
    assert len(run_sql("preferences.current_fit", stored)) == read
    utilities = {"preferences.utilities": frame("preferences.utilities", {"task_id": "t", "place": 0})}
    fits = {"preferences.current_fit": run_sql("preferences.current_fit", stored)}
    assert len(run_sql("preferences.current_utilities", utilities | fits)) == read


def test_a_configuration_that_its_file_no_longer_has_is_not_read(run_sql):
    stored = {
        "preferences.fit": frame("preferences.fit", {"run_id": "run 1"}),
        "preferences.answered": frame("preferences.answered", {"run_id": "run 1"}),
        "preferences.configuration": frame("preferences.configuration").clear(),
    }
    assert run_sql("preferences.current_fit", stored).is_empty()
