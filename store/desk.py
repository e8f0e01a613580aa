"""What the desks see and do: alarms, tickets, incidents, quarantine.

Lists and single things are rows in the shape in which the API gives them (`docs/api.md`). What is allowed
when is decided elsewhere (`alerts.desk`, `tickets.lifecycle`); here is how it is read under a lock and
written down:

    lock_alarm → decide → take_alarm / release_alarm / handle_alarm, all in one transaction

The row lock makes two operators who take the same alarm come one after the other, and the second one sees
the first.
"""

from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg.types.json import Jsonb

from store.audit import audit
from store.fleet import place, tell_viewers
from store.refusals import AlreadyExists, NotFound
from store.select import Connection, Page, Row, decode_cursor, fetch_all, fetch_one, fetch_page, where

TERMINAL_REF: LiteralString = "jsonb_build_object('id', t.id, 'identity', t.identity) AS terminal"
VEHICLE_REF: LiteralString = (
    "CASE WHEN v.id IS NOT NULL THEN"
    " jsonb_build_object('id', v.id, 'plate', v.plate, 'plate_color', v.plate_color) END AS vehicle"
)


def _someone(alias: LiteralString, name: LiteralString) -> LiteralString:
    return (
        f"CASE WHEN {alias}.id IS NOT NULL THEN jsonb_build_object('id', {alias}.id, 'name', {alias}.name,"
        f" 'display_name', {alias}.display_name) END AS {name}"
    )


DESK: LiteralString = """
CASE WHEN a.handled_at IS NOT NULL THEN 'handled' WHEN a.taken_at IS NOT NULL THEN 'taken' ELSE 'free' END
"""
"""How far the desk is with alarm `a`."""

ALARM: LiteralString = f"""
SELECT a.id, {TERMINAL_REF}, {VEHICLE_REF}, a.condition, a.object, a.edition, a.severity, a.ends, a.late,
       a.on_desk, a.began_at, a.received_at, a.last_seen_at, a.ended_at, a.reports,
       {place("a")}, a.speed_kmh, {DESK} AS desk,
       {_someone("taker", "taken_by")}, a.taken_at, {_someone("handler", "handled_by")}, a.handled_at,
       a.result, a.note
FROM alarms a
JOIN terminals t ON t.id = a.terminal_id
LEFT JOIN vehicles v ON v.id = a.vehicle_id
LEFT JOIN users taker ON taker.id = a.taken_by
LEFT JOIN users handler ON handler.id = a.handled_by
"""

ALARM_VIEWS: dict[str, LiteralString] = {
    "desk": "a.handled_at IS NULL AND a.on_desk",
    "open": "a.ended_at IS NULL",
    "history": "true",
}

DESK_STATES: dict[str, LiteralString] = {
    "free": "a.taken_at IS NULL AND a.handled_at IS NULL",
    "taken": "a.taken_at IS NOT NULL AND a.handled_at IS NULL",
    "handled": "a.handled_at IS NOT NULL",
}

TICKET: LiteralString = f"""
SELECT k.id, {TERMINAL_REF}, {VEHICLE_REF}, k.fault, k.state, k.reason,
       CASE WHEN k.evidence #>> '{{reason,code}}' IS NOT NULL THEN k.evidence -> 'reason' END AS why,
       k.opened_at, k.closed_at, k.closed_because,
       {_someone("worker", "assigned_to")}, k.note
FROM tickets k
JOIN terminals t ON t.id = k.terminal_id
LEFT JOIN vehicles v ON v.id = k.vehicle_id
LEFT JOIN users worker ON worker.id = k.assigned_to
"""

_QUARANTINED: LiteralString = """
SELECT q.id, q.received_at, CASE WHEN t.id IS NOT NULL THEN
           jsonb_build_object('id', t.id, 'identity', t.identity) END AS terminal,
       q.peer, q.msg_id, q.reason, q.detail, length(q.raw) AS size_bytes,
       encode(substring(q.raw FOR 32), 'hex') AS preview_hex
"""


