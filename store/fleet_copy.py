"""The gateway's copy of the fleet: who is known, who is blocked, which plate is on which terminal, and which
plates there are.
"""

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import args_row

Connection = psycopg.Connection[Any]

_FLEET = """
SELECT t.identity, t.known, t.blocked, v.plate, v.plate_color, t.edition
  FROM terminals t
  LEFT JOIN installations i ON i.terminal_id = t.id AND i.removed_at IS NULL
  LEFT JOIN vehicles v ON v.id = i.vehicle_id
 ORDER BY t.id
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


def read_fleet(connection: Connection) -> list[FleetEntry]:
    """Give every terminal of the database, oldest first."""
    with connection.transaction(), connection.cursor(row_factory=args_row(FleetEntry)) as cursor:
        return cursor.execute(_FLEET).fetchall()


def read_plates(connection: Connection) -> list[tuple[str, int]]:
    """Give plate and plate colour of every vehicle, with a terminal or without."""
    with connection.transaction():
        return connection.execute("SELECT plate, plate_color FROM vehicles ORDER BY id").fetchall()
