"""Every row of a released file is a battle or is counted among what was dropped, with its reason and an example."""

import numpy as np
import polars as pl
import pytest

from prefassets.domain.arena.battles import (
    BATTLE_SCHEMA,
    DROPPED_SCHEMA,
    REASONS,
    prompt_digest,
    unjudged_battles,
    usable_battles,
)
from prefassets.domain.arena.released_battles import read_battles
from prefassets.resources.tables import TABLES
from prefassets_tests.domain.arena.released import WINNERS, row, rows, sheet

WRONG = {  # reason -> rows that have nothing else wrong, and what is said of the first
    "no identifier": ([row(""), row("  ")], "nothing, line 2: model_a gpt-4-1106-preview, model_b gpt-4-0613"),
    "not JSON": (
        [
            row(1, response_a='["That depends.'),
            row(2, prompt="Is it right to lie?"),
            row(3, response_b='["a"] ["b"]'),
            row(4, prompt="[" * 100_000),
            row(5, prompt=f"[{'9' * 10_000}]"),
            row(6, response_b="['a']"),
        ],
        '1, line 2: response_a, Unterminated string starting at at character 1, near ["That depends.',
    ),
    "no list of texts": (
        [
            row(1, response_a='"That depends."'),
            row(2, prompt="[1]"),
            row(3, response_b='{"a": "b"}'),
            row(4, prompt="0"),
        ],
        '1, line 2: response_a "That depends."',
    ),
    "no turn": ([row(1, prompt="[]"), row(2, prompt="null"), row(3, prompt="")], "1, line 2: prompt []"),
    "answers to more or fewer turns than there are": (
        [row(1, response_a='["a", "b"]'), row(2, prompt='["a", "b"]'), row(3, prompt='["a","b"]', response_b='[""]')],
        "1, line 2: prompt has 1, response_a has 2, response_b has 1",
    ),
    "a winner that is neither 0 nor 1": (
        [row(1, winner_tie=""), row(2, winner_model_a="yes"), row(3, winner_model_b=0.5), row(4, winner_model_a=2)],
        "1, line 2: winner_model_a 1, winner_model_b 0, winner_tie nothing",
    ),
    "no winner": ([row(1, winner="nobody")], "1, line 2: winner_model_a 0, winner_model_b 0, winner_tie 0"),
    "two winners or three": (
        [row(1, winner_tie=1), row(2, winner_tie=1, winner_model_b=1)],
        "1, line 2: winner_model_a 1, winner_model_b 0, winner_tie 1",
    ),
    "identifier of an earlier battle": ([row(1), row(1, winner="B")], "1, line 3: first in line 2"),
}


@pytest.mark.parametrize("reason", WRONG)
def test_what_is_wrong_with_a_row_is_counted_and_shown(reason, tmp_path):
    wrong, example = WRONG[reason]
    right = reason == "identifier of an earlier battle"
    for found in (rows(*wrong), read_battles(sheet(tmp_path / "train.csv", *wrong))):
        usable = usable_battles(found)
        assert usable.dropped.select("reason", "rows").rows() == [(reason, len(wrong) - right)]
        assert usable.dropped["examples"][0][0] == example
        assert len(usable.battles) == right


def test_reasons_are_all_told_apart():
    assert tuple(WRONG) == REASONS


def test_nothing_is_lost_of_a_file_with_everything_wrong_in_it(tmp_path):
    every = [
        wrong | {"id": f"{wrong['id']}{place}" if str(wrong["id"]).strip() else ""}
        for place, (several, _) in enumerate(WRONG.values())
        for wrong in several
    ]
    file = sheet(tmp_path / "train.csv", *every, *every)
    usable = usable_battles(read_battles(file))
    assert set(usable.dropped["reason"]) == set(REASONS)
    assert usable.dropped["rows"].sum() + len(usable.battles) == 2 * len(every)
    assert all(1 <= len(examples) <= 5 for examples in usable.dropped["examples"])
    assert all(len(example) < 250 and "\n" not in example for example in usable.dropped["examples"].explode())


DAMAGE = ['"', "[", "]", "\\ud83d", "\\u", "1", "null,", ""]


def test_nothing_is_lost_of_files_that_were_damaged_at_random():
    generator = np.random.default_rng(0)
    for _ in range(200):
        damaged = []
        for number in range(10):
            one = {column: str(value) for column, value in row(number % 8).items()}
            column = str(generator.choice(list(one)))
            text, place = one[column], int(generator.integers(len(one[column]) + 1))
            one[column] = text[:place] + str(generator.choice(DAMAGE)) + text[place + 1 :]
            damaged.append(one)
        usable = usable_battles(rows(*damaged))
        assert usable.dropped["rows"].sum() + len(usable.battles) == 10
        assert usable.battles["battle"].is_unique().all()


EMPTY = ["[null]", "[]", "[ ]", '[""]', "null", "", None]


@pytest.mark.parametrize("empty", EMPTY)
def test_empty_answers_and_prompts_are_kept_as_empty_text(empty):
    usable = usable_battles(
        rows(row(1, response_a=empty), row(2, response_b=empty, winner="tie"), row(3, prompt='[""]'))
    )
    assert usable.dropped.is_empty()
    assert usable.battles.select("answers_a", "answers_b", "length_a", "length_b", "winner").rows() == [
        ([""], ["No."], 0, 3, "A"),
        (["That depends."], [""], 13, 0, "tie"),
        (["That depends."], ["No."], 13, 3, "A"),
    ]
    assert usable.battles["prompts"].to_list()[2] == [""]


