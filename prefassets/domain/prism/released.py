"""PRISM as released: what a line of `survey.jsonl` and of `utterances.jsonl` is, and the one way in for both.

Columns and categories are those of the published codebook (https://doi.org/10.57967/hf/2113). What the platform reads
is held to them strictly; what it only stores (countries, study ids, display orders) may be empty or free text.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from types import NoneType
from typing import Annotated, Any, Generic, Literal, NoReturn, TypeVar, get_args, get_origin

import polars as pl
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

HOME_PAGE = "https://huggingface.co/datasets/HannahRoseKirk/prism-alignment"
PREFER_NOT = "Prefer not to say"  # how the survey records an answer not given


class BadInput(ValueError):
    """Input is not what it must be. The message names the file, the line and the column, and what was wanted."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Row(_Part):
    model_config = ConfigDict(extra="allow")  # to count them; they stay out of the tables


def _nan_is_null(value: object) -> object:
    return None if value != value else value  # pandas writes a missing value as NaN


def _number_as_text(value: object) -> object:
    return str(value) if type(value) in (int, float) else value


def _bool_as_number(value: object) -> object:
    return int(value) if isinstance(value, bool) else value


YesNoUnsure = Literal["Yes", "No", "Unsure"]
FreeText = Annotated[str | None, BeforeValidator(_number_as_text), BeforeValidator(_nan_is_null)]
Importance = Annotated[
    Annotated[int, Field(ge=0, le=100)] | None,
    BeforeValidator(_nan_is_null),
    Field(description="stated importance, 0-100; null if not rated"),
]
Ticked = Annotated[
    Annotated[int, Field(ge=0, le=1)] | None,
    BeforeValidator(_bool_as_number),
    BeforeValidator(_nan_is_null),
    Field(description="1 ticked, 0 not; null if the question was not shown"),
]
Position = Annotated[
    Annotated[int, Field(ge=1)] | None,
    BeforeValidator(_nan_is_null),
    Field(description="place on the screen, from 1 (not a rank); null if not shown"),
]
OTHER_TEXT = "what the participant typed beside `other`"
Answer = TypeVar("Answer")


class _PerUsecase(_Part, Generic[Answer]):
    homework_assistance: Answer
    research: Answer
    source_suggestions: Answer
    professional_work: Answer
    creative_writing: Answer
    casual_conversation: Answer
    personal_recommendations: Answer
    daily_productivity: Answer
    technical_or_programming_help: Answer
    travel_guidance: Answer
    lifestyle_and_hobbies: Answer
    well_being_guidance: Answer = Field(alias="well-being_guidance")
    medical_guidance: Answer
    financial_guidance: Answer
    games: Answer
    historical_or_news_insight: Answer
    relationship_advice: Answer
    language_learning: Answer
    other: Answer


class _PerProperty(_Part, Generic[Answer]):
    values: Answer
    creativity: Answer
    fluency: Answer
    factuality: Answer
    diversity: Answer
    safety: Answer
    personalisation: Answer
    helpfulness: Answer
    other: Answer


class Usecases(_PerUsecase[Ticked]):
    """What the participant uses language models for."""

    other_text: FreeText = Field(None, description=OTHER_TEXT)


class UsecasesOrder(_PerUsecase[Position]):
    """Where each use case stood on the screen."""


class StatedPrefs(_PerProperty[Importance]):
    """How important the participant says each property of a language model is."""

    other_text: FreeText = Field(None, description=OTHER_TEXT)


class StatedPrefsOrder(_PerProperty[Position]):
    """Where each property stood on the screen."""


class Religion(_Part):
    """Religion, as the participant described it and as GPT-4 and the authors categorised it."""

    self_described: FreeText = Field(description="in the participant's words, lower case")
    categorised: Literal[
        "Non-religious",
        "Christian",
        "Agnostic",
        "Prefer not to say",
        "Jewish",
        "Muslim",
        "Spiritual",
        "Buddhist",
        "Folk religion",
        "Hindu",
        "Other",
        "Sikh",
    ] = Field(description="one of 12 categories")
    simplified: Literal["No Affiliation", "Christian", "Prefer not to say", "Jewish", "Muslim", "Other"] = Field(
        description="one of 6 categories"
    )


