"""What may go, and that nothing else goes."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.retention import (
    HANDLING_FLOOR,
    TRACKS_FLOOR,
    BelowLegalFloor,
    Retention,
    are_held,
    drop_at,
    due,
)

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Span:
    begins_at: datetime
    ends_at: datetime


def day(number: int) -> Span:
    return Span(EPOCH + timedelta(days=number), EPOCH + timedelta(days=number + 1))


DAYS = st.lists(st.integers(0, 1500), unique=True, max_size=30).map(
    lambda found: [day(each) for each in found]
)
RETENTIONS = st.builds(Retention, st.integers(TRACKS_FLOOR.days, 900).map(lambda days: timedelta(days=days)))
NOWS = st.integers(0, 2000 * 86_400).map(lambda seconds: EPOCH + timedelta(seconds=seconds))


@given(DAYS, RETENTIONS, NOWS)
def test_every_moment_of_a_day_is_kept_long_enough(
    days: list[Span], retention: Retention, now: datetime
) -> None:
    gone = due(days, retention, now)
    assert gone == sorted(gone, key=lambda each: each.begins_at)
    for each in days:
        last_moment = each.ends_at - timedelta(microseconds=1)
        assert (each in gone) == (now - last_moment > retention.tracks)
        assert each not in gone or now - each.ends_at >= TRACKS_FLOOR
        assert (drop_at(each, retention) <= now) == (each in gone)


@given(DAYS, RETENTIONS, NOWS, st.integers(0, 10**6).map(lambda seconds: timedelta(seconds=seconds)))
def test_what_may_go_may_go_later_too(
    days: list[Span], retention: Retention, now: datetime, later: timedelta
) -> None:
    assert set(due(days, retention, now)) <= set(due(days, retention, now + later))


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 48))
def test_a_day_is_held_by_what_covers_a_moment_of_it(number: int, begins_h: int, lasts_h: int) -> None:
    begin = EPOCH + timedelta(hours=24 * 5 + begins_h)
    hold = Span(begin, begin + timedelta(hours=lasts_h))
    moments = [hold.begins_at + timedelta(minutes=each) for each in range(60 * lasts_h)]
    covered = any(day(number).begins_at <= moment < day(number).ends_at for moment in moments)
    assert are_held(day(number), [hold]) == covered
    assert not are_held(day(number), [])


def test_less_than_the_law_asks_is_refused_with_the_law() -> None:
    with pytest.raises(BelowLegalFloor, match=r"184 days.*道路运输车辆动态监督管理办法.*6个月"):
        Retention(tracks=TRACKS_FLOOR - timedelta(days=1))
    with pytest.raises(BelowLegalFloor, match=r"1096 days.*3年"):
        Retention(handling=HANDLING_FLOOR - timedelta(days=1))
    Retention(TRACKS_FLOOR, HANDLING_FLOOR)
