"""Confirmation of what the 2026-02-24 report found without having expected it: familiarity and behavioral.

There, familiarity differed by +5.16 points and behavioral by -3.44, each on the same side in 5 of 5 seeds; both were
exploratory, so the numbers chose the claim. Here the claim is fixed first, seeds are fresh, and the users of folds 1 to
4 are judged unseen; `dpo_w2` judges fold 0. Fresh users they are not: PRISM has no others, and the report's numbers are
of adapters on the pairs that they were training on, these users' among them. So this asks whether the differences were
of seeds, of memorised pairs or of unequal exposure. Whether they were of these 1,400 people, only others can tell.

Groups are matched: there, the smaller familiarity group saw its pairs 3.2 times and the larger 1.2 times. `behavioral`
divides users by the mean score gap of the very pairs that they are judged on: even confirmed, it says that clear-cut
pairs are easier or harder to learn, not what its users want.
"""

from dataclasses import replace

from prefassets.studies import dpo_w2
from prefassets.studies.study import Expected, Matching

STUDY = replace(
    dpo_w2.STUDY,
    name="dpo_confirm",
    variant_of="dpo_w2",
    question="Do the two differences that the report came upon show again on fresh seeds and unseen pairs?",
    expected={
        "familiarity": Expected.A_HIGHER,
        "behavioral": Expected.B_HIGHER,
        "region": Expected.EQUAL,  # the null control
    },
    seeds=(1001, 1002, 1003, 1004, 1005),
    folds=(1, 2, 3, 4),
    matching=Matching.PAIRS,
    deviations=(
        *dpo_w2.STUDY.deviations[:2],
        "the larger group of a split learns from as many pairs as the smaller, chosen by hash",
        "four adapters per cohort and seed, each judged on one of the folds 1 to 4; fold 0 was judged in dpo_w2",
    ),
)
