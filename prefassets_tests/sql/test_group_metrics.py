"""The 2026-02-23 report's per-split results, its group comparison and the later reports' baselines reproduce."""

import polars as pl
import pytest

from prefassets_tests.sql.reported import SEEDS, by, golden, judged
from prefassets_tests.sql.small_study import EVERYONE, A, B, tables

METRIC = {"N pairs": "train_pairs"}  # the report's name -> ours, where they differ
ROUNDED = 1.5e-4  # the report took A - B before it rounded A and B to four digits
CELL_METRICS = {"study": pl.String, "cohort": pl.String, "split": pl.String, "user_group": pl.String, "seed": pl.Int64}
CELL_METRICS |= {"recipe": pl.String, "metric": pl.String, "value": pl.Float64}


def logged(cohort, rows, seed=42, fold=0):
    """Log rows of a cell: step -> (loss, margin, pref_acc)."""
    split, _, group = cohort.rpartition(".")
    cell = {"study": "s", "cohort": cohort, "split": split or None, "user_group": group if split else None}
    cell |= {"seed": seed, "fold": fold, "fingerprint": "f"}
    return [
        cell | {"step": step, "loss": loss, "margin": margin, "pref_acc": accuracy}
        for step, (loss, margin, accuracy) in rows.items()
    ]


# 100 steps, logged every 10: the tail is steps 90 and 100. Step 95 is stored but was not logged.
LOG_A = logged(
    "age.A", {10: (9, 0, 0.5), 20: (9, 0, 0.6), 80: (9, 9, 0), 90: (0.6, 1, 1.0), 95: (9, 9, 0), 100: (0.4, 2, 0.5)}
)
LOG_B = logged("age.B", {10: (9, 0, 0.5), 20: (9, 0, 0.0), 90: (0.5, 0, 0.5), 95: (9, 9, 1), 100: (0.7, 4, 0.5)})
LOG_EVERYONE = logged("everyone", {10: (9, 0, 1.0), 90: (0.1, 0, 0.75), 100: (0.3, 1, 0.25)})


def test_every_printed_difference_follows_from_its_two_values(run_sql):
    printed = golden("group_metrics")
    assert len(printed) == 42
    cells = pl.DataFrame(
        [
            {
                "study": "dpo_v1",
                "split": row["split"],
                "user_group": group,
                "seed": 42,
                "recipe": "r",
                "metric": METRIC.get(row["metric"], row["metric"]),
                "value": float(row[f"value_{group.lower()}"]) / (100 if "pref_acc" in row["metric"] else 1),
            }
            for row in printed
            for group in "AB"
        ]
    )
    found = by(run_sql("verdicts.group_metrics", {"verdicts.cell_metrics": cells}), "split", "metric")
    assert len(found) == 42
    for row in printed:
        ours = found[row["split"], METRIC.get(row["metric"], row["metric"])]
        if row["difference"]:
            difference = ours["difference_pp"] if "pref_acc" in row["metric"] else ours["difference"]
            assert difference == pytest.approx(float(row["difference"]), abs=ROUNDED)


def test_metrics_of_a_cell_are_those_of_its_logged_batches_and_its_held_out_pairs(run_sql):
    given = tables(A + B + EVERYONE, LOG_A + LOG_B + LOG_EVERYONE)
    given["training.cells"] = given["training.cells"].with_columns(train_pairs=pl.lit(700, pl.Int64))
    found = by(run_sql("verdicts.group_metrics", given), "metric")
    assert {metric: (row["value_a"], row["value_b"]) for metric, row in found.items()} == {
        "train_pairs": (700, 700),
        "final_loss": (0.4, 0.7),
        "final_margin": (2, 4),
        "final_pref_acc": (0.5, 0.5),
        "mean_loss_tail": (0.5, 0.6),
        "mean_margin_tail": (1.5, 2),
        "mean_pref_acc_tail": (0.75, 0.5),
        "steps_to_60pct": (20, None),
        "held_out_margin": (0.5, 0.0),
        "held_out_pref_acc": (0.75, 0.5),
    }
    assert found["steps_to_60pct"]["difference"] is None
    assert found["steps_to_60pct"]["why_empty"] == "B never reached 60 % in a logged batch"
    assert {row["why_empty"] for metric, row in found.items() if metric != "steps_to_60pct"} == {None}


def test_metrics_and_contrast_read_the_same_numbers_off_the_same_batches(run_sql):
    given = tables(A + B, LOG_A + LOG_B)
    metrics = by(run_sql("verdicts.group_metrics", given), "metric")
    contrast = by(run_sql("verdicts.contrast", given), "readout", "metric")
    for metric, key in {
        "mean_pref_acc_tail": ("tail", "pref_acc"),
        "mean_margin_tail": ("tail", "margin"),
        "held_out_pref_acc": ("held_out", "pref_acc"),
        "held_out_margin": ("held_out", "margin"),
    }.items():
        assert metrics[metric]["difference"] == contrast[key]["difference"]


