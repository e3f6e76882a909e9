"""Requests and their answers, by content: what a configuration asked once, it never asks again."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from prefassets.domain.preferences.wording import Message


@dataclass(frozen=True, kw_only=True)
class Request:
    """One thing that is asked of a model, with everything that its answer depends on.

    `revision` is of the model; at an endpoint, the name under which it is served. `permitted` are the answers to draw
    from, by their probabilities; none, and the model writes what it will. `seed` and `sample` tell apart what is asked
    more than once in the same words.
    """

    model: str
    revision: str
    messages: tuple[Message, ...]
    tool: Mapping[str, Any] | None = None
    permitted: tuple[str, ...] = ()
    temperature: float = 1.0
    most_tokens: int = 64
    seed: int = 0
    sample: int = 0

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all of it, in hexadecimal: equal content is one request."""
        text = json.dumps({**vars(self)}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def draw(self) -> int:
        """The seed of its answer, 0 to 2^31 - 1: made of its content, so that no other request draws alike."""
        return int(self.digest[:16], 16) % 2**31


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back to the request of this digest.

    `probabilities` are those of the request's permitted answers where they are known. `tokens` is how many were
    written, where somebody counted; `finished` whether the answer ended by itself. A `malformed` one is no answer of a
    model but whatever an endpoint sent instead, as it came, or why the request does not fit into the model.
    """

    digest: str
    text: str
    probabilities: tuple[float, ...] | None = None
    tokens: int | None = None
    finished: bool = True
    malformed: bool = False


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why there is no answer to the request of this digest. It is no outcome: the next run asks again."""

    digest: str
    reason: str


class Backend(Protocol):
    """What answers: a model in this process, or an endpoint."""

    model: str
    revision: str

    def answers(self, requests: Sequence[Request]) -> Iterator[Answer | Failure]:
        """One answer or failure for each request, as they finish, in any order."""
        ...


class Kept(Protocol):
    """Where answers are kept as they come."""

    answers: Mapping[str, Answer]

    def keep(self, answer: Answer) -> None: ...


@dataclass
class InMemory:
    """Answers that are gone with the process."""

    answers: dict[str, Answer] = field(default_factory=dict)

    def keep(self, answer: Answer) -> None:
        self.answers[answer.digest] = answer


class Asker:
    """Asks a backend for what was never answered, and keeps each answer before anything is made of it.

    Args:
        on_answer: told how many requests of those asked together are answered, and their number.
    """

    def __init__(self, backend: Backend, kept: Kept, on_answer: Callable[[int, int], None] | None = None) -> None:
        self.backend = backend
        self.failures: dict[str, str] = {}  # reasons by digest, of those that are without an answer
        self.asked = 0  # of the backend
        self._kept = kept
        self._on_answer = on_answer

    def knows(self, request: Request) -> bool:
        """Whether this was answered before, so that nobody has to be asked."""
        return request.digest in self._kept.answers

    def ask(self, requests: Iterable[Request]) -> dict[str, Answer]:
        """The answer to each request by its digest; those that failed are left out, and in `failures`."""
        wanted = {request.digest: request for request in requests}
        missing = [request for digest, request in wanted.items() if digest not in self._kept.answers]
        done = len(wanted) - len(missing)
        if missing:
            self.asked += len(missing)
            for found in self.backend.answers(missing):
                if isinstance(found, Failure):
                    self.failures[found.digest] = found.reason
                else:
                    self.failures.pop(found.digest, None)
                    self._kept.keep(found)
                done += 1
                if self._on_answer:
                    self._on_answer(done, len(wanted))
        return {digest: self._kept.answers[digest] for digest in wanted if digest in self._kept.answers}
