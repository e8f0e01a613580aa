"""The derived facts of terminals' days, kept in step with `positions`: legs, and sums of them.

    pieces → their fixes → (keeper.legs decides) → legs replaced, days summed, cursors moved

A **piece** is a part of one day of one terminal whose legs are made anew. Live data make pieces that begin
where the last legs may still change; late data make a piece of the whole day, and one of the day before
whose last leg reaches up to it. Everything happens in one transaction in one snapshot, so that a report is
either in the legs or will be in a later piece.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, LiteralString, TypeAlias

import numpy as np
import numpy.typing as npt
import psycopg

from store.binary import Column, copy_in, times
from store.placement import DAY_US
from store.quality import Quality

Connection: TypeAlias = psycopg.Connection[Any]
Ints: TypeAlias = npt.NDArray[np.integer]

_BEIJING_US: Final = 8 * 3600 * 1_000_000

UNUSABLE: Final = (
    Quality.NO_FIX
    | Quality.CLOCK_IMPLAUSIBLE
    | Quality.UNPARSABLE_TIME
    | Quality.OUT_OF_RANGE
    | Quality.DRIFT
)
"""A fix with one of these doubts says nothing about where the vehicle was when."""

MIN_STOP: Final = timedelta(minutes=5)
"""Standing for less is a leg, and no stop that people ask for or count."""
TRIP: Final[LiteralString] = "g.kind = 'trip'"
STOP: Final[LiteralString] = "g.kind = 'stop' AND g.ended_at - g.began_at >= interval '5 minutes'"

BEGINNING: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Before every report."""

_FIX: LiteralString = f"""
SELECT (extract(epoch FROM p.placed_at) * 1000000)::bigint AS at_us, p.lat, p.lon, p.speed_kmh::float8,
       p.mileage_km, p.body_hash, p.placed_at
  FROM positions p
 WHERE p.terminal_id = {{terminal}} AND p.quality & {UNUSABLE:d} = 0
   AND p.lat IS NOT NULL AND p.lon IS NOT NULL
"""

