"""How long what is kept (保存期限), and what may go: decided here, done by the chores.

The law sets a floor, 《道路运输车辆动态监督管理办法》: dynamic data is kept for at least six months, and
violations of drivers and how they were handled for at least three years. A shorter time is refused, whoever
asks.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol, TypeVar

TRACKS_FLOOR: Final = timedelta(days=184)
"""The longest six months."""
HANDLING_FLOOR: Final = timedelta(days=3 * 365 + 1)
"""The longest three years."""


class BelowLegalFloor(ValueError):
    """Something is asked to go before the law allows it."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long what is kept.

    Raises:
        BelowLegalFloor: that is shorter than the law allows.
    """

    tracks: timedelta = timedelta(days=400)
    """Positions, messages, link events, quarantine. As long as a terminal may bring stored reports back
    (`store.placement.PAST`), so that what comes back last is kept as well."""
    handling: timedelta = timedelta(days=4 * 365 + 1)
    """Alarms and tickets, and what was done about them."""

    def __post_init__(self) -> None:
        for kept, floor, what, law in (
            (self.tracks, TRACKS_FLOOR, "tracks", "动态监控数据应当至少保存6个月"),
            (
                self.handling,
                HANDLING_FLOOR,
                "alarms and their handling",
                "违法驾驶信息及处理情况应当至少保存3年",
            ),
        ):
            if kept < floor:
                raise BelowLegalFloor(
                    f"{what} must be kept for at least {floor.days} days:"
                    f" 《道路运输车辆动态监督管理办法》 says {law}"
                )


class Period(Protocol):
    """A time with a begin and an end, the end not included."""

    @property
    def begins_at(self) -> datetime: ...
    @property
    def ends_at(self) -> datetime: ...


P = TypeVar("P", bound=Period)


def due(periods: Iterable[P], retention: Retention, now: datetime) -> list[P]:
    """Give the periods of tracks that have been kept long enough, whole, oldest first."""
    ended = [each for each in periods if drop_at(each, retention) <= now]
    return sorted(ended, key=lambda each: each.begins_at)


def drop_at(period: Period, retention: Retention) -> datetime:
    """Say when a period of tracks has been kept long enough: when its last moment has."""
    return period.ends_at + retention.tracks


def are_held(period: Period, holds: Sequence[Period]) -> bool:
    """Say whether a hold covers a part of the period: then some of its rows may have to stay."""
    return any(each.begins_at < period.ends_at and each.ends_at > period.begins_at for each in holds)
