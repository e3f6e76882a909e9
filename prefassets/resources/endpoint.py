"""A model behind an OpenAI-compatible endpoint: vLLM and the like, or a provider. Its answers are paid for.

Where it is and the key for it come from OPENAI_BASE_URL and OPENAI_API_KEY. Neither is stored, and the key is never in
an error.
"""

import json
import logging
import os
import random
import re
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

from prefassets.domain.preferences.asking import Answer, Failure, Request
from prefassets.domain.preferences.said import DECLARED
from prefassets.domain.preferences.wording import TOOL, tool_call

_LONGEST_PAUSE = 16.0  # seconds between two tries, unless the endpoint names a longer one
_WORTH_TELLING = 1.0  # seconds that an endpoint wants to be left alone
_MOST_FAILED = 8  # requests in a row, at least
_MOST_TOLD = 300  # characters of what an endpoint said
_MODERATED = re.compile(r"moderat|flagged|policy|content[ _-]?filter", re.IGNORECASE)
_logger = logging.getLogger(__name__)


class EndpointRefused(ValueError):
    """The endpoint will not answer, however often it is asked: a wrong key, an unknown model, nothing left to spend."""


class EndpointUnreachable(OSError):
    """The endpoint answers nothing any more."""


class Endpoint:
    """A served model as a backend.

    A request that gets 408, 409, 429, 5xx, no connection, or no answer in time is sent again, after a pause that grows,
    or that the endpoint asks for: then all requests wait. What is answered is yielded as it comes. Where the endpoint
    will not have a request for what is in it (too long, or its filter takes offence), what it says of it is the answer,
    a malformed one: the next run would be told the same.

    Args:
        model: the name under which it is served.
        requests_at_once: sent at the same time.
        request_seconds: after which one is given up and sent again.
        patience_seconds: for which a request is sent again before it has failed; the endpoint is never waited for
            longer at once.
    """

    def __init__(
        self,
        model: str,
        requests_at_once: int = 16,
        request_seconds: float = 120,
        patience_seconds: float = 600,
    ) -> None:
        self.model = self.revision = model
        self._at_once = requests_at_once
        self._request_seconds = request_seconds
        self._patience = patience_seconds
        self._not_before = 0.0  # time.monotonic(), for all requests: when the endpoint wants to hear from us again
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._failed_in_a_row = 0

    def answers(self, requests: Sequence[Request]) -> Iterator[Answer | Failure]:
        """One answer or failure for each request, as they finish.

        What was sent when asking ends early, by an error of the endpoint or an interrupt while it is waited for, is
        waited for and yielded: it is paid for. Where it is the consumer that ends (it raises, or closes this), what was
        sent is waited for too, but nobody takes it any more: it will be asked, and paid for, again.

        Raises:
            EndpointRefused: the key is wrong or lacks a right, there is no such model, nothing is left to spend, or the
                endpoint would have none of the requests that were sent, at least 8 and as many as are sent at once;
                then none of them has an answer.
            EndpointUnreachable: as many requests in a row as are sent at once, and at least 8, have failed; or the
                endpoint asks to be left alone for longer than the patience.
        """
        self._client  # noqa: B018  made once, before threads ask for it
        self._stopped.clear()
        self._failed_in_a_row = 0
        # In no order: where one task is not to be asked about, the questions about it do not all come first, as if the
        # endpoint would have nothing at all.
        waiting = iter(random.sample(requests, len(requests)))
        unwanted: list[_Unwanted] | None = []  # until there is an answer, which shows that it is not all requests
        stop: BaseException | None = None
        with ThreadPoolExecutor(self._at_once) as pool:
            running: set[Future[Answer | Failure | _Unwanted]] = set()
            try:
                while True:
                    while stop is None and len(running) < self._at_once and (request := next(waiting, None)):
                        running.add(pool.submit(self._answer, request))
                    if not running:
                        break
                    try:
                        finished, running = wait(running, return_when=FIRST_COMPLETED)
                    except BaseException as interrupt:
                        if stop is not None:
                            raise
                        stop, finished = interrupt, set()
                    for future in finished:
                        try:
                            found = future.result()
                            stop = stop or self._nothing_but_failures(found)
                        except (EndpointRefused, EndpointUnreachable) as error:
                            stop = stop or error
                            continue
                        if isinstance(found, _Unwanted):
                            if unwanted is None:
                                yield found.answer
                            else:
                                unwanted.append(found)
                                stop = stop or self._all_unwanted(unwanted)
                            continue
                        if isinstance(found, Answer) and unwanted is not None:
                            yield from (one.answer for one in unwanted)
                            unwanted = None
                        yield found
                    if stop is not None:
                        self._stopped.set()
            finally:
                self._stopped.set()
        if stop is not None:
            raise stop from None
        yield from (one.answer for one in unwanted or ())

    def _nothing_but_failures(self, found: "Answer | Failure | _Unwanted") -> EndpointUnreachable | None:
        """The error to stop with, once it makes no sense to ask on."""
        self._failed_in_a_row = self._failed_in_a_row + 1 if isinstance(found, Failure) else 0
        if self._failed_in_a_row < self._most_failed or not isinstance(found, Failure):
            return None
        return EndpointUnreachable(
            f"the endpoint {self._address} failed {self._failed_in_a_row} requests in a row, the last with: "
            f"{found.reason}. What was answered is kept; check the endpoint and start the same again."
        )

    def _all_unwanted(self, unwanted: "Sequence[_Unwanted]") -> EndpointRefused | None:
        """The error to stop with: so many, and no other, speak of how we ask and not of what is asked."""
        if len(unwanted) < self._most_failed:
            return None
        return EndpointRefused(
            f"the endpoint {self._address} would have none of {len(unwanted)} requests, the last with: "
            f"{unwanted[-1].reason}. Nothing of this is kept; see what it says it cannot do (permitted answers, tools, "
            f"a token limit), change the endpoint or the measurement, and start the same again."
        )

    @property
    def _most_failed(self) -> int:
        return max(self._at_once, _MOST_FAILED)

    @cached_property
    def _client(self) -> Any:
        try:
            from openai import OpenAI
        except ImportError as error:
            raise EndpointRefused("an endpoint needs the package openai: pip install openai") from error
        key, address = (os.environ.get(name, "").strip() for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"))
        if not key and not address:
            raise EndpointRefused(
                f"no endpoint for {self.model}: set OPENAI_BASE_URL, for vLLM http://<host>:8000/v1, and, if "
                f"it wants a key, OPENAI_API_KEY"
            )
        if not key.isascii():
            raise EndpointRefused("OPENAI_API_KEY holds characters that no key has; copy it again")
        if address and not re.match(r"https?://\w", address):
            raise EndpointRefused(
                f"OPENAI_BASE_URL is {_safe(address)!r}; wanted is http://<host>:8000/v1, or https://"
            )
        # Retries are ours: the library's wait for each request apart, and not for longer than a minute.
        return OpenAI(api_key=key or "none", base_url=address or None, timeout=self._request_seconds, max_retries=0)

    @property
    def _address(self) -> str:
        return _safe(str(self._client.base_url).rstrip("/"))

    def _answer(self, request: Request) -> "Answer | Failure | _Unwanted":
        import openai

        began, pause, tries = time.monotonic(), 0.5, 0
        while True:
            if not self._wait_until_wanted():
                return Failure(digest=request.digest, reason="not sent, as the endpoint refused another")
            tries += 1
            wanted = None
            try:
                response = self._client.chat.completions.with_raw_response.create(**self._body(request))
                return _answer_of(request, response.http_response)
            except openai.APIStatusError as error:
                reason = self._told(error)
                if _is_about_the_request(error):
                    text = self._without_key(error.response.text) or reason
                    return _Unwanted(Answer(digest=request.digest, text=text, malformed=True), reason)
                self._refuse_what_waiting_does_not_cure(error, reason)
                if error.status_code not in (408, 409, 429) and error.status_code < 500:
                    return Failure(digest=request.digest, reason=reason)
                wanted = _retry_after(error.response.headers)
            except _NoAnswer as error:
                return Failure(digest=request.digest, reason=self._without_key(str(error)))
            except (openai.APIConnectionError, OSError) as error:
                reason = self._without_key(" ".join(str(told) for told in (error, error.__cause__) if told))
            if wanted is not None:
                self._let_all_wait(wanted, reason)
                pause = wanted
            if time.monotonic() + pause - began > self._patience:
                waited = time.monotonic() - began
                return Failure(digest=request.digest, reason=f"{reason} (for {waited:.0f} s, {tries} tries)")
            if tries == 2:
                _logger.warning("%s does not answer yet (%s); trying again", self._address, reason)
            if wanted is None:
                self._stopped.wait(pause * random.uniform(0.5, 1))
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _wait_until_wanted(self) -> bool:
        """Wait as long as the endpoint asked all of us to; False if nothing is to be sent any more."""
        while not self._stopped.is_set():
            with self._lock:
                left = self._not_before - time.monotonic()
            if left <= 0:
                return True
            self._stopped.wait(left + random.uniform(0, 0.1))
        return False

    def _let_all_wait(self, wanted: float, reason: str) -> None:
        """What the endpoint wants, in seconds from now, holds for every request."""
        if wanted > self._patience:
            raise EndpointUnreachable(
                f"the endpoint {self._address} wants to be asked again in {wanted:.0f} s ({reason}), and is waited for "
                f"for {self._patience:g} s at most. What was answered is kept; start the same again then, or set "
                f"PREFASSETS_PATIENCE_SECONDS to more than {wanted:.0f} first."
            )
        with self._lock:
            now = time.monotonic()
            is_news = self._not_before <= now
            self._not_before = max(self._not_before, now + wanted)
        if is_news and wanted >= _WORTH_TELLING:
            _logger.warning("%s wants no request for %.0f s (%s); waiting", self._address, wanted, reason)

    def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": list(request.messages),
            "temperature": request.temperature,
            "max_tokens": request.most_tokens,
            "seed": request.draw,
        }
        if request.tool is not None:
            body["tools"] = [request.tool]
            # A call that must be made is made of the permitted values only: vLLM decodes it along the tool's schema.
            named = {"type": "function", "function": {"name": TOOL}}
            body["tool_choice"] = named if request.permitted else "auto"
        elif request.permitted:
            body["extra_body"] = {"structured_outputs": {"choice": list(request.permitted)}}  # vLLM 0.12 and later
        return body

    def _refuse_what_waiting_does_not_cure(self, error: Any, reason: str) -> None:
        match error.status_code:
            case 401 | 403:
                raise EndpointRefused(
                    f"the endpoint {self._address} refuses the key in OPENAI_API_KEY ({reason}). Set one that may "
                    f"use {self.model}, and start the same again; what was answered is kept."
                ) from None
            case 404:
                raise EndpointRefused(
                    f"the endpoint {self._address} has no model {self.model!r} ({reason}). Its models are listed at "
                    f"{self._address}/models; OPENAI_BASE_URL usually ends in /v1."
                ) from None
            case 402:
                spent = True
            case status:
                spent = status == 429 and "insufficient_quota" in (str(error.code), str(error.type))
        if spent:
            raise EndpointRefused(
                f"nothing is left to spend at {self._address} ({reason}). What was answered is kept; start the same "
                f"again when there is."
            ) from None

    def _told(self, error: Any) -> str:
        """What an endpoint says of an error: its own message if it has one."""
        body = error.body if isinstance(error.body, dict) else {}
        message = body.get("message") or " ".join(error.response.text.split()) or error.response.reason_phrase
        return f"{error.status_code}: {self._without_key(str(message))[:_MOST_TOLD]}"

    def _without_key(self, text: str) -> str:
        return text.replace(self._client.api_key, "...") if os.environ.get("OPENAI_API_KEY") else text


