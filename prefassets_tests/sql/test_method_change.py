"""What a changed method did: at equal seeds and users, beside the labels, and what may be read from it."""

import pytest

from prefassets_tests.sql.reported import by, differences, golden, judged
from prefassets_tests.sql.small_study import frame

VARIANT = {"wpo": "dpo"}


@pytest.fixture(scope="module")
def published():
    from prefassets.resources.sql_tables import run_sql

    studies = {"dpo": differences("002", "v3", "dpo"), "wpo": differences("002", "v3", "wpo")}
    return by(run_sql("verdicts.method_change", judged(studies, variant_of=VARIANT)), "split")


def test_the_published_changes_are_in_it(published):
    assert {split: row["change"] for split, row in published.items()} == {
        row["split"]: row["published"] for row in golden("change")
    }


def test_at_the_one_common_seed_two_of_the_published_changes_look_different(published):
    # Seed 42 of both: age was on the expected side before, factuality moved away from it (recomputed from the report).
    age, factuality = published["S1_age"], published["S5_factuality"]
    assert (age["common_seeds"], age["before_common_pp"], age["after_common_pp"]) == (1, 1.5625, 3.90625)
    assert (factuality["change"], factuality["mean_change_pp"]) == ("UNCHANGED", 1.5625)  # A < B was expected
    assert age["sd_change_pp"] is None


def test_on_the_tail_there_is_no_interval_and_no_reading(published):
    for row in published.values():
        assert (row["readout"], row["change_pp"], row["lower_pp"], row["reading"]) == ("tail", None, None, None)


def test_the_paired_comparison_uses_the_seeds_that_both_have_and_no_other(run_sql):
    studies = {"dpo": {"age": ("A > B", [1.0, -5.0, 2.0, 40.0])}, "wpo": {"age": ("A > B", [2.0, -1.0, 6.0])}}
    (row,) = run_sql("verdicts.method_change", judged(studies, variant_of=VARIANT)).to_dicts()
    assert row["common_seeds"] == 3
    assert row["mean_change_pp"] == pytest.approx(3.0)  # 1, 4, 4
    assert row["sd_change_pp"] == pytest.approx(2**0.5)
    assert (row["before_common_pp"], row["after_common_pp"]) == (pytest.approx(-2 / 3), pytest.approx(7 / 3))


def test_without_a_common_seed_nothing_is_paired(run_sql):
    studies = {"dpo": {"age": ("A > B", [1.0, 2.0])}, "wpo": {"age": ("A > B", [None, None, 2.0])}}
    (row,) = run_sql("verdicts.method_change", judged(studies, variant_of=VARIANT, readout="held_out")).to_dicts()
    assert (row["common_seeds"], row["mean_change_pp"], row["sd_change_pp"]) == (0, None, None)
    assert row["reading"] == "No seed has both groups finished in both studies, so nothing is paired."


def test_while_one_study_is_absent_there_is_no_row(run_sql):
    split = {"age": ("A > B", [1.0])}
    assert run_sql("verdicts.method_change", judged({"dpo": {}, "wpo": split}, variant_of=VARIANT)).is_empty()
    assert run_sql("verdicts.method_change", judged({"dpo": split, "wpo": {}}, variant_of=VARIANT)).is_empty()


# ---- noise


@pytest.mark.parametrize(("given_label", "noise"), [("MISMATCH", 0.4), ("MATCH", None)])
def test_the_noise_of_another_label_before_is_not_shown(run_sql, given_label, noise):
    studies = {"dpo": {"age": ("A > B", [-1.0])}, "wpo": {"age": ("A > B", [2.0])}}
    rows = [{"study": "wpo", "split": "age", "readout": "tail", "before_label": given_label, "noise_better": 0.4}]
    given = judged(studies, variant_of=VARIANT) | {"verdicts.change_noise": frame("verdicts.change_noise", rows)}
    (row,) = run_sql("verdicts.method_change", given).to_dicts()
    assert (row["before_label"], row["noise_better"]) == ("MISMATCH", noise)


# ---- reading

EXPECTED = {"directional": "A > B", "null control": "A = B", "placebo": "A = B", "exploratory": "exploratory"}


def heterogeneity(groups, **columns):
    key = {"reference": "tiny@96:float32", "base_model": "tiny", "revision": "r", "split": "age", "state": "estimated"}
    return [
        key | {"user_group": group, "heterogeneity": found, "lower": lower, "upper": upper} | columns
        for group, (found, lower, upper) in groups.items()
    ]


