"""WPO on the six splits that the W2 binary logit found; seeds 42, 456 and 789 ("v5", 2026-02-26).

Known from what the report of 2026-02-27 quotes of it: age +3.39 points (LEAN), personalisation +2.34 (MATCH), safety
-2.34 (MATCH). That report counts two of four testable splits as FIXED; three have a direction here, as in `dpo_w2`.
"""

from dataclasses import replace

from prefassets.studies import dpo_w2

STUDY = replace(
    dpo_w2.STUDY,
    name="wpo_w2",
    variant_of="dpo_w2",
    question="Do the group differences of the six W2 splits agree with the logit once off-policy pairs weigh less?",
    method="wpo",
    seeds=(42, 456, 789),
)
