"""Reports and their quality by terminal and hour: the sums behind 数据合格率.

TimescaleDB keeps them as a continuous aggregate, which knows itself what has changed. Elsewhere
`terminal_hours` is a table: for each terminal the hours since the last look are counted again, and the days
in which late reports came.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, LiteralString, TypeAlias

import psycopg

from store.quality import UNQUALIFIED, Quality

Connection: TypeAlias = psycopg.Connection[Any]

_IS_CONTINUOUS: LiteralString = "SELECT relkind = 'v' FROM pg_class WHERE oid = 'terminal_hours'::regclass"
_OLDEST: LiteralString = (
    "SELECT min(range_start) FROM timescaledb_information.chunks WHERE hypertable_name = 'position_records'"
)
# What comes next in order is placed no earlier than the newest plausible report, or than its own receipt,
# which is no earlier than the last one.
_LIVE: LiteralString = """
SELECT s.terminal_id, coalesce(c.hour_at, '2000-01-01Z'), NULL::timestamptz,
       date_trunc('hour', least(s.reported_at, s.received_at, s.last_received_at), 'UTC'), s.last_received_at
  FROM terminal_states s LEFT JOIN hour_cursors c ON c.terminal_id = s.terminal_id
 WHERE s.last_received_at IS NOT NULL AND (c.received_at IS NULL OR c.received_at < s.last_received_at)
 ORDER BY c.received_at NULLS FIRST
 LIMIT %s
"""
_STALE: LiteralString = """
SELECT DISTINCT terminal_id, date_trunc('day', at, 'UTC'), date_trunc('day', at, 'UTC') + interval '1 day'
  FROM (SELECT terminal_id, at FROM stale_hours ORDER BY id LIMIT %s) AS oldest
"""
_COUNT: LiteralString = f"""
INSERT INTO terminal_hours AS there
SELECT p.terminal_id, date_trunc('hour', p.placed_at, 'UTC'), count(*), sum(p.copies),
       count(*) FILTER (WHERE p.late),
       count(*) FILTER (WHERE p.quality & {UNQUALIFIED:d} <> 0),
       count(*) FILTER (WHERE p.quality & {Quality.NO_FIX:d} <> 0), max(p.speed_kmh)
  FROM unnest(%(terminals)s::integer[], %(begins)s::timestamptz[], %(ends)s::timestamptz[])
       AS part (terminal_id, begin_at, end_at)
  JOIN positions p ON p.terminal_id = part.terminal_id AND p.placed_at >= part.begin_at
   AND p.placed_at < coalesce(part.end_at, 'infinity')
 GROUP BY p.terminal_id, date_trunc('hour', p.placed_at, 'UTC')
    ON CONFLICT (terminal_id, hour) DO UPDATE
   SET reports = excluded.reports, copies = excluded.copies, late = excluded.late,
       unqualified = excluded.unqualified, without_fix = excluded.without_fix,
       max_speed_kmh = excluded.max_speed_kmh
"""
_MOVE: LiteralString = """
INSERT INTO hour_cursors AS there (terminal_id, hour_at, received_at)
SELECT * FROM unnest(%s::integer[], %s::timestamptz[], %s::timestamptz[])
    ON CONFLICT (terminal_id) DO UPDATE SET hour_at = excluded.hour_at, received_at = excluded.received_at
"""
_DONE: LiteralString = "DELETE FROM stale_hours WHERE id IN (SELECT id FROM stale_hours ORDER BY id LIMIT %s)"


def is_continuous(connection: Connection) -> bool:
    """Say whether TimescaleDB keeps the hours."""
    row = connection.execute(_IS_CONTINUOUS).fetchone()
    return bool(row and row[0])


def refresh_continuous(connection: Connection, since: datetime, now: datetime) -> None:
    """Let TimescaleDB count again what changed, up to the last full hour; on a connection in autocommit mode.

    It looks no further back than `since` and than there are positions: the sums of days that are gone stay.
    """
    connection.execute("TRUNCATE stale_hours")  # the aggregate knows by itself
    row = connection.execute(_OLDEST).fetchone()
    if row and row[0]:
        since = max(row[0], since)
        until = now.replace(minute=0, second=0, microsecond=0)
        if since < until - timedelta(hours=1):
            connection.execute(
                "CALL refresh_continuous_aggregate('terminal_hours', %s::timestamptz, %s::timestamptz)",
                [since, until],
            )


def count_late(connection: Connection, since: datetime, limit: int) -> int:
    """Count the days again that the oldest late reports changed, and say how many; in one transaction, at
    REPEATABLE READ. Days before `since` stay as they were counted: their positions may be gone.
    """
    parts = connection.execute(_STALE, [limit]).fetchall()
    if there := [part for part in parts if part[1] >= since]:
        _count(connection, there)
    if parts:
        connection.execute(_DONE, [limit])
    return len(parts)


def count_live(connection: Connection, limit: int) -> int:
    """Count the newest hours of some terminals that were heard of since the last time, and say of how many;
    in one transaction, at REPEATABLE READ.
    """
    found = connection.execute(_LIVE, [limit]).fetchall()
    if found:
        _count(connection, [row[:3] for row in found])
        terminals, _, _, hours, received = map(list, zip(*found, strict=True))
        connection.execute(_MOVE, [terminals, hours, received])
    return len(found)


def _count(connection: Connection, parts: Sequence[tuple[Any, ...]]) -> None:
    terminals, begins, ends = map(list, zip(*parts, strict=True))
    connection.execute(_COUNT, {"terminals": terminals, "begins": begins, "ends": ends})
