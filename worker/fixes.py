"""Fixes that cannot be true beside the ones before them: drift (漂移) and a stuck receiver (定位卡死).

A report alone is judged in `store.quality`; here it is judged by what the same terminal said before, in order
of arrival. Live and late reports are two *lanes* of a terminal, so that an old track that is filled in does
not look like a vehicle that jumps to and fro.

Drift: the vehicle would have had to move faster than any vehicle can. The fix is compared with the newest one
that was believed, because after a single wild fix the next good one should not look wild as well; a second
fix at the new place is believed.

Stuck: the receiver says that the vehicle moves, and its coordinates have not changed by a digit for minutes.
"""

import math
from dataclasses import dataclass, fields
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from store.binary import stable_order
from store.quality import Quality
from tickets.silence import NEVER
from worker.runs import Runs

I64: TypeAlias = npt.NDArray[np.int64]
I32: TypeAlias = npt.NDArray[np.int32]
F64: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]

DRIFT_KMH: Final = 200.0
"""No vehicle that is supervised drives so fast: the authority's own range ends at 160 km/h, and a fifth is
left to clocks and receivers."""
DRIFT_M: Final = 500.0
"""A shorter jump is the spread of a receiver between tall buildings, not drift."""
STUCK_KMH: Final = 10.0
"""A slower speed may be the noise of a receiver that stands still."""
STUCK_S: Final = 120.0
"""In so long a vehicle of `STUCK_KMH` moves 300 m."""

_STUCK_US = round(STUCK_S * 1e6)
_METRES_PER_DEGREE = 111_195.0
"""Of latitude, on a sphere of 6,371 km."""

_NEAR_DEG = DRIFT_M / 2 / _METRES_PER_DEGREE
"""Who has moved less in both directions has not jumped, wherever on earth; that is almost everybody."""

LANES: Final = 2
LANE: Final = np.dtype(
    [
        ("at_us", "<i8"),  # the newest fix that was believed
        ("lat", "<f8"),
        ("lon", "<f8"),
        ("wild_us", "<i8"),  # the newest fix, where it was not believed
        ("wild_lat", "<f8"),
        ("wild_lon", "<f8"),
        ("still_us", "<i8"),  # since when it claims to move and does not; NEVER while it does not claim to
        ("still_lat", "<f8"),
        ("still_lon", "<f8"),
    ]
)


def no_lanes(terminals: int) -> npt.NDArray[np.void]:
    """Give the state of terminals of which nothing is known; shape (terminals, lanes)."""
    lanes = np.zeros((terminals, LANES), LANE)
    for name in ("at_us", "wild_us", "still_us"):
        lanes[name] = NEVER
    return lanes


class Fix(NamedTuple):
    """One fix, or none where `at_us` is NEVER."""

    at_us: int
    lat: float
    lon: float


