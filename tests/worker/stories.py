"""Logs written as a gateway would write them, and the facts that a database holds afterwards."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString

import numpy as np
import psycopg
from hypothesis import HealthCheck, Phase, settings
from psycopg.rows import dict_row

from protocol.edition import Edition
from protocol.frame import Frame, raw_id_of
from protocol.messages import encode_body
from protocol.messages.location import location
from protocol.words import ACC_ON, POSITIONED
from store.grants import Process
from store.log import LogLimits, LogWriter
from store.records import (
    SLOT_BITS,
    CloseReason,
    Event,
    FrameFlag,
    Frames,
    Rejected,
    SessionClosed,
    SessionOpened,
    Started,
    Tick,
)
from tests.databases import as_process
from worker.run import Worker, WorkerOptions

SECOND = 1_000_000
GONE_S = 300.0
BEGIN = datetime(2026, 6, 1, 4, tzinfo=UTC)
BEGIN_US = round(BEGIN.timestamp() * 1e6)
FEW_STORIES = settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
"""Of a property whose examples are whole stories: one that is shorter takes longer to find than to debug."""
SMALL = LogLimits(quota_bytes=1 << 30, free_floor_bytes=0, segment_bytes=1 << 20)

APART = FrameFlag.UNPROVEN | FrameFlag.LOBBY
"""Of frames that do not count."""
REGISTRATION: dict[str, Any] = {
    "province_id": 21,
    "city_id": 100,
    "manufacturer_id": "70111",
    "terminal_model": "BD-1",
    "terminal_id": "0000001",
    "plate_color": 2,
}

_FACTS: dict[str, LiteralString] = {
    "terminals": """
        SELECT identity, edition, registered_plate, registered_plate_color, model, registered_at,
               authenticated_at, first_seen_at
          FROM terminals""",
    "installations": """
        SELECT identity, v.plate, v.plate_color, x.installed_at, x.removed_at
          FROM installations x JOIN terminals t ON t.id = x.terminal_id
          JOIN vehicles v ON v.id = x.vehicle_id""",
    "claims": "SELECT identity, x.* FROM claims x JOIN terminals t ON t.id = x.terminal_id",
    "positions": "SELECT identity, x.* FROM positions x JOIN terminals t ON t.id = x.terminal_id",
    "quarantine": "SELECT identity, x.* FROM quarantine x LEFT JOIN terminals t ON t.id = x.terminal_id",
    "messages": "SELECT identity, x.* FROM messages x JOIN terminals t ON t.id = x.terminal_id",
    "media": "SELECT identity, x.* FROM media x JOIN terminals t ON t.id = x.terminal_id",
    "link_events": "SELECT identity, x.* FROM link_events x JOIN terminals t ON t.id = x.terminal_id",
    "alarms": """
        SELECT identity, plate, x.*
          FROM alarms x JOIN terminals t ON t.id = x.terminal_id
          LEFT JOIN vehicles v ON v.id = x.vehicle_id""",
    "alarm_changes": """
        SELECT identity, a.condition, a.object, a.began_at, x.at, x.change, x.detail
          FROM alarm_changes x JOIN alarms a ON a.id = x.alarm_id JOIN terminals t ON t.id = a.terminal_id""",
    "tickets": "SELECT identity, x.* FROM tickets x JOIN terminals t ON t.id = x.terminal_id",
    "ticket_changes": """
        SELECT identity, k.fault, k.opened_at, x.at, x.change, x.detail
          FROM ticket_changes x JOIN tickets k ON k.id = x.ticket_id
          JOIN terminals t ON t.id = k.terminal_id""",
    "incidents": "SELECT * FROM incidents",
    "terminal_states": "SELECT identity, x.* FROM terminal_states x JOIN terminals t ON t.id = x.terminal_id",
}


def verdict(authenticated: bool, flags: int) -> int:
    """Give the flags of a frame; what does not count is not authenticated."""
    return flags | (FrameFlag.AUTHENTICATED if authenticated and not flags & APART else 0)


class Story:
    """Writes a log, with a clock of its own. Every call is one record."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.writer = LogWriter(directory, limits=SMALL)
        self.now_us = BEGIN_US
        self.sessions: dict[int, tuple[str, Edition]] = {}
        self._next = 1000 << SLOT_BITS
        self._serial = 0

    def event(self, event: Event) -> None:
        self.writer.append(event, self.now_us)

    def started(self) -> None:
        self.event(Started("test"))

    def open(self, identity: str, edition: Edition = Edition.E2013, *, link: int = 0) -> int:
        """Open a session, on a link of its own unless given, which is numbered as its first session."""
        self._next += 1 << SLOT_BITS
        self.sessions[self._next] = identity, edition
        self.event(SessionOpened(self._next, link or self._next, identity, "192.0.2.1:4000"))
        return self._next

    def close(self, session: int, reason: CloseReason = CloseReason.PEER_CLOSED) -> None:
        self.event(SessionClosed(session, reason))

    def reject(self, raw: bytes, reason: str = "bad_checksum", session: int = 0) -> None:
        self.event(Rejected(session, reason, raw, "192.0.2.1:4000"))

    def tick(self, seconds: int = 1) -> None:
        """Let time go by, with a tick at the end of every second."""
        for _ in range(seconds):
            self.now_us += SECOND
            self.event(Tick(len(self.sessions)))

    def frames(
        self, frames: Sequence[tuple[int, bytes]], *, authenticated: bool = True, flags: int = 0
    ) -> None:
        """Write plain frames of sessions as one record, with the gateway's verdict as `flags`."""
        self.writer.append(self.record(frames, verdict(authenticated, flags)), self.now_us)

    def record(self, frames: Sequence[tuple[int, bytes]], flags: int) -> Frames:
        return Frames(
            np.array([session for session, _ in frames], np.uint64),
            np.array([len(plain) for _, plain in frames], np.uint16),
            np.full(len(frames), flags, np.uint16),
            np.frombuffer(b"".join(plain for _, plain in frames), np.uint8),
        )

    def plain(self, session: int, msg_id: int, body: dict[str, Any] | bytes = b"", **header: Any) -> bytes:
        """Make a frame of the session's terminal."""
        identity, edition = self.sessions[session]
        is_2019 = edition is Edition.E2019
        if not isinstance(body, bytes):
            body = encode_body(msg_id, edition, body)
        self._serial = (self._serial + 1) % 65536
        raw_id, version = raw_id_of(identity, is_2019), 1 if is_2019 else None
        return Frame(msg_id, raw_id, self._serial, body, version=version, **header).plain()

    def report(self, session: int, **fields: Any) -> bytes:
        """Make a 0x0200."""
        return self.plain(session, 0x0200, self.body(**fields))

    def body(
        self,
        *,
        ago_s: float = 0,
        lat: float = 41.8,
        lon: float = 123.4,
        fix: bool = True,
        acc: bool = True,
        **fields: Any,
    ) -> dict[str, Any]:
        """Make the fields of a location report, `ago_s` old."""
        at = datetime.fromtimestamp(self.now_us / 1e6, UTC) - timedelta(seconds=ago_s)
        status = (ACC_ON if acc else 0) | (POSITIONED if fix else 0)
        return location(lat, lon, at, status=status, **fields)

    def say(self, session: int, msg_id: int, body: dict[str, Any] | bytes = b"", **how: Any) -> None:
        """Write one frame as a record of its own."""
        self.frames([(session, self.plain(session, msg_id, body))], **how)

    def tell(self, session: int, *, flags: int = 0, **fields: Any) -> None:
        """Write one 0x0200 as a record of its own."""
        self.frames([(session, self.report(session, **fields))], flags=flags)

    def register(self, session: int, *, plate: str = "辽A00001", flags: int = 0, **fields: Any) -> None:
        """Write one 0x0100 as a record of its own."""
        said = REGISTRATION | {"plate_number": plate} | fields
        self.say(session, 0x0100, said, authenticated=False, flags=flags)

    def sync(self) -> int:
        return self.writer.sync()


