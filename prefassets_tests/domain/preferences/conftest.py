from pathlib import Path

import polars as pl
import pytest

from prefassets.resources.choice_files import read_choices, read_tasks

REPOSITORY = Path(__file__).parents[3]
SLICE = REPOSITORY / "prefassets_tests" / "data" / "preferences"
VILLAIN = REPOSITORY.parent / "shared" / "data" / "preferences" / "villain_gemma3_27b"


@pytest.fixture(scope="session")
def villain_slice() -> tuple[pl.DataFrame, list[str]]:
    """693 answers of Gemma-3-27B about 60 tasks, and the tasks in the published order."""
    return read_choices(SLICE / "villain_60_tasks.csv"), read_tasks(SLICE / "villain_60_tasks_order.csv")


@pytest.fixture(scope="session")
def villain() -> tuple[pl.DataFrame, pl.DataFrame]:
    """All 32,330 answers, and the published utilities."""
    if not VILLAIN.exists():
        pytest.skip("the whole file is not here")
    return read_choices(VILLAIN / "train_measurements.yaml"), pl.read_csv(VILLAIN / "train_thurstonian.csv")
