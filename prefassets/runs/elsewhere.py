"""A study's runs on a Dagster elsewhere (`PREFASSETS_DAGSTER`), by its GraphQL: the way in from outside a cluster."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import dagster as dg

from prefassets.resources.cells import CellState
from prefassets.resources.doctor import Finding
from prefassets.resources.store import Part, Store
from prefassets.runs.graphql import DagsterNotReached, GraphQL
from prefassets.runs.in_flight import PARTITION, UNFINISHED, Run
from prefassets.runs.runs import LABEL, RunFailed, Runs, in_runs, keys_of, what_of_cells
from prefassets.settings import Settings
from prefassets.studies import all_studies
from prefassets.studies.study import Study

ASSETS, SENSOR = "__ASSET_JOB", "after_any_change"
PAUSE, PATIENCE = 2.0, 120.0  # seconds: between two looks at a run, and for a server that went away meanwhile

_LOCATIONS = """query {
  workspaceOrError {
    ... on PythonError { message }
    ... on Workspace {
      locationEntries {
        name
        locationOrLoadError {
          ... on PythonError { message errorChain { error { message } } }
          ... on RepositoryLocation { repositories { name jobs { name tags { key value } } } }
        }
      }
    }
  }
}"""
_NODES = """query($assets: [AssetKeyInput!]!) {
  assetNodes(assetKeys: $assets) {
    assetKey { path } opVersion partitionKeysByDimension { name partitionKeys } repository { location { name } }
  }
}"""
_WATCHED = """query($sensor: SensorSelector!) {
  version
  instance { daemonHealth { daemonStatus(daemonType: "QUEUED_RUN_COORDINATOR") { healthy } } }
  sensorOrError(sensorSelector: $sensor) { ... on Sensor { sensorState { status } } }
}"""
_RUNS = """query($filter: RunsFilter!) {
  runsOrError(filter: $filter) {
    ... on PythonError { message }
    ... on InvalidPipelineRunsFilterError { message }
    ... on Runs { results { runId status jobName runConfig assetSelection { path } tags { key value } } }
  }
}"""
_CHECKS = """query($assets: [AssetKeyInput!]!) {
  assetNodes(assetKeys: $assets) {
    assetChecksOrError {
      ... on AssetChecks { checks { name blocking executionForLatestMaterialization { status } } }
    }
  }
}"""
_LAUNCH = """mutation($run: ExecutionParams!) {
  launchRun(executionParams: $run) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on Error { message }
  }
}"""
_WHY = """query($run: ID!) {
  logsForRun(runId: $run, limit: 10000) {
    ... on EventConnection {
      events {
        ... on ExecutionStepFailureEvent { stepKey error { message cause { message } } }
        ... on RunFailureEvent { message }
        ... on AssetCheckEvaluationEvent { evaluation { checkName success severity assetKey { path } } }
      }
    }
  }
}"""


class OtherDefinitions(RuntimeError):
    """The Dagster elsewhere does not have this version of this study."""


class OtherHome(RuntimeError):
    """The Dagster elsewhere keeps its tables and adapters in another home than this command reads."""


@dataclass(frozen=True)
class Location:
    """The code location that has prefassets, and what it says of itself."""

    name: str
    repository: str
    home: str
    jobs: frozenset[str]

    @property
    def selector(self) -> dict[str, str]:
        return {"repositoryLocationName": self.name, "repositoryName": self.repository}


class DagsterElsewhere(Runs):
    """Launches and watches runs on the Dagster that the settings name; tables and adapters are read from the home."""

    def __init__(self, chosen: Settings) -> None:
        super().__init__(Store(home=chosen.home))
        self._chosen = chosen
        self._graphql = GraphQL(chosen)

    @property
    def address(self) -> str:
        return self._graphql.address

    # ---- who is there

    @cached_property
    def location(self) -> Location:
        """The code location of prefassets there.

        Raises:
            DagsterNotReached: there is none, or it failed to load.
        """
        found = self._graphql.ask(_LOCATIONS)["workspaceOrError"]
        if "message" in found:
            raise DagsterNotReached(f"{self.address} cannot load its workspace: {_first_line(found)}")
        failed, named, ours = [], [], []
        for entry in found["locationEntries"]:
            loaded = entry["locationOrLoadError"] or {"message": "it is still loading; try again"}
            named.append(entry["name"])
            if "message" in loaded:
                failed.append(f"{entry['name']} failed to load: {_first_line(loaded)}")
            for repository in loaded.get("repositories", ()):
                homes = {home for job in repository["jobs"] if (home := _tags(job).get(_home_tag()))}
                if homes:
                    jobs = frozenset(job["name"] for job in repository["jobs"])
                    ours.append(Location(entry["name"], repository["name"], homes.pop(), jobs))
        if len(ours) > 1:
            ours = [location for location in ours if location.home == self._chosen.home] or ours
        if not ours:
            raise DagsterNotReached(
                f"{self.address} is a Dagster without prefassets. "
                + f"Its code locations: {', '.join(named) or 'none'}"
                + "".join(f"; {why}" for why in failed)
                + ". Its workspace must load the module prefassets.definitions of this version."
            )
        if len(ours) > 1:
            homes_there = ", ".join(f"{location.name} ({location.home})" for location in ours)
            raise DagsterNotReached(
                f"{self.address} has several code locations of prefassets, and none has this home, "
                f"{self._chosen.home}: {homes_there}. Set PREFASSETS_HOME to one of these."
            )
        return ours[0]

    def check(self, study: Study) -> None:
        """See that runs launched there would train today's cells of a study, into this home.

        Raises:
            DagsterNotReached: nobody would start a run.
            OtherHome: the code location names another home.
            OtherDefinitions: it does not have the study, or would train it by another recipe.
        """
        self._check(self._differs(study))

    def check_recipes(self) -> None:
        """See that runs launched there would train today's recipes of Arena, into this home.

        Raises:
            DagsterNotReached: nobody would start a run.
            OtherHome: the code location names another home.
            OtherDefinitions: it has other recipes.
        """
        self._check(self._recipes_differ())

    def _check(self, differs: str) -> None:
        self._check_home()
        if differs:
            raise OtherDefinitions(
                f"the code location {self.location.name} of {self.address} is of another version than this command: "
                f"{differs}. Deploy this version there, or run the command with the version that is deployed."
            )
        if not self._watched()["instance"]["daemonHealth"]["daemonStatus"]["healthy"]:
            raise DagsterNotReached(
                f"{self.address} answers, but no Dagster daemon has reported to it lately, so nobody would start a "
                f"queued run. Start it: `dagster-daemon run`, in a cluster the deployment of the daemon."
            )

    def _check_home(self) -> None:
        """Two URLs must be equal. A folder may be mounted under other names; `make` sees whether it is the same."""
        here, there = self._chosen.home, self.location.home
        if here != there and "://" in here + there:
            raise OtherHome(
                f"{self.address} keeps its tables and adapters in {there}, but this command reads {here}, so it would "
                f"launch what is finished there. Set PREFASSETS_HOME={there}."
            )

    def _differs(self, study: Study) -> str:
        """In which way the study there is another than here; empty if it is the same."""
        from prefassets.assets.activations import reading_version
        from prefassets.assets.cells_job import job_name
        from prefassets.assets.training import training_version

        if job_name(study) not in self.location.jobs:
            return f"it has no job {job_name(study)}, only {', '.join(sorted(self.location.jobs - {ASSETS}))}"
        nodes = self._nodes([study.name, asset] for asset in study.assets_by_cell)
        if lacking := [asset for asset in study.assets_by_cell if asset not in nodes]:
            return f"it has no asset {study.name}/{lacking[0]}"
        adapters = nodes["adapters"]
        if adapters["opVersion"] != training_version(study):
            return f"{study.name} has another method, base model, matching, hyperparameters or trainer there"
        if study.activations is not None and nodes["activations"]["opVersion"] != reading_version(study):
            return f"{study.name} keeps other activations there"
        there = {found["name"]: set(found["partitionKeys"]) for found in adapters["partitionKeysByDimension"]}
        unknown = sorted({*study.cohorts} - there["cohort"]) + sorted({*study.seed_keys} - there["seed"])
        return f"{study.name} has no {', '.join(unknown)} there" if unknown else ""

    def _recipes_differ(self) -> str:
        """In which way the recipes of Arena there are others than here; empty if they are the same."""
        from prefassets.assets.arena import recipes_version

        (node,) = self._nodes([["arena", "recipe"]]).values() or [None]
        if node is None:
            return "it has no asset arena/recipe"
        return "" if node["opVersion"] == recipes_version() else "it has other recipes of Arena"

    def _nodes(self, assets: Iterable[Sequence[str]]) -> dict[str, dict[str, Any]]:
        """What the code location there says of these assets, by the last part of their keys."""
        asked = [{"path": [*path]} for path in assets]
        return {
            node["assetKey"]["path"][-1]: node
            for node in self._graphql.ask(_NODES, assets=asked)["assetNodes"]
            if node["repository"]["location"]["name"] == self.location.name
        }

    def _watched(self) -> dict[str, Any]:
        return self._graphql.ask(_WATCHED, sensor={**self.location.selector, "sensorName": SENSOR})

    def afterwards(self) -> str:
        """What happens when the cells are finished."""
        state = self._watched()["sensorOrError"].get("sensorState", {}).get("status")
        if state == "RUNNING":
            return f"verdicts, pages and warehouse.duckdb follow by themselves; watch it at {self.address}"
        return (
            f"the sensor {SENSOR} of {self.address} does not run: launch its job `verdicts` when the cells are "
            f"finished, or start the sensor"
        )

    def findings(self) -> list[Finding]:
        """What `prefassets doctor` says of the Dagster elsewhere."""
        try:
            location, watched, runs = self.location, self._watched(), self.in_flight()
        except DagsterNotReached as error:
            return [Finding("Dagster elsewhere", "wrong", str(error))]
        queued = sum(run.status == "QUEUED" for run in runs)
        healthy = watched["instance"]["daemonHealth"]["daemonStatus"]["healthy"]
        findings = [
            Finding("Dagster elsewhere", "ok", f"{self.address}: Dagster {watched['version']}, {location.name}"),
            Finding("runs there", "ok", f"{queued} queued, {len(runs) - queued} starting or running")
            if healthy
            else Finding("runs there", "wrong", f"{queued} queued, and no Dagster daemon that would start them"),
        ]
        try:
            self._check_home()
            findings.append(Finding("home there", "ok", location.home))
        except OtherHome as error:
            findings.append(Finding("home there", "wrong", str(error)))
        other = [why for study in all_studies().values() if (why := self._differs(study))]
        findings.append(
            Finding("studies there", "wrong", "; ".join(other))
            if other
            else Finding("studies there", "ok", f"{len(all_studies())}, with the recipes of this version")
        )
        return findings

    # ---- runs

    def in_flight(self) -> list[Run]:
        return list(reversed(self._runs({"statuses": list(UNFINISHED)})))

    def _runs(self, wanted: Mapping[str, Any]) -> list[Run]:
        found = self._graphql.ask(_RUNS, filter=wanted)["runsOrError"]
        if "message" in found:
            raise DagsterNotReached(f"{self.address} cannot list its runs: {_first_line(found)}")
        return [
            Run(
                run["runId"],
                run["status"],
                run["jobName"],
                run["runConfig"],
                frozenset(tuple(key["path"]) for key in run["assetSelection"] or ()),
                _tags(run),
            )
            for run in found["results"]
        ]

    def failed_blocking_checks(self, assets: Collection[dg.AssetKey]) -> list[str]:
        nodes = self._graphql.ask(_CHECKS, assets=[{"path": list(key.path)} for key in assets])["assetNodes"]
        checks = [check for node in nodes for check in node["assetChecksOrError"].get("checks", ())]
        latest = [(check, check["executionForLatestMaterialization"] or {}) for check in checks if check["blocking"]]
        return [check["name"] for check, execution in latest if execution.get("status") == "FAILED"]

    def make(self, what: str, assets: Collection[dg.AssetKey], partition: str | None = None) -> Iterator[str]:
        """See `Runs.make`; a run that makes the same already is waited for, none beside it is launched.

        Raises:
            RunFailed: with the message of the step or blocking check that failed.
            OtherHome: it succeeded there, yet nothing changed here.
        """
        before = self._versions(assets)
        same = next((run for run in self.in_flight() if run.makes(assets, partition)), None)
        if same is None:
            run_id = self._launch(what, ASSETS, assets=assets, tags={PARTITION: partition} if partition else {})
            yield f"run {run_id[:8]} is queued: {what}"
        else:
            run_id = same.run_id
            yield f"{same} makes it already: {what}"
        yield from self._wait(run_id, what)
        if same is None and self._versions(assets) == before:
            raise OtherHome(
                f"run {run_id[:8]} of {self.address} made {what}, yet nothing changed in {self._chosen.home}, "
                f"which this command reads. The code location there writes to {self.location.home}: let "
                f"PREFASSETS_HOME name the same place here."
            )

    def _versions(self, assets: Collection[dg.AssetKey]) -> dict[str, list[Part]]:
        return self.store.parts_of([".".join(key.path) for key in assets])

    def _wait(self, run_id: str, what: str) -> Iterator[str]:
        """Until the run ends; yields a line when it starts, and while the server is away."""
        seen, answered = "QUEUED", time.monotonic()
        while True:
            try:
                (run,) = self._runs({"runIds": [run_id]})
            except DagsterNotReached as error:
                if time.monotonic() - answered > PATIENCE:
                    raise DagsterNotReached(
                        f"{error} Run {run_id[:8]} ({what}) goes on there; the same command waits for it again."
                    ) from error
                if seen != "away":
                    yield f"waiting for {self.address} to answer again: {error}"
                seen = "away"
            except ValueError:
                raise RunFailed(f"{what}: run {run_id[:8]} of {self.address} was deleted") from None
            else:
                answered = time.monotonic()
                if run.status == "SUCCESS":
                    return
                if run.status in ("FAILURE", "CANCELED"):
                    raise RunFailed(f"{what}: {run!s} of {self.address}\n{self._why(run_id)}".rstrip() + self._homes())
                if run.status == "STARTED" != seen:
                    yield f"{run}: {what}"
                seen = run.status
            time.sleep(PAUSE)

    def _homes(self) -> str:
        """What a failure may come from, where two folders are only hoped to be the same."""
        here, there = self._chosen.home, self.location.home
        return "" if here == there else f"\nThe code location works on {there}; this command reads {here}."

    def _why(self, run_id: str) -> str:
        """What the run's log says of its failure."""
        events = self._graphql.ask(_WHY, run=run_id)["logsForRun"].get("events", ())
        steps = [
            f"{event['stepKey']}: {_first_line((event['error'] or {}).get('cause') or event['error'] or {})}"
            for event in events
            if "stepKey" in event
        ]
        checks = [
            f"check {check['checkName']} of {'/'.join(check['assetKey']['path'])} failed"
            for event in events
            if (check := event.get("evaluation")) and not check["success"] and check["severity"] == "ERROR"
        ]
        return "\n".join(steps + checks or [_first_line(event) for event in events if "message" in event])

    def queue(self, study: Study, states: Sequence[CellState], again: bool = False) -> Iterator[str]:
        from prefassets.assets.cells_job import job_name, run_config

        states, told_of_others = self._not_in_flight(study, states, again)
        yield from told_of_others
        for cells in in_runs(states):
            what = what_of_cells(study, cells)
            run_id = self._launch(what, job_name(study), config=run_config(study, keys_of(cells)))
            yield f"run {run_id[:8]} is queued: {what}"

    def _launch(
        self,
        what: str,
        job: str,
        assets: Collection[dg.AssetKey] = (),
        config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Queue one run; returns its id.

        Raises:
            RunFailed: Dagster refused it.
        """
        selected = {"assetSelection": [{"path": list(key.path)} for key in assets]} if assets else {}
        described = [{"key": key, "value": value} for key, value in {LABEL: what, **(tags or {})}.items()]
        run = {
            "selector": {**self.location.selector, "jobName": job, **selected},
            "runConfigData": config or {},
            "executionMetadata": {"tags": described},
        }
        launched = self._graphql.ask(_LAUNCH, run=run)["launchRun"]
        if "run" in launched:
            return str(launched["run"]["runId"])
        reasons = [_first_line(error) for error in launched.get("errors", [launched])]
        raise RunFailed(
            f"{self.address} refused the run ({what}), {launched['__typename']}: {'; '.join(reasons)}. If the version "
            f"of prefassets there is another than here, deploy this one."
        )


def _home_tag() -> str:
    from prefassets.assets.cells_job import HOME

    return HOME


def _tags(tagged: Mapping[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in tagged["tags"]}


def _first_line(error: Mapping[str, Any]) -> str:
    """Of an error as GraphQL gives it; of several in a chain the first one that was raised."""
    chain = error.get("errorChain") or []
    message = (chain[-1]["error"]["message"] if chain else error.get("message") or "no reason given").strip()
    return message.splitlines()[0] if message else "no reason given"
