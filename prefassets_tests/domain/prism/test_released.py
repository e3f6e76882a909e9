"""What was released is read as it is; anything else is refused with the file, the line and the column."""

import io
import json

import polars as pl
import pytest

from prefassets.domain.prism.released import (
    SURVEY_COLUMNS,
    UTTERANCE_COLUMNS,
    BadInput,
    check_released,
    read_released,
)
from prefassets_tests.domain.prism.small_prism import CLAUDE, GONE, SURVEY, UTTERANCES, participant, utterance

FIRST_SURVEY_COLUMNS = [  # all whose order was seen in a published notebook
    "user_id",
    "survey_only",
    "num_completed_conversations",
    "timing_duration_s",
    "timing_duration_mins",
    "generated_datetime",
    "consent",
    "consent_age",
    "lm_familiarity",
    "lm_indirect_use",
    "lm_direct_use",
    "lm_frequency_use",
]
CATEGORIES = {  # how many categories the codebook counts
    "lm_familiarity": 3,
    "lm_direct_use": 3,
    "lm_indirect_use": 3,
    "lm_frequency_use": 5,
    "age": 7,
    "gender": 4,
    "education": 9,
    "employment_status": 8,
    "marital_status": 5,
    "english_proficiency": 5,
}


def test_files_are_read_as_they_are(write_lines, survey, utterances):
    read = read_released(write_lines("survey.jsonl", SURVEY), write_lines("utterances.jsonl", UTTERANCES))
    assert read.survey.equals(survey)
    assert read.utterances.equals(utterances)
    assert read.ignored == {}
    assert read.survey["location"].struct.field("reside_region").to_list() == ["Europe", "Americas", "Europe"]
    assert read.survey["stated_prefs"].struct.field("personalisation").to_list() == [70, None, 70]
    assert read.survey["lm_usecases"].struct.field("well-being_guidance").to_list() == [0, 0, 0]


def test_text_streams_and_frames_are_read_like_files(survey, utterances):
    streams = [io.StringIO("\n".join(map(json.dumps, lines))) for lines in (SURVEY, UTTERANCES)]
    for read in (read_released(*streams), check_released(survey, utterances)):
        assert read.survey.equals(survey)
        assert read.utterances.equals(utterances)


def test_columns_are_those_of_the_published_notebooks():
    unnested = sum(len(SURVEY_COLUMNS[name][0].fields) for name in ("location", "religion", "ethnicity"))
    assert len(SURVEY_COLUMNS) + unnested == 48
    assert list(SURVEY_COLUMNS)[:12] == FIRST_SURVEY_COLUMNS
    assert len(UTTERANCE_COLUMNS) == 14


def test_every_column_says_what_it_means():
    assert all(comment for _, comment, _ in (SURVEY_COLUMNS | UTTERANCE_COLUMNS).values())


@pytest.mark.parametrize("column", CATEGORIES)
def test_categories_are_as_many_as_the_codebook_counts(column):
    with pytest.raises(BadInput, match=rf"survey\.jsonl, line 1, column {column}") as refused:
        read_released([json.dumps(participant(**{column: "no such category"}))], [json.dumps(UTTERANCES[0])])
    wanted = str(refused.value).split("wanted ")[1].split(" (")[0]
    assert wanted.count("'") == 2 * CATEGORIES[column]


def test_columns_that_the_codebook_does_not_have_are_counted_and_left_out(write_lines, survey):
    lines = [*SURVEY[:2], {**SURVEY[2], "pets": 2}]
    file = write_lines("survey.jsonl", lines)
    read = read_released(file, map(json.dumps, UTTERANCES))
    assert read.survey.equals(survey)
    assert read.ignored == {f"{file}: pets": 1}


def test_blank_lines_are_skipped_and_lines_still_counted(write_lines):
    lines = ["", *UTTERANCES[:1], "", {**UTTERANCES[1], "score": 101}]
    with pytest.raises(BadInput, match="line 4, column score"):
        read_released(map(json.dumps, SURVEY), write_lines("utterances.jsonl", lines))


def test_a_line_separator_inside_a_text_does_not_end_the_line(write_lines):
    said = {**UTTERANCES[0], "model_response": "one\u2028two\x85three"}
    file = write_lines("utterances.jsonl", [json.dumps(said, ensure_ascii=False)])
    read = read_released(map(json.dumps, SURVEY), file)
    assert read.utterances["model_response"].to_list() == ["one\u2028two\x85three"]


