"""The outbox (发件箱): changes that somebody outside wants to hear of, until they are delivered.

Rows are written by triggers (migration 0007) in the transaction of each change; here a consumer takes them:

    join → (every state once) → take → tell the world → delivered → take → …

A row stands for an *event* (a change that happened, told as it was) and for a *state* (how the alarm, ticket
or link is now). Events are read from the tables of changes, which never change, so a second delivery says the
same. States are read when they are told: several rows of one thing become one state, never an older one.

Nothing is skipped when a transaction that began early commits late: there is no cursor, a row is here until
it is deleted. `docs/decisions/events.md` says why it is done so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from store.desk import DESK
from store.select import Connection, Row, fetch_all, fetch_one

KINDS = ("link", "alarm", "ticket")
MQTT = "mqtt"
"""The one consumer there is: the publisher of `northwatch events`."""
_LOCK = 0x6E77_0007
"""First part of the advisory lock that a consumer's one deliverer holds as long as it is connected."""
JOIN_WAIT_MS = 3000
"""Joining waits for transactions that write changes, and others wait behind it: not for long."""

_VEHICLE: LiteralString = (
    "CASE WHEN v.id IS NOT NULL THEN jsonb_build_object('plate', v.plate, 'plate_color', v.plate_color) END"
    " AS vehicle"
)


def _person(alias: LiteralString, name: LiteralString) -> LiteralString:
    return (
        f"CASE WHEN {alias}.id IS NOT NULL THEN"
        f" jsonb_build_object('name', {alias}.name, 'display_name', {alias}.display_name) END AS {name}"
    )


_ALARM: LiteralString = (
    "a.condition, a.object, a.edition, a.severity, a.ends, a.began_at, a.lat, a.lon, a.speed_kmh"
)
_TICKET: LiteralString = "k.fault, k.reason, k.opened_at"

_EVENTS: dict[str, LiteralString] = {
    "link": f"""
SELECT 'link' AS kind, e.id, t.id AS subject_id, t.identity, e.at, e.event AS change, e.session, e.peer,
       {_VEHICLE}
  FROM link_events e JOIN terminals t ON t.id = e.terminal_id
  LEFT JOIN installations i ON i.terminal_id = t.id AND i.installed_at <= e.at
                           AND coalesce(i.removed_at > e.at, true)
  LEFT JOIN vehicles v ON v.id = i.vehicle_id
 WHERE e.id = ANY(%s)""",
    "alarm": f"""
SELECT 'alarm' AS kind, c.id, a.id AS subject_id, t.identity, c.at, c.change, c.detail, {_person("u", "by")},
       {_VEHICLE}, {_ALARM}
  FROM alarm_changes c JOIN alarms a ON a.id = c.alarm_id JOIN terminals t ON t.id = a.terminal_id
  LEFT JOIN vehicles v ON v.id = a.vehicle_id LEFT JOIN users u ON u.id = c.user_id
 WHERE c.id = ANY(%s)""",
    "ticket": f"""
SELECT 'ticket' AS kind, c.id, k.id AS subject_id, t.identity, c.at, c.change, c.detail, {_person("u", "by")},
       {_VEHICLE}, {_TICKET}
  FROM ticket_changes c JOIN tickets k ON k.id = c.ticket_id JOIN terminals t ON t.id = k.terminal_id
  LEFT JOIN vehicles v ON v.id = k.vehicle_id LEFT JOIN users u ON u.id = c.user_id
 WHERE c.id = ANY(%s)""",
}

