"""The fleet as people keep it: vehicles, terminals, and which terminal is installed in which vehicle.

A terminal is in one vehicle at a time and a vehicle has one terminal at a time; the database's partial unique
indexes say so, and here their violation becomes a sentence. Functions run inside the caller's transaction
and write the audit; `by` is the name of the person. Those that change something tell live viewers
(`LIVE_CHANNEL`).

Refusals: `store.refusals`.
"""

import re
from datetime import datetime
from typing import LiteralString

import psycopg

from store.audit import audit
from store.decisions import ACCEPTED, BLOCKED, CODE_EPOCH, SPEAKS_WITHOUT_CODE, Decision, await_turn, decide
from store.refusals import AlreadyBound, AlreadyExists, NotBound, NotFound, Unacceptable
from store.select import (
    Connection,
    Page,
    Row,
    decode_cursor,
    fetch_all,
    fetch_one,
    fetch_page,
    pattern,
    where,
)
from store.text import UNSEEN

LIVE_CHANNEL = "northwatch_live"
"""NOTIFY on it makes monitors look at once; the payload `fleet` makes them read everything again."""

EDITIONS = ("2011", "2013", "2019")
MAX_IDENTITY = 20  # digits: the ten bytes of the 2019 header
MAX_PLATE = 32  # characters; 0x0100's plate has no length of its own, a plate has 7 or 8
MAX_TEXT = 500

VEHICLE_FIELDS = ("plate", "plate_color", "vin", "owner", "contact", "note")

_AS_IT_IS: LiteralString = "note = note"
"""A row has to be changed to be given."""

_VEHICLE: LiteralString = """
SELECT v.id, v.plate, v.plate_color, v.vin, v.owner, v.contact, v.note, v.created_at,
       CASE WHEN t.id IS NOT NULL THEN
           jsonb_build_object('id', t.id, 'identity', t.identity, 'installed_at', i.installed_at)
       END AS terminal
FROM vehicles v
LEFT JOIN installations i ON i.vehicle_id = v.id AND i.removed_at IS NULL
LEFT JOIN terminals t ON t.id = i.terminal_id
"""


def is_on_earth(alias: LiteralString) -> LiteralString:
    """Give the condition that coordinates can be drawn: a terminal can send 4,000 degrees, and no map
    likes it.
    """
    return f"{alias}.lat BETWEEN -90 AND 90 AND {alias}.lon BETWEEN -180 AND 180"


def place(alias: LiteralString) -> LiteralString:
    """Give the columns `lat` and `lon`, null where they cannot be drawn."""
    return (
        f"CASE WHEN {is_on_earth(alias)} THEN {alias}.lat END AS lat,"
        f" CASE WHEN {is_on_earth(alias)} THEN {alias}.lon END AS lon"
    )


STRANGER: LiteralString = """
NOT (t.known OR t.blocked OR t.forgotten OR t.speaks_without_code) AND t.authenticated_at IS NULL
"""
"""The condition that terminal `t` waits in the lobby, and what it says does not count."""

RECENT: LiteralString = "interval '10 minutes'"
"""So long a stranger counts as one in alarm after it has said so."""

_WITHOUT_CODE: LiteralString = "s.without_code_at > s.silent_since"
SILENCE: LiteralString = f"""
CASE WHEN {_WITHOUT_CODE} THEN NULL ELSE s.silent_since END AS silent_since,
CASE WHEN {_WITHOUT_CODE} THEN s.silent_since END AS without_code_since,
s.without_code_at, coalesce(s.without_code, 0) AS without_code
"""
"""Since when a terminal is silent; or since when nothing was heard but what it says without its code, which
is another fault. And when it last did, and how often."""

_CLAIM: LiteralString = """
(SELECT jsonb_build_object('received_at', k.received_at, 'manufacturer_id', k.manufacturer_id,
                           'model', k.model, 'maker_terminal_id', k.maker_terminal_id, 'plate', k.plate,
                           'plate_color', k.plate_color)
   FROM claims k WHERE k.terminal_id = t.id ORDER BY k.session DESC LIMIT 1) AS claim
"""

