"""Legal holds (封存): what a vehicle's terminals said in a period is kept until the hold is released.

Functions run inside the caller's transaction and write the audit; `by` is the name of the person.

Refusals: `store.refusals`.
"""

from datetime import datetime
from typing import LiteralString

from store.audit import audit
from store.fleet import vehicle
from store.refusals import NotFound, Unacceptable
from store.select import Connection, Page, Row, decode_cursor, fetch_one, fetch_page, where

MAX_REASON = 500  # characters

_HOLD: LiteralString = """
SELECT h.id, jsonb_build_object('id', v.id, 'plate', v.plate, 'plate_color', v.plate_color) AS vehicle,
       h.begins_at, h.ends_at, h.reason, h.placed_by, h.placed_at, h.released_by, h.released_at
  FROM holds h JOIN vehicles v ON v.id = h.vehicle_id
"""


async def holds_page(
    connection: Connection,
    *,
    limit: int,
    cursor: str | None = None,
    vehicle_id: int | None = None,
    in_force: bool | None = None,
) -> Page:
    """List holds, newest first."""
    conditions: dict[str, LiteralString] = {
        "vehicle_id": "h.vehicle_id = %(vehicle_id)s",
        "in_force": "(h.released_at IS NULL) = %(in_force)s",
        "after": "h.id < %(after)s",
    }
    given: Row = {"vehicle_id": vehicle_id, "in_force": in_force}
    if cursor:
        (given["after"],) = decode_cursor(cursor, (int,))
    query: LiteralString = f"{_HOLD} WHERE {where(conditions, given)} ORDER BY h.id DESC"
    return await fetch_page(connection, query, given, key=("id",), limit=limit)


async def place(
    connection: Connection,
    vehicle_id: int,
    period: tuple[datetime, datetime],
    reason: str,
    *,
    by: str,
) -> Row:
    """Hold what a vehicle's terminals said and say in a period, and give the hold.

    Raises:
        NotFound: there is no such vehicle.
        Unacceptable: the period runs backwards, or there is no reason.
    """
    begins_at, ends_at = period
    reason = reason.strip()
    if begins_at >= ends_at:
        raise Unacceptable("ends_at", "ends_too_early")
    if not reason or len(reason) > MAX_REASON:
        raise Unacceptable("reason", "no_reason", characters=MAX_REASON)
    there = await vehicle(connection, vehicle_id)
    row = await fetch_one(
        connection,
        "INSERT INTO holds (vehicle_id, begins_at, ends_at, reason, placed_by) VALUES (%s, %s, %s, %s, %s)"
        " RETURNING id",
        (vehicle_id, begins_at, ends_at, reason, by),
    )
    assert row is not None
    await audit(
        connection,
        by,
        "hold.placed",
        there["plate"],
        hold_id=row["id"],
        begins_at=begins_at.isoformat(),
        ends_at=ends_at.isoformat(),
        reason=reason,
    )
    return await hold(connection, row["id"])


async def release(connection: Connection, hold_id: int, *, by: str) -> Row:
    """Let retention go its way again, and give the hold. Released already: nothing changes.

    Raises:
        NotFound
    """
    there = await hold(connection, hold_id)
    if there["released_at"] is not None:
        return there
    await connection.execute(
        "UPDATE holds SET released_by = %s, released_at = now() WHERE id = %s", (by, hold_id)
    )
    await audit(connection, by, "hold.released", there["vehicle"]["plate"], hold_id=hold_id)
    return await hold(connection, hold_id)


async def hold(connection: Connection, hold_id: int) -> Row:
    """Give one hold.

    Raises:
        NotFound
    """
    row = await fetch_one(connection, f"{_HOLD} WHERE h.id = %s", (hold_id,))
    if row is None:
        raise NotFound("hold", hold_id)
    return row
