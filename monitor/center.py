"""The monitoring center 监控中心 of one process: its way to the database, its live picture, its knowledge of
health.

The pool outlives a dead database. A broken connection is noticed when it is asked for and replaced; while
there is none, whoever asks gets an error within seconds (503), and the first one after the database's
return gets an answer.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from fastapi import FastAPI
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from monitor.downloads import Downloads
from monitor.explainer import Explainers
from monitor.folding import Folding
from monitor.health import HealthWatch
from monitor.live import LivePicture
from monitor.metrics import Metrics
from monitor.options import MonitorOptions
from monitor.signing import Remembered, Strangers
from monitor.throttle import Throttle
from monitor.turns import Turns
from store import people
from store.select import Connection

POOL_SIZE = 8
"""Requests that ask the database at once; each takes milliseconds, and the embedded server has 60
connections.
"""
TRACKS_AT_ONCE = 3
"""The longest track keeps a connection and a core of the database busy for seconds."""
WAIT_S = 3.0
"""How long a request waits for a connection before it is told that there is none."""
WAIT_WHILE_AWAY_S = 1.0
"""… when the live picture has noticed already that the database is away."""
RECONNECT_S = 4.0
"""After so long the pool gives a broken connection up; the next request then tries anew, without a long
pause.
"""
STATEMENT_TIMEOUT_MS = 20_000
"""No question of a page is worth more."""
IDLE_TIMEOUT_MS = 30_000
"""A transaction in which nothing was asked for so long holds a place, a snapshot and perhaps locks, for
nobody."""

CONNECTION_OPTIONS: dict[str, Any] = {
    "row_factory": dict_row,
    "connect_timeout": 3,
    "application_name": "northwatch-monitor",
    "options": f"-c TimeZone=UTC -c statement_timeout={STATEMENT_TIMEOUT_MS}"
    f" -c idle_in_transaction_session_timeout={IDLE_TIMEOUT_MS}",
    # A server that vanished without a word is noticed in half a minute.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


class Center:
    """Everything that routes share."""

    def __init__(self, options: MonitorOptions) -> None:
        self.options = options
        self.throttle = Throttle()
        self.folding = Folding()
        self._device_key: bytes | None = None
        self.downloads = Downloads()
        self.explainers = Explainers()
        self.drawing = Turns(TRACKS_AT_ONCE)
        self.importing = asyncio.Semaphore(1)
        """One file is read at a time."""
        self.remembered = Remembered()
        self.strangers = Strangers()
        self.pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            options.database_url,
            kwargs=CONNECTION_OPTIONS,
            min_size=1,
            max_size=POOL_SIZE,
            timeout=WAIT_S,
            max_waiting=200,
            reconnect_timeout=RECONNECT_S,
            check=AsyncConnectionPool.check_connection,
            open=False,
            name="monitor",
        )
        self.health = HealthWatch(options, self.database)
        self.live = LivePicture(self._connect, self.health)
        self.metrics = Metrics(self)

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Connection]:
        """Give a connection with an open transaction, committed at the end unless something is raised.

        Raises:
            psycopg.OperationalError, psycopg_pool.PoolTimeout: the database is away.
        """
        wait_s = WAIT_S if self.live.is_current else WAIT_WHILE_AWAY_S
        async with self.pool.connection(timeout=wait_s) as connection:
            yield connection

    async def device_key(self) -> bytes:
        """Give the key that signs the cookies of known devices.

        Raises:
            psycopg.OperationalError, psycopg_pool.PoolTimeout: the database is away.
        """
        if self._device_key is None:
            async with self.database() as connection:
                self._device_key = await people.device_key(connection)
        return self._device_key

    async def _connect(self) -> Connection:
        """Give a connection of its own, in autocommit mode."""
        return await psycopg.AsyncConnection.connect(
            self.options.database_url, autocommit=True, **CONNECTION_OPTIONS
        )

    @asynccontextmanager
    async def running(self, app: FastAPI) -> AsyncIterator[None]:
        """Work for as long as the application lives."""
        await self.pool.open(wait=False)
        tasks = [
            asyncio.create_task(work) for work in (self.health.run(), self.live.run(), self.live.report())
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.live.close()
            await self.explainers.close()
            await self.pool.close()
