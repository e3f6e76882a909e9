"""Base models by name: `tiny` from the home, anything else from the Hugging Face hub (or a local folder)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefassets.resources.store import Store

if TYPE_CHECKING:
    from prefassets.domain.training.language_model import LanguageModel

TINY_ARTIFACT = "models/tiny"


def load_base(store: Store, name: str, precision: str, revision: str | None = None) -> LanguageModel:
    """The base model and its tokenizer, ready to run.

    Args:
        precision: `float32` or `bfloat16`.
        revision: the one that `model.base` recorded; None for whatever there is.

    Raises:
        FileNotFoundError: `tiny` was not made in this home yet.
        ValueError: another revision than the recorded one was found.
        ModelUnreachable: the hub has no such model, or cannot be reached.
    """
    from prefassets.domain.training.language_model import LanguageModel  # torch takes seconds to import

    if name == "tiny":
        found = LanguageModel.from_files(store.files(TINY_ARTIFACT), name=name, precision=precision)
    else:
        found = LanguageModel.from_hub(name, precision=precision, revision=revision)
    if revision is not None and found.revision != revision:
        raise ValueError(
            f"base model {name} has revision {found.revision}, but model.base of this home recorded {revision}; "
            f"materialise model/base, partition {name}, again: its cells are then shown as stale."
        )
    return found
