"""`prefassets plan`: what a study has left to train, and its time and memory by what was measured in this home."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import polars as pl

from prefassets.domain.training.cost import MemoryOfPack, Rate, Trained, expected_tokens, rate
from prefassets.domain.training.order import data_order
from prefassets.resources.cells import StudyData, cell_states
from prefassets.resources.models import load_training_data
from prefassets.resources.progress import progress_bar
from prefassets.resources.store import Store
from prefassets.settings import Settings
from prefassets.studies.study import Cell, Study

SECONDS_TO_MEASURE = 3.0  # of a pack, and of a cell alone

# Newest first; the seconds of an adopted cell were spent on its twin. TRL's version stands behind its name.
_TRAINED = """
    select method, device, cells_in_pack, tokens, seconds
    from training.cells
    where base_model = $base_model and split_part(engine, ' ', 1) = $engine and adopted_from is null and seconds > 0
    order by finished_at desc
"""
_SPENT = """
    select device, count(*) as cells, sum(seconds), count(distinct run_id) as runs, count(distinct node) as nodes
    from training.cells
    where study = $study and adopted_from is null
    group by device
    order by device
"""
_TOKENS_OF_PAIRS = """
    select pair_id, (any_value(prompt_tokens) + sum(tokens))::bigint as tokens
    from model.reference
    where reference = $reference and revision = $revision
    group by pair_id
