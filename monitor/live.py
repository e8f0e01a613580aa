"""The live picture: what is where now, kept in memory and told to every viewer when it changes.

One task reads the database (`store.live`): at once when somebody notifies, otherwise every two seconds, and
at most once a second. It compares with what it knew and tells the differences, so a viewer has one snapshot
and then deltas:

    database → read → differences → one encoded message → the queue of each viewer → WebSocket

A viewer who does not keep up is dropped, because what waits for it would grow without end, and a fresh
snapshot is worth more to it than old news. While the database is away the picture stays, viewers stay, and
the health says so.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import reduce
from operator import or_
from typing import Any

import msgspec
import psycopg
import structlog

from monitor.health import Health, HealthWatch
from protocol.edition import Edition
from protocol.words import ALARMS, Severity
from store import live
from store.fleet import LIVE_CHANNEL
from store.live import TerminalState
from store.select import Connection, Row

PACE_S = 1.0
"""Viewers hear at most so often: the eye of a person, and 100 viewers at 10,000 terminals."""
POLL_S = 2.0
"""The database is asked so often when nobody notifies."""
FULL_S = 60.0
"""Everything is read so often, for what the cheap way cannot see."""
HEALTH_S = 15.0
"""Health is told so often even when nothing changed: the sign of life."""
FIGURES_S = 5.0
"""Figures that count up are told so often."""
READ_TIMEOUT_S = 30.0
"""A database that does not answer for so long is away."""
RETRY_S = 1.0
MAX_BEHIND = 16
"""Messages that wait for a viewer: a quarter of a minute. More, and it is dropped."""
MAX_VIEWERS = 500
MAX_VIEWERS_PER_SESSION = 10
"""Screens and tabs of one person."""

CLOSE_NOT_SIGNED_IN = 4401
CLOSE_WRONG_ORIGIN = 4403
CLOSE_TOO_SLOW = 4408
CLOSE_TRY_LATER = 1013
CLOSE_STOPPING = 1012

_BITS = [bit for edition in Edition for bit in ALARMS[edition].values()]
ANY_ALARM = reduce(or_, (1 << each.bit for each in _BITS))
ANY_EMERGENCY = reduce(or_, (1 << each.bit for each in _BITS if each.severity is Severity.EMERGENCY))
"""Alarm words; of strangers the edition may not be known."""

_log = structlog.get_logger("monitor")
_encoder = msgspec.json.Encoder()


class Viewer:
    """One screen: the messages that wait for it, and why it must go."""

    def __init__(self, snapshot: str) -> None:
        self._messages: asyncio.Queue[str] = asyncio.Queue(MAX_BEHIND)
        self._messages.put_nowait(snapshot)
        self.gone = asyncio.Event()
        self.close_code = CLOSE_STOPPING

    async def next(self) -> str:
        """Wait for the next message."""
        return await self._messages.get()

    def tell(self, message: str) -> None:
        """Add a message, or drop the viewer who has too many."""
        try:
            self._messages.put_nowait(message)
        except asyncio.QueueFull:
            self.drop(CLOSE_TOO_SLOW)

    def drop(self, code: int) -> None:
        """Have the connection closed with `code`."""
        if not self.gone.is_set():
            self.close_code = code
            self.gone.set()


class ViewerPlaces:
    """Who views, counted from before the database is asked who it is, so that many at once gain nothing."""

    def __init__(self) -> None:
        self._by_session: Counter[str] = Counter()

    def take(self, cookie: str) -> bool:
        """Take a place for the session with this cookie, if there is one."""
        if self._by_session.total() >= MAX_VIEWERS or self._by_session[cookie] >= MAX_VIEWERS_PER_SESSION:
            return False
        self._by_session[cookie] += 1
        return True

    def give_back(self, cookie: str) -> None:
        """Give a place back."""
        self._by_session[cookie] -= 1
        if not self._by_session[cookie]:
            del self._by_session[cookie]


class LivePicture:
    """States of all terminals, the alarms on the desk, the open tickets, and the health."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], health: HealthWatch) -> None:
        self.sequence = 0
        self.is_complete = False
        """The database has been read once."""
        self.is_current = False
        """The database could be read the last time."""
        self.states: dict[int, TerminalState] = {}
        self.alarms: dict[int, Row] = {}
        self.tickets: dict[int, Row] = {}
        self.strangers: dict[str, int] = {}
        """How many there are, and how many of them are in alarm; none is in the picture."""
        self.viewers: set[Viewer] = set()
        self.places = ViewerPlaces()
        self._connect = connect
        self._health = health
        self._horizon: str | None = None
        self._snapshot: tuple[int, bytes] = (-1, b"")
        self._told: tuple[float, Health | None] = (0.0, None)

    def join(self) -> Viewer:
        """Add a viewer; its first message is the snapshot, and no change after that is missing."""
        viewer = Viewer(self.snapshot().decode())
        self.viewers.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Remove a viewer."""
        self.viewers.discard(viewer)

    def close(self) -> None:
        """Send every viewer away."""
        for viewer in self.viewers:
            viewer.drop(CLOSE_STOPPING)

    def snapshot(self) -> bytes:
        """Give the whole picture as JSON."""
        if self._snapshot[0] != self.sequence:
            content = {
                "states": list(self.states.values()),
                "alarms": list(self.alarms.values()),
                "tickets": list(self.tickets.values()),
                "health": self._health.now,
            }
            self._snapshot = (self.sequence, self._encode("snapshot", content))
        return self._snapshot[1]

    def figures(self) -> dict[str, int]:
        """Count what is in the picture."""
        states = self.states.values()
        return {
            "terminals": len(states),
            "online": sum(state.link == "open" for state in states),
            "silent": sum(state.silent_since is not None for state in states),
            "without_code": sum(state.without_code_since is not None for state in states),
            "alarms_on_desk": len(self.alarms),
            "alarms_taken": sum(alarm["desk"] == "taken" for alarm in self.alarms.values()),
            "tickets_open": len(self.tickets),
            **self.strangers,
        }

    async def run(self) -> None:
        """Follow the database until cancelled, through its absences."""
        self._health.picture = self
        while True:
            try:
                await self._follow()
            except (psycopg.Error, OSError, TimeoutError) as error:
                if self.is_current:
                    _log.warning(
                        "the live picture lost the database", error=str(error).strip() or repr(error)
                    )
                self.is_current = False
            except Exception as error:  # a defect of ours must not freeze every screen for good
                _log.error("the live picture stumbled", exc_info=error)
            await asyncio.sleep(RETRY_S)

    async def report(self) -> None:
        """Tell the health until cancelled, whatever the database does."""
        while True:
            self._tell_health()
            await asyncio.sleep(PACE_S)

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(READ_TIMEOUT_S):
            connection = await self._connect()
        async with connection:
            await connection.execute(f"LISTEN {LIVE_CHANNEL}")
            full_at = 0.0
            while True:
                started = loop.time()
                if started >= full_at:
                    self._horizon, full_at = None, started + FULL_S
                async with asyncio.timeout(READ_TIMEOUT_S):
                    await self._read(connection)
                self.is_current = True
                await asyncio.sleep(max(0.0, started + PACE_S - loop.time()))
                async for _ in connection.notifies(
                    timeout=max(0.0, started + POLL_S - loop.time()), stop_after=1
                ):
                    pass

    async def _read(self, connection: Connection) -> None:
        async with connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            is_full = self._horizon is None
            found = await live.states(connection, self._horizon)
            strangers = await live.strangers(connection, ANY_ALARM, ANY_EMERGENCY)
            alarms = await live.alarms_on_desk(connection)
            tickets = await live.open_tickets(connection)
            gone_alarms = await live.alarms_by_id(connection, _gone(self.alarms, alarms))
            gone_tickets = await live.tickets_by_id(connection, _gone(self.tickets, tickets))
        self._take_states(found, is_full)
        self._tell("alarms", _changed(self.alarms, alarms) + gone_alarms)
        self._tell("tickets", _changed(self.tickets, tickets) + gone_tickets)
        self.alarms = {row["id"]: row for row in alarms}
        self.tickets = {row["id"]: row for row in tickets}
        self._horizon, self.strangers = found.horizon, strangers
        if not self.is_complete:
            self.is_complete = True
            self._snapshot = (-1, b"")

    def _take_states(self, found: live.States, is_full: bool) -> None:
        states = {state.terminal_id: state for state in found.states}
        changed = [state for number, state in states.items() if self.states.get(number) != state]
        gone = sorted(self.states.keys() - states.keys() if is_full else self.states.keys() & found.gone)
        for number in gone:
            del self.states[number]
        self.states.update((state.terminal_id, state) for state in changed)
        if changed or gone:
            self.sequence += 1
            self._publish("states", {"states": changed, "gone": gone})

    def _tell(self, kind: str, things: list[Any]) -> None:
        if things:
            self.sequence += 1
            self._publish(kind, {kind: things})

    def _tell_health(self) -> None:
        """Tell the health when it says something new, when its figures moved a while ago, or as a sign
        of life.
        """
        now = asyncio.get_running_loop().time()
        health = self._health.now
        told_at, told = self._told
        age_s = now - told_at
        is_news = told is None or health["problems"] != told["problems"]
        have_moved = told is None or health["figures"] != told["figures"]
        if is_news or age_s >= HEALTH_S or (have_moved and age_s >= FIGURES_S):
            self._told = (now, health)
            self.sequence += 1
            self._publish("health", {"health": health})

    def _publish(self, kind: str, content: dict[str, Any]) -> None:
        if self.viewers:
            message = self._encode(kind, content).decode()
            for viewer in self.viewers:
                viewer.tell(message)

    def _encode(self, kind: str, content: dict[str, Any]) -> bytes:
        head = {"type": kind, "sequence": self.sequence, "at": datetime.now(UTC)}
        return _encoder.encode(head | content)


def _gone(known: dict[int, Row], rows: list[Row]) -> list[int]:
    return list(known.keys() - {row["id"] for row in rows})


def _changed(known: dict[int, Row], rows: list[Row]) -> list[Row]:
    return [row for row in rows if known.get(row["id"]) != row]
