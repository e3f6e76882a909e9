"""The loopback cluster's API server: HTTPS on 127.0.0.1, as much of the Kubernetes API as Dagster and kubectl use.

A real server and real clients: tokens, roles, selectors, Status objects, streamed logs and watches. It can be made to
fail as API servers do: silent, refusing connections, answering 503.
"""

import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kubernetes

from prefassets_tests.loopback.certificates import self_signed
from prefassets_tests.loopback.cluster import Cluster
from prefassets_tests.loopback.objects import (
    KINDS,
    ApiError,
    Kind,
    Object,
    as_events_v1,
    field_selector,
    label_selector,
)

VERSION = {"major": "1", "minor": "33", "gitVersion": "v1.33.0-loopback", "platform": "loopback"}
GROUPS = ("batch", "events.k8s.io")
PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+)/v1)"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>log|status))?"
)


@dataclass(frozen=True)
class Request:
    """One request as the server saw it. `verb` is RBAC's; `resource` has the subresource, as in a Role."""

    at: float  # monotonic seconds
    user: str
    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    code: int


class KubernetesServer:
    """Serves a `Cluster` until closed. `token` is the cluster owner's and may do everything."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.cluster, self.token = cluster, "token-of-the-owner"
        self.requests: list[Request] = []
        self.authority, self._tls = self_signed(folder)
        self._answering = threading.Event()
        self._answering.set()
        self._failure: int | None = None
        self._port = 0
        self._listen()
        self.cluster.certificate = self.authority.read_text()
        self.cluster.service = ("127.0.0.1", self._port)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    def client(self, token: str | None = None) -> kubernetes.client.ApiClient:
        """The real client, with the owner's token or another."""
        configuration = kubernetes.client.Configuration(host=self.url)
        configuration.ssl_ca_cert = str(self.authority)
        configuration.api_key = {"authorization": f"Bearer {token or self.token}"}
        return kubernetes.client.ApiClient(configuration)

    def kubeconfig(self, path: Path, namespace: str = "default") -> Path:
        """Write a kubeconfig of the cluster's owner, for `kubectl` by hand."""
        cluster = {"server": self.url, "certificate-authority": str(self.authority)}
        context = {"cluster": "loopback", "user": "owner", "namespace": namespace}
        said = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "loopback", "cluster": cluster}],
            "users": [{"name": "owner", "user": {"token": self.token}}],
            "contexts": [{"name": "loopback", "context": context}],
            "current-context": "loopback",
        }
        path.write_text(json.dumps(said))
        return path

    def used_rights(self, user: str) -> Counter[tuple[str, str, str]]:
        """What a service account asked for: (API group, resource, verb), how often."""
        return Counter(
            (request.group, request.resource, request.verb) for request in self.requests if request.user == user
        )

    @contextmanager
    def silent(self) -> Iterator[None]:
        """A server whose store hangs: it takes requests, and answers when it goes on.

        What a client sent and gave up on is still carried out then: nothing tells a server that nobody waits.
        """
        self._answering.clear()
        try:
            yield
        finally:
            self._answering.set()

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """No server: open connections break, new ones are refused; then it is back at the same address."""
        self._stop()
        try:
            yield
        finally:
            self._listen()

    @contextmanager
    def failing(self, code: int = 503) -> Iterator[None]:
        """Every request is answered with this error."""
        self._failure = code
        try:
            yield
        finally:
            self._failure = None

    def close(self) -> None:
        self._answering.set()
        self._stop()

    def _listen(self) -> None:
        self._http = _HttpServer(("127.0.0.1", self._port), self)
        self._port = self._http.server_port
        self._serving = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._serving.start()

    def _stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._http.hang_up()
        self._serving.join(5)

    # One request.

    def answer(self, method: str, target: str, token: str, body: Object | None) -> "Answer":
        """What is said to one request, whatever it was."""
        self._answering.wait()
        url = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        match = PATH.fullmatch(url.path)
        asked, user = None, self._user(token)
        try:
            asked = _Asked(method, match, query) if match else None
            answer = self._answer(user, asked, url.path, query, body)
        except ApiError as error:
            answer = Answer(error.code, error.status())
        if asked:
            resource, namespace, name = asked.resource, asked.namespace or "", asked.name or ""
            self.requests.append(
                Request(time.monotonic(), user, asked.verb, asked.group, resource, namespace, name, answer.code)
            )
        return answer

    def _user(self, token: str) -> str:
        if token == self.token:
            return "owner"
        account = self.cluster.tokens.get(token)
        return f"system:serviceaccount:{account[0]}:{account[1]}" if account else ""

    def _answer(
        self, user: str, asked: "_Asked | None", path: str, query: dict[str, str], body: Object | None
    ) -> "Answer":
        if self._failure:
            reasons = {500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout"}
            raise ApiError(self._failure, reasons.get(self._failure, "Unknown"), "the loopback server was told to fail")
        if not user:
            raise ApiError(401, "Unauthorized", "Unauthorized")
        if asked is None:
            return Answer(200, _discovery(path))
        self._authorize(user, asked)
        kind, cluster = asked.kind, self.cluster
        if asked.verb == "create":
            return Answer(201, cluster.create(kind.plural, asked.namespace or "", body or {}))
        if asked.sub == "log":
            process = cluster.logs(asked.namespace or "", asked.name or "")
            return Answer(200, lines=_log_lines(process, query))
        if asked.verb == "get":
            return Answer(200, asked.shown(cluster.get(kind.plural, asked.namespace or "", asked.name or "")))
        if asked.verb == "delete":
            options = body or {}
            grace = options.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
            policy = options.get("propagationPolicy", query.get("propagationPolicy"))
            grace = None if grace is None else int(grace)
            return Answer(200, cluster.delete(kind.plural, asked.namespace or "", asked.name or "", policy, grace))
        if asked.verb == "list":
            with cluster.changed:
                items = [
                    asked.shown(thing) for thing in cluster.objects(kind.plural, asked.namespace) if asked.fits(thing)
                ]
                metadata = {"resourceVersion": str(cluster.revision)}
            return Answer(
                200,
                {"kind": f"{kind.name}List", "apiVersion": asked.api_version, "metadata": metadata, "items": items},
            )
        if asked.verb == "watch":
            return Answer(200, lines=_changes(cluster, asked, query))
        raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")

    def _authorize(self, user: str, asked: "_Asked") -> None:
        """Refuse what no rule of the account's Role allows.

        https://kubernetes.io/docs/reference/access-authn-authz/rbac/#role-and-clusterrole
        """
        if user == "owner":
            return
        *_, namespace, name = user.split(":")
        rules = self.cluster.rules.get((namespace, name), ()) if asked.namespace == namespace else ()
        for rule in rules:
            allowed = (
                _allows(rule["apiGroups"], asked.group)
                and _allows(rule["resources"], asked.resource)
                and _allows(rule["verbs"], asked.verb)
                and (not rule.get("resourceNames") or asked.name in rule["resourceNames"])
            )
            if allowed:
                return
        where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
        full = f"{asked.kind.plural}.{asked.group}" if asked.group else asked.kind.plural
        subject = f'{full} "{asked.name}" is forbidden' if asked.name else f"{full} is forbidden"
        what = f'User "{user}" cannot {asked.verb} resource "{asked.resource}" in API group "{asked.group}" {where}'
        raise ApiError(403, "Forbidden", f"{subject}: {what}")


@dataclass
class Answer:
    """A status code, and one object or a stream of lines."""

    code: int
    body: Object | None = None
    lines: Iterator[str] | None = None


class _Asked:
    """What one request to a resource is about."""

    def __init__(self, method: str, match: re.Match[str], query: dict[str, str]) -> None:
        self.group = match["group"] or ""
        self.namespace, self.name, self.sub = match["namespace"], match["name"], match["sub"]
        plural = match["plural"]
        groups = {plural: {kind.group} for plural, kind in KINDS.items()} | {"events": {"", "events.k8s.io"}}
        if self.group not in groups.get(plural, set()):
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        self.kind: Kind = KINDS[plural]
        one = {"GET": "get", "DELETE": "delete", "PUT": "update", "PATCH": "patch"}
        every = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
        self.verb = (one if self.name else every).get(method, method.lower())
        if self.verb == "list" and query.get("watch") in ("true", "True", "1"):
            self.verb = "watch"
        self._fields = field_selector(self.kind, query.get("fieldSelector", ""))
        self._labels = label_selector(query.get("labelSelector", ""))

    @property
    def resource(self) -> str:
        return f"{self.kind.plural}/{self.sub}" if self.sub else self.kind.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/v1" if self.group else "v1"

    def fits(self, thing: Object) -> bool:
        return self._fields(thing) and self._labels(thing)

    def shown(self, thing: Object) -> Object:
        return as_events_v1(thing) if self.group == "events.k8s.io" else thing


def _allows(said: Any, asked: str) -> bool:
    return asked in said or "*" in said


def _log_lines(process: Any, query: dict[str, str]) -> Iterator[str]:
    """A container's output, and what it goes on to print if the client follows."""
    stamped, follow = (query.get(name) in ("true", "True", "1") for name in ("timestamps", "follow"))
    with process.said:
        sent = max(0, len(process.lines) - int(query["tailLines"])) if "tailLines" in query else 0
    while True:
        with process.said:
            while follow and sent >= len(process.lines) and not process.over:
                process.said.wait(1)
            lines, over = process.lines[sent:], process.over
        sent += len(lines)
        for moment, line in lines:
            yield f"{moment} {line}\n" if stamped else f"{line}\n"
        if over or not follow:
            return


def _changes(cluster: Cluster, asked: _Asked, query: dict[str, str]) -> Iterator[str]:
    """What happens to the objects a watch is about, from its resource version on."""
    until = time.monotonic() + float(query.get("timeoutSeconds", 300))
    seen = int(query.get("resourceVersion") or 0)
    while time.monotonic() < until:
        with cluster.changed:
            if cluster.revision <= seen:
                cluster.changed.wait(0.5)
            fresh = [entry for entry in cluster.history if entry[0] > seen]
        for revision, what, plural, thing in fresh:
            seen = revision
            about = plural == asked.kind.plural and asked.namespace in (None, thing["metadata"].get("namespace"))
            if about and asked.fits(thing):
                yield json.dumps({"type": what, "object": asked.shown(thing)}) + "\n"


def _discovery(path: str) -> Object:
    """What `kubectl` asks before it asks for anything."""
    if path == "/version":
        return dict(VERSION)
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        versions = [{"groupVersion": f"{group}/v1", "version": "v1"} for group in GROUPS]
        groups = [
            {"name": group, "versions": [version], "preferredVersion": version}
            for group, version in zip(GROUPS, versions, strict=True)
        ]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    found = re.fullmatch(r"/(?:api|apis/([^/]+))/v1", path)
    if not found:
        raise ApiError(404, "NotFound", "the server could not find the requested resource")
    group = found[1] or ""
    kinds = [
        kind for kind in KINDS.values() if kind.group == group or (group == "events.k8s.io" and kind.plural == "events")
    ]
    resources = [
        {
            "name": kind.plural,
            "singularName": kind.name.lower(),
            "namespaced": kind.namespaced,
            "kind": kind.name,
            "verbs": ["create", "delete", "get", "list", "watch"],
            "shortNames": list(kind.short_names),
        }
        for kind in kinds
    ]
    version = f"{group}/v1" if group else "v1"
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def __init__(self, address: tuple[str, int], owner: KubernetesServer) -> None:
        self.owner = owner
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Runs in the connection's own thread, so that a slow handshake holds up nobody."""
        with self._lock:
            self._open.add(request)
        try:
            with self.owner._tls.wrap_socket(request, server_side=True) as encrypted:
                with self._lock:
                    self._open.add(encrypted)
                super().finish_request(encrypted, client_address)
                with self._lock:
                    self._open.discard(encrypted)
        except OSError:  # the client went away, or the server did
            pass
        finally:
            with self._lock:
                self._open.discard(request)

    def hang_up(self) -> None:
        """Break every open connection."""
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._open.clear()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _HttpServer

    def log_message(self, *arguments: Any) -> None:
        """Requests are recorded by the server, not printed."""

    def _handle(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        _, _, token = (self.headers.get("Authorization") or "").partition(" ")  # `Bearer`, in any case
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            answer = Answer(415, ApiError(415, "UnsupportedMediaType", "the loopback server reads JSON only").status())
        else:
            answer = self.server.owner.answer(self.command, self.path, token, body)
        if answer.lines is None:
            said = json.dumps(answer.body).encode()
            self.send_response(answer.code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)
            return
        self.send_response(answer.code)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in answer.lines:
            said = line.encode()
            self.wfile.write(f"{len(said):x}\r\n".encode() + said + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = _handle
