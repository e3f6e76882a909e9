"""Running a study: what is missing, in this process or through Dagster's daemon, always exactly the missing cells."""

import os
import shutil
import socket
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import dagster as dg
from dagster._core.execution.backfill import PartitionBackfill
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from prefassets.resources.cells import CellState, StudyData, unfinished
from prefassets.resources.store import Store
from prefassets.settings import Settings, settings
from prefassets.studies.study import Study

_PACKAGE = Path(__file__).resolve().parent
DAGSTER_YAML = next(
    path
    for path in (_PACKAGE / "deployments/local/dagster.yaml", _PACKAGE.parent / "deployments/local/dagster.yaml")
    if path.exists()
)
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
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


def key_ranges(study: Study, keys: Collection[str], most: int) -> list[list[str]]:
    """Partition keys cut into runs of at most `most`, each of which Dagster can name by its first and last key.

    A range of two dimensions is every combination of neighbouring cohorts with neighbouring seeds, so a ragged set
    needs several. No range holds a key that was not asked for, and each key is in one range.
    """
    wanted = set(keys)
    by_seeds = [
        (cohort, tuple(seed for seed in study.seed_keys if f"{cohort}|{seed}" in wanted)) for cohort in study.cohorts
    ]
    ranges = []
    for seeds, neighbours in groupby(by_seeds, key=itemgetter(1)):
        cohorts = [cohort for cohort, _ in neighbours]
        for run in _neighbouring(seeds, study.seed_keys):
            for some_seeds in _chunks(run, most):
                for some_cohorts in _chunks(cohorts, most // len(some_seeds)):
                    ranges.append([f"{cohort}|{seed}" for cohort in some_cohorts for seed in some_seeds])
    return ranges


def _neighbouring(some: Sequence[str], all_of_them: Sequence[str]) -> list[list[str]]:
    """`some`, in order, cut wherever one of `all_of_them` is left out."""
    by_gap = groupby(enumerate(some), key=lambda item: all_of_them.index(item[1]) - item[0])
    return [[value for _, value in group] for _, group in by_gap]


def _chunks(values: Sequence[str], size: int) -> list[Sequence[str]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


class Launcher:
    """Runs parts of the asset graph on the home of this process's settings, and keeps Dagster's record of them."""

    def __init__(self) -> None:
        prepare_dagster_home(settings())
        from prefassets.definitions import defs  # after DAGSTER_HOME is set

        self.store = Store(home=settings().home)
        self.instance = dg.DagsterInstance.get()
        self._job = defs.resolve_implicit_global_asset_job_def()
        self._graph = defs.resolve_asset_graph()

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

    def run(
        self,
        what: str,
        assets: Collection[dg.AssetKey],
        partition: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        """Materialise assets here and now, in one run; `what` labels it in the UI.

        Raises:
            RunFailed: with the message of the step or blocking check that failed.
        """
        job = self._job.get_subset(asset_selection=set(assets))
        result = job.execute_in_process(
            instance=self.instance,
            partition_key=partition,
            tags={LABEL: what, PROCESS: f"{socket.gethostname()}:{os.getpid()}", **(tags or {})},
            raise_on_error=False,
            run_config=_QUIET,
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
        lacking = self.store.query(
            "select pair_id from prism.pairs anti join (select pair_id, revision from model.reference"
            " where reference = $reference and revision = $revision) as made using (pair_id)",
            reference=study.reference,
            revision=StudyData(self.store, study).base_revision,
        )
        if not lacking.is_empty():
            yield (what := f"reference pass of {study.base_model} over all pairs")
            self.run(what, [dg.AssetKey(["model", "reference"])], study.reference)

    def train(self, study: Study, states: Sequence[CellState]) -> Iterator[str]:
        """Train and score exactly these cells here; yields a line before each stage.

        Raises:
            RunFailed: at least one cell failed; all others are finished and scored first.
        """
        to_train = [state.cell.key for state in states if state.state != "unscored"]
        failures = []
        for name, keys in (("adapters", to_train), ("margins", [state.cell.key for state in states])):
            if name == "margins":
                unscored = {state.cell.key for state in unfinished(self.store, study) if state.state == "unscored"}
                keys = [key for key in keys if key in unscored]
            for run in key_ranges(study, keys, settings().cells_per_job):
                yield (what := f"{'training' if name == 'adapters' else 'scoring'} {len(run)} cells of {study.name}")
                try:
                    self.run(what, [dg.AssetKey([study.name, name])], tags={RANGE_START: run[0], RANGE_END: run[-1]})
                except RunFailed as error:
                    failures.append(str(error))
        if failures:
            raise RunFailed("\n".join(failures))

    def judge(self) -> None:
        """Collect what is finished, run the verdict tables, write the studies' pages, and publish warehouse.duckdb."""
        self.run("verdicts, pages and warehouse.duckdb", self._group("training", "verdicts", "report", "warehouse"))

    # ---- through the daemon

    def daemon_is_running(self) -> bool:
        """Whether a Dagster daemon (`make ui`) watches this home and would pick up a backfill."""
        heartbeat = self.instance.get_daemon_heartbeats().get("BACKFILL")
        return heartbeat is not None and time.time() - heartbeat.timestamp < 60

    def backfill(self, study: Study, states: Sequence[CellState]) -> list[str]:
        """Ask the daemon for exactly these cells; returns the ids of the backfills.

        Cells that only lack margins get a backfill of their own: in a common job, one cell that fails in training
        would keep the others from being scored.
        """
        unscored = [state.cell.key for state in states if state.state == "unscored"]
        untrained = [state.cell.key for state in states if state.state != "unscored"]
        ids = []
        for keys, names in ((untrained, ("adapters", "margins")), (unscored, ("margins",))):
            if not keys:
                continue
            ids.append(uuid.uuid4().hex[:8])
            self.instance.add_backfill(
                PartitionBackfill.from_asset_partitions(
                    backfill_id=ids[-1],
                    asset_graph=self._graph,
                    partition_names=keys,
                    asset_selection=[dg.AssetKey([study.name, name]) for name in names],
                    backfill_timestamp=time.time(),
                    tags={"prefassets/study": study.name},
                    dynamic_partitions_store=self.instance,
                    all_partitions=False,
                    title=f"{len(keys)} cells of {study.name}",
                    description="prefassets missing --launch",
                    run_config=None,
                )
            )
        return ids

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
