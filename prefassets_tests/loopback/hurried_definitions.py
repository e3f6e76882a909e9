"""The definitions with the short demo of two splits, as a code location in a cluster of tests."""

import prefassets_tests.loopback.two_splits  # noqa: F401  before the definitions
from prefassets_tests.loopback.quick import hurry

hurry()

from prefassets.definitions import defs  # noqa: E402

__all__ = ["defs"]
