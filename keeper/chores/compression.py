"""Compresses days of positions that are over, where the server can: one chunk at each step.

A chunk into which late reports came is compressed again, which merges them into its columns.
"""

from datetime import datetime

from keeper.chore import Chore, Connection, Done
from keeper.options import KeeperOptions
from store import columnstore


def step(connection: Connection, options: KeeperOptions, now: datetime) -> Done:
    """Compress the oldest chunk that waits for it."""
    if not columnstore.is_available(connection):
        return Done()
    columnstore.prepare(connection)
    waiting = columnstore.waiting(connection, now - options.compress_after)
    if not waiting:
        return Done()
    chunk = waiting[0]
    before, after = columnstore.compress(connection, chunk)
    share = f", {before / after:.1f} times smaller" if after else ""
    return Done(f"compressed the positions of {chunk.begins_at:%Y-%m-%d}{share}", more=len(waiting) > 1)


CHORE = Chore("compression", every_s=1800, step=step)
