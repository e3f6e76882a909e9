"""Scores are what their definitions and other libraries say, and intervals are those of other prompts."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm
from sklearn.metrics import accuracy_score, brier_score_loss, confusion_matrix, log_loss

from prefassets.domain.arena.scores import judge
from prefassets.resources.tables import TABLES
from prefassets_tests.domain.arena.held_out import battles, noisy, predictions

PRIOR = (0.35, 0.34, 0.31)


def told(rows, value="estimate", **which):
    found = rows.filter(**which)
    return {row["metric"]: row[value] for row in found.iter_rows(named=True)}


def ends(rows, **which):
    (row,) = rows.filter(**which).iter_rows(named=True)
    return row["lower"], row["upper"]


def test_metrics_are_those_of_sklearn():
    winners, (first, second) = noisy(300, models=2)
    first[7] = (1.0, 0.0, 0.0)
    winners[7] = "tie"  # what was held to be impossible costs what sklearn says, not infinitely much
    found = judge(predictions("m", first, second), battles(winners), {}, draws=10).comparison
    for orders, probability in (("given", first), ("both", (first + second) / 2)):
        values = told(found, orders=orders)
        assert values["log_loss"] == pytest.approx(log_loss(winners, probability), rel=1e-12)
        likeliest = np.array(["A", "B", "tie"])[probability.argmax(axis=1)]
        assert values["accuracy"] == pytest.approx(accuracy_score(winners, likeliest), rel=1e-12)
        assert values["brier"] == pytest.approx(brier_score_loss(winners, probability, scale_by_half=False), rel=1e-12)
    assert set(found["battles"]) == set(found["prompts"]) == {300}


def test_the_calibration_error_is_its_definition():
    winners, (probability,) = noisy(300)
    likeliest = probability.max(axis=1)
    right = np.array(["A", "B", "tie"])[probability.argmax(axis=1)] == winners
    tenths = np.split(np.argsort(likeliest), 10)
    expected = sum(0.1 * abs(likeliest[tenth].mean() - right[tenth].mean()) for tenth in tenths)
    found = judge(predictions("m", probability), battles(winners), {}, draws=200).comparison
    assert told(found)["calibration_error"] == pytest.approx(expected, rel=1e-12)
    lower, upper = ends(found, metric="calibration_error")
    assert 0 <= lower <= expected <= upper


def test_battles_that_are_predicted_alike_share_a_bin():
    """Else which of them happen to share one would be taken for miscalibration: A wins half, and .35 was said."""
    winners = ["A"] * 20 + ["B"] * 20
    found = judge(predictions("prior", [PRIOR] * 40), battles(winners), {}, draws=10)
    assert told(found.comparison)["calibration_error"] == pytest.approx(0.15)
    assert found.calibration.select("winner", "probability", "frequency", "battles").rows() == [
        ("A", pytest.approx(0.35), 0.5, 40),
        ("B", pytest.approx(0.34), 0.5, 40),
        ("tie", pytest.approx(0.31), 0.0, 40),
    ]


def test_position_is_told_from_both_orders():
    """B, A and A are predicted; exchanged, B, B and A. First shown: A as given, B as exchanged."""
    given = [(0.2, 0.7, 0.1), (0.6, 0.3, 0.1), (0.8, 0.1, 0.1)]
    swapped = [(0.3, 0.6, 0.1), (0.2, 0.5, 0.3), (0.6, 0.2, 0.2)]
    found = judge(predictions("m", given, swapped), battles(["A", "B", "tie"]), {}, draws=10).comparison
    values = told(found, orders="both")
    assert values["swap_consistency"] == pytest.approx(2 / 3)
    # as given A leads by -.5, .3, .7; as exchanged B leads by .3, .3, -.4
    assert values["first_shown"] == pytest.approx((-0.5 + 0.3 + 0.7 + 0.3 + 0.3 - 0.4) / 6)
    assert not {"swap_consistency", "first_shown"} & set(told(found, orders="given"))


def test_the_interval_is_that_of_a_mean_over_prompts():
    winners, (probability,) = noisy(400)
    loss = -np.log(probability[np.arange(400), [["A", "B", "tie"].index(winner) for winner in winners]])
    found = judge(predictions("m", probability), battles(winners), {}, draws=20_000).comparison
    half = norm.isf(0.025) * loss.std(ddof=1) / 20
    assert ends(found, metric="log_loss") == pytest.approx((loss.mean() - half, loss.mean() + half), abs=0.08 * half)


def test_a_battle_repeated_says_nothing_new():
    """Battles of one prompt are drawn together: five copies of each have the interval of one."""
    winners, (probability,) = noisy(60)
    once = judge(predictions("m", probability), battles(winners), {}, draws=300).comparison
    repeated = battles(np.tile(winners, 5), list(range(60)) * 5)
    again = judge(predictions("m", np.tile(probability, (5, 1))), repeated, {}, draws=300).comparison
    assert set(again["prompts"]) == {60}
    assert set(again["battles"]) == {300}
    for metric in ("log_loss", "accuracy", "brier"):
        assert ends(again, metric=metric) == pytest.approx(ends(once, metric=metric), rel=1e-12)


def test_the_order_of_rows_changes_nothing():
    winners, (probability,) = noisy(80)
    rows, held = predictions("m", probability), battles(winners, [number // 3 for number in range(80)])
    found = judge(rows, held, {}, draws=50)
    again = judge(
        rows.sample(fraction=1, shuffle=True, seed=1), held.sample(fraction=1, shuffle=True, seed=2), {}, draws=50
    )
    for name, table in vars(found).items():
        assert table.equals(getattr(again, name)), name


def test_differences_are_paired():
    """Copies differ by nothing in any draw."""
    winners, (probability,) = noisy(100)
    rows = pl.concat([predictions("m", probability), predictions("copy", probability)])
    found = judge(rows, battles(winners), {"copy": ["m"]}, draws=100).differences
    assert set(found.select("difference", "lower", "upper", "widened_lower", "widened_upper").row(0)) == {0.0}


def test_a_difference_is_one_estimate_minus_the_other():
    winners, (first, second) = noisy(200, models=2)
    rows = pl.concat([predictions("prior", [PRIOR] * 200), predictions("x", first), predictions("y", second)])
    found = judge(rows, battles(winners), {"x": ["prior", "y"]}, draws=100)
    values = {name: told(found.comparison, predictor=name) for name in ("prior", "x", "y")}
    for than in ("prior", "y"):
        for metric, difference in told(found.differences, "difference", than=than).items():
            assert difference == pytest.approx(values["x"][metric] - values[than][metric], abs=1e-12)
    assert set(found.differences["predictor"]) == {"x"}, "y was not to be compared with anything"
    lower, upper = ends(found.differences, than="y", metric="log_loss")
    own_lower, own_upper = ends(found.comparison, predictor="x", metric="log_loss")
    assert upper - lower < own_upper - own_lower, "both are right and wrong in the same battles"


def test_both_orders_are_compared_with_both_where_there_are():
    winners, (first, second) = noisy(50, models=2)
    rows = pl.concat(
        [predictions("prior", [PRIOR] * 50), predictions("x", first, second), predictions("y", second, first)]
    )
    found = judge(rows, battles(winners), {"x": ["prior", "y"]}, draws=20)
    values = {
        key: told(found.comparison, predictor=key[0], orders=key[1])
        for key in (("x", "both"), ("y", "both"), ("prior", "given"))
    }
    for than, orders in (("prior", "given"), ("y", "both")):
        (difference,) = found.differences.filter(orders="both", than=than, metric="brier")["difference"]
        assert difference == pytest.approx(values["x", "both"]["brier"] - values[than, orders]["brier"], abs=1e-12)


@pytest.mark.parametrize(("named", "count"), [(None, 3), (25, 25), (1, 1)])
def test_intervals_are_widened_for_all_models_that_could_have_been_called_better(named, count):
    """Bonferroni: each at 1 - .05 / count. Baselines are not among those that are looked for."""
    winners, models = noisy(100, models=3)
    rows = [predictions("prior", [PRIOR] * 100), predictions("longer", [PRIOR] * 100)]
    rows += [predictions(f"m{number}", probability) for number, probability in enumerate(models)]
    found = judge(
        pl.concat(rows), battles(winners), {"m0": ["prior"], "longer": ["prior"]}, draws=200, models_named=named
    ).differences
    row = found.filter(predictor="m0").row(0, named=True)
    wider = norm.isf(0.025 / count) / norm.isf(0.025)
    for end in ("lower", "upper"):
        assert row[f"widened_{end}"] - row["difference"] == pytest.approx(wider * (row[end] - row["difference"]))
    assert found.filter(predictor="longer")["widened_lower"].null_count() == 3


def test_intervals_hold_the_truth_as_often_as_they_say():
    """95 % of the times, give or take three binomial errors of 1.5 %, where battles of one prompt go together.

    What is said knows nothing of who wins, and each winner is as likely as another, so the true accuracy is a third.
    """
    prompts = np.repeat(np.arange(100), [1, 1, 1, 2, 10] * 20)
    covered = []
    for repetition in range(200):
        generator = np.random.default_rng(repetition)
        leaning = generator.dirichlet([0.3, 0.3, 0.3], 100)[prompts]
        winner = (leaning.cumsum(axis=1) < generator.random((len(prompts), 1))).sum(axis=1)
        rows = predictions("m", generator.dirichlet([3, 3, 3], 100)[prompts])
        held = battles(np.array(["A", "B", "tie"])[winner], prompts)
        lower, upper = ends(judge(rows, held, {}, draws=400, seed=repetition).comparison, metric="accuracy")
        covered.append(lower <= 1 / 3 <= upper)
    assert 0.905 <= np.mean(covered) <= 0.995


def test_of_few_prompts_no_interval_is_told():
    winners, (probability,) = noisy(40)
    found = judge(predictions("m", probability), battles(winners, [number % 9 for number in range(40)]), {}, draws=50)
    assert found.comparison["lower"].null_count() == len(found.comparison)
    assert found.breakdown["log_loss_upper"].null_count() == len(found.breakdown)


def test_one_prompt_can_be_judged():
    found = judge(predictions("m", [PRIOR] * 2), battles(["A", "B"], [0, 0]), {"m": ["m"]}, draws=20)
    assert told(found.comparison)["accuracy"] == 0.5
    assert found.differences["widened_lower"].null_count() == 3


def test_a_breakdown_has_the_scores_of_its_battles_alone():
    winners, (probability,) = noisy(90)
    lengths = [300, 100, 105] * 30
    held = battles(winners, length_a=lengths, length_b=[100] * 90)
    found = judge(predictions("m", probability, left_out=[0, 0, 9] * 30), held, {}, draws=50).breakdown
    longer = found.filter(dimension="length").rows_by_key("value", named=True, unique=True)
    assert list(longer) == ["A over twice as long", "within 10 %"]
    some = np.arange(0, 90, 3)
    alone = longer["A over twice as long"]
    assert (alone["battles"], alone["prompts"]) == (30, 30)
    assert alone["log_loss"] == pytest.approx(log_loss(winners[some], probability[some], labels=["A", "B", "tie"]))
    assert alone["accuracy_lower"] < alone["accuracy"] < alone["accuracy_upper"]
    assert found.filter(dimension="fits").select("value", "battles").rows() == [("all of it read", 60), ("cut", 30)]
    for dimension in found["dimension"].unique():
        parts = found.filter(dimension=dimension)
        assert parts["battles"].sum() == 90
        assert (parts["log_loss"] * parts["battles"]).sum() / 90 == pytest.approx(log_loss(winners, probability))


def test_what_reads_no_tokens_has_no_breakdown_by_what_fits():
    found = judge(predictions("prior", [PRIOR] * 12), battles(["A"] * 12), {}, draws=10).breakdown
    assert "fits" not in set(found["dimension"])


def test_the_confusion_is_that_of_sklearn_with_its_zeros():
    winners, (probability,) = noisy(50)
    probability = np.column_stack([probability[:, :2], np.zeros(50)]) / probability[:, :2].sum(axis=1, keepdims=True)
    found = judge(predictions("m", probability), battles(winners), {}, draws=10).confusion
    likeliest = np.array(["A", "B", "tie"])[probability.argmax(axis=1)]
    assert found["battles"].to_list() == confusion_matrix(winners, likeliest, labels=["A", "B", "tie"]).ravel().tolist()
    assert found.filter(predicted="tie")["battles"].to_list() == [0, 0, 0]


def test_calibration_is_by_tenths_with_wilsons_interval():
    """In the lowest tenth 7 of 10 won: [.3968, .8922] (Wilson 1927, JASA 22)."""
    winners = ["A"] * 7 + ["B"] * 93
    given = [((number + 1) / 200, 0.5 - (number + 1) / 200, 0.5) for number in range(100)]
    found = judge(predictions("m", given), battles(winners), {}, draws=10).calibration
    lowest = found.row(0, named=True)
    assert (lowest["winner"], lowest["bin"], lowest["battles"], lowest["frequency"]) == ("A", 0, 10, 0.7)
    assert lowest["probability"] == pytest.approx(5.5 / 200)
    assert (lowest["lower"], lowest["upper"]) == pytest.approx((0.3968, 0.8922), abs=5e-5)
    assert found.filter(winner="A")["bin"].to_list() == list(range(10))


def test_a_predictor_that_is_not_there_yet_is_passed_over():
    found = judge(predictions("m", [PRIOR] * 12), battles(["A"] * 12), {"m": ["lora"], "lora": ["m"]}, draws=10)
    assert found.differences.is_empty()


def test_without_predictions_there_are_empty_tables():
    found = judge(predictions("m", []), battles(["A"]), {}, draws=10)
    assert all(table.is_empty() for table in vars(found).values())


def test_tables_are_as_they_are_declared():
    winners, (first, second) = noisy(50, models=2)
    found = judge(predictions("m", first, second, [0] * 50), battles(winners), {"m": ["m"]}, draws=20)
    for name, table in vars(found).items():
        declared = TABLES[f"arena.{name.removesuffix('s')}"]
        if name == "comparison":  # of which predictions it is, the asset knows
            table = table.with_columns(fingerprint=pl.lit(""))
        assert table.columns == list(declared.columns), name
        declared.conform(table)


WRONG = {
    "m lacks predictions of 1 of 3 held-out battles, 2 for one": [PRIOR] * 2,
    "m predicts 1 battles that are not held out, 3 for one": [PRIOR] * 4,
    "of 1 of 3 held-out battles are missing or not finite, of 1 for one": [PRIOR, (float("nan"), 0.5, 0.5), PRIOR],
    "of 2 of 3 held-out battles are missing or not finite, of 1 for one": [PRIOR, (None, 0.5, 0.5), (0.5, 0.5, np.inf)],
    "are negative": [PRIOR, (-0.2, 0.7, 0.5), PRIOR],
    "do not add up to 1": [PRIOR, (0.2, 0.2, 0.2), PRIOR],
}


@pytest.mark.parametrize("said", WRONG)
def test_what_cannot_be_scored_is_named(said):
    rows = pl.concat([predictions("prior", [PRIOR] * 3), predictions("m", WRONG[said])])
    with pytest.raises(ValueError, match=said):
        judge(rows, battles(["A", "B", "tie"]), {}, draws=10)


def test_half_a_swap_is_named():
    rows = predictions("m", [PRIOR] * 2, [PRIOR, (None, None, None)])
    with pytest.raises(ValueError, match="m: probabilities a_swapped, b_swapped, tie_swapped of 1 of 2"):
        judge(rows, battles(["A", "B"]), {}, draws=10)


def test_a_battle_predicted_twice_is_named():
    with pytest.raises(ValueError, match="m predicts battle 0 more than once"):
        judge(pl.concat([predictions("m", [PRIOR])] * 2), battles(["A"]), {}, draws=10)


def test_battles_without_a_winner_judge_nothing():
    with pytest.raises(ValueError, match="1 of 2 held-out battles have no winner"):
        judge(predictions("m", [PRIOR] * 2), battles(["A", None]), {}, draws=10)
    with pytest.raises(ValueError, match="there are no held-out battles"):
        judge(predictions("m", []), battles([]), {}, draws=10)