_TERMINAL: LiteralString = f"""
SELECT t.id, t.identity, t.edition, t.known, t.blocked, t.code_epoch, t.speaks_without_code,
       t.province_id, t.city_id, t.manufacturer_id, t.model,
       t.maker_terminal_id, t.registered_plate, t.registered_plate_color, t.registered_at, t.authenticated_at,
       t.iccid, t.note, t.first_seen_at, t.created_at,
       coalesce(s.link, 'closed') AS link, s.last_received_at, coalesce(s.mode, 'unknown') AS mode,
       {SILENCE}, {place("s")}, s.fix_at, coalesce(s.alarm_bits, 0) AS alarm_bits, {_CLAIM},
       CASE WHEN c.terminal_id IS NOT NULL THEN
           jsonb_build_object('began_at', c.began_at, 'last_seen_at', c.last_seen_at, 'peers', c.peers,
                              'frames', c.frames, 'take_overs', c.take_overs) END AS clone,
       CASE WHEN v.id IS NOT NULL THEN
           jsonb_build_object('id', v.id, 'plate', v.plate, 'plate_color', v.plate_color,
                              'installed_at', i.installed_at) END AS vehicle
FROM terminals t
LEFT JOIN terminal_states s ON s.terminal_id = t.id
LEFT JOIN clones c ON c.terminal_id = t.id AND c.last_seen_at > now() - interval '1 day'
LEFT JOIN installations i ON i.terminal_id = t.id AND i.removed_at IS NULL
LEFT JOIN vehicles v ON v.id = i.vehicle_id
"""

TERMINAL_VIEWS: dict[str, LiteralString] = {
    "all": "true",
    "known": "t.known",
    "lobby": "NOT t.known AND NOT t.blocked",
    "alarming": f"{STRANGER} AND s.alarm_bits <> 0 AND s.received_at > now() - {RECENT}",
    "blocked": "t.blocked",
    "bound": "i.id IS NOT NULL",
    "unbound": "i.id IS NULL",
    "online": "s.link = 'open'",
    "silent": f"s.silent_since IS NOT NULL AND ({_WITHOUT_CODE}) IS NOT TRUE",
    "without_code": "s.without_code_at > now() - interval '1 day'",
    "cloned": "c.terminal_id IS NOT NULL",
}


def clean_identity(text: str) -> str:
    """Bring what a person typed to the form of `terminals.identity`: hex without leading zeros.

    Raises:
        Unacceptable
    """
    identity = re.sub(r"[\s-]", "", text).upper().lstrip("0")
    if not re.fullmatch(rf"[0-9A-F]{{1,{MAX_IDENTITY}}}", identity):
        raise Unacceptable("identity", "bad_identity", digits=MAX_IDENTITY)
    return identity


def clean_plate(text: str) -> str:
    """Bring a plate to the form in which it is kept: without spaces and middle dots, Latin letters upper
    case.

    Raises:
        Unacceptable
    """
    plate = re.sub(r"[\s·•]", "", text).upper()
    if not plate or len(plate) > MAX_PLATE:
        raise Unacceptable("plate", "bad_plate", characters=MAX_PLATE)
    if UNSEEN.search(plate):
        raise Unacceptable("plate", "unseen_characters")
    return plate


