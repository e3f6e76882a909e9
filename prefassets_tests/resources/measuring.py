"""A small measurement at an endpoint, kept in a home: `python -m prefassets_tests.resources.measuring HOME`."""

import sys

import polars as pl

from prefassets.domain.preferences.active_learning import Plan
from prefassets.domain.preferences.asking import Asker
from prefassets.domain.preferences.measure import measure_choices
from prefassets.domain.preferences.measurement import Measurement, Revealed
from prefassets.resources.answers import Journal
from prefassets.resources.endpoint import Endpoint
from prefassets.resources.store import Store
from prefassets_tests.domain.preferences.answering import TASKS, flat

AT_ONCE = 4
PLAN = Plan(policy="all", samples=2)
MEASUREMENT = Measurement(name="m", question="?", model="planted", backend="endpoint", revealed=Revealed(plan=PLAN))
(CONFIGURATION,) = MEASUREMENT.choice_configurations


def asking(**how: float) -> Endpoint:
    return Endpoint("planted", **{"requests_at_once": AT_ONCE, "request_seconds": 30, "patience_seconds": 60} | how)  # type: ignore[arg-type]


def measure_at_home(home: str) -> pl.DataFrame:
    """All 30 questions about the six tasks, but those that the home has answers to."""
    with Journal(Store(home=home), CONFIGURATION.key) as journal:
        return measure_choices(MEASUREMENT, CONFIGURATION, TASKS, Asker(asking(), journal), flat).choices


if __name__ == "__main__":
    measure_at_home(sys.argv[1])
