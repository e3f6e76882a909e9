"""What one training job asks of a cluster: `GPU`, unless a study says otherwise. A laptop does not ask."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """The machine that a job of one study needs. No part of a recipe: an adapter is the same wherever it was trained.

    `gpus` is 1, or 0 for a model so small that CPUs do: a job trains on one GPU, and more GPUs run more jobs.
    `gpu_product` is the label that NVIDIA's GPU feature discovery gives a node (`NVIDIA-H100-80GB-HBM3`), None for any.
    `node_labels` are further labels that the node must have. `tolerates` names the taints that it may have, whatever
    their effect. `cpus` and `memory_gib` are for the process beside the GPU. `most_hours` ends a job that hangs.
    """

    gpus: int = 1
    gpu_product: str | None = None
    cpus: int = 4
    memory_gib: int = 32
    node_labels: Mapping[str, str] = field(default_factory=dict)
    tolerates: tuple[str, ...] = ("nvidia.com/gpu",)
    most_hours: float = 24

    def __post_init__(self) -> None:
        if self.gpus not in (0, 1):
            raise ValueError(f"gpus = {self.gpus}: a job trains on one GPU, or on none; more GPUs run more jobs")
        if self.gpu_product is not None and not self.gpus:
            raise ValueError(f"gpu_product = {self.gpu_product!r}, but gpus = 0; leave one of them out")
        if min(self.cpus, self.memory_gib, self.most_hours) <= 0:
            raise ValueError(f"{self}: cpus, memory_gib and most_hours must be above 0")


GPU = Hardware()
