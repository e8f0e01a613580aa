"""The present as the screens show it, read again and again at small cost.

Desk and open tickets are short lists and are read whole. The states of a large fleet are not: `states` asks
for the rows that transactions changed which were not yet visible the last time, see `store.horizon`.
"""

from datetime import datetime
from typing import Any, LiteralString

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import args_row

from store.desk import ALARM, ALARM_VIEWS, TICKET, place
from store.horizon import HORIZON, IS_NEW
from store.select import Connection, Row, fetch_all, fetch_one

MAX_DESK = 2000
"""Alarms or tickets on a screen; a desk with more has other troubles, and the lists page through all of
them.
"""

MAX_STRANGERS = 50
"""Of terminals that nobody knows, and of their alarms, so many are in the picture: anybody can invent
them.
"""
MAX_COUNTED = 10_000
"""Strangers and their alarms are counted so far: to count a million each second would be work for a number
that says no more.
"""


class TerminalState(msgspec.Struct, frozen=True, gc=False):
    """The latest of one terminal; the plate is that of the vehicle it is in now.

    A struct of msgspec, because ten thousand are made and compared at a time: a tenth of a dataclass's time.
    """

    terminal_id: int
    identity: str
    known: bool
    blocked: bool
    vehicle_id: int | None
    plate: str | None
    plate_color: int | None
    link: str
    link_changed_at: datetime | None
    last_received_at: datetime | None
    mode: str
    silent_since: datetime | None
    reported_at: datetime | None
    received_at: datetime | None
    lat: float | None
    lon: float | None
    fix_at: datetime | None
    speed_kmh: float | None
    heading_deg: int | None
    altitude_m: int | None
    alarm_bits: int
    status_bits: int
    mileage_km: float | None
    updated_at: datetime | None


STATES: LiteralString = f"""
SELECT t.id, t.identity, t.known, t.blocked, v.id, v.plate, v.plate_color, coalesce(s.link, 'closed'),
       s.link_changed_at, s.last_received_at, coalesce(s.mode, 'unknown'), s.silent_since,
       s.reported_at, s.received_at, {place("s")}, s.fix_at, s.speed_kmh, s.heading_deg, s.altitude_m,
       coalesce(s.alarm_bits, 0), coalesce(s.status_bits, 0), s.mileage_km, s.updated_at
FROM terminals t
LEFT JOIN terminal_states s ON s.terminal_id = t.id
LEFT JOIN installations i ON i.terminal_id = t.id AND i.removed_at IS NULL
LEFT JOIN vehicles v ON v.id = i.vehicle_id
"""

# Whoever changed is looked for table by table: joined first, each look would cost as much as reading
# everything.
_CHANGED: LiteralString = f"""
SELECT terminal_id FROM terminal_states WHERE {IS_NEW}
UNION ALL SELECT id FROM terminals WHERE {IS_NEW}
UNION ALL SELECT terminal_id FROM installations
           WHERE {IS_NEW} OR vehicle_id IN (SELECT id FROM vehicles WHERE {IS_NEW})
"""


_IN_PICTURE: LiteralString = """
(t.known OR t.authenticated_at IS NOT NULL OR i.id IS NOT NULL OR %(strangers)s::integer[] IS NULL OR
 t.id = ANY(%(strangers)s::integer[]))
"""


async def states(
    connection: Connection, horizon: str | None, strangers: list[int] | None = None
) -> tuple[list[TerminalState], str]:
    """Give the states that changed since `horizon` (None: all), and the horizon of the next call. Of
    strangers that are in no vehicle only these, unless that is None.

    What it is called belongs to a state: also a terminal whose vehicle got another plate has changed. Rows
    that were deleted are not seen; the product deletes none. Call it inside a REPEATABLE READ transaction, so
    that the horizon belongs to what was read.
    """
    row = await fetch_one(connection, HORIZON)
    assert row is not None
    if horizon is None:
        found = await _states(connection, f"{STATES} WHERE {_IN_PICTURE}", {"strangers": strangers})
        return found, row["horizon"]
    changed = [each["terminal_id"] for each in await fetch_all(connection, _CHANGED, {"horizon": horizon})]
    if not changed:
        return [], row["horizon"]
    given = {"strangers": strangers, "changed": changed}
    query: LiteralString = f"{STATES} WHERE t.id = ANY(%(changed)s) AND {_IN_PICTURE}"
    return await _states(connection, query, given), row["horizon"]


