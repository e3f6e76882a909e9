"""The cells of a study against the store: which are finished, and what is wrong with the others."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import cached_property
from typing import Any, Literal

import polars as pl

from prefassets.domain.prism.cohorts import held_out_pairs, pair_digests, probed_pairs, training_pairs
from prefassets.domain.probes.extraction import READER_VERSION, layers_at
from prefassets.domain.training.recipe import Recipe, differences, digest
from prefassets.resources.store import Store
from prefassets.resources.tables import TABLES, cell_artifact
from prefassets.studies import all_studies
from prefassets.studies.study import Cell, Matching, Study

State = Literal["finished", "missing", "unscored", "unread", "stale"]
UNFINISHED: tuple[State, ...] = ("missing", "unscored", "unread")  # what a launch makes without being asked for more


def artifact(cell: Cell) -> str:
    """Name of a cell's adapter in the store, `demo/age.A/seed-42`."""
    return cell_artifact(*cell.partition)


@dataclass(frozen=True)
class CellState:
    """What a home holds of one cell. `reason` says in words what is missing or which field of the recipe differs."""

    cell: Cell
    state: State
    reason: str = ""


class _HomeData:
    """What the cells of all studies share, each read once."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @cached_property
    def pairs(self) -> pl.DataFrame:
        return self.store.read("prism.pairs")

    @cached_property
    def whose(self) -> pl.DataFrame:
        """Pairs without their texts: which cohort learns from which of them does not need those."""
        return self.store.query("select pair_id, user_id, model_name from prism.pairs")

    @cached_property
    def pair_digests(self) -> dict[str, str]:
        return pair_digests(self.pairs)

    @cached_property
    def folds(self) -> pl.DataFrame:
        return self.store.read("prism.folds")

    @cached_property
    def groups(self) -> pl.DataFrame:
        return self.store.read("splits.assignments")

    @cached_property
    def bases(self) -> dict[str, tuple[str, int]]:
        """Revision and number of layers of each base model."""
        rows = self.store.query("select base_model, revision, layers from model.base")
        return {name: (revision, layers) for name, revision, layers in rows.iter_rows()}


class StudyData:
    """What the cells of one study share: pairs, folds, groups and the base model's revision, each read once.

    With `like`, the data of another study of the same home, what is of no study is taken from there.
    """

    def __init__(self, store: Store, study: Study, like: "StudyData | None" = None) -> None:
        self.store = store
        self.study = study
        self._of_home: _HomeData = like._of_home if like is not None else _HomeData(store)

    @property
    def pairs(self) -> pl.DataFrame:
        return self._of_home.pairs

    @property
    def folds(self) -> pl.DataFrame:
        return self._of_home.folds

    @property
    def groups(self) -> pl.DataFrame:
        return self._of_home.groups

    @property
    def base_revision(self) -> str | None:
        """Revision of the study's base model; None while `model/base` was never made."""
        return self._of_home.bases.get(self.study.base_model, (None, 0))[0]

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers whose activations the study keeps; none, if it keeps none or there is no base model yet."""
        if self.study.activations is None or self.base_revision is None:
            return ()
        return layers_at(self.study.activations.depths, self._of_home.bases[self.study.base_model][1])

    @property
    def pair_digests(self) -> dict[str, str]:
        """Digest of what a model sees of each pair, by pair_id."""
        return self._of_home.pair_digests

    def probed_pairs(self, fold: int) -> pl.DataFrame:
        """The held-out pairs of a fold that activations are kept of, the same for every cell of the fold."""
        if self.study.activations is None:
            return self.pairs.clear()
        return probed_pairs(self.pairs, self.folds, fold, self.study.activations.pairs)

    @cached_property
    def base_is_unread(self) -> bool:
        """Whether the base model, of a study that keeps activations, is still to be read on what its adapters are."""
        wanted = base_reading(self.store, self.study.reference, like=self) if self.study.activations else None
        if wanted is None:
            return False
        kept = self.store.query(
            "select distinct fingerprint from model.activations where reference = $reference",
            reference=self.study.reference,
        )
        return wanted.fingerprint not in kept["fingerprint"]

    def readable_pairs(self, fold: int) -> pl.DataFrame:
        """Those of `probed_pairs` that the base model was read on: the others are left out, as it says, by its text."""
        return self.probed_pairs(fold).filter(pl.col("pair_id").is_in(self._read_by_base))

    @cached_property
    def _read_by_base(self) -> list[str]:
        return self.store.query(
            "select distinct pair_id from model.activations where reference = $reference and revision = $revision",
            reference=self.study.reference,
            revision=self.base_revision,
        )["pair_id"].to_list()

    def reading(self, fold: int) -> str:
        """Digest of which activations are to be kept of a cell of this fold, and of what is read."""
        if fold not in self._reading_of_fold:
            seen = [(pair_id, self.pair_digests[pair_id]) for pair_id in self.readable_pairs(fold)["pair_id"]]
            positions = self.study.activations.positions if self.study.activations else ()
            what = [READER_VERSION, self.base_revision, seen, self.layers, positions]
            self._reading_of_fold[fold] = digest(what)
        return self._reading_of_fold[fold]

    @cached_property
    def _reading_of_fold(self) -> dict[int, str]:
        return {}

    def training_pairs(self, cell: Cell) -> pl.DataFrame:
        """The cell's training pairs; see `domain.prism.cohorts.training_pairs`.

        Raises:
            ValueError: the cohort has fewer pairs than one batch.
        """
        if why := self.unlearnable(cell):
            raise ValueError(why)
        return self.pairs.join(self.training_ids(cell).to_frame(), on="pair_id", how="semi").sort("pair_id")

    def unlearnable(self, cell: Cell) -> str:
        """Why a cell cannot be trained on today's data; empty if it can."""
        ids, batch_size = self.training_ids(cell), self.study.hyperparameters.batch_size
        if len(ids) >= batch_size:
            return ""
        matching = self.study.matching if cell.split else Matching.NONE
        matched = "" if matching is Matching.NONE else f", matched to the other group: {matching.value}"
        return (
            f"cohort {cell.cohort} of {cell.study} has {len(ids)} training pairs outside fold {cell.fold}{matched}; "
            f"that is less than one batch of {batch_size}; see splits.balance, or use more data"
        )

    def training_ids(self, cell: Cell) -> pl.Series:
        """The ids of a cell's training pairs, however few; kept, because every seed of a cohort asks for the same."""
        key = cell.cohort, cell.fold
        if key not in self._ids_of_cohort:
            self._ids_of_cohort[key] = self._training_rows(*key)["pair_id"]
        return self._ids_of_cohort[key]

    def _training_rows(self, cohort: str, fold: int) -> pl.DataFrame:
        """Ids, users and source models of a cohort's training pairs: the one place that says which they are."""
        cell, cap = Cell(self.study.name, cohort, 0, fold), self.study.hyperparameters.max_pairs
        groups = self.groups, cell.split, cell.user_group
        return training_pairs(self._of_home.whose, self.folds, *groups, fold, cap, self.study.matching)

    def group_sizes(self) -> list[dict[str, Any]]:
        """Per split, fold and group of the study: the users and pairs that its adapters learn from, and how."""
        trained = self.study.hyperparameters
        how = {"study": self.study.name, "steps": trained.steps, "batch_size": trained.batch_size}
        return [
            {
                **how,
                "split": split,
                "fold": fold,
                "user_group": group,
                "users": rows["user_id"].n_unique(),
                "pairs": len(rows),
                "sources": rows.group_by("model_name").agg(pairs=pl.len().cast(pl.Int64)).to_dicts(),
            }
            for split in self.study.expected
            for fold in self.study.folds
            for group in "AB"
            for rows in [self._training_rows(f"{split}.{group}", fold)]
        ]

    @cached_property
    def _ids_of_cohort(self) -> dict[tuple[str, int], pl.Series]:
        return {}

    def held_out_digest(self, cell: Cell) -> str:
        """Digest of the ids of the pairs that the cell's adapter is to be scored on."""
        key = cell.split or "", cell.fold
        if key not in self._held_out_digests:
            ids = " ".join(sorted(self.held_out_pairs(cell)["pair_id"]))
            self._held_out_digests[key] = hashlib.md5(ids.encode()).hexdigest()
        return self._held_out_digests[key]

    @cached_property
    def _held_out_digests(self) -> dict[tuple[str, int], str]:
        return {}

    def held_out_pairs(self, cell: Cell) -> pl.DataFrame:
        return held_out_pairs(self.pairs, self.folds, self.groups, cell.split, cell.fold, self.study.matching)

    @cached_property
    def _cohort_digests(self) -> dict[tuple[str, int], str]:
        return {}

    def recipe(self, cell: Cell) -> Recipe:
        """Today's recipe of a cell.

        Raises:
            ValueError: the base model was not made yet, or the cohort is too small.
        """
        if self.base_revision is None:
            raise ValueError(f"model/base has no row for {self.study.base_model!r}; materialise it first")
        key = cell.cohort, cell.fold
        if key not in self._cohort_digests:
            if why := self.unlearnable(cell):
                raise ValueError(why)
            ids = self.training_ids(cell)
            self._cohort_digests[key] = digest([[pair_id, self._of_home.pair_digests[pair_id]] for pair_id in ids])
        return self.study.recipe(cell, self.base_revision, self._cohort_digests[key])


