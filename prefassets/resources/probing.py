"""What a home has to probe: each experiment's activations, read place by place, and what they are to predict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import polars as pl

from prefassets.domain.preferences.measurement import Measurement
from prefassets.domain.training.recipe import digest
from prefassets.resources.activations import ActivationChunks
from prefassets.resources.cells import StudyData
from prefassets.resources.store import Store
from prefassets.studies.study import Study

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from prefassets.domain.probes.suite import Probed

PROBES_VERSION = 1  # raised when the same activations and targets give other numbers: all is then probed again

Place = tuple[int, str]  # layer, position


@dataclass(frozen=True)
class ToProbe:
    """An experiment whose activations are there, with the digest of all that its probes are made of.

    `probed` is made when it is asked for: it reads the targets, and activations only place by place.
    """

    experiment: str
    kind: Literal["study", "measurement"]
    model: str
    revision: str
    fingerprint: str
    _source: _OfMeasurement | _OfStudy

    @cached_property
    def probed(self) -> tuple[Probed, ...]:
        """What is given to the suite; rows of one are not those of another."""
        return tuple(self._source.probed())


class StoredActivations(Mapping[Place, "NDArray[np.float32]"]):
    """Activations by (layer, position), N x D, read from the home one at a time, as they are asked for.

    `select` is SQL that gives `item` and `activation` of the place `$layer`, `$position`, in the order of the items.
    """

    def __init__(self, store: Store, places: list[Place], select: str, **parameters: object) -> None:
        self._store, self._places, self._select, self._parameters = store, places, select, parameters

    def __getitem__(self, place: Place) -> NDArray[np.float32]:
        if place not in self._places:
            raise KeyError(place)
        layer, position = place
        rows = self._store.query(self._select, layer=layer, position=position, **self._parameters)
        return as_matrix(rows["activation"])

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def as_matrix(vectors: pl.Series) -> NDArray[np.float32]:
    """Vectors of one width as N x D. They come as lists while their table has others of another width."""
    width = vectors.arr.len()[0] if isinstance(vectors.dtype, pl.Array) else vectors.list.len()[0]
    return vectors.cast(pl.Array(pl.Float32, width)).to_numpy()


def to_probe(store: Store, of: Study | Measurement) -> ToProbe | None:
    """What can be probed of a study or a measurement; None where it keeps no activations, or today's are not there."""
    if of.activations is None:
        return None
    source = _OfStudy(store, of) if isinstance(of, Study) else _OfMeasurement(store, of)
    return source.found()


class _OfMeasurement:
    """Targets by task: valence, utility, and choices themselves."""

    def __init__(self, store: Store, measurement: Measurement) -> None:
        self.store, self.measurement = store, measurement
        self._named = {"name": measurement.name}

    def found(self) -> ToProbe | None:
        try:
            if ActivationChunks(self.store, self.measurement).lacking():
                return None
        except ValueError:  # no tasks, no model, or no completions yet
            return None
        read = self.store.query(
            "select distinct model, revision, fingerprint from preferences.activations where measurement = $name"
            " order by all",
            **self._named,
        )
        described = self._items.drop("text").rows()  # texts are in the fingerprints of what was read
        targets = self._values.rows(), self._choices.rows()
        fingerprint = digest([PROBES_VERSION, read.rows(), described, *targets])
        model, revision, _ = read.row(0)
        return ToProbe(self.measurement.name, "measurement", model, revision, fingerprint, self)

    @cached_property
    def _values(self) -> pl.DataFrame:
        return self.store.query(
            "select target, task_id as item, value from preferences.probe_value where measurement = $name order by all",
            **self._named,
        )

    @cached_property
    def _choices(self) -> pl.DataFrame:
        return self.store.query(
            "select item_a, item_b, wins_a, wins_b from preferences.probe_choice where measurement = $name"
            " order by all",
            **self._named,
        )

    @cached_property
    def _items(self) -> pl.DataFrame:
        # Activations over a response have read the task and the response: so does what they are compared with.
        return self.store.query(
            "select distinct task_id as item, task_id as unit, topic, origin,"
            " concat_ws(chr(10), text, answer) as text, length(concat_ws(chr(10), text, answer)) as length"
            " from preferences.activations join tasks.tasks using (task_id)"
            " left join preferences.completions using (measurement, task_id)"
            " where measurement = $name order by item",
            **self._named,
        )

    def probed(self) -> Iterator[Probed]:
        from prefassets.domain.probes.suite import Probed, Target

        places = self.store.query(
            "select distinct layer, position from preferences.activations where measurement = $name order by all",
            **self._named,
        )
        items = self._items
        activations = StoredActivations(
            self.store,
            places.rows(),
            "select task_id as item, activation from preferences.activations"
            " where measurement = $name and layer = $layer and position = $position order by item",
            **self._named,
        )
        there = items["item"].implode()
        targets = [
            Target(name=name, kind="number", values=rows.filter(pl.col("item").is_in(there)).drop("target"))
            for (name,), rows in self._values.partition_by("target", as_dict=True).items()
        ]
        choices = self._choices.filter(pl.col("item_a").is_in(there), pl.col("item_b").is_in(there))
        if not choices.is_empty():
            targets.append(Target(name="choices", kind="choices", values=choices))
        if targets:
            yield Probed(activations=activations, items=items, targets=tuple(targets))


