"""The logs of one machine read as one, by receive time.

Every gateway process writes a log of its own, in the directory of its slot (`<data_dir>/log/<slot>/`).
Records are given in the **order** of their receive time, and of their slot where times are equal. A record is
given when nothing can come any more that belongs before it:

* A log of which more is read than was given is known up to the last record read.
* A log that is read to its end is known up to its last record, as long as its writer lives: a tick follows
  within a second.
* Without a writer (its lock is free) a log is settled: what the writer left is taken over, and nothing
  follows. Another writer that comes meanwhile writes later times than all that was read before the lock was
  asked for.
* A writer that lives and yet writes nothing for `PATIENCE_S` (stopped, or its disk hangs) is waited for no
  longer. How far the others went is noted in its log: what it writes later has its place behind that.
* Receive times of a log rise, except where a clock was set back (`gateway.clock`). Where that is a little,
  while a writer started again, its records count as received when the last one was, until the clock is there
  again. Where it is far, the log stops at that **step** until the others have come to theirs, and all begin
  again together.

So the order is a function of what is in the directories, and not of who read them when. Only where a clock
was set back by far may a call begin with a record that belongs before the one given last; the worker keeps a
snapshot there, so that reading again never crosses the place. With one log there is nothing to wait for, and
its records are given as they stand.

How far one has read is a position in each log.
"""

import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, TypeAlias
from uuid import UUID

from store.log import MIB, CursorBehind, LogError, LogName, LogReader, LogRecord, settle
from store.records import SLOT_BITS

Positions: TypeAlias = dict[UUID, int]
"""How far each log has been read."""
Order: TypeAlias = tuple[int, int]
"""Receive time in microseconds, slot."""

SLOTS: Final = 1 << SLOT_BITS
"""So many gateway processes may write on one machine."""

PATIENCE_S: Final = 10.0
"""So long a writer that lives and says nothing holds the others back: longer than a disk takes to recover
from a burst, shorter than people wait for an alarm.
"""

SLEW_US: Final = 60_000_000
"""A clock that was set back by more is followed at once, see `gateway.clock`."""

LOOK_S: Final = 1.0
"""So much of that passes at most between two looks, so that a reader's own pauses are nobody's silence."""

_NEVER: Final = -(2**63)


def order(record: LogRecord) -> Order:
    """Give a record's place among those of all logs."""
    return max(record.received_at_us, record.not_before_us), record.log.slot


def behind(records: Iterable[LogRecord]) -> Positions:
    """Give the positions behind some records."""
    return {record.log.log_id: record.next_position for record in records}


def logs_in(directory: Path) -> dict[int, Path]:
    """Find the logs of a machine by their slots. A directory that is a log itself has slot 0."""
    if (directory / "log.json").exists():
        return {0: directory}
    try:
        names = sorted(int(path.name) for path in directory.iterdir() if path.name.isdecimal())
    except FileNotFoundError:
        return {}
    slots = {slot: directory / str(slot) for slot in names if slot < SLOTS}
    return {slot: path for slot, path in slots.items() if (path / "log.json").exists()}


