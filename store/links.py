"""Link events: who was connected when, from where, and why it ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from store.times import from_us

Connection = psycopg.Connection[Any]

_INSERT = """
INSERT INTO link_events (terminal_id, at, event, session, peer)
SELECT * FROM unnest(%s::integer[], %s::timestamptz[], %s::text[], %s::bigint[], %s::text[])
ON CONFLICT (session, event) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """A session of a terminal began or ended."""

    terminal_id: int
    at_us: int
    event: str
    """`opened`, or why it closed."""
    session: int
    peer: str = ""


def insert(connection: Connection, events: Sequence[LinkEvent]) -> None:
    """Write the events in the caller's transaction; those that are there already change nothing."""
    if not events:
        return
    connection.execute(
        _INSERT,
        [
            [each.terminal_id for each in events],
            [from_us(each.at_us) for each in events],
            [each.event for each in events],
            [each.session for each in events],
            [each.peer for each in events],
        ],
    )
