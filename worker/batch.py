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
from store.records import Decided, Event, FrameFlag, Frames, RecordKind, Started, Tick, decode_event
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
    frames: FrameBatch
    session: I64
    received_us: I64
    authenticated: Flags
    lobby: Flags
    """A stranger said it (`worker.standing`)."""
    unproven: Flags
    """It was said without the terminal's code, and does not count."""
    number: I64
    """Which of all frames of `held` it is, those that are not used included."""
    held: list[LogRecord]
    """The records with frames."""
    first: I64
    """The number of the first frame of each of these."""
    parts: list[Part]
    unusable: list[Unusable]
    decided: int
    """The version of what people had decided before all of it, where a record says so; else 0."""
    decided_us: int
    """Receive time of that record; else 0."""

    @property
    def log_time_us(self) -> int:
        """Receive time of the last record."""
        return self.reached[0]

    def place(self, row: int) -> Place:
        """Say where a frame stands."""
        number = int(self.number[row])
        at = int(np.searchsorted(self.first, number, "right")) - 1
        return self.held[at].log.log_id, self.held[at].position, number - int(self.first[at])

    def _of_rows(self, rows: I64) -> "Batch":
        """Give the batch of some of its frames, ascending, but for `frames` itself; events stay."""
        columns = ("session", "received_us", "authenticated", "lobby", "unproven", "number")
        return replace(
            self,
            parts=[replace(part, rows=_among(rows, part.rows)) for part in self.parts],
            **{name: getattr(self, name)[rows] for name in columns},
        )

    def take(self, rows: I64) -> "Batch":
        """Give the batch of some of its frames, ascending; events stay."""
        return replace(self._of_rows(rows), frames=self.frames.take(rows))

    def events(self) -> Iterator[Happened]:
        """Give all events in order."""
        for part in self.parts:
            yield from part.events


def divide(records: Sequence[LogRecord], size: int) -> Iterator[Sequence[LogRecord]]:
    """Divide records into parts for batches, of about `size` bytes. What is decided stands at the head of
    one.
    """
    begin = taken = 0
    for place, record in enumerate(records):
        if record.kind is RecordKind.DECIDED and place > begin:
            yield records[begin:place]
            begin, taken = place, 0
        taken += len(record.payload)
        if taken >= size:
            yield records[begin : place + 1]
            begin, taken = place + 1, 0
    if begin < len(records):
        yield records[begin:]


def read_batch(records: Sequence[LogRecord], poisoned: Collection[Place] = ()) -> Batch:
    """Read consecutive records, at least one, and as `divide` gave them. Frames and records that are
    `poisoned` are not read.
    """
    held: list[tuple[LogRecord, int]] = []
    unusable: list[Unusable] = []
    parts: list[Part] = []
    events: list[Happened] = []
    begin = row = decided = decided_us = 0
    for record in records:
        if poisoned and (record.log.log_id, record.position, WHOLE_RECORD) in poisoned:
            unusable.append(_unusable_record(record))
        elif record.kind is RecordKind.FRAMES:
            held.append((record, row))
            row += Frames.count(record.payload)
        elif isinstance(event := decode_event(record.kind, record.payload), Decided):
            decided, decided_us = event.version, record.received_at_us
        elif isinstance(event, Tick):
            parts.append(Part(events, slice(begin, row), record.received_at_us, record.log.slot))
            events, begin = [], row
        else:
            if isinstance(event, Started) and row > begin:
                # What a gateway says of its links is not mixed with frames of the one before it.
                parts.append(Part(events, slice(begin, row), None))
                events, begin = [], row
            events.append(Happened(event, record.received_at_us, record.position, record.log))
    if events or row > begin:
        parts.append(Part(events, slice(begin, row), None))
    batch = _with_frames(records, held, parts, (decided, decided_us))
    batch.unusable.extend(unusable)
    return _without(batch, poisoned) if poisoned else batch


def _with_frames(
    records: Sequence[LogRecord],
    held: list[tuple[LogRecord, int]],
    parts: list[Part],
    decided: tuple[int, int],
) -> Batch:
    """Read the frames of records, all that have a good header; `parts` count the others as well. `held` says
    the number of the first frame of each record that has some. `decided` is a version and when it came.
    """
    read = Frames.joined([record.payload for record, _ in held], FRAME_BYTES)
    data, length = read.data, read.lengths.astype(np.int64)
    as_received = (read.flags & FrameFlag.RAW) != 0
    if as_received.any():
        plain, length = as_plain(data[:-FRAME_BYTES], length, as_received)
        data = np.concatenate([plain, np.zeros(FRAME_BYTES, np.uint8)])
    frames, bad = FrameBatch.from_padded(data, length, FRAME_BYTES)
    first = np.array([number for _, number in held], np.int64)
    received_us = np.array([record.received_at_us for record, _ in held], np.int64)
    columns: dict[str, npt.NDArray[Any]] = {
        "session": read.sessions.astype(np.int64),
        "received_us": np.repeat(received_us, np.diff(first, append=len(length))),
        "authenticated": (read.flags & FrameFlag.AUTHENTICATED) != 0,
        "lobby": (read.flags & FrameFlag.LOBBY) != 0,
        "unproven": (read.flags & FrameFlag.UNPROVEN) != 0,
        "number": np.arange(len(length)),
    }
    batch = Batch(
        end=behind(records),
        reached=order(records[-1]),
        frames=frames,
        held=[record for record, _ in held],
        first=first,
        parts=parts,
        unusable=[],
        decided=decided[0],
        decided_us=decided[1],
        **columns,
    )
    if not len(bad):
        return batch
    ends = np.cumsum(length)
    for row in bad.tolist():
        raw = data[ends[row] - length[row] : ends[row]].tobytes()
        batch.unusable.append(_unusable_frame(batch, row, raw, BAD_HEADER))
    return replace(batch._of_rows(np.delete(columns["number"], bad)), frames=frames)


def _without(batch: Batch, poisoned: Collection[Place]) -> Batch:
    """Leave out frames that cannot be written."""
    records = {(each.log.log_id, each.position): at for at, each in enumerate(batch.held)}
    found = [(records.get((log_id, position)), ordinal) for log_id, position, ordinal in poisoned]
    numbers = [int(batch.first[at]) + ordinal for at, ordinal in found if at is not None]
    is_poisoned = np.isin(batch.number, numbers)
    for row in is_poisoned.nonzero()[0].tolist():
        batch.unusable.append(_unusable_frame(batch, row, batch.frames.plain(row), POISONED))
    return batch.take((~is_poisoned).nonzero()[0])


def _unusable_frame(batch: Batch, row: int, raw: bytes, reason: str) -> Unusable:
    at_us, session = int(batch.received_us[row]), int(batch.session[row])
    return Unusable(raw, reason, session, at_us, *batch.place(row))


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
