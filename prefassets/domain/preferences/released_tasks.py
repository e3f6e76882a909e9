"""Task files as they were released: what a row of each is, and the one way in for all of them.

A file's format is recognised by its columns. What identifies a task is the number of its row, counted from 0, as in the
reports (`alpaca_1400` is row 1400 of Alpaca), unless the file brings identifiers of its own.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any, ClassVar, NoReturn

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from prefassets.domain.json_rows import json_rows
from prefassets.domain.preferences.tasks import TASK_SCHEMA
from prefassets.domain.prism.released import BadInput

SUFFIXES = (".jsonl", ".csv", ".parquet")
ORIGIN_OF_PREFIX = {
    "competition_math_": "MATH",
    "math500_": "MATH",
    "alpaca_": "ALPACA",
    "wildchat_": "WILDCHAT",
    "bailbench_": "BAILBENCH",
}
FOUND_SCHEMA = pl.Schema({**TASK_SCHEMA, "language": pl.String()})


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Row(_Part):
    """A row of a released file. What it means is in its format's `task`."""

    name: ClassVar[str]
    marks: ClassVar[frozenset[str]]  # columns that only this format has together
    home_page: ClassVar[str]

    def task(self, number: int) -> dict[str, str | None]:
        """The row, `number` in its file, as a task: some of the columns of `FOUND_SCHEMA`."""
        raise NotImplementedError


class _Math(_Row):
    name = "MATH"
    marks = frozenset({"problem", "type"})
    home_page = "https://huggingface.co/datasets/qwedsacf/competition_math"

    problem: str = Field(description="the problem")
    type: str = Field(description="its subject")

    def task(self, number: int) -> dict[str, str | None]:
        return {
            "task_id": f"competition_math_{number}",
            "origin": "MATH",
            "topic": self.type,
            "text": self.problem,
        }


class _Math500(_Row):
    name = "MATH-500"
    marks = frozenset({"problem", "subject"})
    home_page = "https://huggingface.co/datasets/HuggingFaceH4/MATH-500"

    problem: str = Field(description="the problem")
    subject: str = Field(description="its subject")

    def task(self, number: int) -> dict[str, str | None]:
        return {
            "task_id": f"math500_{number}",
            "origin": "MATH",
            "topic": self.subject,
            "text": self.problem,
        }


class _Alpaca(_Row):
    name = "Alpaca"
    marks = frozenset({"instruction", "input"})
    home_page = "https://huggingface.co/datasets/tatsu-lab/alpaca"

    instruction: str = Field(description="what to do")
    input: str = Field(description="what to do it to; empty for nothing")

    def task(self, number: int) -> dict[str, str | None]:
        return {"task_id": f"alpaca_{number}", "origin": "ALPACA", "text": _with_input(self.instruction, self.input)}


class _Instance(_Part):
    input: str


class _AlpacaSeed(_Row):
    name = "Alpaca's seed tasks"
    marks = frozenset({"instruction", "instances"})
    home_page = "https://github.com/tatsu-lab/stanford_alpaca"

    id: str = Field(description="`seed_task_0` and so on")
    instruction: str = Field(description="what to do")
    instances: list[_Instance] = Field(min_length=1, description="what to do it to, examples; the first is taken")

    def task(self, number: int) -> dict[str, str | None]:
        text = _with_input(self.instruction, self.instances[0].input)
        return {"task_id": f"alpaca_{self.id}", "origin": "ALPACA", "text": text}


class _Message(_Part):
    content: str | None  # null for nothing


class _WildChat(_Row):
    name = "WildChat"
    marks = frozenset({"conversation", "language"})
    home_page = "https://huggingface.co/datasets/allenai/WildChat-1M"

    conversation: list[_Message] = Field(min_length=1, description="the messages; the first, the user's, is taken")
    language: str = Field(description="the language of the conversation, `English` and so on")

    def task(self, number: int) -> dict[str, str | None]:
        return {
            "task_id": f"wildchat_{number}",
            "origin": "WILDCHAT",
            "text": self.conversation[0].content or "",
            "language": self.language,
        }


class _BailBench(_Row):
    name = "BailBench"
    marks = frozenset({"content", "category"})
    home_page = "https://github.com/Phylliida/BailStudy"

    content: str = Field(description="the prompt")
    category: str = Field(description="why some models leave")

    def task(self, number: int) -> dict[str, str | None]:
        return {
            "task_id": f"bailbench_{number}",
            "origin": "BAILBENCH",
            "topic": self.category,
            "text": self.content,
        }


class _MtBench(_Row):
    name = "MT-bench"
    marks = frozenset({"turns", "category"})
    home_page = "https://github.com/lm-sys/FastChat"

    question_id: int = Field(description="the question")
    turns: list[str] = Field(min_length=1, description="what the user says; the first turn is taken")
    category: str = Field(description="writing, roleplay and so on")

    def task(self, number: int) -> dict[str, str | None]:
        return {
            "task_id": f"mt_bench_{self.question_id}",
            "origin": "MT_BENCH",
            "topic": self.category,
            "text": self.turns[0],
        }


