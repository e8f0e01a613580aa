"""From fixes to legs: when a vehicle drove and when it stood, how far, how long, how much of it at night.

A pure function over columns. Fixes come in order of terminal and time; legs come out in the same order. What
a leg says depends on the fixes of its own day and on the first one after it, on nothing else:

    fixes ──speed──► moving or standing ──short ones join their neighbours──► legs ──sums──► figures

* Fixes further apart than a **gap** end a leg, because nobody knows what happened between them.
* Standing for less than `MIN_STOP_S` between two moves is traffic, not a stop.
* Moving for less than `MIN_TRIP_S` is a receiver's play, not a trip.
* The time from a fix to the next one, and the way, belong to the leg and the day of the first of the two.
"""

from dataclasses import dataclass, fields
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

I64: TypeAlias = npt.NDArray[np.int64]
I32: TypeAlias = npt.NDArray[np.int32]
F64: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]

MOVING_KMH: Final = 5.0
"""Slower than this a receiver reports from a parked vehicle."""
GAP_S: Final = 600
"""Twice the five minutes in which a parked terminal usually reports."""
MIN_STOP_S: Final = 300
MIN_TRIP_S: Final = 60

FASTEST_KMH: Final = 200.0
"""An odometer that goes faster was reset, or belongs to another terminal."""
ODOMETER_PLAY_KM: Final = 1.0

SECOND_US: Final = 1_000_000
DAY_US: Final = 86_400 * SECOND_US
BEIJING_US: Final = 8 * 3600 * SECOND_US
NIGHT: Final = (22 * 3600, 6 * 3600)
"""Begin and end of the night 夜间 in seconds of Beijing's day (交通运输部: 22 时至次日 6 时)."""
_EARTH_KM: Final = 6371.0088


@dataclass(frozen=True, slots=True, eq=False)
class Fixes:
    """Believable fixes, one element each, in order of series and time."""

    series: I64
    """Fixes of one number follow each other: a terminal, or a part of its time."""
    at_us: I64
    lat: F64
    lon: F64
    speed_kmh: F64
    mileage_km: F64
    """NaN where the report has none."""

    def __len__(self) -> int:
        return len(self.series)

    def take(self, chosen: npt.NDArray[Any]) -> "Fixes":
        """Give some of the fixes."""
        return Fixes(*(getattr(self, each.name)[chosen] for each in fields(self)))


@dataclass(frozen=True, slots=True, eq=False)
class Legs:
    """Legs, one element each, in order of series and time."""

    series: I64
    began_us: I64
    last_fix_us: I64
    ended_us: I64
    """When the next fix came, or, where a gap follows, its own last one."""
    day: I64
    """Days since 1970-01-01, in Beijing."""
    is_trip: Flags
    fixes: I64
    began_lat: F64
    began_lon: F64
    ended_lat: F64
    ended_lon: F64
    driving_s: F64
    driving_night_s: F64
    track_km: F64
    gap_km: F64
    odometer_km: F64
    max_speed_kmh: F64

    def __len__(self) -> int:
        return len(self.series)

    def take(self, chosen: npt.NDArray[Any]) -> "Legs":
        """Give some of the legs."""
        return Legs(*(getattr(self, each.name)[chosen] for each in fields(self)))


def day_of(at_us: I64) -> I64:
    """Give the day in Beijing, counted from 1970-01-01."""
    return (at_us + BEIJING_US) // DAY_US


