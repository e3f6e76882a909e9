"""An OpenAI-compatible endpoint on loopback, with a model behind it whose preferences are planted.

A real server that speaks the chat-completions protocol over HTTP to real clients. The model finds the planted tasks in
what it is asked, prefers by their utilities, and writes its answer in the form that is wanted: a tag, one of the quoted
words, a call of a tool, one of vLLM's permitted choices. What it answers is a function of its seed and the request and
of nothing else, so that two runs can be compared. The endpoint can be made to fail in every way that endpoints do, and
knows what it was paid for.
"""

import hashlib
import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import NormalDist
from typing import Any

Body = dict[str, Any]

REFUSAL = "I'm sorry, but I cannot choose."
NONSENSE = "Both have something to do with words."


@dataclass(frozen=True)
class Planted:
    """A model that prefers by planted utilities.

    Of two tasks it chooses the first with probability Phi((mu_first - mu_second) / sqrt(2) + slot_bias): a Thurstonian
    model whose tasks all have sigma 1. It rates a task by its utility: above 0.5 the most positive word, below -0.5 the
    most negative, the middle one between (of two words, the first from 0 on). Asked neither, it does the task.

    Args:
        utilities: of each task that it may be asked about, by its text.
        refusal_rate, nonsense_rate: shares of choices and ratings that it declines, or answers with nothing of use;
            never where it is given permitted answers.
    """

    utilities: Mapping[str, float]
    slot_bias: float = 0.0
    refusal_rate: float = 0.0
    nonsense_rate: float = 0.0
    seed: int = 0

    def message(self, body: Body) -> Body:
        """The assistant's message to a request."""
        said = "\n".join(message["content"] for message in body["messages"] if message["role"] == "user")
        found = []
        for task in sorted(self.utilities, key=len, reverse=True):  # one task's text may stand within another's
            if task in said:
                found.append((said.index(task), self.utilities[task]))
                said = said.replace(task, "\0" * len(task))
        mu = [utility for _, utility in sorted(found)]
        options = _options(body, said)
        if not options or not mu:
            return {"role": "assistant", "content": f"Done, as well as I can ({digest(body)[:8]})."}
        if "structured_outputs" not in body:
            drawn = self.drawn(body, "form")
            if drawn < self.refusal_rate + self.nonsense_rate:
                return {"role": "assistant", "content": REFUSAL if drawn < self.refusal_rate else NONSENSE}
        if len(mu) == 1:
            answer = options[_rating(mu[0], len(options))]
        else:
            answer = options[0 if self.drawn(body, "choice") < self.probability(*mu[:2]) else 1]
        if "tools" in body and "structured_outputs" not in body:
            return {"role": "assistant", "content": None, "tool_calls": [_call(body["tools"][0]["function"], answer)]}
        return {"role": "assistant", "content": answer}

    def probability(self, first: float, second: float) -> float:
        """That of two tasks with these utilities it chooses the first."""
        return NormalDist().cdf((first - second) / 2**0.5 + self.slot_bias)

    def drawn(self, body: Body, what: str) -> float:
        """A number from 0 to 1 that this request always gets, from all of its content."""
        return int(hashlib.sha256(f"{self.seed} {what} {digest(body)}".encode()).hexdigest()[:13], 16) / 16**13


@dataclass(frozen=True)
class Fault:
    """How a request is answered otherwise than by the model: see the functions that make one.

    `paid` is whether it is billed: the model did its work, whatever became of the answer.
    """

    status: int = 200
    content: bytes | None = None  # in place of the model's answer
    headers: tuple[tuple[str, str], ...] = ()
    wait: float = 0.0  # seconds, before anything is sent
    cut: bool = False  # send half of it and close, though the whole was announced
    drop: bool = False  # close without a word
    paid: bool = False


def refused(status: int, message: str = "", code: str | None = None, retry_after: float | str | None = None) -> Fault:
    """An error in OpenAI's form, `refused(429, retry_after=1)`; a 429 with code `insufficient_quota` is for good."""
    headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
    return Fault(status, _error(message or f"answered {status} on purpose", code), headers)


def slow(seconds: float) -> Fault:
    """The model's answer, but late; billed also if nobody waited for it."""
    return Fault(wait=seconds, paid=True)


def dropped() -> Fault:
    """The connection is closed without an answer, before the model did anything."""
    return Fault(drop=True)


def cut() -> Fault:
    """The connection is closed half-way through the answer."""
    return Fault(cut=True, paid=True)


def saying(content: str, status: int = 200, content_type: str = "application/json") -> Fault:
    """Anything at all, billed: a proxy's web page, the beginning of some JSON."""
    return Fault(status, content.encode(), (("Content-Type", content_type),), paid=True)


def truncated() -> Fault:
    """JSON that breaks off, in an answer that is complete as far as HTTP can tell."""
    return saying('{"id": "chatcmpl-1", "object": "chat.completion", "choices": [{"index": 0, "mess')


def empty() -> Fault:
    """An answer without choices."""
    return saying('{"id": "chatcmpl-1", "object": "chat.completion", "choices": []}')


@dataclass(frozen=True)
class Seen:
    """A request for a completion as the endpoint saw it; `status` is 0 where it said nothing."""

    digest: str
    body: Body
    status: int
    paid: bool
    at: float  # monotonic seconds when it came


