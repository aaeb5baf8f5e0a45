"""A real PostgreSQL server on loopback, run as an ordinary user, with a separate database for each test."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg
import pytest
from pydantic import SecretStr

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "very-secret-database-password"
USER = "luma"
_machines = count()
_SETTINGS = {"listen_addresses": "127.0.0.1", "fsync": "off", "max_connections": "100"}
# Debian's package does not put them on PATH.
_FOLDERS = "/usr/lib/postgresql/*/bin"


@dataclass(frozen=True)
class Database:
    """A database of the server. It is actually a schema, which is faster to create."""

    server: PostgresServer
    schema: str

    @property
    def url(self) -> str:
        return f"{self.server.url}?options={quote(f'-c search_path={self.schema}', safe='')}"

    @property
    def dsn(self) -> SecretStr:
        return SecretStr(self.url)

    def dsn_of_machine(self) -> SecretStr:
        """Get a new address of it. Journals with the same address share connections, leases and announcements."""
        return SecretStr(f"{self.url}{quote(f' -c luma.machine={next(_machines)}', safe='')}")

    def execute(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Execute a statement as another program would."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(sql.encode(), values)
            return cursor.fetchall() if cursor.description else []


class PostgresServer:
    """A server that can be stopped, killed and started again on the same port."""

    def __init__(self, folder: Path, port: int, user: str | None) -> None:
        self._folder, self._port, self.user = folder, port, user

    @property
    def url(self) -> str:
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self._port}/postgres"

    def create(self) -> None:
        password = self._folder / "password"
        password.write_text(PASSWORD)
        if self.user:
            for path in (self._folder, password):
                shutil.chown(path, self.user)
        options = ("--auth=scram-sha-256", f"--pwfile={password}", f"--username={USER}", "--no-sync")
        self._run("initdb", f"--pgdata={self._data}", "--encoding=UTF8", "--locale=C", *options)

    def start(self) -> None:
        settings = {**_SETTINGS, "port": str(self._port), "unix_socket_directories": str(self._folder)}
        arguments = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", str(self._folder / "log"), "-o", arguments)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server. `immediate` acts like a kill: the server recovers when it is started."""
        self._run("pg_ctl", "stop", "-w", "-D", self._data, "-m", mode)

    @contextmanager
    def stopped(self, mode: str = "fast") -> Iterator[None]:
        self.stop(mode)
        try:
            yield
        finally:
            self.start()

    def execute(self, sql: str) -> None:
        writable = "-c default_transaction_read_only=off"
        with psycopg.connect(self.url, autocommit=True, options=writable) as connection:
            connection.execute(sql.encode())

    def create_database(self) -> Database:
        schema = f"test_{secrets.token_hex(6)}"
        self.execute(f"CREATE SCHEMA {schema}")
        return Database(self, schema)

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def _run(self, program: str, *arguments: str) -> None:
        command = [_find_program(program), *arguments]
        log = self._folder / "output"
        # Not a pipe, because the server would inherit it and keep it open.
        with log.open("a") as output:
            done = subprocess.run(command, cwd=self._folder, user=self.user, stdout=output, stderr=output, check=False)
        assert done.returncode == 0, log.read_text()


def _find_program(name: str) -> str:
    for folder in sorted(glob.glob(_FOLDERS), reverse=True):  # noqa: PTH207 - the pattern is absolute
        if Path(folder, name).exists():
            return str(Path(folder, name))
    found = shutil.which(name)
    assert found, f"PostgreSQL's {name} is not installed (Debian: apt-get install postgresql)"
    return found


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    # PostgreSQL refuses to run as root.
    user = "nobody" if os.getuid() == 0 else None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Not in pytest's folder, which other users cannot access.
    folder = Path(tempfile.mkdtemp(prefix="luma-pg-"))
    server = PostgresServer(folder, port, user)
    try:
        server.create()
        server.start()
        yield server
        server.stop("immediate")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server
