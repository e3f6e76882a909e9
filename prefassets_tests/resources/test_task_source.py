"""Tasks come from where the home says: made here, downloaded, or a folder of released files."""

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import requests

from prefassets.domain.prism.released import BadInput
from prefassets.resources.hub import SourceUnreachable
from prefassets.resources.store import DataSource
from prefassets.resources.task_source import BAILBENCH, load_tasks

SLICES = Path(__file__).parents[1] / "data/preferences/tasks"
RELEASED = {
    "qwedsacf/competition_math": {
        "problem": ["1 + 1 = ?"],
        "level": ["Level 1"],
        "type": ["Algebra"],
        "solution": [""],
    },
    "tatsu-lab/alpaca": {"instruction": ["Name a bird."], "input": [""], "output": ["Owl."], "text": ["Below"]},
    "allenai/WildChat-1M": {"conversation": [[{"content": "hi there", "role": "user"}]], "language": ["English"]},
}


def answer(status: int, content: bytes = b"") -> requests.Response:
    made = requests.Response()
    made.status_code, made._content = status, content
    return made


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that has each data set's first row, and nothing under another name."""

    def download(dataset: str, name: str, repo_type: str) -> str:
        assert repo_type == "dataset"
        file = tmp_path / dataset / name
        file.parent.mkdir(parents=True)
        pl.DataFrame(RELEASED[dataset]).write_parquet(file)
        return str(file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)


def test_synthetic_tasks_follow_the_seed():
    first, same, other = (load_tasks(DataSource(seed=seed)).tasks for seed in (3, 3, 4))
    assert first.equals(same)
    assert not first.equals(other)


def test_a_folder_is_read_whole_and_what_is_no_file_of_tasks_stays_out():
    found = load_tasks(DataSource(tasks=str(SLICES)))
    assert dict(found.tasks.group_by("origin").len().rows()) == {"MATH": 4, "MT_BENCH": 2, "WILDCHAT": 4}
    assert found.dropped == {}


def test_a_folder_without_tasks_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"has no file of tasks \(\*\.jsonl, \*\.csv, \*\.parquet\)\. Put"):
        load_tasks(DataSource(tasks=str(tmp_path)))


def test_the_hub_is_asked_for_three_data_sets_and_their_authors_for_bailbench(hub, monkeypatch):
    asked = []

    def get(address: str, timeout: float) -> requests.Response:
        asked.append(address)
        return answer(200, b"content,subcategory,category\nYou lied.,Reproach,Abuse\n")

    monkeypatch.setattr(requests, "get", get)
    found = load_tasks(DataSource(tasks="hub")).tasks
    assert found.select("task_id", "topic").rows() == [
        ("competition_math_0", "Algebra"),
        ("alpaca_0", None),
        ("wildchat_0", None),
        ("bailbench_0", "Abuse"),
    ]
    assert asked == [BAILBENCH]


def test_a_release_that_is_gone_is_named_with_what_to_do(hub, monkeypatch):
    monkeypatch.setattr(requests, "get", lambda address, timeout: answer(404))
    with pytest.raises(
        SourceUnreachable, match=r"bailBench\.csv could not be downloaded \(HTTPError\).*PREFASSETS_TASKS"
    ):
        load_tasks(DataSource(tasks="hub"))


def test_without_a_network_the_hub_is_unreachable_with_what_to_do(tmp_path):
    code = (
        "from prefassets.resources.task_source import *; from prefassets.resources.hub import SourceUnreachable\n"
        "try: load_tasks(DataSource(tasks='hub'))\n"
        "except SourceUnreachable as error: print(error)"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "of qwedsacf/competition_math could not be downloaded (LocalEntryNotFoundError)" in done.stdout
    assert "set PREFASSETS_TASKS to their folder; or set it to synthetic" in done.stdout
