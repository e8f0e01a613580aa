"""The log: what terminals sent, durable before anybody answers, read by the worker in the same order.

A log is a directory with one writer:

    log.json                    the log's UUID and when it was created
    00000000000000000000.seg    segments, named by the position at which they begin
    head                        the durable position, written after the sync that made it so
    consumed                    the position up to which no reader needs anything any more
    archived                    the position up to which the archive has everything
    passed                      where the other logs of the machine did not wait for this one (`store.merge`)
    skipped                     damaged stretches that a person let readers pass (`store.damage`)
    lock                        held by the writer

A **position** counts bytes over all segments and never repeats, not even when a segment is given up: the next
one begins behind everything that could have stood in it. A segment's head says where its predecessor's valid
records end, so old segments need no mark and are never written again.

A segment is made in full size before it is used. Writing into it therefore cannot meet a full disk, and
`fdatasync` has no change of size to record. A full log shows in one place only: no new segment can be made.
The last segments that there is room for are a reserve: what was received before anybody could stop goes
there, and then nothing but ticks and what happens to links, so that time goes on (`LogWriter.shortage`).

A segment that begins behind the durable position is only being made, or was when its writer died: to a reader
it does not exist.

What a writer had written and not announced when it was killed belongs to the log as far as it is intact.
Whoever comes first takes it over, the next writer or a reader that finds the lock free (`settle`), and both
in the same way (`_take_over`): it is made durable, what is torn behind it is cut off, and its end becomes the
durable position. So a reader need not wait for the next writer to know all of the log.

A record stands behind a head with its length, a CRC-32 that covers its position as well, its kind and the
receive time. What a record means is the business of `store.records`. The CRC begins with a **salt** that a
writer draws and keeps in the heads of its segments. No terminal knows it, so nothing that one sends can pass
for a record, wherever it comes to lie.

After a failed write or sync the segment is given up, because a second sync of the same file would report
success for pages that never reached the disk. What was not yet durable is kept and goes into the next
segment, so nothing that was appended is lost, only late.

Errors:
    LogError
    ├── LogFailed       the disk refused; nothing appended since the last sync is durable. Sync again later.
    │   └── LogFull     no room for another segment (quota, or floor of free space). Sync again when there is.
    ├── LogClosed       the writer was closed: another one may be at work already
    ├── LogInUse        another process writes this log
    ├── WrongLog        files of another log lie here
    ├── CursorAhead     the position was never durable in this log
    ├── CursorBehind    the position's segment is deleted: records between it and the start were not read
    ├── UnknownRecord   a newer version wrote this
    └── LogCorrupt      the bytes at the position are not what was written
"""

import contextlib
import fcntl
import json
import os
import secrets
import struct
import threading
import time
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple
from uuid import UUID, uuid4

import msgspec
import numpy as np

from store.endurance import Endurance
from store.records import Event, Frames, RecordKind, encode
from store.storage import Disk, LogFile, Storage, keep_file, make_directory, sync_directory

GIB: Final = 1 << 30
MIB: Final = 1 << 20

ALIGNMENT: Final = 8
"""Records begin at multiples of this, so that columns inside them can be read in place."""

RECORD_HEAD: Final = struct.Struct("<IIB7xq")
"""Length of the payload, CRC-32, kind, receive time in microseconds."""

_CHECKED: Final = struct.Struct("<QIBq")
"""What the CRC-32 covers before the payload: position, length, kind, receive time."""

SEGMENT_HEAD: Final = struct.Struct("<8s16sQQQII8x")
"""Magic, log UUID, base position, capacity, end of the previous segment's records, CRC-32 of these and the
salt, salt.
"""

FIRST: Final = SEGMENT_HEAD.size
"""Position of the first record of a log."""

MAGIC: Final = b"NWLOG\x00\x00\x02"
"""The last byte is the version of this layout."""
UNSALTED: Final = b"NWLOG\x00\x00\x01"
"""The version before: its salt is 0."""

SKIPPED: Final = "skipped"
_KINDS: Final = {int(kind): kind for kind in RecordKind}

MARK: Final = struct.Struct("<QQ")
"""A position and its complement, which tells a torn or never written mark."""

SUFFIX: Final = ".seg"

LOCK_TRIES: Final = 100
LOCK_WAIT_S: Final = 0.01
"""Whoever settles a log holds the lock for a sync of the disk, which must stop no writer from starting."""


RESERVED_SEGMENTS: Final = 2
"""Frames leave room for so many: one is for ticks, 40 bytes a second; the other takes its place when a
gateway is started anew while the log is full.
"""

SEARCHED_BYTES: Final = 1 << 30
"""So much is checked at most to find the next record behind damage. Only what was made to look like records
needs more; then everything up to the end of the segment counts as damaged.
"""

