"""WPO on the eight splits that the ordered logit found; seed 42 alone ("v5b", report of 2026-02-27)."""

from dataclasses import replace

from prefassets.studies import dpo_ol

STUDY = replace(
    dpo_ol.STUDY,
    name="wpo_ol",
    variant_of="dpo_ol",
    question="Which of the eight ordered-logit splits agrees with the logit once off-policy pairs weigh less?",
    method="wpo",
    seeds=(42,),
    deviations=(
        *dpo_ol.STUDY.deviations,
        "region is planned; the report leaves the null control out, because its job failed",
    ),
)
