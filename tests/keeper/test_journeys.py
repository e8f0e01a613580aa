"""Legs and days: whatever the order in which reports come, the same facts as of one sorted pass."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keeper.chores.journeys import step
from keeper.legs import GAP_S, MIN_STOP_S, MIN_TRIP_S, Fixes, Legs, legs_of
from keeper.options import KeeperOptions
from store import journeys
from store.grants import Process
from store.placement import Placement
from store.quality import Quality
from tests.databases import acting

T0 = datetime(2026, 6, 1, 15, 0, tzinfo=UTC)
"""23:00 in Beijing: a story of some hours crosses midnight."""
T0_US = round(T0.timestamp() * 1e6)


def fixes(*reports: tuple[int, float]) -> Fixes:
    """Reports of one terminal as (second, speed), a hundredth of a degree north each."""
    second, speed = (np.array(column) for column in zip(*reports, strict=True))
    north = np.arange(len(reports)) / 100
    return Fixes(
        np.ones(len(reports), np.int64),
        T0_US + second.astype(np.int64) * 1_000_000,
        41 + north,
        np.full(len(reports), 123.0),
        speed.astype(np.float64),
        100 + north,
    )


def story(legs: Legs) -> list[tuple[str, int, int]]:
    begin, end = ((each - T0_US) // 1_000_000 for each in (legs.began_us, legs.ended_us))
    kinds = np.where(legs.is_trip, "trip", "stop")
    return list(zip(kinds.tolist(), begin.tolist(), end.tolist(), strict=True))


def test_traffic_lights_are_part_of_a_trip_and_play_is_no_trip() -> None:
    drive = [(second, 50.0) for second in range(0, 600, 30)]
    light = [(second, 0.0) for second in range(600, 600 + MIN_STOP_S - 30, 30)]
    on = [(second, 40.0) for second in range(870, 1200, 30)]
    parked = [(second, 0.0) for second in range(1200, 3000, 60)]
    play = [(3000, 7.0), (3000 + MIN_TRIP_S // 2, 0.0)]
    still = [(second, 0.0) for second in range(3060, 3400, 60)]
    assert story(legs_of(fixes(*drive, *light, *on, *parked, *play, *still))) == [
        ("trip", 0, 1200),
        ("stop", 1200, 3360),
    ]


def test_a_gap_ends_a_leg_and_its_way_counts_apart() -> None:
    legs = legs_of(fixes((0, 50.0), (60, 50.0), (120, 50.0), (120 + GAP_S + 1, 50.0), (800, 50.0)))
    assert story(legs) == [("trip", 0, 120), ("trip", 721, 800)]
    hundredth_km = 1.1119
    assert legs.track_km == pytest.approx([2 * hundredth_km, hundredth_km], abs=1e-3)
    assert legs.gap_km == pytest.approx([hundredth_km, 0], abs=1e-3)
    assert legs.driving_s.tolist() == [120, 79]


def test_midnight_and_night_are_beijings() -> None:
    drive = fixes(*[(second, 60.0) for second in range(0, 8 * 3600, 60)])
    legs = legs_of(drive)
    assert story(legs)[0] == ("trip", 0, 3600) and legs.day.tolist() == [20605, 20606]
    assert legs.driving_s.tolist() == [3600, 7 * 3600 - 60]
    assert legs.driving_night_s.tolist() == [3600, 6 * 3600]


def test_an_odometer_that_jumps_counts_nothing() -> None:
    drive = fixes(*[(second, 60.0) for second in range(0, 600, 60)])
    drive.mileage_km[:] = [1000, 1001, 1002, np.nan, 1004, 5, 6, 7, 900_000, 900_001]
    assert legs_of(drive).odometer_km.sum() == pytest.approx(1 + 1 + 1 + 1 + 1)


reports = st.lists(
    st.tuples(
        st.sampled_from([30, 60, 120, 290, 310, 700, 4000, 40_000]),  # seconds since the one before
        st.sampled_from([0.0, 0.0, 4.0, 30.0, 80.0]),
        st.sampled_from([0, 0, 0, int(Quality.NO_FIX), int(Quality.DRIFT)]),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(reports, reports, st.randoms(use_true_random=False))
def test_any_order_gives_the_facts_of_one_sorted_pass(
    connection: psycopg.Connection[Any], first: Any, second: Any, random: Any
) -> None:
    for table in (
        "position_records",
        "terminal_states",
        "legs",
        "terminal_days",
        "leg_cursors",
        "stale_days",
    ):
        connection.execute(f"DELETE FROM {table}")  # type: ignore[call-overload]
    said = [_said(connection, identity, each) for identity, each in (("1", first), ("2", second))]
    arriving = sorted((at for terminal in said for at in terminal), key=lambda each: each["placed_at"])
    for _ in range(random.choice([0, 0, 1, len(arriving) // 2])):  # some come late
        arriving.insert(random.randrange(len(arriving)), arriving.pop(random.randrange(len(arriving))))
    newest: dict[int, datetime] = {}
    for received, report in enumerate(arriving):
        _arrives(connection, report, received, newest)
        if random.random() < 0.3:
            _derive(connection)
    _derive(connection)
    for terminal in said:
        usable = [each for each in terminal if not each["quality"]]
        terminal_id = terminal[0]["terminal_id"]
        stored = connection.execute(
            "SELECT kind, began_at, ended_at, fixes, round(driving_s)::integer,"
            " round(track_km::numeric, 2)::float8,"
            " round(gap_km::numeric, 2)::float8, day FROM legs WHERE terminal_id = %s ORDER BY began_at",
            [terminal_id],
        ).fetchall()
        assert stored == (_expected(usable) if usable else [])
        sums = connection.execute(
            "SELECT coalesce(sum(fixes), 0), coalesce(sum(trips), 0), coalesce(sum(driving_s), 0)"
            " FROM terminal_days WHERE terminal_id = %s",
            [terminal_id],
        ).fetchone()
        trips = sum(kind == "trip" for kind, *_ in stored)
        assert sums == (len(usable), trips, sum(float(each[4]) for each in stored))


def _said(connection: psycopg.Connection[Any], identity: str, story: Any) -> list[dict[str, Any]]:
    row = connection.execute(
        "INSERT INTO terminals (identity) VALUES (%s) ON CONFLICT (identity) DO UPDATE SET known = false"
        " RETURNING id",
        [identity],
    ).fetchone()
    assert row is not None
    at, said = T0, []
    for number, (gap_s, speed_kmh, quality) in enumerate(story):
        at += timedelta(seconds=gap_s)
        said.append(
            {
                "terminal_id": row[0],
                "placed_at": at,
                "body_hash": number,
                "lat": 41 + number / 1000,
                "lon": 123.4,
                "speed_kmh": speed_kmh,
                "quality": quality,
            }
        )
    return said


def _arrives(connection: Any, report: dict[str, Any], received: int, newest: dict[int, datetime]) -> None:
    """Store a report as the worker does."""
    terminal_id, at = report["terminal_id"], report["placed_at"]
    with connection.transaction():
        Placement().ensure(connection, [at.date()])
        connection.execute(
            "INSERT INTO position_records (terminal_id, placed_at, received_at, body_hash, latitude,"
            " longitude, alarm_bits, status_bits, speed, heading, altitude, msg_id, serial, quality,"
            " authenticated, late)"
            " VALUES (%(terminal_id)s, %(placed_at)s, %(placed_at)s, %(body_hash)s, %(lat)s * 1e6,"
            " %(lon)s * 1e6, 0, 3, %(speed_kmh)s * 10, 0, 0, 512, 1, %(quality)s, true, false)",
            report,
        )
        if at < newest.get(terminal_id, at):
            when = np.array([round(at.timestamp() * 1e6)])
            journeys.mark_stale(connection, np.array([terminal_id]), when)
            return
        newest[terminal_id] = at
        connection.execute(
            "INSERT INTO terminal_states (terminal_id, received_at) VALUES (%s, %s)"
            " ON CONFLICT (terminal_id) DO UPDATE SET received_at = excluded.received_at",
            [terminal_id, T0 + timedelta(seconds=received)],
        )


def _derive(connection: psycopg.Connection[Any]) -> None:
    with acting(connection, Process.KEEPER):
        while step(connection, KeeperOptions(dsn="", data_dir=Path()), T0).more:
            pass


def _expected(said: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    legs = legs_of(
        Fixes(
            np.ones(len(said), np.int64),
            np.array([round(each["placed_at"].timestamp() * 1e6) for each in said]),
            np.array([each["lat"] for each in said]),
            np.array([each["lon"] for each in said]),
            np.array([each["speed_kmh"] for each in said]),
            np.full(len(said), np.nan),
        )
    )

    def at(us: int) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)

    return [
        (
            "trip" if legs.is_trip[n] else "stop",
            at(int(legs.began_us[n])),
            at(int(legs.ended_us[n])),
            int(legs.fixes[n]),
            round(float(legs.driving_s[n])),
            pytest.approx(round(float(legs.track_km[n]), 2), abs=0.011),
            pytest.approx(round(float(legs.gap_km[n]), 2), abs=0.011),
            (datetime(1970, 1, 1) + timedelta(days=int(legs.day[n]))).date(),
        )
        for n in range(len(legs))
    ]