def test_folds_of_a_seed_are_averaged_and_an_unreached_fold_has_no_number_of_steps(run_sql):
    second = logged("age.A", {100: (0.6, 0, 0.0)}, fold=1)
    rows = run_sql("verdicts.cell_metrics", tables([], LOG_A + second, folds=(0, 1)))
    found = by(rows, "metric")
    assert found["final_loss"]["value"] == 0.5
    assert found["steps_to_60pct"]["value"] is None


def test_group_comparison_prints_the_notes_and_results_of_the_report(run_sql):
    printed = {  # lines 72-77 and 83-88 of the report: pref_acc A and B in percent, note, expected, result
        "S1_age": (50, 70, "LARGE", "A > B", "MISMATCH"),
        "S2_personalisation": (60, 50, "notable", "A > B", "MATCH"),
        "S3_safety": (45, 40, "mild", "A < B", "MISMATCH"),
        "S4_familiarity": (70, 60, "notable", "exploratory", "exploratory"),
        "S5_behavioral": (35, 55, "LARGE", "A > B", "MISMATCH"),
        "S6_region": (55, 45, "null control FAILED", "A = B", "UNEXPECTED"),
    }
    given = judged({"dpo_v1": {split: (row[3], [0.0]) for split, row in printed.items()}}, seeds=(42,))
    shares = pl.DataFrame([(split, row[0] / 100, row[1] / 100) for split, row in printed.items()], orient="row")
    given["verdicts.contrast"] = (
        given["verdicts.contrast"]
        .drop("value_a", "value_b", "difference_pp")
        .join(shares.rename({"column_0": "split", "column_1": "value_a", "column_2": "value_b"}), on="split")
        .with_columns(difference_pp=100 * (pl.col("value_a") - pl.col("value_b")))
    )
    found = by(run_sql("verdicts.group_comparison", given), "split")
    correspondence = by(run_sql("verdicts.reported_rule", given), "split")
    for split, (percent_a, percent_b, note, _, result) in printed.items():
        assert found[split]["difference_pp"] == pytest.approx(percent_a - percent_b)
        assert found[split]["size_note"] == note
        assert found[split]["seed_label"] == correspondence[split]["reported_rule"] == result
        assert correspondence[split]["direction"] == ("A > B" if percent_a > percent_b else "A < B")


@pytest.mark.parametrize(
    ("share_a", "note", "label"),
    [(0.55, "mild", "MATCH"), (0.56, "notable", "MATCH"), (0.52, None, "MATCH"), (0.519, None, "WEAK"),
     (0.5, None, "MISMATCH"), (0.47, "mild", "MISMATCH"), (0.6, "notable", "MATCH"), (0.61, "LARGE", "MATCH")],
)  # fmt: skip
def test_a_size_on_the_edge_is_on_the_side_that_the_report_says(run_sql, share_a, note, label):
    given = judged({"s": {"age": ("A > B", [100 * (share_a - 0.5)])}}, seeds=(42,))  # .55 - .5 is 5.000000000000004
    (row,) = run_sql("verdicts.group_comparison", given).to_dicts()
    assert (row["size_note"], row["seed_label"]) == (note, label)


@pytest.mark.parametrize("expected", ["A > B", "A < B", "A = B", "exploratory"])
@pytest.mark.parametrize("points", [-7.5, -1.5, 0.0, 1.5, 7.5])
def test_the_label_of_one_seed_is_the_reported_rule_of_a_study_of_one_seed(run_sql, expected, points):
    given = judged({"s": {"age": (expected, [points])}}, seeds=(42,))
    (one,) = run_sql("verdicts.group_comparison", given)["seed_label"]
    (all_of_them,) = run_sql("verdicts.reported_rule", given)["reported_rule"]
    assert one == all_of_them


@pytest.mark.parametrize(
    ("percent", "printed"),
    [  # lines 73 and 97 of the 2026-02-24 report
        ((58.59, 55.47, 53.91, 52.34, 52.34), "54.53 % ± 2.34 %"),
        ((56.25, 55.47, 53.91, 50.00, 51.56), "53.44 % ± 2.35 %"),
    ],
)
def test_baselines_print_as_the_reports_printed_them(run_sql, percent, printed):
    exact = [round(share * 1.28) / 128 for share in percent]  # each printed baseline is a count of 128
    cells = pl.DataFrame(
        [("s", "everyone", None, None, seed, "r", "mean_pref_acc_tail", share)
         for seed, share in zip(SEEDS, exact, strict=True)],
        CELL_METRICS,
        orient="row",
    )  # fmt: skip
    (row,) = run_sql("verdicts.baseline", judged({"s": {}}) | {"verdicts.cell_metrics": cells}).to_dicts()
    assert row["as_reported"] == printed
    assert [found["seed"] for found in row["per_seed"]] == list(SEEDS)
    (row,) = run_sql("verdicts.baseline", judged({"s": {}}) | {"verdicts.cell_metrics": cells[1:2]}).to_dicts()
    assert row["as_reported"] == f"{100 * exact[1]:.2f} %"
    assert (row["sd_value"], row["seeds_run"], row["seeds_planned"]) == (None, 1, 5)
    assert row["per_seed"][0] == {"seed": 42, "value": None}
