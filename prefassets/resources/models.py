"""Base models by name: `tiny` from the home, anything else from the Hugging Face hub (or a local folder)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefassets.resources.store import Store

if TYPE_CHECKING:
    from prefassets.domain.training.language_model import LanguageModel

TINY_ARTIFACT = "models/tiny"


def load_base(store: Store, name: str, precision: str) -> LanguageModel:
    """The base model and its tokenizer, ready to run.

    Args:
        precision: `float32` or `bfloat16`.

    Raises:
        FileNotFoundError: `tiny` was not made in this home yet.
        ModelUnreachable: the hub has no such model, or cannot be reached.
    """
    from prefassets.domain.training.language_model import LanguageModel  # torch takes seconds to import

    if name == "tiny":
        return LanguageModel.from_files(store.files(TINY_ARTIFACT), name=name, precision=precision)
    return LanguageModel.from_hub(name, precision=precision)
