"""Pieces of messages that are not whole yet: with them here, the log need not wait for the rest.

They come and go in the worker's transaction, so at its cursor the table is what the worker holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from store.times import from_us

Connection = psycopg.Connection[Any]
Place: TypeAlias = tuple[UUID, int, int]
"""A frame: log, position of its record, and its place in it."""

_DELETE = """
DELETE FROM pieces USING unnest(%s::uuid[], %s::bigint[], %s::integer[]) AS gone (log_id, position, ordinal)
 WHERE pieces.log_id = gone.log_id AND pieces.position = gone.position AND pieces.ordinal = gone.ordinal
"""
_INSERT = """
INSERT INTO pieces (log_id, position, ordinal, hold, terminal_id, received_at, msg_id, number, total, index,
                    body_start, raw)
SELECT * FROM unnest(%s::uuid[], %s::bigint[], %s::integer[], %s::text[], %s::integer[], %s::timestamptz[],
                     %s::integer[], %s::bigint[], %s::integer[], %s::integer[], %s::integer[], %s::bytea[])
ON CONFLICT (log_id, position, ordinal) DO NOTHING
"""
_READ = """
SELECT log_id, position, ordinal, hold, terminal_id,
       (extract(epoch FROM received_at) * 1000000)::bigint AS received_us, msg_id, number, total, index,
       body_start, raw
  FROM pieces ORDER BY received_at, log_id, position, ordinal
"""


@dataclass(frozen=True, slots=True)
class HeldPiece:
    """One piece, and of what."""

    log_id: UUID
    position: int
    ordinal: int
    hold: str
    """Within whose limits it is held."""
    terminal_id: int
    received_us: int
    msg_id: int
    number: int
    """Serial of the first fragment; of packets of 2011 the medium's id."""
    total: int
    index: int
    """From 1."""
    body_start: int
    raw: bytes

    @property
    def place(self) -> Place:
        return self.log_id, self.position, self.ordinal


@dataclass(slots=True)
class Changes:
    """Pieces that came to be held, and those that are held no more."""

    came: dict[Place, HeldPiece] = field(default_factory=dict)
    left: list[Place] = field(default_factory=list)

    def come(self, piece: HeldPiece) -> None:
        """Hold a piece."""
        self.came[piece.place] = piece

    def leave(self, place: Place) -> None:
        """Hold a piece no more. One that came just now is never written."""
        if self.came.pop(place, None) is None:
            self.left.append(place)


def write(connection: Connection, changes: Changes) -> None:
    """Write the changes in the caller's transaction."""
    if changes.left:
        connection.execute(_DELETE, _columns(changes.left))
    if changes.came:
        rows = [
            (
                *(each.log_id, each.position, each.ordinal, each.hold, each.terminal_id),
                *(from_us(each.received_us), each.msg_id, each.number, each.total, each.index),
                *(each.body_start, each.raw),
            )
            for each in changes.came.values()
        ]
        connection.execute(_INSERT, _columns(rows))


def adopt(connection: Connection, held: Sequence[HeldPiece]) -> None:
    """Put into the table what is held from before there was one, in the caller's transaction. Once."""
    rows = connection.execute("SELECT log_id, position FROM pieces_begin").fetchall()
    begin = {log_id: int(position) for log_id, position in rows}
    changes = Changes()
    for each in held:
        if each.position < begin.get(each.log_id, 0):
            changes.come(each)
    write(connection, changes)
    connection.execute("DELETE FROM pieces_begin")


def read(connection: Connection) -> list[HeldPiece]:
    """Give what is held, in order of receipt."""
    with connection.cursor(row_factory=class_row(HeldPiece)) as cursor:
        return cursor.execute(_READ).fetchall()


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
