"""The gateway's copy of a fleet of 100,000: how long its event loop stands still for it at most.

The loop looks at its clock every millisecond while the copy is read from a real database: whole, as at a
start and once an hour; when nothing has changed, as every five seconds; and when a thousand terminals were
blocked. Beside each stands how long the refresh takes in its thread.
"""

import asyncio
import gc
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

import psycopg
import uvloop

from benchmarks.measures import Measure, Options
from benchmarks.rounds import machine, table
from gateway.fleet import Fleet
from gateway.server import GARBAGE_OBJECTS
from northwatch.fleet_source import FleetSource
from store import schema
from store.embedded import Embedded

TERMINALS: Final = 100_000
CHANGED: Final = 1_000
LOOK_S: Final = 0.001
STALL_MS: Final = 50.0
REACH_MS: Final = 20.0
"""A terminal's answer may wait so long once in five seconds."""


class Stall(NamedTuple):
    """Of one refresh."""

    longest_ms: float
    took_s: float


async def stall(refresh: Callable[[], Awaitable[None]]) -> Stall:
    """Give by how much a look at the clock was late at most."""
    longest_s, is_over = 0.0, False

    async def look() -> None:
        nonlocal longest_s
        while not is_over:
            began = time.perf_counter()
            await asyncio.sleep(LOOK_S)
            longest_s = max(longest_s, time.perf_counter() - began - LOOK_S)

    looking = asyncio.create_task(look())
    await asyncio.sleep(LOOK_S)
    began = time.perf_counter()
    await refresh()
    took_s, is_over = time.perf_counter() - began, True
    await looking
    return Stall(longest_s * 1000, took_s)


def enter(connection: psycopg.Connection[object]) -> None:
    """Enter terminals, each in its vehicle."""
    for statement in (
        "INSERT INTO terminals (identity, known)"
        " SELECT (13000000000 + n)::text, true FROM generate_series(1, %(n)s) n",
        "INSERT INTO vehicles (plate, plate_color) SELECT '辽A' || n, 2 FROM generate_series(1, %(n)s) n",
        "INSERT INTO installations (terminal_id, vehicle_id, installed_at)"
        " SELECT t.id, v.id, '2020-01-01Z' FROM terminals t JOIN vehicles v ON v.id = t.id",
    ):
        connection.execute(statement, {"n": TERMINALS})
    connection.execute("VACUUM (FREEZE, ANALYZE)")


def run(options: Options) -> list[Measure]:
    print(f"{machine()}; {TERMINALS:,} terminals, each in a vehicle\n")
    with tempfile.TemporaryDirectory(prefix="northwatch-bench-") as folder:
        database = Embedded(Path(folder) / "database")
        dsn = database.start()
        try:
            with psycopg.connect(dsn) as connection:
                schema.migrate(connection)
            with psycopg.connect(dsn, autocommit=True) as connection:
                enter(connection)
                found = measured(connection, Path(folder) / "fleet.json", dsn)
        finally:
            database.stop()
    rows = [[name, f"{each.longest_ms:.1f}", f"{each.took_s:.3f}"] for name, each in found.items()]
    print(table(["what is read", "longest stall of the loop, ms", "refresh takes, s"], rows))
    longest = [each.longest_ms for each in found.values()]
    name = f"fleet of {TERMINALS:,} read " + " · ".join(found) + ": longest stall of the loop"
    return [Measure(name, [STALL_MS] * 3, [REACH_MS] * 3, longest, "ms", at_most=True)]


def measured(connection: psycopg.Connection[object], path: Path, dsn: str) -> dict[str, Stall]:
    """Refresh a copy in each way."""
    fleet, source = Fleet(path), FleetSource(dsn)

    async def refresh() -> None:
        await asyncio.to_thread(fleet.refresh, source)

    async def all_ways() -> dict[str, Stall]:
        gc.set_threshold(*GARBAGE_OBJECTS)
        found = {"whole": await stall(refresh), "unchanged": await stall(refresh)}
        connection.execute("UPDATE terminals SET blocked = true WHERE id <= %s", (CHANGED,))
        found[f"{CHANGED:,} changed"] = await stall(refresh)
        assert len(fleet) == TERMINALS and len(fleet.take_judged_anew()) >= CHANGED
        return found

    return uvloop.run(all_ways())
