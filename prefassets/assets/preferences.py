"""What models prefer, over all measurements: the tables that collect it, and how far to believe it."""

from collections.abc import Callable, Iterator

import dagster as dg
import polars as pl

from prefassets.assets.automation import AFTER_ANY_CHANGE
from prefassets.assets.declared import declared
from prefassets.domain.preferences.measurement import Measurement
from prefassets.domain.training.recipe import digest
from prefassets.measurements import all_measurements
from prefassets.resources.store import Store
from prefassets.resources.tables import TABLES

GROUP = "preferences"
COLLECTED = {  # table of all measurements -> the asset of each measurement that writes its parts
    "preferences.completions": "completions",
    "preferences.choices": "choices",
    "preferences.rounds": "choices",
    "preferences.ratings": "ratings",
    "preferences.utilities": "utilities",
    "preferences.fit": "utilities",
}
