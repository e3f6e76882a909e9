"""Released files of tasks are read by their columns; anything else is refused with file, line and column."""

import csv
import json
from pathlib import Path

import polars as pl
import pytest

from prefassets.domain.preferences.released_tasks import FORMATS, FOUND_SCHEMA, read_tasks
from prefassets.domain.preferences.tasks import ORIGINS, usable_tasks
from prefassets.domain.prism.released import BadInput

SLICES = Path(__file__).parents[2] / "data/preferences/tasks"
WHOLE = Path(__file__).parents[4] / "shared/data/tasks"
SUBJECTS = {  # of the MATH data set (Hendrycks et al. 2021)
    "Prealgebra",
    "Algebra",
    "Intermediate Algebra",
    "Number Theory",
    "Counting & Probability",
    "Geometry",
    "Precalculus",
}
ALPACA_SEED = {"id": "seed_task_0", "name": "birds", "instruction": "Name a bird.", "instances": [{"input": ""}]}
CHAT = [{"content": "name a bird", "role": "user", "toxic": False}, {"content": None, "role": "assistant"}]


def lines(file: Path, *rows: dict[str, object] | str) -> Path:
    file.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return file


def sheet(file: Path, *rows: dict[str, str]) -> Path:
    with file.open("w", newline="", encoding="utf-8-sig") as opened:
        writer = csv.DictWriter(opened, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return file


def parquet(file: Path, *rows: dict[str, object]) -> Path:
    pl.DataFrame(rows).write_parquet(file)
    return file


def test_slices_of_released_files_become_one_table():
    found = read_tasks(sorted(SLICES.glob("*.jsonl")))
    assert found.schema == FOUND_SCHEMA
    assert found.select("task_id", "origin", "topic").rows() == [
        ("math500_0", "MATH", "Precalculus"),
        ("math500_1", "MATH", "Algebra"),
        ("math500_2", "MATH", "Number Theory"),
        ("math500_3", "MATH", "Prealgebra"),
        ("mt_bench_81", "MT_BENCH", "writing"),
        ("mt_bench_83", "MT_BENCH", "writing"),
        ("wildchat_8", "WILDCHAT", "ai"),
        ("wildchat_21", "WILDCHAT", "physics"),
        ("wildchat_49", "WILDCHAT", "personal_assistance"),
        ("wildchat_66", "WILDCHAT", "philosophy"),
    ]
    assert found["text"][2] == "How many positive whole-number divisors does 196 have?"
    assert found["text"][4].startswith("Compose an engaging travel blog post"), "the first turn alone"


@pytest.mark.skipif(not WHOLE.is_dir(), reason="the whole files are not beside this repository")
def test_whole_files_have_as_many_tasks_as_were_released():
    found = read_tasks(sorted(WHOLE.glob("*.jsonl")))
    assert dict(found.group_by("origin").len().rows()) == {
        "MATH": 500,
        "ALPACA": 175,
        "WILDCHAT": 8_044,
        "MT_BENCH": 80,
    }
    assert set(found.filter(origin="MATH")["topic"]) == SUBJECTS
    assert found.filter(origin="MT_BENCH").group_by("topic").len()["len"].to_list() == [10] * 8
    assert found["task_id"].is_unique().all()
    usable = usable_tasks(found, seed=0)
    assert usable.dropped == {
        "longer than 4,000 characters": 1,
        "duplicate text": 317,
        "more than 5,000 of one origin": 2_727,
    }
    assert usable.tasks["text"].str.to_lowercase().is_unique().all()


@pytest.mark.parametrize("write", [lines, parquet], ids=["jsonl", "parquet"])
def test_a_row_is_named_for_its_number_as_in_the_reports_and_alpaca_has_its_input_below(write, tmp_path):
    ending = "jsonl" if write is lines else "parquet"
    math = write(
        tmp_path / f"math.{ending}",
        *({"problem": f"{n} + 1 = ?", "level": "Level 1", "type": "Algebra", "solution": str(n + 1)} for n in range(3)),
    )
    alpaca = write(
        tmp_path / f"alpaca.{ending}",
        {"instruction": "Name a bird.", "input": "", "output": "Owl.", "text": "Below is an instruction"},
        {"instruction": "Translate.", "input": "owl", "output": "Eule", "text": "Below is an instruction"},
    )
    chats = write(
        tmp_path / f"chats.{ending}",
        {"conversation": CHAT, "language": "English", "turn": 1},
        {"conversation": CHAT, "language": "German", "turn": 1},
    )
    assert read_tasks([math, alpaca, chats]).rows() == [
        ("competition_math_0", "MATH", "Algebra", "0 + 1 = ?", None),
        ("competition_math_1", "MATH", "Algebra", "1 + 1 = ?", None),
        ("competition_math_2", "MATH", "Algebra", "2 + 1 = ?", None),
        ("alpaca_0", "ALPACA", None, "Name a bird.", None),
        ("alpaca_1", "ALPACA", None, "Translate.\n\nowl", None),
        ("wildchat_0", "WILDCHAT", None, "name a bird", "English"),
        ("wildchat_1", "WILDCHAT", None, "name a bird", "German"),
    ]


def test_bailbench_is_a_sheet_whose_texts_may_have_commas_and_lines(tmp_path):
    file = sheet(
        tmp_path / "bailBench.csv",
        {"content": 'Say "no",\nthen yes.', "subcategory": "Nagging", "category": "Tedium"},
        {"content": "You lied.", "subcategory": "Reproach", "category": "Abuse"},
    )
    assert read_tasks([file]).select("task_id", "origin", "topic", "text").rows() == [
        ("bailbench_0", "BAILBENCH", "Tedium", 'Say "no",\nthen yes.'),
        ("bailbench_1", "BAILBENCH", "Abuse", "You lied."),
    ]


def test_a_task_may_stand_in_two_files_with_one_text_but_not_with_two(tmp_path):
    first = lines(tmp_path / "a.jsonl", "", {"id": "wildchat_8", "text": "Name a bird.", "topic": "biology"})
    same = lines(tmp_path / "b.jsonl", {"id": "wildchat_8", "text": "Name a bird."})
    assert usable_tasks(read_tasks([first, same]), seed=0).dropped == {"duplicate text": 1}
    other = lines(tmp_path / "c.jsonl", {"id": "wildchat_8", "text": "Name a fish."})
    with pytest.raises(BadInput, match=r"c\.jsonl, line 1: wildchat_8 has another text at .*a\.jsonl, line 2"):
        read_tasks([first, other])


ROWS = {
    "MATH": {"problem": "1 + 1 = ?", "type": "Algebra"},
    "MATH-500": {"problem": "1 + 1 = ?", "subject": "Algebra"},
    "Alpaca": {"instruction": "Name a bird.", "input": ""},
    "Alpaca's seed tasks": ALPACA_SEED,
    "WildChat": {"conversation": CHAT, "language": "English"},
    "BailBench": {"content": "You lied.", "category": "Abuse"},
    "MT-bench": {"question_id": 81, "category": "writing", "turns": ["Write."]},
    "tasks by topic": {"id": "bailbench_3", "text": "You lied.", "topic": "Abuse"},
}


@pytest.mark.parametrize("name", ROWS)
def test_every_format_has_known_origins_and_says_what_is_wrong_in_which_line_and_column(name, tmp_path):
    good = ROWS[name]
    assert set(read_tasks([lines(tmp_path / "good.jsonl", good)])["origin"]) <= set(ORIGINS)
    (row,) = [row for row in FORMATS if row.name == name]
    for column in row.marks:
        wrong = lines(tmp_path / "wrong.jsonl", good, "", {key: good[key] for key in good if key != column})
        with pytest.raises(BadInput, match=rf"wrong\.jsonl, line 3, column {column}: missing; wanted .+\n.*http"):
            read_tasks([wrong])
        wrong = lines(tmp_path / "wrong.jsonl", good, good | {column: {"no": "text"}})
        with pytest.raises(BadInput, match=rf'wrong\.jsonl, line 2, column {column}: {{"no": "text"}}; wanted a valid'):
            read_tasks([wrong])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("{", r"line 2: not JSON .* found \{\. Correct it"),
        ("[1]", r"line 2: \[1\]; wanted one JSON object"),
        ({"id": "stress_1", "text": "x"}, r'line 2, column id: "stress_1"; wanted an id that begins with competition_'),
        ({"id": "wildchat_1", "text": None}, r"line 2, column text: null; wanted a valid string \(what to do\)"),
    ],
)
def test_a_broken_line_is_shown(wrong, message, tmp_path):
    with pytest.raises(BadInput, match=rf"tasks\.jsonl, {message}"):
        read_tasks([lines(tmp_path / "tasks.jsonl", ROWS["tasks by topic"], wrong)])


