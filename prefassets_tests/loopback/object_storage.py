"""An S3 server on loopback (moto's) whose requests can be counted, refused and held up."""

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

BUCKET = "homes"
_REFUSALS = {"SlowDown": (503, "Please reduce your request rate."), "AccessDenied": (403, "Access Denied")}


class ObjectStorage:
    """One server with one bucket, on a free port, in a thread of this process; other processes reach it too.

    A method is GET, HEAD, PUT, DELETE, POST, or LIST for a listing. A key begins with its bucket.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self._refused: Callable[[str, str], str | None] = lambda method, key: None
        self._held_up: Callable[[str, str], None] = lambda method, key: None
        self._lock = threading.Lock()

    def start(self) -> "ObjectStorage":
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
        from werkzeug.serving import make_server

        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, True, request_handler=_Quiet(MotoRequestHandler))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.make_bucket(BUCKET)
        return self

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> "ObjectStorage":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to reach it, and no other account of this machine."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "loopback",
            "AWS_SECRET_ACCESS_KEY": "loopback",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """botocore's client, for what tests do to a home from outside."""
        import botocore.session

        names = {"aws_access_key_id": "loopback", "aws_secret_access_key": "loopback", "region_name": "us-east-1"}
        return botocore.session.Session().create_client("s3", endpoint_url=self.url, **names)

    def make_bucket(self, name: str) -> None:
        self.client().create_bucket(Bucket=name)

    def new_home(self) -> str:
        """URL of a home that nobody has used."""
        return f"s3://{BUCKET}/{uuid.uuid4().hex[:8]}/home"

    # ---- how it behaves

    def busy(
        self,
        requests: float = float("inf"),
        seconds: float = float("inf"),
        method: str = "",
        key: str = "",
        code: str = "SlowDown",
    ) -> None:
        """Answer 503 to so many requests, or for so long, of this method and with this in their key; then as usual.

        With the code `AccessDenied`, answer 403.
        """
        until, left = time.monotonic() + seconds, requests

        def refused(asked: str, of: str) -> str | None:
            nonlocal left
            with self._lock:
                hit = time.monotonic() < until and left > 0 and asked == (method or asked) and key in of
                left -= hit
            return code if hit else None

        self._refused = refused

    def well(self) -> None:
        """Answer as usual from now on."""
        self._refused = lambda method, key: None

    @contextmanager
    def holding(self, method: str, key: str) -> Iterator[threading.Event]:
        """Let the first request of this method with this in its key wait, unread, until the block ends.

        Gives an event that says that the request has come.
        """
        came, go = threading.Event(), threading.Event()

        def held_up(asked: str, of: str) -> None:
            if asked == method and key in of and not came.is_set():
                came.set()
                go.wait(60)

        self._held_up = held_up
        try:
            yield came
        finally:
            self._held_up = lambda method, key: None
            go.set()

    def count(self, method: str = "", key: str = "") -> int:
        """Requests since `forget` of this method and with this in their key."""
        return sum(asked == (method or asked) and key in path for asked, path in self.requests)

    def forget(self) -> None:
        self.requests.clear()

    def _answer(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Any:
        path = environ["PATH_INFO"].lstrip("/")
        method = "LIST" if "list-type" in environ.get("QUERY_STRING", "") else environ["REQUEST_METHOD"]
        self.requests.append((method, path))
        self._held_up(method, path)
        if (code := self._refused(method, path)) is not None:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            status, message = _REFUSALS[code]
            body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
            described = {"Content-Type": "application/xml", "Content-Length": str(len(body))}
            start_response(f"{status} {code}", list(described.items()))
            return [b"" if method == "HEAD" else body]
        return self._moto(environ, start_response)


def _Quiet(handler: type) -> type:
    """The request handler without its line on stderr for each request."""
    return type("Quiet", (handler,), {"log_request": lambda self, *_: None, "log": lambda self, *_: None})


@pytest.fixture(scope="session")
def object_storage() -> Iterator[ObjectStorage]:
    """The server of this test process, with the environment that reaches it."""
    with ObjectStorage() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def storage(object_storage: ObjectStorage) -> Iterator[ObjectStorage]:
    """The same, counting from zero; whatever a test made it do, it does no longer in the next."""
    object_storage.forget()
    yield object_storage
    object_storage.well()
