"""What a study is: the question, fixed before training. `Study`, its `Cell`s and what it `Expected`."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from prefassets.domain.prism.cohorts import Matching
from prefassets.domain.prism.splits import SPLITS
from prefassets.domain.probes.extraction import Extraction
from prefassets.domain.training.recipe import Hyperparameters, Lora, Recipe
from prefassets.studies.hardware import GPU, Hardware

__all__ = [
    "EVERYONE",
    "Cell",
    "Expected",
    "Extraction",
    "Gate",
    "Gates",
    "Hardware",
    "Hyperparameters",
    "Lora",
    "Matching",
    "OnFailure",
    "Study",
]

EVERYONE = "everyone"
FOLDS = 5


class Expected(Enum):
    """What a study says about one split before it is trained, in the reports' notation."""

    A_HIGHER = "A > B"
    B_HIGHER = "A < B"
    EQUAL = "A = B"
    EXPLORATORY = "exploratory"

    @property
    def sign(self) -> int | None:
        """Sign of A - B: 1, -1, 0 for a null control, None where nothing is claimed."""
        return {"A > B": 1, "A < B": -1, "A = B": 0, "exploratory": None}[self.value]

    @property
    def role(self) -> str:
        return {1: "directional", -1: "directional", 0: "null control", None: "exploratory"}[self.sign]


class OnFailure(Enum):
    """What happens to a study's verdicts while a gate is not passed."""

    WARN = "warn"  # they stand, and say so
    WITHHOLD = "withhold"  # they are INCONCLUSIVE, and say why; where it is undecided they stand, and say so


@dataclass(frozen=True)
class Gate:
    """What happens while it is not passed, and what it asks for in points; None asks for the study's tolerance."""

    on_failure: OnFailure = OnFailure.WARN
    wanted_pp: float | None = None


@dataclass(frozen=True, kw_only=True)
class Gates:
    """What must hold before a study's verdicts are read (next steps of the 2026-02-23 report).

    `baseline_trained`: the baseline's mean pref_acc at the tail of its training, in percent, reaches `wanted_pp`.
    `null_controls_hold`: no null control or placebo differs (Holm p < .05) by what cannot be shown to lie within
    `wanted_pp`; where it withholds, the controls' own verdicts still stand.
    How each is measured: `sql/verdicts/gate.sql`.
    """

    baseline_trained: Gate = Gate(wanted_pp=70.0)
    null_controls_hold: Gate = Gate()


@dataclass(frozen=True, order=True)
class Cell:
    """One (study, cohort, seed, fold): one Dagster partition, one adapter, one record."""

    study: str
    cohort: str
    seed: int
    fold: int = 0

    @property
    def split(self) -> str | None:
        """The split whose group this is; None for the baseline."""
        return None if self.cohort == EVERYONE else self.cohort.rpartition(".")[0]

    @property
    def user_group(self) -> str | None:
        """`A`, `B`, or None for the baseline."""
        return None if self.cohort == EVERYONE else self.cohort.rpartition(".")[2]

    @property
    def seed_key(self) -> str:
        """`42`, or `42.f1` for another fold than 0."""
        return f"{self.seed}.f{self.fold}" if self.fold else str(self.seed)

    @property
    def key(self) -> str:
        """The Dagster partition key, `age.A|42`."""
        return f"{self.cohort}|{self.seed_key}"

    @property
    def partition(self) -> tuple[str, str, str, str]:
        """Values of the partition columns of the `training` tables: study, cohort, seed, fold."""
        return self.study, self.cohort, str(self.seed), str(self.fold)


