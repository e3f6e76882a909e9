"""What a model answered, kept as it comes: a killed measurement goes on where it was and asks nothing twice."""

import json
import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from prefassets.domain.preferences.asking import Answer
from prefassets.resources.store import Store

_FILES_APART = 64  # so many small files are made one


class Journal:
    """The answers of one configuration that its table does not hold (yet, or any more), in files of the home.

    A thread writes while others are asked: whatever has come since it began its last file is its next one, whole or not
    at all. So what a killed process has to ask again is what was on its way, to it or to the home. Who asks the same at
    the same time is no danger: files have names of their own, and the same answer twice is one.

    Args:
        configuration: the configuration's key.
        stands: answers that are kept elsewhere, in the table.
    """

    def __init__(self, store: Store, configuration: str, stands: Iterable[Answer] = ()) -> None:
        self.answers = {answer.digest: answer for answer in stands}
        self._store, self._configuration = store, configuration
        found = store.answers(configuration)
        self._files = set(found)
        for content in found.values():
            self.answers.update((answer.digest, answer) for answer in _read(content))
        self._changed = threading.Condition()
        self._unwritten: list[Answer] = []
        self._apart: list[tuple[str, bytes]] = []  # small files of this process, name and content
        self._aside: str | None = None
        self._ended = False
        self._error: BaseException | None = None

    def __enter__(self) -> "Journal":
        self._thread = threading.Thread(target=self._write_until_the_end, name="answers")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until every answer is written.

        Raises:
            HomeUnreachable: an answer could not be written.
        """
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()
        self._raise_its_error()

    def keep(self, answer: Answer) -> None:
        """Keep an answer; it is on its way to the home when this returns.

        Raises:
            HomeUnreachable: an earlier one could not be written.
        """
        self._raise_its_error()
        self.answers[answer.digest] = answer
        with self._changed:
            self._unwritten.append(answer)
            self._changed.notify()

    def set_aside(self, held: Collection[str]) -> None:
        """Keep in a file what the table will not hold any more: what was paid for may be asked again.

        Args:
            held: digests of what the table will hold.
        """
        held = set(held)
        if left := [answer for digest, answer in self.answers.items() if digest not in held]:
            self._aside = self._store.write_answers(self._configuration, _written(left))

    def discard(self) -> None:
        """Forget the files, but for what was set aside: the other answers stand in the table."""
        self._store.discard_answers(sorted(self._files))
        self._files = {self._aside} if self._aside else set()
        self._apart.clear()

    def _raise_its_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _write_until_the_end(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._unwritten or self._ended)
                    answers, self._unwritten = self._unwritten, []
                if not answers:
                    return
                self._write(_written(answers))
        except BaseException as error:
            self._error = error

    def _write(self, content: bytes) -> None:
        name = self._store.write_answers(self._configuration, content)
        self._files.add(name)
        self._apart.append((name, content))
        if len(self._apart) == _FILES_APART:
            together = self._store.write_answers(self._configuration, b"".join(part for _, part in self._apart))
            small = [name for name, _ in self._apart]
            self._store.discard_answers(small)
            self._files = (self._files - set(small)) | {together}
            self._apart.clear()


def _written(answers: Sequence[Answer]) -> bytes:
    """Answers as lines of JSON."""
    return b"".join(json.dumps(asdict(answer)).encode() + b"\n" for answer in answers)


def _read(content: bytes) -> list[Answer]:
    rows: list[dict[str, Any]] = [json.loads(line) for line in content.splitlines()]
    return [
        Answer(**{**row, "probabilities": None if row["probabilities"] is None else tuple(row["probabilities"])})
        for row in rows
    ]