class Ethnicity(_Part):
    """Ethnicity, as the participant described it and as GPT-4 and the authors categorised it."""

    self_described: FreeText = Field(description="in the participant's words, lower case")
    categorised: Literal[
        "White",
        "Black / African",
        "Hispanic / Latino",
        "Asian",
        "Prefer not to say",
        "Mixed",
        "Other",
        "Middle Eastern / Arab",
        "Indigenous / First Peoples",
    ] = Field(description="one of 9 categories")
    simplified: Literal["White", "Black", "Hispanic", "Asian", "Prefer not to say", "Mixed", "Other"] = Field(
        description="one of 7 categories"
    )


class Location(_Part):
    """Where the participant was born and lives."""

    birth_country: FreeText = Field(description="country of birth")
    birth_countryISO: FreeText = Field(description="country of birth, ISO 3166 alpha-3")
    birth_region: FreeText = Field(description="UN region of birth")
    birth_subregion: FreeText = Field(description="UN subregion of birth")
    reside_country: FreeText = Field(description="country of residence")
    reside_region: Literal["Africa", "Americas", "Asia", "Europe", "Oceania", "Prefer not to say"] = Field(
        description="UN region of residence"
    )
    reside_subregion: FreeText = Field(description="UN subregion of residence")
    reside_countryISO: FreeText = Field(description="country of residence, ISO 3166 alpha-3")
    same_birth_reside_country: Literal["Yes", "No", "Prefer not to say"] = Field(
        description="born in the country of residence"
    )
    special_region: Literal[
        "US",
        "Europe",
        "UK",
        "Latin America and the Caribbean",
        "Australia and New Zealand",
        "Africa",
        "Asia",
        "Northern America",
        "Middle East",
        "Prefer not to say",
        "Oceania",
    ] = Field(description="region in the paper's figures; follows the country of BIRTH")


class SurveyRow(_Row):
    """One participant: one line of `survey.jsonl`."""

    user_id: str = Field(description="the participant, `user0` to `user1499`")
    survey_only: bool = Field(description="answered the survey and held no conversation")
    num_completed_conversations: int = Field(ge=0, description="conversations completed")
    timing_duration_s: float | None = Field(description="time taken for the survey, seconds")
    timing_duration_mins: float | None = Field(description="time taken for the survey, minutes")
    generated_datetime: FreeText = Field(description="when the survey was answered, `YYYY-MM-DD HH:MM:SS`")
    consent: str = Field(description="consent to take part")
    consent_age: str = Field(description="confirmation of being 18 or older")
    lm_familiarity: Literal["Not familiar at all", "Somewhat familiar", "Very familiar"] = Field(
        description="familiarity with language models"
    )
    lm_indirect_use: YesNoUnsure = Field(description="has used a language model inside another product")
    lm_direct_use: YesNoUnsure = Field(description="has used a language model directly")
    lm_frequency_use: Annotated[
        Literal["Less than one a year", "Once per month", "More than once a month", "Every week", "Every day"] | None,
        BeforeValidator(_nan_is_null),
    ] = Field(description="how often; null if the question was not shown")
    self_description: str = Field(description="the participant's own words on values and beliefs")
    system_string: str = Field(description="how the participant wants a language model to behave")
    age: Literal[
        "18-24 years old",
        "25-34 years old",
        "35-44 years old",
        "45-54 years old",
        "55-64 years old",
        "65+ years old",
        "Prefer not to say",
    ] = Field(description="age band")
    gender: Literal["Male", "Female", "Non-binary / third gender", "Prefer not to say"] = Field(description="gender")
    employment_status: Literal[
        "Working full-time",
        "Working part-time",
        "Student",
        "Unemployed, seeking work",
        "Retired",
        "Homemaker / Stay-at-home parent",
        "Unemployed, not seeking work",
        "Prefer not to say",
    ] = Field(description="employment")
    education: Literal[
        "Some Primary",
        "Completed Primary School",
        "Some Secondary",
        "Completed Secondary School",
        "Vocational",
        "Some University but no degree",
        "University Bachelors Degree",
        "Graduate / Professional degree",
        "Prefer not to say",
    ] = Field(description="highest education")
    marital_status: Literal["Never been married", "Married", "Divorced / Separated", "Prefer not to say", "Widowed"] = (
        Field(description="marital status")
    )
    english_proficiency: Literal["Native speaker", "Fluent", "Advanced", "Intermediate", "Basic"] = Field(
        description="command of English"
    )
    study_id: FreeText = Field(description="the recruitment study")
    study_locale: FreeText = Field(description="where that study recruited")
    religion: Religion = Field(description="religion, as described and as categorised")
    ethnicity: Ethnicity = Field(description="ethnicity, as described and as categorised")
    location: Location = Field(description="countries and regions of birth and residence")
    lm_usecases: Usecases = Field(description="what the participant uses language models for")
    stated_prefs: StatedPrefs = Field(description="stated importance of properties of a language model, 0-100")
    order_lm_usecases: UsecasesOrder = Field(description="place of each use case on the screen")
    order_stated_prefs: StatedPrefsOrder = Field(description="place of each property on the screen (not a rank)")
    included_in_US_REP: bool = Field(description="in the sample that represents the United States")
    included_in_UK_REP: bool = Field(description="in the sample that represents the United Kingdom")
    included_in_balanced_subset: bool = Field(description="in the subset balanced over conversation types")


