"""Every branch of a verdict's state, finding, sentence and cautions, on estimates written by hand."""

import pytest

from prefassets_tests.sql.small_study import frame

EXPECTED = {
    "directional": ("A > B", 1),
    "null control": ("A = B", 0),
    "placebo": ("A = B", 0),
    "exploratory": ("exploratory", None),
}
QUANTITIES = ("contrast", "interaction", "advantage_on_a", "advantage_on_b")


def estimate(quantity, points, p_adjusted, **columns):
    """An estimate of the split; what a test does not name is unremarkable."""
    return {
        "study": "s",
        "split": "age",
        "quantity": quantity,
        "metric": "pref_acc",
        "estimate": points,
        "lower": points - 2.0,
        "upper": points + 2.0,
        "p": p_adjusted / 2,
        "p_adjusted": p_adjusted,
        "adjustment": "Holm over 2 directional splits",
        "p_equivalence": 0.5,
        "minimum_detectable": 4.0,
        "training_sd": 1.0,
        "note": "",
        "digest": "now",
    } | columns


def verdict(
    run_sql,
    contrast,
    interaction=(0.5, 0.8),
    at_home=((0.2, 0.9), (0.3, 0.9)),
    role="directional",
    expected=None,
    seeds=3,
    digest="now",
    gates=(),
    exposure=1.0,
):
    """The verdict on one split, given its estimates (points, adjusted p): contrast, interaction, both advantages."""
    said, sign = expected or EXPECTED[role]
    rows = [contrast] if isinstance(contrast, dict) else [estimate("contrast", *contrast)] if contrast else []
    if interaction:
        rows.append(estimate("interaction", *interaction))
        rows += [
            estimate(quantity, *value)
            for quantity, value in zip(("advantage_on_a", "advantage_on_b"), at_home, strict=True)
        ]
    key = {"study": "s", "split": "age"}
    per_seed = [key | {"seed": seed, "readout": "held_out", "metric": "pref_acc"} for seed in range(seeds)]
    planned = {"role": role, "expected": said, "expected_sign": sign, "null_tolerance_pp": 5.0, "seeds_planned": 3}
    rules = [
        key | {"readout": "held_out", "reported_rule": "MATCH"},
        key | {"readout": "tail", "reported_rule": "LEAN"},
    ]
    tables = {
        "verdicts.estimate": frame("verdicts.estimate", rows),
        "verdicts.contrast": frame("verdicts.contrast", per_seed),
        "verdicts.basis": frame("verdicts.basis", [key | {"digest": digest}] if seeds else []),
        "verdicts.gate": frame("verdicts.gate", [{"study": "s"} | gate for gate in gates]),
        "verdicts.reported_rule": frame("verdicts.reported_rule", rules),
        "splits.exposure": frame("splits.exposure", [key | {"exposure_ratio": exposure}]),
        "studies.split": frame("studies.split", [key | planned]),
    }
    (row,) = run_sql("verdicts.verdict", tables).to_dicts()
    assert "nan" not in (row["sentence"] or "") + (row["cautions"] or "")
    return row


BETTER_AT_HOME = {"interaction": (20.0, 0.001), "at_home": ((9.0, 0.01), (11.0, 0.02))}
STRENGTH = "Strength: one group is more consistent or easier to learn; the adapters are"
MEASURED = "A - B = +6.0 points [+4.0, +8.0], Holm p = 0.01"


# ---- state


@pytest.mark.parametrize(
    ("role", "expected", "points", "p", "p_equivalence", "state"),
    [
        ("directional", ("A > B", 1), 6.0, 0.01, 0.9, "CONFIRMED"),
        ("directional", ("A < B", -1), -6.0, 0.01, 0.9, "CONFIRMED"),
        ("directional", ("A > B", 1), -6.0, 0.01, 0.9, "CONTRADICTED"),
        ("directional", ("A < B", -1), 6.0, 0.01, 0.9, "CONTRADICTED"),
        ("directional", ("A > B", 1), 6.0, 0.05, 0.9, "INCONCLUSIVE"),  # below .05 was asked
        ("directional", ("A > B", 1), 1.0, 0.4, 0.01, "EQUIVALENT"),
        ("directional", ("A > B", 1), 2.0, 0.01, 0.01, "CONFIRMED"),  # small, but there
        ("null control", None, 1.0, 0.4, 0.01, "EQUIVALENT"),
        ("null control", None, 2.0, 0.01, 0.01, "EQUIVALENT"),  # there, but within what counts as none
        ("null control", None, 6.0, 0.01, 0.9, "CONTRADICTED"),
        ("null control", None, 6.0, 0.4, 0.9, "INCONCLUSIVE"),
        ("placebo", None, 1.0, 0.4, 0.01, "EQUIVALENT"),
        ("placebo", None, -6.0, 0.01, 0.9, "CONTRADICTED"),
        ("placebo", None, 6.0, 0.4, 0.9, "INCONCLUSIVE"),
        ("exploratory", None, 6.0, 0.01, 0.9, "INCONCLUSIVE"),  # nothing was foreseen that could be confirmed
        ("exploratory", None, 1.0, 0.4, 0.01, "EQUIVALENT"),
        ("exploratory", None, 2.0, 0.01, 0.01, "INCONCLUSIVE"),
        ("exploratory", None, 6.0, 0.4, 0.9, "INCONCLUSIVE"),
    ],
)
def test_state_follows_role_direction_and_both_tests(run_sql, role, expected, points, p, p_equivalence, state):
    contrast = estimate("contrast", points, p, p_equivalence=p_equivalence)
    assert verdict(run_sql, contrast, role=role, expected=expected)["state"] == state