_LIVE: LiteralString = f"""
SELECT s.terminal_id, f.placed_at,
       ((f.placed_at AT TIME ZONE 'UTC' + interval '8 hours')::date + 1)::timestamp AT TIME ZONE 'UTC'
       - interval '8 hours', s.received_at
  FROM terminal_states s
  LEFT JOIN leg_cursors c ON c.terminal_id = s.terminal_id
  LEFT JOIN LATERAL ({_FIX.format(terminal="s.terminal_id")}
       AND p.placed_at >= coalesce(c.anchor_at, '{BEGINNING:%Y-%m-%d}Z')
       ORDER BY p.placed_at LIMIT 1) f ON true
 WHERE s.received_at IS NOT NULL AND (c.received_at IS NULL OR c.received_at < s.received_at)
 ORDER BY c.received_at NULLS FIRST
 LIMIT %s
"""
_STALE: LiteralString = """
WITH stale AS (SELECT id, terminal_id, at FROM stale_days ORDER BY id LIMIT %s),
     changed AS (
         SELECT terminal_id, min(at) AS at, (at AT TIME ZONE 'UTC' + interval '8 hours')::date AS day
           FROM stale GROUP BY terminal_id, (at AT TIME ZONE 'UTC' + interval '8 hours')::date),
     days AS (
         SELECT terminal_id, day FROM changed
          UNION
         SELECT changed.terminal_id, before.day
           FROM changed CROSS JOIN LATERAL (
                SELECT day FROM legs
                 WHERE terminal_id = changed.terminal_id AND began_at < changed.at
                 ORDER BY began_at DESC LIMIT 1) before)
SELECT terminal_id, (day::timestamp - interval '8 hours') AT TIME ZONE 'UTC',
       ((day + 1)::timestamp - interval '8 hours') AT TIME ZONE 'UTC', NULL::timestamptz
  FROM days
"""
_FIXES: LiteralString = f"""
SELECT piece.number, f.at_us, f.lat, f.lon, f.speed_kmh, f.mileage_km
  FROM unnest(%s::integer[], %s::timestamptz[], %s::timestamptz[]) WITH ORDINALITY
       AS piece (terminal_id, begin_at, end_at, number)
 CROSS JOIN LATERAL (
       ({_FIX.format(terminal="piece.terminal_id")}
           AND p.placed_at >= piece.begin_at AND p.placed_at < piece.end_at)
       UNION ALL
       ({_FIX.format(terminal="piece.terminal_id")}
           AND p.placed_at >= piece.end_at ORDER BY p.placed_at, p.body_hash LIMIT 1)) f
 ORDER BY piece.number, f.at_us, f.body_hash
"""
_FORGET: LiteralString = """
DELETE FROM legs
 USING unnest(%s::integer[], %s::timestamptz[], %s::timestamptz[]) AS piece (terminal_id, begin_at, end_at)
 WHERE legs.terminal_id = piece.terminal_id AND began_at >= begin_at AND began_at < end_at
"""
_SUM: LiteralString = """
INSERT INTO terminal_days AS there (terminal_id, day, fixes, first_fix_at, last_fix_at, trips, stops,
       driving_s, driving_night_s, track_km, gap_km, odometer_km, max_speed_kmh)
SELECT piece.terminal_id, piece.day, coalesce(sum(l.fixes), 0), min(l.began_at), max(l.last_fix_at),
       count(*) FILTER (WHERE l.kind = 'trip'),
       count(*) FILTER (WHERE l.kind = 'stop' AND l.ended_at - l.began_at >= %(stop)s),
       coalesce(sum(l.driving_s), 0), coalesce(sum(l.driving_night_s), 0), coalesce(sum(l.track_km), 0),
       coalesce(sum(l.gap_km), 0), coalesce(sum(l.odometer_km), 0), coalesce(max(l.max_speed_kmh), 0)
  FROM (SELECT DISTINCT terminal_id, (begin_at AT TIME ZONE 'UTC' + interval '8 hours')::date AS day
          FROM unnest(%(terminals)s::integer[], %(begins)s::timestamptz[])
               AS given (terminal_id, begin_at)) piece
  LEFT JOIN legs l ON l.terminal_id = piece.terminal_id AND l.day = piece.day
 GROUP BY piece.terminal_id, piece.day
    ON CONFLICT (terminal_id, day) DO UPDATE
   SET fixes = excluded.fixes, first_fix_at = excluded.first_fix_at, last_fix_at = excluded.last_fix_at,
       trips = excluded.trips, stops = excluded.stops, driving_s = excluded.driving_s,
       driving_night_s = excluded.driving_night_s, track_km = excluded.track_km, gap_km = excluded.gap_km,
       odometer_km = excluded.odometer_km, max_speed_kmh = excluded.max_speed_kmh
"""
_MOVE: LiteralString = """
INSERT INTO leg_cursors AS there (terminal_id, anchor_at, received_at)
SELECT * FROM unnest(%s::integer[], %s::timestamptz[], %s::timestamptz[])
    ON CONFLICT (terminal_id) DO UPDATE SET anchor_at = excluded.anchor_at, received_at = excluded.received_at
"""
_STEP_BACK: LiteralString = """
UPDATE leg_cursors c SET anchor_at = piece.begin_at
  FROM unnest(%s::integer[], %s::timestamptz[], %s::timestamptz[]) AS piece (terminal_id, begin_at, end_at)
 WHERE c.terminal_id = piece.terminal_id AND c.anchor_at >= piece.begin_at AND c.anchor_at < piece.end_at
"""
_DONE: LiteralString = "DELETE FROM stale_days WHERE id IN (SELECT id FROM stale_days ORDER BY id LIMIT %s)"