class UtteranceRow(_Row):
    """One scored response: one line of `utterances.jsonl`."""

    utterance_id: str = Field(description="the response, `ut0` to `ut68370`")
    interaction_id: str = Field(description="the prompt: one per conversation and turn")
    conversation_id: str = Field(description="the conversation, `c0` to `c8010`")
    user_id: str = Field(description="the participant who asked and scored")
    turn: int = Field(ge=0, description="turn within the conversation; 0 is the opening prompt")
    within_turn_id: int = Field(ge=0, description="which of the responses to this prompt, from 0")
    included_in_balanced_subset: bool = Field(description="in the subset balanced over conversation types")
    conversation_type: Literal["unguided", "values guided", "controversy guided"] = Field(
        description="what the participant was asked to talk about"
    )
    user_prompt: str = Field(description="what the participant wrote; `EMPTY STRING` if nothing")
    model_response: str = Field(description="what the model answered; `EMPTY STRING` if nothing")
    model_name: Literal[
        "command",
        "claude-instant-1",
        "models/chat-bison-001",
        "HuggingFaceH4/zephyr-7b-beta",
        "meta-llama/Llama-2-7b-chat-hf",
        "command-light",
        "command-nightly",
        "gpt-4-1106-preview",
        "gpt-4",
        "meta-llama/Llama-2-70b-chat-hf",
        "gpt-3.5-turbo",
        "timdettmers/guanaco-33b-merged",
        "claude-2.1",
        "mistralai/Mistral-7B-Instruct-v0.1",
        "claude-2",
        "tiiuae/falcon-7b-instruct",
        "OpenAssistant/oasst-sft-4-pythia-12b-epoch-3.5",
        "meta-llama/Llama-2-13b-chat-hf",
        "luminous-supreme-control",
        "google/flan-t5-xxl",
        "luminous-extended-control",
    ] = Field(description="the model that answered, long name")
    model_provider: Literal["huggingface_api", "cohere", "anthropic", "openai", "google", "aleph"] = Field(
        description="who served the model"
    )
    score: int = Field(ge=1, le=100, description="the participant's score, 1 (terrible) to 100 (perfect)")
    if_chosen: bool = Field(description="the conversation went on with this text")


def _columns_of(part: type[BaseModel]) -> dict[str, FieldInfo]:
    return {info.alias or name: info for name, info in part.model_fields.items()}


def _inner(annotation: Any) -> tuple[Any, bool]:
    """The type inside `Annotated` and `| None`, and whether `None` was allowed."""
    if get_origin(annotation) is Annotated:
        return _inner(get_args(annotation)[0])
    if NoneType in get_args(annotation):
        (other,) = (alternative for alternative in get_args(annotation) if alternative is not NoneType)
        return _inner(other)[0], True
    return annotation, False


def _dtype(annotation: Any) -> pl.DataType:
    inner, _ = _inner(annotation)
    if get_origin(inner) is Literal:
        return pl.String()
    if issubclass(inner, BaseModel):
        return pl.Struct({name: _dtype(info.annotation) for name, info in _columns_of(inner).items()})
    return {str: pl.String(), int: pl.Int64(), float: pl.Float64(), bool: pl.Boolean()}[inner]


