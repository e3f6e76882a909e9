"""Files of JSON lines: one object a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from textwrap import shorten
from typing import Any

from prefassets.domain.prism.released import BadInput


def json_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file, each with the number of its line, from 1. Blank lines are skipped.

    Raises:
        BadInput: a line is no JSON object, or not UTF-8.
    """
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                raw = json.loads(line)
            except (ValueError, RecursionError) as error:  # ValueError of what is no UTF-8, too
                shown = shorten(line[:200].decode(errors="replace"), 60, placeholder=" ...")
                raise BadInput(
                    f"{file}, line {number}: not JSON ({error}); wanted one JSON object, found {shown}. Correct it."
                ) from error
            if not isinstance(raw, dict):
                shown = shorten(json.dumps(raw, ensure_ascii=False), 80, placeholder=" ...")
                raise BadInput(f"{file}, line {number}: {shown}; wanted one JSON object. Correct the file.")
            yield number, raw