async def vehicles_page(
    connection: Connection,
    *,
    limit: int,
    cursor: str | None = None,
    search: str | None = None,
    bound: bool | None = None,
) -> tuple[Page, int]:
    """List vehicles by plate, with the number of all that match."""
    conditions: dict[str, LiteralString] = {
        "search": "v.plate ILIKE %(search)s OR v.owner ILIKE %(search)s OR t.identity ILIKE %(search)s",
        "bound": "(i.id IS NOT NULL) = %(bound)s",
    }
    given: Row = {"search": pattern(search), "bound": bound}
    total = await _count(connection, f"{_VEHICLE} WHERE {where(conditions, given)}", given)
    if cursor:
        given["after"], given["after_id"] = decode_cursor(cursor, (str, int))
        conditions["after"] = '(v.plate COLLATE "C", v.id) > (%(after)s, %(after_id)s)'
    query: LiteralString = f'{_VEHICLE} WHERE {where(conditions, given)} ORDER BY v.plate COLLATE "C", v.id'
    return await fetch_page(connection, query, given, key=("plate", "id"), limit=limit), total


async def terminals_page(
    connection: Connection,
    *,
    limit: int,
    cursor: str | None = None,
    search: str | None = None,
    view: str = "all",
) -> tuple[Page, int]:
    """List terminals by identity, with the number of all that match. `view` is one of `TERMINAL_VIEWS`."""
    conditions: dict[str, LiteralString] = {
        "view": TERMINAL_VIEWS[view],
        "search": "t.identity ILIKE %(search)s OR v.plate ILIKE %(search)s"
        " OR t.registered_plate ILIKE %(search)s OR t.model ILIKE %(search)s OR t.iccid ILIKE %(search)s"
        " OR EXISTS (SELECT FROM claims k WHERE k.terminal_id = t.id AND k.plate ILIKE %(search)s)",
        "here": "NOT t.forgotten",
    }
    given: Row = {"view": view, "search": pattern(search), "here": True}
    total = await _count(connection, f"{_TERMINAL} WHERE {where(conditions, given)}", given)
    if cursor:
        (given["after"],) = decode_cursor(cursor, (str,))
        conditions["after"] = 't.identity COLLATE "C" > %(after)s'
    query: LiteralString = f'{_TERMINAL} WHERE {where(conditions, given)} ORDER BY t.identity COLLATE "C"'
    return await fetch_page(connection, query, given, key=("identity",), limit=limit), total


async def _count(connection: Connection, query: LiteralString, given: Row) -> int:
    row = await fetch_one(connection, f"SELECT count(*) AS total FROM ({query}) AS matching", given)
    return int(row["total"]) if row else 0


async def vehicle(connection: Connection, vehicle_id: int) -> Row:
    """Give one vehicle.

    Raises:
        NotFound
    """
    row = await fetch_one(connection, f"{_VEHICLE} WHERE v.id = %s", (vehicle_id,))
    if row is None:
        raise NotFound("vehicle", vehicle_id)
    return row


async def terminal(connection: Connection, terminal_id: int) -> Row:
    """Give one terminal.

    Raises:
        NotFound
    """
    row = await fetch_one(connection, f"{_TERMINAL} WHERE t.id = %s", (terminal_id,))
    if row is None:
        raise NotFound("terminal", terminal_id)
    return row


async def terminal_by_identity(connection: Connection, identity: str) -> Row:
    """Give the terminal with this identity, in any spelling.

    Raises:
        NotFound, Unacceptable
    """
    row = await fetch_one(connection, f"{_TERMINAL} WHERE t.identity = %s", (clean_identity(identity),))
    if row is None:
        raise NotFound("terminal", identity)
    return row


async def vehicle_by_plate(connection: Connection, plate: str, plate_color: int) -> Row:
    """Give the vehicle with this plate and colour.

    Raises:
        NotFound, Unacceptable
    """
    row = await fetch_one(
        connection, f"{_VEHICLE} WHERE v.plate = %s AND v.plate_color = %s", (clean_plate(plate), plate_color)
    )
    if row is None:
        raise NotFound("vehicle", f"{plate} of plate colour {plate_color}")
    return row


