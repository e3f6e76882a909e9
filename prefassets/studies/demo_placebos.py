"""The demo's strength splits and null control beside eight placebos, groups matched: what calibration trains in full.

Small enough for two cores (23 cohorts x 2 seeds), it shows on real adapters how often a verdict finds what was planted
and how far apart the adapters of random halves land: `make calibration`.
"""

from dataclasses import replace

from prefassets.domain.prism.splits import SPLITS
from prefassets.studies import demo
from prefassets.studies.study import Expected, Gate, Gates, Matching, OnFailure

STUDY = replace(
    demo.STUDY,
    name="demo_placebos",
    variant_of="demo",
    question="Are the planted differences found, and nothing between random halves, when groups are matched?",
    expected={
        "personalisation": Expected.A_HIGHER,  # planted
        "safety": Expected.B_HIGHER,  # planted
        "region": Expected.EQUAL,  # nothing planted: the null control
        **{name: Expected.EQUAL for name, split in SPLITS.items() if split.placebo},
    },
    seeds=(42, 123),
    matching=Matching.PAIRS,
    gates=Gates(null_controls_hold=Gate(OnFailure.WITHHOLD)),
)
