"""Areas: who is there now and who was, whatever the shape; tracks keep their shape with few points."""

from datetime import timedelta
from pathlib import Path

import httpx
import numpy as np
import psycopg
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from keeper.chores import hours, journeys
from keeper.options import KeeperOptions
from monitor.problems import Problem
from monitor.routes.areas import area_of
from monitor.simplify import simplified
from store.placement import Placement
from store.quality import Quality
from tests.monitor.facts import T0, Facts

SHENYANG = {"box": "41.7,123.3,41.9,123.5"}


async def test_who_is_in_the_area_now(root: httpx.AsyncClient, facts: Facts) -> None:
    inside, outside, lost = [await facts.terminal() for _ in range(3)]
    vehicle = await facts.vehicle()
    await facts.installed(inside, vehicle)
    await facts.state(inside, lat=41.8, lon=123.4)
    await facts.state(outside, lat=38.9, lon=121.6)
    await facts.state(lost, lat=None, lon=None)
    for shape in (
        SHENYANG,
        {"circle": "41.8,123.39,1500"},
        {"polygon": "41.7,123.3;41.9,123.4;41.7,123.5"},
    ):
        (found,) = (await root.get("/api/v1/areas/visits", params=shape)).json()["items"]
        assert (found["terminal"]["id"], found["vehicle"]["id"]) == (inside, vehicle)
        assert (found["lat"], found["lon"], found["points"]) == (41.8, 123.4, 1)
    assert not (await root.get("/api/v1/areas/visits", params={"circle": "41.8,123.38,1500"})).json()["items"]


