"""Quality bits and placement times, rule by rule."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.binary import NO_TIME
from store.placement import FUTURE, PAST
from store.quality import AHEAD_US, FUTURE_US, Quality, Verdict, judge

NOW_US = 1_780_000_000_000_000
PAST_US, PLACEABLE_US = (round(each.total_seconds() * 1e6) for each in (PAST, FUTURE))


def judged(reported_us: int = NOW_US, **values: Any) -> Verdict:
    given = {
        "lat": 41.8,
        "lon": 123.4,
        "has_fix": True,
        "speed_kmh": 60.0,
        "heading_deg": 90,
        "altitude_m": 50,
        "items_ok": True,
    }
    columns = {name: np.array([value]) for name, value in (given | values).items()}
    return judge(np.array([reported_us], np.int64), np.array([NOW_US], np.int64), **columns)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, 0),
        ({"has_fix": False, "lat": 0.0, "lon": 0.0}, Quality.NO_FIX),
        ({"lat": 53.6}, Quality.OUT_OF_RANGE),
        ({"lon": 73.5}, Quality.OUT_OF_RANGE),
        ({"speed_kmh": 160.1}, Quality.OUT_OF_RANGE),
        ({"altitude_m": 6501}, Quality.OUT_OF_RANGE),
        ({"items_ok": False}, Quality.ITEMS_MALFORMED),
        ({"reported_us": NO_TIME}, Quality.UNPARSABLE_TIME),
        ({"heading_deg": 359}, 0),
        ({"heading_deg": 360}, Quality.OUT_OF_RANGE),
        ({"reported_us": NOW_US + FUTURE_US}, 0),
        ({"reported_us": NOW_US + FUTURE_US + 1}, Quality.FROM_THE_FUTURE),
        ({"reported_us": NOW_US + AHEAD_US}, Quality.FROM_THE_FUTURE),
        ({"reported_us": NOW_US + AHEAD_US + 1}, Quality.CLOCK_IMPLAUSIBLE),
        ({"reported_us": NOW_US - PAST_US}, 0),
        ({"reported_us": NOW_US - PAST_US - 1}, Quality.CLOCK_IMPLAUSIBLE),
    ],
)
def test_each_doubt_has_its_bit(values: dict[str, Any], expected: int) -> None:
    assert judged(**values).quality[0] == expected


@given(st.one_of(st.just(NO_TIME), st.integers(NOW_US - 2 * PAST_US, NOW_US + 2 * PLACEABLE_US)))
def test_a_report_is_placed_where_a_day_can_be(reported_us: int) -> None:
    verdict = judged(reported_us)
    placed_us = int(verdict.placed_us[0])
    assert NOW_US - PAST_US <= placed_us <= NOW_US + PLACEABLE_US
    assert placed_us == reported_us or verdict.quality[0]
    if verdict.moves_forward[0]:
        assert placed_us == reported_us <= NOW_US + AHEAD_US
