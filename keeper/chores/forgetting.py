"""Forgets terminals of the lobby that were silent for days. What they said stays."""

from datetime import datetime
from typing import Final

from keeper.chore import Chore, Connection, Done
from keeper.options import KeeperOptions
from store import standing

EVERY_S: Final = 600.0


def step(connection: Connection, options: KeeperOptions, now: datetime) -> Done:
    """Forget some of those that are due."""
    with connection.transaction():
        forgotten = standing.forget_silent(connection, now - options.forget_after)
    if not forgotten:
        return Done()
    return Done(
        f"forgot {forgotten} terminals of the lobby",
        more=True,
        zh=f"已清除 {forgotten} 台久未通信的待认领终端",
    )


CHORE = Chore("forgetting", EVERY_S, step)