async def test_who_was_in_the_area(root: httpx.AsyncClient, facts: Facts, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        Placement().ensure(connection, [T0.date()])
    passing, other = await facts.terminal(), await facts.terminal()
    before, after = await facts.vehicle(), await facts.vehicle()
    change = T0 + timedelta(minutes=20)
    await facts.installed(passing, before, T0, change)
    await facts.installed(passing, after, change)
    for minute in range(60):  # from the south to the north, ten kilometres a minute
        await facts.position(passing, T0 + timedelta(minutes=minute), lat=40 + minute / 20, lon=123.4)
        await facts.position(other, T0 + timedelta(minutes=minute), lat=40 + minute / 20, lon=124.4)
    await facts.position(other, T0, lat=41.8, lon=123.4, quality=int(Quality.NO_FIX))
    period = {"from": T0.isoformat(), "to": (T0 + timedelta(hours=1)).isoformat()}
    (found,) = (await root.get("/api/v1/areas/visits", params=SHENYANG | period)).json()["items"]
    assert (found["terminal"]["id"], found["vehicle"]["id"]) == (passing, after)
    assert (found["points"], found["lat"]) == (5, 41.9)
    assert (found["first_at"], found["last_at"]) == ("2026-03-01T08:34:00Z", "2026-03-01T08:38:00Z")
    earlier = period | {"to": (T0 + timedelta(minutes=34)).isoformat()}
    assert not (await root.get("/api/v1/areas/visits", params=SHENYANG | earlier)).json()["items"]


@pytest.mark.parametrize(
    ("question", "status"),
    [
        ({}, 400),
        (SHENYANG | {"circle": "41,123,5"}, 400),
        ({"box": "41.9,123.3,41.7,123.5"}, 400),
        ({"box": "41.7,123.3,41.9"}, 400),
        ({"circle": "41,123,-5"}, 400),
        ({"circle": "89,123,5"}, 400),
        ({"polygon": "41,123;42,123"}, 400),
        ({"polygon": "41,123;42,123;99,124"}, 400),
        ({"polygon": "41,123;42,123;1e999,124"}, 400),
        ({"box": "a,b,c,d"}, 422),
        (SHENYANG | {"from": T0.isoformat()}, 400),
        (SHENYANG | {"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"}, 400),
    ],
)
async def test_what_is_no_area_is_refused(
    root: httpx.AsyncClient, question: dict[str, str], status: int
) -> None:
    answer = await root.get("/api/v1/areas/visits", params=question)
    assert answer.status_code == status and answer.json()["detail"]


@given(st.text("0123456789.,;-+eE ", max_size=60))
def test_any_text_is_an_area_or_a_problem(text: str) -> None:
    for shape in ((text, None, None), (None, text, None), (None, None, text)):
        try:
            area = area_of(*shape)
        except Problem as problem:
            assert problem.status == 400
        else:
            assert len(area.corners) >= 3


@given(st.integers(0, 2**32), st.integers(2, 60), st.integers(1, 400))
def test_a_simplified_track_keeps_its_shape(seed: int, limit: int, length: int) -> None:
    random = np.random.default_rng(seed)
    lat = 41 + np.cumsum(random.normal(0, 1e-3, length))
    lon = 123 + np.cumsum(random.normal(0, 1e-3, length))
    keep = random.random(length) < 0.02
    chosen, tolerance_m = simplified(lat, lon, keep, limit)
    assert len(chosen) <= limit or length <= limit == len(chosen)
    assert (np.diff(chosen) > 0).all() and chosen[0] == 0 and chosen[-1] == length - 1
    if length <= limit:
        assert len(chosen) == length and tolerance_m == 0
        return
    if keep.sum() + 2 <= limit // 2:
        assert set(np.flatnonzero(keep)) <= set(chosen)
    metres = np.column_stack([lon * np.cos(np.radians((lat.min() + lat.max()) / 2)), lat]) * 111_320
    line = shapely.linestrings(metres[chosen])
    assert shapely.distance(line, shapely.points(metres)).max() <= tolerance_m + 1e-6


async def test_trips_stops_and_days_are_those_of_the_vehicle(
    root: httpx.AsyncClient, facts: Facts, dsn: str
) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        Placement().ensure(connection, [T0.date()])
        old, new = await facts.terminal(), await facts.terminal()
        vehicle = await facts.vehicle()
        change = T0 + timedelta(minutes=30)
        await facts.installed(old, vehicle, T0, change)
        await facts.installed(new, vehicle, change)
        for minute in range(60):
            for terminal in (old, new):
                moves = minute < 20 or minute >= 40
                at = T0 + timedelta(minutes=minute)
                await facts.position(terminal, at, lat=41 + minute / 100, speed_kmh=60.0 if moves else 0.0)
        for terminal in (old, new):
            await facts.state(terminal, received_at=T0, last_received_at=T0)
        for chore in (journeys, hours):
            while chore.step(connection, KeeperOptions(dsn, Path()), T0).more:
                pass
    period = {"from": T0.isoformat(), "to": (T0 + timedelta(hours=2)).isoformat()}
    legs = (await root.get(f"/api/v1/vehicles/{vehicle}/legs", params=period)).json()["items"]
    assert [(leg["kind"], leg["fixes"], leg["driving_s"]) for leg in legs] == [
        ("trip", 20, 1200),  # of the old terminal, and so is the stop that began with it
        ("stop", 20, 0),
        ("trip", 20, 1140),
    ]
    (day,) = (await root.get(f"/api/v1/vehicles/{vehicle}/days", params=period)).json()["items"]
    assert (day["day"], day["trips"], day["stops"], day["fixes"]) == ("2026-03-01", 2, 1, 60)
    assert (day["reports"], day["late"], day["unqualified"], day["without_fix"]) == (60, 0, 0, 0)
    assert day["track_km"] == pytest.approx(59 * 1.112, rel=0.01)
    for subject, rows in (("trips", 2), ("stops", 1), ("days", 1)):
        answer = await root.get(
            f"/api/v1/exports/{subject}",
            params={**period, "vehicle_id": vehicle, "from": "2026-02-28T00:00:00Z"},
        )
        assert len(answer.text.splitlines()) == rows + 1
    assert (await root.get("/api/v1/vehicles/999/legs", params=period)).status_code == 404
    assert (await root.get("/api/v1/vehicles/999/days", params=period)).status_code == 404
