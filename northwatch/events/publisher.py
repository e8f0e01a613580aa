"""The publisher: takes what the outbox holds and tells the broker, at least once and in order.

    claim → join → connect → every state once → take → publish, wait for every PUBACK → delivered → take → …

A row is deleted only after the broker has acknowledged its messages, so whatever dies in between leads to a
repetition, never to a hole. States are computed when they are sent, by one publisher at a time, so the newest
one is sent last. After every connect each state is told again: the broker may be another one, or have
forgotten, and what was given up while it was away is thereby made good.

The broker may be away for weeks: the outbox is cut to `MAX_ROWS` and `MAX_AGE`, oldest first. Events that
were cut are lost and counted; states are not, see above.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import aiomqtt
import psycopg
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge
from psycopg.rows import dict_row

from northwatch.events import messages
from northwatch.events.broker import Broker
from northwatch.events.line import Line, open_line
from northwatch.events.messages import Message
from northwatch.supervisor import Backoff
from store import outbox
from store.fleet import LIVE_CHANNEL
from store.select import Connection, Row

MAX_ROWS = 1_000_000
"""About 150 MB with their index: days of a large fleet, and no danger for a disk."""
MAX_AGE = timedelta(days=7)
"""What happened longer ago is history, and history is asked of the API."""
PARCEL = 500
"""Rows taken at once; so many are told twice when the line breaks."""
PAGE = 1000
"""States read at once when all are told."""
POLL_S = 1.0
"""The outbox is looked at so often when nobody notifies."""
TEND_S = 10.0
"""The outbox is measured and cut so often."""

DATABASE: dict[str, Any] = {
    "autocommit": True,
    "row_factory": dict_row,
    "application_name": "northwatch events",
    "options": "-c TimeZone=UTC",
    # A server that vanished without a word is noticed in half a minute.
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

_log = structlog.get_logger("events")


@dataclass(frozen=True, slots=True)
class EventOptions:
    """What people may decide about events."""

    broker: Broker
    prefix: str = "northwatch"
    max_rows: int = MAX_ROWS
    max_age: timedelta = MAX_AGE


class Publisher:
    """Delivers the outbox of one database to one broker. Only one publisher of a database is at work; others
    wait until its connection ends.
    """

    def __init__(self, options: EventOptions, dsn: str) -> None:
        self.options = options
        self.registry = CollectorRegistry()
        self._dsn = dsn
        self._stop = asyncio.Event()
        self._is_connected = self._is_standby = False
        self._backlog = outbox.Backlog(0, None, 0)
        self._tended_at = 0.0
        self._published = 0
        self._error: str | None = None
        self._counter = Counter(
            "northwatch_events_published", "Messages acknowledged by the broker", registry=self.registry
        )
        _measure(self, self.registry)

    def __repr__(self) -> str:
        return f"<Publisher to {self.options.broker} {'connected' if self._is_connected else 'away'}>"

    def stop(self) -> None:
        """Let `run` end: what is on its way is finished, and the platform said to be offline."""
        self._stop.set()

    def health(self) -> dict[str, Any]:
        """Say whether events flow, and what waits."""
        oldest = self._backlog.oldest_at
        return {
            "ok": self._is_connected or self._is_standby,
            "connected": self._is_connected,
            "standby": self._is_standby,
            "broker": str(self.options.broker),
            "backlog": self._backlog.rows,
            "oldest_s": round((datetime.now(UTC) - oldest).total_seconds(), 1) if oldest else 0.0,
            "published": self._published,
            "dropped": self._backlog.dropped,
            "error": self._error,
        }

    async def run(self) -> None:
        """Publish until `stop`, whatever database and broker do."""
        backoff = Backoff()
        while not self._stop.is_set():
            began = _now_s()
            try:
                await self._serve()
                return
            except (psycopg.Error, OSError, TimeoutError) as error:
                self._say("the database does not answer", error)
            except Exception as error:  # a defect of ours must not end the events for good
                _log.error("events stumbled", exc_info=error)
                self._error = repr(error)
            await self._pause(backoff.after(_now_s() - began))

    async def _serve(self) -> None:
        """Be the one publisher of this database, as long as it answers."""
        async with await psycopg.AsyncConnection.connect(self._dsn, **DATABASE) as connection:
            await self._claim(connection)
            await connection.execute(f"LISTEN {LIVE_CHANNEL}")
            backoff = Backoff()
            while not self._stop.is_set():
                began = _now_s()
                await self._tend(connection)
                try:
                    await self._publish(connection)
                except (aiomqtt.MqttError, ssl.SSLError) as error:
                    self._say("the broker does not answer", error)
                await self._pause(backoff.after(_now_s() - began))

    async def _claim(self, connection: Connection) -> None:
        while not self._stop.is_set() and not await outbox.claim(connection, outbox.MQTT):
            if not self._is_standby:
                _log.info("another publisher is at work; waiting for it to end")
            self._is_standby, self._error = True, None
            await self._pause(POLL_S)
        self._is_standby = False

    async def _publish(self, connection: Connection) -> None:
        """Publish as long as the broker answers, or until we are to stop."""
        prefix = self.options.prefix
        # The name is the same for every publisher of the prefix: a broker sends the one before away.
        name = f"northwatch-{prefix.replace('/', '-')}"
        async with open_line(self.options.broker, name, messages.platform(prefix, False, "lost")) as line:
            try:
                self._is_connected, self._error = True, None
                _log.info("connected", broker=str(self.options.broker))
                await self._send(line, [messages.platform(prefix, True, "sending", datetime.now(UTC))])
                await self._send_states(line, connection)
                await self._send(line, [messages.platform(prefix, True, "complete", datetime.now(UTC))])
                await self._follow(line, connection)
                await self._send(line, [messages.platform(prefix, False, "stopped", datetime.now(UTC))])
            except psycopg.Error:
                with contextlib.suppress(aiomqtt.MqttError):  # we leave in order, so there will be no will
                    await self._send(line, [messages.platform(prefix, False, "database", datetime.now(UTC))])
                raise
            finally:
                self._is_connected = False

    async def _follow(self, line: Line, connection: Connection) -> None:
        """Deliver what comes, until we are to stop."""
        while not self._stop.is_set():
            line.check()
            if _now_s() - self._tended_at >= TEND_S:
                if await self._tend(connection):
                    await self._send_states(line, connection)
                await outbox.settle(connection, outbox.MQTT)
            if not await self._deliver(line, connection):
                async for _ in connection.notifies(timeout=POLL_S, stop_after=1):
                    pass

    async def _deliver(self, line: Line, connection: Connection) -> bool:
        """Deliver the oldest rows, and say whether there were any."""
        prefix = self.options.prefix
        parcel = await outbox.take(connection, outbox.MQTT, PARCEL)
        if parcel.ids:
            await self._send(line, [messages.event(prefix, row) for row in parcel.events])
            await self._send(line, [messages.state(prefix, row) for row in parcel.states])
            await outbox.delivered(connection, outbox.MQTT, parcel.ids)
        return bool(parcel.ids)

    async def _send_states(self, line: Line, connection: Connection) -> None:
        """Tell every state: take away what may have been closed unheard, then tell all that is."""
        async for rows in _every_state(connection):
            if self._stop.is_set():
                return
            await self._send(line, [messages.state(self.options.prefix, row) for row in rows])

    async def _send(self, line: Line, batch: list[Message]) -> None:
        await line.send(batch)
        self._published += len(batch)
        self._counter.inc(len(batch))

    async def _tend(self, connection: Connection) -> bool:
        """Say that we are here, cut what is too much, measure the rest; say whether something was cut."""
        self._tended_at = _now_s()
        await outbox.join(connection, outbox.MQTT)
        options = self.options
        cut = await outbox.trim(
            connection, outbox.MQTT, keep=options.max_rows, newer_than=datetime.now(UTC) - options.max_age
        )
        if cut:
            _log.warning("events were given up: the broker was away for too long", events=cut)
        self._backlog = await outbox.backlog(connection, outbox.MQTT)
        return cut > 0

    def _say(self, what: str, error: Exception) -> None:
        message = f"{what}: {str(error).strip() or repr(error)}"
        if message != self._error:
            _log.warning(message)
        self._error = message

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)


async def _every_state(connection: Connection) -> AsyncIterator[list[Row]]:
    """Give pages of what may have been closed unheard, then of all that is."""
    for kind in ("alarm", "ticket"):
        after = 0
        while rows := await outbox.closed_states(connection, outbox.MQTT, kind, after, PAGE):
            yield rows
            after = rows[-1]["id"]
    for kind in outbox.KINDS:
        after = 0
        while rows := await outbox.open_states(connection, kind, after, PAGE):
            yield rows
            after = rows[-1]["id"]


def _measure(publisher: Publisher, registry: CollectorRegistry) -> None:
    """Let Prometheus see what the health says."""
    gauges = {
        "connected": ("connected", "Whether the broker is there"),
        "backlog": ("backlog", "Rows not yet delivered"),
        "oldest_s": ("oldest_seconds", "Age of the oldest row that is not yet delivered"),
        "dropped": ("dropped", "Rows given up because the broker was away for too long"),
    }
    for key, (name, meaning) in gauges.items():
        gauge = Gauge(f"northwatch_events_{name}", meaning, registry=registry)
        gauge.set_function(partial(_figure, publisher, key))


def _figure(publisher: Publisher, key: str) -> float:
    return float(publisher.health()[key])


def _now_s() -> float:
    return asyncio.get_running_loop().time()
