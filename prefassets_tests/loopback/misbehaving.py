"""Servers on loopback that are not what was hoped for: they say one fixed thing, or nothing at all."""

import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

SILENCE = None


def http(status: str, body: str = "", *headers: str) -> bytes:
    """An HTTP answer."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body.encode())}", "Connection: close", "", body]
    return "\r\n".join(lines).encode()


@contextmanager
def saying(answer: bytes | None, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[tuple[int, list[str]]]:
    """The port of a server that gives everybody this answer, or `SILENCE`, and the requests that it was sent."""
    asked: list[str] = []
    held: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return  # closed: the test is over
            held.append(connection)
            with suppress(OSError):
                if tls is not None:
                    connection = tls.wrap_socket(connection, server_side=True)
                asked.append(_request(connection).decode(errors="replace"))
                if answer is not SILENCE:
                    connection.sendall(answer)
                    connection.close()

    with closing(socket.create_server(("127.0.0.1", port))) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1], asked
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        for connection in held:
            connection.close()


def _request(connection: socket.socket) -> bytes:
    """A whole HTTP request, or the first bytes of anything else. What stays unread would cost the client its answer."""
    received = b""
    while chunk := connection.recv(65_536):
        received += chunk
        head, ended, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if not received.startswith(b"POST") or (ended and len(body) >= int(length[1] if length else 0)):
            break
    return received


@contextmanager
def full() -> Iterator[int]:
    """The port of a server whose queue is full, so that nobody gets a connection: like a firewall that drops."""
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)
            with suppress(BlockingIOError):
                client.connect(listening.getsockname())
        yield listening.getsockname()[1]
        for client in waiting:
            client.close()
