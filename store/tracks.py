"""Where something was: the positions of one terminal or one vehicle in order of time, and who was in an area.

Rows come as plain tuples, `POINT` says in which order: a month of a vehicle is tens of thousands of them, and
most are left out before anyone sees them.
"""

import asyncio
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, LiteralString, NamedTuple, TypeAlias, cast

from psycopg import AsyncCursor, DataError
from psycopg.rows import tuple_row

from store.desk import TERMINAL_REF, VEHICLE_REF
from store.fleet import is_on_earth
from store.journeys import STOP, TRIP
from store.quality import Quality, names_of
from store.refusals import BadCursor, NotFound
from store.select import Connection, Page, Row, decode_cursor, fetch_all, fetch_one, fetch_page, where

POINT = (
    *("at", "lat", "lon", "speed_kmh", "heading_deg", "altitude_m"),
    *("alarm_bits", "status_bits", "late", "quality"),
)
"""The columns of a point of a track."""

Point: TypeAlias = tuple[datetime, float, float, float, int, int, int, int, bool, int]


class Points(NamedTuple):
    """Of `total` points of a track those that were read; the others lie within `tolerance_m` of the line."""

    read: list[Point]
    total: int
    tolerance_m: float


MAX_READ = 60_000
"""Points of one track that are read: a report every 45 s for a month, and some 100 MB while it is drawn."""
STRETCHES = MAX_READ // 3
"""Into so many a longer track is cut, of which the database gives three points each at most."""
_AT_ONCE = 1_000
"""Rows that become tuples in one go; others have their turn in between."""

# Coordinates without a fix are old or invented.
CAN_BE_DRAWN: LiteralString = f"p.quality & {Quality.NO_FIX:d} = 0 AND {is_on_earth('p')}"

_POINTS: LiteralString = (
    "SELECT p.placed_at, p.lat, p.lon, p.speed_kmh, p.heading_deg, p.altitude_m, p.alarm_bits, p.status_bits,"
    " p.late, p.quality FROM positions p"
)
_DURING: LiteralString = (
    f"p.placed_at >= %(since)s AND p.placed_at < %(until)s AND {CAN_BE_DRAWN}"
    " ORDER BY p.placed_at, p.body_hash"
)
OF_TERMINAL: LiteralString = f"{_POINTS} WHERE p.terminal_id = %(id)s AND {_DURING}"
OF_VEHICLE: LiteralString = (
    f"{_POINTS} JOIN installations i ON i.terminal_id = p.terminal_id"
    " AND p.placed_at >= i.installed_at AND p.placed_at < coalesce(i.removed_at, 'infinity')"
    f" WHERE i.vehicle_id = %(id)s AND {_DURING}"
)


# Of each stretch of equally many points the first, the last, and the first where the alarm word changes. What
# is left out is compared with the straight line between first and last; where the line goes by the change
# instead it may lie as far again from it as the change does.
_THINNED: LiteralString = """
WITH numbered AS (
    SELECT p.*, row_number() OVER in_time AS number, count(*) OVER () AS total,
           p.alarm_bits <> lag(p.alarm_bits, 1, p.alarm_bits) OVER in_time AS changes
    FROM ({points}) p
    WINDOW in_time AS (ORDER BY p.placed_at)
), cut AS (
    SELECT *, (number - 1) * %(stretches)s / total AS stretch FROM numbered
), compared AS (
    SELECT *, first_value(number) OVER inside AS first, last_value(number) OVER inside AS last,
           min(number) FILTER (WHERE changes) OVER inside AS change,
           first_value(lat) OVER inside AS lat_0, last_value(lat) OVER inside AS lat_1,
           first_value(lon) OVER inside AS lon_0, last_value(lon) OVER inside AS lon_1
    FROM cut
    WINDOW inside AS (PARTITION BY stretch ORDER BY number
                      ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
), measured AS (
    SELECT *, max(
        abs(lat - lat_0 - (lat_1 - lat_0) * (number - first) / greatest(last - first, 1))
        + abs(lon - lon_0 - (lon_1 - lon_0) * (number - first) / greatest(last - first, 1))
    ) OVER () AS off_deg
    FROM compared
)
SELECT placed_at, lat, lon, speed_kmh, heading_deg, altitude_m, alarm_bits, status_bits, late, quality,
       total, off_deg
FROM measured
WHERE number IN (first, last, change)
ORDER BY number
"""
_METRES_A_DEGREE = 111_320.0


async def terminal_track(
    connection: Connection, terminal_id: int, since: datetime, until: datetime
) -> Points:
    """Give where the terminal was, in whatever vehicle.

    Raises:
        NotFound
    """
    if not await fetch_one(connection, "SELECT 1 AS one FROM terminals WHERE id = %s", (terminal_id,)):
        raise NotFound("terminal", terminal_id)
    return await _points(connection, OF_TERMINAL, {"id": terminal_id, "since": since, "until": until})


