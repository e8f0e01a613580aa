"""Where a position lies: `position_records` is divided by `placed_at` into days.

With TimescaleDB the days are chunks of a hypertable and make themselves. On plain PostgreSQL they are native
partitions, made here: ahead of time for today and tomorrow, on demand for what terminals bring later, in the
transaction that fills them. Attaching a partition lets readers and writers of other days go on.

A time can be placed only between `PAST` before and `FUTURE` after its receipt, so whatever terminals send
there are at most 402 days more than days of operation.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql

Connection = psycopg.Connection[Any]

PAST = timedelta(days=400)
"""A terminal may bring back a year of stored reports; an older time is a broken clock."""

FUTURE = timedelta(days=1)
"""A clock in the wrong time zone, or on the wrong side of midnight, is placed by its own time."""

DROPPED_AFTER = timedelta(days=180)
"""A younger day is never dropped: the law's floor of retention is longer."""

DAY_US = 86_400_000_000

_DAYS_THERE = """
SELECT to_date(right(child.relname, 8), 'YYYYMMDD')
  FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
 WHERE inhparent = 'position_records'::regclass
"""


class Placement:
    """Makes sure that the day exists before a position is placed in it; one per process."""

    def __init__(self) -> None:
        self._known: set[date] = set()
        self._divided_natively: bool | None = None

    def ensure(self, connection: Connection, days: Iterable[date]) -> None:
        """Make the days that are missing, in the caller's transaction. If that fails, `forget`.

        A day that retention drops meanwhile is no surprise: an old day is looked for each time, under a lock
        that keeps it until the transaction ends.
        """
        wanted = set(days)
        old = {day for day in wanted if day < _today() - DROPPED_AFTER}
        missing = wanted - (self._known - old)
        if not missing or not self._is_native(connection):
            return
        if old:
            connection.execute("SELECT FROM ONLY position_records")  # dropping a day waits for whoever looked
        self._known = {row[0] for row in connection.execute(_DAYS_THERE)}
        for day in sorted(missing - self._known):
            _make(connection, day)
            self._known.add(day)

    def ahead(self, connection: Connection, now: datetime) -> None:
        """Make today and tomorrow, so that midnight finds its day ready."""
        today = now.astimezone(UTC).date()
        self.ensure(connection, (today, today + timedelta(days=1)))

    def forget(self) -> None:
        """Forget what is known: the transaction failed, the server is another one, or days were deleted."""
        self._known.clear()
        self._divided_natively = None

    def _is_native(self, connection: Connection) -> bool:
        if self._divided_natively is None:
            self._divided_natively = is_native(connection)
        return self._divided_natively


def is_native(connection: Connection) -> bool:
    """Say whether `position_records` is divided into native partitions; else it is a hypertable."""
    row = connection.execute("SELECT relkind = 'p' FROM pg_class WHERE oid = 'position_records'::regclass")
    return bool(next(iter(row))[0])


def _today() -> date:
    return datetime.now(UTC).date()


def days_of(times_us: npt.NDArray[np.int64]) -> list[date]:
    """Give the UTC days in which these times (µs since 1970) lie."""
    epoch = date(1970, 1, 1)
    first, last = int(times_us.min()) // DAY_US, int(times_us.max()) // DAY_US
    days = [first] if first == last else np.unique(times_us // DAY_US).tolist()  # usually it is today
    return [epoch + timedelta(days=day) for day in days]


def _make(connection: Connection, day: date) -> None:
    """Make one day beside the table and attach it: attaching lets readers and writers of other days go on."""
    name = sql.Identifier(f"position_records_{day:%Y%m%d}")
    begin, end = (sql.Literal(f"{each.isoformat()} 00:00:00+00") for each in (day, day + timedelta(days=1)))
    connection.execute(
        sql.SQL("CREATE TABLE IF NOT EXISTS {} (LIKE position_records INCLUDING ALL)").format(name)
    )
    connection.execute(
        sql.SQL("ALTER TABLE position_records ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            name, begin, end
        )
    )