class _OfStudy:
    """Targets by pair, of the base model: which answer was chosen, by how much, and in which group its user is."""

    def __init__(self, store: Store, study: Study) -> None:
        self.store, self.study = store, study
        self._data = StudyData(store, study)

    def found(self) -> ToProbe | None:
        if self._data.base_revision is None or not self.store.records(self.study.name):
            return None
        if self._data.base_is_unread or self._pairs.is_empty():
            return None
        readings = [self._data.reading(fold) for fold in self.study.folds]
        scores = self._pairs.select("pair_id", "user_id", "score_gap").rows()
        fingerprint = digest([PROBES_VERSION, readings, self._groups.rows(), scores])
        revision = str(self._data.base_revision)
        return ToProbe(self.study.name, "study", self.study.base_model, revision, fingerprint, self)

    @property
    def _positions(self) -> tuple[str, ...]:
        assert self.study.activations is not None
        return self.study.activations.positions

    @cached_property
    def _pairs(self) -> pl.DataFrame:
        found = [self._data.readable_pairs(fold) for fold in self.study.folds]
        return pl.concat(found).unique("pair_id").sort("pair_id")

    @cached_property
    def _groups(self) -> pl.DataFrame:
        return self._data.groups.filter(
            pl.col("split").is_in(list(self.study.expected)), pl.col("user_group").is_not_null()
        ).sort("split", "user_id")

    def probed(self) -> Iterator[Probed]:
        from prefassets.domain.probes.suite import Probed, Target

        places = [(layer, position) for layer in self._data.layers for position in self._positions]
        of_response = [(layer, position) for layer, position in places if position.startswith("response")]
        kinds = self.store.query("select distinct conversation_id, conversation_type as topic from prism.utterances")
        pairs = self._pairs.join(kinds, on="conversation_id", how="left", maintain_order="left")
        conversation = pl.col("prompt").list.eval(pl.element().struct.field("content")).list.join("\n")
        of_pairs = pairs.select("topic", item="pair_id", unit="user_id")
        if of_response:
            both = [
                of_pairs.select(pl.col("item") + f"|{response}", "unit", "topic", **_text(pairs[response]))
                for response in ("chosen", "rejected")
            ]
            answers = pl.concat(both).sort("item")
            won = pl.DataFrame(
                {
                    "item_a": pairs["pair_id"] + "|chosen",
                    "item_b": pairs["pair_id"] + "|rejected",
                    "wins_a": [1] * len(pairs),
                    "wins_b": [0] * len(pairs),
                }
            )
            yield Probed(
                activations=self._activations(of_response, "pair_id || '|' || response", "activation"),
                items=answers,
                targets=(Target(name="chosen", kind="choices", values=won),),
            )
            gap = Target(name="score_gap", kind="number", values=pairs.select(item="pair_id", value="score_gap"))
            yield Probed(
                activations=self._differences(of_response),
                items=of_pairs.with_columns(**_text(pairs["chosen"] + "\n" + pairs["rejected"])).sort("item"),
                targets=(gap,),
            )
        of_prompt = [place for place in places if place not in of_response]
        groups = [
            Target(
                name=f"group:{split}",
                kind="binary",
                values=pairs.join(members, on="user_id").select(
                    item="pair_id", value=(pl.col("user_group") == "A").cast(pl.Int64)
                ),
            )
            for (split,), members in self._groups.partition_by("split", as_dict=True).items()
        ]
        if of_prompt and groups:
            yield Probed(
                activations=self._activations(of_prompt, "pair_id", "activation", "and response = 'chosen'"),
                items=of_pairs.with_columns(**_text(pairs.select(text=conversation)["text"])).sort("item"),
                targets=tuple(groups),
            )

    def _activations(self, places: list[Place], item: str, activation: str, only: str = "") -> StoredActivations:
        return StoredActivations(
            self.store,
            places,
            f"select {item} as item, {activation} as activation from model.activations"
            " where reference = $reference and layer = $layer and position = $position"
            f" and list_contains($pairs, pair_id) {only} order by item",
            reference=self.study.reference,
            pairs=self._pairs["pair_id"].to_list(),
        )

    def _differences(self, places: list[Place]) -> Mapping[Place, NDArray[np.float32]]:
        return _Differences(
            self._activations(places, "pair_id", "activation", "and response = 'chosen'"),
            self._activations(places, "pair_id", "activation", "and response = 'rejected'"),
        )


def _text(texts: pl.Series) -> dict[str, pl.Series]:
    """The columns of items that text and length baselines read."""
    return {"text": texts, "length": texts.str.len_chars().cast(pl.Int64)}


class _Differences(Mapping[Place, "NDArray[np.float32]"]):
    """Chosen minus rejected, pair by pair."""

    def __init__(self, chosen: StoredActivations, rejected: StoredActivations) -> None:
        self._chosen, self._rejected = chosen, rejected

    def __getitem__(self, place: Place) -> NDArray[np.float32]:
        return self._chosen[place] - self._rejected[place]

    def __iter__(self) -> Iterator[Place]:
        return iter(self._chosen)

    def __len__(self) -> int:
        return len(self._chosen)
