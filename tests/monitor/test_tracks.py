"""Tracks of a terminal that reports far more than a screen can show."""

import asyncio
import json
from datetime import timedelta

import httpx
import numpy as np
import psycopg
import pytest
import shapely

from monitor.routes.fleet import drawn
from monitor.turns import Turns
from store import tracks
from store.placement import Placement
from store.select import Connection
from tests.monitor.facts import T0, Facts

REPORTS = 70_000
PERIOD = {"from": T0.isoformat(), "to": (T0 + timedelta(hours=1)).isoformat()}


@pytest.fixture
async def noisy(facts: Facts, db: Connection, dsn: str) -> int:
    """A terminal that goes round in circles, reports every 10 ms, and toggles its alarm all the time."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        Placement().ensure(connection, [T0.date()])
    terminal = await facts.terminal()
    await db.execute(
        "INSERT INTO position_records (terminal_id, placed_at, received_at, body_hash, latitude, longitude,"
        " speed, heading, altitude, alarm_bits, status_bits, msg_id, serial, authenticated, late)"
        " SELECT %(id)s, at, at, g, (41.8e6 + 1e4 * sin(g / 5e3))::int,"
        " (123.4e6 + 1e4 * cos(g / 5e3))::int, 0, 0, 0, g %% 2, 3, 512, 1, true, false"
        " FROM generate_series(0, %(last)s) g,"
        " LATERAL (SELECT %(since)s + g * interval '10 ms' AS at) placed",
        {"id": terminal, "last": REPORTS - 1, "since": T0},
    )
    return terminal


async def test_of_a_noisy_track_few_points_are_read(noisy: int, db: Connection) -> None:
    found = await tracks.terminal_track(db, noisy, T0, T0 + timedelta(hours=1))
    assert found.total == REPORTS
    assert 2 * tracks.STRETCHES <= len(found.read) <= tracks.MAX_READ
    times = [point[0] for point in found.read]
    assert times == sorted(set(times))
    assert (times[0], times[-1]) == (T0, T0 + (REPORTS - 1) * timedelta(milliseconds=10))


async def test_a_thinned_track_says_how_far_the_others_are(
    noisy: int, root: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracks, "MAX_READ", 300)
    monkeypatch.setattr(tracks, "STRETCHES", 100)
    answer = (await root.get(f"/api/v1/terminals/{noisy}/track", params=PERIOD)).json()
    assert answer["total"] == REPORTS and len(answer["points"]) <= 300
    lat, lon = (np.array([point[name] for point in answer["points"]]) for name in ("lat", "lon"))
    angle = np.arange(0, REPORTS, 97) / 5e3
    every = np.column_stack([123.4 + 0.01 * np.cos(angle), 41.8 + 0.01 * np.sin(angle)])
    scale = 111_320 * np.array([np.cos(np.radians(41.8)), 1])
    line = shapely.linestrings(np.column_stack([lon, lat]) * scale)
    furthest_m = shapely.distance(line, shapely.points(every * scale)).max()
    assert 1 < furthest_m <= answer["tolerance_m"] + 0.2 < 1_000  # coordinates have six decimals


async def test_where_the_alarm_word_changes_is_kept(
    facts: Facts, db: Connection, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracks, "MAX_READ", 15)
    monkeypatch.setattr(tracks, "STRETCHES", 5)
    with psycopg.connect(dsn, autocommit=True) as connection:
        Placement().ensure(connection, [T0.date()])
    terminal = await facts.terminal()
    for second in range(50):
        await facts.position(terminal, T0 + timedelta(seconds=second), alarm_bits=int(second >= 33))
    found = await tracks.terminal_track(db, terminal, T0, T0 + timedelta(hours=1))
    seconds = [(point[0] - T0).seconds for point in found.read]
    assert seconds == [0, 9, 10, 19, 20, 29, 30, 33, 39, 40, 49]
    assert found.total == 50 and found.tolerance_m < 0.001
    body = json.loads(bytes(drawn(found, 8, T0, T0 + timedelta(hours=1)).body))
    assert "2026-03-01T08:00:33Z" in [point["at"] for point in body["points"]]


async def test_a_person_has_one_turn_at_a_time() -> None:
    turns, having, most = Turns(3), 0, 0
    of: list[int] = []

    async def take(person: int) -> None:
        nonlocal having, most
        async with turns.turn(person):
            assert person not in of
            of.append(person)
            having, most = having + 1, max(most, having + 1)
            await asyncio.sleep(0)
            of.remove(person)
            having -= 1

    await asyncio.gather(*(take(number % 5) for number in range(50)))
    assert most == 3 and not turns._of
