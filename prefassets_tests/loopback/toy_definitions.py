"""A code location that has nothing of prefassets."""

import dagster as dg


@dg.asset
def toy() -> None:
    """Nothing."""


defs = dg.Definitions(assets=[toy])