class MergedReader:
    """Reads all logs of a machine, those that appear later as well. `clock` measures patience.

    Raises:
        LogError: there is no log in `directory`, or one cannot be read.
    """

    def __init__(self, directory: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.directory = directory
        self._clock = clock
        self._lanes: dict[int, _Lane] = {}
        self._look()

    @property
    def logs(self) -> list[LogName]:
        """The logs, by slot."""
        return [lane.reader.name for lane in self._lanes.values()]

    def start(self) -> Positions:
        """Give the positions of the oldest records kept; where a reader without cursors begins."""
        return {lane.reader.log_id: lane.reader.start for lane in self._lanes.values()}

    def head(self) -> Positions:
        """Give the durable positions: nothing behind them may be read."""
        return {lane.reader.log_id: lane.reader.head() for lane in self._lanes.values()}

    def unread(self, positions: Mapping[UUID, int]) -> int:
        """Give how many bytes the logs have from `positions` on."""
        readers = [lane.reader for lane in self._lanes.values()]
        return sum(reader.unread(positions.get(reader.log_id, 0)) for reader in readers)

    def consumed(self) -> Positions:
        """Give the positions up to which everything was released."""
        readers = [lane.reader for lane in self._lanes.values()]
        return {reader.log_id: max(reader.start, reader.consumed()) for reader in readers}

    def read(
        self, positions: Mapping[UUID, int], max_bytes: int = MIB, *, until: Mapping[UUID, int] | None = None
    ) -> list[LogRecord]:
        """Read durable records from `positions` on, in order: about `max_bytes`; none where nothing can be
        given now. A log without a position begins with its oldest record.

        With `until` everything before those positions is known to be there, and nobody is waited for.

        Raises:
            CursorAhead, CursorBehind: a log has no such position (any more).
            LogCorrupt: a record is damaged.
        """
        self._look()
        taken = self._read(positions, max_bytes, until)
        while self._look():  # a log that is new may have something that belongs before
            taken = self._read(positions, max_bytes, until)
        return taken

    def release(self, positions: Mapping[UUID, int]) -> None:
        """Allow the writers to delete what lies before `positions`: nobody will ask for it again."""
        for lane in self._lanes.values():
            position = positions.get(lane.reader.log_id)
            if position is not None:
                lane.reader.release(position)

    def close(self) -> None:
        """Close what is open; the reader may be used again."""
        for lane in self._lanes.values():
            lane.reader.close()

    def _look(self) -> bool:
        """Find logs that are new, forget those that are gone, and say whether there are any such."""
        found = logs_in(self.directory)
        if not found:
            raise LogError(f"there is no log in {self.directory}: start a gateway, or correct the path")
        if found.keys() == self._lanes.keys() and all(lane.is_there() for lane in self._lanes.values()):
            return False
        kept = {slot: lane for slot, lane in self._lanes.items() if slot in found and lane.is_there()}
        for slot in self._lanes.keys() - kept.keys():
            self._lanes[slot].reader.close()
        self._lanes = {
            slot: kept.get(slot) or _Lane(LogReader(path, slot=slot), self._clock())
            for slot, path in found.items()
        }
        return True

    def _read(
        self, positions: Mapping[UUID, int], max_bytes: int, until: Mapping[UUID, int] | None
    ) -> list[LogRecord]:
        self._seek(positions, until)
        taken: list[LogRecord] = []
        size = 0
        while size <= max_bytes // 2:
            run, bytes_taken = self._take(max_bytes // len(self._lanes), taken)
            taken += run
            size += bytes_taken
            if not run or len(self._lanes) == 1:
                break
        return taken

    def _seek(self, positions: Mapping[UUID, int], until: Mapping[UUID, int] | None) -> None:
        ids = {lane.reader.log_id for lane in self._lanes.values()}
        for log_id in (until or {}).keys() - ids:
            if positions.get(log_id) != (until or {})[log_id]:
                raise CursorBehind(f"log {log_id} is gone from {self.directory}", positions.get(log_id, 0))
        for lane in self._lanes.values():
            lane.seek(positions.get(lane.reader.log_id))
            lane.until = None if until is None else until.get(lane.reader.log_id, lane.position)

    def _take(self, max_bytes: int, taken: list[LogRecord]) -> tuple[list[LogRecord], int]:
        """Take what can be given now and does not belong before `taken`; give its size as well."""
        lanes, now = list(self._lanes.values()), self._clock()
        for lane in lanes:
            lane.fill(max_bytes)
        if not any(lane.records for lane in lanes):
            if taken:
                return [], 0
            self._over_the_step(max_bytes, now)
        if len(lanes) == 1:
            return lanes[0].take(len(lanes[0].records))
        # What one found on looking may be later than what others, known to their ends before, have by now.
        while not all([lane.look(max_bytes, now) for lane in lanes]):
            pass
        bounds = [lane.bound for lane in lanes if lane.bound is not None]
        ready = [lane for lane in lanes if lane.records]
        if not ready or (taken and min(order(lane.records[0]) for lane in ready) < order(taken[-1])):
            return [], 0
        runs = [lane.take(lane.count(min(bounds))) for lane in ready]
        given = sorted((record for run, _ in runs for record in run), key=order)
        for lane in lanes:
            if lane.is_passed and given:
                lane.pass_over(order(given[-1])[0] + 1)
        return given, sum(size for _, size in runs)

    def _over_the_step(self, max_bytes: int, now: float) -> None:
        """Go on behind steps back of the clock, once all logs have come to theirs."""
        at_step = [lane for lane in self._lanes.values() if lane.is_at_step]
        others = [lane for lane in self._lanes.values() if not lane.is_at_step]
        for lane in self._lanes.values():
            lane.look(max_bytes, now)
        is_patient = any(lane.waited_s < PATIENCE_S for lane in at_step)
        if is_patient and any(lane.bound is not None for lane in others):
            return
        for lane in at_step:
            lane.newest_us, lane.is_at_step = _NEVER, False
            lane.fill(max_bytes)


class _Lane:
    """One log, and what is read of it and not yet given."""

    def __init__(self, reader: LogReader, now: float) -> None:
        self.reader = reader
        self.position = self._first = reader.start
        """Of the first record not given."""
        self.until: int | None = None
        self.records: list[LogRecord] = []
        self.newest_us = _NEVER
        """Time of the last record read."""
        self.is_at_step = False
        """Behind `records` stands one with an earlier time."""
        self.bound: Order | None = None
        """Up to where this log was known at the last look; None where nobody needs to wait for it."""
        self.is_passed = False
        """… because its writer lives and has been silent for too long."""
        self.waited_s = 0.0
        """How long nothing came, by the clock of patience."""
        self._looked_at = now
        self._passed = reader.passed()
        self._inode = reader.directory.stat().st_ino

    def is_there(self) -> bool:
        """Is the directory still the one that was opened?"""
        try:
            return self.reader.directory.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def seek(self, position: int | None) -> None:
        """Go to where the caller is; usually that is where we are."""
        position = self._first if position is None else position
        if position != self.position:
            self.position, self.records = position, []
            self.newest_us, self.is_at_step = _NEVER, False

    def fill(self, max_bytes: int) -> None:
        """Read on when everything read was given."""
        if self.records or self.is_at_step or self.position == self.until:
            return
        records = self._placed(self.reader.read(self.position, max_bytes))
        if self.until is not None:
            records = [record for record in records if record.position < self.until]
        for record in records:
            at_us, _ = order(record)
            if at_us < self.newest_us - SLEW_US:
                self.is_at_step = True
                break
            if at_us < self.newest_us:
                record = record._replace(not_before_us=self.newest_us)
            self.newest_us = max(at_us, self.newest_us)
            self.records.append(record)

    def look(self, max_bytes: int, now: float) -> bool:
        """Find out up to where this log is known, and say whether nothing was read for that."""
        self.waited_s += min(now - self._looked_at, LOOK_S)
        self._looked_at = now
        self.bound, self.is_passed = None, False
        if self.records:
            self.bound, self.waited_s = order(self.records[-1]), 0.0
        elif self.is_at_step or self.until is not None:
            pass
        elif settle(self.reader.directory):
            self.waited_s = 0.0
            self.fill(max_bytes)
            return not self.records and not self.is_at_step
        elif self.waited_s < PATIENCE_S:
            self.bound = self.newest_us, self.reader.name.slot
        else:
            self.is_passed = True
        return True

    def pass_over(self, until_us: int) -> None:
        """Note that this log was not waited for."""
        self.reader.pass_over(self.position, until_us)
        self._passed = self.reader.passed()

    def _placed(self, records: list[LogRecord]) -> list[LogRecord]:
        """Put what came after this log was passed over behind what was given then."""
        for position, until_us in self._passed:
            if records and records[-1].position >= position and records[0].received_at_us < until_us:
                records = [
                    each._replace(not_before_us=until_us) if each.position >= position else each
                    for each in records
                ]
        return records

    def count(self, limit: Order) -> int:
        """Say how many records belong up to `limit`."""
        find = bisect_right if self.reader.name.slot <= limit[1] else bisect_left
        return find(self.records, limit[0], key=lambda record: order(record)[0])

    def take(self, count: int) -> tuple[list[LogRecord], int]:
        """Give records, and how many bytes these are."""
        if not count:
            return [], 0
        run, self.records = self.records[:count], self.records[count:]
        begin, self.position = self.position, run[-1].next_position
        return run, self.position - begin
