"""DPO on six user splits, 500 steps of 2 pairs, one seed ("v1", report of 2026-02-23, status needs-rerun)."""

from prefassets.studies.study import Expected, Hyperparameters, Lora, Study

STUDY = Study(
    name="dpo_v1",
    question="Do the user traits that move preference strength in the W2 logit also move what DPO learns?",
    method="dpo",
    base_model="Qwen/Qwen2.5-0.5B-Instruct",
    expected={
        "age": Expected.A_HIGHER,
        "personalisation": Expected.A_HIGHER,
        "safety": Expected.B_HIGHER,
        "familiarity": Expected.EXPLORATORY,
        "behavioral": Expected.A_HIGHER,
        "region": Expected.EQUAL,  # the null control
    },
    seeds=(42,),
    hyperparameters=Hyperparameters(
        steps=500,
        batch_size=2,
        beta=0.1,
        learning_rate=5e-6,
        lora=Lora(rank=16, alpha=32),
        log_every=10,
        max_pairs=1000,
    ),
    deviations=(
        "LoRA on all linear layers; the report names no adapter",
        "learning rate 5e-6, ten times the report's 5e-7, as LoRA wants (a later report says v1 ran at 5e-6)",
        "the report names no seed; 42 is the first of the later reports",
        "one fold of users is held out, so an adapter sees at most four fifths of its group's pairs",
    ),
)
