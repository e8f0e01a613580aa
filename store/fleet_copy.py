"""The gateway's copy of the fleet: who is known, who is blocked, which plate is on which terminal, and which
plates there are; all of it, or what changed.
"""

from dataclasses import dataclass
from typing import Any, LiteralString, NamedTuple, TypeVar

import psycopg
from psycopg.rows import args_row, scalar_row

from store import decisions
from store.horizon import HORIZON, IS_NEW

Connection = psycopg.Connection[Any]

Row = TypeVar("Row")

PAGE = 500
"""Rows are made of an answer so many at a time: it keeps the interpreter from other threads, as that of a
gateway's event loop.
"""

_FLEET: LiteralString = """
SELECT t.identity, t.known, t.blocked, v.plate, v.plate_color, t.edition, t.code_epoch,
       t.authenticated_at IS NOT NULL AS registered, t.speaks_without_code, t.forgotten
  FROM terminals t
  LEFT JOIN installations i ON i.terminal_id = t.id AND i.removed_at IS NULL
  LEFT JOIN vehicles v ON v.id = i.vehicle_id
"""
_ENROLMENT: LiteralString = "SELECT value FROM decisions WHERE kind = %s ORDER BY version DESC LIMIT 1"
_CHANGED: LiteralString = f"""
SELECT id FROM terminals WHERE {IS_NEW}
UNION SELECT terminal_id FROM installations
       WHERE {IS_NEW} OR vehicle_id IN (SELECT id FROM vehicles WHERE {IS_NEW})
"""


@dataclass(frozen=True, slots=True)
class FleetEntry:
    """One terminal as the gateway needs it when the database is away."""

    identity: str
    known: bool
    blocked: bool
    plate: str | None
    """Of the vehicle it is installed in now."""
    plate_color: int | None
    edition: str = "2013"
    code_epoch: int = 0
    registered: bool = False
    """It has authenticated with our code at some time."""
    speaks_without_code: bool = False
    forgotten: bool = False


class FleetRows(NamedTuple):
    """What was read."""

    entries: list[FleetEntry]
    """Oldest first."""
    vehicles: list[tuple[int, str, int]]
    """Number, plate and plate colour, with a terminal or without."""
    horizon: str
    """Of the next reading."""
    version: int
    """Of the last decision that all this says."""
    enrolment: tuple[int, int] = (0, 0)
    """Until when new terminals are expected, in microseconds since 1970, and how many."""


def read_fleet(connection: Connection, horizon: str | None = None) -> FleetRows:
    """Return terminals and vehicles that changed since `horizon`; without one, all of them."""
    with connection.transaction():
        with connection.cursor(row_factory=scalar_row) as cursor:
            following = cursor.execute(HORIZON).fetchone()
            since = {"horizon": horizon}
            changed = cursor.execute(_CHANGED, since).fetchall() if horizon is not None else []
        with connection.cursor(row_factory=args_row(FleetEntry)) as cursor:
            if horizon is None:
                cursor.execute(f"{_FLEET} ORDER BY t.id")
            else:
                cursor.execute(f"{_FLEET} WHERE t.id = ANY(%s) ORDER BY t.id", (changed,))
            entries = _in_pages(cursor)
        which = "" if horizon is None else f" WHERE {IS_NEW}"
        query = f"SELECT id, plate, plate_color FROM vehicles{which} ORDER BY id"
        plates = _in_pages(connection.execute(query, since))
        version = decisions.newest(connection)
        return FleetRows(entries, plates, str(following), version, _enrolment(connection))


def _enrolment(connection: Connection) -> tuple[int, int]:
    row = connection.execute(_ENROLMENT, (decisions.ENROLMENT,)).fetchone()
    return (0, 0) if row is None or row[0] is None else (int(row[0]["until_us"]), int(row[0]["room"]))


def _in_pages(cursor: psycopg.Cursor[Row]) -> list[Row]:
    """Take all rows of an answer."""
    rows: list[Row] = []
    while page := cursor.fetchmany(PAGE):
        rows += page
    return rows
