"""Which hidden states of a model are kept: an `Extraction`, named by a study or a measurement."""

from collections.abc import Sequence
from dataclasses import dataclass

READER_VERSION = 1  # raised when the same texts are read otherwise: what was kept is then read again
POSITIONS = {
    "prompt_last": "the last token of the prompt's own text",
    "prompt_mean": "mean over the tokens of the prompt's own text",
    "turn_boundary": "the last token before the response begins, whose state predicts its first token",
    "response_last": "the last token of the response's own text",
    "response_mean": "mean over the tokens of the response's own text",
}


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """At which depths and token positions hidden states are kept, and of how much.

    `depths` are shares of the model's layers, 0 (embeddings) to 1 (the last layer, after the final norm). `positions`
    are some of `POSITIONS`. A study reads `pairs` held-out pairs of each fold, the same with every adapter. Of a
    measurement, `items_per_chunk` tasks are read, and written, at once: what is in memory at one time, and what a
    killed extraction repeats at most. `model` is a Hugging Face name, wanted where the measurement's model is served by
    an endpoint, which hands out no hidden states.
    """

    depths: tuple[float, ...] = (0.5, 0.75)
    positions: tuple[str, ...] = ("prompt_last", "turn_boundary", "response_last", "response_mean")
    pairs: int = 256
    items_per_chunk: int = 256
    model: str | None = None

    def __post_init__(self) -> None:
        if not self.depths or len(set(self.depths)) < len(self.depths) or not all(0 <= d <= 1 for d in self.depths):
            raise ValueError(f"activations: depths are {self.depths}; wanted are distinct shares of the layers, 0 to 1")
        if not self.positions or len(set(self.positions)) < len(self.positions):
            raise ValueError(f"activations: positions are {self.positions}; wanted is at least one, each once")
        if unknown := sorted(set(self.positions) - set(POSITIONS)):
            raise ValueError(f"activations: no position {unknown}; there are {', '.join(POSITIONS)}")
        for name in ("pairs", "items_per_chunk"):
            if (given := getattr(self, name)) < 1:
                raise ValueError(f"activations: {name} is {given}; it must be at least 1")

    @property
    def of_responses(self) -> bool:
        """Whether a response is read."""
        return any(position.startswith("response") for position in self.positions)


def layers_at(depths: Sequence[float], layers: int) -> tuple[int, ...]:
    """The layer nearest to each depth, each once: 0 the embeddings, k what the k-th of `layers` blocks leaves.

    They are numbered as `hidden_states` of transformers are; the last is read after the final norm.
    """
    return tuple(dict.fromkeys(round(depth * layers) for depth in depths))
