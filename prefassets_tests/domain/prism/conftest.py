"""The small PRISM as frames and as files."""

import json

import polars as pl
import pytest

from prefassets_tests.domain.prism.small_prism import SURVEY, UTTERANCES, survey_frame, utterance_frame


@pytest.fixture
def survey() -> pl.DataFrame:
    return survey_frame(SURVEY)


@pytest.fixture
def utterances() -> pl.DataFrame:
    return utterance_frame(UTTERANCES)


@pytest.fixture
def write_lines(tmp_path):
    """Write JSON lines to a file, and return its path; a `str` is written as it stands."""

    def write(name, lines):
        path = tmp_path / name
        path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
        return path

    return write
