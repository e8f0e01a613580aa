"""Yesterday of one vehicle, sent today as by a terminal that was out of the network: two trips and a stop."""

import math
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import psycopg

from northwatch.sim.roads import ROADS
from store.embedded import Embedded
from tests.browser.center import OVERSPEED, Center, Vehicle, location_report

TERMINAL, PLATE = "13900000041", "辽A00041"
BEIJING = timezone(timedelta(hours=8))
ROAD = ROADS[0]
REPORT_S = 20
BEFORE_MIDNIGHT = timedelta(minutes=10)
"""Whoever begins so late has another yesterday when the page is asked."""

INSTALL = """
WITH terminal AS (INSERT INTO terminals (identity) VALUES (%s) RETURNING id),
     vehicle AS (INSERT INTO vehicles (plate, plate_color) VALUES (%s, 2) RETURNING id)
INSERT INTO installations (terminal_id, vehicle_id, installed_at)
SELECT terminal.id, vehicle.id, now() - interval '7 days' FROM terminal, vehicle
"""


def arrange(center: Center) -> None:
    """Put the terminal into its vehicle a week ago, and let it speak."""
    with psycopg.connect(Embedded(center.directory / "database").dsn(), autocommit=True) as database:
        database.execute(INSTALL, [TERMINAL, PLATE])
    while (now := datetime.now(BEIJING)).date() != (now + BEFORE_MIDNIGHT).date():
        time.sleep(1)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    Vehicle(center, TERMINAL, PLATE).say_last(b"".join(_reports(midnight - timedelta(days=1))))


def _reports(day: datetime) -> Iterator[bytes]:
    """From 08:10 to the south for an hour, 40 minutes there, and back until 11:00."""
    km = 12.0
    for begin_min, lasts_min, direction in ((490, 60, 1), (550, 40, 0), (590, 70, -1)):
        for second in range(0, lasts_min * 60, REPORT_S):
            at = day + timedelta(minutes=begin_min, seconds=second)
            speed_kmh = _speed_kmh(second / 60, lasts_min) if direction else 0.0
            place = ROAD.place(km, direction or 1)
            alarm_bits = OVERSPEED if speed_kmh > 105 else 0
            yield location_report(TERMINAL, alarm_bits, at=at, place=place, speed_kmh=speed_kmh)
            km += direction * speed_kmh * REPORT_S / 3600


def _speed_kmh(minute: float, lasts_min: int) -> float:
    """Out of town, along the expressway with one hurry, into town."""
    edge = min(1.0, (minute + 0.5) / 9, (lasts_min - minute) / 7)
    hurry = 24 * math.exp(-(((minute - 32) / 3) ** 2))
    return (86 + 7 * math.sin(minute / 2.3) + hurry) * edge