async def vehicle_track(connection: Connection, vehicle_id: int, since: datetime, until: datetime) -> Points:
    """Give where the vehicle was, through all terminals that it had in that time.

    Raises:
        NotFound
    """
    await _vehicle(connection, vehicle_id)
    return await _points(connection, OF_VEHICLE, {"id": vehicle_id, "since": since, "until": until})


async def doubtful_page(
    connection: Connection,
    terminal_id: int,
    during: tuple[datetime, datetime],
    *,
    doubts: Quality,
    limit: int,
    cursor: str | None = None,
) -> Page:
    """List the reports of a terminal that have one of these doubts, newest first.

    Raises:
        NotFound
    """
    if not await fetch_one(connection, "SELECT 1 AS one FROM terminals WHERE id = %s", (terminal_id,)):
        raise NotFound("terminal", terminal_id)
    given: Row = {"id": terminal_id, "since": during[0], "until": during[1], "doubts": int(doubts)}
    conditions: dict[str, LiteralString] = {
        "id": "p.terminal_id = %(id)s",
        "since": "p.placed_at >= %(since)s AND p.placed_at < %(until)s",
        "doubts": "p.quality & %(doubts)s <> 0",
        "after": "(p.placed_at, p.body_hash) < (%(after)s, %(after_hash)s::bigint)",
    }
    if cursor:
        given["after"], given["after_hash"] = decode_cursor(cursor, (datetime, str))
    query: LiteralString = (
        "SELECT p.placed_at AS at, p.reported_at, p.received_at,"
        f" CASE WHEN {is_on_earth('p')} THEN p.lat END AS lat,"
        f" CASE WHEN {is_on_earth('p')} THEN p.lon END AS lon,"
        " p.speed_kmh, p.heading_deg, p.altitude_m, p.late, p.quality, p.body_hash::text AS hash"
        f" FROM positions p WHERE {where(conditions, given)} ORDER BY p.placed_at DESC, p.body_hash DESC"
    )
    try:
        page = await fetch_page(connection, query, given, key=("at", "hash"), limit=limit)
    except DataError:  # the hash of the cursor is no number
        raise BadCursor from None
    for row in page.items:
        row["reasons"] = names_of(row["quality"])
    return page


async def _points(connection: Connection, query: LiteralString, given: dict[str, Any]) -> Points:
    async with connection.cursor(row_factory=tuple_row, binary=True) as cursor:
        await cursor.execute(f"{query} LIMIT {MAX_READ + 1}", given)
        if cursor.rowcount <= MAX_READ:
            read = await _rows(cursor)
            return Points(cast(list[Point], read), len(read), 0.0)
        await cursor.execute(_THINNED.replace("{points}", query), {**given, "stretches": STRETCHES})
        rows = await _rows(cursor)
    total, off_deg = rows[0][len(POINT) :] if rows else (0, 0.0)
    return Points([row[: len(POINT)] for row in rows], total, 2 * off_deg * _METRES_A_DEGREE)


async def _rows(cursor: AsyncCursor[Any]) -> list[Any]:
    rows: list[Any] = []
    while some := await cursor.fetchmany(_AT_ONCE):
        rows += some
        await asyncio.sleep(0)
    return rows


LEG_COLUMNS: LiteralString = (
    "g.kind, g.began_at, g.ended_at, g.day, g.fixes, g.began_lat, g.began_lon, g.ended_lat, g.ended_lon,"
    " g.driving_s, g.driving_night_s, g.track_km, g.gap_km, g.odometer_km, g.max_speed_kmh"
)
DAY_COLUMNS: LiteralString = (
    "d.day, d.fixes, d.first_fix_at, d.last_fix_at, d.trips, d.stops, d.driving_s, d.driving_night_s,"
    " d.track_km, d.gap_km, d.odometer_km, d.max_speed_kmh, d.online_s"
)


DAY_ENDS: LiteralString = "(d.day::timestamp + interval '15:59:59') AT TIME ZONE 'UTC'"
"""The last second of a day of Beijing's."""


_REPORTS: LiteralString = "h.reports, h.late, h.unqualified, h.without_fix"
_OF_DAY: LiteralString = (
    " CROSS JOIN LATERAL (SELECT coalesce(sum(reports), 0)::bigint AS reports,"
    " coalesce(sum(late), 0)::bigint AS late, coalesce(sum(unqualified), 0)::bigint AS unqualified,"
    " coalesce(sum(without_fix), 0)::bigint AS without_fix"
    " FROM terminal_hours WHERE terminal_id = d.terminal_id"
    " AND hour >= (d.day::timestamp - interval '8 hours') AT TIME ZONE 'UTC'"
    " AND hour < (d.day::timestamp + interval '16 hours') AT TIME ZONE 'UTC') h"
)


