"""Running a study: what is missing, in this process or through Dagster's daemon, always exactly the missing cells."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from prefassets.resources.cells import CellState
from prefassets.resources.progress import keep_terminal
from prefassets.resources.reports import wants_page
from prefassets.resources.store import Store
from prefassets.runs.in_flight import UNFINISHED, Run
from prefassets.runs.runs import LABEL, RunFailed, Runs, in_runs, keys_of, what_of_cells
from prefassets.settings import Settings, settings
from prefassets.studies import all_studies
from prefassets.studies.study import Study

_PACKAGE = Path(__file__).resolve().parents[1]
DAGSTER_YAML = next(
    path
    for path in (_PACKAGE / "deployments/local/dagster.yaml", _PACKAGE.parent / "deployments/local/dagster.yaml")
    if path.exists()
)
PROCESS = "prefassets/process"
_RANGE = ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def prepare_dagster_home(chosen: Settings) -> Path:
    """Point Dagster at the home's own folder, with telemetry off; a DAGSTER_HOME that is set already stays."""
    folder = Path(os.environ.setdefault("DAGSTER_HOME", str(chosen.dagster_home)))
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "dagster.yaml").exists():
        shutil.copyfile(DAGSTER_YAML, folder / "dagster.yaml")
    return folder


def runs_here(chosen: Settings) -> list[Run]:
    """The runs of this machine's Dagster that have not ended; none, if it was never used for this home."""
    folder = Path(os.environ.get("DAGSTER_HOME", chosen.dagster_home))
    if not (folder / "dagster.yaml").exists() or _surely_idle(folder):
        return []
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        return _unfinished_runs(instance)


def _surely_idle(folder: Path) -> bool:
    """Whether no run is under way, from one look into Dagster's own file: opening its instance takes a second.

    Only where our settings hold, so that it is known where Dagster keeps its runs; in doubt False.
    """
    if (folder / "dagster.yaml").read_bytes() != DAGSTER_YAML.read_bytes():
        return False
    question = f"select 1 from runs where status in ({', '.join('?' * len(UNFINISHED))}) limit 1"
    try:
        with closing(sqlite3.connect(f"{(folder / 'history/runs.db').as_uri()}?mode=ro", uri=True)) as runs:
            return runs.execute(question, UNFINISHED).fetchone() is None
    except sqlite3.Error:
        return False


def _unfinished_runs(instance: dg.DagsterInstance) -> list[Run]:
    """Oldest first; without those of killed processes, which only look as if they were running."""
    return [
        Run(
            run.run_id,
            run.status.value,
            run.job_name,
            run.run_config,
            frozenset(tuple(key.path) for key in run.asset_selection or ()),
            run.tags,
        )
        for run in reversed(_not_ended(instance))
        if not _of_a_dead_process(run)
    ]


def _not_ended(instance: dg.DagsterInstance) -> Sequence[dg.DagsterRun]:
    return instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus(status) for status in UNFINISHED]))


def _of_a_dead_process(run: dg.DagsterRun) -> bool:
    """Whether a command on this machine ran it and is gone."""
    host, _, process = run.tags.get(PROCESS, "").partition(":")
    return host == socket.gethostname() and not _is_alive(int(process))