def change(points=3.0, p_adjusted=0.01, **columns):
    """An estimate of the change; what a test does not name is unremarkable."""
    return {
        "quantity": "change",
        "estimate": points,
        "lower": points - 2,
        "upper": points + 2,
        "p": p_adjusted / 2,
        "p_adjusted": p_adjusted,
        "adjustment": "Holm over 2 splits",
        "p_equivalence": 0.5,
        "minimum_detectable": 4.0,
        "training_sd": 1.0,
        "seeds": 3,
        "note": "",
        "digest": "now",
    } | columns


def held_out(
    run_sql, estimate, role="directional", expected=None, methods=("dpo", "wpo"), groups=(), seeds=3, given=None
):
    """The row of `wpo`, which repeats `dpo`, of one split with this estimate of the change."""
    split = {"age": (expected or EXPECTED[role], [1.0, 2.0, 3.0][:seeds])}
    placebos = ["age"] if role == "placebo" else []
    tables = judged({"dpo": split, "wpo": split}, variant_of=VARIANT, readout="held_out", placebos=placebos)
    study = [
        row | {"method": method, "weighted": method == "wpo", "reference": "tiny@96:float32", "base_model": "tiny"}
        for row, method in zip(tables["studies.study"].to_dicts(), methods, strict=True)
    ]
    key = {"study": "wpo", "split": "age"}
    contrast = change(quantity="contrast", digest=(estimate or change())["digest"])
    made = [key | {"metric": "pref_acc"} | row for row in (contrast, estimate) if row]
    tables |= (given or {}) | {
        "studies.study": frame("studies.study", study),
        "verdicts.estimate": frame("verdicts.estimate", made),
        "verdicts.basis": frame("verdicts.basis", [key | {"digest": "now"}]),
        "verdicts.heterogeneity": frame("verdicts.heterogeneity", groups),
        "model.base": frame("model.base", [{"base_model": "tiny", "revision": "r"}]),
    }
    (row,) = run_sql("verdicts.method_change", tables).to_dicts()
    assert "nan" not in row["reading"]
    return row


MEASURED = "+3.0 points [+1.0, +5.0], Holm p = 0.01"
UNCLEAR = "+3.0 points [+1.0, +5.0], Holm p = 0.4"
CANNOT_TELL = (
    f"Cannot tell what WPO instead of DPO does to A - B: {UNCLEAR}; 4.0 points would be found in 80 % of repetitions."
)
SMALL = f"WPO instead of DPO changes A - B by less than 5.0 points: {UNCLEAR}, equivalence p = 0.01."
NO_MORE = "As far as weights correct it, support mismatch explains no more than that."


@pytest.mark.parametrize(
    ("estimate", "others", "sentence"),
    [
        (
            change(),
            {},
            f"WPO instead of DPO moves A - B towards what was expected: {MEASURED}. "
            "As it would if support mismatch had hidden part of the difference.",
        ),
        (
            change(),
            {"expected": "A < B"},
            f"WPO instead of DPO moves A - B away from what was expected: {MEASURED}. "
            "As far as weights correct it, support mismatch did not hide the difference.",
        ),
        (change(p_adjusted=0.4, p_equivalence=0.01), {}, f"{SMALL} {NO_MORE}"),
        (
            change(p_equivalence=0.01),
            {},
            "WPO instead of DPO changes A - B, but by less than the 5.0 points that count as none: "
            f"{MEASURED}. {NO_MORE}",
        ),
        (change(p_adjusted=0.4), {}, CANNOT_TELL),
        (change(p_adjusted=0.05), {}, CANNOT_TELL.replace("0.4", "0.05")),  # below .05 was asked
        (
            change(),
            {"methods": ("dpo", "dpo")},
            f"wpo instead of dpo moves A - B towards what was expected: {MEASURED}.",
        ),
        (
            change(p_adjusted=0.4, p_equivalence=0.01),
            {"methods": ("wpo", "dpo")},
            SMALL.replace("WPO instead of DPO", "DPO instead of WPO"),
        ),
        (
            change(),
            {"role": "exploratory"},
            f"Found, not foreseen: WPO instead of DPO moves A - B by {MEASURED}; to confirm it, fix the direction and "
            "use fresh seeds and folds.",
        ),
        (change(p_adjusted=0.4, p_equivalence=0.01), {"role": "exploratory"}, f"{SMALL} {NO_MORE}"),
        (change(p_adjusted=0.4), {"role": "exploratory"}, CANNOT_TELL),
        *(
            (estimate, {"role": role}, sentence)
            for role, groups in (("null control", "were taken to be alike"), ("placebo", "differ by chance alone"))
            for estimate, sentence in (
                (
                    change(),
                    f"A control moved, where nothing should: {MEASURED}. WPO instead of DPO does something to groups "
                    f"that {groups}, so a change of this size in another split need not be of that split.",
                ),
                (
                    change(p_equivalence=0.01),
                    f"A control moved, though by less than the 5.0 points that count as none: {MEASURED}.",
                ),
                (change(p_adjusted=0.4, p_equivalence=0.01), SMALL),
                (change(p_adjusted=0.4), CANNOT_TELL),
            )
        ),
    ],
)
def test_a_reading_says_what_the_change_shows_of_support_mismatch_and_no_more(run_sql, estimate, others, sentence):
    assert held_out(run_sql, estimate, **others)["reading"] == sentence


