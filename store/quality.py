"""What is doubtful about a location report: named bits, judged at ingest, for reading and never for dropping.

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

LON_DEG = (73 + 33 / 60, 135 + 5 / 60)
LAT_DEG = (3 + 51 / 60, 53 + 33 / 60)
SPEED_KMH = (0.0, 160.0)
ALTITUDE_M = (-200, 6500)

_PAST_US = round(PAST.total_seconds() * 1e6)
_FUTURE_US = round(FUTURE.total_seconds() * 1e6)

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
    """Latitude, longitude, speed or altitude is outside the ranges of the qualification rules."""
    UNPARSABLE_TIME = 8
    """The six bytes of the clock are no date and time."""
    ITEMS_MALFORMED = 16
    """The chain of additional items breaks off; the items before the break were used."""


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
    altitude_m: npt.NDArray[np.int32],
    items_ok: Flags,
) -> Verdict:
    """Judge reports column by column; a missing time is `NO_TIME`."""
    has_time = reported_us != NO_TIME
    # Compared without subtracting: NO_TIME minus anything would overflow.
    too_old = reported_us < received_us - _PAST_US
    ahead = reported_us > received_us + AHEAD_US
    believed = has_time & ~too_old & (reported_us <= received_us + _FUTURE_US)
    quality = np.where(has_fix, 0, int(Quality.NO_FIX)).astype(np.int32)
    quality[has_time & (too_old | ahead)] |= int(Quality.CLOCK_IMPLAUSIBLE)
    quality[~has_time] |= int(Quality.UNPARSABLE_TIME)
    quality[~items_ok] |= int(Quality.ITEMS_MALFORMED)
    strange = has_fix & (_outside(lat, LAT_DEG) | _outside(lon, LON_DEG))
    strange |= _outside(speed_kmh, SPEED_KMH) | _outside(altitude_m, ALTITUDE_M)
    quality[strange] |= int(Quality.OUT_OF_RANGE)
    return Verdict(np.where(believed, reported_us, received_us), quality, believed & ~ahead)


def _outside(values: npt.NDArray[np.number], limits: tuple[float, float]) -> Flags:
    low, high = limits
    return (values < low) | (values > high)
