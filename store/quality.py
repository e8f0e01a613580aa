"""What is doubtful about a location report: named bits, judged at ingest, for reading and never for dropping.

`docs/quality.md` explains every bit to people. `judge` looks at a report alone; what only shows beside the
reports before it (drift, a stuck receiver) is judged in
`worker.fixes`, and whether its alarms were followed in `alerts.bits`.

Also decides the *placement time*: when we believe that the report was made. A terminal's clock is believed
between `PAST` before and `FUTURE` after receipt; a report whose clock is not believed is placed by its
receipt.

The ranges are those of the authority's qualification rules for 数据合格率 (vehicles in China): a report
outside them is kept, drawn and counted as unqualified.
"""

from dataclasses import dataclass
from enum import IntFlag
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from store.binary import NO_TIME
from store.placement import FUTURE, PAST

AHEAD_US = 5 * 60 * 1_000_000
"""A clock further ahead of ours than this moves nothing forward: one such report would make all honest ones
late."""

FUTURE_US = 60 * 1_000_000
"""时间不得晚于当前时间: a report further ahead than this comes from the future. Clocks of servers, and whole
seconds in the report, make up less than a minute."""

LON_DEG = (73 + 33 / 60, 135 + 5 / 60)
LAT_DEG = (3 + 51 / 60, 53 + 33 / 60)
SPEED_KMH = (0.0, 160.0)
ALTITUDE_M = (-200, 6500)
HEADING_DEG = (0, 359)

_PAST_US = round(PAST.total_seconds() * 1e6)
_PLACEABLE_US = round(FUTURE.total_seconds() * 1e6)

Times: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.floating]
Flags: TypeAlias = npt.NDArray[np.bool_]


class Quality(IntFlag):
    """The bits of `positions.quality`; 0 is a report without reproach."""

    NO_FIX = 1
    """Status bit 1 is off: the coordinates are kept as sent, but they are old or invented, so nothing uses
    them."""
    CLOCK_IMPLAUSIBLE = 2
    """The terminal's clock is more than five minutes ahead of ours, or further back than any stored
    report."""
    OUT_OF_RANGE = 4
    """Latitude, longitude, speed, heading or altitude is outside the ranges of the qualification rules."""
    UNPARSABLE_TIME = 8
    """The six bytes of the clock are no date and time."""
    ITEMS_MALFORMED = 16
    """The chain of additional items breaks off; the items before the break were used."""
    FROM_THE_FUTURE = 32
    """The terminal's clock is more than a minute ahead of ours, and not more than five."""
    DRIFT = 64
    """No vehicle drives so fast as it would have had to since the fix before."""
    STUCK = 128
    """The coordinates have not changed for minutes although the vehicle is said to move."""
    ALARMS_UNREAD = 256
    """The alarm word was not followed: the terminal changes its alarms too often (`alerts.bits`)."""


UNQUALIFIED = (
    Quality.CLOCK_IMPLAUSIBLE | Quality.OUT_OF_RANGE | Quality.UNPARSABLE_TIME | Quality.FROM_THE_FUTURE
)
"""A report with one of these is no qualified record (数据合格率). One that says itself that it has no fix
is an honest one, and drifting vehicles have an indicator of their own (卫星定位漂移车辆率)."""


MEANINGS: dict[Quality, tuple[str, str]] = {
    Quality.NO_FIX: ("未定位", "No fix: the coordinates are old or invented."),
    Quality.CLOCK_IMPLAUSIBLE: ("终端时钟错误", "The terminal's clock cannot be right."),
    Quality.OUT_OF_RANGE: ("数据超出合理范围", "A value is outside the authority's ranges."),
    Quality.UNPARSABLE_TIME: ("时间无法识别", "The time is none."),
    Quality.ITEMS_MALFORMED: ("附加信息不完整", "The additional items break off."),
    Quality.FROM_THE_FUTURE: ("时间晚于当前时间", "The report comes from the future."),
    Quality.DRIFT: ("定位漂移", "The position jumps faster than any vehicle drives."),
    Quality.STUCK: ("定位卡死", "The position stands still while the vehicle is said to move."),
    Quality.ALARMS_UNREAD: ("报警变化过频", "The alarms change too often, so these were not followed."),
}
"""Every bit in a few words, Chinese and English."""


def names_of(quality: int) -> list[str]:
    """Give the names of the bits, as the API says them; bits of a newer version are left out."""
    return [str(each.name).lower() for each in Quality if quality & each]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `judge` says about each report of a batch."""

    placed_us: Times
    quality: npt.NDArray[np.int32]
    moves_forward: Flags
    """The clock is good enough for this report to be the terminal's newest."""


def judge(
    reported_us: Times,
    received_us: Times,
    *,
    lat: Floats,
    lon: Floats,
    has_fix: Flags,
    speed_kmh: Floats,
    heading_deg: npt.NDArray[np.int32],
    altitude_m: npt.NDArray[np.int32],
    items_ok: Flags,
) -> Verdict:
    """Judge reports column by column; a missing time is `NO_TIME`."""
    has_time = reported_us != NO_TIME
    # Compared without subtracting: NO_TIME minus anything would overflow.
    too_old = reported_us < received_us - _PAST_US
    ahead = reported_us > received_us + AHEAD_US
    believed = has_time & ~too_old & (reported_us <= received_us + _PLACEABLE_US)
    quality = np.where(has_fix, 0, int(Quality.NO_FIX)).astype(np.int32)
    quality[has_time & (too_old | ahead)] |= int(Quality.CLOCK_IMPLAUSIBLE)
    quality[~has_time] |= int(Quality.UNPARSABLE_TIME)
    quality[has_time & (reported_us > received_us + FUTURE_US) & ~ahead] |= int(Quality.FROM_THE_FUTURE)
    quality[~items_ok] |= int(Quality.ITEMS_MALFORMED)
    strange = has_fix & (_outside(lat, LAT_DEG) | _outside(lon, LON_DEG))
    strange |= _outside(speed_kmh, SPEED_KMH) | _outside(altitude_m, ALTITUDE_M)
    strange |= _outside(heading_deg, HEADING_DEG)
    quality[strange] |= int(Quality.OUT_OF_RANGE)
    return Verdict(np.where(believed, reported_us, received_us), quality, believed & ~ahead)


def _outside(values: npt.NDArray[np.number], limits: tuple[float, float]) -> Flags:
    low, high = limits
    return (values < low) | (values > high)
