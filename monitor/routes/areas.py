"""Who is, or was, in a piece of the map 区域查车."""

import math
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query

from monitor.models import Items, Visit
from monitor.problems import Problem
from monitor.routes import From, To, problems
from monitor.signing import At, By
from store import tracks
from store.tracks import Area

router = APIRouter(prefix="/areas", tags=["areas"])

MAX_PERIOD: Final = timedelta(days=7)
"""Every report of the period may have to be looked at."""
MAX_CORNERS: Final = 500
CIRCLE_CORNERS: Final = 72
MAX_RADIUS_M: Final = 200_000.0
_METRES_A_DEGREE: Final = 111_320.0

_NUMBERS: Final = r"^[-+0-9.,;eE ]*$"
Box = Annotated[
    str | None, Query(max_length=200, pattern=_NUMBERS, description="south,west,north,east in degrees")
]
Polygon = Annotated[
    str | None, Query(max_length=20_000, pattern=_NUMBERS, description="lat,lon;lat,lon;lat,lon…")
]
Circle = Annotated[
    str | None, Query(max_length=100, pattern=_NUMBERS, description="lat,lon,radius in metres")
]


@router.get("/visits", response_model=Items[Visit], responses=problems(400))
async def visits(
    center: At,
    by: By,
    box: Box = None,
    polygon: Polygon = None,
    circle: Circle = None,
    since: From = None,
    until: To = None,
) -> Any:
    """Who is in the area now, by the newest fix; with `from` and `to`, who was there between them."""
    area = area_of(box, polygon, circle)
    if since is None and until is None:
        async with center.database() as connection:
            return {"items": await tracks.inside_now(connection, area)}
    since, until = _period(since, until)
    async with center.database() as connection:
        return {"items": await tracks.inside_during(connection, area, since, until)}


def area_of(box: str | None, polygon: str | None, circle: str | None) -> Area:
    """Read the one of the three that is given.

    Raises:
        Problem: 400, none or several are given, or it is no area; it says what would be one.
    """
    corners: tuple[tuple[float, float], ...]
    match (box, polygon, circle):
        case (str(text), None, None):
            (south, west, north, east), *_ = _numbers(text, 4)
            corners = ((south, west), (north, west), (north, east), (south, east))
            if south >= north or west >= east:
                raise _no_area("A box needs its south below its north and its west before its east.")
        case (None, str(text), None):
            corners = tuple((lat, lon) for lat, lon in _numbers(text, 2))
            if not 3 <= len(corners) <= MAX_CORNERS:
                raise _no_area(f"A polygon has 3 to {MAX_CORNERS} corners, not {len(corners)}.")
        case (None, None, str(text)):
            (lat, lon, radius_m), *_ = _numbers(text, 3)
            if not 0 < radius_m <= MAX_RADIUS_M:
                raise _no_area(f"A circle's radius lies above 0 and up to {MAX_RADIUS_M:.0f} metres.")
            corners = _circle(lat, lon, radius_m)
        case _:
            raise _no_area("Give exactly one of box, polygon and circle.")
    if not all(-90 <= lat <= 90 and -180 <= lon <= 180 for lat, lon in corners):
        raise _no_area("Latitudes lie between -90 and 90 degrees, longitudes between -180 and 180.")
    return Area(corners)


def _numbers(text: str, size: int) -> list[list[float]]:
    """Read groups of `size` numbers; there is at least one group."""
    try:
        groups = [[float(number) for number in group.split(",")] for group in text.split(";")]
    except ValueError:
        groups = []
    if not groups or any(len(group) != size or not all(map(math.isfinite, group)) for group in groups):
        raise _no_area(f"Write {size} numbers with commas between them, not {text[:80]!r}.")
    return groups


def _circle(lat: float, lon: float, radius_m: float) -> tuple[tuple[float, float], ...]:
    """Draw the circle as a polygon; near a pole there is none that a map could show."""
    if abs(lat) > 85:
        raise _no_area("A circle's middle lies between the latitudes -85 and 85.")
    high = radius_m / _METRES_A_DEGREE
    wide = high / math.cos(math.radians(lat))
    turns = (2 * math.pi * corner / CIRCLE_CORNERS for corner in range(CIRCLE_CORNERS))
    return tuple((lat + high * math.sin(turn), lon + wide * math.cos(turn)) for turn in turns)


def _period(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    if since is None or until is None:
        raise Problem(400, "bad_period", "A past period needs both `from` and `to`.")
    if not timedelta(0) < until - since <= MAX_PERIOD:
        raise Problem(
            400, "bad_period", f"The period must end after its begin and have {MAX_PERIOD.days} days at most."
        )
    return since, until


def _no_area(detail: str) -> Problem:
    return Problem(400, "bad_area", detail)
