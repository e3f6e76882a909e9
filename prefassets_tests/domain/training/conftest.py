"""Shared by all tests here: a planted preference, a tiny model trained on its texts for seconds, its reference pass."""

from random import Random

import polars as pl
import pytest

from prefassets.domain.training.encoding import encode_pairs
from prefassets.domain.training.recipe import Hyperparameters, Lora, Recipe
from prefassets.domain.training.reference import reference_pass
from prefassets.domain.training.tiny import train_tiny
from prefassets.domain.training.train import CellToTrain, TrainingData

TOPICS = ("budget", "travel", "cooking", "music")
FILLER = ("Start with a list for {}.", "Many people read about {}.", "Do not rush {}.", "Experts on {} disagree.")
TRAIT = ("Since you asked, I adapt it to you.", "For you, I would pick what fits your week.")


def planted_pairs(n: int, share: float, seed: int) -> pl.DataFrame:
    """Pairs of which `share` prefer the answer with the trait; everything else about the answers is equal."""
    random = Random(seed)
    rows = []
    for number in range(n):
        topic = random.choice(TOPICS)
        plain = [sentence.format(topic) for sentence in random.sample(FILLER, 2)]
        with_trait = [sentence.format(topic) for sentence in random.sample(FILLER, 2)]
        with_trait.insert(random.randrange(3), random.choice(TRAIT))
        answers = [" ".join(with_trait), " ".join(plain)]
        if random.random() > share:
            answers.reverse()
        prompt = [{"role": "user", "content": f"How do I plan my {topic}?"}]
        rows.append((f"pair-{seed}-{number:04d}", prompt, *answers))
    return pl.DataFrame(rows, schema=["pair_id", "prompt", "chosen", "rejected"], orient="row")


@pytest.fixture(scope="session")
def pairs():
    return planted_pairs(600, share=0.9, seed=1)


@pytest.fixture(scope="session")
def texts(pairs):
    return [
        [*prompt, {"role": "assistant", "content": answer}]
        for prompt, *answers in pairs.select("prompt", "chosen", "rejected").iter_rows()
        for answer in answers
    ]


@pytest.fixture(scope="session")
def tiny(texts):
    return train_tiny(texts, seed=0, steps=60).language_model


@pytest.fixture(scope="session")
def encoded(pairs, tiny):
    return encode_pairs(pairs, tiny.tokenizer, max_length=96)


@pytest.fixture(scope="session")
def reference(tiny, encoded):
    return reference_pass(tiny, encoded)


@pytest.fixture(scope="session")
def reference_logps(reference):
    wide = reference.pivot("response", index="pair_id", values="logp")
    return {pair_id: (chosen, rejected) for pair_id, chosen, rejected in wide.iter_rows()}


@pytest.fixture(scope="session")
def data(tiny, encoded, reference_logps):
    return TrainingData(tiny, encoded, reference_logps)


@pytest.fixture(scope="session")
def cell(pairs, tiny):
    """A cell of the first 480 pairs with the hyperparameters given; 120 pairs are left to be held out."""

    def make(key: str = "cell", seed: int = 42, training_pairs: int = 480, **hyperparameters) -> CellToTrain:
        settings = {
            "steps": 3,
            "batch_size": 8,
            "learning_rate": 5e-3,
            "lora": Lora(rank=8, alpha=16),
            "max_length": 96,
            "precision": "float32",
        }
        recipe = Recipe(
            method="dpo",
            hyperparameters=Hyperparameters(**(settings | hyperparameters)),
            base_model="tiny",
            base_revision=tiny.revision,
            seed=seed,
            fold=0,
            training_pairs="of the test",
        )
        return CellToTrain(key, recipe, tuple(pairs["pair_id"][:training_pairs]))

    return make
