"""Where a position lies: `position_records` is divided by `placed_at` into days.

With TimescaleDB the days are chunks of a hypertable and make themselves. On plain PostgreSQL they are native
partitions, made here: ahead of time for today and tomorrow, on demand for what terminals bring later, in the
transaction that fills them. Attaching a partition lets readers and writers of other days go on.

A time can be placed only between `PAST` before and `FUTURE` after its receipt, so whatever terminals send
there are at most 402 days more than days of operation. Hundreds of them made in one transaction would keep
everybody waiting: *far-back* days that are missing are made a month at a time, or as much of it as is
missing, as one partition or chunk, a *stretch*.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum, auto
from typing import Any, Final, LiteralString

import numpy as np
import numpy.typing as npt
import psycopg

Connection = psycopg.Connection[Any]

PAST = timedelta(days=400)
"""A terminal may bring back a year of stored reports; an older time is a broken clock."""

FUTURE = timedelta(days=1)
"""A clock in the wrong time zone, or on the wrong side of midnight, is placed by its own time."""

FAR = timedelta(days=7)
"""Reports older than this when they come are few, and their days there already, but where operation began
lately or was interrupted: whole days for them would mostly be empty."""

DROPPED_AFTER = timedelta(days=180)
"""A younger day is never dropped: the law's floor of retention is longer."""

DAY = timedelta(days=1)
DAY_US = 86_400_000_000

_PARTITIONS: Final = """
SELECT to_date(substr(relname, length('position_records_') + 1, 8), 'YYYYMMDD'),
       to_date(right(relname, 8), 'YYYYMMDD') + 1
  FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
 WHERE inhparent = 'position_records'::regclass
"""
_CHUNKS: Final = """
SELECT (range_start AT TIME ZONE 'UTC')::date, ((range_end - interval '1 us') AT TIME ZONE 'UTC')::date + 1
  FROM timescaledb_information.chunks
 WHERE hypertable_schema = current_schema() AND hypertable_name = 'position_records'
"""
_CAN_MAKE_CHUNKS: Final = "SELECT to_regproc('_timescaledb_functions.create_chunk') IS NOT NULL"
_IS_HYPERTABLE: Final = """
SELECT EXISTS (SELECT FROM timescaledb_information.hypertables
                WHERE hypertable_schema = current_schema() AND hypertable_name = 'position_records')
"""


@dataclass(frozen=True, slots=True, order=True)
class Stretch:
    """Days that lie in one partition or chunk, the one at `end` not included."""

    begin: date
    end: date

    def __str__(self) -> str:
        """Say it as ISO 8601 does, with the last day."""
        return f"{self.begin}" if self.is_day else f"{self.begin}/{self.end - DAY}"

    def days(self) -> list[date]:
        """Give the days."""
        return [self.begin + number * DAY for number in range((self.end - self.begin).days)]

    @property
    def is_day(self) -> bool:
        return self.end == self.begin + DAY


class Division(Enum):
    """How `position_records` is divided."""

    PARTITIONS = auto()
    CHUNKS = auto()
    NONE = auto()
    """The shadow of a replay; also an old TimescaleDB, whose chunks cannot be made by others."""


class Placement:
    """Makes sure that the day exists before a position is placed in it; one per process."""

    def __init__(self) -> None:
        self._known: set[date] = set()
        self._division: Division | None = None

    def ensure(self, connection: Connection, days: Iterable[date], received: date | None = None) -> None:
        """Make the days that are missing, in the caller's transaction. If that fails, `forget`.

        A day that retention drops meanwhile is no surprise: an old day is looked for each time, under a lock
        that keeps it until the transaction ends.

        Args:
            received: when the first of the reports came; what is far back then is made in stretches
        """
        far_before = date.min if received is None else received - FAR
        wanted = set(days)
        old = {day for day in wanted if day < _today() - DROPPED_AFTER}
        missing = wanted - (self._known - old)
        if not missing:
            return
        if self._division is None:
            self._division = _division(connection)
        if self._division is Division.CHUNKS:
            missing = {day for day in missing if day < far_before}  # the others make themselves
        if self._division is Division.NONE or not missing:
            return
        natively = self._division is Division.PARTITIONS
        if old and natively:
            connection.execute("SELECT FROM ONLY position_records")  # dropping a day waits for whoever looked
        there = [Stretch(*row) for row in connection.execute(_PARTITIONS if natively else _CHUNKS)]
        self._known = {day for each in there for day in each.days()}
        for stretch in needed(missing - self._known, there, far_before):
            make(connection, stretch, natively=natively)
            self._known.update(stretch.days())

    def ahead(self, connection: Connection, now: datetime) -> None:
        """Make today and tomorrow, so that midnight finds its day ready."""
        today = now.astimezone(UTC).date()
        self.ensure(connection, (today, today + DAY))

    def forget(self) -> None:
        """Forget what is known: the transaction failed, the server is another one, or days were deleted."""
        self._known.clear()
        self._division = None


def needed(missing: Iterable[date], there: Collection[Stretch], far_before: date) -> list[Stretch]:
    """Give what must be made so that the missing days are there: a stretch for each day, and for those before
    `far_before` all of a month that is free. No day is in two stretches.
    """
    made: list[Stretch] = []
    for day in sorted(missing):
        if made and day < made[-1].end:
            continue
        stretch = Stretch(day, day + DAY)
        if day < far_before:
            first = day.replace(day=1)
            bounds = [first, (first + 31 * DAY).replace(day=1), far_before]
            bounds += [bound for each in (*there, *made) for bound in (each.begin, each.end)]
            stretch = Stretch(max(at for at in bounds if at <= day), min(at for at in bounds if at > day))
        made.append(stretch)
    return made


def make(connection: Connection, stretch: Stretch, *, natively: bool) -> None:
    """Make one partition, or else chunk. A partition is made beside the table and attached: that lets readers
    and writers of other days go on. The database does it with the rights of who owns the table.
    """
    if natively or not stretch.is_day:  # a chunk of one day makes itself
        connection.execute("SELECT make_position_days(%s, %s)", [stretch.begin, stretch.end])


def is_native(connection: Connection) -> bool:
    """Say whether `position_records` is divided into native partitions; else it is a hypertable."""
    return _is_so(connection, "SELECT relkind = 'p' FROM pg_class WHERE oid = 'position_records'::regclass")


def _division(connection: Connection) -> Division:
    if is_native(connection):
        return Division.PARTITIONS
    has_chunks = all(_is_so(connection, question) for question in (_CAN_MAKE_CHUNKS, _IS_HYPERTABLE))
    return Division.CHUNKS if has_chunks else Division.NONE


def _is_so(connection: Connection, question: LiteralString) -> bool:
    return bool(next(iter(connection.execute(question)))[0])


def _today() -> date:
    return datetime.now(UTC).date()


def days_of(times_us: npt.NDArray[np.int64]) -> list[date]:
    """Give the UTC days in which these times (µs since 1970) lie."""
    epoch = date(1970, 1, 1)
    first, last = int(times_us.min()) // DAY_US, int(times_us.max()) // DAY_US
    days = [first] if first == last else np.unique(times_us // DAY_US).tolist()  # usually it is today
    return [epoch + timedelta(days=day) for day in days]
