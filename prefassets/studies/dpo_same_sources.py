"""DPO on the ordered-logit splits, A's and B's pairs from the same source models in the same numbers.

Next step of the 2026-02-27 report. It found that a pair's weight goes with the model that wrote its answers, and called
that an open confound: if A's pairs come from other models than B's, their adapters may differ by whose answers they
read. Here the groups of a split learn from equally many pairs of each source model, and are judged on equally many.

Five folds, where `dpo_ol` has one: a fifth of the users is too few to find 5 points, whatever the seeds. Three seeds,
those of `wpo_w2`, so that WPO and DPO can be compared seed for seed. The users of A and of B still differ in all else,
so a difference that stays is not one of source models; one that goes may have gone with the pairs that are left out.
"""

from dataclasses import replace

from prefassets.studies import dpo_ol
from prefassets.studies.study import Matching

STUDY = replace(
    dpo_ol.STUDY,
    name="dpo_same_sources",
    variant_of="dpo_ol",
    question="Which ordered-logit splits show a group difference when A's and B's pairs are of the same source models?",
    seeds=(42, 456, 789),
    folds=(0, 1, 2, 3, 4),
    matching=Matching.SOURCES,
    deviations=(
        *dpo_ol.STUDY.deviations[:2],
        "of each source model, the group with more pairs learns from as many as the other has, chosen by hash",
        "held-out pairs are matched likewise within their fold; beside a split, the baseline is judged on these",
        "five adapters per cohort and seed, each trained on four folds of users and judged on the fifth",
    ),
)
