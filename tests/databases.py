"""Real databases for the tests: one embedded PostgreSQL for the session, one fresh database for each test.

With NORTHWATCH_TEST_DATABASE_URL set, every test that asks for `dsn` runs against that server as well, in
databases of its own that are dropped afterwards. A database is cloned from a migrated template, which takes a
few hundredths of a second where migrating takes half of one.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import conninfo, sql

from store import grants, schema
from store.embedded import Embedded
from store.grants import Process

SERVER_VARIABLE = "NORTHWATCH_TEST_DATABASE_URL"
SERVERS = ("embedded", "given") if os.environ.get(SERVER_VARIABLE) else ("embedded",)

FAST = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB", "max_wal_size": "1GB"}
"""Nothing in a test session outlives a crash of the machine; tests that kill the server start their own."""


ROLES = {process: f"northwatch_{process}" for process in Process}
"""The role of each process, in every database of the tests. Suites run their processes under them."""


def as_process(dsn: str, process: Process) -> str:
    """Give the connection string of a process."""
    return conninfo.make_conninfo(dsn, user=ROLES[process])


@contextmanager
def acting(connection: psycopg.Connection[Any], process: Process) -> Iterator[None]:
    """Let a connection have the rights of a process, and no others, until the block ends."""
    connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(ROLES[process])))
    yield
    connection.execute("RESET ROLE")


@dataclass(frozen=True, slots=True)
class Server:
    """A server and, on it, the template from which tests get their databases."""

    dsn: str
    template: str

    def clone(self) -> str:
        """Make a fresh, migrated database and give its connection string."""
        name = f"northwatch_test_{secrets.token_hex(6)}"
        _run(self.dsn, "CREATE DATABASE {} TEMPLATE {}", name, self.template)
        return conninfo.make_conninfo(self.dsn, dbname=name)

    def drop(self, dsn: str) -> None:
        name = str(conninfo.conninfo_to_dict(dsn)["dbname"])
        _run(self.dsn, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


@pytest.fixture(scope="session")
def embedded_server() -> Iterator[Server]:
    """The session's own PostgreSQL."""
    # Not pytest's own directory: its path may be too private for the account that the server runs under.
    directory = Path(tempfile.mkdtemp(prefix="northwatch-test-"))
    database = Embedded(directory / "database", FAST)
    database.start()
    try:
        yield _with_template(database.dsn("postgres"))
    finally:
        database.kill()  # quicker than a clean stop, and nothing of it is kept
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def given_server() -> Iterator[Server]:
    """The server of NORTHWATCH_TEST_DATABASE_URL."""
    server = _with_template(os.environ[SERVER_VARIABLE])
    yield server
    _run(server.dsn, "DROP DATABASE IF EXISTS {} WITH (FORCE)", server.template)


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    """Each server in turn."""
    chosen: Server = request.getfixturevalue(f"{request.param}_server")
    return chosen


@pytest.fixture
def dsn(server: Server) -> Iterator[str]:
    """A fresh, migrated database."""
    fresh = server.clone()
    yield fresh
    server.drop(fresh)


@pytest.fixture
def empty_dsn(server: Server) -> Iterator[str]:
    """A fresh database without anything in it."""
    name = f"northwatch_test_{secrets.token_hex(6)}"
    _run(server.dsn, "CREATE DATABASE {} TEMPLATE template0", name)
    fresh = conninfo.make_conninfo(server.dsn, dbname=name)
    yield fresh
    server.drop(fresh)


@pytest.fixture
def connection(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection in autocommit mode to a fresh, migrated database."""
    with psycopg.connect(dsn, autocommit=True) as opened:
        yield opened


def _with_template(dsn: str) -> Server:
    name = f"northwatch_template_{secrets.token_hex(4)}"
    _run(dsn, "CREATE DATABASE {} TEMPLATE template0", name)
    with psycopg.connect(conninfo.make_conninfo(dsn, dbname=name), autocommit=True) as connection:
        schema.migrate(connection)
        grants.give(connection, ROLES, make=True)
    # Nobody may be connected to a template; TimescaleDB's scheduler would be.
    _run(dsn, "ALTER DATABASE {} ALLOW_CONNECTIONS false", name)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
    return Server(dsn, name)


def _run(dsn: str, statement: str, *names: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))  # type: ignore[arg-type]
