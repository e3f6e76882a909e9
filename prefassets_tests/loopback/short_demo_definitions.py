"""The definitions with the short demo, as a code location of `webserver`."""

import prefassets_tests.short_demo  # noqa: F401  before the definitions
from prefassets.definitions import defs

__all__ = ["defs"]
