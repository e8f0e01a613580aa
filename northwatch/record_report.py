"""The record as `northwatch doctor` tells of it: how it is kept, what goes next and when."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg

from keeper.retention import Retention, are_held, drop_at, due
from store import columnstore, expiry
from store.expiry import Day, Hold
from store.placement import is_native

GIB = 1 << 30
LARGE_BYTES = 20 * GIB
"""From here on columns save a disk."""


def tell(
    connection: psycopg.Connection[Any], retention: Retention, compress_after: timedelta, now: datetime
) -> Iterator[tuple[str, str]]:
    """Give what there is to say, as name and value. The tables must be there."""
    days, holds = expiry.days(connection), expiry.holds(connection)
    total = sum(day.size_bytes for day in days)
    if days:
        count = sum(len(day.stretch.days()) for day in days)
        first, last = days[0].begins_at, days[-1].stretch.days()[-1]
        yield "positions", f"{count} days, {first:%Y-%m-%d} to {last}, {total / GIB:.2f} GiB"
    yield from _compression(connection, days, now - compress_after)
    yield (
        "retention",
        f"tracks {retention.tracks.days} days, alarms and tickets {retention.handling.days} days",
    )
    if days:
        yield "", what_goes_next(days, holds, retention, now)
    if holds:
        yield "legal holds", f"{len(holds)} in force (`northwatch hold list`)"


def what_goes_next(days: Sequence[Day], holds: Sequence[Hold], retention: Retention, now: datetime) -> str:
    """Say which day of positions goes next, and when."""
    waiting = [day for day in due(days, retention, now) if not are_held(day, holds)]
    if waiting:
        return f"the keeper drops {len(waiting)} days now, from {waiting[0].begins_at:%Y-%m-%d} on"
    following = [day for day in days if drop_at(day, retention) > now]
    if not following:
        return "what is older is held"
    held = ", but for what is held" if are_held(following[0], holds) else ""
    begins_at, at = following[0].begins_at, drop_at(following[0], retention)
    return f"positions of {begins_at:%Y-%m-%d} go on {at:%Y-%m-%d}{held}"


def _compression(
    connection: psycopg.Connection[Any], days: Sequence[Day], before: datetime
) -> Iterator[tuple[str, str]]:
    large = sum(day.size_bytes for day in days) > LARGE_BYTES
    if not columnstore.is_available(connection):
        if is_native(connection):
            what = "none: plain PostgreSQL keeps rows as they are"
            advice = "; TimescaleDB under the Timescale licence, in a new database, needs a fifth of the room"
        else:
            what = "none: this TimescaleDB is the Apache edition"
            advice = "; set timescaledb.license = 'timescale' where its licence is acceptable"
        yield "compression", what + (advice if large else "")
        return
    compressed = [day for day in days if day.is_compressed]
    if not compressed:
        yield "compression", f"available; no day before {before:%Y-%m-%d} is there yet"
        return
    raw, kept = columnstore.saved(connection)
    share = f", {raw / GIB:.2f} GiB in {kept / GIB:.2f} ({raw / kept:.1f} times smaller)" if kept else ""
    yield "compression", f"{len(compressed)} of {len(days)} days{share}"
