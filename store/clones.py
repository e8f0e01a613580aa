"""Clones: terminals that two links go on speaking as. The last finding of each terminal is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from store.times import from_us

Connection = psycopg.Connection[Any]

_PUT = """
INSERT INTO clones (terminal_id, began_at, last_seen_at, peers, frames, take_overs)
VALUES (%(terminal_id)s, %(at)s, %(at)s, %(peers)s, %(frames)s, %(take_overs)s)
ON CONFLICT (terminal_id) DO UPDATE SET
    began_at = CASE WHEN clones.last_seen_at > excluded.last_seen_at - interval '1 day'
                    THEN clones.began_at ELSE excluded.began_at END,
    last_seen_at = excluded.last_seen_at,
    peers = excluded.peers,
    frames = excluded.frames,
    take_overs = excluded.take_overs
"""


@dataclass(frozen=True, slots=True)
class Clone:
    """That two links spoke as one terminal, see `store.records.Cloned`."""

    terminal_id: int
    at_us: int
    peers: tuple[str, str]
    frames: tuple[int, int]
    take_overs: int


def put(connection: Connection, clones: Sequence[Clone]) -> None:
    """Remember the clones in the caller's transaction, in order of the log."""
    for each in clones:
        connection.execute(
            _PUT,
            {
                "terminal_id": each.terminal_id,
                "at": from_us(each.at_us),
                "peers": list(each.peers),
                "frames": list(each.frames),
                "take_overs": each.take_overs,
            },
        )
