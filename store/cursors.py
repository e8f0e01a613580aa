"""How far a log has been read: the row that makes everything written with it happen exactly once.

The cursor moves in the transaction that writes the facts, and only from where the worker believes it to be.
If two workers read the same log, one of them finds the cursor elsewhere and its whole transaction is undone.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import psycopg

from store.merge import Positions

Connection = psycopg.Connection[Any]

_LOCK = 0x6E77_0002
"""First part of the advisory lock that the one worker of a database holds as long as it is connected."""

_VERDICTS = 24
"""The migration from which on all that is written goes by the gateway's verdicts (`0024_strangers`)."""
_UPGRADED: LiteralString = """
SELECT EXISTS (SELECT FROM terminals t JOIN migrations m ON t.created_at < m.applied_at WHERE m.number = %s)
"""


class CursorMoved(Exception):
    """The cursor is not where this worker left it: another worker reads the same log."""

    def __init__(self, log_id: UUID, expected: int) -> None:
        super().__init__(
            f"the cursor of log {log_id} is not at {expected} any more:"
            " another worker is running on this database"
        )


def claim(connection: Connection, log_id: UUID) -> bool:
    """Become the only worker of a log, for as long as the connection lives; False while another one is."""
    with connection.transaction():
        row = connection.execute(
            "SELECT pg_try_advisory_lock(%s, hashtext(%s))", [_LOCK, str(log_id)]
        ).fetchone()
    return bool(row and row[0])


def read(connection: Connection, log_ids: Iterable[UUID]) -> Positions:
    """Give the positions up to which logs are in the database, of those that were ever read."""
    with connection.transaction():
        rows = connection.execute(
            "SELECT log_id, position FROM cursors WHERE log_id = ANY(%s)", [list(log_ids)]
        ).fetchall()
    return {log_id: int(position) for log_id, position in rows}


def logs(connection: Connection) -> set[UUID]:
    """Give the logs of which something was ever read into this database."""
    with connection.transaction():
        return {row[0] for row in connection.execute("SELECT log_id FROM cursors").fetchall()}


def is_upgraded(connection: Connection) -> bool:
    """Say whether an earlier version has written into this database: terminals were known before there were
    verdicts on what they say. Its logs have none, nor records of what people had decided.
    """
    with connection.transaction():
        row = connection.execute(_UPGRADED, [_VERDICTS]).fetchone()
    return row is not None and bool(row[0])


def log_time(connection: Connection, log_ids: Iterable[UUID]) -> datetime | None:
    """Give when the last record was received up to which logs are in the database; None where nothing is."""
    with connection.transaction():
        row = connection.execute(
            "SELECT log_time FROM cursors WHERE log_id = ANY(%s) ORDER BY moved_at DESC LIMIT 1",
            [list(log_ids)],
        ).fetchone()
    return row[0] if row else None


def move(connection: Connection, old: Positions, new: Positions, log_time: datetime) -> None:
    """Move cursors to `new`, in the caller's transaction, from where they are in `old` (or do not exist).

    Raises:
        CursorMoved: one is somewhere else.
    """
    for log_id, position in new.items():
        if log_id not in old:
            moved = connection.execute(
                "INSERT INTO cursors (log_id, position, log_time) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                [log_id, position, log_time],
            )
        else:
            moved = connection.execute(
                "UPDATE cursors SET position = %s, log_time = %s, moved_at = now()"
                " WHERE log_id = %s AND position = %s",
                [position, log_time, log_id, old[log_id]],
            )
        if moved.rowcount != 1:
            raise CursorMoved(log_id, old.get(log_id, 0))
