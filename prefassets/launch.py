"""Running a study: what is missing, in this process or through Dagster's daemon, always exactly the missing cells."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from prefassets.domain.training.methods import METHODS
from prefassets.resources.cells import CellState, StudyData
from prefassets.resources.progress import keep_terminal
from prefassets.resources.store import Store
from prefassets.settings import Settings, settings
from prefassets.studies.study import Study

_PACKAGE = Path(__file__).resolve().parent
DAGSTER_YAML = next(
    path
    for path in (_PACKAGE / "deployments/local/dagster.yaml", _PACKAGE.parent / "deployments/local/dagster.yaml")
    if path.exists()
)
LABEL, PROCESS = "prefassets/run", "prefassets/process"
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class RunFailed(RuntimeError):
    """A Dagster run ended without success."""


def prepare_dagster_home(chosen: Settings) -> Path:
    """Point Dagster at the home's own folder, with telemetry off; a DAGSTER_HOME that is set already stays."""
    folder = Path(os.environ.setdefault("DAGSTER_HOME", str(chosen.dagster_home)))
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "dagster.yaml").exists():
        shutil.copyfile(DAGSTER_YAML, folder / "dagster.yaml")
    return folder


def _what(study: Study, states: Sequence[CellState]) -> str:
    to_train = sum(state.state != "unscored" for state in states)
    training = f"training {to_train}, " if to_train else ""
    return f"{len(states)} cells of {study.name}: {training}scoring {len(states)}"


def _keys(states: Sequence[CellState]) -> list[str]:
    return [state.cell.key for state in states]


def _runs(states: Sequence[CellState]) -> list[Sequence[CellState]]:
    size = settings().cells_per_job
    return [states[start : start + size] for start in range(0, len(states), size)]


