"""The `dpo_same_sources` study by WPO, seed for seed and fold for fold: a next step of the 2026-02-27 report.

A variant of `dpo_same_sources` and not of `wpo_ol`, so that `verdicts.method_change` compares two methods on the same
pairs: what changes between them is then neither who wrote the pairs nor which pairs they are.
"""

from dataclasses import replace

from prefassets.studies import dpo_same_sources

STUDY = replace(
    dpo_same_sources.STUDY,
    name="wpo_same_sources",
    variant_of="dpo_same_sources",
    question="With source models alike in A and B, do weights bring education and factuality to agree with the logit?",
    method="wpo",
)
