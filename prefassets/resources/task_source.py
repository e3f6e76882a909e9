"""Where tasks come from: made here, their authors' releases, or a folder of released files. One table either way."""

from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from prefassets.domain.preferences.released_tasks import SUFFIXES, read_tasks
from prefassets.domain.preferences.synthetic_tasks import synthetic_tasks
from prefassets.domain.preferences.tasks import UsableTasks, usable_tasks
from prefassets.domain.prism.released import BadInput
from prefassets.resources.hub import hub_file, unreachable
from prefassets.resources.store import DataSource

HUB_FILES = (
    ("qwedsacf/competition_math", "data/train-00000-of-00001-7320a6f3aba8ebd2.parquet"),
    ("tatsu-lab/alpaca", "data/train-00000-of-00001-a09b74b3ef9c3b56.parquet"),
    ("allenai/WildChat-1M", "data/train-00000-of-00014.parquet"),  # one of 14: many more than are kept
)
BAILBENCH = (  # not on the hub: its authors release it with their code
    "https://raw.githubusercontent.com/Phylliida/BailStudy/2d0b7862dcaf795ad6afc03c7417f3e88f93f2b3/"
    "bailstudy/data/bailBench.csv"
)
_INSTEAD = (
    f"download {', '.join(dataset for dataset, _ in HUB_FILES)} and {BAILBENCH} and set PREFASSETS_TASKS to their "
    "folder; or set it to synthetic"
)


def load_tasks(source: DataSource) -> UsableTasks:
    """Tasks that can be asked, and how many others there were by reason.

    Raises:
        BadInput: a file is not what was released; names file, line and column.
        SourceUnreachable: a file could not be downloaded.
    """
    return usable_tasks(_found(source), source.seed)


def _found(source: DataSource) -> pl.DataFrame:
    if source.tasks == "synthetic":
        return synthetic_tasks(source.seed)
    if source.tasks == "hub":
        files = [hub_file(dataset, name, _INSTEAD) for dataset, name in HUB_FILES]
        with TemporaryDirectory() as folder:
            return read_tasks([*files, _bailbench(Path(folder))])
    files = sorted(file for file in Path(source.tasks).glob("*") if file.suffix in SUFFIXES)
    if not files:
        raise BadInput(
            f"{source.tasks} has no file of tasks (*{', *'.join(SUFFIXES)}). Put files of MATH, Alpaca, WildChat or "
            "BailBench there, or set PREFASSETS_TASKS to synthetic."
        )
    return read_tasks(files)


def _bailbench(folder: Path) -> Path:
    import requests

    try:
        answer = requests.get(BAILBENCH, timeout=60)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise unreachable(BAILBENCH, error, _INSTEAD) from error
    file = folder / BAILBENCH.rpartition("/")[2]
    file.write_bytes(answer.content)
    return file
