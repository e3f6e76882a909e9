"""A run queue for a web server without a daemon: runs of assets start at once, all others wait for ever."""

from dagster import DagsterRun, QueuedRunCoordinator, SubmitRunContext
from dagster._serdes import ConfigurableClassData

ASSETS = "__ASSET_JOB"


class AssetsAtOnce(QueuedRunCoordinator):
    """Cells stay queued, so that a test sees what was launched without training it."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: dict) -> "AssetsAtOnce":
        return cls(inst_data=inst_data, **config_value)

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        if context.dagster_run.job_name != ASSETS:
            return super().submit_run(context)
        self._instance.launch_run(context.dagster_run.run_id, context.workspace)
        return context.dagster_run
