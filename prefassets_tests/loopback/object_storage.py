"""An S3 server on loopback (moto's) that can be counted and can be busy."""

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

BUCKET = "homes"
_BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class ObjectStorage:
    """One server with one bucket, on a free port, in a thread of this process; other processes reach it too."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self._busy: Callable[[str, str], bool] = lambda method, key: False
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
        self, requests: float = float("inf"), seconds: float = float("inf"), method: str = "", key: str = ""
    ) -> None:
        """Answer 503 to so many requests, or for so long, of this method and with this in their key; then as usual."""
        until, left = time.monotonic() + seconds, requests

        def refuses(asked: str, of: str) -> bool:
            nonlocal left
            with self._lock:
                hit = time.monotonic() < until and left > 0 and asked.startswith(method) and key in of
                left -= hit
            return hit

        self._busy = refuses

    def well(self) -> None:
        """Answer as usual from now on."""
        self._busy = lambda method, key: False

    def count(self, method: str = "", key: str = "") -> int:
        """Requests since `forget` of this method and with this in their path, which begins with the bucket."""
        return sum(asked == (method or asked) and key in path for asked, path in self.requests)

    def forget(self) -> None:
        self.requests.clear()

    def _answer(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Any:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"].lstrip("/")
        listed = environ["QUERY_STRING"] and "list-type" in environ["QUERY_STRING"]
        self.requests.append(("LIST" if listed else method, path))
        if self._busy(method, path):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(_BUSY)))])
            return [b"" if method == "HEAD" else _BUSY]
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
