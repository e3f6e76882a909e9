"""One seed against all seeds: what the 2026-02-24 report says changed, the SQL says changed."""

import pytest

from prefassets_tests.sql.reported import by, differences, judged

REPORTED = {  # lines 169-172: the single run's difference and label, the mean over five seeds, what changed
    "S2_personalisation": (7.81, "MATCH", -0.94, "MISMATCH", "direction reversed"),
    "S3_safety": (-4.69, "MATCH", 2.19, "MISMATCH", "direction reversed"),
    "S4_familiarity": (2.34, "exploratory", 5.16, "exploratory", "stronger"),
    "S6_region": (-2.34, "OK", -1.72, "OK", "stable"),
}


def test_what_the_report_says_changed(run_sql):
    five = differences("001", "v2", "dpo")
    # The single run is another than the five seeds' own seed 42 (the report calls both so), hence two contrast tables.
    rule = run_sql("verdicts.reported_rule", judged({"v2": five}))
    single = judged({"v2": {split: (five[split][0], [row[0]]) for split, row in REPORTED.items()}})
    found = by(run_sql("verdicts.single_against_multi", single | {"verdicts.reported_rule": rule}), "split")
    for split, (points, label, mean, multi_label, change) in REPORTED.items():
        row = found[split]
        assert (row["first_seed"], row["single_difference_pp"], row["single_label"]) == (42, points, label)
        assert row["mean_difference_pp"] == pytest.approx(mean, abs=0.005)
        assert (row["label"], row["change"]) == (multi_label, change)
    assert found["S1_age"]["change"] == "first seed missing"


@pytest.mark.parametrize(
    ("points", "change"),
    [
        ([None, 3.0, 3.0], "first seed missing"),
        ([3.0], "no other seed"),
        ([3.0, -1.0, -5.0], "direction reversed"),
        ([9.0, 5.0, 1.0], "weaker"),
        ([0.0, 1.0, 2.0], "stable"),  # from exactly nothing to one point: no side was left
        ([-1.0, -5.0, -3.0], "stronger"),
    ],
)
def test_every_change_has_its_name(run_sql, points, change):
    (row,) = run_sql("verdicts.single_against_multi", judged({"s": {"age": ("A > B", points)}})).to_dicts()
    assert row["change"] == change
