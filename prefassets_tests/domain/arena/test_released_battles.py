"""Released files of battles are read whole, whatever they hold; anything else is refused with file, line and column."""

import csv
import json

import pytest

from prefassets.domain.arena.battles import unjudged_battles, usable_battles
from prefassets.domain.arena.released_battles import COLUMNS, UNJUDGED, read_battles
from prefassets.domain.prism.released import BadInput
from prefassets_tests.domain.arena.released import HEADER, lines, parquet, row, sheet

TWO_TURNS = dict.fromkeys(("prompt", "response_a", "response_b"), json.dumps(["Hi", "Und?"]))
THREE = [row(1), row(2, winner="B", **TWO_TURNS), row(3, winner="tie", response_a="[null]")]


@pytest.mark.parametrize(("write", "ending"), [(sheet, "csv"), (lines, "jsonl"), (parquet, "parquet")])
def test_every_kind_of_file_gives_the_same_rows_as_text(write, ending, tmp_path):
    found = read_battles(write(tmp_path / f"train.{ending}", *THREE))
    assert found.drop("line").rows() == [tuple(str(value) for value in each.values()) for each in THREE]
    assert found.columns == [*HEADER, "line"]
    assert found["line"].to_list() == ([2, 3, 4] if ending == "csv" else [1, 2, 3])


def test_columns_may_stand_in_any_order_beside_others(tmp_path):
    file = sheet(tmp_path / "train.csv", row(1) | {"note": "x"}, header=["note", *reversed(HEADER)])
    assert read_battles(file).equals(read_battles(sheet(tmp_path / "same.csv", row(1))))


def test_lines_are_those_where_rows_begin_whatever_breaks_are_in_their_fields(tmp_path):
    broken = json.dumps(["One.", "Two."], indent=1)  # on four lines
    file = sheet(tmp_path / "train.csv", row(1, response_a=broken), row(2, prompt='["a\r\nb"]'), row(3))
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes() + b"\r\n\r\n")  # as Excel begins and ends a file
    found = read_battles(file)
    assert found["line"].to_list() == [2, 6, 8]
    assert found["response_a"][0] == broken


def test_answers_of_a_hundred_thousand_tokens_are_read_whole(tmp_path):
    long = json.dumps(["word " * 100_000])
    before = csv.field_size_limit()
    for write, ending in ((sheet, "csv"), (lines, "jsonl"), (parquet, "parquet")):
        found = read_battles(write(tmp_path / f"train.{ending}", row(1, response_b=long), row(2)))
        assert found["response_b"][0] == long
    assert csv.field_size_limit() == before, "nobody else's limit is moved"
    assert usable_battles(found).battles["length_b"].to_list() == [500_000, 3]


def test_test_csv_has_neither_models_nor_winners(tmp_path):
    file = sheet(tmp_path / "test.csv", *THREE, header=UNJUDGED)
    found = read_battles(file)
    assert found.columns == [*UNJUDGED, "line"]
    battles = unjudged_battles(found).battles
    assert battles["battle"].to_list() == ["1", "2", "3"]
    assert battles["winner"].null_count() == 3


def test_lists_and_truth_values_of_other_files_are_written_as_the_released_one_has_them(tmp_path):
    other = row(
        7,
        prompt=["Hi \ud83d", "Und?"],
        response_a=["a", None],
        response_b=[],
        winner_model_a=False,
        winner_model_b=True,
        winner_tie=False,
    )
    of_lines = usable_battles(read_battles(lines(tmp_path / "train.jsonl", other)))
    assert of_lines.dropped.is_empty()
    assert of_lines.battles.select("prompts", "answers_a", "answers_b", "winner").row(0) == (
        ["Hi \ufffd", "Und?"],
        ["a", ""],
        ["", ""],
        "B",
    )
    of_parquet = usable_battles(
        read_battles(parquet(tmp_path / "a.parquet", other | {"prompt": ["Hi \ufffd", "Und?"]}))
    )
    assert of_parquet.battles.equals(of_lines.battles)


@pytest.mark.parametrize("column", HEADER)
def test_a_missing_column_is_named_with_file_line_and_what_was_wanted(column, tmp_path):
    left = [name for name in HEADER if name != column]
    wanted = rf"column {column}: missing; wanted .{{5,}}\.\nCorrect the file, or download it again: https"
    assert column in COLUMNS
    with pytest.raises(BadInput, match=rf"train\.csv, line 1, {wanted}"):
        read_battles(sheet(tmp_path / "train.csv", row(1), header=left))
    with pytest.raises(BadInput, match=rf"train\.parquet, row 1, {wanted}"):
        read_battles(parquet(tmp_path / "train.parquet", {name: row(1)[name] for name in left}))
    with pytest.raises(BadInput, match=rf"train\.jsonl, line 3, {wanted}"):
        read_battles(lines(tmp_path / "train.jsonl", row(1), "", {name: row(1)[name] for name in left}))


def test_all_missing_columns_are_named_at_once(tmp_path):
    with pytest.raises(BadInput) as error:
        read_battles(sheet(tmp_path / "other.csv", row(1), header=["id", "winner_tie"]))
    assert [line.split(":")[0].split()[-1] for line in str(error.value).splitlines()[:-1]] == list(HEADER[1:-1])


def test_what_is_no_file_of_battles_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"is no file\. One of battles \(\*\.csv, \*\.parquet, \*\.jsonl\) was wanted"):
        read_battles(tmp_path)
    for file in ("empty.csv", "empty.jsonl"):
        with pytest.raises(BadInput, match=rf"{file} is empty"):
            read_battles(lines(tmp_path / file))
    with pytest.raises(BadInput, match=r"header\.csv is empty"):
        read_battles(sheet(tmp_path / "header.csv"))
    with pytest.raises(BadInput, match=r"train\.zip is none of \*\.csv"):
        read_battles(lines(tmp_path / "train.zip", "PK"))
    with pytest.raises(BadInput, match=r"not\.parquet could not be read as Parquet"):
        read_battles(lines(tmp_path / "not.parquet", "no"))
    with pytest.raises(BadInput, match=r"structs\.parquet, column prompt: Struct.*; wanted a JSON list"):
        read_battles(parquet(tmp_path / "structs.parquet", row(1, prompt={"text": "Hi"})))
    with pytest.raises(BadInput, match=r"list\.jsonl, line 1: \[1\]; wanted one JSON object"):
        read_battles(lines(tmp_path / "list.jsonl", [1]))


def test_a_broken_sheet_is_refused_with_its_line(tmp_path):
    whole = sheet(tmp_path / "train.csv", *THREE).read_bytes()
    broken = tmp_path / "broken.csv"
    broken.write_bytes(whole[:-40])
    with pytest.raises(BadInput, match=r"broken\.csv, line 4: unexpected end of data; wanted CSV"):
        read_battles(broken)
    broken.write_bytes(whole + b"4,gpt-4\n")
    with pytest.raises(BadInput, match=r"broken\.csv, line 5: 2 fields; wanted 9\. Correct"):
        read_battles(broken)
    broken.write_bytes(whole.replace(b"Und?", b"Und\xff"))
    with pytest.raises(BadInput, match=r"broken\.csv, line 3: not UTF-8 .*Save it as UTF-8"):
        read_battles(broken)