async def alarms_page(
    connection: Connection, *, view: str = "desk", limit: int, cursor: str | None = None, **filters: Any
) -> Page:
    """List alarms: the desk by severity and then newest first; other views newest first.

    Filters: terminal_id, vehicle_id, condition, severity, desk, result, since and until (of began_at).
    """
    conditions: dict[str, LiteralString] = {
        "view": ALARM_VIEWS[view],
        "terminal_id": "a.terminal_id = %(terminal_id)s",
        "vehicle_id": "a.vehicle_id = %(vehicle_id)s",
        "condition": "a.condition = %(condition)s",
        "severity": "a.severity = %(severity)s",
        "result": "a.result = %(result)s",
        "since": "a.began_at >= %(since)s",
        "until": "a.began_at < %(until)s",
        "after_id": "(a.began_at, a.id) < (%(after_at)s, %(after_id)s)",
    }
    given: Row = {**filters, "view": view}
    if filters.get("desk") is not None:
        conditions["desk"] = DESK_STATES[filters["desk"]]
    key: tuple[str, ...] = ("began_at", "id")
    order: LiteralString = "a.began_at DESC, a.id DESC"
    if view == "desk":
        key = ("severity", "began_at", "id")
        order = "a.severity, a.began_at DESC, a.id DESC"
        conditions["after_id"] = (
            "a.severity > %(after_severity)s OR (a.severity = %(after_severity)s"
            " AND (a.began_at, a.id) < (%(after_at)s, %(after_id)s))"
        )
    if cursor:
        kinds = (int, datetime, int) if view == "desk" else (datetime, int)
        names = ("after_severity", "after_at", "after_id")[-len(kinds) :]
        given.update(zip(names, decode_cursor(cursor, kinds), strict=True))
    query: LiteralString = f"{ALARM} WHERE {where(conditions, given)} ORDER BY {order}"
    return await fetch_page(connection, query, given, key=key, limit=limit)


async def alarm(connection: Connection, alarm_id: int) -> Row:
    """Give one alarm.

    Raises:
        NotFound
    """
    row = await fetch_one(connection, f"{ALARM} WHERE a.id = %s", (alarm_id,))
    if row is None:
        raise NotFound("alarm", alarm_id)
    return row


async def alarm_changes(connection: Connection, alarm_id: int) -> list[Row]:
    """Give what happened to the alarm, in order."""
    return await fetch_all(
        connection,
        f"SELECT c.id, c.at, c.change, {_someone('u', 'by')}, c.detail"
        " FROM alarm_changes c LEFT JOIN users u ON u.id = c.user_id WHERE c.alarm_id = %s ORDER BY c.id",
        (alarm_id,),
    )


async def lock_alarm(connection: Connection, alarm_id: int) -> Row:
    """Give one alarm and keep others from changing it until the transaction ends.

    Raises:
        NotFound
    """
    await connection.execute("SELECT 1 FROM alarms WHERE id = %s FOR UPDATE", (alarm_id,))
    return await alarm(connection, alarm_id)


async def take_alarm(connection: Connection, alarm_id: int, by: Row) -> Row:
    """Write down that `by` (a user's row) takes the locked alarm, and give it."""
    await connection.execute(
        "UPDATE alarms SET taken_by = %s, taken_at = now() WHERE id = %s", (by["id"], alarm_id)
    )
    return await _alarm_changed(connection, alarm_id, "taken", by, {})


async def release_alarm(connection: Connection, alarm_id: int, by: Row) -> Row:
    """Write down that the locked alarm is nobody's again, and give it."""
    await connection.execute("UPDATE alarms SET taken_by = NULL, taken_at = NULL WHERE id = %s", (alarm_id,))
    return await _alarm_changed(connection, alarm_id, "released", by, {})


async def handle_alarm(
    connection: Connection, alarm_id: int, by: Row, *, result: str, note: str, ends: bool
) -> Row:
    """Write down what became of the locked alarm, and give it. With `ends` its condition ends here."""
    await connection.execute(
        "UPDATE alarms SET handled_by = %(by)s, handled_at = now(), result = %(result)s, note = %(note)s,"
        # the terminal's clock may be ahead of ours
        " ended_at = CASE WHEN %(ends)s THEN coalesce(ended_at, greatest(now(), began_at)) ELSE ended_at END"
        " WHERE id = %(id)s",
        {"by": by["id"], "result": result, "note": note, "ends": ends, "id": alarm_id},
    )
    return await _alarm_changed(connection, alarm_id, "handled", by, {"result": result, "note": note})