def _declared(row: type[_Row]) -> dict[str, tuple[pl.DataType, str, bool]]:
    return {
        name: (_dtype(info.annotation), info.description or "", _inner(info.annotation)[1])
        for name, info in _columns_of(row).items()
    }


# Column -> (type, meaning, may be empty), in released order.
SURVEY_COLUMNS = _declared(SurveyRow)
UTTERANCE_COLUMNS = _declared(UtteranceRow)


@dataclass(frozen=True)
class Released:
    """Validated PRISM, in released column order. `ignored` counts rows per column that the codebook does not have."""

    survey: pl.DataFrame
    utterances: pl.DataFrame
    ignored: Mapping[str, int] = field(default_factory=dict)


def read_released(survey: Path | Iterable[str], utterances: Path | Iterable[str]) -> Released:
    """Parse and check `survey.jsonl` and `utterances.jsonl`, given as paths or as their lines.

    Blank lines are skipped; columns that the codebook does not have are counted in `ignored` and left out.

    Raises:
        BadInput: the first thing that is wrong: a file is missing or empty; a line is not a JSON object, lacks a column
            or has a value of another type, range or category; an identifier stands twice; an utterance's user has no
            survey line; one interaction has two users, conversations, turns or prompts.
    """
    return _checked(
        _from_json(survey, "survey.jsonl", SurveyRow), _from_json(utterances, "utterances.jsonl", UtteranceRow)
    )


def check_released(survey: pl.DataFrame, utterances: pl.DataFrame) -> Released:
    """The checks of `read_released` for frames; rows are numbered from 1.

    Raises:
        BadInput: as `read_released`.
    """
    return _checked(_from_frame(survey, "survey", SurveyRow), _from_frame(utterances, "utterances", UtteranceRow))


@dataclass(frozen=True)
class _Source:
    """Where rows come from, so that an error can say where to look."""

    name: str
    unit: str  # "line" or "row"
    row: type[_Row]
    numbered: Iterable[tuple[int, Any]]
    validate: Callable[[Any], Any]
    remedy: str

    def refuse(self, number: int, column: str, problem: str, count: int = 1) -> NoReturn:
        place = f"{self.name}, {self.unit} {number}" + (f", column {column}" if column else "")
        more = {1: "", 2: f" One more {self.unit} is like it."}.get(
            count, f" {count - 1:,} more {self.unit}s are like it."
        )
        raise BadInput(f"{place}: {problem}.{more}{self.remedy}")


def _from_json(lines: Path | Iterable[str], name: str, row: type[_Row]) -> _Source:
    if isinstance(lines, Path) and not lines.is_file():
        raise BadInput(f"{lines} is not there. The released {name} was wanted: {HOME_PAGE}.")
    return _Source(
        name=str(lines) if isinstance(lines, Path) else name,
        unit="line",
        row=row,
        numbered=_numbered(lines),
        validate=row.__pydantic_validator__.validate_json,
        remedy=f"\nCorrect the file, or download {name} again: {HOME_PAGE}.",
    )


def _numbered(lines: Path | Iterable[str | bytes]) -> Iterator[tuple[int, str | bytes]]:
    if isinstance(lines, Path):
        with lines.open("rb") as file:  # bytes: the parser reads them faster than text, and checks that they are UTF-8
            yield from _numbered(file)
        return
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, line


def _from_frame(rows: pl.DataFrame, name: str, row: type[_Row]) -> _Source:
    return _Source(
        name=name,
        unit="row",
        row=row,
        numbered=enumerate(rows.iter_rows(named=True), 1),
        validate=row.__pydantic_validator__.validate_python,
        remedy="",
    )


def _checked(survey_source: _Source, utterances_source: _Source) -> Released:
    survey, utterances = _read(survey_source), _read(utterances_source)
    survey.refuse_repeated("user_id")
    utterances.refuse_repeated("utterance_id")
    utterances.refuse_unknown("user_id", survey)
    for column in ("user_id", "conversation_id", "turn", "user_prompt"):
        utterances.refuse_unequal(column, within=("interaction_id",))
    utterances.refuse_unequal("user_id", within=("conversation_id",))
    utterances.refuse_unequal("interaction_id", within=("conversation_id", "turn"))
    return Released(survey.rows, utterances.rows, survey.ignored + utterances.ignored)


