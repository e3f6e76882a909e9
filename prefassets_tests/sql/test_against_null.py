"""How large each split's difference is beside those of the splits where nothing should differ."""

import pytest

from prefassets_tests.sql.reported import by, differences, judged


def test_on_the_reports_numbers_familiarity_is_largest_but_not_alone_beyond_the_null_control(run_sql):
    found = by(run_sql("verdicts.against_null", judged({"v2": differences("001", "v2", "dpo")})), "split")
    assert "S6_region" not in found
    assert {row["null_control_pp"] for row in found.values()} == {1.71875}
    assert {split: round(row["ratio"], 2) for split, row in found.items()} == {
        "S1_age": 0.73,  # 1.25 / 1.71875
        "S2_personalisation": 0.55,
        "S3_safety": 1.27,
        "S4_familiarity": 3.0,
        "S5_behavioral": 2.0,  # the report says only familiarity exceeds the null control
    }
    assert {split for split, row in found.items() if row["exceeds_null_control"]} == {
        "S3_safety",
        "S4_familiarity",
        "S5_behavioral",
    }


def test_placebos_widen_what_nothing_looks_like(run_sql):
    splits = {"age": ("A > B", [3.0]), "region": ("A = B", [1.0]), "p1": ("A = B", [-3.0]), "p2": ("A = B", [2.0])}
    (row,) = run_sql("verdicts.against_null", judged({"s": splits}, placebos=("p1", "p2"))).to_dicts()
    assert (row["split"], row["null_control_pp"], row["ratio"], row["exceeds_null_control"]) == ("age", 1.0, 3.0, True)
    assert (row["nulls"], row["nulls_as_large"]) == (3, 1)
    assert row["nulls_rms_pp"] == pytest.approx(((1 + 9 + 4) / 3) ** 0.5)


@pytest.mark.parametrize(
    ("nulls", "why", "count"),
    [
        ({}, "no null control is in", 0),
        ({"region": ("A = B", [0.0])}, "the null control differs by exactly 0", 1),
        ({"p1": ("A = B", [2.0])}, "no null control is in", 1),
    ],
)
def test_without_a_null_control_there_is_no_ratio_and_it_says_why(run_sql, nulls, why, count):
    given = judged({"s": {"age": ("A > B", [3.0]), **nulls}}, placebos=("p1",))
    (row,) = run_sql("verdicts.against_null", given).to_dicts()
    assert (row["ratio"], row["why_empty"], row["nulls"]) == (None, why, count)