"""


class NothingToMeasure(ValueError):
    """No step can be taken: the home lacks the base model or its reference pass, or all cells have too few pairs."""


@dataclass(frozen=True)
class Measured:
    """A few steps taken here and now, of a pack and of a cell alone, and the memory that the pack needs."""

    trained: tuple[Trained, ...]
    memory: MemoryOfPack


class StudyPlan:
    """What one study has left to train in a home. Reading it is cheap: only `measure` loads a model."""

    def __init__(self, store: Store, study: Study, chosen: Settings) -> None:
        self.store = store
        self.study = study
        self.settings = chosen
        self.data = StudyData(store, study)
        self.states = [(state.cell, state.state) for state in cell_states(store, study)]

    @cached_property
    def to_adopt(self) -> list[Cell]:
        """Missing cells whose adapter stands in another study."""
        standing = set(self.store.query("select distinct fingerprint from training.cells")["fingerprint"])
        if not standing or self.data.base_revision is None:
            return []
        return [cell for cell in self._learnable if self.data.recipe(cell).fingerprint in standing]

    @cached_property
    def to_train(self) -> list[Cell]:
        """The other missing cells. Before the home has data and base model, all that are missing."""
        adopted = set(self.to_adopt)
        return [cell for cell in (self._learnable if self._tokens else self._missing) if cell not in adopted]

    @cached_property
    def _missing(self) -> list[Cell]:
        return [cell for cell, state in self.states if state == "missing"]

    @cached_property
    def _learnable(self) -> list[Cell]:
        return [cell for cell in self._missing if not self.data.unlearnable(cell)]

    @cached_property
    def _tokens(self) -> Mapping[str, int]:
        """Of each pair, its prompt counted once, as the reference pass found; empty while it lacks a pair."""
        asked = {"reference": self.study.reference, "revision": self.data.base_revision or ""}
        found = dict(self.store.query(_TOKENS_OF_PAIRS, **asked).iter_rows())
        pairs = self.store.query("select pair_id from prism.pairs")["pair_id"]
        return found if found.keys() >= set(pairs) else {}

    def tokens(self, cells: Sequence[Cell]) -> float | None:
        """What these cells will read in training; None while the home has no reference pass to count by."""
        if not self._tokens:
            return None
        trained = self.study.hyperparameters
        by_cohort = {
            (cell.cohort, cell.fold): expected_tokens(self._tokens_of(cell), trained.steps, trained.batch_size)
            for cell in {(cell.cohort, cell.fold): cell for cell in cells}.values()
        }
        return sum(by_cohort[cell.cohort, cell.fold] for cell in cells)

    def _tokens_of(self, cell: Cell) -> list[int]:
        return [self._tokens[pair_id] for pair_id in self.data.training_ids(cell)]

    # ---- what it says

    def rows(self, measured: Measured | None) -> list[tuple[str, str]]:
        """What is left to do, how long it takes on each device that was measured, and the memory it takes.

        Args:
            measured: what `measure` found; None to go by the cells that this home has trained.
        """
        tokens = self.tokens(self.to_train)
        rows = [("to train", _cells(len(self.to_train)) + (f", {tokens:,.0f} tokens" if tokens else ""))]
        if self.to_adopt:
            rows.append(("to adopt", f"{_cells(len(self.to_adopt))}: the adapter stands in another study"))
        if self._tokens and (too_small := len(self._missing) - len(self._learnable)):
            rows.append(("cannot be trained", f"{_cells(too_small)}: too few pairs, see splits.balance"))

        trained = measured.trained if measured else self._trained_here()
        for device in dict.fromkeys(cell.device for cell in trained):
            rows += self._on_device(device, trained, measured)
        if not trained:
            none = f"no cell of {self.study.base_model} was trained in this home by {self.settings.engine}"
            rows.append(("time", f"not measured: {none}"))
        rows += self._spent()
        rows.append(("memory", _memory_text(measured.memory) if measured else "not measured"))
        if not measured:
            rows.append(("to measure", self._to_do))
        return rows

    def _spent(self) -> Iterator[tuple[str, str]]:
        """What training the study's own finished cells took; starting, scoring and failed work are not in it."""
        for device, cells, seconds, runs, nodes in self.store.query(_SPENT, study=self.study.name).iter_rows():
            where = f"{_counted(runs, 'run')} on {_counted(nodes, 'node')}"
            yield f"spent on {device}", f"{_cells(cells)} trained in {_cost(seconds, device)}, {where}"

    def _trained_here(self) -> Sequence[Trained]:
        asked = {"base_model": self.study.base_model, "engine": self.settings.engine}
        return [Trained(**row) for row in self.store.query(_TRAINED, **asked).iter_rows(named=True)]

    def _on_device(
        self, device: str, trained: Sequence[Trained], measured: Measured | None
    ) -> Iterator[tuple[str, str]]:
        at_once = self._cells_per_pack([cell for cell in trained if cell.device == device])
        packed = rate(trained, device, self.study.method, at_once)
        alone = rate(trained, device, self.study.method, 1)
        if packed is None or alone is None:
            return
        tokens, adopted = self.tokens(self.to_train), self.tokens(self.to_adopt)

        def text(of: Rate) -> str:
            total = f"about {_cost(of.seconds(tokens), device)}: " if tokens else ""
            source = f"{_cells(of.cells)} of {of.method} {'just now' if measured else 'finished in this home'}"
            packs = f"in packs of {of.cells_in_pack}" if of.cells_in_pack > 1 else "one by one"
            return f"{total}{1 / of.seconds_per_token:,.0f} tokens a second by {source}, {packs}"

        yield f"time on {device}", text(packed)
        if self.to_train:
            yield "  packs", f"{ceil(len(self.to_train) / at_once)} of up to {_cells(at_once)}"
        if alone.cells_in_pack > 1:
            yield "  without packs", "not measured"
        elif packed.cells_in_pack > 1:
            yield "  without packs", f"{text(alone)}; packs save {packed.share_saved(alone):.0%}"
        if adopted:
            yield "  adopting saves", f"about {duration(packed.seconds(adopted))}"

    def _cells_per_pack(self, trained: Sequence[Trained]) -> int:
        """As the settings say, or as many as went together before; but no more than there are to train."""
        at_once = self._asked_per_pack or max(cell.cells_in_pack for cell in trained)
        return max(1, min(at_once, self.settings.cells_per_job, len(self.to_train) or at_once))

    @property
    def _asked_per_pack(self) -> int | None:
        return 1 if self.settings.engine == "trl" else self.settings.cells_per_pack

    @property
    def _to_do(self) -> str:
        if self._tokens:
            return f"`prefassets plan {self.study.name} --measure` trains a few steps"
        return (
            f"this home has no reference pass of {self.study.base_model} over its pairs yet, which "
            f"`prefassets missing {self.study.name} --launch` makes before it trains"
        )

    # ---- measuring

    def measure(self) -> Measured:
        """Take a few steps of as many cells as would go together, and of one alone. Nothing of it is stored.

        Raises:
            NothingToMeasure: there is no base model, no reference pass, or no cell that can be trained.
        """
        cells = self.to_train or [cell for cell, _ in self.states if not self.data.unlearnable(cell)]
        if not self._tokens or not cells:
            raise NothingToMeasure(
                f"no step of {self.study.name} can be taken: "
                + ("every cell has too few pairs, see splits.balance" if self._tokens else self._to_do)
            )
        from prefassets.domain.training.measure import MOST_STEPS, memory_of_pack, take_steps  # torch takes seconds
        from prefassets.domain.training.train import CellToTrain

        trained = self.study.hyperparameters
        most = self._asked_per_pack
        cells = cells[: most or self.settings.cells_per_job]
        largest_step, chosen = 0, {}
        for cell in cells:
            ids = self.data.training_ids(cell).sort()
            batches = data_order(len(ids), trained.steps, trained.batch_size, cell.seed)
            of_step = [sum(self._tokens[ids[place]] for place in places) for places in batches]
            largest_step = max(largest_step, *of_step)
            first = dict.fromkeys(ids[place] for places in batches[:MOST_STEPS] for place in places)
            chosen[cell] = CellToTrain(cell.key, self.data.recipe(cell), tuple(first))
        seen = {pair_id for cell in chosen.values() for pair_id in cell.pair_ids}
        shared = load_training_data(self.store, self.data, self.data.pairs.filter(pl.col("pair_id").is_in(seen)))
        memory = memory_of_pack(shared, trained.lora, chosen[cells[0]].pair_ids, largest_step, len(cells), most)
        pack = list(chosen.values())[: memory.cells]
        with progress_bar(f"measuring {self.study.name}", 1 + (len(pack) > 1)) as show:
            found = take_steps(pack[:1], shared, self.settings.engine, SECONDS_TO_MEASURE)
            show(1)
            if len(pack) > 1:
                found += take_steps(pack, shared, self.settings.engine, SECONDS_TO_MEASURE)
        return Measured(tuple(found), memory)


def _cells(count: int) -> str:
    return _counted(count, "cell")


def _counted(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"


def _cost(seconds: float, device: str) -> str:
    """Time, and on a GPU what it is billed by."""
    return duration(seconds) if device == "cpu" else f"{duration(seconds)} = {seconds / 3600:,.2f} GPU-hours"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s` or `1 h 57 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if seconds >= 1 else "less than 1 s"
    minutes, seconds_left = divmod(whole, 60)
    return f"{minutes} min {seconds_left} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def _memory_text(memory: MemoryOfPack) -> str:
    fits = memory.needed <= memory.base_model + memory.free
    return (
        f"{_bytes(memory.needed)} = base model {_bytes(memory.base_model)} + {_cells(memory.cells)} x "
        f"{_bytes(memory.of_adapter)} + activations {_bytes(memory.activations)} + logits {_bytes(memory.for_logits)}; "
        f"{'' if fits else 'does not fit: '}{_bytes(memory.free)} free beside the base model"
    )


def _bytes(count: float) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"
