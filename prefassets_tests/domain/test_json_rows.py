"""Files of JSON lines are read line by line; what is no object is refused with its line."""

import pytest

from prefassets.domain.json_rows import json_rows
from prefassets.domain.prism.released import BadInput


def test_objects_come_with_their_lines_and_blank_lines_are_skipped(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"a": 1}\n\n  \n{"a": null}')
    assert list(json_rows(file)) == [(1, {"a": 1}), (4, {"a": None})]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", r"not JSON \(.*; wanted one JSON object, found \{\. Correct it"),
        (b"\xff", "not JSON .*codec can't decode"),
        (b"[" * 100_000, "not JSON .*recursion"),
        (b"[1]", r"\[1\]; wanted one JSON object"),
        (b'"x"', '"x"; wanted one JSON object'),
    ],
)
def test_what_is_no_object_is_named_by_its_line_and_shown(line, message, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"{}\n" + line)
    with pytest.raises(BadInput, match=rf"rows\.jsonl, line 2: {message}") as error:
        list(json_rows(file))
    assert len(str(error.value)) < 400
