"""The locks of the keeper's chores: each chore runs once at a time on a database, however many keepers there
are."""

from typing import Any

import psycopg

Connection = psycopg.Connection[Any]

_LOCK = 0x6E77_0003
"""First part of the advisory locks, one for each chore, held as long as the connection lives."""


def claim(connection: Connection, chore: str) -> bool:
    """Become the only one who does this chore; False while somebody else is."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", [_LOCK, chore]).fetchone()
    return bool(row and row[0])
