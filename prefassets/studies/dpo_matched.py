"""DPO on all ten splits beside eight placebos, groups matched, every pair held out once: the study to trust.

Matching: A and B of a split learn from equally many pairs and see each equally often, so that neither adapter remembers
more. Five folds: every user is unseen once, so a group is judged on all its pairs (about 9,000) instead of a fifth of
them. Eight placebos: one null control can be lucky; eight random halves show how far apart the adapters of two groups
land when nothing divides them but chance, and give that spread to about a quarter of itself (1 / sqrt(2 x 7)). Three
seeds: enough to see how much of a difference is initialisation and data order; what limits a verdict is users, and more
of those come from the folds. Together 37 cohorts x 15 = 555 cells.
"""

from dataclasses import replace

from prefassets.domain.prism.splits import SPLITS
from prefassets.studies import dpo_w2
from prefassets.studies.study import Expected, Gate, Gates, Matching, OnFailure

STUDY = replace(
    dpo_w2.STUDY,
    name="dpo_matched",
    variant_of="dpo_w2",
    question="Which of the ten splits shows a group difference beyond that of random halves, exposure being equal?",
    expected={
        "age": Expected.A_HIGHER,
        "education": Expected.A_HIGHER,
        "personalisation": Expected.A_HIGHER,
        "safety": Expected.B_HIGHER,
        "factuality": Expected.B_HIGHER,
        "helpfulness": Expected.B_HIGHER,
        "diversity": Expected.A_HIGHER,
        "familiarity": Expected.EXPLORATORY,
        "behavioral": Expected.EXPLORATORY,
        "region": Expected.EQUAL,  # the null control
        **{name: Expected.EQUAL for name, split in SPLITS.items() if split.placebo},
    },
    seeds=(42, 123, 456),
    folds=(0, 1, 2, 3, 4),
    matching=Matching.PAIRS,
    gates=Gates(null_controls_hold=Gate(OnFailure.WITHHOLD)),
    deviations=(
        *dpo_w2.STUDY.deviations[:2],
        "the larger group of a split learns from as many pairs as the smaller, chosen by hash",
        "five adapters per cohort and seed, each trained on four folds of users and judged on the fifth",
    ),
)