@pytest.mark.parametrize("empty", EMPTY)
def test_every_turn_has_its_answers_and_equal_answers_are_kept(empty):
    one = row("x", prompt='["Hi", null, "Why?"]', response_a='["", "a\\n", null]', response_b=empty, winner="tie")
    (found,) = usable_battles(rows(one, row(2, response_b=row()["response_a"]))).battles.head(1).to_dicts()
    assert found == {
        "battle": "x",
        "model_a": "gpt-4-1106-preview",
        "model_b": "gpt-4-0613",
        "prompts": ["Hi", "", "Why?"],
        "answers_a": ["", "a\n", ""],
        "answers_b": ["", "", ""],
        "winner": "tie",
        "turns": 3,
        "length_a": 2,
        "length_b": 0,
        "prompt_digest": prompt_digest("Hi"),
    }
    assert len(usable_battles(rows(one, row(2, response_b=row()["response_a"]))).battles) == 2


def test_half_a_surrogate_pair_becomes_a_replacement_character_and_a_whole_one_its_letter(tmp_path):
    one = row(1, prompt='["\\ud83d"]', response_a='["a \\ud83d\\ude00 b \\ude00"]', response_b='["\\uD83D \\uDE00"]')
    battles = usable_battles(read_battles(sheet(tmp_path / "train.csv", one))).battles
    assert battles.select("prompts", "answers_a", "answers_b").row(0) == (
        ["\ufffd"],
        ["a \U0001f600 b \ufffd"],
        ["\ufffd \ufffd"],
    )
    battles.write_parquet(tmp_path / "battles.parquet")
    assert pl.read_parquet(tmp_path / "battles.parquet").equals(battles)
    broken = usable_battles(rows(row(1, prompt='["\\ud83d'))).dropped
    assert broken["rows"].to_list() == [1]


def test_a_line_break_inside_a_text_is_no_reason_to_lose_a_battle():
    assert usable_battles(rows(row(1, response_a='["a\nb"]'))).battles["answers_a"].to_list() == [["a\nb"]]


def test_a_row_that_was_dropped_itself_takes_no_identifier():
    usable = usable_battles(rows(row(1, prompt="["), row(1, winner="B"), row(1)))
    assert usable.battles["winner"].to_list() == ["B"]
    assert dict(usable.dropped.select("reason", "rows").rows()) == {"not JSON": 1, "identifier of an earlier battle": 1}


def test_winners_may_be_numbers_with_a_point_or_truth_values():
    given = [("1.0", "0.0", "0.0"), ("False", "True", "False"), (" 0", "0", "1 ")]
    found = rows(*(row(n) | dict(zip(WINNERS, each, strict=True)) for n, each in enumerate(given)))
    assert usable_battles(found).battles["winner"].to_list() == ["A", "B", "tie"]


def test_unjudged_battles_have_no_winner_whatever_the_rows_say():
    found = rows(row(1, winner_tie=1), row(2, prompt="["))
    for each in (found, found.drop(WINNERS)):
        unjudged = unjudged_battles(each)
        assert unjudged.battles.select("battle", "model_b", "winner").rows() == [("1", "gpt-4-0613", None)]
        assert unjudged.dropped["reason"].to_list() == ["not JSON"]
    assert unjudged_battles(found.drop("model_a", "model_b")).battles["model_a"].to_list() == [""]
    with pytest.raises(ValueError, match="have no winner_model_a, winner_model_b, winner_tie; `unjudged_battles`"):
        usable_battles(found.drop(WINNERS))


def test_the_tables_take_what_is_found():
    usable = usable_battles(rows(row(1), row(2, prompt="[")))
    assert usable.battles.schema == BATTLE_SCHEMA == TABLES["arena.battles"].schema
    assert usable.dropped.schema == DROPPED_SCHEMA == TABLES["arena.dropped"].schema
    TABLES["arena.battles"].conform(usable.battles)
    TABLES["arena.dropped"].conform(usable.dropped)
    assert usable_battles(rows(row(1)).clear()).battles.schema == BATTLE_SCHEMA


@pytest.mark.parametrize(
    "same",
    [
        "is it right to lie",
        "  Is it\tright \n\n to lie ?",
        "IS IT RIGHT TO LIE?!",
        "“Is it right to lie?”",
        "Ｉｓ ｉｔ ｒｉｇｈｔ ｔｏ ｌｉｅ？",
        "Is it right to lie…",
    ],
)
def test_prompts_that_differ_only_in_writing_share_a_digest(same):
    assert prompt_digest(same) == prompt_digest("Is it right to lie?")


def test_prompts_that_differ_in_a_word_or_a_sign_inside_do_not_share_a_digest():
    prompts = [
        "Is it right to lie?",
        "Is it right to die?",
        "Is it right, to lie?",
        "C",
        "C++",
        "C#",
        "",
        "?",
        "-",
        "Straße",
    ]
    assert len({prompt_digest(prompt) for prompt in prompts}) == len(prompts)
    assert prompt_digest("STRASSE") == prompt_digest("Straße"), "case folding, not lower case"
    assert all(
        len(prompt_digest(prompt)) == 12 and int(prompt_digest(prompt), 16) >= 0 for prompt in [*prompts, "\ud83d"]
    )


def test_a_digest_is_the_same_on_every_machine():
    assert prompt_digest("Is it right to lie?") == "8106aa7b0299"  # printf 'is it right to lie' | b2sum -l 48