async def _states(connection: Connection, query: LiteralString, given: Any = None) -> list[TerminalState]:
    async with connection.cursor(row_factory=args_row(TerminalState), binary=True) as cursor:
        await cursor.execute(query, given)
        return await cursor.fetchall()


async def newest_strangers(connection: Connection) -> list[int]:
    """Give the numbers of the terminals that came last of those that never authenticated and that nobody
    entered or accepted."""
    rows = await fetch_all(
        connection,
        "SELECT id FROM terminals WHERE NOT known AND authenticated_at IS NULL"
        f" ORDER BY id DESC LIMIT {MAX_STRANGERS}",
    )
    return [row["id"] for row in rows]


async def strangers(connection: Connection) -> dict[str, int]:
    """Count the strangers, and their alarms that nobody has handled, each up to `MAX_COUNTED`."""
    row = await fetch_one(
        connection,
        "SELECT (SELECT count(*) FROM (SELECT FROM terminals WHERE NOT known AND authenticated_at IS NULL"
        f" LIMIT {MAX_COUNTED}) x) AS strangers,"
        " (SELECT count(*) FROM (SELECT FROM alarms a"
        f" WHERE {ALARM_VIEWS['desk']} AND a.stranger LIMIT {MAX_COUNTED}) x) AS alarms_of_strangers",
    )
    assert row is not None
    return row


async def alarms_on_desk(connection: Connection) -> list[Row]:
    """Give the alarms that nobody has handled, by severity and then newest first; behind them some of
    strangers.
    """
    query: LiteralString = f"{ALARM} WHERE {ALARM_VIEWS['desk']} AND"
    order: LiteralString = "ORDER BY a.severity, a.began_at DESC, a.id DESC LIMIT"
    known = await fetch_all(connection, f"{query} NOT a.stranger {order} {MAX_DESK}")
    return known + await fetch_all(connection, f"{query} a.stranger {order} {MAX_STRANGERS}")


async def alarms_by_id(connection: Connection, ids: list[int]) -> list[Row]:
    """Give these alarms, wherever they stand."""
    return await fetch_all(connection, f"{ALARM} WHERE a.id = ANY(%s)", (ids,))


async def open_tickets(connection: Connection) -> list[Row]:
    """Give the tickets that are not closed, newest first."""
    return await fetch_all(
        connection,
        f"{TICKET} WHERE k.closed_at IS NULL ORDER BY k.opened_at DESC, k.id DESC LIMIT {MAX_DESK}",
    )


async def tickets_by_id(connection: Connection, ids: list[int]) -> list[Row]:
    """Give these tickets, in whatever state."""
    return await fetch_all(connection, f"{TICKET} WHERE k.id = ANY(%s)", (ids,))


async def figures(connection: AsyncConnection[Any]) -> Row:
    """Give what the health page counts that is not in the live picture; `quarantine_…` is about what is kept
    now, and about the two hours that end with the present one.
    """
    row = await fetch_one(
        connection,
        "SELECT version() AS version, pg_database_size(current_database()) AS size_bytes,"
        " (SELECT count(*) FROM quarantine WHERE received_at > now() - interval '1 hour')"
        " AS quarantined_last_hour,"
        " (SELECT max(log_time) FROM cursors) AS log_time, (SELECT max(moved_at) FROM cursors) AS moved_at,"
        " coalesce((SELECT size_bytes FROM quarantine_size), 0) AS quarantine_bytes,"
        " (SELECT coalesce(sum(things - kept), 0)::bigint FROM quarantine_counts"
        " WHERE hour > now() - interval '2 hours') AS quarantine_only_counted,"
        " now() AS now, (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS timescaledb",
    )
    assert row is not None
    return row