async def _alarm_changed(connection: Connection, alarm_id: int, change: str, by: Row, detail: Row) -> Row:
    await connection.execute(
        "INSERT INTO alarm_changes (alarm_id, at, change, user_id, detail) VALUES (%s, now(), %s, %s, %s)",
        (alarm_id, change, by["id"], Jsonb(detail)),
    )
    await audit(connection, by["name"], f"alarm.{change}", str(alarm_id), **detail)
    await tell_viewers(connection, "alarms")
    return await alarm(connection, alarm_id)


async def tickets_page(
    connection: Connection, *, view: str = "open", limit: int, cursor: str | None = None, **filters: Any
) -> Page:
    """List tickets, newest first; `view` is open or all.

    Filters: state, fault, terminal_id, vehicle_id, since and until (of opened_at).
    """
    conditions: dict[str, LiteralString] = {
        "view": "k.closed_at IS NULL" if view == "open" else "true",
        "state": "k.state = %(state)s",
        "fault": "k.fault = %(fault)s",
        "terminal_id": "k.terminal_id = %(terminal_id)s",
        "vehicle_id": "k.vehicle_id = %(vehicle_id)s",
        "since": "k.opened_at >= %(since)s",
        "until": "k.opened_at < %(until)s",
        "after_id": "(k.opened_at, k.id) < (%(after_at)s, %(after_id)s)",
    }
    given: Row = {**filters, "view": view}
    if cursor:
        given["after_at"], given["after_id"] = decode_cursor(cursor, (datetime, int))
    query: LiteralString = f"{TICKET} WHERE {where(conditions, given)} ORDER BY k.opened_at DESC, k.id DESC"
    return await fetch_page(connection, query, given, key=("opened_at", "id"), limit=limit)


async def ticket(connection: Connection, ticket_id: int) -> Row:
    """Give one ticket.

    Raises:
        NotFound
    """
    row = await fetch_one(connection, f"{TICKET} WHERE k.id = %s", (ticket_id,))
    if row is None:
        raise NotFound("ticket", ticket_id)
    return row


async def ticket_evidence(connection: Connection, ticket_id: int) -> Row:
    """Give the evidence on which the ticket was opened."""
    row = await fetch_one(connection, "SELECT evidence FROM tickets WHERE id = %s", (ticket_id,))
    if row is None:
        raise NotFound("ticket", ticket_id)
    evidence: Row = row["evidence"]
    return evidence


async def ticket_changes(connection: Connection, ticket_id: int) -> list[Row]:
    """Give what happened to the ticket, in order."""
    return await fetch_all(
        connection,
        f"SELECT c.id, c.at, c.change, {_someone('u', 'by')}, c.detail"
        " FROM ticket_changes c LEFT JOIN users u ON u.id = c.user_id WHERE c.ticket_id = %s ORDER BY c.id",
        (ticket_id,),
    )


async def lock_ticket(connection: Connection, ticket_id: int) -> Row:
    """Give one ticket and keep others from changing it until the transaction ends.

    Raises:
        NotFound
    """
    await connection.execute("SELECT 1 FROM tickets WHERE id = %s FOR UPDATE", (ticket_id,))
    return await ticket(connection, ticket_id)


async def move_ticket(
    connection: Connection, ticket_id: int, by: Row, *, state: str, change: str, assigns: bool, note: str
) -> Row:
    """Write down that `by` brings the locked ticket into `state`, and give it.

    A new note stands in the place of the last one, and with `closed` or `cancelled` it is the reason. Every
    note remains in the changes.

    Raises:
        AlreadyExists: the terminal has a newer open ticket for this fault.
    """
    values = {
        "state": state,
        "note": note,
        "assignee": by["id"] if assigns else None,
        "because": f"{by['display_name'] or by['name']}: {note}",
        "id": ticket_id,
    }
    try:
        async with connection.transaction():
            await connection.execute(
                "UPDATE tickets SET state = %(state)s, note = coalesce(nullif(%(note)s, ''), note),"
                " assigned_to = coalesce(%(assignee)s, assigned_to),"
                # opened_at is log time and may be ahead of this clock
                " closed_at = CASE WHEN %(state)s IN ('closed', 'cancelled')"
                " THEN coalesce(closed_at, greatest(now(), opened_at)) END,"
                " closed_because = CASE WHEN %(state)s IN ('closed', 'cancelled')"
                " THEN coalesce(closed_because, %(because)s) END WHERE id = %(id)s",
                values,
            )
    except psycopg.errors.UniqueViolation:
        raise AlreadyExists("The terminal has another open ticket for this fault.") from None
    detail = {"note": note} if note else {}
    await connection.execute(
        "INSERT INTO ticket_changes (ticket_id, at, change, user_id, detail) VALUES (%s, now(), %s, %s, %s)",
        (ticket_id, change, by["id"], Jsonb(detail)),
    )
    await audit(connection, by["name"], f"ticket.{change}", str(ticket_id), **detail)
    await tell_viewers(connection, "tickets")
    return await ticket(connection, ticket_id)


