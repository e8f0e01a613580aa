"""A running monitor on a real socket and a real database, and people who are signed in to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from gateway.certificates import Certificate
from monitor.app import create_app
from monitor.connections import ConnectionLimits, Server
from monitor.options import MonitorOptions
from monitor.signing import COOKIE
from store import people
from store.grants import Process
from store.passwords import hash_password
from store.select import Connection
from tests.databases import as_process
from tests.monitor.facts import Facts

DEFAULT_LIMITS = ConnectionLimits()
PASSWORD = "correct horse battery"


PATIENCE_S = 300
"""How long a test waits for what must come; far longer than it takes."""

Found = TypeVar("Found")


async def until(look: Callable[[], Awaitable[Found | None]]) -> Found:
    """Look again and again until there is something, and give it."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if found := await look():
                return found
            await asyncio.sleep(0.05)


class Served:
    """A monitor that listens."""

    def __init__(
        self, options: MonitorOptions, limits: ConnectionLimits, certificate: Certificate | None = None
    ) -> None:
        self.options = options
        self.app = create_app(options)
        self.cookies: dict[str, str] = {}
        self.server = Server(self.app, limits, host="127.0.0.1", port=0, certificate=certificate)
        self.connections = self.server.connections

    @property
    def host(self) -> str:
        port = self.server.servers[0].sockets[0].getsockname()[1]
        return f"127.0.0.1:{port}"

    @asynccontextmanager
    async def client(self, name: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
        """A browser, signed in as `name`."""
        cookies = {COOKIE: self.cookies[name]} if name else {}
        async with httpx.AsyncClient(
            base_url=f"http://{self.host}", cookies=cookies, timeout=PATIENCE_S, trust_env=False
        ) as client:
            yield client


@asynccontextmanager
async def serve(
    options: MonitorOptions,
    limits: ConnectionLimits = DEFAULT_LIMITS,
    certificate: Certificate | None = None,
) -> AsyncIterator[Served]:
    """Serve a monitor until the block ends."""
    served = Served(options, limits, certificate)
    running = asyncio.create_task(served.server.serve())
    while not served.server.started:
        if running.done():
            running.result()
        await asyncio.sleep(0.01)
    try:
        yield served
    finally:
        served.server.should_exit = True
        await running


@pytest.fixture(scope="session")
def password_hash() -> str:
    """Worked out once: argon2 is slow on purpose."""
    return asyncio.run(hash_password(PASSWORD))


@pytest.fixture
async def db(dsn: str) -> AsyncIterator[Connection]:
    """A connection in autocommit mode to the monitor's database."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True, row_factory=dict_row) as opened:
        yield opened


@pytest.fixture
async def facts(db: Connection) -> Facts:
    """Puts things into the database as worker and gateway would."""
    return Facts(db)


@pytest.fixture
def options(dsn: str, tmp_path: Path) -> MonitorOptions:
    """A monitor without neighbours, and with a small page."""
    web = tmp_path / "dist"
    (web / "assets").mkdir(parents=True)
    (web / "index.html").write_text("<!doctype html><title>Northwatch</title>")
    (web / "assets" / "app-1a2b.js").write_text("// script")
    return MonitorOptions(
        as_process(dsn, Process.MONITOR),
        web_dir=web,
        gateway_url=None,
        worker_url=None,
        keeper_url=None,
        version="1.2.3",
    )


@pytest.fixture
async def monitor(options: MonitorOptions, db: Connection, password_hash: str) -> AsyncIterator[Served]:
    """A running monitor with the admin `root` and the operators `anna` and `bo`."""
    async with serve(options) as served:
        for name, role in (("root", "admin"), ("anna", "operator"), ("bo", "operator")):
            cursor = await db.execute(
                "INSERT INTO users (name, role, password_hash) VALUES (%s, %s, %s) RETURNING id",
                (name, role, password_hash),
            )
            row = await cursor.fetchone()
            assert row is not None
            served.cookies[name] = await people.open_sign_in(db, row["id"])
        yield served


@pytest.fixture
async def root(monitor: Served) -> AsyncIterator[httpx.AsyncClient]:
    """The admin's browser."""
    async with monitor.client("root") as client:
        yield client


@pytest.fixture
async def anna(monitor: Served) -> AsyncIterator[httpx.AsyncClient]:
    """An operator's browser."""
    async with monitor.client("anna") as client:
        yield client


@pytest.fixture
async def bo(monitor: Served) -> AsyncIterator[httpx.AsyncClient]:
    """Another operator's browser."""
    async with monitor.client("bo") as client:
        yield client


@pytest.fixture
async def stranger(monitor: Served) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that nobody is signed in with."""
    async with monitor.client() as client:
        yield client
