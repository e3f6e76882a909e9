"""What a home holds of a measurement: the tasks it asks about, who answers, and which configurations are finished."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import polars as pl

from prefassets.domain.preferences.measurement import ChoiceConfiguration, Configuration, Measurement
from prefassets.domain.preferences.parsing import PARSER_VERSION
from prefassets.domain.preferences.tasks import SAMPLED, sample_tasks
from prefassets.domain.preferences.wording import choice_question, rating_question_of
from prefassets.domain.training.recipe import digest
from prefassets.resources.store import Store

if TYPE_CHECKING:
    from prefassets.domain.preferences.asking import Asker, Backend
    from prefassets.resources.answers import Journal

State = Literal["finished", "missing", "stale"]


@dataclass(frozen=True)
class ConfigurationState:
    """What a home holds of one configuration. `reason` says in words what is missing or what has changed."""

    configuration: Configuration
    state: State
    reason: str = ""


class MeasurementData:
    """A measurement against the home: each thing is read once."""

    def __init__(self, store: Store, measurement: Measurement) -> None:
        self.store = store
        self.measurement = measurement

    @cached_property
    def tasks(self) -> pl.DataFrame:
        """The tasks that are asked about, in the order that `canonical` means.

        Raises:
            ValueError: the home has no tasks yet, or none of an origin that the measurement names.
        """
        every = self.store.read("tasks.tasks")
        if every.is_empty():
            raise ValueError(
                f"{self.store.home} has no tasks yet; `prefassets measure {self.measurement.name}` makes them"
            )
        there = set(every["origin"])
        origins = self.measurement.origins or [origin for origin in SAMPLED if origin in there]
        return sample_tasks(every, self.measurement.tasks, origins, self.measurement.seed)

    @cached_property
    def completions(self) -> dict[str, str]:
        """What the model made of each task; nothing where no configuration asks after the tasks."""
        from prefassets.domain.preferences.measure import completion_texts

        return completion_texts(self.store.read("preferences.completions", [self.measurement.name]))

    @property
    def undone(self) -> bool:
        """Whether the model has still to do some of the tasks, or another revision of it did them."""
        rows = self.store.read("preferences.completions", [self.measurement.name])
        by = self.revision
        if self.measurement.backend == "in_process":
            by = f"{by}:{self.measurement.precision}"
        return bool(set(self.tasks["task_id"]) - set(rows.filter(revision=by)["task_id"]))

    @cached_property
    def revision(self) -> str | None:
        """The revision of the model that this home has; of an endpoint, its name; None if there is none yet."""
        if self.measurement.backend == "endpoint":
            return self.measurement.model
        found = self.store.query(
            "select revision from model.base where base_model = $model", model=self.measurement.model
        )
        return None if found.is_empty() else found.item()

    def fingerprint(self, configuration: Configuration) -> str:
        """Digest of everything that determines what is asked and of whom: where it differs, answers are stale."""
        asked = asdict(self.measurement)
        for named_elsewhere in ("name", "question", "revealed", "stated", "activations"):
            del asked[named_elsewhere]
        revealed, stated = self.measurement.revealed, self.measurement.stated
        if isinstance(configuration, ChoiceConfiguration):
            asked["plan"] = asdict(revealed.plan) if revealed else None
        else:
            asked["samples"] = stated.samples if stated else None
        if configuration.asked == "after":
            asked["completions"] = digest(sorted(self.completions.items()))
        way = {name: value for name, value in asdict(configuration).items() if name != "measurement"}
        of_tasks = digest(self.tasks.select("task_id", "text").rows())
        return digest([asked, way, _words(configuration), PARSER_VERSION, of_tasks, self.revision])

    def states(self) -> list[ConfigurationState]:
        """Every configuration of the measurement, and whether its answers stand."""
        found = self.store.query(
            "select configuration, fingerprint from preferences.answered where measurement = $name",
            name=self.measurement.name,
        )
        stands = dict(found.iter_rows())
        states = []
        for configuration in self.measurement.configurations:
            if configuration.name not in stands:
                state = ConfigurationState(configuration, "missing", "never asked to the end")
            elif why := self._changed(configuration, stands[configuration.name]):
                state = ConfigurationState(configuration, "stale", why)
            else:
                state = ConfigurationState(configuration, "finished")
            states.append(state)
        return states

    def _changed(self, configuration: Configuration, fingerprint: str) -> str:
        """Why what was answered under this fingerprint is not what would be asked now; empty if it is."""
        if self.revision is None:
            return f"this home has no model {self.measurement.model} any more"
        try:
            same = fingerprint == self.fingerprint(configuration)
        except ValueError as error:  # its tasks cannot be drawn
            return str(error)
        return "" if same else "the measurement, its tasks or the model have changed since it was asked"

    def unfitted(self) -> list[ChoiceConfiguration]:
        """The finished configurations of choices whose utilities are missing, or are those of other choices."""
        fitted = self.store.query(
            """
            select configuration
            from preferences.fit
            join preferences.answered using (measurement, configuration, run_id)
            where measurement = $name
            """,
            name=self.measurement.name,
        )
        finished = {state.configuration.name for state in self.states() if state.state == "finished"}
        to_fit = finished - set(fitted["configuration"])
        return [found for found in self.measurement.choice_configurations if found.name in to_fit]

    def backend(self) -> Backend:
        """Who answers: the model in this process, or the endpoint that the environment names."""
        from prefassets.resources.models import load_backend

        return load_backend(self.store, self.measurement, self.revision)

    @contextmanager
    def asker(
        self, backend: Backend, name: str, rows: pl.DataFrame, on_answer: object = None
    ) -> Iterator[tuple[Asker, Journal]]:
        """Someone to ask `backend`, who knows what `rows` of a table and the journal of this name already answer."""
        from prefassets.domain.preferences.asking import Asker
        from prefassets.domain.preferences.measure import answers_in
        from prefassets.resources.answers import Journal

        with Journal(self.store, name, answers_in(rows)) as journal:
            yield Asker(backend, journal, on_answer), journal  # type: ignore[arg-type]


def unfinished(store: Store, measurement: Measurement) -> list[ConfigurationState]:
    """The configurations of a measurement that are not finished, stale ones among them."""
    return [state for state in MeasurementData(store, measurement).states() if state.state != "finished"]


def _words(configuration: Configuration) -> dict[str, object]:
    """What is said to the model of any tasks: where the wording has changed, something else is asked."""
    after = configuration.asked == "after"
    if isinstance(configuration, ChoiceConfiguration):
        return asdict(choice_question(configuration, "one", "other", ["done", "too"] if after else None))
    return asdict(rating_question_of(configuration, "one", "done" if after else None))