class Launcher:
    """Runs parts of the asset graph on the home of this process's settings, and keeps Dagster's record of them."""

    def __init__(self) -> None:
        prepare_dagster_home(settings())
        keep_terminal()
        from prefassets.assets import cells_job  # these read the settings: after DAGSTER_HOME is set
        from prefassets.definitions import JUDGED, defs

        self.store = Store(home=settings().home)
        self.instance = dg.DagsterInstance.get()
        self._job = defs.resolve_implicit_global_asset_job_def()
        self._cells_job = lambda study: defs.resolve_job_def(cells_job.job_name(study))
        self._config_of_cells = cells_job.run_config
        self._graph = defs.resolve_asset_graph()
        self._judged = sorted(JUDGED.resolve(self._graph))

        self._close_runs_of_dead_processes()

    def _close_runs_of_dead_processes(self) -> None:
        """A killed process cannot say that its run ended; without this the UI shows its cells as running for ever."""
        for run in self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
            host, _, process = run.tags.get(PROCESS, "").partition(":")
            if host == socket.gethostname() and not _is_alive(int(process)):
                self.instance.report_run_failed(
                    run, f"process {process} ended without saying so; it was probably killed"
                )

    def _failed_blocking_checks(self, assets: Collection[dg.AssetKey]) -> list[dg.AssetCheckKey]:
        """Blocking checks of these assets whose last run failed: their rows are stored, but must not be built upon."""
        keys = [
            key for key in self._graph.asset_check_keys if key.asset_key in assets and self._graph.get(key).blocking
        ]
        latest = self.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
        failed = AssetCheckExecutionRecordStatus.FAILED
        return [key for key, record in latest.items() if record.status == failed]

    # ---- in this process

    def run(self, what: str, assets: Collection[dg.AssetKey], partition: str | None = None) -> None:
        """Materialise assets here and now, in one run; `what` labels it in the UI.

        Raises:
            RunFailed: with the message of the step or blocking check that failed.
        """
        self._execute(what, self._job.get_subset(asset_selection=set(assets)), _QUIET, partition)

    def _execute(
        self, what: str, job: dg.JobDefinition, run_config: Mapping[str, Any], partition: str | None = None
    ) -> None:
        result = job.execute_in_process(
            instance=self.instance,
            partition_key=partition,
            tags={LABEL: what, PROCESS: f"{socket.gethostname()}:{os.getpid()}"},
            raise_on_error=False,
            run_config=run_config,
        )
        if not result.success:
            raise RunFailed(_why(result))

    def prepare(self, study: Study) -> Iterator[str]:
        """Make what a study's cells need and this home lacks; yields a line of what is being made, before it is."""
        remade = not self._made("prism") or bool(self._failed_blocking_checks(self._group("prism")))
        if remade:
            yield (what := "raw data, pairs, covariates, folds")
            self.run(what, self._group("prism"))
        yield (what := "splits and study files")  # every time: they follow the code, and take a second
        self.run(what, self._group("splits", "studies"))
        if remade or not self._made("evidence"):
            yield (what := "evidence on score gaps")
            self.run(what, self._group("evidence"))
        if StudyData(self.store, study).base_revision is None:
            yield (what := f"base model {study.base_model}")
            self.run(what, [dg.AssetKey(["model", "base"])], study.base_model)
        of_pass = {"reference": study.reference, "revision": StudyData(self.store, study).base_revision}
        lacking = self.store.query(
            "select pair_id from prism.pairs anti join (select pair_id, revision from model.reference"
            " where reference = $reference and revision = $revision) as made using (pair_id)",
            **of_pass,
        )
        if not lacking.is_empty():
            yield (what := f"reference pass of {study.base_model} over all pairs")
            self.run(what, [dg.AssetKey(["model", "reference"])], study.reference)
        if METHODS[study.method].weight is None:
            return
        answers = self.store.query(
            "from model.on_policy where reference = $reference and revision = $revision", **of_pass
        )
        if answers.is_empty():
            yield (what := f"answers of {study.base_model} itself, to read weights against")
            self.run(what, [dg.AssetKey(["model", "on_policy"])], study.reference)

    def train(self, study: Study, states: Sequence[CellState]) -> Iterator[str]:
        """Train and score exactly these cells here, as many in one run as a run takes; yields a line before each run.

        Raises:
            RunFailed: at least one cell failed; all others are finished and scored first.
        """
        failures = []
        for cells in _runs(states):
            yield (what := _what(study, cells))
            try:
                self._execute(what, self._cells_job(study), _QUIET | self._config_of_cells(study, _keys(cells)))
            except RunFailed as error:
                failures.append(str(error))
        if failures:
            raise RunFailed("\n".join(failures))

    def judge(self) -> None:
        """Collect what is finished, run the verdict tables, write the studies' pages, and publish warehouse.duckdb."""
        self.run("verdicts, pages and warehouse.duckdb", self._judged)

    # ---- through the daemon

    def daemon_is_running(self) -> bool:
        """Whether a Dagster daemon (`make ui`) watches this home and would start a queued run."""
        heartbeat = self.instance.get_daemon_heartbeats().get("QUEUED_RUN_COORDINATOR")
        return heartbeat is not None and time.time() - heartbeat.timestamp < 60

    def queue(self, study: Study, states: Sequence[CellState]) -> Iterator[str]:
        """Queue runs of exactly these cells for the daemon; yields a line with each run's id.

        Raises:
            RunFailed: Dagster refused a run.
        """
        launch = [str(Path(sys.executable).with_name("dagster")), "job", "launch"]
        job = ["-m", "prefassets.definitions", "-j", self._cells_job(study).name]
        for cells in _runs(states):
            what, run_id = _what(study, cells), str(uuid.uuid4())
            config = json.dumps(self._config_of_cells(study, _keys(cells)))
            described = ["--run-id", run_id, "--config-json", config, "--tags", json.dumps({LABEL: what})]
            launched = subprocess.run([*launch, *job, *described], capture_output=True, text=True)
            if launched.returncode:
                raise RunFailed(f"{what}: `dagster job launch` failed\n{launched.stderr}")
            yield f"run {run_id[:8]} is queued: {what}"

    # ----

    def _made(self, group: str) -> bool:
        return all(self.store.parts(".".join(key.path)) for key in self._group(group))

    def _group(self, *names: str) -> list[dg.AssetKey]:
        return sorted(dg.AssetSelection.groups(*names).resolve(self._graph))


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
