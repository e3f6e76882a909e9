"""What all ways of running a study have in common: what its cells need first, and which cells go into one run."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from prefassets.domain.training.methods import METHODS
from prefassets.resources.cells import CellState, StudyData
from prefassets.resources.store import Store
from prefassets.runs.in_flight import Run, cells_in_flight, told
from prefassets.settings import settings
from prefassets.studies.study import Study

LABEL = "prefassets/run"  # tag of a run that says in words what it does


class RunFailed(RuntimeError):
    """A Dagster run ended without success."""


def what_of_cells(study: Study, states: Sequence[CellState]) -> str:
    """What a run does to these cells, in words: how many it trains, scores, and reads activations of."""
    found = [state.state for state in states]
    to_train = sum(state not in ("unscored", "unread") for state in found)
    doing = {"training": to_train, "scoring": len(found) - found.count("unread")}
    if study.activations is not None:
        doing["reading"] = len(found)
    said = ", ".join(f"{what} {count}" for what, count in doing.items() if count)
    return f"{len(found)} cells of {study.name}: {said}"


def keys_of(states: Sequence[CellState]) -> list[str]:
    return [state.cell.key for state in states]


def in_runs(states: Sequence[CellState]) -> list[Sequence[CellState]]:
    """The cells, as many together as one run takes."""
    size = settings().cells_per_job
    return [states[start : start + size] for start in range(0, len(states), size)]


class Runs(ABC):
    """Where the runs of a home go: this machine (`Launcher`) or a Dagster elsewhere (`elsewhere.DagsterElsewhere`)."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @cached_property
    def _graph(self) -> AssetGraph:
        from prefassets.definitions import defs  # a second, which not every question needs

        return defs.resolve_asset_graph()

    @abstractmethod
    def in_flight(self) -> list[Run]:
        """The runs that have not ended, oldest first."""

    @abstractmethod
    def make(self, what: str, assets: Collection[dg.AssetKey], partition: str | None = None) -> Iterator[str]:
        """Materialise assets and wait for it; `what` labels the run. Yields lines about what is going on.

        Raises:
            RunFailed: with the message of the step or blocking check that failed.
        """

    @abstractmethod
    def queue(self, study: Study, states: Sequence[CellState], again: bool = False) -> Iterator[str]:
        """Queue runs of exactly these cells, but for those in flight unless `again`; yields a line with each run's id.

        Raises:
            RunFailed: Dagster refused a run.
        """

    @abstractmethod
    def afterwards(self) -> str:
        """What happens when queued cells are finished."""

    @abstractmethod
    def failed_blocking_checks(self, assets: Collection[dg.AssetKey]) -> Collection[str]:
        """Blocking checks of these assets whose last run failed: their rows are stored, but must not be built upon."""

    def prepare(self, study: Study) -> Iterator[str]:
        """Make what a study's cells need and this home lacks; yields lines about what is being made."""
        remade = not self._made("prism") or bool(self.failed_blocking_checks(self._group("prism")))
        if remade:
            yield from self.make("raw data, pairs, covariates, folds", self._group("prism"))
        # every time: they follow the code, and take a second
        yield from self.make("splits and study files", self._group("splits", "studies"))
        if remade or not self._made("evidence"):
            yield from self.make("evidence on score gaps", self._group("evidence"))
        if StudyData(self.store, study).base_revision is None:
            yield from self.make(f"base model {study.base_model}", [dg.AssetKey(["model", "base"])], study.base_model)
        of_pass = {"reference": study.reference, "revision": StudyData(self.store, study).base_revision}
        lacking = self.store.query(
            "select pair_id from prism.pairs anti join (select pair_id, revision from model.reference"
            " where reference = $reference and revision = $revision) as made using (pair_id)",
            **of_pass,
        )
        if not lacking.is_empty():
            yield from self.make(
                f"reference pass of {study.base_model} over all pairs",
                [dg.AssetKey(["model", "reference"])],
                study.reference,
            )
        yield from self._prepare_activations(study)
        if METHODS[study.method].weight is None:
            return
        answers = self.store.query(
            "from model.on_policy where reference = $reference and revision = $revision", **of_pass
        )
        if answers.is_empty():
            yield from self.make(
                f"answers of {study.base_model} itself, to read weights against",
                [dg.AssetKey(["model", "on_policy"])],
                study.reference,
            )

    def _prepare_activations(self, study: Study) -> Iterator[str]:
        """The base model's activations, beside which those of adapters are read."""
        if not StudyData(self.store, study).base_is_unread:
            return
        yield from self.make(
            f"activations of {study.base_model} on held-out pairs",
            [dg.AssetKey(["model", "activations"])],
            study.reference,
        )

    def make_models(self, names: Collection[str]) -> Iterator[str]:
        """Make those of these base models that the home lacks; yields lines about what is being made."""
        there = set(self.store.query("select base_model from model.base")["base_model"])
        for name in sorted(set(names) - there):
            if name == "tiny" and not self.store.parts("prism.utterances"):
                released = [dg.AssetKey(["prism", table]) for table in ("survey", "utterances", "planted_truth")]
                yield from self.make("raw data, which the tiny model learns from", released)
            yield from self.make(f"model {name}", [dg.AssetKey(["model", "base"])], name)

    def _not_in_flight(
        self, study: Study, states: Sequence[CellState], again: bool
    ) -> tuple[list[CellState], list[str]]:
        """The cells that no other run is about to finish, and what to say of the others."""
        in_flight = {} if again else cells_in_flight(study, states, self.in_flight())
        left = [state for state in states if state.cell.key not in in_flight]
        return left, [
            f"of {len(states)} cells {told(in_flight)}; left to them; --again launches them too"
        ] if in_flight else []

    def _made(self, group: str) -> bool:
        return all(self.store.parts(".".join(key.path)) for key in self._group(group))

    def _group(self, *names: str) -> list[dg.AssetKey]:
        return sorted(dg.AssetSelection.groups(*names).resolve(self._graph))
