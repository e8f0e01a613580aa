"""Input that could not be used, kept as received with the reason: nothing that was answered disappears."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from store.times import from_us

Connection = psycopg.Connection[Any]

POISONED = "poisoned"
"""The reason of frames whose facts cannot be written."""

_INSERT = """
INSERT INTO quarantine (received_at, terminal_id, peer, msg_id, reason, detail, raw, log_id, position,
ordinal) SELECT * FROM unnest(%s::timestamptz[], %s::integer[], %s::text[], %s::integer[], %s::text[],
%s::text[],
                     %s::bytea[], %s::uuid[], %s::bigint[], %s::integer[])
ON CONFLICT (log_id, position, ordinal) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One frame, or bytes that are none."""

    received_us: int
    reason: str
    """A short stable name: those of `protocol.errors`, and the ones that the worker adds."""
    raw: bytes
    log_id: UUID
    position: int
    """Of the record in that log, which together with `ordinal` makes the row unique."""
    ordinal: int
    terminal_id: int | None = None
    msg_id: int | None = None
    peer: str = ""
    detail: str = ""


def insert(connection: Connection, entries: Sequence[Quarantined]) -> None:
    """Write the entries in the caller's transaction; those that are there already change nothing."""
    if not entries:
        return
    connection.execute(
        _INSERT,
        [
            [from_us(each.received_us) for each in entries],
            [each.terminal_id for each in entries],
            [each.peer for each in entries],
            [each.msg_id for each in entries],
            [each.reason for each in entries],
            [each.detail for each in entries],
            [each.raw for each in entries],
            [each.log_id for each in entries],
            [each.position for each in entries],
            [each.ordinal for each in entries],
        ],
    )


def poisoned(connection: Connection, log_id: UUID, begin: int, end: int) -> set[tuple[UUID, int, int]]:
    """Give the places (log, position and ordinal) in a part of a log that could not be written."""
    found = connection.execute(
        "SELECT log_id, position, ordinal FROM quarantine"
        " WHERE log_id = %s AND position >= %s AND position < %s AND reason = %s",
        [log_id, begin, end, POISONED],
    )
    return set(found.fetchall())
