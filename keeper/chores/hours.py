"""Counts reports by terminal and hour where TimescaleDB does not, and tells it when where it does."""

from datetime import datetime
from typing import Final

import psycopg

from keeper.chore import Chore, Connection, Done
from keeper.options import KeeperOptions
from store import hours

EVERY_S: Final = 120.0
TERMINALS: Final = 1_000
"""Of one step: at most two hours of each, unless this is the first time."""
LATE_REPORTS: Final = 5_000


def step(connection: Connection, options: KeeperOptions, now: datetime) -> Done:
    """Bring the sums up to what positions say."""
    if hours.is_continuous(connection):
        hours.refresh_continuous(connection, now - options.retention.tracks, now)
        return Done()
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with connection.transaction():
        late = hours.count_late(connection, now - options.retention.tracks, LATE_REPORTS)
    with connection.transaction():
        live = hours.count_live(connection, TERMINALS)
    return Done(more=bool(late or live))


CHORE = Chore("hours", EVERY_S, step)
