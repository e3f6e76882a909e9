"""Contrasts measured anywhere are judged by the reports' rule, without a home; a bad file is told where."""

import pytest

from prefassets.domain.prism.released import BadInput
from prefassets.resources.contrasts import judge_contrasts

HEADER = "study,split,seed,difference_pp,expected\n"
REPORT = {  # per-seed table of the 2026-02-24 report, v2
    "age": ("A > B", (3.12, -3.12, 0.00, 3.12, 3.12), "LEAN"),
    "personalisation": ("A > B", (-0.78, -2.34, 1.56, 0.00, -3.12), "MISMATCH"),
    "safety": ("A < B", (3.12, 9.38, -4.69, 1.56, 1.56), "MISMATCH"),
    "familiarity": ("exploratory", (5.47, 10.16, 0.78, 3.91, 5.47), "exploratory"),
    "region": ("A = B", (2.34, -2.34, 0.78, -0.78, -8.59), "OK"),
}


def test_the_report_s_own_table_comes_back(tmp_path):
    lines = [
        f"v2,{split},{seed},{points},{expected}"
        for split, (expected, values, _) in REPORT.items()
        for seed, points in zip((42, 123, 456, 789, 999), values, strict=True)
    ]
    file = tmp_path / "contrasts.csv"
    file.write_text(HEADER + "\n".join(lines))
    rows = judge_contrasts(file)
    assert dict(rows.select("split", "reported_rule").rows()) == {split: rule for split, (_, _, rule) in REPORT.items()}
    assert rows["split"].to_list() == list(REPORT)
    assert rows.row(0, named=True)["mean_difference_pp"] == pytest.approx(1.25, abs=0.005)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1: column 'study' is missing"),
        ("study,split,seed,expected\n", "line 1: column 'difference_pp' is missing"),
        (HEADER, "has a header but no rows"),
        (HEADER + "v2,age,42,1.0,A > B\nv2,age,x,1.0,A > B", "line 3, column seed: 'x'"),
        (HEADER + "v2,age,42,much,A > B", "line 2, column difference_pp: 'much'"),
        (HEADER + "v2,age,42,1.0,A >= B", "line 2, column expected: 'A >= B'"),
        (
            HEADER + "v2,age,42,1.0,A > B\nv2,age,42,2.0,A > B",
            "line 3, column seed: age of v2 has seed 42 on line 2 too",
        ),
        (
            HEADER + "v2,age,42,1.0,A > B\nv2,age,43,2.0,A < B",
            "line 3, column expected: 'A < B', but age of v2 expects",
        ),
        (HEADER + "v2,age,42,nan,A > B", "line 2, column difference_pp"),
    ],
)
def test_a_bad_file_is_told_its_line_and_column(tmp_path, text, complaint):
    file = tmp_path / "contrasts.csv"
    file.write_text(text)
    with pytest.raises(BadInput, match=complaint):
        judge_contrasts(file)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere\.csv does not exist"):
        judge_contrasts(tmp_path / "nowhere.csv")
