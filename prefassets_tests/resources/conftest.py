"""A store in an empty folder, or of either kind."""

import pytest

from prefassets.resources.store import Store


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(home=str(tmp_path / "home"))


@pytest.fixture(params=["folder", "objects"])
def either_store(request, tmp_path) -> Store:
    """A store in an empty folder, then the same test again in an empty bucket."""
    if request.param == "folder":
        return Store(home=str(tmp_path / "home"))
    return Store(home=request.getfixturevalue("storage").new_home(), local=str(tmp_path / "local"))
