"""Letting go of what was kept long enough: `positions` by whole days, smaller tables by some rows at a time.

What is held (`store.holds`) stays. A day with held rows is dropped like any other and made again with those
rows alone, in one transaction: nobody sees it without them, whether it is a native partition or a chunk.

Every function runs in the caller's transaction and writes the audit.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from store.placement import DAY, Stretch, is_native, make

Connection = psycopg.Connection[Any]

KEEPER: Final = "keeper"
"""Who the audit says it was."""


@dataclass(frozen=True, slots=True)
class Day:
    """One partition or chunk of `positions`: a day, or several that are far back (`store.placement`)."""

    begins_at: datetime
    ends_at: datetime
    schema: str
    name: str
    rows: int
    """As the server estimates them."""
    size_bytes: int
    is_compressed: bool

    @property
    def stretch(self) -> Stretch:
        """The days themselves."""
        last = self.ends_at.astimezone(UTC) - timedelta(microseconds=1)
        return Stretch(self.begins_at.astimezone(UTC).date(), last.date() + DAY)

    def __str__(self) -> str:
        return str(self.stretch)


@dataclass(frozen=True, slots=True)
class Hold:
    """A period that is held for some terminals."""

    begins_at: datetime
    ends_at: datetime


_NATIVE_DAYS = """
SELECT to_date(substr(c.relname, length('position_records_') + 1, 8), 'YYYYMMDD')::timestamp
           AT TIME ZONE 'UTC' AS begins_at,
       (to_date(right(c.relname, 8), 'YYYYMMDD') + 1)::timestamp AT TIME ZONE 'UTC' AS ends_at,
       n.nspname AS schema, c.relname AS name, greatest(c.reltuples, 0)::bigint AS rows,
       pg_total_relation_size(c.oid) AS size_bytes, false AS is_compressed
  FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE inhparent = 'position_records'::regclass
 ORDER BY 1
"""
_CHUNKS = """
SELECT c.range_start AS begins_at, c.range_end AS ends_at, c.chunk_schema::text AS schema,
       c.chunk_name::text AS name, greatest(k.reltuples, 0)::bigint AS rows, s.total_bytes AS size_bytes,
       c.is_compressed
  FROM timescaledb_information.chunks c
  JOIN chunks_detailed_size('position_records') s
    ON (s.chunk_schema, s.chunk_name) = (c.chunk_schema, c.chunk_name)
  JOIN pg_class k ON k.oid = format('%I.%I', c.chunk_schema, c.chunk_name)::regclass
 WHERE c.hypertable_schema = current_schema() AND c.hypertable_name = 'position_records'
 ORDER BY 1
"""
_IS_HELD: LiteralString = """
EXISTS (SELECT FROM held_terminals h
         WHERE h.terminal_id = {row}.terminal_id AND {time} >= h.begins_at AND {time} < h.ends_at)
