"""How much smaller TimescaleDB's columns make a day of positions: bytes a row before and after.

    python -m benchmarks.compression [--terminals N] [--days N] [DSN …]

Vehicles of the simulator drive its roads: a shift of some ten hours with breaks, a report every 30 seconds,
at rest every 150, as the simulator's terminals do. What compresses badly in the field does so here: times of
receipt to the microsecond, hashes, signal and satellites, every terminal at its own second. The days are
written as a worker writes them, in order of receipt, and compressed as the keeper does it; sizes are the
server's own, with indexes.

Runs on the servers that are given, or on NORTHWATCH_TEST_DATABASE_URL. The embedded PostgreSQL has no
TimescaleDB.
"""

import argparse
import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import psycopg
from rich.console import Console
from rich.progress import track

from benchmarks.ingest import SERVER_VARIABLE, Server
from benchmarks.measures import Measure, Options, summary
from benchmarks.rounds import machine, table
from northwatch.sim.device import ACC_ON, BEIDOU, GPS, POSITIONED
from northwatch.sim.vehicle import Vehicle
from store import columnstore, positions
from store.placement import Placement, days_of
from store.positions import PositionRows

TERMINALS: Final = 400
DAYS: Final = 2
BEGIN: Final = datetime(2026, 5, 1, tzinfo=UTC)
DAY_S: Final = 86_400
REPORT_S, REST_FACTOR = 30, 5
"""A terminal reports so often, and so many times more seldom when it rests."""
SHIFT_H: Final = (8.0, 12.0)
BREAK_EVERY_S, BREAK_S = 4 * 3600, 20 * 60
"""A driver must rest so long (JT/T 794: no more than four hours without)."""
BATCH: Final = 5_000
"""Rows a transaction."""
REACH: Final = 8.0
HEAD: Final = ["database", "day", "rows", "bytes/row before", "after", "times smaller"]

ITEMS: Final = np.dtype(
    [
        *(("mileage_id", ">u2"), ("mileage", ">u4"), ("fuel_id", ">u2"), ("fuel", ">u2")),
        *(("speed_id", ">u2"), ("speed", ">u2"), ("lamps_id", ">u2"), ("lamps", ">u4")),
        *(("io_id", ">u2"), ("io", ">u2"), ("signal_id", ">u2"), ("signal", "u1")),
        *(("satellites_id", ">u2"), ("satellites", "u1")),
    ]
)
"""The additional items of every report; id and length stand together."""
_IDS: Final = {
    "mileage_id": 0x0104,
    "fuel_id": 0x0202,
    "speed_id": 0x0302,
    "lamps_id": 0x2504,
    "io_id": 0x2A02,
    "signal_id": 0x3001,
    "satellites_id": 0x3101,
}
SEEN: Final = np.dtype(
    [
        *(("terminal", "i4"), ("at_s", "i8"), ("serial", "i4"), ("lat", "f8"), ("lon", "f8")),
        *(("heading", "i4"), ("speed", "f4"), ("mileage", "f8"), ("rests", "?")),
    ]
)
Seen = npt.NDArray[np.void]


def driven(number: int, days: int) -> Iterator[tuple[Any, ...]]:
    """Let a vehicle of the simulator drive; gives what its terminal sees, a row of `SEEN` each time."""
    chance = random.Random(f"compression {number}")
    vehicle = Vehicle.somewhere(number, chance)
    shift_s = chance.uniform(*SHIFT_H) * 3600
    begin_s, at_s, serial = chance.uniform(0, DAY_S - shift_s), chance.randrange(REPORT_S), 0
    while at_s < days * DAY_S:
        into_s = (at_s % DAY_S) - begin_s
        if not 0 <= into_s < shift_s or into_s % BREAK_EVERY_S > BREAK_EVERY_S - BREAK_S:
            vehicle.rest_until = at_s + 1
        vehicle.drive(at_s, REPORT_S)
        rests, place = vehicle.rests(at_s), vehicle.place
        if not rests or serial == 0 or at_s // REPORT_S % REST_FACTOR == 0:
            serial += 1
            seen = place.lat, place.lon, place.heading_deg, vehicle.speed_kmh, vehicle.mileage_km, rests
            yield number + 1, at_s, serial, *seen
        at_s += REPORT_S


def story(terminals: int, days: int) -> Seen:
    """Give what all terminals see, in order of time."""
    console = Console(stderr=True)
    numbers = track(range(terminals), f"{terminals} vehicles drive for {days} days", console=console)
    seen = np.concatenate([np.fromiter(driven(number, days), SEEN) for number in numbers])
    return seen[np.argsort(seen["at_s"], kind="stable")]


