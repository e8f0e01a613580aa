"""Accepts terminals that came by themselves and have reported well for a day; under policy `open` only."""

from datetime import datetime
from typing import Final

from keeper.chore import Chore, Connection, Done
from keeper.options import KeeperOptions
from store import standing

EVERY_S: Final = 600.0


def step(connection: Connection, options: KeeperOptions, now: datetime) -> Done:
    """Accept some of those that are ready."""
    if not options.enrols:
        return Done()
    with connection.transaction():
        accepted = standing.accept_ready(connection)
    if not accepted:
        return Done()
    return Done(
        f"accepted {accepted} terminals after a day of reports", more=True, zh=f"已自动认领 {accepted} 台终端"
    )


CHORE = Chore("enrolment", EVERY_S, step)
