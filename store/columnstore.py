"""Columnar compression of positions by TimescaleDB (列式压缩): old days take a fraction of their room.

It belongs to the edition under the Timescale licence. A server with the Apache edition, or without
TimescaleDB, keeps its days as they are; `doctor` says so.

Rows of one terminal are neighbours in the columns (segmentby) in order of placement time (orderby): a track
is what people ask for. Reports that arrive later are inserted beside the columns at some thirty times the
cost of an open day, so a day is compressed when almost nothing comes for it any more.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg.rows import class_row

Connection = psycopg.Connection[Any]

SETTINGS: Final = (
    "ALTER TABLE position_records SET (timescaledb.compress, timescaledb.compress_segmentby = 'terminal_id',"
    " timescaledb.compress_orderby = 'placed_at')"
)
# Newer versions add a filter for every column of the unique index, a tenth of all bytes. A late copy is
# found by terminal and time well enough.
_WITHOUT_BLOOMS: Final = """
SELECT set_config(name, 'off', true) FROM pg_settings WHERE name = 'timescaledb.auto_sparse_indexes'
"""
_IS_AVAILABLE: Final = """
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')
   AND current_setting('timescaledb.license', true) = 'timescale'
   AND EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('position_records') AND relkind = 'r')
"""
_IS_PREPARED: Final = """
SELECT compression_enabled FROM timescaledb_information.hypertables
 WHERE hypertable_schema = current_schema() AND hypertable_name = 'position_records'
"""
# Bit 1 of a chunk's status: compressed; bits 2 and 8: rows came since, out of order or beside the columns.
_WAITING: Final = """
SELECT c.chunk_schema::text AS schema, c.chunk_name::text AS name, c.range_start AS begins_at,
       c.range_end AS ends_at, c.is_compressed
  FROM timescaledb_information.chunks c
  JOIN _timescaledb_catalog.chunk k ON (k.schema_name, k.table_name) = (c.chunk_schema, c.chunk_name)
 WHERE c.hypertable_schema = current_schema() AND c.hypertable_name = 'position_records' AND c.range_end <= %s
   AND (NOT c.is_compressed OR k.status & 10 <> 0)
 ORDER BY c.range_start
"""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk that waits for compression; `is_compressed`: it was, and rows came since."""

    schema: str
    name: str
    begins_at: datetime
    ends_at: datetime
    is_compressed: bool


def is_available(connection: Connection) -> bool:
    """Say whether this server compresses."""
    row = connection.execute(_IS_AVAILABLE).fetchone()
    return bool(row and row[0])


def prepare(connection: Connection) -> None:
    """Say once how `position_records` is compressed. It must be a hypertable and compression available."""
    row = connection.execute(_IS_PREPARED).fetchone()
    if row is not None and not row[0]:
        with connection.transaction():
            # That the hash is neither segment nor order is meant: it is unique, so nothing could be gained.
            connection.execute("SET LOCAL client_min_messages = error")
            connection.execute(_WITHOUT_BLOOMS)
            connection.execute(SETTINGS)


def waiting(connection: Connection, before: datetime) -> list[Chunk]:
    """Give the chunks that ended before this time and hold rows outside their columns, oldest first."""
    with connection.cursor(row_factory=class_row(Chunk)) as cursor:
        return cursor.execute(_WAITING, [before]).fetchall()


def compress(connection: Connection, chunk: Chunk) -> tuple[int, int]:
    """Compress one chunk, in a transaction of its own; give its bytes before and after, indexes included."""
    with connection.transaction():
        connection.execute("SET LOCAL client_min_messages = error")
        connection.execute(_WITHOUT_BLOOMS)
        connection.execute(
            "SELECT compress_chunk(format('%%I.%%I', %s::text, %s::text)::regclass)",
            [chunk.schema, chunk.name],
        )
        row = connection.execute(
            "SELECT before_compression_total_bytes, after_compression_total_bytes"
            " FROM chunk_compression_stats('position_records') WHERE (chunk_schema, chunk_name) = (%s, %s)",
            [chunk.schema, chunk.name],
        ).fetchone()
    return (int(row[0]), int(row[1])) if row and row[0] is not None else (0, 0)


def saved(connection: Connection) -> tuple[int, int]:
    """Give the bytes of all compressed chunks before and after, indexes included."""
    row = connection.execute(
        "SELECT coalesce(sum(before_compression_total_bytes), 0)::bigint,"
        " coalesce(sum(after_compression_total_bytes), 0)::bigint"
        " FROM chunk_compression_stats('position_records')"
    ).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)