# A link is what the newest session says: an older one may end late, or never. Terminals whose events are no
# longer kept have what the worker wrote last.
_STATES: dict[str, LiteralString] = {
    "link": f"""
SELECT 'link' AS kind, t.id, t.identity, true AS is_open, {_VEHICLE},
       coalesce(gone.at IS NULL AND o.at IS NOT NULL, s.link = 'open', false) AS online,
       coalesce(gone.at, o.at, s.link_changed_at) AS since, gone.event AS reason
  FROM terminals t
  LEFT JOIN terminal_states s ON s.terminal_id = t.id
  LEFT JOIN LATERAL (
      SELECT at, session FROM link_events WHERE terminal_id = t.id AND event = 'opened'
       ORDER BY at DESC, session DESC LIMIT 1) o ON true
  LEFT JOIN LATERAL (
      SELECT at, event FROM link_events WHERE session = o.session AND event <> 'opened'
       ORDER BY id LIMIT 1) gone ON true
  LEFT JOIN installations i ON i.terminal_id = t.id AND i.removed_at IS NULL
  LEFT JOIN vehicles v ON v.id = i.vehicle_id
 WHERE """,
    "alarm": f"""
SELECT 'alarm' AS kind, a.id, t.identity, a.ended_at IS NULL AS is_open, {_VEHICLE}, {_ALARM},
       {DESK} AS desk, {_person("taker", "taken_by")}, {_person("handler", "handled_by")},
       a.result
  FROM alarms a JOIN terminals t ON t.id = a.terminal_id LEFT JOIN vehicles v ON v.id = a.vehicle_id
  LEFT JOIN users taker ON taker.id = a.taken_by LEFT JOIN users handler ON handler.id = a.handled_by
 WHERE """,
    "ticket": f"""
SELECT 'ticket' AS kind, k.id, t.identity, k.closed_at IS NULL AS is_open, {_VEHICLE}, {_TICKET}, k.state,
       {_person("u", "assigned_to")}
  FROM tickets k JOIN terminals t ON t.id = k.terminal_id LEFT JOIN vehicles v ON v.id = k.vehicle_id
  LEFT JOIN users u ON u.id = k.assigned_to
 WHERE """,
}
_KEYS: dict[str, LiteralString] = {"link": "t.id", "alarm": "a.id", "ticket": "k.id"}
_IS_OPEN: dict[str, LiteralString] = {
    "link": "true",
    "alarm": "a.ended_at IS NULL",
    "ticket": "k.closed_at IS NULL",
}
_CLOSED_LATELY: dict[str, LiteralString] = {
    "alarm": """
a.ended_at IS NOT NULL AND a.id IN (
    SELECT alarm_id FROM alarm_changes
     WHERE id > (SELECT alarm_mark FROM outbox_consumers WHERE name = %(consumer)s))""",
    "ticket": """
k.closed_at IS NOT NULL AND k.id IN (
    SELECT ticket_id FROM ticket_changes
     WHERE id > (SELECT ticket_mark FROM outbox_consumers WHERE name = %(consumer)s))""",
}

_TRIM: LiteralString = """
WITH old AS (
    SELECT id FROM outbox WHERE consumer = %(consumer)s ORDER BY id LIMIT %(count)s
), gone AS (
    DELETE FROM outbox o USING old WHERE o.consumer = %(consumer)s AND o.id = old.id
    RETURNING kind, change_id
)
UPDATE outbox_consumers
   SET dropped = dropped + (SELECT count(*) FROM gone),
       alarm_mark = least(alarm_mark, first.alarm - 1),
       ticket_mark = least(ticket_mark, first.ticket - 1),
       next_alarm_mark = least(next_alarm_mark, first.alarm - 1),
       next_ticket_mark = least(next_ticket_mark, first.ticket - 1)
  FROM (SELECT min(change_id) FILTER (WHERE kind = 'alarm') AS alarm,
               min(change_id) FILTER (WHERE kind = 'ticket') AS ticket FROM gone) first
 WHERE name = %(consumer)s
"""


@dataclass(frozen=True, slots=True)
class Parcel:
    """Some of what waits, oldest first: the rows to delete afterwards, what happened, and how things are."""

    ids: list[int]
    events: list[Row]
    """`kind`, `id` of the change, `identity`, `at`, `change`, and what belongs to the kind."""
    states: list[Row]
    """`kind`, `id` of the thing, `identity`, `is_open`, and what belongs to the kind; one of each thing."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much waits for a consumer, since when, and what was given up."""

    rows: int
    oldest_at: datetime | None
    dropped: int


async def claim(connection: Connection, consumer: str) -> bool:
    """Become the only one who delivers to this consumer, as long as the connection lives."""
    row = await fetch_one(
        connection, "SELECT pg_try_advisory_lock(%s, hashtext(%s)) AS ours", (_LOCK, consumer)
    )
    return bool(row and row["ours"])


async def join(connection: Connection, consumer: str) -> None:
    """Have rows written for the consumer from now on; one that was never away goes on where it was.

    A change is seen by who reads states after this, or it has a row: every transaction that looked for
    consumers holds a lock on their table until it ends, and here all of them are waited for.

    Raises:
        psycopg.errors.LockNotAvailable: a transaction takes too long; try again.
    """
    if await _is_listening(connection, consumer):
        return
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = {JOIN_WAIT_MS}")
        await connection.execute("LOCK TABLE outbox_consumers IN ACCESS EXCLUSIVE MODE")
        await connection.execute(
            "INSERT INTO outbox_consumers"
            " (name, alarm_mark, ticket_mark, next_alarm_mark, next_ticket_mark)"
            " SELECT %s, a.mark, t.mark, a.mark, t.mark"
            " FROM (SELECT coalesce(max(id), 0) AS mark FROM alarm_changes) a,"
            " (SELECT coalesce(max(id), 0) AS mark FROM ticket_changes) t"
            " ON CONFLICT (name) DO UPDATE SET seen_at = now()",
            (consumer,),
        )


async def leave(connection: Connection, consumer: str) -> None:
    """Have nothing written for the consumer any more. How far it was told is kept, in case it comes back."""
    await connection.execute("UPDATE outbox_consumers SET seen_at = '-infinity' WHERE name = %s", (consumer,))
    await connection.execute("DELETE FROM outbox WHERE consumer = %s", (consumer,))


