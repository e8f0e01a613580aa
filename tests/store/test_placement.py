"""Days of positions: made before they are needed, only where the server does not make them itself."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import expiry, placement
from store.placement import DAY, DAY_US, FAR, FUTURE, PAST, Placement, Stretch, days_of, is_native, needed

RECEIVED = date(2026, 11, 29)
PLACEABLE = [RECEIVED + number * DAY for number in range(-PAST.days, FUTURE.days + 1)]
MONTHS = 15
"""So many a time of `PAST` can touch."""
MOST = MONTHS + FAR.days + 1 + FUTURE.days
"""So many partitions one transaction makes at most, where no day is there."""

_PUT = """
INSERT INTO position_records (terminal_id, placed_at, received_at, body_hash, alarm_bits, status_bits,
                              altitude, speed, heading, msg_id, serial, authenticated, late)
SELECT 1, day + interval '5 hours', now(), 1, 0, 0, 0, 0, 0, 512, 0, false, true
  FROM unnest(%s::timestamptz[]) day
"""


def _partitions(connection: psycopg.Connection[Any]) -> int:
    return connection.execute(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'position_records'::regclass"
    ).fetchone()[0]


def _put(connection: psycopg.Connection[Any], days: Iterable[date]) -> None:
    connection.execute("SET timezone TO 'UTC'")
    connection.execute(_PUT, [list(days)])


def test_days_are_made_once(connection: psycopg.Connection[Any]) -> None:
    start = date(2026, 1, 1)
    days = [start + timedelta(days=n) for n in range(35)]
    Placement().ensure(connection, days)
    placement = Placement()
    placement.ensure(connection, days[:5])
    placement.ensure(connection, days)
    assert _partitions(connection) == (len(days) if is_native(connection) else 0)


def test_today_and_tomorrow_are_ready(connection: psycopg.Connection[Any]) -> None:
    Placement().ahead(connection, datetime(2026, 12, 31, 23, 59, tzinfo=UTC))
    if is_native(connection):
        names = {
            row[0]
            for row in connection.execute(
                "SELECT tablename FROM pg_tables WHERE tablename LIKE 'position_records_%'"
            )
        }
        assert names == {"position_records_20261231", "position_records_20270101"}


def test_every_time_lies_in_its_day() -> None:
    times = np.array([-1, 0, DAY_US - 1, DAY_US, 20_000 * DAY_US + 5], np.int64)
    assert days_of(times) == [date(1969, 12, 31), date(1970, 1, 1), date(1970, 1, 2), date(2024, 10, 4)]


def test_a_transaction_makes_few_partitions(
    connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every day that can be placed at once, in the first batch ever."""
    made: list[Stretch] = []
    really_make = placement.make

    def make(connection: psycopg.Connection[Any], stretch: Stretch, *, natively: bool) -> None:
        made.append(stretch)
        really_make(connection, stretch, natively=natively)

    monkeypatch.setattr(placement, "make", make)
    with connection.transaction():
        Placement().ensure(connection, PLACEABLE, RECEIVED)
        _put(connection, PLACEABLE)
    assert len(made) <= MOST
    there = expiry.days(connection)
    assert len(there) <= MOST
    assert [day for each in there for day in each.stretch.days() if day in PLACEABLE] == PLACEABLE


def test_a_stretch_lies_between_the_days_that_are_there(connection: psycopg.Connection[Any]) -> None:
    placement = Placement()
    lone = date(2026, 3, 10)
    placement.ensure(connection, [lone], lone)
    _put(connection, [lone])
    late = [date(2026, 3, 4), date(2026, 3, 11), date(2026, 3, 31), date(2026, 11, 21)]
    placement.ensure(connection, late, RECEIVED)
    _put(connection, late)
    assert [str(each) for each in expiry.days(connection)] == [
        "2026-03-01/2026-03-09",
        "2026-03-10",
        "2026-03-11/2026-03-31",
        "2026-11-01/2026-11-21",
    ]
    placement.ensure(connection, [date(2026, 11, 22), date(2026, 11, 23)], RECEIVED)
    _put(connection, [date(2026, 11, 22), date(2026, 11, 23)])
    assert [str(each) for each in expiry.days(connection)][-2:] == ["2026-11-22", "2026-11-23"]


Days = st.sets(st.integers(0, len(PLACEABLE) - 1).map(PLACEABLE.__getitem__))


@given(st.lists(st.tuples(st.integers(0, 60), Days), max_size=6))
def test_whatever_comes_makes_few_partitions_and_no_day_twice(batches: list[tuple[int, set[date]]]) -> None:
    """Days asked for at ever later receipts: all are there, none is in two stretches, and what one batch
    makes grows neither with its days nor with what was made before.
    """
    there: list[Stretch] = []
    asked: set[date] = set()
    received, begun = RECEIVED, RECEIVED
    for later, days in batches:
        received += later * DAY
        wanted = {day + (received - begun) for day in days}
        known = {day for each in there for day in each.days()}
        made = needed(wanted - known, there, received - FAR)
        own = {each for each in there if each.is_day}  # of which each may divide a month
        assert len(made) <= MOST + len(own)
        there += made
        asked |= wanted
        covered = [day for each in there for day in each.days()]
        assert len(covered) == len(set(covered))
        assert asked <= set(covered)
