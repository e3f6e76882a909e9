"""The definitions with the short study, as a code location in a cluster of tests."""

from prefassets_tests.loopback.quick import hurry
from prefassets_tests.loopback.short_study import instead_of_the_demo

instead_of_the_demo()
hurry()

from prefassets.definitions import defs  # noqa: E402

__all__ = ["defs"]