"""
_HELD_POSITION = _IS_HELD.format(row="p", time="p.placed_at")
_OF_DAY = "p.placed_at >= %(begins_at)s AND p.placed_at < %(ends_at)s"

_OLD_ROWS: dict[str, LiteralString] = {
    "messages": f"""
        SELECT x.id FROM messages x
         WHERE x.received_at < %(before)s AND NOT {_IS_HELD.format(row="x", time="x.received_at")}
         ORDER BY x.received_at""",
    "quarantine": f"""
        SELECT x.id FROM quarantine x
         WHERE x.received_at < %(before)s AND NOT {_IS_HELD.format(row="x", time="x.received_at")}
         ORDER BY x.received_at""",
    "quarantine_counts": """
        SELECT x.id FROM quarantine_counts x WHERE x.hour < %(before)s ORDER BY x.hour""",
    "media": f"""
        SELECT x.id FROM media x
         WHERE x.received_at < %(before)s AND NOT {_IS_HELD.format(row="x", time="x.received_at")}
         ORDER BY x.received_at""",
    # A terminal's newest session stays, for it says whether the terminal is connected, and since when.
    "link_events": f"""
        SELECT x.id FROM link_events x
         WHERE x.at < %(before)s AND NOT {_IS_HELD.format(row="x", time="x.at")}
           AND x.session IS DISTINCT FROM (
               SELECT n.session FROM link_events n WHERE n.terminal_id = x.terminal_id AND n.event = 'opened'
                ORDER BY n.at DESC, n.session DESC LIMIT 1)
         ORDER BY x.at""",
    "alarms": """
        SELECT x.id FROM alarms x
         WHERE x.began_at < %(before)s AND x.ended_at < %(before)s
           AND (x.handled_at < %(before)s OR x.handled_at IS NULL AND NOT x.on_desk)
           AND NOT EXISTS (SELECT FROM holds h WHERE h.released_at IS NULL AND h.vehicle_id = x.vehicle_id
                              AND x.began_at < h.ends_at AND x.ended_at >= h.begins_at)
           AND NOT EXISTS (SELECT FROM held_terminals h WHERE h.terminal_id = x.terminal_id
                              AND x.began_at < h.ends_at AND x.ended_at >= h.begins_at)
         ORDER BY x.began_at""",
    "tickets": """
        SELECT x.id FROM tickets x
         WHERE x.opened_at < %(before)s AND x.closed_at < %(before)s
           AND NOT EXISTS (SELECT FROM holds h WHERE h.released_at IS NULL AND h.vehicle_id = x.vehicle_id
                              AND x.opened_at < h.ends_at AND x.closed_at >= h.begins_at)
           AND NOT EXISTS (SELECT FROM held_terminals h WHERE h.terminal_id = x.terminal_id
                              AND x.opened_at < h.ends_at AND x.closed_at >= h.begins_at)
         ORDER BY x.opened_at""",
}
_CHANGES: dict[str, tuple[LiteralString, LiteralString]] = {
    "alarms": ("alarm_changes", "alarm_id"),
    "tickets": ("ticket_changes", "ticket_id"),
}
"""Tables whose rows go with those they belong to."""


def days(connection: Connection) -> list[Day]:
    """Give the days of `positions` that there are, oldest first."""
    query = _NATIVE_DAYS if is_native(connection) else _CHUNKS
    with connection.cursor(row_factory=class_row(Day)) as cursor:
        return cursor.execute(query).fetchall()


def holds(connection: Connection) -> list[Hold]:
    """Give the periods that are held."""
    with connection.cursor(row_factory=class_row(Hold)) as cursor:
        return cursor.execute("SELECT begins_at, ends_at FROM holds WHERE released_at IS NULL").fetchall()


def drop_day(connection: Connection, day: Day) -> bool:
    """Drop a day of `positions` but for its held rows, and say whether there was anything to drop."""
    period = {"begins_at": day.begins_at, "ends_at": day.ends_at}
    # A hold that is being placed comes first or is told to wait, and so does a late report for this day.
    connection.execute("LOCK TABLE holds IN SHARE MODE")
    # Dropping a native partition locks the whole table: asked for last, that would meet a worker who has the
    # table and waits for the partition.
    table = sql.SQL("ONLY position_records")
    locked = table if is_native(connection) else sql.Identifier(day.schema, day.name)
    connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(locked))
    held = connection.execute(
        f"CREATE TEMPORARY TABLE held_positions ON COMMIT DROP AS"
        f" SELECT p.* FROM position_records p WHERE {_OF_DAY} AND {_HELD_POSITION}",
        period,
    ).rowcount
    if held and not _one(
        connection,
        f"SELECT EXISTS (SELECT FROM position_records p WHERE {_OF_DAY} AND NOT {_HELD_POSITION})",
        period,
    ):
        connection.execute("DROP TABLE held_positions")
        return False
    _drop(connection, day)
    if held:
        make(connection, day.stretch, natively=is_native(connection))
        connection.execute("INSERT INTO position_records SELECT * FROM held_positions")
    connection.execute("DROP TABLE held_positions")
    note(
        connection,
        "record.dropped",
        f"positions {day}",
        rows=day.rows,
        size_bytes=day.size_bytes,
        held_rows=held,
    )
    return True


def delete_rows(connection: Connection, table: str, before: datetime, limit: int) -> int:
    """Delete at most `limit` rows of a table that are older than `before` and not held; give how many.

    Tables: messages, quarantine, quarantine_counts, link_events; alarms and tickets (closed ones, with their
    changes).
    """
    found = connection.execute(_OLD_ROWS[table] + " LIMIT %(limit)s", {"before": before, "limit": limit})
    ids = [row[0] for row in found.fetchall()]
    if not ids:
        return 0
    if table in _CHANGES:
        changes, key = map(sql.Identifier, _CHANGES[table])
        connection.execute(sql.SQL("DELETE FROM {} WHERE {} = ANY(%s)").format(changes, key), [ids])
    connection.execute(sql.SQL("DELETE FROM {} WHERE id = ANY(%s)").format(sql.Identifier(table)), [ids])
    note(connection, "record.dropped", table, rows=len(ids), before=before.isoformat())
    return len(ids)


def note(connection: Connection, action: str, subject: str, **detail: Any) -> None:
    """Write down what the keeper did."""
    connection.execute(
        "INSERT INTO audit (user_name, action, subject, detail) VALUES (%s, %s, %s, %s)",
        [KEEPER, action, subject, Jsonb(detail)],
    )


def _drop(connection: Connection, day: Day) -> None:
    if is_native(connection):
        connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(day.schema, day.name)))
    else:
        connection.execute(
            "SELECT drop_chunks('position_records', older_than => %s::timestamptz,"
            " newer_than => %s::timestamptz)",
            [day.ends_at, day.begins_at],
        )


def _one(connection: Connection, query: LiteralString, parameters: Any) -> Any:
    row = connection.execute(query, parameters).fetchone()
    return row[0] if row else None
