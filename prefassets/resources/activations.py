"""The activations that a home keeps of a measurement, chunk by chunk: which stand, and which are still to be read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefassets.domain.preferences.measurement import Measurement
from prefassets.domain.probes.extraction import READER_VERSION, layers_at
from prefassets.domain.training.recipe import digest
from prefassets.resources.measuring import MeasurementData
from prefassets.resources.models import load_base
from prefassets.resources.store import Store
from prefassets.resources.tables import TABLES

if TYPE_CHECKING:
    from prefassets.domain.training.language_model import LanguageModel

TABLE = "preferences.activations"


@dataclass(frozen=True)
class Chunk:
    """Tasks that are read, and written, together."""

    number: int
    tasks: pl.DataFrame
    fingerprint: str


class ActivationChunks:
    """The chunks of a measurement that keeps activations; each is as good as read if its fingerprint stands."""

    def __init__(self, store: Store, measurement: Measurement) -> None:
        """
        Raises:
            ValueError: the measurement keeps no activations.
        """
        if measurement.activations is None or measurement.model_read is None:
            raise ValueError(f"{measurement.name} keeps no activations; give its file activations=Extraction(...)")
        self.store = store
        self.measurement = measurement
        self._wanted = measurement.activations
        self._model = measurement.model_read
        self._data = MeasurementData(store, measurement)

    @property
    def tasks(self) -> pl.DataFrame:
        return self._data.tasks

    @cached_property
    def _base(self) -> tuple[str, int]:
        """Revision and number of layers of the model that is read.

        Raises:
            ValueError: it was not made yet.
        """
        found = self.store.query("select revision, layers from model.base where base_model = $name", name=self._model)
        if found.is_empty():
            raise ValueError(
                f"this home has no model {self._model} yet; `prefassets measure {self.measurement.name}` makes it"
            )
        return found.row(0)

    @property
    def revision(self) -> str:
        """Of the model that is read, and the precision it is read in."""
        return f"{self._base[0]}:{self.measurement.precision}"

    @property
    def layers(self) -> tuple[int, ...]:
        return layers_at(self._wanted.depths, self._base[1])

    def load_model(self) -> LanguageModel:
        """The model, as it is read."""
        return load_base(self.store, self._model, self.measurement.precision, self._base[0])

    @cached_property
    def responses(self) -> dict[str, str] | None:
        """What the model made of each task, without what is no answer of a model; None where no response is read.

        Raises:
            ValueError: it has not done the tasks.
        """
        if not self._wanted.of_responses:
            return None
        if not self._data.completions:
            raise ValueError(
                f"{self.measurement.name} has not done its tasks yet, so no response can be read; "
                f"`prefassets measure {self.measurement.name}` has them done"
            )
        return self._data.completions

    def chunks(self) -> list[Chunk]:
        """All chunks, in the order of the tasks, as even as can be: of few, one that cannot be read may be all."""
        count = math.ceil(len(self.tasks) / self._wanted.items_per_chunk)
        slices = self.tasks.iter_slices(math.ceil(len(self.tasks) / count))
        return [Chunk(number, tasks, self._fingerprint(tasks)) for number, tasks in enumerate(slices)]

    def _fingerprint(self, tasks: pl.DataFrame) -> str:
        responses = self.responses or {}
        texts = [
            (task_id, text, responses.get(task_id)) for task_id, text in tasks.select("task_id", "text").iter_rows()
        ]
        return digest([READER_VERSION, self._model, self.revision, self.layers, self._wanted.positions, texts])

    def read(self, chunk: Chunk, model: LanguageModel) -> tuple[pl.DataFrame, dict[str, str]]:
        """The rows of a chunk, and why each task that is not among them is left out.

        Raises:
            ValueError: all are.
        """
        from prefassets.domain.probes.activations import activations_of_texts  # torch takes seconds to import
        from prefassets.domain.probes.texts import Text

        tasks = dict(chunk.tasks.select("task_id", "text").iter_rows())
        responses = dict.fromkeys(tasks) if self.responses is None else self.responses
        texts = [
            Text(task_id, [{"role": "user", "content": text}], responses[task_id])
            for task_id, text in tasks.items()
            if task_id in responses
        ]
        found = activations_of_texts(model, texts, self.layers, self._wanted.positions)
        silent = dict.fromkeys(tasks.keys() - responses.keys(), "what came back was no answer of a model")
        left_out = {**silent, **found.left_out}
        if not found.items:
            reason = next(iter(left_out.values()))
            raise ValueError(f"none of the {len(tasks)} tasks of chunk {chunk.number} can be read, e.g.: {reason}")
        labels = {
            "measurement": self.measurement.name,
            "chunk": chunk.number,
            "model": self._model,
            "revision": self.revision,
            "fingerprint": chunk.fingerprint,
        }
        index = {"task_id": found.items, "layer": self.layers, "position": self._wanted.positions}
        rows = activation_rows(index, found.values)
        return rows.with_columns(pl.lit(value).alias(name) for name, value in labels.items()), left_out

    def lacking(self) -> list[Chunk]:
        """The chunks that are still to be read, or to be read again."""
        rows = self.store.query(
            f"select distinct chunk, fingerprint from {TABLE} where measurement = $name", name=self.measurement.name
        )
        stands = set(rows.iter_rows())
        return [chunk for chunk in self.chunks() if (chunk.number, chunk.fingerprint) not in stands]

    def drop_others(self) -> None:
        """Empty the chunks that are of no tasks any more."""
        planned = {str(chunk.number) for chunk in self.chunks()}
        held = self.store.query(
            f"select distinct chunk::varchar as chunk from {TABLE} where measurement = $name",
            name=self.measurement.name,
        )
        for number in set(held["chunk"]) - planned:
            self.store.replace(TABLE, TABLES[TABLE].empty(), [self.measurement.name, number])


def activations_state(store: Store, measurement: Measurement) -> tuple[str, str]:
    """`finished` or `missing`, of a measurement that keeps activations, and why."""
    chunks = ActivationChunks(store, measurement)
    try:
        lacking, every = chunks.lacking(), chunks.chunks()
    except ValueError as error:
        return "missing", str(error)
    if not lacking:
        return "finished", ""
    tasks = sum(len(chunk.tasks) for chunk in lacking)
    return "missing", f"{tasks} of {len(chunks.tasks)} tasks, in {len(lacking)} of {len(every)} chunks, are not read"


def activation_rows(index: Mapping[str, Sequence[object]], found: NDArray[np.float32]) -> pl.DataFrame:
    """One row per activation of an array whose axes, but for the last, are the columns `index`."""
    rows = pl.DataFrame({"placeholder_": [0]})
    for name, values in index.items():
        rows = rows.join(pl.DataFrame({name: list(values)}), how="cross", maintain_order="left_right")
    width = found.shape[-1]
    vectors = pl.Series(found.reshape(-1, width), dtype=pl.Array(pl.Float32, width))
    return rows.drop("placeholder_").with_columns(width=pl.lit(width, pl.Int64), activation=vectors)