def test_nan_is_nothing_where_nothing_is_allowed():
    lines = [participant(lm_frequency_use=float("nan"), stated_prefs__other=float("nan"))]
    read = read_released(map(json.dumps, lines), [json.dumps(UTTERANCES[0])])
    assert read.survey["lm_frequency_use"].to_list() == [None]
    assert read.survey["stated_prefs"].struct.field("other").to_list() == [None]


def test_what_the_platform_only_stores_may_be_of_another_kind():
    lines = [participant(study_id=7, location__birth_region=None, lm_usecases__games=True)]
    read = read_released(map(json.dumps, lines), [json.dumps(UTTERANCES[0])])
    assert read.survey["study_id"].to_list() == ["7"]
    assert read.survey["lm_usecases"].struct.field("games").to_list() == [1]


WRONG_PARTICIPANT = {  # what is wrong -> (second line of the survey, what the message says after the file's name)
    "column missing": (participant(age=GONE), "line 2, column age: missing; wanted age band"),
    "nested column missing": (participant(stated_prefs__safety=GONE), "line 2, column stated_prefs.safety: missing"),
    "unknown category": (participant(gender="male"), "line 2, column gender: \"male\"; wanted 'Male', 'Female'"),
    "unknown region": (
        participant(location__reside_region="EU"),
        "line 2, column location.reside_region: \"EU\"; wanted 'Africa'",
    ),
    "preference above 100": (
        participant(stated_prefs__safety=101),
        "line 2, column stated_prefs.safety: 101; wanted less than or equal to 100",
    ),
    "nothing where something must be": (participant(lm_familiarity=None), "line 2, column lm_familiarity: null"),
    "no object in a nested column": (
        participant(location="Spain"),
        'line 2, column location: "Spain"; wanted an object',
    ),
    "user twice": (participant(), "line 2, column user_id: user0 stands on line 1 too"),
}
WRONG_UTTERANCE = {  # what is wrong -> (third line of the utterances, what the message says after the file's name)
    "broken JSON": ('{"utterance_id": "ut2", ', "line 3: not JSON (EOF while parsing"),
    "no object": ("[1, 2]", "line 3: [1, 2]; wanted one JSON object"),
    "column missing": (utterance(2, "c0", 1, 0, CLAUDE, GONE), "line 3, column score: missing"),
    "score of 0": (utterance(2, "c0", 1, 0, CLAUDE, 0), "line 3, column score: 0; wanted greater than or equal to 1"),
    "score of 101": (
        utterance(2, "c0", 1, 0, CLAUDE, 101),
        "line 3, column score: 101; wanted less than or equal to 100",
    ),
    "score as text": (utterance(2, "c0", 1, 0, CLAUDE, "60"), 'line 3, column score: "60"; wanted a valid integer'),
    "score null": (utterance(2, "c0", 1, 0, CLAUDE, None), "line 3, column score: null; wanted a valid integer"),
    "turn below 0": (
        utterance(2, "c0", -1, 0, CLAUDE, 60),
        "line 3, column turn: -1; wanted greater than or equal to 0",
    ),
    "flag as text": (utterance(2, "c0", 1, 0, CLAUDE, 60, if_chosen="yes"), 'line 3, column if_chosen: "yes"; wanted'),
    "unknown type": (
        utterance(2, "c0", 1, 0, CLAUDE, 60, conversation_type="guided"),
        "line 3, column conversation_type: \"guided\"; wanted 'unguided', 'values guided' or 'controversy guided'",
    ),
    "unknown model": (utterance(2, "c0", 1, 0, "gpt-9", 60), 'line 3, column model_name: "gpt-9"; wanted'),
    "utterance twice": (utterance(0, "c0", 1, 0, CLAUDE, 60), "line 3, column utterance_id: ut0 stands on line 1 too"),
    "unknown user": (
        utterance(2, "c2", 1, 0, CLAUDE, 60, user_id="user9"),
        "line 3, column user_id: user9 has no line in ",
    ),
    "interaction of two users": (
        utterance(2, "c0", 0, 2, CLAUDE, 60, user_id="user1"),
        'line 3, column user_id: "user1", but interaction_id int-c0-0 has "user0" on line 1',
    ),
    "interaction of two conversations": (
        utterance(2, "c3", 0, 2, CLAUDE, 60, interaction_id="int-c0-0", user_id="user0"),
        'line 3, column conversation_id: "c3", but interaction_id int-c0-0 has "c0" on line 1',
    ),
    "interaction of two turns": (
        utterance(2, "c0", 1, 0, CLAUDE, 60, interaction_id="int-c0-0"),
        "line 3, column turn: 1, but interaction_id int-c0-0 has 0 on line 1",
    ),
    "interaction of two prompts": (
        utterance(2, "c0", 0, 2, CLAUDE, 60, user_prompt="other"),
        'line 3, column user_prompt: "other", but interaction_id int-c0-0 has "question 0" on line 1',
    ),
    "conversation of two users": (
        utterance(2, "c0", 1, 0, CLAUDE, 60, user_id="user1"),
        'line 3, column user_id: "user1", but conversation_id c0 has "user0" on line 1',
    ),
    "turn of two interactions": (
        utterance(2, "c0", 0, 2, CLAUDE, 60, interaction_id="int9"),
        'line 3, column interaction_id: "int9", but conversation_id c0 and turn 0 has "int-c0-0" on line 1',
    ),
}


