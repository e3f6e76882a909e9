"""What is installed, what a home holds, and what a killed process left behind."""

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from prefassets.resources.arena import ArenaData
from prefassets.resources.cells import UNFINISHED, StudyData, cell_states_of_all
from prefassets.resources.store import Store
from prefassets.settings import Settings
from prefassets.studies import all_studies
from prefassets.studies.study import Cell

PACKAGES = (
    "dagster",
    "dagster-webserver",
    "dagster-k8s",
    "torch",
    "transformers",
    "trl",
    "peft",
    "bitsandbytes",
    "duckdb",
    "polars",
    "statsmodels",
)


_TO_OPEN = "; to open it, `prefassets export FILE` writes the same tables into a file here"


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `wrong` needs a person; `note` is good to know."""

    what: str
    state: Literal["ok", "note", "wrong"]
    found: str


def examine(settings: Settings) -> list[Finding]:
    """Look at the installation and the home; changes nothing."""
    return [*_packages(), _accelerator(), *_home(Store(home=settings.home, local=settings.local))]


def _packages() -> list[Finding]:
    findings = []
    for name in PACKAGES:
        try:
            findings.append(Finding(name, "ok", metadata.version(name)))
        except metadata.PackageNotFoundError:
            findings.append(Finding(name, "wrong", "not installed: make install"))
    return findings


def _accelerator() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("accelerator", "ok", torch.cuda.get_device_name())
    return Finding("accelerator", "note", f"none; torch runs on {torch.get_num_threads()} CPU threads")


def _home(store: Store) -> list[Finding]:
    source = store.pinned()
    if source is None:
        return [Finding("home", "note", f"{store.home} is empty: prefassets demo")]
    findings = [Finding("home", "ok", f"{store.home}: {source}; {source.of_tasks}; {source.of_battles}")]
    disk = next(folder for folder in (store.disk, *store.disk.parents) if folder.exists())
    free = shutil.disk_usage(disk).free / 2**30
    findings.append(Finding("free disk", "ok" if free > 5 else "wrong", f"{free:.0f} GiB at {disk}"))
    if (fetched := store.fetched()) is not None:
        text = f"{_size(fetched)} in {store.disk}, safe to delete: what is needed is fetched again"
        findings.append(Finding("fetched files", "ok", text))
    unfinished = set()
    for study, cells in cell_states_of_all(store, all_studies().values()).items():
        unfinished |= {state.cell for state in cells if state.state in ("missing", "stale")}
        states = [state.state for state in cells]
        if started := len(states) - states.count("missing"):
            wrong = {state: states.count(state) for state in (*UNFINISHED, "stale") if state in states}
            text = f"{states.count('finished')} of {len(states)} cells finished" + "".join(
                f", {count} {state}" for state, count in wrong.items()
            )
            findings.append(Finding(f"study {study}", "note" if wrong and started else "ok", text))
    findings += _arena(store)
    strays = store.stray_files()
    findings.append(
        Finding("temporary files", "note", f"{len(strays)} left by a killed process, safe to delete: {strays[0]} ...")
        if strays
        else Finding("temporary files", "ok", "none left over")
    )
    if unnamed := store.unnamed():
        text = f"{len(unnamed)} folders of results that no record names: replaced, of a killed run, or of one under way"
        findings.append(Finding("results", "note", f"{text}; safe to delete if none is: {unnamed[0]} ..."))
    findings.append(_checkpoints(store, unfinished))
    database = store.size("warehouse.duckdb")
    findings.append(
        Finding("warehouse.duckdb", "note", "not made yet")
        if database is None
        else Finding("warehouse.duckdb", "ok", _size(database) + ("" if fetched is None else _TO_OPEN))
    )
    return findings


def _arena(store: Store) -> list[Finding]:
    """The recipes of Arena, if any was ever trained."""
    states = [state.state for state in ArenaData(store).states()]
    wrong = {state: states.count(state) for state in ("unscored", "stale") if state in states}
    if states.count("missing") == len(states):
        return []
    text = f"{states.count('finished')} of {len(states)} recipes finished" + "".join(
        f", {count} {state}" for state, count in wrong.items()
    )
    return [Finding("Arena", "note" if wrong else "ok", text)]


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"


def _checkpoints(store: Store, unfinished: Collection[Cell]) -> Finding:
    """Cells that would go on from where they were stopped, and states that no cell will ask for any more."""
    stored = store.checkpoints()
    if not stored:
        return Finding("checkpoints", "ok", "none left over")
    wanted, data = set(), None
    for study in all_studies().values():
        data = StudyData(store, study, like=data)
        own = [cell for cell in unfinished if cell.study == study.name]
        if data.base_revision is not None:
            wanted |= {data.recipe(cell).fingerprint for cell in own if not data.unlearnable(cell)}
    text = f"{len(stored.keys() & wanted)} cells in training or to go on"
    if useless := [path for fingerprint, path in stored.items() if fingerprint not in wanted]:
        text += f"; {len(useless)} of recipes that no cell asks for, safe to delete: {useless[0]} ..."
    return Finding("checkpoints", "note", text)
