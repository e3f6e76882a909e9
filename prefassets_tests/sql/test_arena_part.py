"""Of battles written down here, how many are in each part, how they ended, and whether the longer answer won."""

import polars as pl
import pytest

BATTLES = pl.DataFrame(
    [
        ("1", "A", "x", "y", 1, 50, 10, "p", "training"),
        ("2", "B", "y", "z", 2, 50, 10, "p", "training"),
        ("3", "tie", "x", "z", 1, 10, 50, "q", "training"),
        ("4", "A", "x", "y", 1, 10, 50, "r", "held_out"),
    ],
    ["battle", "winner", "model_a", "model_b", "turns", "length_a", "length_b", "prompt_digest", "part"],
    orient="row",
)


@pytest.fixture
def parts(run_sql):
    tables = {"arena.battles": BATTLES.drop("part"), "arena.folds": BATTLES.select("battle", "prompt_digest", "part")}
    return {(row["part"], row["winner"]): row for row in run_sql("arena.part", tables).to_dicts()}


def test_each_part_is_counted_by_winner_and_whole(parts):
    counts = {key: (row["battles"], row["prompts"], row["models"]) for key, row in parts.items()}
    assert counts == {
        ("training", "A"): (1, 1, 2),
        ("training", "B"): (1, 1, 2),
        ("training", "tie"): (1, 1, 2),
        ("training", "all"): (3, 2, 3),
        ("held_out", "A"): (1, 1, 2),
        ("held_out", "all"): (1, 1, 2),
        ("all", "A"): (2, 2, 2),
        ("all", "B"): (1, 1, 2),
        ("all", "tie"): (1, 1, 2),
        ("all", "all"): (4, 3, 3),
    }


def test_shares_are_of_the_part_and_the_longer_answer_wins_among_battles_with_a_winner(parts):
    assert parts["training", "tie"]["share"] == pytest.approx(1 / 3)
    assert parts["all", "A"]["share"] == 0.5
    assert parts["training", "all"]["several_turns"] == pytest.approx(1 / 3)
    assert parts["all", "all"]["longer_wins"] == pytest.approx(1 / 3), "of three with a winner, in the first"
    assert parts["training", "A"]["longer_wins"] == 1
    assert parts["training", "tie"]["longer_wins"] is None


def test_without_battles_there_is_no_part(run_sql):
    assert run_sql("arena.part", {}).is_empty()
