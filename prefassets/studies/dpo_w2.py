"""DPO on the six splits that the W2 binary logit found; five seeds ("v2", report of 2026-02-24)."""

from prefassets.studies.study import Expected, Hyperparameters, Lora, Study

STUDY = Study(
    name="dpo_w2",
    question="Which of the six W2 splits shows a group difference that survives five seeds?",
    method="dpo",
    base_model="Qwen/Qwen2.5-0.5B-Instruct",
    expected={
        "age": Expected.A_HIGHER,
        "personalisation": Expected.A_HIGHER,
        "safety": Expected.B_HIGHER,
        "familiarity": Expected.EXPLORATORY,
        "behavioral": Expected.EXPLORATORY,
        "region": Expected.EQUAL,  # the null control
    },
    seeds=(42, 123, 456, 789, 999),
    hyperparameters=Hyperparameters(
        steps=2000, batch_size=8, beta=0.1, learning_rate=5e-5, lora=Lora(rank=16, alpha=32), log_every=25
    ),
    deviations=(
        "LoRA on all linear layers; the report names no adapter",
        "learning rate 5e-5, ten times the report's 5e-6, as LoRA wants",
        "one fold of users is held out, so an adapter sees four fifths of its group's pairs",
    ),
)
