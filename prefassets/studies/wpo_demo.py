"""The demo by weighted preference optimisation, seed for seed: what the weights change where the truth is planted."""

from dataclasses import replace

from prefassets.studies import demo

STUDY = replace(
    demo.STUDY,
    name="wpo_demo",
    variant_of="demo",
    question="Does weighting pairs by how likely the policy is to write them change what the tiny model finds?",
    method="wpo",
)