_ONLINE: LiteralString = """
WITH clock AS (SELECT coalesce(max(log_time), now()) AS now FROM cursors),
     sessions AS (
         SELECT opened.terminal_id, opened.at AS began_at, min(closed.at) AS ended_at
           FROM link_events closed JOIN link_events opened USING (session)
          WHERE opened.event = 'opened' AND closed.event NOT IN ('opened', 'gateway_back')
            AND closed.at >= %(since)s
          GROUP BY opened.terminal_id, opened.session, opened.at
          UNION ALL
         SELECT terminal_id, link_changed_at, greatest(clock.now, link_changed_at)
           FROM terminal_states CROSS JOIN clock WHERE link = 'open' AND link_changed_at IS NOT NULL),
     days AS (
         SELECT day::date, (day - interval '8 hours') AT TIME ZONE 'UTC' AS begin_at,
                (day + interval '16 hours') AT TIME ZONE 'UTC' AS end_at
           FROM generate_series(%(first)s::timestamp, %(last)s::timestamp, '1 day') day),
     online AS (
         SELECT s.terminal_id, d.day,
                unnest(range_agg(tstzrange(greatest(s.began_at, d.begin_at),
                                           least(s.ended_at, d.end_at)))) AS period
           FROM sessions s JOIN days d ON s.began_at < d.end_at AND s.ended_at > d.begin_at
          GROUP BY s.terminal_id, d.day)
INSERT INTO terminal_days AS there (terminal_id, day, online_s)
SELECT terminal_id, day, sum(extract(epoch FROM upper(period) - lower(period))) FROM online
 GROUP BY terminal_id, day
    ON CONFLICT (terminal_id, day) DO UPDATE SET online_s = excluded.online_s
 WHERE there.online_s IS DISTINCT FROM excluded.online_s
"""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of one day of one terminal; without a beginning there is no fix yet."""

    terminal_id: int
    begin_at: datetime | None
    end_at: datetime | None
    received_at: datetime | None
    """Of the terminal's newest report, for live pieces."""


Fix: TypeAlias = tuple[int, int, float, float, float, float | None]
"""Number of the piece from 1, µs since 1970, lat, lon, speed_kmh, mileage_km."""


def mark_stale(connection: Connection, terminal_id: Ints, placed_us: Ints) -> None:
    """Write down that these late reports change what was derived; in the transaction that writes them."""
    if not len(terminal_id):
        return
    day = (placed_us + _BEIJING_US) // DAY_US
    order = np.lexsort((placed_us, day, terminal_id))
    terminal_id, placed_us, day = terminal_id[order], placed_us[order], day[order]
    first = np.append(True, (np.diff(terminal_id) != 0) | (np.diff(day) != 0))
    columns = [Column("terminal_id", ">i4", terminal_id[first]), times("at", placed_us[first])]
    copy_in(connection, "stale_days", columns)
    copy_in(connection, "stale_hours", columns)


def live_pieces(connection: Connection, limit: int) -> list[Piece]:
    """Give a piece for each of some terminals that reported since the last time."""
    return [Piece(*row) for row in connection.execute(_LIVE, [limit])]


def stale_pieces(connection: Connection, limit: int) -> list[Piece]:
    """Give the days that the oldest late reports changed, at most `limit` reports. Call `done` after."""
    return [Piece(*row) for row in connection.execute(_STALE, [limit])]


def done(connection: Connection, limit: int) -> None:
    """Forget the late reports that `stale_pieces` looked at in this transaction's snapshot."""
    connection.execute(_DONE, [limit])


def fixes(connection: Connection, pieces: Sequence[Piece]) -> list[Fix]:
    """Give the usable fixes of every piece and the first one after it, in order of piece and time."""
    with connection.cursor(binary=True) as cursor:
        return cursor.execute(_FIXES, _columns(pieces)).fetchall()


def replace(connection: Connection, pieces: Sequence[Piece], legs: Sequence[Column]) -> None:
    """Put legs in the place of those that the pieces had, and sum their days up again."""
    connection.execute(_FORGET, _columns(pieces))
    if legs:
        copy_in(connection, "legs", legs)
    terminals, begins, _ = _columns(pieces)
    connection.execute(_SUM, {"terminals": terminals, "begins": begins, "stop": MIN_STOP})


def step_back(connection: Connection, pieces: Sequence[Piece]) -> None:
    """Let live data begin the days again that late data changed."""
    connection.execute(_STEP_BACK, _columns(pieces))


def move(connection: Connection, cursors: Sequence[tuple[int, datetime, datetime]]) -> None:
    """Write down how far terminals are: id, anchor, receive time of the newest report seen."""
    connection.execute(_MOVE, [list(column) for column in zip(*cursors, strict=True)])


def refresh_online(connection: Connection, now: datetime) -> int:
    """Sum up how long each terminal was connected today and yesterday; gives how many sums changed."""
    today = (now + timedelta(hours=8)).date()
    first = today - timedelta(days=1)
    since = datetime(first.year, first.month, first.day, tzinfo=UTC) - timedelta(hours=8)
    return connection.execute(_ONLINE, {"since": since, "first": first, "last": today}).rowcount


def _columns(pieces: Sequence[Piece]) -> list[list[Any]]:
    return [
        [each.terminal_id for each in pieces],
        [each.begin_at for each in pieces],
        [each.end_at for each in pieces],
    ]
