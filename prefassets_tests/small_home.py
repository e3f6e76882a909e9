"""A home that a real, tiny model can train in within seconds: three users, one split, no Dagster."""

from dataclasses import replace

import polars as pl

from prefassets.resources.models import TINY_ARTIFACT
from prefassets.resources.store import DataSource, Store
from prefassets.resources.tables import TABLES
from prefassets.studies import demo
from prefassets.studies.study import Expected

STUDY = replace(
    demo.STUDY,
    expected={"age": Expected.EXPLORATORY},
    seeds=(1, 2),
    activations=None,
    hyperparameters=replace(demo.STUDY.hyperparameters, steps=6),
)
USERS = {"young": 40, "old": 30, "held out": 10}  # pairs of each
TOPICS = ("budget", "travel", "cooking", "music", "work", "sport", "books")


def make(folder: str) -> Store:
    """A pinned home with pairs, folds, groups, base model and reference pass, in which no cell is trained."""
    from prefassets.domain.training.encoding import encode_pairs
    from prefassets.domain.training.reference import reference_pass
    from prefassets.domain.training.tiny import train_tiny

    store = Store(home=folder)
    store.pin(DataSource(scale=0.1))
    rows = [
        {
            "pair_id": f"{user}.{number}",
            "user_id": user,
            "prompt": [{"role": "user", "content": f"Tell me about {topic}." + " And more." * (number % 4)}],
            "chosen": f"For you, {topic} is fine." + " Really." * (number % 3),
            "rejected": f"Experts on {topic} disagree.",
        }
        for user, pairs in USERS.items()
        for number in range(pairs)
        for topic in [TOPICS[number % len(TOPICS)]]
    ]
    pairs = _frame("prism.pairs", rows)
    store.replace("prism.pairs", pairs)
    store.replace("prism.folds", pl.DataFrame({"user_id": list(USERS), "fold": [1, 2, 0]}))
    groups = [{"split": "age", "user_id": user, "user_group": group} for user, group in zip(USERS, "ABA", strict=True)]
    store.replace("splits.assignments", _frame("splits.assignments", groups))

    answered = [[*row["prompt"], {"role": "assistant", "content": row["chosen"]}] for row in rows]
    model = train_tiny(answered, seed=0, steps=5).language_model
    base = {"base_model": "tiny", "revision": model.revision, **model.description()}
    store.put(TINY_ARTIFACT, model.to_files(), base)
    store.replace("model.base", _frame("model.base", [base]), ["tiny"])
    encoded = encode_pairs(pairs, model.tokenizer, STUDY.hyperparameters.max_length)
    labels = {"reference": STUDY.reference, "base_model": "tiny", "revision": model.revision}
    reference = reference_pass(model, encoded).with_columns(pl.lit(value).alias(name) for name, value in labels.items())
    store.replace("model.reference", reference, [STUDY.reference])
    return store


def _frame(table: str, rows: list[dict[str, object]]) -> pl.DataFrame:
    blank = {
        name: None if column.nullable else "" if column.dtype == pl.String else 0
        for name, column in TABLES[table].columns.items()
    }
    return pl.DataFrame([blank | row for row in rows], schema=TABLES[table].schema)
