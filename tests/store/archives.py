"""Logs to be archived: gateways that say something, a worker that has read it, and what should be found."""

from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import xor
from pathlib import Path
from uuid import UUID

import numpy as np

from protocol.columns import identities
from store.archive import Archive, Archivist, Cadence
from store.chunk import Identify
from store.log import LogLimits, LogReader, LogRecord, LogWriter
from store.merge import MergedReader, Positions, behind
from store.records import Event, FrameFlag, Frames, SessionOpened, Tick

BEGIN_US = 1_790_000_000_000_000
"""2026-09-21 22:13:20 in Beijing."""
DAY_US = 86_400_000_000
AT_ONCE = Cadence(chunk_bytes=3000, every_s=0.001)
SMALL = LogLimits(quota_bytes=1 << 30, free_floor_bytes=0, segment_bytes=1 << 12)
ALWAYS = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)


def frame(identity: str, serial: int, body: bytes = b"") -> bytes:
    """Give a plain 0x0200 with any body, with the header of 2019 where the id needs it."""
    is_wide = len(identity) > 12
    digits = bytes.fromhex(identity.rjust(20 if is_wide else 12, "0"))
    properties = len(body) | is_wide << 14
    edition = b"\1" * is_wide
    head = b"\x02\x00" + properties.to_bytes(2) + edition + digits + (serial & 0xFFFF).to_bytes(2)
    return head + body + bytes([reduce(xor, head + body)])


def frames(session: int, contents: list[bytes], *, raw: bool = False) -> Frames:
    """Give frames of one session as a record."""
    count = len(contents)
    return Frames(
        np.full(count, session, np.uint64),
        np.array([len(each) for each in contents], np.uint16),
        np.full(count, FrameFlag.RAW if raw else FrameFlag.AUTHENTICATED, np.uint16),
        np.frombuffer(b"".join(contents), np.uint8),
    )


class Machine:
    """A machine with some gateway processes, a worker and an archive."""

    def __init__(self, directory: Path, slots: int = 1, cadence: Cadence = AT_ONCE) -> None:
        self.logs, self.directory, self.cadence = directory / "log", directory / "archive", cadence
        self.writers = [
            LogWriter(self.logs / str(slot), limits=SMALL, is_archived=True) for slot in range(slots)
        ]
        self.now_us = BEGIN_US
        self.identify: Identify = identities
        self.archivist = self.started()
        self.kept: list[LogRecord] = []
        """What the worker has read, in its order."""
        self.held: dict[UUID, int] = {}
        """From where on a log stays: fragments lie there whose message is not whole yet."""
        self._read: Positions = {}

    def started(self) -> Archivist:
        """Give an archivist that knows nothing yet."""
        return Archivist(self.directory, self.logs, self.identify, self.cadence)

    @property
    def archive(self) -> Archive:
        return Archive(self.directory, self.logs, self.identify)

    def say(self, slot: int, *records: Frames | Event, after_us: int = 1000) -> None:
        """Let a gateway receive something."""
        self.now_us += after_us
        for record in records:
            self.writers[slot].append(record, self.now_us)
        self.writers[slot].sync()

    def drive(self, slot: int, identity: str, first: int, count: int) -> None:
        """Let a terminal report."""
        self.say(slot, SessionOpened(1000 + slot, 1, identity, "192.0.2.1:1"))
        for serial in range(first, first + count):
            body = b"\0\0\0\0\0\0\0\x03" + serial.to_bytes(4) + bytes(range(serial % 5))
            self.say(slot, frames(1000 + slot, [frame(identity, serial, body)]), after_us=10_000)
        self.say(slot, Tick(1))

    def consume(self) -> None:
        """Let the worker read all there is."""
        self.now_us += 1000
        for writer in self.writers:
            writer.append(Tick(), self.now_us)
            writer.sync()
        reader = MergedReader(self.logs)
        until = reader.head()
        while records := reader.read(self._read, until=until):
            self.kept += records
            self._read |= behind(records)
        reader.release(self._read | self.held)
        reader.close()

    def hold(self, slot: int) -> None:
        """Let the worker keep what a gateway receives from now on, or no longer."""
        log_id = self.writers[slot].log_id
        if self.held.pop(log_id, None) is None:
            self.held[log_id] = LogReader(self.logs / str(slot)).head()

    def seal(self) -> int:
        """Seal all that can be, later, and say how many chunks that made."""
        count = 0
        while self.archivist.step(self.now_us + 2 * DAY_US):
            count += 1
        return count

    def found(self, identity: str) -> list[bytes]:
        """Give what the archive and the logs have of a terminal."""
        return [each.data for each in self.archive.frames(identity, *ALWAYS)]

    def archived(self) -> list[LogRecord]:
        """Give all records of the archive."""
        return list(self.archive.records(*ALWAYS))

    def close(self) -> None:
        for writer in self.writers:
            writer.close()


def plain(records: list[LogRecord]) -> list[tuple[object, ...]]:
    """Give records so that they can be compared."""
    return [(*each[:4], bytes(each.payload), each.log) for each in records]


def later(days: int) -> datetime:
    """Give a time some days after everything began."""
    return datetime.fromtimestamp(BEGIN_US / 1e6, UTC) + timedelta(days=days)
