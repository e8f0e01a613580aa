"""What terminals said that has no table of its own, whole and as sent: nothing answered disappears."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from store.times import from_us

Connection = psycopg.Connection[Any]

_INSERT = """
INSERT INTO messages (terminal_id, received_at, msg_id, serial, edition, body, log_id, position, ordinal)
SELECT * FROM unnest(%s::integer[], %s::timestamptz[], %s::integer[], %s::integer[], %s::text[],
                     %s::bytea[], %s::uuid[], %s::bigint[], %s::integer[])
ON CONFLICT (log_id, position, ordinal) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Message:
    """One message, put together where it came in pieces."""

    terminal_id: int
    received_us: int
    msg_id: int
    serial: int
    """Of its first fragment."""
    edition: str
    body: bytes
    log_id: UUID
    position: int
    """Of the record in that log that completed it, which together with `ordinal` makes the row unique."""
    ordinal: int


def insert(connection: Connection, messages: Sequence[Message]) -> None:
    """Write the messages in the caller's transaction; those that are there already change nothing."""
    if not messages:
        return
    connection.execute(
        _INSERT,
        [
            [each.terminal_id for each in messages],
            [from_us(each.received_us) for each in messages],
            [each.msg_id for each in messages],
            [each.serial for each in messages],
            [each.edition for each in messages],
            [each.body for each in messages],
            [each.log_id for each in messages],
            [each.position for each in messages],
            [each.ordinal for each in messages],
        ],
    )