class Launcher(Runs):
    """Runs parts of the asset graph on the home of this process's settings, and keeps Dagster's record of them."""

    def __init__(self) -> None:
        prepare_dagster_home(settings())
        keep_terminal()
        from prefassets.assets import cells_job  # these read the settings: after DAGSTER_HOME is set
        from prefassets.definitions import JUDGED, defs

        super().__init__(Store(home=settings().home))
        self.instance = dg.DagsterInstance.get()
        self._job = defs.resolve_implicit_global_asset_job_def()
        self._cells_job = lambda study: defs.resolve_job_def(cells_job.job_name(study))
        self._config_of_cells = cells_job.run_config
        self._judged = sorted(JUDGED.resolve(self._graph))

        self._close_runs_of_dead_processes()

    def _close_runs_of_dead_processes(self) -> None:
        """A killed process cannot say that its run ended; without this the UI shows its cells as running for ever."""
        for run in filter(_of_a_dead_process, _not_ended(self.instance)):
            process = run.tags[PROCESS].rpartition(":")[2]
            self.instance.report_run_failed(run, f"process {process} ended without saying so; it was probably killed")

    def in_flight(self) -> list[Run]:
        return _unfinished_runs(self.instance)

    def failed_blocking_checks(self, assets: Collection[dg.AssetKey]) -> list[str]:
        keys = [
            key for key in self._graph.asset_check_keys if key.asset_key in assets and self._graph.get(key).blocking
        ]
        latest = self.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
        failed = AssetCheckExecutionRecordStatus.FAILED
        return [key.name for key, record in latest.items() if record.status == failed]

    # ---- in this process

    def run(
        self,
        what: str,
        assets: Collection[dg.AssetKey],
        partition: str | None = None,
        partition_range: tuple[str, str] | None = None,
    ) -> None:
        """Materialise assets here and now, in one run; `what` labels it in the UI.

        Args:
            partition_range: first and last of several partitions that are made in the one run.

        Raises:
            RunFailed: with the message of the step or blocking check that failed.
        """
        ends = dict(zip(_RANGE, partition_range, strict=True)) if partition_range else {}
        self._execute(what, self._job.get_subset(asset_selection=set(assets)), _QUIET, partition, ends)

    def _execute(
        self,
        what: str,
        job: dg.JobDefinition,
        run_config: Mapping[str, Any],
        partition: str | None = None,
        tags: Mapping[str, str] = {},
    ) -> None:
        result = job.execute_in_process(
            instance=self.instance,
            partition_key=partition,
            tags={LABEL: what, PROCESS: f"{socket.gethostname()}:{os.getpid()}", **tags},
            raise_on_error=False,
            run_config=run_config,
        )
        if not result.success:
            raise RunFailed(_why(result))

    def make(self, what: str, assets: Collection[dg.AssetKey], partition: str | None = None) -> Iterator[str]:
        yield what
        self.run(what, assets, partition)

    def train(self, study: Study, states: Sequence[CellState], again: bool = False) -> Iterator[str]:
        """Train and score exactly these cells here, as many in one run as a run takes; yields a line before each run.

        Another command may have taken cells since this one began, so those in flight are left out run by run, unless
        `again`.

        Raises:
            RunFailed: at least one cell failed; all others are finished and scored first.
        """
        failures = []
        for asked in in_runs(states):
            cells, told_of_others = self._not_in_flight(study, asked, again)
            yield from told_of_others
            if not cells:
                continue
            yield (what := what_of_cells(study, cells))
            try:
                self._execute(what, self._cells_job(study), _QUIET | self._config_of_cells(study, keys_of(cells)))
            except RunFailed as error:
                failures.append(str(error))
        if failures:
            raise RunFailed("\n".join(failures))

    def judge(self) -> None:
        """Collect what is finished, run the verdict tables, write pages, and publish warehouse.duckdb."""
        without = {
            dg.AssetKey(["report", study.name]) for study in all_studies().values() if not wants_page(self.store, study)
        }
        self.run("verdicts, pages and warehouse.duckdb", [key for key in self._judged if key not in without])

    # ---- through the daemon

    def daemon_is_running(self) -> bool:
        """Whether a Dagster daemon (`make ui`) watches this home and would start a queued run."""
        heartbeat = self.instance.get_daemon_heartbeats().get("QUEUED_RUN_COORDINATOR")
        return heartbeat is not None and time.time() - heartbeat.timestamp < 60

    def queue(self, study: Study, states: Sequence[CellState], again: bool = False) -> Iterator[str]:
        states, told_of_others = self._not_in_flight(study, states, again)
        yield from told_of_others
        launch = [str(Path(sys.executable).with_name("dagster")), "job", "launch"]
        job = ["-m", "prefassets.definitions", "-j", self._cells_job(study).name]
        for cells in in_runs(states):
            what, run_id = what_of_cells(study, cells), str(uuid.uuid4())
            config = json.dumps(self._config_of_cells(study, keys_of(cells)))
            described = ["--run-id", run_id, "--config-json", config, "--tags", json.dumps({LABEL: what})]
            launched = subprocess.run([*launch, *job, *described], capture_output=True, text=True)
            if launched.returncode:
                raise RunFailed(f"{what}: `dagster job launch` failed\n{launched.stderr}")
            yield f"run {run_id[:8]} is queued: {what}"

    def afterwards(self) -> str:
        return "verdicts, pages and warehouse.duckdb follow by themselves; `prefassets ui` shows how far it is"


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # it is somebody else's
    return True


def _why(result: dg.ExecuteInProcessResult) -> str:
    lines = []
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            raised = (error.cause or error) if error else None  # Dagster's own error around the one that was raised
            what = raised.message.strip().partition(f"{raised.cls_name}: ")[2] if raised else "failed"
            lines.append(f"{event.step_key}: {what}")
        elif event.event_type_value == "ASSET_CHECK_EVALUATION" and not event.asset_check_evaluation_data.passed:
            found = event.asset_check_evaluation_data
            if found.severity == dg.AssetCheckSeverity.ERROR:
                values = {name: value.value for name, value in found.metadata.items()}
                lines.append(f"check {found.check_name} of {found.asset_key.to_user_string()} failed: {values}")
    return "\n".join(dict.fromkeys(lines)) or "the run failed; open `make ui` for its log"