NO_FIX: Final = Fix(NEVER, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Fixes:
    """One element per report, those of a terminal in order of arrival. By terminal is the cheapest."""

    terminal: I64
    is_late: Flags
    is_usable: Flags
    """It has a fix on earth and a believable time; others are neither judged nor compared with."""
    at_us: I64
    lat: F64
    lon: F64
    speed_kmh: npt.NDArray[np.float32]

    def take(self, rows: I64) -> "Fixes":
        """Give some of the reports."""
        return Fixes(*(getattr(self, each.name)[rows] for each in fields(self)))


def are_on_earth(lat: F64, lon: F64) -> Flags:
    """Say which coordinates can be a place; 0, 0 is what terminals send that have none."""
    on_earth: Flags = (np.abs(lat) <= 90) & (np.abs(lon) <= 180) & ((lat != 0) | (lon != 0))
    return on_earth


def judge(lanes: npt.NDArray[np.void], fixes: Fixes) -> I32:
    """Give the quality bits that follow from the fixes before, and remember these.

    `lanes` has the shape (terminals, 2), by terminal and lateness, and is changed in place.
    """
    doubts = np.zeros(len(fixes.terminal), np.int32)
    rows = fixes.is_usable.nonzero()[0]
    if not len(rows):
        return doubts
    lane = fixes.terminal[rows] * LANES + fixes.is_late[rows]
    if (lane[1:] < lane[:-1]).any():
        order = stable_order(lane)
        rows, lane = rows[order], lane[order]
    known, runs = lanes.reshape(-1), Runs.of(lane)
    if len(rows) < len(doubts) or (rows[1:] < rows[:-1]).any():
        fixes = fixes.take(rows)
    doubts[rows[_drifting(known, runs, fixes)]] |= int(Quality.DRIFT)
    doubts[rows[_stuck(known, runs, fixes)]] |= int(Quality.STUCK)
    return doubts


def _drifting(lanes: npt.NDArray[np.void], runs: Runs, fixes: Fixes) -> I64:
    """Tell which fixes, ordered by lane, are wild. A lane without a jump is decided as columns."""
    lane, lat, lon = runs.keys, fixes.lat, fixes.lon
    before_us = runs.before(fixes.at_us, lanes["at_us"][lane])
    before = runs.before(lat, lanes["lat"][lane]), runs.before(lon, lanes["lon"][lane])
    far = ((np.abs(lat - before[0]) > _NEAR_DEG) | (np.abs(lon - before[1]) > _NEAR_DEG)).nonzero()[0]
    far = far[before_us[far] != NEVER]
    elapsed_us = fixes.at_us[far] - before_us[far]
    jumps = far[is_jump(before[0][far], before[1][far], lat[far], lon[far], elapsed_us)]
    is_troubled = lanes["wild_us"][lane] != NEVER
    is_troubled[runs.of_rows(jumps)] = True
    calm = (~is_troubled).nonzero()[0]
    for name in ("at_us", "lat", "lon"):
        lanes[name][lane[calm]] = getattr(fixes, name)[runs.last[calm]]
    wild: list[int] = []
    for run in is_troubled.nonzero()[0].tolist():
        first, end = int(runs.first[run]), int(runs.last[run]) + 1
        verdicts = _follow(lanes, int(lane[run]), fixes, slice(first, end))
        wild += [first + step for step, is_wild in enumerate(verdicts) if is_wild]
    return np.array(wild, np.int64)


def is_jump(lat: F64, lon: F64, to_lat: F64, to_lon: F64, elapsed_us: I64) -> Flags:
    """Say whether nobody can have driven this way in this time, in whichever direction of time."""
    north_m = (to_lat - lat) * _METRES_PER_DEGREE
    # Over the date line the shorter way counts.
    east_deg = np.mod(to_lon - lon + 180.0, 360.0) - 180.0
    east_m = east_deg * _METRES_PER_DEGREE * np.cos(np.radians((lat + to_lat) / 2))
    distance_m = np.hypot(north_m, east_m)
    elapsed_s = np.maximum(np.abs(elapsed_us) / 1e6, 1.0)
    far: Flags = (distance_m > DRIFT_M) & (distance_m / elapsed_s * 3.6 > DRIFT_KMH)
    return far


def _follow(lanes: npt.NDArray[np.void], lane: int, fixes: Fixes, rows: slice) -> list[bool]:
    """Judge the fixes of one lane one by one."""
    known = lanes[lane]
    believed = Fix(int(known["at_us"]), float(known["lat"]), float(known["lon"]))
    other = Fix(int(known["wild_us"]), float(known["wild_lat"]), float(known["wild_lon"]))
    verdicts = []
    columns = (fixes.at_us[rows].tolist(), fixes.lat[rows].tolist(), fixes.lon[rows].tolist())
    for fix in map(Fix, *columns):
        is_wild, believed, other = follow(believed, other, fix)
        verdicts.append(is_wild)
    for names, fix in ((("at_us", "lat", "lon"), believed), (("wild_us", "wild_lat", "wild_lon"), other)):
        for name, value in zip(names, fix, strict=True):
            lanes[name][lane] = value
    return verdicts


def follow(believed: Fix, other: Fix, fix: Fix) -> tuple[bool, Fix, Fix]:
    """Say whether a fix is wild, and which ones are the believed and the wild one from now on."""
    if not _cannot_follow(believed, fix) or (other.at_us != NEVER and not _cannot_follow(other, fix)):
        return False, fix, NO_FIX
    return True, believed, fix


def _cannot_follow(before: Fix, fix: Fix) -> bool:
    """`is_jump` of one pair: twenty times as fast as columns of one element."""
    if before.at_us == NEVER:
        return False
    east_deg = (fix.lon - before.lon + 180.0) % 360.0 - 180.0
    east_m = east_deg * _METRES_PER_DEGREE * math.cos(math.radians((before.lat + fix.lat) / 2))
    distance_m = math.hypot((fix.lat - before.lat) * _METRES_PER_DEGREE, east_m)
    elapsed_s = max(abs(fix.at_us - before.at_us) / 1e6, 1.0)
    return distance_m > DRIFT_M and distance_m / elapsed_s * 3.6 > DRIFT_KMH


def _stuck(lanes: npt.NDArray[np.void], runs: Runs, fixes: Fixes) -> I64:
    """Tell which fixes, ordered by lane, end a time of moving without moving."""
    lane, first, last = runs.keys, runs.first, runs.last
    at_us, lat, lon = fixes.at_us, fixes.lat, fixes.lon
    claims = fixes.speed_kmh >= STUCK_KMH
    still_us = lanes["still_us"][lane]
    goes_on = np.empty(len(claims), np.bool_)
    goes_on[1:] = claims[1:] & claims[:-1] & (lat[1:] == lat[:-1]) & (lon[1:] == lon[:-1])
    goes_on[first] = claims[first] & (still_us != NEVER)
    goes_on[first] &= (lanes["still_lat"][lane] == lat[first]) & (lanes["still_lon"][lane] == lon[first])
    since_us = at_us
    if goes_on.any():
        since_us = at_us.copy()
        since_us[first] = np.where(goes_on[first], still_us, at_us[first])
        goes_on[first] = False
        since_us = since_us[np.maximum.accumulate(np.where(goes_on, 0, np.arange(len(claims))))]
    lanes["still_us"][lane] = np.where(claims[last], since_us[last], NEVER)
    lanes["still_lat"][lane] = lat[last]
    lanes["still_lon"][lane] = lon[last]
    return (at_us - since_us >= _STUCK_US).nonzero()[0]