@dataclass(frozen=True)
class BaseReading:
    """What the base model of a reference pass is read on: all that the studies of this pass read adapters on."""

    pairs: pl.DataFrame
    layers: tuple[int, ...]
    positions: tuple[str, ...]
    fingerprint: str


def base_reading(store: Store, reference: str, like: StudyData | None = None) -> BaseReading | None:
    """What `model.activations` is to have of a reference pass; None while no study wants any or there is no base model.

    Its fingerprint changes with whatever changes the numbers.

    Args:
        like: data of another study of the same home.
    """
    studies = [study for study in all_studies().values() if study.reference == reference and study.activations]
    pairs, layers, positions = [], set(), set()
    data = like
    for study in studies:
        data = StudyData(store, study, like=data)
        pairs += [data.probed_pairs(fold) for fold in study.folds]
        layers |= set(data.layers)
        positions |= set(study.activations.positions if study.activations else ())
    if not studies or data is None or data.base_revision is None:
        return None
    wanted = pl.concat(pairs).unique("pair_id").sort("pair_id")
    seen = [data.pair_digests[pair_id] for pair_id in wanted["pair_id"]]
    of_pairs = [list(wanted["pair_id"]), seen]
    fingerprint = digest([READER_VERSION, reference, data.base_revision, of_pairs, sorted(layers), sorted(positions)])
    return BaseReading(wanted, tuple(sorted(layers)), tuple(sorted(positions)), fingerprint)


