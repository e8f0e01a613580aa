"""What is in use on a database server: what `northwatch doctor` reports."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row, tuple_row

Connection = psycopg.Connection[Any]

_SERVER = """
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::integer AS version_number,
       pg_database_size(current_database()) AS size_bytes,
       (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS timescaledb,
       (SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb') AS
       timescaledb_available, current_setting('timescaledb.license', true) AS timescaledb_license,
       pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean AS is_read_only,
       (SELECT count(*)::integer FROM pg_inherits
         WHERE inhparent = to_regclass('position_records')) AS partitions
"""


@dataclass(frozen=True, slots=True)
class Server:
    """The server and what it offers."""

    version: str
    version_number: int
    """For example 180001."""
    size_bytes: int
    timescaledb: str | None
    """The version installed in this database."""
    timescaledb_available: str | None
    timescaledb_license: str | None
    """`apache` lacks compression and continuous aggregates, `timescale` has them; None where it is not
    loaded."""
    is_read_only: bool
    partitions: int
    """Of table `position_records`."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a log is in the database."""

    position: int
    log_time: datetime
    moved_at: datetime


def server(connection: Connection) -> Server:
    """Look at the server."""
    with connection.transaction(), connection.cursor(row_factory=class_row(Server)) as cursor:
        found = cursor.execute(_SERVER).fetchone()
    assert found is not None
    return found


def cursors(connection: Connection) -> dict[UUID, Cursor]:
    """Give the cursor of every log that this database has read. The tables must be there."""
    with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
        rows = cursor.execute("SELECT log_id, position, log_time, moved_at FROM cursors").fetchall()
    return {log_id: Cursor(position, log_time, moved_at) for log_id, position, log_time, moved_at in rows}


def users(connection: Connection) -> int:
    """Count the users who may sign in. The tables must be there."""
    with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute("SELECT count(*) FROM users WHERE NOT disabled").fetchone()
    return int(row[0]) if row else 0