def legs_of(fixes: Fixes) -> Legs:
    """Divide the fixes, one or more, into legs."""
    has_next = np.append(fixes.series[1:] == fixes.series[:-1], False)
    lasts_s = np.where(has_next, np.diff(fixes.at_us, append=0) / SECOND_US, 0.0)
    is_gap = lasts_s > GAP_S
    day = day_of(fixes.at_us)
    run_ends = ~has_next | is_gap | (np.diff(day, append=-1) != 0)
    run = np.cumsum(np.append(0, run_ends[:-1]))
    observed_s = np.where(is_gap, 0.0, lasts_s)
    moving = _without_short(fixes.speed_kmh >= MOVING_KMH, run, observed_s)

    first = _begins(moving, run)
    last = np.append(first[1:], len(fixes)) - 1
    driving_s = np.where(fixes.speed_kmh >= MOVING_KMH, observed_s, 0.0)
    way_km = np.where(has_next, _way_km(fixes), 0.0)

    def summed(values: F64) -> F64:
        return np.add.reduceat(values, first)

    ended = np.where(has_next[last] & ~is_gap[last], np.minimum(last + 1, len(fixes) - 1), last)
    return Legs(
        series=fixes.series[first],
        began_us=fixes.at_us[first],
        last_fix_us=fixes.at_us[last],
        ended_us=fixes.at_us[ended],
        day=day[first],
        is_trip=moving[first],
        fixes=last - first + 1,
        began_lat=fixes.lat[first],
        began_lon=fixes.lon[first],
        ended_lat=fixes.lat[ended],
        ended_lon=fixes.lon[ended],
        driving_s=summed(driving_s),
        driving_night_s=summed(np.where(driving_s > 0, _night_s(fixes.at_us, lasts_s), 0.0)),
        track_km=summed(np.where(is_gap, 0.0, way_km)),
        gap_km=summed(np.where(is_gap, way_km, 0.0)),
        odometer_km=summed(np.where(has_next, _odometer_km(fixes, lasts_s), 0.0)),
        max_speed_kmh=np.maximum.reduceat(fixes.speed_kmh, first),
    )


def _begins(moving: Flags, run: I64) -> I64:
    """Give the indices at which a stretch of equal fixes begins."""
    changed = (moving[1:] != moving[:-1]) | (run[1:] != run[:-1])
    return np.flatnonzero(np.append(True, changed))


def _without_short(moving: Flags, run: I64, observed_s: F64) -> Flags:
    """Let short standing between two moves count as moving, then short moving as standing."""
    for is_moving, least_s in ((False, MIN_STOP_S), (True, MIN_TRIP_S)):
        first = _begins(moving, run)
        joins = (moving[first] == is_moving) & (np.add.reduceat(observed_s, first) < least_s)
        if not is_moving:
            of = run[first]
            joins &= np.append(False, of[1:] == of[:-1]) & np.append(of[1:] == of[:-1], False)
        moving = moving ^ np.repeat(joins, np.diff(first, append=len(moving)))
    return moving


def _way_km(fixes: Fixes) -> F64:
    """Give the way over ground from each fix to the next one in the columns."""
    lat, lon = np.radians(fixes.lat), np.radians(fixes.lon)
    half_lat, half_lon = np.diff(lat, append=lat[-1:]) / 2, np.diff(lon, append=lon[-1:]) / 2
    there = np.cos(lat) * np.cos(np.append(lat[1:], lat[-1]))
    chord = np.sin(half_lat) ** 2 + there * np.sin(half_lon) ** 2
    way_km: F64 = 2 * _EARTH_KM * np.arcsin(np.sqrt(np.minimum(chord, 1.0)))
    return way_km


def _odometer_km(fixes: Fixes, lasts_s: F64) -> F64:
    """Give what the odometer counted from each fix to the next one; nothing where it jumped."""
    counted = np.diff(fixes.mileage_km, append=np.nan)
    fits = (counted >= 0) & (counted <= lasts_s / 3600 * FASTEST_KMH + ODOMETER_PLAY_KM)
    return np.where(fits, counted, 0.0)


def _night_s(at_us: I64, lasts_s: F64) -> F64:
    """Give how much of the time after each fix is night."""
    begin_s = (at_us + BEIJING_US) / SECOND_US
    return _nights_until(begin_s + lasts_s) - _nights_until(begin_s)


def _nights_until(at_s: F64) -> F64:
    """Give all seconds of night since the beginning of 1970."""
    begin, end = NIGHT
    day, second = np.divmod(at_s, 86_400)
    seconds: F64 = day * (end + 86_400 - begin) + np.minimum(second, end) + np.maximum(second - begin, 0)
    return seconds
