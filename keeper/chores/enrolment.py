"""Accepts terminals that came by themselves and have reported well for a day, under policy `open` only; and
requires the code of those that spoke without it before an upgrade and have authenticated since.
"""

from datetime import datetime
from typing import Final

from keeper.chore import Chore, Connection, Done
from keeper.options import KeeperOptions
from store import standing

EVERY_S: Final = 600.0


def step(connection: Connection, options: KeeperOptions, now: datetime) -> Done:
    """Decide about some of those that are ready."""
    with connection.transaction():
        proven = standing.require_codes(connection)
    if proven:
        return Done(
            f"{proven} terminals have authenticated and need their code from now on",
            more=True,
            zh=f"{proven} 台终端已鉴权，今后须凭鉴权码上报",
        )
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