def group_sizes(store: Store, studies: Iterable[Study]) -> pl.DataFrame:
    """What `domain.prism.balance.exposure` asks of every study, from today's data."""
    rows: list[dict[str, Any]] = []
    data = None
    for study in studies:
        data = StudyData(store, study, like=data)
        rows += data.group_sizes()
    sources = pl.List(pl.Struct({"model_name": pl.String, "pairs": pl.Int64}))
    return pl.DataFrame(rows, schema_overrides={"sources": sources}, infer_schema_length=None)


def cell_states(store: Store, study: Study) -> list[CellState]:
    """The state of every cell of a study, in the study's order. Cheap: no model is loaded.

    finished: its record is what today's recipe says, its held-out pairs are scored, and its activations are kept if the
    study wants them; missing: no record; unscored: trained, but its margins are missing; unread: scored, but its
    activations are missing; stale: its record is of another recipe.
    """
    return _states(
        StudyData(store, study), store.records(study.name), _scored(store, [study]), _readings(store, [study])
    )


def cell_states_of_all(store: Store, studies: Iterable[Study]) -> dict[str, list[CellState]]:
    """The same of several studies, by name of the study; what they share is read once."""
    studies = list(studies)
    scored, records = _scored(store, studies), store.records()  # at once: they open every cell's files
    readings = _readings(store, studies)
    states, data = {}, None
    for study in studies:
        data = StudyData(store, study, like=data)
        states[study.name] = _states(data, records, scored, readings)
    return states


def _scored(store: Store, studies: Sequence[Study]) -> dict[tuple[Any, ...], str]:
    """Digest of the pairs that each adapter was scored on, by study, cohort, seed, fold and fingerprint."""
    rows = store.query(
        "select study, cohort, seed, fold, fingerprint, md5(string_agg(pair_id, ' ' order by pair_id))"
        " from training.margins where list_contains($studies, study) group by all",
        studies=[study.name for study in studies],
    )
    return {tuple(adapter): pairs for *adapter, pairs in rows.iter_rows()}


