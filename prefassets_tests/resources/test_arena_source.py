"""Battles come from where the home says: made here, downloaded, or a released file."""

import os
import subprocess
import sys

import pytest

from prefassets.domain.arena.released_battles import UNJUDGED
from prefassets.domain.prism.released import BadInput
from prefassets.resources.arena_source import load_battles
from prefassets.resources.store import DataSource
from prefassets_tests.domain.arena.released import row, sheet


def test_synthetic_battles_follow_seed_and_scale():
    first, same, other = (load_battles(DataSource(seed=seed, scale=0.02)) for seed in (3, 3, 4))
    assert first.battles.equals(same.battles)
    assert not first.battles.equals(other.battles)
    assert len(first.battles) + first.dropped["rows"].sum() == 240


def test_a_file_is_read(tmp_path):
    file = sheet(tmp_path / "train.csv", row(1), row(2, winner="tie"), row(3, winner="nobody"))
    found = load_battles(DataSource(arena=str(file)))
    assert found.battles.select("battle", "winner").rows() == [("1", "A"), ("2", "tie")]
    assert found.dropped.select("reason", "rows").rows() == [("no winner", 1)]


def test_the_hub_is_asked_for_the_released_file(tmp_path, monkeypatch):
    def download(dataset: str, name: str, repo_type: str) -> str:
        assert (dataset, name, repo_type) == ("lmarena-ai/arena-human-preference-55k", "train.csv", "dataset")
        return str(sheet(tmp_path / "train.csv", row(1)))

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert load_battles(DataSource(arena="hub")).battles["battle"].to_list() == ["1"]


def test_battles_that_nobody_judged_are_refused_with_what_to_do(tmp_path):
    file = sheet(tmp_path / "test.csv", row(1), header=UNJUDGED)
    with pytest.raises(BadInput, match=r"test\.csv has no column of winners \(winner_model_a.*arena predict FILE"):
        load_battles(DataSource(arena=str(file)))


def test_a_file_of_which_no_row_is_a_battle_is_refused_with_its_reasons(tmp_path):
    file = sheet(tmp_path / "train.csv", row(1, winner="nobody"), row(2, prompt="["))
    with pytest.raises(
        BadInput, match=r"not JSON: 1 \(2, line 3: prompt, .*; no winner: 1 \(1, line 2: winner_model_a 0"
    ):
        load_battles(DataSource(arena=str(file)))


def test_without_a_network_the_hub_is_unreachable_with_what_to_do(tmp_path):
    code = (
        "from prefassets.resources.arena_source import *; from prefassets.resources.hub import SourceUnreachable\n"
        "try: load_battles(DataSource(arena='hub'))\n"
        "except SourceUnreachable as error: print(error)"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "train.csv of lmarena-ai/arena-human-preference-55k could not be downloaded" in done.stdout
    assert "set PREFASSETS_ARENA to it; or set it to synthetic" in done.stdout