def test_the_numbers_are_those_of_the_estimate(run_sql):
    row = held_out(run_sql, change())
    assert (row["change_pp"], row["lower_pp"], row["upper_pp"], row["minimum_detectable_pp"]) == (3.0, 1.0, 5.0, 4.0)
    assert (row["p"], row["p_adjusted"], row["p_equivalence"]) == (0.005, 0.01, 0.5)
    assert row["cautions"] == ""


@pytest.mark.parametrize(
    ("estimate", "others", "sentence"),
    [
        (
            change(digest="before that"),
            {},
            "The estimate is not of the cells and the plan that now count; materialise verdicts/estimate.",
        ),
        (None, {}, "No user was scored by both studies at a common seed, so nothing is paired."),
        (change(seeds=1), {"seeds": 1}, "Only one common seed: no other shows whether the change repeats."),
        (
            change(note="group B has one scored user, so the spread between its users is unknown")
            | dict.fromkeys(("lower", "upper", "p", "p_adjusted", "p_equivalence", "minimum_detectable")),
            {},
            "Group B has one scored user, so the spread between its users is unknown.",
        ),
    ],
)
def test_what_keeps_the_change_from_being_told_is_named(run_sql, estimate, others, sentence):
    assert held_out(run_sql, estimate, **others)["reading"] == sentence


def test_cautions_name_what_is_not_in_the_interval_and_who_is_left_out(run_sql):
    left_out = "users left out because not every adapter and seed scored them: 320"
    assert held_out(run_sql, change(training_sd=None, note=left_out))["cautions"] == (
        f"no placebo splits: spread over training users is not in the interval; {left_out}"
    )


def test_a_change_against_stale_adapters_says_so(run_sql):
    states = [{"study": study, "split": "age", "state": "stale"} for study in ("dpo", "wpo", "dpo")]
    states += [{"study": "dpo", "split": split, "state": "finished"} for split in ("age", "region", None)]
    given = {"training.states": frame("training.states", states)}
    assert held_out(run_sql, change(), given=given)["cautions"] == "2 of 3 adapters of dpo are stale"


# ---- heterogeneity


@pytest.mark.parametrize(
    ("ends", "words", "numbers"),
    [
        ((0.05, 0.35), "Users of A agree less with each other than those of B", "+0.20 [+0.05, +0.35]"),
        ((-0.35, -0.05), "Users of B agree less with each other than those of A", "-0.20 [-0.35, -0.05]"),
        ((-0.10, 0.16), "Neither group is shown to agree less within itself", "+0.03 [-0.10, +0.16]"),
    ],
)
def test_heterogeneity_stands_beside_the_change(run_sql, ends, words, numbers):
    groups = {"A": (0.6, 0.5, 0.7), "B": (0.4, 0.3, 0.5), "A - B": (sum(ends) / 2, *ends), "A + B": (0.9, 0.8, 1.0)}
    row = held_out(run_sql, change(), groups=heterogeneity(groups))
    assert row["reading"].endswith(f" {words} (H of A - H of B = {numbers}).")
    assert (row["heterogeneity_a"], row["heterogeneity_a_lower"], row["heterogeneity_a_upper"]) == (0.6, 0.5, 0.7)
    assert (row["heterogeneity_b"], row["heterogeneity_b_lower"], row["heterogeneity_b_upper"]) == (0.4, 0.3, 0.5)
    assert (row["heterogeneity_difference_lower"], row["heterogeneity_difference_upper"]) == ends


def test_heterogeneity_that_could_not_be_told_is_said(run_sql):
    groups = heterogeneity({"A - B": (None, None, None)}, state="undefined: so is A")
    assert held_out(run_sql, change(), groups=groups)["reading"].endswith(
        " The groups' heterogeneity cannot be compared (undefined: so is A)."
    )


@pytest.mark.parametrize("other", [{"reference": "tiny@64:float32"}, {"revision": "old"}, {"split": "region"}])
def test_heterogeneity_is_that_of_the_studys_own_reference_pass_and_split(run_sql, other):
    groups = heterogeneity({"A": (0.6, 0.5, 0.7), "A - B": (0.2, 0.05, 0.35)}, **other)
    row = held_out(run_sql, change(), groups=groups)
    assert (row["heterogeneity_a"], row["heterogeneity_difference"]) == (None, None)
    assert row["reading"] == held_out(run_sql, change())["reading"]