async def incidents_page(connection: Connection, *, limit: int, cursor: str | None = None) -> Page:
    """List incidents, newest first."""
    given: Row = {}
    conditions: dict[str, LiteralString] = {"after_id": "(opened_at, id) < (%(after_at)s, %(after_id)s)"}
    if cursor:
        given["after_at"], given["after_id"] = decode_cursor(cursor, (datetime, int))
    query: LiteralString = (
        "SELECT id, kind, opened_at, closed_at, terminals, detail FROM incidents"
        f" WHERE {where(conditions, given)} ORDER BY opened_at DESC, id DESC"
    )
    return await fetch_page(connection, query, given, key=("opened_at", "id"), limit=limit)


async def quarantine_page(
    connection: Connection, *, limit: int, cursor: str | None = None, **filters: Any
) -> Page:
    """List unreadable input, newest first. Filters: reason, terminal_id, since, until (of received_at)."""
    conditions: dict[str, LiteralString] = {
        "reason": "q.reason = %(reason)s",
        "terminal_id": "q.terminal_id = %(terminal_id)s",
        "since": "q.received_at >= %(since)s",
        "until": "q.received_at < %(until)s",
        "after_id": "(q.received_at, q.id) < (%(after_at)s, %(after_id)s)",
    }
    given = dict(filters)
    if cursor:
        given["after_at"], given["after_id"] = decode_cursor(cursor, (datetime, int))
    query: LiteralString = (
        f"{_QUARANTINED} FROM quarantine q LEFT JOIN terminals t ON t.id = q.terminal_id"
        f" WHERE {where(conditions, given)} ORDER BY q.received_at DESC, q.id DESC"
    )
    return await fetch_page(connection, query, given, key=("received_at", "id"), limit=limit)


async def quarantined(connection: Connection, quarantine_id: int) -> Row:
    """Give one unreadable input with all its bytes (`raw_hex`).

    Raises:
        NotFound
    """
    row = await fetch_one(
        connection,
        f"{_QUARANTINED}, encode(q.raw, 'hex') AS raw_hex FROM quarantine q"
        " LEFT JOIN terminals t ON t.id = q.terminal_id WHERE q.id = %s",
        (quarantine_id,),
    )
    if row is None:
        raise NotFound("quarantined input", quarantine_id)
    return row


async def quarantine_summary(connection: Connection, *, since: datetime, until: datetime) -> list[Row]:
    """Count unreadable input by reason, the most frequent first. `only_counted` is what was received and is
    not kept (any more) in hours that begin in the period, and in the one in which it begins.
    """
    return await fetch_all(
        connection,
        "SELECT reason, sum(things)::bigint AS count, max(newest_at) AS newest_at,"
        " sum(only_counted)::bigint AS only_counted"
        " FROM (SELECT reason, count(*) AS things, max(received_at) AS newest_at, 0 AS only_counted"
        " FROM quarantine WHERE received_at >= %(since)s AND received_at < %(until)s GROUP BY reason"
        " UNION ALL SELECT reason, 0, max(hour), sum(things - kept) FROM quarantine_counts"
        " WHERE hour >= date_bin('1 hour', %(since)s, 'epoch') AND hour < %(until)s AND things > kept"
        " GROUP BY reason) found GROUP BY reason ORDER BY count DESC, only_counted DESC, reason",
        {"since": since, "until": until},
    )