def test_a_nested_column_is_named_by_its_path(tmp_path):
    wrong = ROWS["WildChat"] | {"conversation": [{"role": "user"}]}
    with pytest.raises(BadInput, match=r"column conversation\.0\.content: missing; wanted the messages"):
        read_tasks([lines(tmp_path / "chats.jsonl", wrong)])


def test_a_file_of_another_kind_is_refused_with_what_was_wanted(tmp_path):
    with pytest.raises(BadInput, match=r"other\.jsonl has the columns prompt, answer, and no known.*BailBench \(cat"):
        read_tasks([lines(tmp_path / "other.jsonl", {"prompt": "Hello", "answer": "Hi"})])
    with pytest.raises(BadInput, match=r"empty\.jsonl is empty"):
        read_tasks([lines(tmp_path / "empty.jsonl", "")])
    with pytest.raises(BadInput, match=r"gone\.jsonl is not there"):
        read_tasks([tmp_path / "gone.jsonl"])
    (tmp_path / "not.parquet").write_text("no")
    with pytest.raises(BadInput, match=r"not\.parquet could not be read as Parquet"):
        read_tasks([tmp_path / "not.parquet"])


def test_a_broken_sheet_is_refused_with_its_line(tmp_path):
    file = tmp_path / "bailBench.csv"
    file.write_text("content,category\nYou lied.,Abuse\nToo few\n")
    with pytest.raises(BadInput, match=r"bailBench\.csv, line 3, column category: null; wanted a valid string"):
        read_tasks([file])
    file.write_text('content,category\nYou lied.,Abuse\n"Never ended,Abuse\n')
    with pytest.raises(BadInput, match=r"bailBench\.csv, line 3: unexpected end of data; wanted CSV"):
        read_tasks([file])
    file.write_bytes(b"content,category\n\xff,Abuse\n")
    with pytest.raises(BadInput, match="is not UTF-8"):
        read_tasks([file])


def test_a_wrong_row_of_a_parquet_file_is_named_by_its_number(tmp_path):
    file = parquet(tmp_path / "math.parquet", ROWS["MATH"], {"problem": None, "type": "Algebra"})
    with pytest.raises(BadInput, match=r"math\.parquet, row 2, column problem: null"):
        read_tasks([file])
