"""Compresses days of positions that are over, where the server can: one chunk at each step.

Compressing a day for the first time keeps writers out of it, for a second where a day has a few hundred
thousand positions and for minutes where it has tens of millions; a report that comes back for that day then
makes the worker wait, and everybody with it. So it is done at night, unless too much waits. Merging late
reports into a day that is compressed keeps nobody out, and is done whenever there are some.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Final

from keeper.chore import Chore, Connection, Done
from keeper.options import KeeperOptions
from store import columnstore
from store.columnstore import Chunk

NIGHT_H: Final = range(1, 5)
"""Hours in Beijing in which few vehicles drive and hardly any comes back."""
BACKLOG: Final = 3
"""So many days that were never compressed are not kept waiting for a night: a server that is off at night, or
one whose history was just brought in."""
BEIJING: Final = timezone(timedelta(hours=8))


def step(connection: Connection, options: KeeperOptions, now: datetime) -> Done:
    """Compress the oldest chunk that may be."""
    if not columnstore.is_available(connection):
        return Done()
    columnstore.prepare(connection)
    chosen = choose(columnstore.waiting(connection, now - options.compress_after), now)
    if not chosen:
        return Done()
    chunk = chosen[0]
    before, after = columnstore.compress(connection, chunk)
    share = f", {before / after:.1f} times smaller" if after else ""
    day = f"{chunk.begins_at:%Y-%m-%d}"
    what = f"compressed the positions of {day}{share}"
    return Done(what, more=len(chosen) > 1, zh=f"已压缩 {day} 的定位数据")


def choose(waiting: Sequence[Chunk], now: datetime) -> list[Chunk]:
    """Give the chunks that may be compressed now."""
    new = [each for each in waiting if not each.is_compressed]
    if now.astimezone(BEIJING).hour in NIGHT_H or len(new) >= BACKLOG:
        return list(waiting)
    return [each for each in waiting if each.is_compressed]


CHORE = Chore("compression", every_s=1800, step=step)