async def _is_listening(connection: Connection, consumer: str) -> bool:
    """Say that we are here, and whether it was known all the time."""
    done = await connection.execute(
        "UPDATE outbox_consumers SET seen_at = now()"
        " WHERE name = %s AND name IN (SELECT name FROM outbox_listeners)",
        (consumer,),
    )
    return done.rowcount == 1


async def take(connection: Connection, consumer: str, limit: int) -> Parcel:
    """Give the oldest `limit` rows as events and states. They stay until `delivered`."""
    rows = await fetch_all(
        connection,
        "SELECT id, kind, subject_id, change_id FROM outbox WHERE consumer = %s ORDER BY id LIMIT %s",
        (consumer, limit),
    )
    events: dict[tuple[str, int], Row] = {}
    states: list[Row] = []
    for kind in KINDS:
        changes = [row["change_id"] for row in rows if row["kind"] == kind and row["change_id"] is not None]
        subjects = list({row["subject_id"] for row in rows if row["kind"] == kind})
        for event in await fetch_all(connection, _EVENTS[kind], (changes,)) if changes else ():
            events[kind, event["id"]] = event
        if subjects:
            query: LiteralString = f"{_STATES[kind]} {_KEYS[kind]} = ANY(%s) ORDER BY {_KEYS[kind]}"
            states += await fetch_all(connection, query, (subjects,))
    happened = [events.get((row["kind"], row["change_id"])) for row in rows]
    return Parcel([row["id"] for row in rows], [event for event in happened if event is not None], states)


async def delivered(connection: Connection, consumer: str, ids: Sequence[int]) -> None:
    """Forget rows that were delivered."""
    await connection.execute("DELETE FROM outbox WHERE consumer = %s AND id = ANY(%s)", (consumer, list(ids)))


async def settle(connection: Connection, consumer: str) -> None:
    """Move the marks, if nothing waits and it is time.

    A mark says what was told an hour ago and not what was told just now, because a broker acknowledges what
    it has in memory: Mosquitto writes its retained messages every half hour.
    """
    await connection.execute(
        "UPDATE outbox_consumers SET alarm_mark = next_alarm_mark, ticket_mark = next_ticket_mark,"
        " next_alarm_mark = (SELECT coalesce(max(id), 0) FROM alarm_changes),"
        " next_ticket_mark = (SELECT coalesce(max(id), 0) FROM ticket_changes), next_at = now()"
        " WHERE name = %(consumer)s AND next_at < now() - interval '1 hour'"
        " AND NOT EXISTS (SELECT FROM outbox WHERE consumer = %(consumer)s)",
        {"consumer": consumer},
    )


async def open_states(connection: Connection, kind: str, after: int, limit: int) -> list[Row]:
    """Give the states of what is open (for links: of every terminal), by number, behind number `after`."""
    key = _KEYS[kind]
    query: LiteralString = f"{_STATES[kind]} {_IS_OPEN[kind]} AND {key} > %s ORDER BY {key} LIMIT %s"
    return await fetch_all(connection, query, (after, limit))


async def closed_states(
    connection: Connection, consumer: str, kind: str, after: int, limit: int
) -> list[Row]:
    """Give the states of closed alarms or tickets whose closing the consumer may not have heard of."""
    key = _KEYS[kind]
    query: LiteralString = (
        f"{_STATES[kind]} {_CLOSED_LATELY[kind]} AND {key} > %(after)s ORDER BY {key} LIMIT %(limit)s"
    )
    return await fetch_all(connection, query, {"consumer": consumer, "after": after, "limit": limit})


async def backlog(connection: Connection, consumer: str) -> Backlog:
    """Count what waits."""
    row = await fetch_one(
        connection,
        "SELECT (SELECT count(*) FROM outbox WHERE consumer = %(consumer)s) AS rows,"
        " (SELECT written_at FROM outbox WHERE consumer = %(consumer)s ORDER BY id LIMIT 1) AS oldest_at,"
        " coalesce((SELECT dropped FROM outbox_consumers WHERE name = %(consumer)s), 0) AS dropped",
        {"consumer": consumer},
    )
    return Backlog(**row) if row else Backlog(0, None, 0)


async def trim(connection: Connection, consumer: str, *, keep: int, newer_than: datetime) -> int:
    """Give up the oldest rows, so that no more than `keep` stay and none older; say how many went.

    Who heard nothing of them must be told every state again.
    """
    row = await fetch_one(
        connection,
        "SELECT greatest(count(*) - %(keep)s, count(*) FILTER (WHERE written_at < %(newer_than)s)) AS count"
        " FROM outbox WHERE consumer = %(consumer)s",
        {"consumer": consumer, "keep": keep, "newer_than": newer_than},
    )
    count = max(0, int(row["count"])) if row else 0
    if count:
        values: dict[str, Any] = {"consumer": consumer, "count": count}
        await connection.execute(_TRIM, values)
    return count
