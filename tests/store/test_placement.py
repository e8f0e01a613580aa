"""Days of positions: made before they are needed, only where the server does not make them itself."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import psycopg

from store.placement import DAY_US, Placement, days_of


def _partitions(connection: psycopg.Connection[Any]) -> int:
    return connection.execute(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'position_records'::regclass"
    ).fetchone()[0]


def _is_native(connection: psycopg.Connection[Any]) -> bool:
    return connection.execute(
        "SELECT relkind = 'p' FROM pg_class WHERE oid = 'position_records'::regclass"
    ).fetchone()[0]


def test_days_are_made_once(connection: psycopg.Connection[Any]) -> None:
    start = date(2026, 1, 1)
    days = [start + timedelta(days=n) for n in range(35)]
    Placement().ensure(connection, days)
    placement = Placement()
    placement.ensure(connection, days[:5])
    placement.ensure(connection, days)
    assert _partitions(connection) == (len(days) if _is_native(connection) else 0)


def test_today_and_tomorrow_are_ready(connection: psycopg.Connection[Any]) -> None:
    Placement().ahead(connection, datetime(2026, 12, 31, 23, 59, tzinfo=UTC))
    if _is_native(connection):
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