# ---- finding


@pytest.mark.parametrize(
    ("contrast", "others", "finding"),
    [
        ((6.0, 0.01), {}, "strength"),
        ((6.0, 0.01), {"interaction": (9.0, 0.001)}, "strength"),  # a better-taught adapter interacts as well
        ((1.0, 0.40), BETTER_AT_HOME, "direction"),
        ((6.0, 0.01), BETTER_AT_HOME, "both"),
        ((1.0, 0.40), {}, "none shown"),
        ((1.0, 0.40), {"interaction": (9.0, 0.001)}, "none shown"),
        ((1.0, 0.40), {"at_home": ((9.0, 0.01), (11.0, 0.05))}, "none shown"),  # one adapter at home is not enough
        ((1.0, 0.40), {"at_home": ((-9.0, 0.01), (-11.0, 0.01))}, "none shown"),  # both worse at home
    ],
)
def test_direction_asks_both_adapters_to_be_better_at_home(run_sql, contrast, others, finding):
    assert verdict(run_sql, contrast, **others)["finding"] == finding


# ---- sentence


@pytest.mark.parametrize(
    ("contrast", "others", "sentence"),
    [
        (
            (6.0, 0.01),
            {},
            f"As expected: {MEASURED}; A > B was expected. {STRENGTH} "
            "interchangeable as far as can be told (interaction +0.5 points [-1.5, +2.5]).",
        ),
        (
            (6.0, 0.01),
            {"expected": ("A < B", -1), "interaction": (9.0, 0.001)},
            f"The other way: {MEASURED}; A < B was expected. {STRENGTH} "
            "not interchangeable, but not each is shown to be better at home "
            "(interaction +9.0 points [+7.0, +11.0]).",
        ),
        (
            (6.0, 0.01),
            BETTER_AT_HOME,
            f"As expected: {MEASURED}; A > B was expected. Direction: A and B want different things, each adapter is "
            "better at home (interaction +20.0 points [+18.0, +22.0]).",
        ),
        (
            (6.0, 0.01),
            {"role": "exploratory"},
            f"Found, not foreseen: {MEASURED}; to confirm it, fix the direction and use fresh seeds and folds. "
            f"{STRENGTH} interchangeable as far as can be told (interaction +0.5 points [-1.5, +2.5]).",
        ),
        (
            (1.0, 0.40),
            {},
            "Cannot tell which group is higher: A - B = +1.0 points [-1.0, +3.0], Holm p = 0.4; 4.0 points would "
            "be found in 80 % of repetitions. No difference in what they want shows either "
            "(interaction +0.5 points [-1.5, +2.5]).",
        ),
        (
            (1.0, 0.40),
            {"interaction": (9.0, 0.001)},
            "Cannot tell which group is higher: A - B = +1.0 points [-1.0, +3.0], Holm p = 0.4; 4.0 points would "
            "be found in 80 % of repetitions. The adapters are not interchangeable, but not each is shown to be better "
            "at home (interaction +9.0 points [+7.0, +11.0]).",
        ),
        (
            estimate("contrast", 1.0, 0.40, p_equivalence=0.012),
            {},
            "Any difference is below 5.0 points: A - B = +1.0 points [-1.0, +3.0], equivalence p = 0.012. "
            "No difference in what they want shows either (interaction +0.5 points [-1.5, +2.5]).",
        ),
        (
            estimate("contrast", 2.0, 0.01, p_equivalence=0.012),
            {"role": "null control"},
            "Any difference is below 5.0 points: A - B = +2.0 points [+0.0, +4.0], equivalence p = 0.012. "
            "There is one, though, within the tolerance (interaction +0.5 points [-1.5, +2.5]).",
        ),
        (
            (6.0, 0.01),
            {"role": "placebo"},
            f"A control differs, where nothing should: {MEASURED}. Groups that were taken to be alike are not, or the "
            "interval leaves out a source of spread (interaction +0.5 points [-1.5, +2.5]).",
        ),
        ((6.0, 0.01), {"interaction": None}, f"As expected: {MEASURED}; A > B was expected."),
    ],
)
def test_sentence_says_what_was_shown_and_no_more(run_sql, contrast, others, sentence):
    assert verdict(run_sql, contrast, **others)["sentence"] == sentence