async def add_vehicle(connection: Connection, fields: Row, *, by: str) -> Row:
    """Add a vehicle (`VEHICLE_FIELDS`; plate is needed) and give it.

    Raises:
        Unacceptable
        AlreadyExists: a vehicle has this plate and colour.
    """
    values = {"plate_color": 1, "vin": None, "owner": "", "contact": "", "note": "", **fields}
    values["plate"] = clean_plate(values["plate"])
    values["vin"] = values["vin"] or None
    try:
        async with connection.transaction():
            row = await fetch_one(
                connection,
                "INSERT INTO vehicles (plate, plate_color, vin, owner, contact, note) VALUES"
                " (%(plate)s, %(plate_color)s, %(vin)s, %(owner)s, %(contact)s, %(note)s) RETURNING id",
                values,
            )
    except psycopg.errors.UniqueViolation:
        raise _plate_taken(values) from None
    assert row is not None
    await audit(connection, by, "vehicle.added", values["plate"], **fields)
    return await vehicle(connection, row["id"])


async def edit_vehicle(connection: Connection, vehicle_id: int, changes: Row, *, by: str) -> Row:
    """Change some of `VEHICLE_FIELDS` and give the vehicle.

    Raises:
        NotFound, Unacceptable
        AlreadyExists: another vehicle has this plate and colour.
    """
    before = await vehicle(connection, vehicle_id)
    values = {**{name: before[name] for name in VEHICLE_FIELDS}, **changes, "id": vehicle_id}
    if "plate" in changes:
        values["plate"] = clean_plate(changes["plate"])
    values["vin"] = values["vin"] or None
    try:
        async with connection.transaction():
            await connection.execute(
                "UPDATE vehicles SET plate = %(plate)s, plate_color = %(plate_color)s, vin = %(vin)s,"
                " owner = %(owner)s, contact = %(contact)s, note = %(note)s WHERE id = %(id)s",
                values,
            )
    except psycopg.errors.UniqueViolation:
        raise _plate_taken(values) from None
    await audit(connection, by, "vehicle.changed", values["plate"], **changes)
    await tell_viewers(connection)
    return await vehicle(connection, vehicle_id)


def _plate_taken(values: Row) -> AlreadyExists:
    return AlreadyExists(
        f"There is a vehicle {values['plate']} of plate colour {values['plate_color']} already."
    )


async def add_terminal(
    connection: Connection, identity: str, *, edition: str = "2013", note: str = "", by: str
) -> Row:
    """Add a known terminal and give it; one in the lobby becomes known.

    Raises:
        Unacceptable
        AlreadyExists: it is known already.
    """
    identity = clean_identity(identity)
    if edition not in EDITIONS:
        raise Unacceptable("edition", "unknown_edition", known=", ".join(EDITIONS))
    await await_turn(connection)
    row = await fetch_one(
        connection,
        "INSERT INTO terminals (identity, edition, note) VALUES (%s, %s, %s)"
        " ON CONFLICT (identity) DO UPDATE SET note = excluded.note WHERE NOT terminals.known"
        " RETURNING id",
        (identity, edition, note),
    )
    if row is None:
        raise AlreadyExists(f"There is a terminal {identity} already.")
    await decide(connection, by, [Decision(ACCEPTED, identity, True)])
    await audit(connection, by, "terminal.added", identity, edition=edition, note=note)
    await tell_viewers(connection)
    return await terminal(connection, row["id"])


async def edit_terminal(connection: Connection, terminal_id: int, changes: Row, *, by: str) -> Row:
    """Change edition or note and give the terminal.

    Raises:
        NotFound
    """
    return await _change_terminal(
        connection,
        terminal_id,
        "edition = coalesce(%(edition)s, edition), note = coalesce(%(note)s, note)",
        {"edition": None, "note": None, **changes},
        audited=(by, "terminal.changed", changes),
    )


async def block_terminal(
    connection: Connection, terminal_id: int, *, note: str | None = None, by: str
) -> Row:
    """Let the terminal in no more. Gateways close its link at their next look at the fleet.

    Raises:
        NotFound
    """
    return await _change_terminal(
        connection,
        terminal_id,
        "note = coalesce(%(note)s, note)",
        {"note": note},
        audited=(by, "terminal.blocked", {"note": note}),
        decided={BLOCKED: True},
    )


