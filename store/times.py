"""Times between columns (µs since 1970 in UTC) and the database (aware datetimes)."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def from_us(us: int) -> datetime:
    """Give the time that lies so many µs after 1970."""
    return EPOCH + timedelta(microseconds=us)


def to_us(time: datetime) -> int:
    """Give the µs from 1970 to a time."""
    return (time - EPOCH) // MICROSECOND