def _readings(store: Store, studies: Sequence[Study]) -> dict[tuple[Any, ...], str]:
    """Digest of which activations are kept of each adapter, by study, cohort, seed, fold and fingerprint."""
    wanting = [study.name for study in studies if study.activations is not None]
    if not wanting:
        return {}
    rows = store.query(
        "select study, cohort, seed, fold, fingerprint, any_value(reading) from training.activations"
        " where list_contains($studies, study) group by all",
        studies=wanting,
    )
    return {tuple(adapter): reading for *adapter, reading in rows.iter_rows()}


def _states(
    data: StudyData,
    records: Mapping[str, dict[str, Any]],
    scored: Mapping[tuple[Any, ...], str],
    readings: Mapping[tuple[Any, ...], str],
) -> list[CellState]:
    states = []
    for cell in data.study.cells:
        record = records.get(artifact(cell))
        if record is None:
            states.append(CellState(cell, "missing", "no finished adapter"))
        elif data.base_revision is None:
            states.append(CellState(cell, "stale", f"base model {data.study.base_model} is gone from this home"))
        elif (why := data.unlearnable(cell)) or (changed := differences(record["recipe"], data.recipe(cell).as_dict())):
            states.append(CellState(cell, "stale", why or "; ".join(changed)))
        elif (pairs := scored.get((*astuple(cell), record["fingerprint"]))) is None:
            states.append(CellState(cell, "unscored", "no margins on held-out pairs"))
        elif pairs != data.held_out_digest(cell):
            states.append(CellState(cell, "unscored", "margins are of other held-out pairs than today's"))
        elif data.study.activations is None:
            states.append(CellState(cell, "finished"))
        elif data.base_is_unread:
            states.append(CellState(cell, "unread", "the base model is to be read on the study's held-out pairs first"))
        elif (kept := readings.get((*astuple(cell), record["fingerprint"]))) is None:
            states.append(CellState(cell, "unread", "no activations of held-out pairs"))
        elif kept != data.reading(cell.fold):
            states.append(CellState(cell, "unread", "activations are of other pairs, layers or positions than today's"))
        else:
            states.append(CellState(cell, "finished"))
    return states


def cell_row(cell: Cell) -> dict[str, Any]:
    """The row of `studies.cell` of one cell."""
    return {**asdict(cell), "split": cell.split, "user_group": cell.user_group, "cell": cell.key}


def states_of_all(store: Store, studies: Iterable[Study]) -> pl.DataFrame:
    """The rows of `training.states`: the state of every planned cell of these studies."""
    rows = [
        {**cell_row(found.cell), "state": found.state, "reason": found.reason}
        for states in cell_states_of_all(store, studies).values()
        for found in states
    ]
    return pl.DataFrame(rows, schema=TABLES["training.states"].schema)


def unfinished(store: Store, study: Study, stale: bool = False) -> list[CellState]:
    """Cells without all that the study wants of them; with `stale`, also those whose record is of another recipe."""
    wanted = {*UNFINISHED, "stale"} if stale else set(UNFINISHED)
    return [state for state in cell_states(store, study) if state.state in wanted]


def shared_cells(study: Study, studies: list[Study]) -> dict[str, int]:
    """How many of a study's cells have the same recipe as a cell of each other study.

    Compared without looking at data: equal method, base model, hyperparameters, cohort, matching, seed and fold are
    equal recipes within one home. Cells of unlike matching are only known to be equal if they are the baseline;
    those of a split's smaller group may be adopted too, but which group that is, the data say.
    """

    def identity(other: Study) -> set[tuple[Any, ...]]:
        shared = (other.method, other.base_model, other.hyperparameters)
        return {
            (*shared, cell.cohort, other.matching if cell.split else Matching.NONE, cell.seed, cell.fold)
            for cell in other.cells
        }

    mine = identity(study)
    counts = {other.name: len(mine & identity(other)) for other in studies if other.name != study.name}
    return {name: count for name, count in counts.items() if count}
