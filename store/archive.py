"""The archive 原始数据归档: what the logs received, kept by day of receipt after the logs have let go of it.

    archive/heads                       a line for every chunk (`store.heads`), kept when chunks are not
    archive/2026-03-01/00000017.nwa     chunks (`store.chunk`), numbered through all days
    archive/lock                        held while something is written

All logs of a machine go into one archive. Their records are taken in order of receipt, so that a terminal
that changes between gateway processes has one chain. A record belongs to the day, in Beijing, on which it was
received; where a clock was set back, to the day of what the same log received before it.

Sealing takes what the worker has consumed, writes a chunk, appends its head, and then allows the log to
delete what the chunk holds. A crash in between leaves a file that is written anew, a chunk without a head
which gets it, or a log that is allowed to delete a little later: nothing is lost, nothing is there twice.

Records that defy sorting are set aside: sealed as they are, with the cause in chunk and head. Whoever reads
the archive knows such chunks, and what comes behind them is sealed as ever.

Errors:
    ChunkDamaged, HeadsBroken, LogError, OSError: what they say; sealing changes nothing then.
    ArchiveInUse    another process is writing
"""

import contextlib
import fcntl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
import numpy as np

from store import chunk, heads
from store.chunk import SUFFIX, About, Chunk, Gathered, Identify, Span, as_received, by_terminal
from store.heads import Removed, Sealed, SetAside
from store.log import MIB, CursorBehind, LogReader, LogRecord
from store.merge import MergedReader, Positions, behind, logs_in
from store.records import FrameFlag, Frames, RecordKind
from store.storage import make_directory, sync_directory
from store.times import from_us, to_us

BEIJING: Final = timedelta(hours=8)
"""The day of the regulators and of the people at the desk. No summer time."""
CHUNK_BYTES: Final = 64 * MIB
"""A chunk takes about six times as much memory while it is made."""
SECOND_US: Final = 1_000_000
FIRST_US, LAST_US = (to_us(datetime(year, 1, 1, tzinfo=UTC)) for year in (1971, 9999))


class ArchiveInUse(Exception):
    """Another process is writing this archive."""


@dataclass(frozen=True, slots=True)
class Cadence:
    """When a chunk is sealed."""

    chunk_bytes: int = CHUNK_BYTES
    """When so much is waiting."""
    every_s: float = 3600.0
    """… or when something has been waiting for so long, or its day is over."""


class ArchivedFrame(NamedTuple):
    """A frame of the archive, or of the log behind it."""

    received_us: int
    session: int
    flags: int
    data: bytes
    """Plain: header, body and checksum; as received where `is_raw`."""
    chunk: int
    """Number of its chunk; 0 where it is still in the log."""

    @property
    def is_raw(self) -> bool:
        return bool(self.flags & FrameFlag.RAW)

    def wire(self, escape: Callable[[bytes], bytes]) -> bytes:
        """Give it as it was on the wire."""
        return self.data if self.is_raw else b"\x7e" + escape(self.data) + b"\x7e"


@dataclass(slots=True)
class _End:
    """Where an archive ends."""

    number: int = 0
    day: date = date.min
    root: str = ""
    seed: str = ""
    links: dict[str, bytes] = field(default_factory=dict)
    """Last links of the day."""
    logs: dict[str, Span] = field(default_factory=dict)
    last_us: int = 0


def day_of(us: int) -> date:
    """Give the day in Beijing of a time."""
    return (from_us(us) + BEIJING).date()


def days(directory: Path) -> list[date]:
    """Give the days of which the archive has chunks, in order."""
    return sorted(each for each in map(_day, _listed(directory)) if each is not None)


def chunk_paths(directory: Path, day: date) -> list[Path]:
    """Give the chunks of a day in order."""
    return sorted(path for path in _listed(directory / day.isoformat()) if path.suffix == SUFFIX)


