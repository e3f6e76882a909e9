"""A store in an empty folder."""

import pytest

from prefassets.resources.store import Store


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(home=str(tmp_path / "home"))