class _Listed(_Row):
    """A list of tasks that were sorted by topic already, of one origin or several; `id` says which."""

    name = "tasks by topic"
    marks = frozenset({"id", "text"})
    home_page = "https://github.com/oscar-gilg/probing-persona-preferences"

    id: str = Field(description="`wildchat_8` and so on")
    text: str = Field(description="what to do")
    topic: str | None = Field(default=None, description="what it is about")

    @field_validator("id")
    @classmethod
    def _names_its_origin(cls, task_id: str) -> str:
        if not task_id.startswith(tuple(ORIGIN_OF_PREFIX)):
            raise ValueError(f"an id that begins with {', '.join(ORIGIN_OF_PREFIX)}")
        return task_id

    def task(self, number: int) -> dict[str, str | None]:
        origin = next(origin for prefix, origin in ORIGIN_OF_PREFIX.items() if self.id.startswith(prefix))
        return {"task_id": self.id, "origin": origin, "topic": self.topic, "text": self.text}


FORMATS: tuple[type[_Row], ...] = (
    _Math,
    _Math500,
    _Alpaca,
    _AlpacaSeed,
    _WildChat,
    _BailBench,
    _MtBench,
    _Listed,
)


def _with_input(instruction: str, given: str) -> str:
    return f"{instruction}\n\n{given}" if given.strip() else instruction


def read_tasks(files: Sequence[Path]) -> pl.DataFrame:
    """Parse and check files of tasks, each JSON lines, CSV or Parquet.

    Blank lines are skipped; columns that are not needed are not read. An Alpaca task is its instruction and, after a
    blank line, its input; of a conversation only the first message is a task.

    Returns:
        Every row of every file in order, with the columns of `TASK_SCHEMA` and `language`. `topic` and `language` are
        empty where the file has none. One task may stand in two files, with one text.

    Raises:
        BadInput: the first thing that is wrong: a file is missing, empty or of no known format; a line is not what its
            format wants; two tasks have one identifier.
    """
    tasks: list[dict[str, str | None]] = []
    places: list[str] = []
    for file in files:
        if not file.is_file():
            raise BadInput(f"{file} is not there. A file of tasks was wanted.")
        for place, task in _tasks_of(file):
            tasks.append(task)
            places.append(place)
    found = pl.DataFrame(tasks, schema=FOUND_SCHEMA)
    unequal = (
        found.with_row_index("row")
        .with_columns(pl.col("row", "text").first().over("task_id").name.prefix("first_"))
        .filter(pl.col("text") != pl.col("first_text"))
    )
    if not unequal.is_empty():
        wrong = unequal.row(0, named=True)
        raise BadInput(
            f"{places[wrong['row']]}: {wrong['task_id']} has another text at {places[wrong['first_row']]}; one text "
            "per task was wanted. Leave one of the files out."
        )
    return found


def _tasks_of(file: Path) -> Iterator[tuple[str, dict[str, str | None]]]:
    """The tasks of a file, each with the place where it stands."""
    row: type[_Row] | None = None
    unit = "row" if file.suffix == ".parquet" else "line"
    for number, (place, raw) in enumerate(_rows(file)):
        if row is None:
            row = _format(file, raw)
        try:
            yield f"{file}, {unit} {place}", row.model_validate(raw).task(number)
        except ValidationError as error:
            _refuse(file, f"{unit} {place}", row, error)
    if row is None:
        raise BadInput(f"{file} is empty. At least one task was wanted.")


def _format(file: Path, raw: dict[str, Any]) -> type[_Row]:
    for row in FORMATS:
        if row.marks <= raw.keys():
            return row
    known = "; ".join(f"{row.name} ({', '.join(sorted(row.marks))})" for row in FORMATS)
    raise BadInput(
        f"{file} has the columns {', '.join(map(str, raw))}, and no known file of tasks has those. Known are, by their "
        f"columns: {known}. Correct the file, or take it out of its folder."
    )


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a file as mappings, with the number of their line or, of a Parquet file, row, from 1."""
    if file.suffix == ".parquet":
        yield from _parquet_rows(file)
    elif file.suffix == ".csv":
        yield from _csv_rows(file)
    else:
        yield from json_rows(file)


def _csv_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{file} is not UTF-8 ({error}). Save it as UTF-8.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for raw in reader:
            yield reader.line_num, raw
    except csv.Error as error:
        raise BadInput(f"{file}, line {reader.reader.line_num}: {error}; wanted CSV. Correct the file.") from error


def _parquet_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        schema = pl.read_parquet_schema(file)
        needed = [name for name in schema if any(name in row.model_fields for row in FORMATS)]
        # Of conversations only the beginning: WildChat's are long.
        rows = pl.read_parquet(file, columns=needed or None).with_columns(pl.selectors.list().list.head(1))
    except pl.exceptions.PolarsError as error:
        raise BadInput(f"{file} could not be read as Parquet: {error}. Download it again.") from error
    yield from enumerate(rows.iter_rows(named=True), 1)


def _refuse(file: Path, place: str, row: type[_Row], error: ValidationError) -> NoReturn:
    """Refuse a row for the first thing that is wrong with it."""
    first = error.errors(include_url=False)[0]
    column, *_ = first["loc"]
    meaning = row.model_fields[str(column)].description
    if first["type"] == "missing":
        problem = f"missing; wanted {meaning}"
    else:
        wanted = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        problem = f"{_shown(first['input'])}; wanted {wanted} ({meaning})"
    raise BadInput(
        f"{file}, {place}, column {'.'.join(map(str, first['loc']))}: {problem}.\n"
        f"Correct the file, or download {row.name} again: {row.home_page}."
    ) from error


def _shown(value: object) -> str:
    return shorten(json.dumps(value, ensure_ascii=False, default=str), 80, placeholder=" ...")
