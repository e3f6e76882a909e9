"""DPO on the eight splits that the ordered logit found; five seeds ("v3", report of 2026-02-24)."""

from dataclasses import replace

from prefassets.studies import dpo_w2
from prefassets.studies.study import Expected

STUDY = replace(
    dpo_w2.STUDY,
    name="dpo_ol",
    question="Which of the eight ordered-logit splits shows a group difference that survives five seeds?",
    expected={
        "age": Expected.A_HIGHER,
        "education": Expected.A_HIGHER,
        "personalisation": Expected.A_HIGHER,
        "safety": Expected.B_HIGHER,
        "factuality": Expected.B_HIGHER,
        "helpfulness": Expected.B_HIGHER,
        "diversity": Expected.A_HIGHER,
        "region": Expected.EQUAL,  # the null control
    },
)