async def vehicle_legs(
    connection: Connection, vehicle_id: int, since: datetime, until: datetime
) -> list[Row]:
    """Give the trips and stops of a vehicle that began in the period, in order of time.

    Raises:
        NotFound
    """
    await _vehicle(connection, vehicle_id)
    return await fetch_all(
        connection,
        f"SELECT {LEG_COLUMNS} FROM legs g JOIN installations i ON i.terminal_id = g.terminal_id"
        " AND g.began_at >= i.installed_at AND g.began_at < coalesce(i.removed_at, 'infinity')"
        f" WHERE i.vehicle_id = %(id)s AND g.began_at >= %(since)s AND g.began_at < %(until)s"
        f" AND ({TRIP} OR {STOP}) ORDER BY g.began_at",
        {"id": vehicle_id, "since": since, "until": until},
    )


async def vehicle_days(connection: Connection, vehicle_id: int, first: date, last: date) -> list[Row]:
    """Give the sums of a vehicle's days, each for the terminal that it had at the end of that day.

    Raises:
        NotFound
    """
    await _vehicle(connection, vehicle_id)
    return await fetch_all(
        connection,
        f"SELECT {DAY_COLUMNS}, {_REPORTS} FROM terminal_days d"
        " JOIN installations i ON i.terminal_id = d.terminal_id"
        f" AND {DAY_ENDS} >= i.installed_at AND {DAY_ENDS} < coalesce(i.removed_at, 'infinity'){_OF_DAY}"
        " WHERE i.vehicle_id = %(id)s AND d.day BETWEEN %(first)s AND %(last)s ORDER BY d.day",
        {"id": vehicle_id, "first": first, "last": last},
    )


async def _vehicle(connection: Connection, vehicle_id: int) -> None:
    if not await fetch_one(connection, "SELECT 1 AS one FROM vehicles WHERE id = %s", (vehicle_id,)):
        raise NotFound("vehicle", vehicle_id)


@dataclass(frozen=True, slots=True)
class Area:
    """A piece of the map 区域: corners as (latitude, longitude) in WGS-84 degrees, at least three.

    Sides are straight on the map and no area crosses the 180th meridian, which is far from any road that we
    know.
    """

    corners: tuple[tuple[float, float], ...]

    def parameters(self) -> dict[str, Any]:
        """Give what the queries below want to know."""
        latitudes, longitudes = zip(*self.corners, strict=True)
        ring = ",".join(f"({lon!r},{lat!r})" for lat, lon in self.corners)
        return {
            "south": min(latitudes),
            "north": max(latitudes),
            "west": min(longitudes),
            "east": max(longitudes),
            "ring": f"({ring})",
        }


# PostgreSQL's own polygon knows its inside. The box before it is what an index or a compressed chunk can use,
# and costs less for the many that are far away.
_INSIDE: LiteralString = (
    "{0}.lat BETWEEN %(south)s AND %(north)s AND {0}.lon BETWEEN %(west)s AND %(east)s"
    " AND %(ring)s::polygon @> point({0}.lon, {0}.lat)"
)
INSIDE_NOW: LiteralString = f"""
SELECT {TERMINAL_REF}, {VEHICLE_REF}, s.fix_at AS first_at, s.fix_at AS last_at, 1 AS points, s.lat, s.lon
FROM terminal_states s
JOIN terminals t ON t.id = s.terminal_id
LEFT JOIN installations i ON i.terminal_id = t.id AND i.removed_at IS NULL
LEFT JOIN vehicles v ON v.id = i.vehicle_id
WHERE {_INSIDE.replace("{0}", "s")}
ORDER BY s.fix_at DESC, t.id
"""
INSIDE_DURING: LiteralString = f"""
WITH visits AS MATERIALIZED (
    SELECT p.terminal_id, min(p.placed_at) AS first_at, max(p.placed_at) AS last_at, count(*) AS points,
           (array_agg(point(p.lon, p.lat) ORDER BY p.placed_at DESC))[1] AS last
    FROM positions p
    WHERE p.placed_at >= %(since)s AND p.placed_at < %(until)s AND p.quality & {Quality.NO_FIX:d} = 0
      AND {_INSIDE.replace("{0}", "p")}
    GROUP BY p.terminal_id
)
SELECT {TERMINAL_REF}, {VEHICLE_REF}, visits.first_at, visits.last_at, visits.points, visits.last[1] AS lat,
       visits.last[0] AS lon
FROM visits
JOIN terminals t ON t.id = visits.terminal_id
LEFT JOIN installations i ON i.terminal_id = t.id
      AND visits.last_at >= i.installed_at AND visits.last_at < coalesce(i.removed_at, 'infinity')
LEFT JOIN vehicles v ON v.id = i.vehicle_id
ORDER BY visits.last_at DESC, t.id
"""


async def inside_now(connection: Connection, area: Area) -> list[Row]:
    """Give who is in the area by the newest fix, newest first."""
    return await fetch_all(connection, INSIDE_NOW, area.parameters())


async def inside_during(connection: Connection, area: Area, since: datetime, until: datetime) -> list[Row]:
    """Give who was in the area between two times 区域查车: first and last time there, how many reports, the
    last place. The vehicle is the one that had the terminal at that last time.
    """
    return await fetch_all(connection, INSIDE_DURING, {**area.parameters(), "since": since, "until": until})