def rows_of(seen: Seen, chance: np.random.Generator) -> PositionRows:
    """Make the rows that a worker would write."""
    count = len(seen)
    at_us = round(BEGIN.timestamp() * 1e6) + seen["at_s"] * 1_000_000
    received_us = at_us + (chance.lognormal(13.2, 0.5, count)).astype(np.int64)  # half a second or so
    items = np.zeros(count, ITEMS)
    for name, value in _IDS.items():
        items[name] = value
    mileage = np.round(seen["mileage"] * 10).astype(np.int64)
    items["mileage"], items["fuel"], items["speed"] = mileage, 2000 + mileage % 1500, seen["speed"] * 10
    items["lamps"], items["signal"] = np.where(seen["rests"], 0, 1), chance.integers(18, 32, count)
    items["satellites"] = chance.integers(9, 20, count)
    zeros = np.zeros(count, np.int32)
    status = np.where(seen["rests"], 0, ACC_ON) | POSITIONED | GPS | BEIDOU
    return PositionRows(
        terminal_id=seen["terminal"],
        placed_us=at_us,
        reported_us=at_us,
        reported_raw=_clocks(seen["at_s"]),
        received_us=received_us,
        last_received_us=received_us,
        body_hash=chance.integers(-(1 << 63), (1 << 63) - 1, count),
        copies=zeros + 1,
        lat=np.round(seen["lat"], 6),
        lon=np.round(seen["lon"], 6),
        speed_kmh=np.round(seen["speed"], 1),
        heading_deg=seen["heading"],
        altitude_m=40 + (30 * (1 + seen["lat"] % 1)).astype(np.int32),
        alarm_bits=zeros.astype(np.uint32),
        status_bits=status.astype(np.uint32),
        mileage_km=mileage / 10,
        msg_id=zeros + 0x0200,
        serial=seen["serial"] % 65_536,
        quality=zeros,
        authenticated=zeros == 0,
        late=zeros != 0,
        repeated=zeros != 0,
        searched=zeros != 0,
        items_start=np.arange(count, dtype=np.int64) * ITEMS.itemsize,
        items_length=np.full(count, ITEMS.itemsize, np.int64),
        data=items.view(np.uint8),
    )


def _clocks(at_s: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Give the six bytes of BCD that terminals send, in Beijing's time."""
    texts = (f"{BEGIN + timedelta(hours=8, seconds=int(second)):%y%m%d%H%M%S}" for second in at_s)
    return np.frombuffer(bytes.fromhex("".join(texts)), np.uint8).reshape(-1, 6)


def compressed(dsn: str, seen: Seen, where: str) -> tuple[list[list[str]], float]:
    """Write the story and compress it; gives the table's rows and how much smaller all of it became."""
    chance, placement, rows, sums = np.random.default_rng(808), Placement(), list[list[str]](), [0, 0]
    with psycopg.connect(dsn, autocommit=True) as connection:
        for first in range(0, len(seen), BATCH):
            batch = rows_of(seen[first : first + BATCH], chance)
            with connection.transaction():
                placement.ensure(connection, days_of(batch.placed_us))
                positions.write(connection, batch)
        columnstore.prepare(connection)
        for chunk in columnstore.waiting(connection, datetime.now(UTC) + timedelta(days=365)):
            begin_s = (chunk.begins_at - BEGIN).total_seconds()
            count = int(((seen["at_s"] >= begin_s) & (seen["at_s"] < begin_s + DAY_S)).sum())
            before, after = columnstore.compress(connection, chunk)
            sums = [sums[0] + before, sums[1] + after]
            figures = f"{before / count:.1f}", f"{after / count:.1f}", f"{before / after:.1f}"
            rows.append([where, f"{chunk.begins_at:%Y-%m-%d}", f"{count:,}", *figures])
    return rows, sums[0] / sums[1]


def measure(given: list[str], terminals: int, days: int) -> list[Measure]:
    """Compress on every server that can."""
    seen, rows, ratios, names = None, list[list[str]](), list[float](), list[str]()
    for number, address in enumerate(given, 1):
        server = Server(f"given {number}", address)
        with server.database() as dsn:
            with psycopg.connect(dsn) as connection:
                if not columnstore.is_available(connection):
                    print(f"\n!! {server.name}: no TimescaleDB with compression here\n")
                    continue
            seen = story(terminals, days) if seen is None else seen
            found, ratio = compressed(dsn, seen, server.name)
            rows, ratios, names = rows + found, [*ratios, ratio], [*names, server.name]
    if not ratios:
        print(f"\n!! NOT MEASURED: no TimescaleDB here. Set {SERVER_VARIABLE} to a server that has it.\n")
        return [Measure("compression", (), (), (), note="no TimescaleDB here")]
    print(table(HEAD, rows))
    asked = [REACH] * len(ratios)
    return [Measure(f"positions compressed: {' · '.join(names)}", asked, asked, ratios, "times smaller")]


def run(options: Options) -> list[Measure]:
    given = [each for each in (os.environ.get(SERVER_VARIABLE),) if each]
    return measure(given, TERMINALS * (4 if options.long else 1), DAYS)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compression", description=__doc__)
    parser.add_argument("dsn", nargs="*", help=f"of servers; else {SERVER_VARIABLE}")
    parser.add_argument("--terminals", type=int, default=TERMINALS)
    parser.add_argument("--days", type=int, default=DAYS)
    options = parser.parse_args()
    given = options.dsn or [each for each in (os.environ.get(SERVER_VARIABLE),) if each]
    print(machine())
    print("\n" + summary(measure(given, options.terminals, options.days)))


if __name__ == "__main__":
    main()
