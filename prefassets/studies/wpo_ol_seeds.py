"""The `wpo_ol` study with seeds 456 and 789 added: next step of the 2026-02-27 report.

There, one seed had safety at 0.00 points, where three seeds of `wpo_w2` had said -2.34, and education at -5.47. A seed
more tells whether that repeats. The cells of seed 42 are those of `wpo_ol`, adopted and not trained again.
"""

from dataclasses import replace

from prefassets.studies import wpo_ol

STUDY = replace(
    wpo_ol.STUDY,
    name="wpo_ol_seeds",
    question="Do the differences that one seed of WPO showed on the ordered-logit splits repeat with two more?",
    seeds=(42, 456, 789),
)
