"""Everything that determines what one adapter becomes, and the fingerprint made of it."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

TRAINER_VERSION = "3"  # raise it when the same recipe would give another adapter or another log


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank adapters on every linear layer but the output head (Hu et al. 2021, https://arxiv.org/abs/2106.09685).

    `dropout` is the share of an adapter's inputs that a training step leaves out, 0 to below 1; above 0 a GPU
    trains without CUDA graphs, which is slower, the more so in small packs.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"lora.rank is {self.rank}; it must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"lora.dropout is {self.dropout}; it must be at least 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """How one adapter is trained. `beta` is the DPO temperature; `learning_rate` decays linearly to zero.

    `max_pairs` caps the cohort's training pairs (None: all of them); `max_length` is tokens of prompt plus response,
    the oldest turns of the prompt being cut first; `log_every` is the reports' logging interval, which defines their
    tail readout (every step is stored).
    """

    steps: int
    batch_size: int
    beta: float = 0.1
    learning_rate: float = 5e-5
    lora: Lora = field(default_factory=Lora)
    log_every: int = 25
    max_pairs: int | None = None
    max_length: int = 1024
    max_gradient_norm: float = 1.0
    precision: Literal["float32", "bfloat16"] = "bfloat16"

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "beta", "learning_rate", "log_every", "max_length", "max_gradient_norm"):
            if getattr(self, name) <= 0:
                raise ValueError(f"hyperparameters.{name} is {getattr(self, name)}; it must be above 0")
        if self.max_pairs is not None and self.max_pairs < self.batch_size:
            raise ValueError(f"hyperparameters.max_pairs is {self.max_pairs}, less than one batch of {self.batch_size}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One adapter's whole recipe. Study name, expectations, prose and how it was run are not in it, on purpose."""

    method: str
    hyperparameters: Hyperparameters
    base_model: str
    base_revision: str
    seed: int
    fold: int
    training_pairs: str  # digest of the cohort's own training pairs
    trainer_version: str = TRAINER_VERSION

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of the recipe; equal recipes give equal adapters."""
        return digest(self.as_dict())

    @property
    def shared_digest(self) -> str:
        """Digest of what the cells of one study have in common: everything but seed, fold and training pairs."""
        own = {"seed", "fold", "training_pairs"}
        return digest({name: value for name, value in self.as_dict().items() if name not in own})


def digest(value: Any) -> str:
    """Twelve hexadecimal digits of the SHA-256 of `value` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(recorded: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> list[str]:
    """The fields in which two recipes differ, as `hyperparameters.steps: 2000 -> 3`."""
    found: list[str] = []
    for name in sorted(recorded.keys() | wanted.keys()):
        old, new = recorded.get(name), wanted.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, f"{prefix}{name}.")
        elif old != new:
            found.append(f"{prefix}{name}: {old} -> {new}")
    return found