@dataclass(frozen=True)
class _Table:
    """Rows that are right one by one, and the line that each came from."""

    source: _Source
    rows: pl.DataFrame
    numbers: list[int]
    ignored: Counter[str]

    def refuse_repeated(self, column: str) -> None:
        self._refuse(
            pl.col("index") != pl.col("first"),
            (column,),
            column,
            lambda row, first: f"{row[column]} stands on {first} too; each {column} was wanted once",
        )

    def refuse_unknown(self, column: str, other: "_Table") -> None:
        place = other.source
        self._refuse(
            ~pl.col(column).is_in(other.rows[column].to_list()),
            (column,),
            column,
            lambda row, _: f"{row[column]} has no {place.unit} in {place.name}, where every {column} was wanted",
        )

    def refuse_unequal(self, column: str, within: tuple[str, ...]) -> None:
        self._refuse(
            pl.col(column) != pl.col("expected"),
            within,
            column,
            lambda row, first: (
                f"{_shown(row[column])}, but {' and '.join(f'{name} {row[name]}' for name in within)} "
                f"has {_shown(row['expected'])} on {first}; one {column} was wanted"
            ),
        )

    def _refuse(
        self, wrong: pl.Expr, within: tuple[str, ...], column: str, problem: Callable[[dict[str, Any], str], str]
    ) -> None:
        """Refuse the table if any row is `wrong`. Beside each row stand its `index`, and of the first row with the same
        `within` its index, `first`, and its `expected` value of `column`."""
        found = (
            self.rows.with_row_index("index")
            .with_columns(first=pl.col("index").first().over(within), expected=pl.col(column).first().over(within))
            .filter(wrong)
        )
        if not found.is_empty():
            row = found.row(0, named=True)
            first = f"{self.source.unit} {self.numbers[row['first']]}"
            self.source.refuse(self.numbers[row["index"]], column, problem(row, first), len(found))


def _read(source: _Source) -> _Table:
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    ignored: Counter[str] = Counter()
    refused: Counter[str] = Counter()  # column -> lines
    first: tuple[int, str, str] | None = None
    for number, raw in source.numbered:
        try:
            row = source.validate(raw)
        except ValidationError as error:
            column, problem = _problem(error, source.row)
            refused[column] += 1
            first = first or (number, column, problem)
            continue
        ignored.update(f"{source.name}: {name}" for name in row.model_extra)
        rows.append(row.model_dump(by_alias=True))
        numbers.append(number)
    if first:
        source.refuse(*first, refused[first[1]])
    if not rows:
        raise BadInput(f"{source.name} is empty. At least one {source.unit} was wanted.{source.remedy}")
    schema = {name: dtype for name, (dtype, _, _) in _declared(source.row).items()}
    return _Table(source, pl.DataFrame(rows, schema=schema), numbers, ignored)


def _problem(error: ValidationError, row: type[_Row]) -> tuple[str, str]:
    """The column of the first error, and the error in words."""
    found = error.errors(include_url=False)[0]
    column = ".".join(map(str, found["loc"]))
    if found["type"] == "json_invalid":
        where = found["ctx"]["error"].replace("at line 1 column", "at character")
        line = found["input"] if isinstance(found["input"], str) else found["input"].decode(errors="replace")
        return column, f"not JSON ({where}); wanted one JSON object, found {shorten(line, 60, placeholder=' ...')}"
    if not column:
        return column, f"{_shown(found['input'])}; wanted one JSON object"
    meaning = _meaning(row, found["loc"])
    if found["type"] == "missing":
        return column, f"missing; wanted {meaning}"
    return column, f"{_shown(found['input'])}; wanted {found['msg'].removeprefix('Input should be ')} ({meaning})"


def _meaning(part: Any, path: tuple[int | str, ...]) -> str:
    info = _columns_of(part)[str(path[0])]
    return _meaning(_inner(info.annotation)[0], path[1:]) if path[1:] else info.description or "text"


def _shown(value: object) -> str:
    return shorten(json.dumps(value, ensure_ascii=False, default=str), 80, placeholder=" ...")