def _listed(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _day(path: Path) -> date | None:
    try:
        return date.fromisoformat(path.name)
    except ValueError:
        return None


def _path(directory: Path, day: date, number: int) -> Path:
    return directory / day.isoformat() / f"{number:08d}{SUFFIX}"


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Be the only one who writes."""
    make_directory(directory)
    with (directory / "lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ArchiveInUse(f"another process is writing the archive in {directory}") from None
        yield


def _logs(directory: Path) -> list[LogReader]:
    """Open the logs of a machine."""
    return [LogReader(path, slot=slot) for slot, path in logs_in(directory).items()]


def _in_order(logs: Path, begin: Positions, until: Positions) -> Iterator[LogRecord]:
    """Give the records of all logs between two places, in the order in which the worker has them."""
    if begin == until:
        return
    with contextlib.closing(MergedReader(logs)) as reader:
        position = dict(begin)
        while records := reader.read(position, until=until):
            yield from records
            position |= behind(records)


class Archivist:
    """Seals chunks.

    Args:
        directory: of the archive
        logs: of the logs
        identify: says whose frames are whose, which is no business of the store
        cadence: see `Cadence`
    """

    def __init__(
        self, directory: Path, logs: Path, identify: Identify, cadence: Cadence | None = None
    ) -> None:
        self.directory = directory
        self.logs = logs
        self.cadence = cadence or Cadence()
        self.waiting_bytes = 0
        """What the worker has consumed and the archive does not have, as of the last step."""
        self.waiting_since_us: int | None = None
        self.set_aside: list[SetAside] = []
        """Chunks whose records could not be sorted."""
        self._identify = identify
        self._heads = directory / heads.FILE_NAME
        self._end: _End | None = None
        self._known_bytes = -1
        """Size of the heads when `_end` was true."""

    def __repr__(self) -> str:
        return f"<Archivist of {self.directory}>"

    def step(self, now_us: int) -> About | None:
        """Seal a chunk if it is time, and say which one."""
        with _locked(self.directory):
            end, self._end = self._known(), None
            about = self._seal(end, now_us)
            self._end = end if about is None else self._end
            return about

    def _known(self) -> _End:
        """Give where the archive ends, and finish what a crash left."""
        if self._end is not None and self._known_bytes == self._heads_bytes():
            return self._end
        end = _end_of(self.directory)
        known = list(heads.backwards(heads.lines(self._heads)))
        self.set_aside = heads.set_aside(known)
        listed = next((each for each in known if isinstance(each, Sealed)), None)
        if listed is not None and listed.chunk > end.number:
            # The chunks are lost; what follows them still says so.
            end = _End(number=listed.chunk, day=listed.day, root=listed.root, seed=listed.root)
        elif end.number and (listed is None or listed.chunk < end.number):
            path = _path(self.directory, end.day, end.number)
            for directory in (path.parent, self.directory):  # its name may not have become durable
                sync_directory(directory)
            self._append(Chunk(path))
        self._known_bytes = self._heads_bytes()
        self._let_go(end)
        return end

    def _heads_bytes(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            return self._heads.stat().st_size
        return 0

    def _seal(self, end: _End, now_us: int) -> About | None:
        logs = _logs(self.logs)
        begin = {log.log_id: _begin(end.logs, log) for log in logs}
        until = {log.log_id: max(begin[log.log_id], log.consumed()) for log in logs}
        heads = {log.log_id: max(until[log.log_id], log.head()) for log in logs}
        self.waiting_bytes = sum(until[each] - begin[each] for each in begin)
        if not self._is_due(self._consumed(begin, until, heads), now_us):
            return None
        records, day = self._take(end, self._consumed(begin, until, heads))
        ends = begin | behind(records)
        spans = {str(log.log_id): Span(log.name.slot, begin[log.log_id], ends[log.log_id]) for log in logs}
        times = [each.received_at_us for each in records]
        held = [each.payload for each in records if each.kind is RecordKind.FRAMES]
        about = About(
            number=end.number + 1,
            day=day,
            previous=end.root,
            seed=end.seed if day == end.day else end.root,
            logs=spans,
            blocks=0,
            records=len(records),
            frames=sum(map(Frames.count, held)),
            frame_bytes=sum(len(each) - Frames.data_begins(each) for each in held),
            first_us=min(times),
            last_us=max(times),
            sealed_at=from_us(now_us),
        )
        links = end.links if about.seed == end.seed else {}
        path = _path(self.directory, day, about.number)
        root, made = self._write(path, about, records, links)
        sealed = Chunk(path)
        self._append(sealed)
        self._end = _End(
            about.number, day, root, about.seed, {**links, **made}, spans, records[-1].received_at_us
        )
        self._known_bytes = self._heads_bytes()
        self._let_go(self._end)
        return sealed.about

    def _write(
        self, path: Path, about: About, records: Sequence[LogRecord], links: Mapping[str, bytes]
    ) -> tuple[str, dict[str, bytes]]:
        """Write a chunk of records, and set them aside where they defy sorting."""
        log_ids = [UUID(each) for each in about.logs]
        try:
            return chunk.write(path, about, by_terminal(Gathered.of(records, log_ids), self._identify), links)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # whatever it is: it is about these records, and others must go on
            cause = f"{type(error).__name__}: {error}"
            about = msgspec.structs.replace(about, cause=cause)
            return chunk.write(path, about, as_received(records, log_ids), links)

    def _consumed(self, begin: Positions, until: Positions, heads: Positions) -> Iterator[LogRecord]:
        """Give what is consumed, in order, up to the first record that is not.

        A log may be consumed less far than the others: it keeps fragments until their message is whole. What
        the others have behind that waits with it, or it would come before it in the archive.
        """
        for record in _in_order(self.logs, begin, heads):
            if record.position >= until[record.log.log_id]:
                return
            yield record

    def _is_due(self, waiting: Iterator[LogRecord], now_us: int) -> bool:
        oldest = next(waiting, None)
        self.waiting_since_us = oldest.received_at_us if oldest else None
        if oldest is None:
            return False
        is_old = oldest.received_at_us < now_us - int(self.cadence.every_s * SECOND_US)
        is_yesterday = day_of(oldest.received_at_us) < day_of(now_us)
        return is_old or is_yesterday or self.waiting_bytes >= self.cadence.chunk_bytes

    def _take(self, end: _End, waiting: Iterator[LogRecord]) -> tuple[list[LogRecord], date]:
        """Take the records of one chunk, and say of which day they are."""
        records: list[LogRecord] = []
        day, size = end.day, 0
        for record in waiting:
            received_on = day_of(record.received_at_us)
            if not records:
                day = max(day, received_on)
            if size >= self.cadence.chunk_bytes or received_on > day:
                break
            records.append(record)
            size += record.next_position - record.position
        return records, day

    def _append(self, sealed: Chunk) -> None:
        head = head_of(sealed)
        heads.append(self._heads, head)
        self.set_aside += heads.set_aside([head])

    def _let_go(self, end: _End) -> None:
        """Allow the logs to delete what the archive has."""
        for log in _logs(self.logs):
            span = end.logs.get(str(log.log_id))
            if span is not None and span.end > log.archived():
                log.release_archived(span.end)


def head_of(sealed: Chunk) -> Sealed:
    """Give the head of a chunk, but for what it follows."""
    about = sealed.about
    return Sealed(
        previous="",
        at=about.sealed_at,
        chunk=about.number,
        day=about.day,
        root=sealed.root,
        blocks=about.blocks,
        frames=about.frames,
        since=from_us(about.first_us),
        until=from_us(about.last_us),
        file_bytes=sealed.path.stat().st_size,
        cause=about.cause,
    )


def _end_of(directory: Path) -> _End:
    """Read where an archive ends from its last day."""
    for day in reversed(days(directory)):
        paths = chunk_paths(directory, day)
        if not paths:
            continue
        *_, last = paths
        end = _end_after(Chunk(last))
        for path in paths:
            before = Chunk(path)
            if before.about.seed == end.seed:
                end.links |= before.links()
        return end
    return _End()


def _end_after(last: Chunk) -> _End:
    about = last.about
    return _End(about.number, about.day, last.root, about.seed, {}, about.logs, about.last_us)


def remove_day(directory: Path, day: date, *, why: str, now: datetime) -> int:
    """Delete the chunks of a day and say how many there were. Their heads stay, and one that says why.

    The law wants six months at least: whether they are over is decided in `keeper.retention`.
    """
    with _locked(directory):
        path = directory / heads.FILE_NAME
        paths = chunk_paths(directory, day)
        known = heads.backwards(heads.lines(path))
        if not any(isinstance(each, Removed) and each.day == day for each in known):
            heads.append(path, Removed(previous="", at=now, day=day, why=why))
        for each in paths:
            each.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something else lies there
            (directory / day.isoformat()).rmdir()
        sync_directory(directory)
        return len(paths)


class Archive:
    """Finds frames by terminal and time of receipt, in the archive and in the logs behind it.

    Args: as those of `Archivist`.
    """

    def __init__(self, directory: Path, logs: Path, identify: Identify) -> None:
        self.directory = directory
        self._logs = logs
        self._identify = identify

    def frames(self, identity: str, since: datetime, until: datetime) -> Iterator[ArchivedFrame]:
        """Give what was received of a terminal from `since` and before `until`, in order of receipt.

        Raises:
            ChunkDamaged: what lies there is not what was written.
        """
        begin, end = _us(since), _us(until)
        # The tail first: what is sealed while we read is in it, and in a chunk that is not asked.
        last, tail = self._tail(identity, begin, end)
        for path in self._paths(begin, end):
            if int(path.stem) <= last:
                with contextlib.suppress(FileNotFoundError):  # deleted since it was listed
                    yield from self._in_chunk(Chunk(path), identity, begin, end)
        yield from tail

    def records(self, since: datetime, until: datetime) -> Iterator[LogRecord]:
        """Give all records received in a time as they stood in the logs, in order of receipt.

        Raises:
            ChunkDamaged: what lies there is not what was written.
            CursorBehind: the log behind the archive was sealed and deleted meanwhile. Ask again from there.
        """
        begin_us, end_us = _us(since), _us(until)
        end, begin, head = self._behind()
        for path in self._paths(begin_us, end_us):
            if int(path.stem) <= end.number:
                with contextlib.suppress(FileNotFoundError):
                    held = Chunk(path)
                    if held.about.first_us < end_us and held.about.last_us >= begin_us:
                        yield from (each for each in held.log() if begin_us <= each.received_at_us < end_us)
        yield from (
            each for each in _in_order(self._logs, begin, head) if begin_us <= each.received_at_us < end_us
        )

    def _paths(self, begin_us: int, end_us: int) -> Iterator[Path]:
        """Give the chunks of the days in question. What was received just before a clock was set back is in
        the next day."""
        first, last = day_of(begin_us) - timedelta(days=1), day_of(max(begin_us, end_us)) + timedelta(days=1)
        for day in days(self.directory):
            if first <= day <= last:
                yield from chunk_paths(self.directory, day)

    def _tail(self, identity: str, begin_us: int, end_us: int) -> tuple[int, list[ArchivedFrame]]:
        """Give the number of the last chunk, and what the logs hold behind it."""
        end, begin, head = self._behind()
        try:
            records = [
                each
                for each in _in_order(self._logs, begin, head)
                if begin_us <= each.received_at_us < end_us
            ]
        except CursorBehind:  # sealed and deleted since we looked: it is in a chunk now
            return self._tail(identity, begin_us, end_us)
        return end.number, list(_of(records, self._identify, identity))

    def _in_chunk(self, held: Chunk, identity: str, begin_us: int, end_us: int) -> Iterator[ArchivedFrame]:
        about = held.about
        if not about.cause:
            yield from _in_block(held, identity, begin_us, end_us)
        elif about.first_us < end_us and about.last_us >= begin_us:
            records = [each for each in held.log() if begin_us <= each.received_at_us < end_us]
            yield from _of(records, self._identify, identity, about.number)

    def _behind(self) -> tuple[_End, Positions, Positions]:
        """Say where the archive ends, and from where to where the logs go on."""
        logs = _logs(self._logs)
        # The marks first: what is sealed meanwhile is then in the last chunk, and not behind a newer mark.
        marks = {log.log_id: _begin({}, log) for log in logs}
        end = _last_of(self.directory)
        begin = {log.log_id: max(marks[log.log_id], _archived_to(end.logs, log)) for log in logs}
        return end, begin, {log.log_id: max(begin[log.log_id], log.head()) for log in logs}


def _last_of(directory: Path) -> _End:
    for day in reversed(days(directory)):
        for path in reversed(chunk_paths(directory, day)):
            return _end_after(Chunk(path))
    return _End()


def _begin(archived: Mapping[str, Span], log: LogReader) -> int:
    """Say from where on a log is not archived: what was deleted while the archive was off is not there."""
    return max(_archived_to(archived, log), log.archived(), log.start)


def _archived_to(archived: Mapping[str, Span], log: LogReader) -> int:
    known = archived.get(str(log.log_id))
    return known.end if known else 0


def _in_block(held: Chunk, identity: str, begin_us: int, end_us: int) -> Iterator[ArchivedFrame]:
    at = held.find(identity)
    if at is None or held.entries["first_us"][at] >= end_us or held.entries["last_us"][at] < begin_us:
        return
    rows, data = held.rows(at)
    length = rows["length"].astype("<i8")
    ends = length.cumsum()
    chosen = ((rows["received_us"] >= begin_us) & (rows["received_us"] < end_us)).nonzero()[0].tolist()
    for row in chosen:
        us, session, _, _, size, flags = rows[row].tolist()
        yield ArchivedFrame(
            us, session, flags, data[ends[row] - size : ends[row]].tobytes(), held.about.number
        )


def _of(
    records: Sequence[LogRecord], identify: Identify, identity: str, number: int = 0
) -> Iterator[ArchivedFrame]:
    """Give a terminal's frames among records of chunk `number`. What defies sorting is sorted in ever smaller
    parts, so that it hides nothing but itself."""
    try:
        gathered = Gathered.of(records, list({each.log.log_id for each in records}))
        rows = gathered.rows
        length = rows["length"].astype("<i8")
        names, which = identify(gathered.data, length, (rows["flags"] & FrameFlag.RAW) != 0)
    except MemoryError:
        raise
    except Exception:  # whatever it is: it is about one of these
        parts = records if len(records) > 1 else _frames_of(*records)
        middle = len(parts) // 2
        for part in (parts[:middle], parts[middle:]) if middle else ():
            yield from _of(part, identify, identity, number)
        return
    if identity not in names:
        return
    ends = length.cumsum()
    for row in (which == names.index(identity)).nonzero()[0].tolist():
        us, session, _, _, size, flags = rows[row].tolist()
        yield ArchivedFrame(us, session, flags, gathered.data[ends[row] - size : ends[row]].tobytes(), number)


def _frames_of(record: LogRecord) -> list[LogRecord]:
    """Divide a record of frames into records of one."""
    held = Frames.from_payload(record.payload)
    ends = held.lengths.cumsum(dtype=np.int64).tolist()
    made = []
    for at, (begin, end) in enumerate(pairwise([0, *ends])):
        one = slice(at, at + 1)
        frame = Frames(held.sessions[one], held.lengths[one], held.flags[one], held.data[begin:end])
        made.append(record._replace(payload=memoryview(frame.payload())))
    return made


def _us(at: datetime) -> int:
    """Give a time that people ask for, within those at which anything can have been received."""
    return max(FIRST_US, min(to_us(at), LAST_US))
