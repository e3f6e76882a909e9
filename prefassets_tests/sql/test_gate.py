"""What must hold before verdicts are read: measured, decided, and withheld or warned as the study declared."""

import pytest

from prefassets_tests.sql.small_study import frame


def gates(run_sql, controls=(), on_failure="warn", **given):
    """Gates of one study whose controls have these (estimate, adjusted p, p of equivalence); None is not measured."""
    roles = ["null control", *["placebo"] * len(controls)]
    splits = [
        {"study": "s", "split": f"control_{n}", "role": role}
        for n, (role, _) in enumerate(zip(roles, controls, strict=False))
    ]
    estimates = [
        {
            "study": "s",
            "split": split["split"],
            "quantity": "contrast",
            "metric": "pref_acc",
            "estimate": found[0],
            "p": found[1],
            "p_adjusted": found[1],
            "p_equivalence": found[2],
        }
        for split, found in zip(splits, controls, strict=True)
        if found
    ]
    asked = [
        {"study": "s", "gate": gate, "wanted_pp": wanted, "on_failure": on_failure}
        for gate, wanted in (("baseline_trained", 70.0), ("null_controls_hold", 5.0))
    ]
    rows = run_sql(
        "verdicts.gate",
        given
        | {
            "studies.gate": frame("studies.gate", asked),
            "studies.split": frame("studies.split", [*splits, {"study": "s", "split": "age", "role": "directional"}]),
            "verdicts.estimate": frame("verdicts.estimate", estimates),
        },
    )
    return {row["gate"]: row for row in rows.to_dicts()}


WITHIN, DIFFERS, WIDE = (1.0, 0.6, 0.01), (-8.0, 0.01, 0.9), (2.0, 0.6, 0.3)
SMALL = (1.5, 0.01, 0.01)  # surely there, surely small
FAR_BUT_WIDE = (9.0, 0.2, 0.8)
NO_INTERVAL = (3.0, None, None)


def counted(small, planned, differing, largest):
    return (
        f"{small} of {planned} null controls and placebos shown to differ by less than 5.0 points, {differing}; "
        f"largest difference {largest}"
    )


@pytest.mark.parametrize(
    ("controls", "state", "withholds", "explanation"),
    [
        ([], "not measured", True, "the study plans no null control or placebo"),
        ([None, None], "not measured", True, "no null control or placebo has an interval yet"),
        ([NO_INTERVAL], "not measured", True, "no null control or placebo has an interval yet"),
        (
            [WITHIN, SMALL],
            "passed",
            False,
            counted(2, 2, "0 to differ", "1.5 points (control_1)"),
        ),
        (
            [WITHIN, WITHIN, DIFFERS],
            "failed",
            True,
            counted(2, 3, "1 to differ (control_2)", "8.0 points (control_2)"),
        ),
        (
            [FAR_BUT_WIDE, DIFFERS],
            "failed",
            True,
            counted(0, 2, "1 to differ (control_1)", "9.0 points (control_0)"),  # the largest is not the one shown
        ),
        (
            [WITHIN, WIDE],
            "undecided",
            False,
            counted(1, 2, "0 to differ", "2.0 points (control_1)"),
        ),
        (
            [WITHIN, None],
            "undecided",
            False,
            counted(1, 2, "0 to differ, 1 without an interval yet", "1.0 points (control_0)"),
        ),
    ],
)
def test_null_controls_hold_when_all_are_shown_to_be_small(run_sql, controls, state, withholds, explanation):
    row = gates(run_sql, controls, "withhold")["null_controls_hold"]
    assert (row["state"], row["withholds"], row["explanation"]) == (state, withholds, explanation)
    assert not gates(run_sql, controls, "warn")["null_controls_hold"]["withholds"]


@pytest.mark.parametrize(
    ("tail", "seeds", "state", "explanation"),
    [
        (
            0.70,
            1,
            "passed",
            "the baseline prefers the chosen answer in 70.0 % of its last training pairs (1 seed); 70 % was wanted",
        ),
        (
            0.65,
            3,
            "failed",
            "the baseline prefers the chosen answer in 65.0 % of its last training pairs (3 seeds); 70 % was wanted",
        ),
        (None, 0, "not measured", "no baseline adapter is finished"),
    ],
)
def test_the_baseline_is_trained_when_its_tail_reaches_what_was_wanted(run_sql, tail, seeds, state, explanation):
    baseline = {"study": "s", "metric": "mean_pref_acc_tail", "mean_value": tail, "seeds_run": seeds}
    given = {"verdicts.baseline": frame("verdicts.baseline", [baseline])}
    row = gates(run_sql, on_failure="withhold", **given)["baseline_trained"]
    assert (row["state"], row["explanation"]) == (state, explanation)
    assert row["withholds"] == (state != "passed")
    assert not gates(run_sql, on_failure="warn", **given)["baseline_trained"]["withholds"]
