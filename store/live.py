"""The present as the screens show it, read again and again at small cost.

Desk and open tickets are short lists and are read whole. The states of a large fleet are not: `states` asks
for the rows that transactions changed which were not yet visible the last time, see `store.horizon`.
"""

from datetime import datetime
from typing import Any, LiteralString, NamedTuple

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import args_row

from store.desk import ALARM, ALARM_VIEWS, TICKET
from store.fleet import RECENT, SILENCE, STRANGER, place
from store.horizon import HORIZON, IS_NEW
from store.select import Connection, Row, fetch_all, fetch_one

MAX_DESK = 2000
"""Alarms or tickets on a screen; a desk with more has other troubles, and the lists page through all of
them.
"""

MAX_COUNTED = 10_000
"""Of strangers so many are counted, the newest: to count a million each second would be work for a number
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
    without_code_since: datetime | None
    without_code_at: datetime | None
    without_code: int
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
       s.link_changed_at, s.last_received_at, coalesce(s.mode, 'unknown'),
       {SILENCE}, s.reported_at, s.received_at, {place("s")}, s.fix_at, s.speed_kmh, s.heading_deg,
       s.altitude_m, coalesce(s.alarm_bits, 0), coalesce(s.status_bits, 0), s.mileage_km, s.updated_at
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


# Anybody can invent strangers, which never authenticated and which nobody entered or accepted.
_IN_PICTURE: LiteralString = """
NOT t.forgotten AND (t.known OR t.authenticated_at IS NOT NULL OR t.speaks_without_code OR i.id IS NOT NULL)
"""


class States(NamedTuple):
    """What was read."""

    states: list[TerminalState]
    gone: set[int]
    """Terminals that changed and are not in the picture."""
    horizon: str
    """Of the next reading."""


async def states(connection: Connection, horizon: str | None) -> States:
    """Give the states that changed since `horizon` (None: all), of all but strangers and who is forgotten.

    What it is called belongs to a state: also a terminal whose vehicle got another plate has changed. Call it
    inside a REPEATABLE READ transaction, so that the horizon belongs to what was read.
    """
    row = await fetch_one(connection, HORIZON)
    assert row is not None
    if horizon is None:
        return States(await _states(connection, f"{STATES} WHERE {_IN_PICTURE}"), set(), row["horizon"])
    changed = [each["terminal_id"] for each in await fetch_all(connection, _CHANGED, {"horizon": horizon})]
    if not changed:
        return States([], set(), row["horizon"])
    query: LiteralString = f"{STATES} WHERE t.id = ANY(%(changed)s) AND {_IN_PICTURE}"
    found = await _states(connection, query, {"changed": changed})
    return States(found, set(changed) - {each.terminal_id for each in found}, row["horizon"])


async def _states(connection: Connection, query: LiteralString, given: Any = None) -> list[TerminalState]:
    async with connection.cursor(row_factory=args_row(TerminalState), binary=True) as cursor:
        await cursor.execute(query, given)
        return await cursor.fetchall()


async def strangers(connection: Connection, alarms: int, emergencies: int) -> dict[str, int]:
    """Count the strangers in the lobby, those of them whose last report has one of the `alarms`, and of these
    one of the `emergencies`, which are alarm words.
    """
    row = await fetch_one(
        connection,
        "SELECT count(*) AS strangers,"
        " count(*) FILTER (WHERE s.alarm_bits & %(alarms)s <> 0) AS strangers_in_alarm,"
        " count(*) FILTER (WHERE s.alarm_bits & %(emergencies)s <> 0) AS strangers_in_emergency"
        f" FROM (SELECT id FROM terminals t WHERE {STRANGER} ORDER BY id DESC LIMIT {MAX_COUNTED}) t"
        f" LEFT JOIN terminal_states s ON s.terminal_id = t.id AND s.received_at > now() - {RECENT}",
        {"alarms": alarms, "emergencies": emergencies},
    )
    assert row is not None
    return row


async def alarms_on_desk(connection: Connection) -> list[Row]:
    """Give the alarms that nobody has handled, by severity and then newest first."""
    query: LiteralString = f"{ALARM} WHERE {ALARM_VIEWS['desk']}"
    order: LiteralString = "ORDER BY a.severity, a.began_at DESC, a.id DESC"
    return await fetch_all(connection, f"{query} {order} LIMIT {MAX_DESK}")


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