async def unblock_terminal(connection: Connection, terminal_id: int, *, by: str) -> Row:
    """Let the terminal in again.

    Raises:
        NotFound
    """
    return await _change_terminal(
        connection,
        terminal_id,
        _AS_IT_IS,
        {},
        audited=(by, "terminal.unblocked", {}),
        decided={BLOCKED: False},
    )


async def accept_terminal(connection: Connection, terminal_id: int, *, by: str) -> Row:
    """Make a terminal of the lobby known.

    Raises:
        NotFound
    """
    return await _change_terminal(
        connection, terminal_id, _AS_IT_IS, {}, audited=(by, "terminal.claimed", {}), decided={ACCEPTED: True}
    )


async def renew_code(connection: Connection, terminal_id: int, *, by: str) -> Row:
    """Make the terminal's code worthless. Gateways close its link at their next look at the fleet; it gets
    another when it registers again.

    Raises:
        NotFound
    """
    epoch = (await terminal(connection, terminal_id))["code_epoch"] + 1
    return await _change_terminal(
        connection,
        terminal_id,
        _AS_IT_IS,
        {},
        audited=(by, "terminal.code_renewed", {"epoch": epoch}),
        decided={CODE_EPOCH: epoch},
    )


async def let_speak_without_code(
    connection: Connection, terminal_id: int, is_allowed: bool, *, by: str
) -> Row:
    """Say whether what the terminal says counts without its code. One that may is known: a device that cannot
    authenticate proves nothing, so a person answers for it.

    Raises:
        NotFound
    """
    return await _change_terminal(
        connection,
        terminal_id,
        _AS_IT_IS,
        {},
        audited=(
            by,
            "terminal.without_code_allowed" if is_allowed else "terminal.without_code_forbidden",
            {},
        ),
        decided={SPEAKS_WITHOUT_CODE: is_allowed} | ({ACCEPTED: True} if is_allowed else {}),
    )


async def forget_terminal(connection: Connection, terminal_id: int, *, by: str) -> None:
    """Take a terminal out of every list, its vehicle and the desk. What it said stays; heard again, it is in
    the lobby.

    Raises:
        NotFound
    """
    row = await terminal(connection, terminal_id)
    await connection.execute("SELECT forget(%s, ARRAY[%s])", (by, terminal_id))
    plate = row["vehicle"]["plate"] if row["vehicle"] else None
    await audit(connection, by, "terminal.forgotten", row["identity"], plate=plate)
    await tell_viewers(connection)


async def _change_terminal(
    connection: Connection,
    terminal_id: int,
    assignments: LiteralString,
    values: Row,
    *,
    audited: tuple[str, str, Row],
    decided: Row | None = None,
) -> Row:
    if decided is not None:
        await await_turn(connection)
    row = await fetch_one(
        connection,
        f"UPDATE terminals SET {assignments} WHERE id = %(id)s RETURNING identity",
        {**values, "id": terminal_id},
    )
    if row is None:
        raise NotFound("terminal", terminal_id)
    by, action, detail = audited
    if decided is not None:
        decisions = [Decision(kind, row["identity"], value) for kind, value in decided.items()]
        await decide(connection, by, decisions)
    await audit(connection, by, action, row["identity"], **detail)
    await tell_viewers(connection)
    return await terminal(connection, terminal_id)


