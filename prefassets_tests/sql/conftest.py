"""Runs one file of sql/ on rows written in the test."""

import pytest

from prefassets.resources.sql_tables import run_sql as run


@pytest.fixture
def run_sql():
    return run
