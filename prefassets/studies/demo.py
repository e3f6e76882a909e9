"""The demo: four splits whose truth is planted in synthetic PRISM, learned by a tiny model in minutes on two cores."""

from prefassets.studies.study import Expected, Extraction, Hyperparameters, Lora, Study

STUDY = Study(
    name="demo",
    question="Does the pipeline find the planted group differences, and nothing where nothing is planted?",
    method="dpo",
    base_model="tiny",
    expected={
        "personalisation": Expected.A_HIGHER,  # planted: A prefers the same thing more consistently
        "safety": Expected.B_HIGHER,  # planted: B prefers the same thing more consistently
        "age": Expected.EXPLORATORY,  # planted: A and B prefer different things; see verdicts.transfer
        "region": Expected.EQUAL,  # nothing planted: the null control
    },
    seeds=(42, 123, 456),
    hyperparameters=Hyperparameters(
        steps=110,
        batch_size=8,
        learning_rate=2.5e-3,
        lora=Lora(rank=8, alpha=16),
        log_every=5,
        max_pairs=900,
        max_length=96,
        precision="float32",
    ),
    activations=Extraction(positions=("turn_boundary", "response_mean")),
)