@dataclass(frozen=True, kw_only=True)
class Study:
    """One experiment: splits with what is expected of each, one method, one base model, seeds and folds.

    `expected` names the splits; each is trained on group A and on group B, beside the baseline on everyone. A study
    trains on all folds but one and is judged on that one. With `Matching.PAIRS`, A and B of a split learn from equally
    many pairs, and so, taking equally many steps, see each equally often; with `Matching.SOURCES`, from equally many of
    each source model, and are judged on such pairs too. The baseline learns from all. `variant_of` names the study that
    this one repeats with one thing changed. `null_tolerance_pp` is how large (points) a difference may be and still
    count as none. `gates` say what must hold before the verdicts are read. `activations` says which hidden states are
    kept of each adapter; None, and none are. `hardware` is what its jobs ask of a cluster. `deviations` says in plain
    words what differs from the report it follows.
    """

    name: str
    question: str
    method: str
    base_model: str
    expected: Mapping[str, Expected]
    seeds: tuple[int, ...]
    hyperparameters: Hyperparameters
    folds: tuple[int, ...] = (0,)
    matching: Matching = Matching.NONE
    variant_of: str | None = None
    null_tolerance_pp: float = 5.0
    gates: Gates = Gates()
    activations: Extraction | None = None
    hardware: Hardware = GPU
    deviations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"study name {self.name!r} must be letters, digits and _ (it names assets and folders)")
        if unknown := sorted(set(self.expected) - set(SPLITS)):
            raise ValueError(f"{self.name}: no split {unknown}; splits are {sorted(SPLITS)} (domain/prism/splits.py)")
        if hopeful := [
            split for split in self.expected if self.role(split) == "placebo" and self.expected[split].sign != 0
        ]:
            raise ValueError(f"{self.name}: {hopeful} are random halves; a placebo can only be expected to be A = B")
        for field, values in (("seeds", self.seeds), ("folds", self.folds)):
            if not values or len(set(values)) != len(values) or min(values) < 0:
                raise ValueError(f"{self.name}: {field} {values} must be distinct, not negative, and at least one")
        if self.gates.null_controls_hold.wanted_pp is not None:
            raise ValueError(
                f"{self.name}: null controls are held to null_tolerance_pp; leave the gate's wanted_pp out"
            )
        if self.activations is not None and self.activations.model is not None:
            raise ValueError(f"{self.name}: activations are those of its base model; leave Extraction's model out")
        if max(self.folds) >= FOLDS:
            raise ValueError(f"{self.name}: folds {self.folds}; the data have folds 0 to {FOLDS - 1}")

    def role(self, split: str) -> str:
        """What a split is for: `directional`, `null control`, `exploratory`, or `placebo` (random halves)."""
        return "placebo" if SPLITS[split].placebo else self.expected[split].role

    @property
    def cohorts(self) -> tuple[str, ...]:
        """The baseline, then groups A and B of each split."""
        return (EVERYONE, *(f"{split}.{group}" for split in self.expected for group in "AB"))

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell of the study, cohort by cohort, fold by fold within a seed."""
        return tuple(
            Cell(self.name, cohort, seed, fold) for cohort in self.cohorts for seed in self.seeds for fold in self.folds
        )

    @property
    def seed_keys(self) -> tuple[str, ...]:
        return tuple(cell.seed_key for cell in self.cells if cell.cohort == EVERYONE)

    @property
    def assets_by_cell(self) -> tuple[str, ...]:
        """The study's assets that have a part per cell."""
        return ("adapters", "margins", *(["activations"] if self.activations is not None else []))

    @property
    def reference(self) -> str:
        """Which reference pass the study shares with others: base model, maximum length and precision."""
        return f"{self.base_model}@{self.hyperparameters.max_length}:{self.hyperparameters.precision}"

    def cell(self, key: str) -> Cell:
        """The cell of a Dagster partition key `cohort|seed`."""
        for cell in self.cells:
            if cell.key == key:
                return cell
        raise ValueError(f"{self.name} has no cell {key!r}; its cells look like {self.cells[-1].key!r}")

    def recipe(self, cell: Cell, base_revision: str, training_pairs: str) -> Recipe:
        """The recipe of one cell, given the base model's revision and the digest of the cohort's training pairs."""
        return Recipe(
            method=self.method,
            hyperparameters=self.hyperparameters,
            base_model=self.base_model,
            base_revision=base_revision,
            seed=cell.seed,
            fold=cell.fold,
            training_pairs=training_pairs,
        )
