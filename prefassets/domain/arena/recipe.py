"""A recipe: everything that determines one adapter that predicts which of two answers a person prefers."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

ARENA_TRAINER_VERSION = "1"  # raise it when the same recipe would give another adapter or other predictions
WINNERS = ("A", "B", "tie")  # in the order of the digits 0, 1 and 2 that a prompt asks for

Modules = Literal["attention", "attention and feed-forward"]


@dataclass(frozen=True, kw_only=True)
class ArenaRecipe:
    """One adapter, or the average of several, finetuned on battles. One Dagster partition of `arena/adapter`.

    By default that of the report (`arena_preference_prediction.md`): attention modules, rank 16, alpha 32, learning
    rate 5e-5, a cosine after 100 steps of warm-up, 1,000 steps, evaluated every 50 of them.

    `question` says what it is to find out. `variant_of` names the recipe that this one changes in one thing, and is
    compared with. `quantised` holds the base model in 4 bits while training and predicting (QLoRA, Dettmers et al.
    2023, https://arxiv.org/abs/2305.14314). `prompt` is a key of PROMPTS (`prompt.py`); of `max_tokens`, what the
    template leaves is shared between prompt and answers. `batch_size` are battles of one step, whatever fits into
    memory at once. `patience` is how many evaluations without a better validation log loss end the training, and the
    adapter is then that of the best; None trains all `steps` and keeps the last. `swapped` shows half of the battles,
    other ones in each epoch, with their answers exchanged. `hard_share` of all battles shown are drawn from the
    quarter that the base model predicts worst; `order` shows those first that it predicts best (a curriculum); both are
    told among battles with the same winner.
    `adapters` are trained with as many seeds, and their average is the adapter.
    """

    name: str
    question: str
    model: str
    variant_of: str | None = None
    quantised: bool = False
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    prompt: str = "report"
    max_tokens: int = 1024
    modules: Modules = "attention"
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    steps: int = 1000
    batch_size: int = 16
    learning_rate: float = 5e-5
    warmup_steps: int = 100
    schedule: Literal["cosine", "linear"] = "cosine"
    weight_decay: float = 0.0
    evaluate_every: int = 50
    patience: int | None = None
    swapped: bool = False
    hard_share: float | None = None
    order: Literal["shuffled", "easiest first"] = "shuffled"
    adapters: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for field in ("max_tokens", "rank", "steps", "batch_size", "learning_rate", "evaluate_every", "adapters"):
            if getattr(self, field) <= 0:
                raise ValueError(f"recipe {self.name}: {field} is {getattr(self, field)}; it must be above 0")
        if not 0 <= self.warmup_steps < self.steps:
            raise ValueError(f"recipe {self.name}: warmup_steps is {self.warmup_steps}; it must be below {self.steps}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"recipe {self.name}: dropout is {self.dropout}; it must be at least 0 and below 1")
        if self.hard_share is not None and not 0 < self.hard_share < 1:
            raise ValueError(f"recipe {self.name}: hard_share is {self.hard_share}; it must lie between 0 and 1")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"recipe {self.name}: patience is {self.patience}; it must be at least 1")

    @property
    def base(self) -> str:
        """Which predictions of a base model, without an adapter, the recipe shares with others; a Dagster partition."""
        return f"{self.model}@{self.max_tokens}:{self.precision}:{self.prompt}"

    @property
    def asks_the_base_first(self) -> bool:
        """Whether training needs to know how well the base model predicts the battles that it trains on."""
        return self.hard_share is not None or self.order == "easiest first"

    @property
    def trained(self) -> dict[str, Any]:
        """What determines the adapter, beside the data; its name and what is said of it do not."""
        told = ("name", "question", "variant_of")
        of_recipe = {field: value for field, value in asdict(self).items() if field not in told}
        return {**of_recipe, "trainer": ARENA_TRAINER_VERSION}
