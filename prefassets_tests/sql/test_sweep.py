"""Every recipe is in the sweep, with what it did to the one that it changes, or with what it lacks."""

import pytest

from prefassets_tests.sql.test_arena_reading import frame, scores

BASE = "tiny@256:float32:short"
RECIPES = [
    {"recipe": "lora", "changes": "", "base": BASE},
    {"recipe": "rank_32", "variant_of": "lora", "changes": "rank 16 -> 32", "base": BASE},
    {"recipe": "swapped", "variant_of": "lora", "changes": "swapped", "base": BASE},
]


def difference(predictor, than, value, half=0.02, orders="given", metric="log_loss"):
    return {
        "predictor": predictor,
        "orders": orders,
        "than": than,
        "metric": metric,
        "difference": value,
        "lower": value - half / 2,
        "upper": value + half / 2,
        "widened_lower": value - half,
        "widened_upper": value + half,
    }


def sweep(run_sql, **given):
    rows = {"recipe": RECIPES} | given
    found = run_sql("arena.sweep", {f"arena.{table}": frame(f"arena.{table}", of) for table, of in rows.items()})
    return found.to_dicts()


def test_a_recipe_without_results_is_there_with_what_it_lacks(run_sql):
    states = [
        {"recipe": "lora", "state": "finished", "reason": ""},
        {"recipe": "rank_32", "state": "stale", "reason": "rank 16, now 32"},
    ]
    rows = sweep(run_sql, comparison=scores("lora", 1.05, 0.4), states=states)
    assert [(row["recipe"], row["state"], row["log_loss"]) for row in rows] == [
        ("lora", "finished", 1.05),
        ("rank_32", "stale", None),
        ("swapped", "missing", None),
    ]
    assert rows[1]["reason"] == "rank 16, now 32"
    assert rows[2]["against_variant"] is None


def test_best_first_with_what_the_change_did(run_sql):
    rows = sweep(
        run_sql,
        comparison=[*scores("lora", 1.05, 0.4), *scores("rank_32", 1.01, 0.45), *scores("prior", 1.0, 0.35)],
        difference=[
            difference("rank_32", "lora", -0.04),
            difference("rank_32", BASE, -0.3, 0.1),
            difference("rank_32", "prior", -0.5),
            difference("rank_32", "lora", 0.05, metric="accuracy"),
            difference("lora", BASE, -0.26),
        ],
        adapter=[{"recipe": "rank_32", "steps": 1000, "seconds": 61.5, "tokens": 9, "device": "cpu"}],
    )
    assert [row["recipe"] for row in rows] == ["rank_32", "lora", "swapped"]
    best, lora, _ = rows
    assert (best["log_loss_lower"], best["accuracy"], best["accuracy_upper"]) == pytest.approx((0.99, 0.45, 0.48))
    assert (best["than_variant"], best["than_variant_lower"], best["than_variant_widened_upper"]) == pytest.approx(
        (-0.04, -0.05, -0.02)
    )
    assert (best["than_base"], best["than_base_widened_lower"]) == pytest.approx((-0.3, -0.4))
    assert (best["seconds"], best["steps_taken"], best["changes"]) == (61.5, 1000, "rank 16 -> 32")
    assert (lora["than_variant"], lora["than_base"], lora["seconds"]) == (None, -0.26, None)


@pytest.mark.parametrize(
    ("value", "said"),
    [(-0.03, "better"), (-0.02, "not shown to differ"), (0.02, "not shown to differ"), (0.03, "worse")],
)
def test_what_a_change_did_is_said_by_the_widened_interval(run_sql, value, said):
    rows = sweep(run_sql, comparison=scores("rank_32", 1.01, 0.45), difference=[difference("rank_32", "lora", value)])
    assert rows[0]["against_variant"] == said


def test_both_orders_are_told_where_there_are_both(run_sql):
    rows = sweep(
        run_sql,
        comparison=[*scores("rank_32", 1.01, 0.45), *scores("rank_32", 0.99, 0.47, "both"), *scores("lora", 1.0, 0.4)],
        difference=[difference("rank_32", "lora", -0.04), difference("rank_32", "lora", -0.01, orders="both")],
    )
    assert [(row["recipe"], row["orders"], row["log_loss"], row["than_variant"]) for row in rows[:2]] == [
        ("rank_32", "both", 0.99, -0.01),
        ("lora", "given", 1.0, None),
    ]
