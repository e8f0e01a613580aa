"""Some of the log, as the worker takes it in one go: frames as columns, events beside them, cut at the ticks.

Reading is pure and remembers nothing. What frames and events mean is decided in `worker.digest`.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias
from uuid import UUID

import numpy as np
import numpy.typing as npt

from protocol.columns import FrameBatch, as_plain
from store.log import LogName, LogRecord
from store.merge import Order, Positions, behind, order
from store.quarantine import POISONED
from store.records import Event, FrameFlag, Frames, Started, Tick, decode
from worker.fleet import FRAME_BYTES

I64: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]

BAD_HEADER = "bad_header"
"""Why a frame of the log is not used: its header does not add up to its length."""
Place: TypeAlias = tuple[UUID, int, int]
"""A frame: log, position of its record, and its place in it."""
WHOLE_RECORD = -1
"""… or the record itself."""


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of a log, with when it was received and where it stands."""

    event: Event
    at_us: int
    position: int
    log: LogName


@dataclass(frozen=True, slots=True)
class Unusable:
    """A frame that was answered and yet cannot be read as one."""

    raw: bytes
    reason: str
    session: int
    at_us: int
    log_id: UUID
    position: int
    ordinal: int


@dataclass(frozen=True, slots=True)
class Part:
    """The log between two ticks: events, frames, and the tick that ends it (None: it goes on in the next
    batch).
    """

    events: list[Happened]
    rows: slice
    tick_us: int | None
    slot: int = 0
    """Whose tick it is."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records. Columns have one element per frame of `frames`, in order of arrival."""

    end: Positions
    """Behind the last record of each log."""
    reached: Order
    """The place of the last record among those of all logs."""
    logs: list[UUID]
    frames: FrameBatch
    session: I64
    received_us: I64
    authenticated: Flags
    log: I64
    """Where in `logs` the frame's log is."""
    position: I64
    """Of the record that holds the frame."""
    ordinal: I64
    """The frame's place in its record."""
    parts: list[Part]
    unusable: list[Unusable]

    @property
    def log_time_us(self) -> int:
        """Receive time of the last record."""
        return self.reached[0]

    def log_id(self, row: int) -> UUID:
        """Give the log in which a frame stands."""
        return self.logs[int(self.log[row])]

    def events(self) -> Iterator[Happened]:
        """Give all events in order."""
        for part in self.parts:
            yield from part.events


def read_batch(records: Sequence[LogRecord], poisoned: Collection[Place] = ()) -> Batch:
    """Read consecutive records, at least one. Frames and records that are `poisoned` are not
    read.
    """
    unusable: list[Unusable] = []
    heads: list[Frames] = []
    held: list[LogRecord] = []
    parts: list[Part] = []
    events: list[Happened] = []
    begin = row = 0
    for record in records:
        if poisoned and (record.log.log_id, record.position, WHOLE_RECORD) in poisoned:
            unusable.append(_unusable_record(record))
            continue
        content = decode(record.kind, record.payload)
        if isinstance(content, Frames):
            heads.append(content)
            held.append(record)
            row += len(content.sessions)
        elif isinstance(content, Tick):
            parts.append(Part(events, slice(begin, row), record.received_at_us, record.log.slot))
            events, begin = [], row
        else:
            if isinstance(content, Started) and row > begin:
                # What a gateway says of its links is not mixed with frames of the one before it.
                parts.append(Part(events, slice(begin, row), None))
                events, begin = [], row
            events.append(Happened(content, record.received_at_us, record.position, record.log))
    if events or row > begin:
        parts.append(Part(events, slice(begin, row), None))
    batch = _with_frames(records, heads, held, parts, poisoned)
    batch.unusable.extend(unusable)
    return batch


def _with_frames(
    records: Sequence[LogRecord],
    heads: list[Frames],
    held: list[LogRecord],
    parts: list[Part],
    poisoned: Collection[Place],
) -> Batch:
    counts = np.array([len(each.sessions) for each in heads], np.int64)
    length = _joined([each.lengths for each in heads], np.int64)
    flags = _joined([each.flags for each in heads], np.int64)
    data = np.frombuffer(b"".join(each.data.tobytes() for each in heads), np.uint8)
    as_received = (flags & FrameFlag.RAW) != 0
    if as_received.any():
        data, length = as_plain(data, length, as_received)
    frames, bad = FrameBatch.from_plain(data, length)
    frames = replace(frames, data=np.concatenate([frames.data, np.zeros(FRAME_BYTES, np.uint8)]))
    starts = np.cumsum(counts) - counts
    logs = list({record.log.log_id: None for record in held})
    columns: dict[str, npt.NDArray[Any]] = {
        "session": _joined([each.sessions for each in heads], np.int64),
        "received_us": np.repeat(np.array([each.received_at_us for each in held], np.int64), counts),
        "log": np.repeat(np.array([logs.index(each.log.log_id) for each in held], np.int64), counts),
        "position": np.repeat(np.array([each.position for each in held], np.int64), counts),
        "ordinal": np.arange(int(counts.sum()), dtype=np.int64) - np.repeat(starts, counts),
        "authenticated": (flags & FrameFlag.AUTHENTICATED) != 0,
    }
    unusable: list[Unusable] = []
    if poisoned:
        is_poisoned = np.zeros(len(length), np.bool_)
        for log_id, position, ordinal in poisoned:
            log = logs.index(log_id) if log_id in logs else -1
            is_there = (columns["log"] == log) & (columns["position"] == position)
            is_poisoned |= is_there & (columns["ordinal"] == ordinal)
        frames = frames.take(~np.delete(is_poisoned, bad))
        bad = np.union1d(bad, is_poisoned.nonzero()[0])
    if len(bad):
        ends = np.cumsum(length)
        for at in bad.tolist():
            session, at_us, log, position, ordinal = (
                int(columns[name][at]) for name in ("session", "received_us", "log", "position", "ordinal")
            )
            raw = bytes(data[ends[at] - length[at] : ends[at]])
            reason = POISONED if (logs[log], position, ordinal) in poisoned else BAD_HEADER
            unusable.append(Unusable(raw, reason, session, at_us, logs[log], position, ordinal))
        kept = np.setdiff1d(np.arange(len(length)), bad)
        columns = {name: column[kept] for name, column in columns.items()}
        parts = [replace(each, rows=_among(kept, each.rows)) for each in parts]
    return Batch(
        end=behind(records),
        reached=order(records[-1]),
        logs=logs,
        frames=frames,
        parts=parts,
        unusable=unusable,
        **columns,
    )


def _unusable_record(record: LogRecord) -> Unusable:
    return Unusable(
        raw=bytes(record.payload),
        reason=POISONED,
        session=0,
        at_us=record.received_at_us,
        log_id=record.log.log_id,
        position=record.position,
        ordinal=WHOLE_RECORD,
    )


def _among(kept: I64, rows: slice) -> slice:
    """Give the place of a range of rows among those that are kept."""
    return slice(*np.searchsorted(kept, (rows.start, rows.stop)).tolist())


def _joined(columns: list[npt.NDArray[Any]], kind: type[np.int64]) -> I64:
    return np.concatenate(columns).astype(kind) if columns else np.zeros(0, kind)