@pytest.mark.parametrize("wrong", WRONG_PARTICIPANT)
def test_a_bad_survey_line_is_refused_where_it_stands(write_lines, wrong):
    line, message = WRONG_PARTICIPANT[wrong]
    file = write_lines("survey.jsonl", [SURVEY[0], line])
    with pytest.raises(BadInput) as refused:
        read_released(file, write_lines("utterances.jsonl", UTTERANCES))
    assert str(refused.value).startswith(f"{file}, {message}")
    assert "download survey.jsonl again" in str(refused.value)


@pytest.mark.parametrize("wrong", WRONG_UTTERANCE)
def test_a_bad_utterance_line_is_refused_where_it_stands(write_lines, wrong):
    line, message = WRONG_UTTERANCE[wrong]
    file = write_lines("utterances.jsonl", [*UTTERANCES[:2], line])
    with pytest.raises(BadInput) as refused:
        read_released(write_lines("survey.jsonl", SURVEY), file)
    assert str(refused.value).startswith(f"{file}, {message}")
    assert "download utterances.jsonl again" in str(refused.value)


def test_a_missing_file_is_refused_by_name(tmp_path, write_lines):
    with pytest.raises(BadInput, match=r"nowhere.jsonl is not there. The released survey.jsonl was wanted"):
        read_released(tmp_path / "nowhere.jsonl", write_lines("utterances.jsonl", UTTERANCES))


def test_an_empty_file_is_refused_by_name(write_lines):
    file = write_lines("utterances.jsonl", ["", ""])
    with pytest.raises(BadInput) as refused:
        read_released(write_lines("survey.jsonl", SURVEY), file)
    assert str(refused.value).startswith(f"{file} is empty")


def test_a_file_that_is_no_text_is_refused_at_its_first_line(tmp_path, write_lines):
    file = tmp_path / "utterances.jsonl"
    file.write_bytes(b"\x1f\x8b\x08\xff\xfe")
    with pytest.raises(BadInput) as refused:
        read_released(write_lines("survey.jsonl", SURVEY), file)
    assert str(refused.value).startswith(f"{file}, line 1: not JSON")


def test_the_first_of_many_errors_leads_and_the_others_are_counted(write_lines):
    lines = [line | {"score": 1000} if line["turn"] else line for line in UTTERANCES]
    with pytest.raises(BadInput, match=r"line 3, column score: 1000; .* 8 more lines are like it\."):
        read_released(write_lines("survey.jsonl", SURVEY), write_lines("utterances.jsonl", lines))


def test_a_frame_is_refused_by_row(survey, utterances):
    too_high = utterances.with_columns(score=pl.when(pl.col("turn") == 3).then(101).otherwise("score"))
    with pytest.raises(BadInput, match="utterances, row 7, column score: 101"):
        check_released(survey, too_high)
    with pytest.raises(BadInput, match="utterances, row 1, column score: missing"):
        check_released(survey, utterances.drop("score"))
    with pytest.raises(BadInput, match="utterances, row 9, column user_id: user1 has no row in survey"):
        check_released(survey.head(1), utterances)