PASSES: Final = 100
"""So many are remembered: writers that hang are rare, and old ones are deleted with what they wrote."""


class LogError(Exception):
    """Something about the log."""


class LogFailed(LogError):
    """The disk refused to keep what was appended."""


class LogFull(LogFailed):
    """There is no room for another segment."""


class LogClosed(LogError):
    """This writer writes no more."""


class LogInUse(LogError):
    """Another process writes this log."""


class WrongLog(LogError):
    """Files of another log lie in this directory."""


class UnknownRecord(LogError):
    """There is a record of a kind that this version does not know."""

    def __init__(self, kind: int, position: int, log: "LogName") -> None:
        super().__init__(
            f"the record at position {position} of log {log.log_id} is of kind {kind}, which this version"
            " does not know: a newer one wrote it, run that"
        )


class LogCorrupt(LogError):
    """The bytes at `position` are not what was written there."""

    def __init__(self, position: int, what: str, path: Path) -> None:
        super().__init__(f"{what} at position {position} in {path}")
        self.position, self.path = position, path

    @property
    def is_head(self) -> bool:
        """It is the head of a segment that is damaged."""
        return self.path.suffix == SUFFIX and self.position == int(self.path.stem)


class CursorError(LogError):
    """A reader asked for a position that this log cannot serve."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


class CursorAhead(CursorError):
    """The position was never durable in this log."""


class CursorBehind(CursorError):
    """The records at the position are deleted."""


@dataclass(frozen=True, slots=True)
class LogLimits:
    """How much the log may take."""

    quota_bytes: int = 20 * GIB
    """All segments together."""
    free_floor_bytes: int = 1 * GIB
    """No new segment when the disk would have less left than this: PostgreSQL needs room to catch up."""
    segment_bytes: int = 64 * MIB
    """Size of a segment: what retention frees at once, and about ten seconds of a very busy gateway."""

    @property
    def max_payload(self) -> int:
        """The longest payload that fits a segment."""
        return self.segment_bytes - SEGMENT_HEAD.size - RECORD_HEAD.size - ALIGNMENT


@dataclass(frozen=True, slots=True)
class LogState:
    """The log as health and metrics show it."""

    durable: int
    start: int
    segments: int
    used_bytes: int
    quota_bytes: int
    free_bytes: int
    free_floor_bytes: int
    waiting_bytes: int
    """Appended and not yet durable."""
    fault: str
    """Why the last sync failed; empty when it did not."""
    is_full: bool = False
    """It failed for want of room."""
    holds_s: int | None = None
    """At the present rate there is room for so long, if nothing is deleted; None where nobody can say yet."""


class LogName(NamedTuple):
    """Which log of the machine."""

    slot: int
    """Number of the gateway process that writes it."""
    log_id: UUID


class LogRecord(NamedTuple):
    """One record as read."""

    position: int
    next_position: int
    received_at_us: int
    kind: RecordKind
    payload: memoryview
    log: LogName
    not_before_us: int = 0
    """Among the records of all logs it stands there, or at its receive time if that is later."""


class Skip(msgspec.Struct, frozen=True):
    """A damaged stretch of a log that a person let readers pass."""

    begin: int
    end: int
    by: str
    at: datetime
    kept: str
    """Where its bytes are, below the directory of the logs."""
    seen_by: str = ""
    """Who has taken note of it; empty where nobody has."""
    head: str = ""
    """What stands for the head of a segment, in hex, where that is what was damaged."""


class _SegmentHead(NamedTuple):
    """The first bytes of a segment."""

    log_id: UUID
    base: int
    capacity: int
    previous_end: int
    """Where the valid records of the segment before this one end."""
    salt: int
    """With which the checksums of its records begin."""

    @property
    def start(self) -> int:
        """Position of the first record."""
        return self.base + SEGMENT_HEAD.size

    def pack(self) -> bytes:
        magic = MAGIC if self.salt else UNSALTED
        fields = (magic, self.log_id.bytes, self.base, self.capacity, self.previous_end)
        return SEGMENT_HEAD.pack(*fields, zlib.crc32(SEGMENT_HEAD.pack(*fields, 0, self.salt)), self.salt)

    @classmethod
    def read(cls, path: Path, expected: UUID | None = None) -> "_SegmentHead":
        """Read the head of a segment, or what a person let stand for it.

        Raises:
            LogCorrupt: it is damaged.
            WrongLog: it is of another log.
        """
        with path.open("rb") as file:
            data = file.read(SEGMENT_HEAD.size)
        try:
            return cls._of(data, path, expected)
        except LogCorrupt as corrupt:
            for skip in skips_in(path.parent):
                if skip.head and skip.begin == corrupt.position:
                    return cls._of(bytes.fromhex(skip.head), path, expected)
            raise

    @classmethod
    def _of(cls, data: bytes, path: Path, expected: UUID | None) -> "_SegmentHead":
        base = int(path.stem)
        if len(data) < SEGMENT_HEAD.size:
            raise LogCorrupt(base, "segment head is cut short", path)
        magic, log_id, said_base, capacity, previous_end, crc, salt = SEGMENT_HEAD.unpack(data)
        if magic not in (MAGIC, UNSALTED):
            raise LogCorrupt(base, f"segment head is none of this version ({magic!r})", path)
        head = cls(UUID(bytes=log_id), said_base, capacity, previous_end, salt)
        if head.pack() != data or said_base != base:
            raise LogCorrupt(base, f"segment head is damaged (checksum {crc:08x})", path)
        if expected not in (None, head.log_id):
            raise WrongLog(f"{path} belongs to log {head.log_id}, not to {expected}")
        return head


class _Waiting(NamedTuple):
    """A record that is appended and not yet durable."""

    kind: RecordKind
    received_at_us: int
    payload: bytes

    @property
    def size(self) -> int:
        return record_size(len(self.payload))

    def pieces(self, position: int, salt: int) -> tuple[bytes, bytes, bytes]:
        crc = _crc(salt, position, self.kind, self.received_at_us, self.payload)
        head = RECORD_HEAD.pack(len(self.payload), crc, self.kind, self.received_at_us)
        return head, self.payload, bytes(self.size - len(head) - len(self.payload))


class _Run(NamedTuple):
    """Consecutive records of one segment."""

    base: int
    begin: int
    records: int
    data: bytes


_SKIPS: Final = msgspec.json.Decoder(list[Skip])


def record_size(payload_bytes: int) -> int:
    """Return what a record with such a payload takes in a segment."""
    size = RECORD_HEAD.size + payload_bytes
    return size + -size % ALIGNMENT


def _crc(salt: int, position: int, kind: int, received_at_us: int, payload: bytes | memoryview) -> int:
    checked = _CHECKED.pack(position, len(payload), kind, received_at_us)
    return zlib.crc32(payload, zlib.crc32(checked, salt))


def _segment_path(directory: Path, base: int) -> Path:
    return directory / f"{base:020d}{SUFFIX}"


def _bases(directory: Path) -> list[int]:
    return sorted(int(path.stem) for path in directory.glob(f"*{SUFFIX}"))


def _read_mark(path: Path) -> int | None:
    """Return the position that a mark holds, or None where there is none or half of one."""
    try:
        with path.open("rb") as file:
            data = file.read(MARK.size)
    except FileNotFoundError:
        return None
    if len(data) < MARK.size:
        return None
    position, complement = MARK.unpack(data)
    return int(position) if position == ~complement & 0xFFFF_FFFF_FFFF_FFFF else None


def _pack_mark(position: int) -> bytes:
    return MARK.pack(position, ~position & 0xFFFF_FFFF_FFFF_FFFF)


def _write_mark(path: Path, position: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        os.pwrite(descriptor, _pack_mark(position), 0)
    finally:
        os.close(descriptor)


def _read_log_id(directory: Path) -> UUID:
    path = directory / "log.json"
    try:
        return UUID(json.loads(path.read_text())["uuid"])
    except FileNotFoundError:
        raise LogError(f"there is no log in {directory}: start a gateway, or correct the path") from None
    except (ValueError, KeyError, TypeError) as error:
        raise WrongLog(f"{path} does not name a log: {error}") from None


def skips_in(directory: Path) -> list[Skip]:
    """Give the stretches of a log that readers pass, oldest first."""
    try:
        return _SKIPS.decode((directory / SKIPPED).read_bytes())
    except FileNotFoundError:
        return []
    except msgspec.DecodeError as error:
        raise LogError(f"{directory / SKIPPED} cannot be read: {error}") from None


def keep_skips(directory: Path, skips: Sequence[Skip]) -> None:
    """Say which stretches of a log readers pass; durable on return."""
    keep_file(directory / SKIPPED, [msgspec.json.encode(skips)])


def _make_log_id(directory: Path) -> UUID:
    path = directory / "log.json"
    if path.exists():
        return _read_log_id(directory)
    if _bases(directory):
        raise WrongLog(f"{directory} holds segments but no log.json: restore it, or move the segments away")
    log_id = uuid4()
    draft = path.with_suffix(".new")
    with draft.open("w") as file:
        json.dump({"uuid": str(log_id), "created": datetime.now(UTC).isoformat()}, file)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    sync_directory(directory)
    return log_id


def _records(data: memoryview, position: int, log: LogName, salt: int) -> Iterator[LogRecord]:
    """Read records from `data`, which begins at `position`, up to the first that is incomplete or damaged.

    Raises:
        UnknownRecord: this version does not know what the next one is.
    """
    at = 0
    while at + RECORD_HEAD.size <= len(data):
        length, crc, kind, received_at_us = RECORD_HEAD.unpack_from(data, at)
        payload = data[at + RECORD_HEAD.size : at + RECORD_HEAD.size + length]
        if kind == 0 or len(payload) < length:
            return
        if crc != _crc(salt, position + at, kind, received_at_us, payload):
            return
        size = record_size(length)
        said = _KINDS.get(kind)
        if said is None:
            raise UnknownRecord(kind, position + at, log)
        yield LogRecord(position + at, position + at + size, received_at_us, said, payload, log)
        at += size


class LogWriter:
    """The only writer of a log.

    `append` keeps a record in memory, `sync` makes everything appended before it durable. One thread appends;
    `sync` may run in another one meanwhile. Opening takes over what a predecessor wrote and did not live to
    sync.

    Raises:
        LogInUse: another process has it open.
        WrongLog: the directory holds files of another log.
        LogCorrupt: records that were durable are missing.
        LogFailed: the disk refuses already.
    """

    def __init__(
        self,
        directory: Path,
        *,
        limits: LogLimits | None = None,
        storage: Storage | None = None,
        is_archived: bool = False,
    ) -> None:
        self.directory = directory
        self._marks = ("consumed", "archived") if is_archived else ("consumed",)
        """What must lie behind a segment before it is deleted."""
        self.limits = limits or LogLimits()
        self._storage: Storage = storage or Disk()
        self._lock = threading.Lock()
        """Guards what `append`, `sync` and `trim` share: `_waiting`, the place of the next record, the
        segments, and what is said of the room for more.
        """
        self._endurance = Endurance()
        self._syncing = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._file: LogFile | None = None
        """The current segment; None where the next sync has to make one at `_base`."""
        self._fault, self._is_full = "", False
        self.shortage = ""
        """Why there is room for nothing but the reserve; empty where there is more."""
        self._salt = secrets.randbits(32) | 1
        self._is_closed = False
        make_directory(directory)
        self._lock_file = _lock_directory(directory)
        try:
            self.log_id = _make_log_id(directory)
            for draft in directory.glob("[0-9]*.new"):  # of a writer that died; readers have drafts as well
                self._storage.remove(draft)
            self._sizes = {base: _segment_path(directory, base).stat().st_size for base in _bases(directory)}
            self._mark = self._storage.open(directory / "head")
            self._durable, self._base = self._recover()
            self._mark.write(_pack_mark(self._durable), 0)
        except OSError as error:
            self._lock_file.close()
            raise LogFailed(f"the log in {directory} cannot be opened: {error}") from error
        except LogError:
            self._lock_file.close()
            raise
        self._next = self._base, self._durable
        """Base and position behind the last appended record, durable or not."""

    @property
    def durable(self) -> int:
        """Everything before this position survives a power loss."""
        return self._durable

    @property
    def start(self) -> int:
        """Position of the oldest record kept."""
        with self._lock:
            return min(min(self._sizes, default=self._durable) + SEGMENT_HEAD.size, self._durable)

    def append(self, record: Frames | Event, received_at_us: int) -> int:
        """Keep `record` for the next sync and return the position behind it.

        That position holds if the next sync succeeds; if it fails, the record goes to a later one.

        Raises:
            ValueError: the record is longer than `limits.max_payload`.
        """
        kind, payload = encode(record)
        if len(payload) > self.limits.max_payload:
            raise ValueError(
                f"a record of {len(payload)} bytes fits no segment of {self.limits.segment_bytes}"
            )
        waiting = _Waiting(kind, received_at_us, payload)
        with self._lock:
            self._waiting.append(waiting)
            base, at = self._place(*self._next, waiting.size)
            self._next = base, at + waiting.size
            self._endurance.note(at + waiting.size, received_at_us / 1e6)
        return at + waiting.size

    def sync(self) -> int:
        """Make everything appended so far durable and return the position behind it.

        Raises:
            LogFull: there is no room for a segment.
            LogFailed: the disk refused. Either way the records are kept for the next sync.
            LogClosed: they will never be durable.
        """
        with self._syncing:
            if self._is_closed:
                raise LogClosed(f"the log in {self.directory} is closed")
            with self._lock:
                records, self._waiting = self._waiting, []
            written = 0
            try:
                for run in self._runs(records):
                    self._write(run)
                    written += run.records
            except Exception as error:
                self._fault, self._is_full = str(error), isinstance(error, LogFull)
                self._put_back(records[written:])
                if not isinstance(error, OSError):
                    raise
                raise LogFailed(f"the log in {self.directory} failed: {error}") from error
            self._fault, self._is_full = "", False
            return self._durable

    def trim(self) -> int:
        """Delete the segments that no reader needs any more and return how many these were.

        Raises:
            LogFailed: the disk refused.
            LogClosed: others may need them.
        """
        if self._is_closed:
            raise LogClosed(f"the log in {self.directory} is closed")
        deleted = 0
        needless = min(self._durable, *(_read_mark(self.directory / mark) or 0 for mark in self._marks))
        try:
            while len(bases := sorted(self._sizes)) > 1:
                oldest, successor = bases[:2]
                if _SegmentHead.read(_segment_path(self.directory, successor)).previous_end > needless:
                    break
                deleted += self._remove(oldest, before=successor)
            if self.shortage or deleted:
                self._note_shortage()
        except OSError as error:
            raise LogFailed(f"the log in {self.directory} cannot be trimmed: {error}") from error
        return deleted

    def state(self) -> LogState:
        """Look at the log for health and metrics."""
        free = self._storage.free_bytes(self.directory)
        with self._lock:
            used, waiting = sum(self._sizes.values()), sum(len(record.payload) for record in self._waiting)
            room = min(self.limits.quota_bytes - used, free - self.limits.free_floor_bytes)
            holds_s = self._endurance.holds_s(room - RESERVED_SEGMENTS * self.limits.segment_bytes)
        return LogState(
            durable=self._durable,
            start=self.start,
            segments=len(self._sizes),
            used_bytes=used,
            quota_bytes=self.limits.quota_bytes,
            free_bytes=free,
            free_floor_bytes=self.limits.free_floor_bytes,
            waiting_bytes=waiting,
            fault=self._fault,
            is_full=self._is_full or bool(self.shortage),
            holds_s=None if holds_s is None else round(holds_s),
        )

    def close(self) -> None:
        """Sync what is left and let another writer in.

        Raises:
            LogFailed: what is left could not be made durable. The log is closed nevertheless.
        """
        try:
            self.sync()
        finally:
            with self._syncing:
                self._is_closed = True
                self._finish_segment()
                self._mark.close()
                self._lock_file.close()

    def _recover(self) -> tuple[int, int]:
        """Find where the records of the last segment end and where the next segment begins."""
        mark = _read_mark(self.directory / "head") or 0
        if not self._sizes:
            if mark:
                raise LogCorrupt(mark, "segments are missing: none is left", self.directory)
            return 0, 0
        head, end = _take_over(self.directory, mark, self._storage)
        self._sizes[head.base] = max(end, head.start) - head.base
        return end, head.base + head.capacity

    def _place(self, base: int, end: int, size: int) -> tuple[int, int]:
        """Say where a record of `size` goes that follows `end`: the base of its segment, and its position.

        `base` is that of the segment in which `end` lies, or of the next one where that has to be made.
        """
        at = max(end, base + SEGMENT_HEAD.size)
        if at + size > base + self.limits.segment_bytes:
            base += self.limits.segment_bytes
            at = base + SEGMENT_HEAD.size
        return base, at

    def _runs(self, records: list[_Waiting]) -> Iterator[_Run]:
        """Divide `records` by segments."""
        base, end = self._base, self._durable
        pieces: list[bytes] = []
        begin = count = 0
        for record in records:
            placed, at = self._place(base, end, record.size)
            if pieces and placed != base:
                yield _Run(base, begin, count, b"".join(pieces))
                pieces, count = [], 0
            if not pieces:
                begin = at
            pieces.extend(record.pieces(at, self._salt))
            base, end, count = placed, at + record.size, count + 1
        if pieces:
            yield _Run(base, begin, count, b"".join(pieces))

    def _write(self, run: _Run) -> None:
        """Make `run` durable, then tell the readers."""
        file = self._open_segment(run.base)
        file.write(run.data, run.begin - run.base)
        file.sync()
        end = run.begin + len(run.data)
        self._mark.write(_pack_mark(end), 0)
        self._durable = end

    def _open_segment(self, base: int) -> LogFile:
        """Give the segment at `base`, made new where it is not the current one."""
        if self._file is not None and base == self._base:
            return self._file
        self._finish_segment()
        self._base = base
        with self._lock:
            why = self._shortage(1)
        if why:
            raise LogFull(why)
        head = _SegmentHead(self.log_id, base, self.limits.segment_bytes, self._durable, self._salt)
        self._file = self._storage.create(_segment_path(self.directory, base), head.pack(), head.capacity)
        with self._lock:
            self._sizes[base] = head.capacity
        self._note_shortage()
        return self._file

    def _finish_segment(self) -> None:
        """Close the current segment and give back what it did not use."""
        if self._file is None:
            return
        file, self._file = self._file, None
        size = max(self._durable - self._base, SEGMENT_HEAD.size)
        with contextlib.suppress(OSError):  # nothing but room is lost, and retention gives that back
            file.cut(size)
            with self._lock:
                self._sizes[self._base] = size
        file.close()

    def _put_back(self, records: list[_Waiting]) -> None:
        """Keep `records` for the next sync, and give up a segment that failed."""
        if self._file is not None:
            self._finish_segment()
            if self._durable <= self._base:  # a disk that keeps failing must not fill itself with empty ones
                with contextlib.suppress(OSError):
                    self._remove(self._base)
            self._base += self.limits.segment_bytes
        with self._lock:
            self._waiting = records + self._waiting
            self._next = self._base, self._durable
            for record in self._waiting:
                base, at = self._place(*self._next, record.size)
                self._next = base, at + record.size

    def _remove(self, base: int, *, before: int | None = None) -> bool:
        """Delete a segment and say whether it was so: not where it is the only one, which says where the log
        ends, nor where the one `before` which it stands was deleted meanwhile.
        """
        with self._lock:
            if len(self._sizes) < 2 or base not in self._sizes or (before or base) not in self._sizes:
                return False
            size = self._sizes.pop(base)
        try:
            self._storage.remove(_segment_path(self.directory, base))
        except OSError:
            with self._lock:
                self._sizes[base] = size
            raise
        return True

    def _note_shortage(self) -> None:
        """Look and say in one: `trim` may be at it while a sync makes a segment."""
        with self._lock:
            self.shortage = self._shortage(RESERVED_SEGMENTS)

    def _shortage(self, segments: int) -> str:
        """Say which limit so many more segments would break; nothing where there is room for them. The caller
        holds the lock.
        """
        size, limits = segments * self.limits.segment_bytes, self.limits
        free, used = self._storage.free_bytes(self.directory), sum(self._sizes.values())
        if used + size > limits.quota_bytes:
            return f"the log holds {used} bytes; with {size} more it would exceed {limits.quota_bytes}"
        if free - size < limits.free_floor_bytes:
            return f"the disk has {free} bytes left; {limits.free_floor_bytes} must stay after {size} more"
        return ""


def _lock_directory(directory: Path) -> BinaryIO:
    """Become the only writer, until the returned file is closed."""
    file = (directory / "lock").open("ab")
    for _ in range(LOCK_TRIES):
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        time.sleep(LOCK_WAIT_S)
    file.close()
    raise LogInUse(f"another process writes the log in {directory}")


def settle(directory: Path) -> bool:
    """Say whether nobody writes the log; if so, all that its last writer left is announced on return.

    Raises:
        LogCorrupt: records that were durable are missing.
        OSError: the disk refuses.
    """
    try:
        lock = (directory / "lock").open("rb")
    except FileNotFoundError:  # a copy of a log
        return True
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        bases, mark = _bases(directory), _read_mark(directory / "head") or 0
        if bases:
            path = _segment_path(directory, bases[-1])
            if _end_of_records(path, _SegmentHead.read(path), mark) != mark:
                _, end = _take_over(directory, mark, Disk())
                _write_mark(directory / "head", end)
    return True


def _take_over(directory: Path, mark: int, storage: Storage) -> tuple[_SegmentHead, int]:
    """Make durable what a writer left in the last segment, cut off what is torn, and say where the log ends.

    Only for who holds the lock. `mark` is the durable position as far as known.
    """
    path = _segment_path(directory, _bases(directory)[-1])
    head = _SegmentHead.read(path, _read_log_id(directory))
    file = storage.open(path)
    try:
        file.sync()
        # After a sync that failed in a process now dead, pages may look clean that never reached the disk.
        storage.forget_cached(path)
        end = _end_of_records(path, head, mark)
        file.cut(min(max(end, head.start) - head.base, path.stat().st_size))
    finally:
        file.close()
    return head, end


def _end_of_records(path: Path, head: _SegmentHead, mark: int) -> int:
    """Find where the valid records of the last segment end, `mark` being the durable position as far as
    known. Where it has none, that is where those of the segment before it end.
    """
    size = path.stat().st_size
    known = max(mark, head.start)
    if known > head.base + size:
        if any(each.end == known for each in skips_in(path.parent)):
            return known  # nobody will read what is missing
        raise LogCorrupt(
            known, f"durable records are missing: the last segment ends at {head.base + size}", path
        )
    end = known
    with path.open("rb") as file:
        file.seek(known - head.base)
        while len(data := file.read(RECORD_HEAD.size)) == RECORD_HEAD.size:
            data += file.read(record_size(RECORD_HEAD.unpack(data)[0]) - RECORD_HEAD.size)
            record = next(_records(memoryview(data), end, LogName(0, head.log_id), head.salt), None)
            if record is None:
                break
            end = record.next_position
    if mark < end == head.start:  # its writer died before anything in it was durable
        return max(mark, head.previous_end)
    return end


class LogReader:
    """Reads a log, whoever writes it meanwhile.

    Raises:
        LogError: there is no log in `directory`.
        WrongLog: it is not the log `log_id`.
    """

    def __init__(self, directory: Path, *, log_id: UUID | None = None, slot: int = 0) -> None:
        self.directory = directory
        self.log_id = _read_log_id(directory)
        self.name = LogName(slot, self.log_id)
        if log_id not in (None, self.log_id):
            raise WrongLog(f"the log in {directory} is {self.log_id}, not {log_id}")
        self._heads: list[_SegmentHead] = []
        self._open: tuple[int, BinaryIO] | None = None
        self._durable = 0

    @property
    def start(self) -> int:
        """Position of the oldest record kept; where a reader without a cursor begins."""
        durable = self.head()
        self._list()
        return min(self._heads[0].start, durable) if self._heads else durable

    def tail(self, size: int) -> int:
        """Return a position from which about the last `size` bytes can be read, or all there are."""
        end = self.head()
        self._list()
        for segment in reversed(self._heads):
            size -= max(0, end - segment.start)
            if size <= 0:
                return segment.start
            end = min(end, segment.previous_end)
        return self.start

    def unread(self, position: int) -> int:
        """Return how many bytes there are from `position` on, without what segments did not use.

        It may be asked while another thread reads.
        """
        durable, segments = self.head(), self._heads
        if not segments or durable > segments[-1].base + segments[-1].capacity:
            segments = self._listed(durable)
        size, end = 0, durable
        for segment in reversed(segments):
            size += max(0, end - max(position, segment.start))
            end = min(end, segment.previous_end)
        return size

    def head(self) -> int:
        """Return the durable position: nothing behind it may be read."""
        # A read in the middle of the writer's write gives no mark; the next one will.
        self._durable = max(self._durable, _read_mark(self.directory / "head") or 0)
        return self._durable

    def read(self, position: int, max_bytes: int = MIB) -> list[LogRecord]:
        """Read durable records from `position` on: about `max_bytes`, at least one, none at the end of the
        log.

        Fewer than there are may come, for a call does not read over the end of a segment.

        Raises:
            CursorAhead, CursorBehind: this log has no such position (any more).
            LogCorrupt: the record at `position` is damaged.
        """
        head = self.head()
        if position > head:
            raise CursorAhead(
                f"position {position} is ahead of log {self.log_id}, which ends at {head}", position
            )
        if position == head:
            return []
        segment, position, end = self._locate(position, head)
        if position == end:
            return []
        records = self._records(segment, position, min(max_bytes, end - position))
        head_bytes = b"" if records else self._pread(segment, position, RECORD_HEAD.size)
        if len(head_bytes) == RECORD_HEAD.size:
            length = RECORD_HEAD.unpack(head_bytes)[0]
            records = self._records(segment, position, min(record_size(length), end - position))
        if records:
            return records
        for skip in skips_in(self.directory):
            if skip.begin == position:
                return self.read(skip.end, max_bytes)
        is_missing = len(head_bytes) < RECORD_HEAD.size
        what = f"durable records are missing up to {end}" if is_missing else "record is damaged"
        raise LogCorrupt(position, what, _segment_path(self.directory, segment.base))

    def behind_damage(self, position: int) -> tuple[int, bytes]:
        """Say where readers may go on behind the damage at `position`, and give what lies between.

        That is at the next record whose checksum holds, which nothing in a payload can feign, or at the end
        of the segment's records; always there in a segment without salt.

        Raises:
            CursorAhead, CursorBehind: this log has no such position (any more).
        """
        segment, position, end = self._locate(position, self.head())
        data = self._pread(segment, position, end - position)
        at = self._next_record(data, position, segment.salt) if segment.salt else None
        return (end, bytes(data)) if at is None else (position + at, bytes(data[:at]))

    def head_for(self, base: int) -> bytes:
        """Make a head for a segment whose own is damaged, of what its neighbours say.

        The one before it was cut where its records end when this one was begun. Where that is deleted, it was
        consumed. The salt is that of a neighbour with which the first record can be read.

        Raises:
            LogCorrupt: no other head can be read.
        """
        others: list[_SegmentHead] = []
        for each in _bases(self.directory):
            with contextlib.suppress(LogCorrupt):
                others.append(_SegmentHead.read(_segment_path(self.directory, each), self.log_id))
        path = _segment_path(self.directory, base)
        if not others:
            raise LogCorrupt(base, "the head of the only segment is damaged", path)
        before = [each for each in _bases(self.directory) if each < base]
        end = min(self.consumed(), base)
        if before:
            end = before[-1] + _segment_path(self.directory, before[-1]).stat().st_size
        nearest = sorted(others, key=lambda each: abs(each.base - base))
        made = [_SegmentHead(self.log_id, base, each.capacity, end, each.salt) for each in nearest]
        with path.open("rb") as file:
            data = memoryview(file.read())[SEGMENT_HEAD.size :]
        fits = (each for each in made if any(_records(data, each.start, self.name, each.salt)))
        return next(fits, made[0]).pack()

    def _next_record(self, data: memoryview, position: int, salt: int) -> int | None:
        """Find a record in `data`, but not at its beginning."""
        words = np.frombuffer(data[: len(data) & -ALIGNMENT], "<u8")
        # The word behind length and checksum is the kind, for its other bytes are zero.
        heads = ALIGNMENT * np.isin(words[1:], list(_KINDS)).nonzero()[0]
        left = SEARCHED_BYTES
        for at in heads[heads > 0].tolist():
            length = RECORD_HEAD.unpack_from(data, at)[0] if at + RECORD_HEAD.size <= len(data) else len(data)
            if at + record_size(length) > len(data):
                continue
            left -= length
            if left < 0:
                break
            if next(_records(data[at : at + record_size(length)], position + at, self.name, salt), None):
                return int(at)
        return None

    def _records(self, segment: _SegmentHead, position: int, size: int) -> list[LogRecord]:
        return list(_records(self._pread(segment, position, size), position, self.name, segment.salt))

    def release(self, position: int) -> None:
        """Allow the writer to delete what lies before `position`: the reader will never ask for it again."""
        _write_mark(self.directory / "consumed", position)

    def consumed(self) -> int:
        """Return the position that was released last."""
        return _read_mark(self.directory / "consumed") or 0

    def release_archived(self, position: int) -> None:
        """Note that the archive has what lies before `position`."""
        _write_mark(self.directory / "archived", position)

    def archived(self) -> int:
        """Return the position behind what the archive has."""
        return _read_mark(self.directory / "archived") or 0

    def pass_over(self, position: int, until_us: int) -> None:
        """Note that other logs did not wait: what stands from `position` on counts as not received before
        `until_us`.
        """
        before = [(at, us) for at, us in self.passed() if at != position]
        lines = [f"{at} {us}\n".encode() for at, us in [*before[-PASSES:], (position, until_us)]]
        keep_file(self.directory / "passed", lines)

    def passed(self) -> list[tuple[int, int]]:
        """Give the positions at which other logs did not wait, and until when."""
        with contextlib.suppress(FileNotFoundError):
            lines = (self.directory / "passed").read_text().splitlines()
            return [(int(position), int(until_us)) for position, until_us in map(str.split, lines)]
        return []

    def close(self) -> None:
        """Close what is open; the reader may be used again."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _list(self) -> None:
        """Look which segments there are up to the durable position that is known."""
        self._heads = self._listed(self._durable)

    def _listed(self, durable: int) -> list[_SegmentHead]:
        known = {head.base: head for head in self._heads}
        while True:
            paths = {base: _segment_path(self.directory, base) for base in _bases(self.directory)}
            with contextlib.suppress(FileNotFoundError):  # deleted since: a list with a hole leads astray
                return [
                    known.get(base) or _SegmentHead.read(path, self.log_id)
                    for base, path in paths.items()
                    if base + SEGMENT_HEAD.size <= durable
                ]

    def _locate(self, position: int, durable: int) -> tuple[_SegmentHead, int, int]:
        """Find the record at or next after `position`: segment, exact position, end of what may be read."""
        last = self._heads[-1] if self._heads else None
        if last is None or durable > last.base + last.capacity:
            self._list()
        at = bisect_right(self._heads, position, key=lambda head: head.base) - 1
        if at < 0 and self._heads and self._heads[0].previous_end == position:
            at = 0
        if at < 0:
            raise CursorBehind(
                f"position {position} is behind log {self.log_id}, which now begins at {self.start}", position
            )
        for segment, successor in pairwise([*self._heads[at:], None]):
            assert segment is not None
            position = max(position, segment.start)
            if position >= durable:
                return segment, position, position
            end = durable if successor is None else min(durable, max(successor.previous_end, segment.start))
            if position < end:
                return segment, position, end
            if position > end or successor is None:
                break
            position = successor.start
        raise CursorAhead(f"no record of log {self.log_id} was ever durable at position {position}", position)

    def _pread(self, segment: _SegmentHead, position: int, size: int) -> memoryview:
        if self._open is None or self._open[0] != segment.base:
            self.close()
            try:
                self._open = segment.base, _segment_path(self.directory, segment.base).open("rb")
            except FileNotFoundError:
                self._heads = []
                raise CursorBehind(
                    f"position {position} is behind log {self.log_id}, which now begins at {self.start}",
                    position,
                ) from None
        return memoryview(os.pread(self._open[1].fileno(), size, position - segment.base))
