"""Lets go of what was kept long enough: one day of positions, or some rows of another table, at each step."""

from datetime import datetime

from keeper.chore import Chore, Connection, Done
from keeper.options import KeeperOptions
from keeper.retention import are_held, due
from store import expiry

ROWS = 5_000
"""At each step: milliseconds of work, and a lock that nobody notices."""
TRACK_TABLES = ("messages", "quarantine", "quarantine_counts", "link_events")
HANDLING_TABLES = ("alarms", "tickets", "media")
"""Media show violations, and are kept as long."""


def step(connection: Connection, options: KeeperOptions, now: datetime) -> Done:
    """Drop the oldest day that is due, or else some old rows."""
    retention, holds = options.retention, expiry.holds(connection)
    for day in due(expiry.days(connection), retention, now):
        with connection.transaction():
            dropped = expiry.drop_day(connection, day)
        if dropped:
            kept = " but for what is held" if are_held(day, holds) else ""
            zh = f"已清理 {day} 的定位数据" + ("（封存部分除外）" if kept else "")
            return Done(f"dropped the positions of {day}{kept}", more=True, zh=zh)
    for tables, before in (
        (TRACK_TABLES, now - retention.tracks),
        (HANDLING_TABLES, now - retention.handling),
    ):
        for table in tables:
            with connection.transaction():
                deleted = expiry.delete_rows(connection, table, before, ROWS)
            if deleted:
                what = f"deleted {deleted} rows of {table} from before {before:%Y-%m-%d}"
                zh = f"已删除表 {table} 中 {before:%Y-%m-%d} 之前的 {deleted} 行"
                return Done(what, more=True, zh=zh)
    return Done()


CHORE = Chore("retention", every_s=3600, step=step)
