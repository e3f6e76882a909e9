"""The `dpo_w2` study on a base model of 3B parameters: open question of the 2026-02-24 report."""

from dataclasses import replace

from prefassets.studies import dpo_w2

STUDY = replace(
    dpo_w2.STUDY,
    name="dpo_w2_3b",
    variant_of="dpo_w2",
    question="Do the group differences of the six W2 splits stay, grow or go when the base model is larger?",
    base_model="Qwen/Qwen2.5-3B-Instruct",
)
