"""Corridors of Liaoning, coarse enough to write down and fine enough to look like driving on a map.

The points are towns and bends along expressways, in WGS-84 degrees. Corners are rounded off, so that a
vehicle turns its heading over kilometres and not at a point.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

KM_PER_DEGREE = 111.195
"""Length of one degree of latitude on a sphere of 6,371 km."""
ROUNDINGS = 3

Point = tuple[float, float]


@dataclass(frozen=True)
class Place:
    """Where something on a road is."""

    lat: float
    lon: float
    heading_deg: int
    """Clockwise from north, 0 to 359."""


@dataclass(frozen=True)
class Road:
    """A line that one can drive along in both directions."""

    name: str
    limit_kmh: int
    towns: tuple[Point, ...]

    @cached_property
    def _line(self) -> tuple[Point, ...]:
        line = self.towns
        for _ in range(ROUNDINGS):
            line = _rounded(line)
        return line

    @cached_property
    def _marks_km(self) -> tuple[float, ...]:
        """Kilometres from the start to each point of the line."""
        marks = [0.0]
        for here, there in pairwise(self._line):
            marks.append(marks[-1] + distance_km(here, there))
        return tuple(marks)

    @property
    def length_km(self) -> float:
        return self._marks_km[-1]

    def place(self, km: float, direction: int = 1) -> Place:
        """Where one is after `km` kilometres, facing the end (`direction` 1) or the start (-1)."""
        km = min(max(km, 0.0), self.length_km)
        leg = min(bisect_right(self._marks_km, km), len(self._line) - 1)
        here, there = self._line[leg - 1], self._line[leg]
        begin, end = self._marks_km[leg - 1], self._marks_km[leg]
        share = (km - begin) / (end - begin)
        heading = bearing_deg(here, there) + (0 if direction > 0 else 180)
        return Place(
            lat=here[0] + share * (there[0] - here[0]),
            lon=here[1] + share * (there[1] - here[1]),
            heading_deg=round(heading) % 360,
        )


def distance_km(here: Point, there: Point) -> float:
    """Distance of two near points."""
    north = there[0] - here[0]
    east = (there[1] - here[1]) * math.cos(math.radians((here[0] + there[0]) / 2))
    return KM_PER_DEGREE * math.hypot(north, east)


def bearing_deg(here: Point, there: Point) -> float:
    north = there[0] - here[0]
    east = (there[1] - here[1]) * math.cos(math.radians((here[0] + there[0]) / 2))
    return math.degrees(math.atan2(east, north)) % 360


def _rounded(line: tuple[Point, ...]) -> tuple[Point, ...]:
    """Cut every corner at a quarter and three quarters of its legs (Chaikin); the ends stay."""
    points = [line[0]]
    for a, b in pairwise(line):
        points.append((0.75 * a[0] + 0.25 * b[0], 0.75 * a[1] + 0.25 * b[1]))
        points.append((0.25 * a[0] + 0.75 * b[0], 0.25 * a[1] + 0.75 * b[1]))
    points.append(line[-1])
    return tuple(points)


ROADS = (
    Road(
        "G15 沈阳—鞍山—营口—大连",
        100,
        (
            (41.727, 123.352),
            (41.652, 123.331),
            (41.520, 123.290),
            (41.272, 123.135),
            (41.110, 122.935),
            (40.885, 122.715),
            (40.640, 122.545),
            (40.405, 122.395),
            (40.190, 122.190),
            (39.930, 122.060),
            (39.640, 121.990),
            (39.400, 121.960),
            (39.150, 121.770),
            (39.040, 121.640),
            (38.950, 121.590),
        ),
    ),
    Road(
        "G1 沈阳—盘锦—锦州",
        100,
        (
            (41.760, 123.260),
            (41.620, 122.960),
            (41.480, 122.700),
            (41.380, 122.430),
            (41.270, 122.060),
            (41.230, 121.720),
            (41.180, 121.380),
            (41.130, 121.140),
        ),
    ),
    Road(
        "G1 锦州—葫芦岛—绥中",
        100,
        (
            (41.130, 121.140),
            (41.000, 121.060),
            (40.880, 120.960),
            (40.770, 120.850),
            (40.640, 120.690),
            (40.480, 120.520),
            (40.350, 120.310),
            (40.180, 120.040),
        ),
    ),
    Road(
        "沈抚 沈阳—抚顺",
        80,
        (
            (41.795, 123.470),
            (41.790, 123.560),
            (41.812, 123.680),
            (41.838, 123.800),
            (41.865, 123.905),
            (41.878, 123.970),
            (41.885, 124.080),
        ),
    ),
    Road(
        "G1 沈阳—铁岭—开原",
        100,
        (
            (41.840, 123.480),
            (41.930, 123.520),
            (42.050, 123.560),
            (42.170, 123.680),
            (42.270, 123.800),
            (42.410, 123.930),
            (42.540, 124.020),
            (42.770, 124.070),
        ),
    ),
    Road(
        "G1113 沈阳—本溪—丹东",
        100,
        (
            (41.720, 123.460),
            (41.620, 123.530),
            (41.480, 123.640),
            (41.320, 123.740),
            (41.180, 123.760),
            (40.980, 123.830),
            (40.790, 123.930),
            (40.620, 124.020),
            (40.460, 124.050),
            (40.280, 124.210),
            (40.150, 124.350),
        ),
    ),
    Road(
        "G11 大连—庄河—丹东",
        100,
        (
            (39.080, 121.780),
            (39.190, 122.020),
            (39.380, 122.300),
            (39.560, 122.560),
            (39.690, 122.930),
            (39.800, 123.250),
            (39.900, 123.570),
            (39.930, 123.880),
            (39.930, 124.120),
            (40.080, 124.310),
        ),
    ),
    Road(
        "G2511 沈阳—新民—彰武",
        100,
        (
            (41.850, 123.300),
            (41.900, 123.080),
            (41.990, 122.850),
            (42.110, 122.740),
            (42.250, 122.640),
            (42.380, 122.560),
        ),
    ),
    Road(
        "G25 阜新—朝阳—建平",
        80,
        (
            (42.020, 121.660),
            (41.900, 121.350),
            (41.810, 121.030),
            (41.720, 120.700),
            (41.580, 120.480),
            (41.480, 120.120),
            (41.400, 119.680),
        ),
    ),
    Road(
        "沈阳三环",
        80,
        (
            (41.895, 123.430),
            (41.880, 123.530),
            (41.820, 123.570),
            (41.750, 123.545),
            (41.700, 123.460),
            (41.705, 123.350),
            (41.760, 123.290),
            (41.840, 123.305),
            (41.885, 123.370),
            (41.895, 123.430),
        ),
    ),
)
