"""Roads, vehicles and the story: plausible, and the same for the same seed."""

import random
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from northwatch.sim.roads import ROADS, Road, distance_km
from northwatch.sim.story import Act, DemoTimes, demo
from northwatch.sim.vehicle import HURRY_SHARE, Vehicle

LIAONING = ((38.7, 43.5), (118.8, 125.8))


@pytest.mark.parametrize("road", ROADS, ids=lambda road: road.name)
def test_roads_stay_in_liaoning_and_bend_gently(road: Road) -> None:
    places = [road.place(km / 2) for km in range(int(road.length_km * 2))]
    for place in places:
        assert LIAONING[0][0] < place.lat < LIAONING[0][1]
        assert LIAONING[1][0] < place.lon < LIAONING[1][1]
    for before, after in pairwise(places):
        assert abs((after.heading_deg - before.heading_deg + 180) % 360 - 180) < 60


@given(st.integers(0, len(ROADS) - 1), st.floats(0, 1), st.sampled_from((1, -1)), st.floats(0.01, 3))
def test_kilometres_on_a_road_are_kilometres_on_the_ground(
    number: int, share: float, direction: int, step_km: float
) -> None:
    road = ROADS[number]
    km = share * (road.length_km - step_km)
    here, there = road.place(km, direction), road.place(km + step_km, direction)
    driven = distance_km((here.lat, here.lon), (there.lat, there.lon))
    assert driven <= step_km * 1.001
    assert driven > step_km * 0.5  # the chord of a bend
    assert 0 <= here.heading_deg < 360
    assert (road.place(km, 1).heading_deg - road.place(km, -1).heading_deg) % 360 in (179, 180, 181)


@given(st.integers(0, 99), st.integers(0, 2**32))
def test_a_vehicle_keeps_to_its_road_and_to_physics(number: int, seed: int) -> None:
    vehicle = Vehicle.somewhere(number, random.Random(seed))
    vehicle.hurry_until, vehicle.rest_until = 120.0, 0.0
    for second in range(1, 300):
        mileage = vehicle.mileage_km
        if second == 150:
            vehicle.rest_until = 250.0
        vehicle.drive(second, 1.0)
        assert 0 <= vehicle.km <= vehicle.road.length_km
        assert 0 <= vehicle.speed_kmh <= HURRY_SHARE * vehicle.road.limit_kmh
        assert 0 <= vehicle.mileage_km - mileage < 0.05
        if 60 < second < 120:
            assert vehicle.is_speeding
        if 200 < second < 250:
            assert vehicle.rests(second)


def test_the_story_is_told_in_order_and_again_the_same() -> None:
    times = DemoTimes()
    told = list(islice(demo(50, 7, times), 100))
    assert told == list(islice(demo(50, 7, times), 100))
    assert told != list(islice(demo(50, 8, times), 100))
    assert all(before.at_s <= after.at_s for before, after in pairwise(told))
    first = [scene for scene in told if scene.at_s < times.cycle_s]
    assert len({scene.actor for scene in first}) == len(first)
    at = {scene.act: scene.at_s for scene in first}
    assert at[Act.EMERGENCY] == times.emergency_at_s
    assert at[Act.POWER_LOSS] == times.silence_at_s


@given(st.integers(1, 20), st.integers(0, 100))
def test_a_small_fleet_has_a_story_too(terminals: int, seed: int) -> None:
    for scene in islice(demo(terminals, seed, DemoTimes()), 60):
        assert 0 <= scene.actor < terminals
