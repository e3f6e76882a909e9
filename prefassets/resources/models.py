"""Base models by name, `tiny` from the home, others from the Hugging Face hub or a folder, and what they train on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from prefassets.resources.cells import StudyData
from prefassets.resources.endpoint import Endpoint
from prefassets.resources.store import Store
from prefassets.settings import settings

if TYPE_CHECKING:
    from prefassets.domain.preferences.asking import Backend
    from prefassets.domain.preferences.measurement import Measurement
    from prefassets.domain.training.language_model import LanguageModel
    from prefassets.domain.training.train import TrainingData

TINY_ARTIFACT = "models/tiny"
TINY_STEPS = 300  # about a minute on two cores
ON_POLICY_PROMPTS = 256  # enough for the mean weight of sampled pairs to within a few hundredths


def load_base(
    store: Store, name: str, precision: str, revision: str | None = None, quantised: bool = False
) -> LanguageModel:
    """The base model and its tokenizer, ready to run.

    Args:
        precision: `float32` or `bfloat16`.
        revision: the one that `model.base` recorded; None for whatever there is.
        quantised: hold its weights in 4 bits.

    Raises:
        CannotQuantise: this machine cannot hold models in 4 bits.
        FileNotFoundError: `tiny` was not made in this home yet.
        ValueError: another revision than the recorded one was found.
        ModelUnreachable: the hub has no such model, or cannot be reached.
    """
    from prefassets.domain.training.language_model import LanguageModel  # torch takes seconds to import

    if name == "tiny":
        found = LanguageModel.from_files(store.files(TINY_ARTIFACT), name, precision, quantised)
    else:
        found = LanguageModel.from_hub(name, precision, revision, quantised)
    if revision is not None and found.revision != revision:
        raise ValueError(
            f"base model {name} has revision {found.revision}, but model.base of this home recorded {revision}; "
            f"materialise model/base, partition {name}, again: its cells are then shown as stale."
        )
    return found


def load_backend(store: Store, measurement: Measurement, revision: str | None = None) -> Backend:
    """What answers a measurement's questions: its model here, or the endpoint that serves it.

    Args:
        revision: of a model here, the one that `model.base` recorded.

    Raises:
        FileNotFoundError: `tiny` was not made in this home yet.
        ModelUnreachable: the hub has no such model, or cannot be reached.
    """
    if measurement.backend == "endpoint":
        given = settings()
        return Endpoint(measurement.model, given.requests_at_once, given.request_seconds, given.patience_seconds)
    from prefassets.domain.preferences.in_process import InProcess  # torch takes seconds to import

    return InProcess(load_base(store, measurement.model, measurement.precision, revision), measurement.precision)


def load_training_data(store: Store, data: StudyData, pairs: pl.DataFrame) -> TrainingData:
    """The study's base model, these pairs as tokens, and their reference log-probabilities.

    Raises:
        ValueError: the reference pass lacks some of the pairs or was made with another base model.
    """
    from prefassets.domain.training.encoding import encode_pairs
    from prefassets.domain.training.train import TrainingData

    study = data.study
    logps = store.query(
        "select pair_id, any_value(logp) filter (where response = 'chosen') as chosen,"
        " any_value(logp) filter (where response = 'rejected') as rejected"
        " from model.reference where reference = $reference and revision = $revision group by pair_id",
        reference=study.reference,
        revision=data.base_revision,
    )
    if lacking := set(pairs["pair_id"]) - set(logps["pair_id"]):
        raise ValueError(
            f"model.reference of {study.reference}, revision {data.base_revision}, lacks {len(lacking)} of "
            f"{len(pairs)} pairs, e.g. {min(lacking)}; materialise model/reference, partition {study.reference}, again."
        )
    model = load_base(store, study.base_model, study.hyperparameters.precision, data.base_revision)
    encoded = encode_pairs(pairs.sort("pair_id"), model.tokenizer, study.hyperparameters.max_length)
    reference = {pair_id: (chosen, rejected) for pair_id, chosen, rejected in logps.iter_rows()}
    return TrainingData(model, encoded, reference)