async def bind(connection: Connection, terminal_id: int, vehicle_id: int, *, by: str) -> Row:
    """Install the terminal in the vehicle from now on and give the terminal. Bound so already: nothing
    changes.

    Raises:
        NotFound
        AlreadyBound: one of the two has another partner.
    """
    here = await terminal(connection, terminal_id)
    there = await vehicle(connection, vehicle_id)
    if here["vehicle"] is not None and here["vehicle"]["id"] == vehicle_id:
        return here
    try:
        async with connection.transaction():
            await connection.execute(
                "INSERT INTO installations (terminal_id, vehicle_id) VALUES (%s, %s)",
                (terminal_id, vehicle_id),
            )
    except psycopg.errors.UniqueViolation:
        raise AlreadyBound(await _binding(connection, terminal_id, vehicle_id)) from None
    await audit(
        connection, by, "terminal.bound", here["identity"], plate=there["plate"], vehicle_id=vehicle_id
    )
    await tell_viewers(connection)
    return await terminal(connection, terminal_id)


async def _binding(connection: Connection, terminal_id: int, vehicle_id: int) -> str:
    here = await terminal(connection, terminal_id)
    there = await vehicle(connection, vehicle_id)
    if here["vehicle"] is not None:
        return (
            f"Terminal {here['identity']} is installed in {here['vehicle']['plate']}; remove it there first."
        )
    other = there["terminal"]["identity"] if there["terminal"] else "another one"
    return f"Vehicle {there['plate']} has the terminal {other}; remove that one first."


async def unbind(connection: Connection, terminal_id: int, *, by: str) -> Row:
    """Take the terminal out of its vehicle and give the terminal.

    Raises:
        NotFound
        NotBound
    """
    here = await terminal(connection, terminal_id)
    removed = await fetch_one(
        connection,
        # installed_at of a vehicle bound by the worker is log time and may be ahead of this clock
        "UPDATE installations SET removed_at = greatest(now(), installed_at)"
        " WHERE terminal_id = %s AND removed_at IS NULL RETURNING vehicle_id",
        (terminal_id,),
    )
    if removed is None:
        raise NotBound(f"Terminal {here['identity']} is in no vehicle.")
    plate = here["vehicle"]["plate"] if here["vehicle"] else None
    await audit(
        connection, by, "terminal.unbound", here["identity"], plate=plate, vehicle_id=removed["vehicle_id"]
    )
    await tell_viewers(connection)
    return await terminal(connection, terminal_id)


async def installations(connection: Connection, vehicle_id: int) -> list[Row]:
    """Give which terminals the vehicle has had, newest first.

    Raises:
        NotFound
    """
    await vehicle(connection, vehicle_id)
    return await fetch_all(
        connection,
        "SELECT i.id, jsonb_build_object('id', t.id, 'identity', t.identity) AS terminal,"
        " jsonb_build_object('id', v.id, 'plate', v.plate, 'plate_color', v.plate_color) AS vehicle,"
        " i.installed_at, i.removed_at"
        " FROM installations i JOIN terminals t ON t.id = i.terminal_id"
        " JOIN vehicles v ON v.id = i.vehicle_id WHERE i.vehicle_id = %s"
        " ORDER BY i.installed_at DESC, i.id DESC",
        (vehicle_id,),
    )


async def links_page(
    connection: Connection, terminal_id: int, *, limit: int, cursor: str | None = None
) -> Page:
    """List the link events of a terminal, newest first.

    Raises:
        NotFound
    """
    await terminal(connection, terminal_id)
    given: Row = {"terminal_id": terminal_id}
    conditions: dict[str, LiteralString] = {
        "terminal_id": "terminal_id = %(terminal_id)s",
        "after_at": "(at, id) < (%(after_at)s, %(after_id)s)",
    }
    if cursor:
        given["after_at"], given["after_id"] = decode_cursor(cursor, (datetime, int))
    query: LiteralString = (
        "SELECT id, at, event, session::text AS session, peer FROM link_events"
        f" WHERE {where(conditions, given)} ORDER BY at DESC, id DESC"
    )
    return await fetch_page(connection, query, given, key=("at", "id"), limit=limit)


async def tell_viewers(connection: Connection, what: str = "fleet") -> None:
    """Make live viewers look, when the transaction commits."""
    await connection.execute("SELECT pg_notify(%s, %s)", (LIVE_CHANNEL, what))