@contextmanager
def worker(story: Story, dsn: str, state: Path, **options: Any) -> Iterator[Worker]:
    """A worker on the story's log. With `as_owner` it has all rights, else those of the worker."""
    given = {"states_s": 0.0, "snapshot_s": 0.0} | options
    connect = given.pop("connect", None)
    if not given.pop("as_owner", False):
        dsn = as_process(dsn, Process.WORKER)
    made = Worker(WorkerOptions(**given), dsn, story.directory, state, connect=connect)
    try:
        yield made
    finally:
        made.close()


def work(story: Story, dsn: str, state: Path, **options: Any) -> None:
    """Read the log to its end."""
    story.sync()
    with worker(story, dsn, state, **options) as made:
        finish(made)


def begin(made: Worker) -> bool:
    """Take the first batch, once the server has noticed that the worker before is gone."""
    deadline = time.monotonic() + GONE_S
    while True:
        try:
            return made.step()
        except psycopg.OperationalError as error:
            if "another worker" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def finish(made: Worker) -> None:
    """Take batches until there are none."""
    more = begin(made)
    while more:
        more = made.step()
    made.step()  # writes the states that are left


def facts(dsn: str) -> dict[str, list[dict[str, Any]]]:
    """Give all facts of a database without its own numbers and times, in an order that follows from them."""
    own = {"id", "terminal_id", "vehicle_id", "log_id", "updated_at", "moved_at"}
    found: dict[str, list[dict[str, Any]]] = {}
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        for table, query in _FACTS.items():
            rows = connection.execute(query).fetchall()
            plain = [{name: value for name, value in row.items() if name not in own} for row in rows]
            found[table] = sorted(plain, key=repr)
    return found