@dataclass
class Endpoint:
    """Serves a model until closed, on a free port.

    `fault` says, for each request for a completion by its number from 0, what goes wrong with it, if anything; it can
    be replaced while the endpoint serves.
    """

    model: Planted
    name: str = "planted"
    key: str = "key-of-the-test"
    port: int = 0
    fault: Callable[[int], Fault | None] = lambda number: None
    seen: list[Seen] = field(default_factory=list)
    most_at_once: int = 0

    def __enter__(self) -> "Endpoint":
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._at_once = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to reach it, and no other account of this machine."""
        return {"OPENAI_BASE_URL": self.url, "OPENAI_API_KEY": self.key}

    @property
    def paid(self) -> Counter[str]:
        """How often each request, by the digest of its body, was billed."""
        with self._lock:
            return Counter(seen.digest for seen in self.seen if seen.paid)

    @property
    def paid_again(self) -> list[str]:
        """Digests of requests that were billed more than once."""
        return [digest for digest, times in self.paid.items() if times > 1]

    @property
    def statuses(self) -> Counter[int]:
        """How often each HTTP status was answered; 0 is no answer."""
        with self._lock:
            return Counter(seen.status for seen in self.seen)

    def answer(self, body: Body) -> Fault:
        """What to send for a request for a completion; counts it."""
        if self._closing.is_set():
            return dropped()  # a connection that was kept
        at = time.monotonic()
        with self._lock:  # counted before it is sent: who has the answer can rely on it
            fault = self.fault(len(self.seen)) or Fault(paid=True)
            self.seen.append(Seen(digest(body), body, 0 if fault.drop else fault.status, fault.paid, at))
        return fault if fault.content else replace(fault, content=json.dumps(self._completion(body)).encode())

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While a request is answered."""
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        yield
        with self._lock:
            self._at_once -= 1

    def wait(self, seconds: float) -> None:
        """Wait, unless the endpoint is closed before."""
        self._closing.wait(seconds)

    def _completion(self, body: Body) -> Body:
        message = self.model.message(body)
        words = (message.get("content") or "").split(" ")
        most = body.get("max_tokens") or body.get("max_completion_tokens") or len(words)
        finish = "tool_calls" if "tool_calls" in message else "length" if len(words) > most else "stop"
        if finish == "length":
            message["content"] = " ".join(words[:most])
        asked = sum(len(said["content"].split()) for said in body["messages"])
        usage = {"prompt_tokens": asked, "completion_tokens": min(len(words), most)}
        return {
            "id": f"chatcmpl-{digest(body)[:12]}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.name,
            "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
            "usage": {**usage, "total_tokens": sum(usage.values())},
        }


def first(count: int, fault: Fault) -> Callable[[int], Fault | None]:
    """This fault for the first `count` requests."""
    return lambda number: fault if number < count else None


def each(nth: int, *faults: Fault) -> Callable[[int], Fault | None]:
    """For each `nth` request a fault, these in turn; never for the first, so that there is something to go on with."""
    return lambda number: faults[(number // nth - 1) % len(faults)] if number and number % nth == 0 else None


def digest(body: Body) -> str:
    """SHA-256 of a request's content, however its JSON was written."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _options(body: Body, said: str) -> Sequence[str]:
    """The answers to choose from, the first task's or the most positive one first; none if nothing was asked."""
    if "structured_outputs" in body:
        return body["structured_outputs"]["choice"]
    for tool in body.get("tools") or ():
        properties = tool["function"]["parameters"]["properties"].values()
        return next((found["enum"] for found in properties if "enum" in found), ())
    if tags := re.findall(r"(<(\w+)>[^<\n]+</\2>)", said):
        return [whole for whole, _ in tags][-2:]
    quoted = [re.findall(r"'([^']+)'", line) for line in said.splitlines()]
    return next((found for found in reversed(quoted) if len(found) > 1), ())


def _rating(mu: float, options: int) -> int:
    if options == 2:
        return 0 if mu >= 0 else 1
    return 0 if mu > 0.5 else options - 1 if mu < -0.5 else 1


def _call(function: Body, answer: str) -> Body:
    (name, *_) = [name for name, found in function["parameters"]["properties"].items() if "enum" in found]
    arguments = json.dumps({name: answer}, ensure_ascii=False)
    return {"id": "call_1", "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _error(message: str, code: str | None) -> bytes:
    return json.dumps({"error": {"message": message, "type": code, "param": None, "code": code}}).encode()


def _handler(endpoint: Endpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept, as by real servers
        wbufsize = -1  # head and body leave together

        def do_GET(self) -> None:
            if not self._let_in():
                return
            if self.path == "/v1/models":
                self._send(Fault(200, json.dumps({"object": "list", "data": [{"id": endpoint.name}]}).encode()))
            else:
                self._send(refused(404, f"no such path: {self.path}"))

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if not self._let_in():
                return
            if self.path != "/v1/chat/completions":
                self._send(refused(404, f"no such path: {self.path}"))
                return
            try:
                body = json.loads(content)
            except ValueError:
                self._send(refused(400, "the body is no JSON"))
                return
            if body.get("model") != endpoint.name:
                self._send(refused(404, f"The model `{body.get('model')}` does not exist.", "model_not_found"))
                return
            with endpoint.at_work():
                fault = endpoint.answer(body)
                endpoint.wait(fault.wait)
            self._send(fault)

        def _let_in(self) -> bool:
            if self.headers.get("Authorization") == f"Bearer {endpoint.key}":
                return True
            self._send(refused(401, "Incorrect API key provided.", "invalid_api_key"))
            return False

        def _send(self, fault: Fault) -> None:
            content = fault.content or b""
            with suppress(OSError):  # the client has gone: it waited no longer
                if not fault.drop:
                    self.send_response(fault.status)
                    for name, value in {"Content-Type": "application/json", **dict(fault.headers)}.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content[: len(content) // 2] if fault.cut else content)
                    self.wfile.flush()
                if fault.drop or fault.cut:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