def _safe(address: str) -> str:
    return re.sub("[^/]*@", "...@", address)  # never a password


@dataclass(frozen=True)
class _Unwanted:
    """What an endpoint says of a request that it will not have, and that in short."""

    answer: Answer
    reason: str


def _is_about_the_request(error: Any) -> bool:
    """Whether an endpoint will not have this request, whoever sends it and whenever, but may have others."""
    is_page = error.response.headers.get("content-type", "").startswith("text/html")  # from what stands before it
    match error.status_code:
        case 413:
            return True
        case 400 | 422:
            return not is_page
        case 403:
            return not is_page and _MODERATED.search(error.response.text) is not None
    return False


class _NoAnswer(Exception):
    """What came back with 200 is from no model."""


def _answer_of(request: Request, response: Any) -> Answer:
    """The answer in a response; one that is not in the protocol's form, as it came."""
    text = response.text
    if response.headers.get("content-type", "").startswith("text/html"):
        raise _NoAnswer(f"a web page came back, no answer of a model: {' '.join(text.split())[:_MOST_TOLD]}")
    try:
        body = json.loads(text)
        choice = body["choices"][0]
        why = choice.get("finish_reason")
        filtered = why == "content_filter"
        said = _said((choice.get("message") or {}) if filtered else choice["message"])
        if filtered and not said:
            said = f"{DECLARED}{why}"
        tokens = (body.get("usage") or {}).get("completion_tokens")
        finished = why != "length"
        return Answer(digest=request.digest, text=said, tokens=tokens, finished=finished)
    except (ValueError, LookupError, TypeError, AttributeError):
        return Answer(digest=request.digest, text=text, malformed=True)


def _said(message: dict[str, Any]) -> str:
    """What a message says, as one text: calls of tools stand in it as a model writes them."""
    if message.get("refusal"):
        return f"{DECLARED}{message['refusal']}"
    content = message.get("content") or ""
    if not isinstance(content, str):
        raise TypeError(content)
    calls = [call["function"] for call in message.get("tool_calls") or []]
    return "\n".join(filter(None, [content, *(tool_call(call["arguments"], call["name"]) for call in calls)]))


def _retry_after(headers: Any) -> float | None:
    """Seconds that an endpoint asks to wait: a number, or a date."""
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return max(0.0, float(milliseconds) / 1000)
        if (said := headers.get("retry-after")) is None:
            return None
        return max(0.0, float(said) if _is_number(said) else parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?", text.strip()) is not None
