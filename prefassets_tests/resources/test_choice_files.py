"""Every kind of file gives the same choices, and a wrong one says where."""

import polars as pl
import pytest

from prefassets.domain.prism.released import BadInput
from prefassets.resources.choice_files import read_choices, read_tasks

CHOICES = pl.DataFrame(
    [("x 1", "no", "a"), ("no", "1e5", "refusal"), ("1e5", "x 1", "unparseable")],
    ["task_a", "task_b", "choice"],
    orient="row",
)
LIST = """\
- task_a: x 1
  task_b: no
  choice: A
  origin_a: MATH
- {task_a: no, task_b: 1e5, choice: refusal}
- {task_a: 1e5, task_b: x 1, choice: Unparseable}
"""


def written(folder, name, text):
    file = folder / name
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.yaml", LIST),
        ("mapping.yml", "model: m\ncomparisons:\n" + LIST),
        ("rows.csv", CHOICES.with_columns(more=pl.lit("a\nb")).write_csv()),
        ("rows.jsonl", CHOICES.with_columns(more=pl.lit(1)).write_ndjson().replace("\n", "\n\n")),
    ],
)
def test_every_kind_of_text_holds_the_same_choices(tmp_path, name, text):
    assert read_choices(written(tmp_path, name, text)).equals(CHOICES)


def test_parquet_holds_them_too_whatever_type_a_task_has(tmp_path):
    CHOICES.with_columns(more=1).write_parquet(tmp_path / "rows.parquet")
    assert read_choices(tmp_path / "rows.parquet").equals(CHOICES)
    numbered = pl.DataFrame({"task_a": [1, 2], "task_b": [2, 3], "choice": ["a", "b"]})
    numbered.cast({"choice": pl.Categorical}).write_parquet(tmp_path / "numbered.parquet")
    assert read_choices(tmp_path / "numbered.parquet")["task_b"].to_list() == ["2", "3"]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("c.yaml", LIST + "- {task_a: x, task_b: y, choice: c}\n", "line 7, column choice: 'c'; one of a, b, refusal"),
        ("c.yaml", LIST + "- {task_a: x, choice: a}\n", "line 7: 'task_b' is missing; there is task_a, choice"),
        ("c.yaml", LIST + "- {task_a: x, task_b: [y], choice: a}\n", "line 7, column 23: text was wanted as task_b"),
        ("c.yaml", LIST + "- {task_a: ~, task_b: y, choice: a}\n", "line 7, column task_a: None; a task was wanted"),
        ("c.yaml", LIST + "- x\n", "line 7, column 3: task_a, task_b, choice were wanted here"),
        ("c.yaml", LIST + "- {task_a: x\n", "line 8, column 1: not YAML"),
        ("c.yaml", "n_tasks: 2\nseed: 1\n", "under `comparisons`, was wanted; there is n_tasks, seed"),
        ("c.yaml", "comparisons: none\n", "line 1: a list, or a mapping that holds one under `comparisons`"),
        ("c.yaml", "", "holds no choices"),
        ("c.csv", "task_a,task_b\nx,y\n", "line 1: 'choice' is missing; there is task_a, task_b"),
        ("c.csv", 'task_a,task_b,choice,why\nx,y,a,"1\n2"\nx,y,d,\n', "line 4, column choice: 'd'; one of a, b"),
        ("c.csv", "task_a,task_b,choice\nx,y\n", "line 2: 2 values, 3 were wanted"),
        ("c.csv", "task_a,task_b,choice\nx,,a\n", "line 2, column task_b: ''; a task was wanted"),
        ("c.csv", "task_a,task_b,choice\n", "holds no choices"),
        ("c.jsonl", '{"task_a": "x",\n', "line 1, column 16: not JSON"),
        ("c.jsonl", "[1]\n", "line 1: an object was wanted, one a line"),
        ("c.jsonl", '\n{"task_a": "x", "task_b": "y", "choice": null}\n', "line 2, column choice: None; one of a"),
        ("c.parquet", "x", "cannot be read as Parquet"),
        ("c.xlsx", "x", "a file of choices ends in .csv, .parquet, .jsonl, .yaml, .yml; this one ends in '.xlsx'"),
    ],
)
def test_a_wrong_file_says_where_it_is_wrong_and_what_was_wanted(tmp_path, name, text, complaint):
    with pytest.raises(BadInput) as error:
        read_choices(written(tmp_path, name, text))
    assert complaint in str(error.value)
    assert str(tmp_path / name) in str(error.value)


def test_a_file_that_is_not_there_or_not_text_says_so(tmp_path):
    with pytest.raises(BadInput, match=r"nothing\.csv does not exist; a file of choices was wanted"):
        read_choices(tmp_path / "nothing.csv")
    (tmp_path / "c.csv").write_bytes(b"task_a,task_b,choice\nx,\xff,a\n")
    with pytest.raises(BadInput, match=r"c\.csv, line 2: not UTF-8 text"):
        read_choices(tmp_path / "c.csv")
    pl.DataFrame({"task_a": ["x"]}).write_parquet(tmp_path / "c.parquet")
    with pytest.raises(BadInput, match="'task_b' is missing; there is task_a"):
        read_choices(tmp_path / "c.parquet")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tasks.csv", "task_id,mu\nz,1\nno,2\n1e5,3\n"),
        ("tasks.txt", "z\nno\n1e5\n"),
        ("tasks.jsonl", '{"task_id": "z"}\n{"task_id": "no"}\n{"task_id": "1e5"}\n'),
        ("tasks.yaml", "[z, no, 1e5]"),
        ("tasks.yaml", "tasks:\n- task_id: z\n- task_id: no\n- task_id: 1e5\n"),
    ],
)
def test_tasks_keep_their_order(tmp_path, name, text):
    assert read_tasks(written(tmp_path, name, text)) == ["z", "no", "1e5"]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("t.txt", "x\ny\nx\n", "line 3, column task_id: 'x'; each task has one place; it stands further up"),
        ("t.txt", "x\n\ny\n", "line 2, column task_id: ''; a task was wanted"),
        ("t.csv", "id\nx\n", "line 1: 'task_id' is missing; there is id"),
        ("t.txt", "", "holds no tasks"),
    ],
)
def test_a_wrong_list_of_tasks_says_where(tmp_path, name, text, complaint):
    with pytest.raises(BadInput) as error:
        read_tasks(written(tmp_path, name, text))
    assert complaint in str(error.value)
