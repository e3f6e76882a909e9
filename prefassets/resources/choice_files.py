"""Files of choices and of tasks, as measurements leave them: YAML, CSV, Parquet or JSON lines in, a frame out."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from prefassets.domain.preferences.comparisons import CHOICES
from prefassets.domain.prism.released import BadInput
from prefassets.resources.row_files import Place, csv_rows, lacking, line_from, parquet_rows, refuse, text_of

COLUMNS = ["task_a", "task_b", "choice"]
TASK = "task_id"


def read_choices(file: Path) -> pl.DataFrame:
    """The choices of a file: `task_a`, `task_b`, `choice`, a row each, in the file's order.

    YAML holds a list of mappings, or a mapping with such a list under `comparisons`; other columns and keys are left
    out. The case of a choice does not matter.

    Raises:
        BadInput: naming file, line and column: the file cannot be read as what its name says, a column is missing, a
            task is empty, or a choice is none of a, b, refusal, unparseable.
    """
    rows, place = _rows(file, COLUMNS, "comparisons", "choices")
    rows = rows.with_columns(pl.col("choice").str.strip_chars().str.to_lowercase().alias("as_read"))
    for column in ("task_a", "task_b"):
        refuse(file, rows, column, pl.col(column).is_null() | (pl.col(column) == ""), place, "a task was wanted")
    unknown = pl.col("as_read").is_null() | ~pl.col("as_read").is_in(CHOICES)
    refuse(file, rows, "choice", unknown, place, f"one of {', '.join(CHOICES)} was wanted")
    if rows.is_empty():
        raise BadInput(f"{file} holds no choices.")
    return rows.select("task_a", "task_b", choice="as_read")


def read_tasks(file: Path) -> list[str]:
    """The tasks of a file, in its order: its column `task_id`, or the lines of a .txt, or the items of a YAML list.

    Raises:
        BadInput: naming file and line: it cannot be read as what its name says, a task is empty or stands twice.
    """
    if file.suffix == ".txt":
        lines = text_of(file).splitlines()
        rows, place = pl.DataFrame({TASK: [line.strip() for line in lines]}, {TASK: pl.String}), line_from(1)
    else:
        rows, place = _rows(file, [TASK], "tasks", "tasks")
    refuse(file, rows, TASK, pl.col(TASK).is_null() | (pl.col(TASK) == ""), place, "a task was wanted")
    refuse(file, rows, TASK, ~pl.col(TASK).is_first_distinct(), place, "each task has one place; it stands further up")
    if rows.is_empty():
        raise BadInput(f"{file} holds no tasks.")
    return rows[TASK].to_list()


def _rows(file: Path, columns: list[str], under: str, what: str) -> tuple[pl.DataFrame, Place]:
    """These columns of a file, as text, and where each row stands."""
    readers = {".csv": _csv, ".parquet": _parquet, ".jsonl": _json_lines, ".yaml": _yaml, ".yml": _yaml}
    if file.suffix not in readers:
        raise BadInput(f"{file}: a file of {what} ends in {', '.join(readers)}; this one ends in {file.suffix!r}.")
    if not file.is_file():
        raise BadInput(f"{file} does not exist; a file of {what} was wanted ({', '.join(columns)}).")
    return readers[file.suffix](file, columns, under)


def _csv(file: Path, columns: list[str], under: str) -> tuple[pl.DataFrame, Place]:
    return csv_rows(file, columns)


def _parquet(file: Path, columns: list[str], under: str) -> tuple[pl.DataFrame, Place]:
    rows, place = parquet_rows(file, columns)
    return rows.cast(pl.String), place


def _json_lines(file: Path, columns: list[str], under: str) -> tuple[pl.DataFrame, Place]:
    rows: list[list[str | None]] = []
    lines = []
    for number, text in enumerate(text_of(file).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise BadInput(f"{file}, line {number}, column {error.colno}: not JSON: {error.msg}.") from error
        if not isinstance(found, dict):
            raise BadInput(f"{file}, line {number}: an object was wanted, one a line.")
        if absent := [name for name in columns if name not in found]:
            raise lacking(file, f"line {number}", absent[0], ", ".join(found))
        rows.append([None if found[name] is None else str(found[name]) for name in columns])
        lines.append(number)
    return _frame(rows, columns), lambda row: f"line {lines[row]}"


def _yaml(file: Path, columns: list[str], under: str) -> tuple[pl.DataFrame, Place]:
    """Composed but not constructed: nodes know their place in the file, and text stays text (`no`, `1e5`)."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, many times as fast, where it is installed
    try:
        root = yaml.compose(text_of(file), Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise BadInput(f"{file}{at}: not YAML: {error.problem}.") from error
    wanted = f"a list, or a mapping that holds one under `{under}`, was wanted"
    if isinstance(root, yaml.MappingNode):
        keys = {key.value: value for key, value in root.value}
        if under not in keys:
            raise BadInput(f"{file}, line {root.start_mark.line + 1}: {wanted}; there is {', '.join(map(str, keys))}.")
        root = keys[under]
    if root is None:
        return _frame([], columns), line_from(1)
    if not isinstance(root, yaml.SequenceNode):
        raise BadInput(f"{file}, line {root.start_mark.line + 1}: {wanted}.")
    rows = [list(_of_node(file, node, columns)) for node in root.value]
    marks = [node.start_mark for node in root.value]
    return _frame(rows, columns), lambda row: f"line {marks[row].line + 1}"


def _of_node(file: Path, node: Any, columns: list[str]) -> Iterator[str | None]:
    """The text of these keys of one item of a YAML list; a lone column may also be the item itself."""
    line = f"line {node.start_mark.line + 1}"
    if node.id == "scalar" and len(columns) == 1:
        yield node.value
        return
    if node.id != "mapping":
        raise BadInput(f"{file}, {line}, column {node.start_mark.column + 1}: {', '.join(columns)} were wanted here.")
    values = {key.value: value for key, value in node.value}
    for name in columns:
        if name not in values:
            raise lacking(file, line, name, ", ".join(map(str, values)))
        value = values[name]
        if value.id != "scalar":
            raise BadInput(
                f"{file}, line {value.start_mark.line + 1}, column {value.start_mark.column + 1}: text was wanted as "
                f"{name}."
            )
        yield None if value.tag == "tag:yaml.org,2002:null" else value.value


def _frame(rows: list[list[str | None]], columns: list[str]) -> pl.DataFrame:
    return pl.DataFrame(rows, dict.fromkeys(columns, pl.String), orient="row")