# ---- what keeps a verdict from being told


WITHHELD = {"gate": "null_controls_hold", "state": "failed", "withholds": True, "explanation": "a control differs"}


@pytest.mark.parametrize(
    ("contrast", "others", "sentence"),
    [
        (None, {"interaction": None, "seeds": 0}, "No seed has both groups finished."),
        ((6.0, 0.01), {"seeds": 0}, "No seed has both groups finished."),  # cells were deleted since
        (
            (6.0, 0.01),
            {"digest": "since"},
            "The estimate is not of the cells and the plan that now count; materialise verdicts/estimate.",
        ),
        (
            None,
            {"interaction": None},
            "The estimate is not of the cells and the plan that now count; materialise verdicts/estimate.",
        ),
        ((6.0, 0.01), {"seeds": 1}, "Only one seed: no other shows whether it repeats."),
        (
            estimate("contrast", 6.0, 0.01)
            | dict.fromkeys(("lower", "upper", "p", "p_adjusted", "p_equivalence", "minimum_detectable"))
            | {"note": "group B has one scored user, so the spread between its users is unknown"},
            {},
            "Group B has one scored user, so the spread between its users is unknown.",
        ),
        ((6.0, 0.01), {"gates": [WITHHELD]}, "Withheld: a control differs."),
    ],
)
def test_an_obstacle_is_named_instead_of_a_finding(run_sql, contrast, others, sentence):
    row = verdict(run_sql, contrast, **others)
    assert (row["state"], row["finding"], row["sentence"]) == ("INCONCLUSIVE", None, sentence)


def test_withheld_verdicts_keep_their_numbers(run_sql):
    row = verdict(run_sql, (6.0, 0.01), gates=[WITHHELD])
    assert (row["estimate_pp"], row["lower_pp"], row["upper_pp"], row["interaction_pp"]) == (6.0, 4.0, 8.0, 0.5)
    assert row["gate_warnings"] is None


@pytest.mark.parametrize("role", ["null control", "placebo"])
def test_the_control_that_fails_the_gate_is_not_hidden_by_it(run_sql, role):
    assert verdict(run_sql, (6.0, 0.01), role=role, gates=[WITHHELD])["state"] == "CONTRADICTED"
    untrained = {"gate": "baseline_trained", "state": "failed", "withholds": True, "explanation": "baseline at 60 %"}
    row = verdict(run_sql, (6.0, 0.01), role=role, gates=[WITHHELD, untrained])
    assert (row["state"], row["sentence"]) == ("INCONCLUSIVE", "Withheld: baseline at 60 %.")


def test_a_gate_that_only_warns_leaves_the_verdict_and_is_quoted(run_sql):
    gates = [
        {"gate": "baseline_trained", "state": "failed", "withholds": False, "explanation": "baseline at 60 %"},
        {"gate": "null_controls_hold", "state": "undecided", "withholds": False, "explanation": "too wide"},
        {"gate": "other", "state": "passed", "withholds": False, "explanation": "fine"},
    ]
    row = verdict(run_sql, (6.0, 0.01), gates=gates)
    assert (row["state"], row["gate_warnings"]) == ("CONFIRMED", "baseline at 60 %; too wide")


# ---- cautions


@pytest.mark.parametrize(
    ("contrast", "others", "cautions"),
    [
        ((6.0, 0.01), {}, ""),
        ((6.0, 0.01), {"seeds": 2}, "2 of 3 planned seeds"),
        ((6.0, 0.01), {"exposure": 1.1}, ""),
        ((6.0, 0.01), {"exposure": 2.6}, "one group sees its pairs 2.6 times as often"),
        (
            estimate("contrast", 6.0, 0.01, training_sd=None),
            {},
            "no placebo splits: spread over training users is not in the interval",
        ),
        (
            estimate("contrast", 6.0, 0.01, note="3 users left out, whom not every adapter and seed scored"),
            {},
            "3 users left out, whom not every adapter and seed scored",
        ),
        (
            estimate("contrast", 2.0, 0.01, p_equivalence=0.01),
            {},
            "the difference is shown to be below 5.0 points, which the study counts as none",
        ),
        (
            (6.0, 0.01),
            {"seeds": 2, "exposure": 1.3},
            "2 of 3 planned seeds; one group sees its pairs 1.3 times as often",
        ),
    ],
)
def test_cautions(run_sql, contrast, others, cautions):
    assert verdict(run_sql, contrast, **others)["cautions"] == cautions


def test_the_reports_rule_stands_beside_both_readouts(run_sql):
    row = verdict(run_sql, (6.0, 0.01))
    assert (row["reported_rule"], row["reported_rule_tail"]) == ("MATCH", "LEAN")
