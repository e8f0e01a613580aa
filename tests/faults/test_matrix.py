"""The fault matrix: everything that goes wrong on networks, with peers, disks and databases, all at once.

Terminals report through every kind of bad network, each in a group of its own, while hostile peers do what
they can, and one thing after another breaks behind the gateway. At the end every answered report is in the
database once. `make faults` runs the long form and prints the tables.
"""

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
import pytest

from protocol.edition import Edition
from protocol.frame import Frame, raw_id_of
from tests.crash.installation import Installation
from tests.crash.promises import assert_answered_once, wait_until_read
from tests.crash.terminals import Driver
from tests.faults.hostile import HOSTILE, Hostile, junk
from tests.faults.network import WEATHERS, Proxy, Weather
from tests.gateway.authority import Authority
from tests.ports import reserve

pytestmark = pytest.mark.crash

MIB = 1 << 20
EDITIONS = (Edition.E2011, Edition.E2013, Edition.E2019)
RATE_S = 0.05
PATIENCE_S = 300.0
"""For what must come back by itself; far longer than it takes."""

QUOTA = 4 * MIB
MEMORY_MIB = 64
"""So much more than at its start a gateway may use: 16 MiB gathered, the same being written, and what the
allocator keeps of it.
"""

SETTINGS = {
    "NORTHWATCH_LOG__QUOTA_BYTES": str(QUOTA),
    "NORTHWATCH_LOG__SEGMENT_BYTES": str(1 * MIB),
    "NORTHWATCH_WORKER__SNAPSHOT_S": "0.5",
    "NORTHWATCH_KEEPER__ARCHIVE": "false",  # no keeper runs
    "NORTHWATCH_GATEWAY__TERMINAL_BYTES_PER_S": str(64 * 1024),
    "NORTHWATCH_GATEWAY__TERMINAL_BURST_BYTES": str(1 * MIB),
    "NORTHWATCH_QUARANTINE__KEPT_PER_HOUR": "1000000",  # every collision is to be found
}

GARBAGE = ("junk", "TLS garbage", "junk on TLS")
"""Peers whose links the gateway ends."""
QUIET_TICKS = 3
"""Of the gateway, one a second: links that want too much rest for less."""
FILLERS = 12
HEARTBEATS = 25_000
"""Of each filler: within its allowance, and together more than the log may hold."""


@dataclass
class Group:
    """Terminals behind one kind of network."""

    proxy: Proxy
    drivers: list[Driver]

    @property
    def weather(self) -> Weather:
        return self.proxy.weather

    @property
    def answered(self) -> int:
        return sum(len(driver.answered) for driver in self.drivers)


@dataclass
class Phase:
    """One fault behind the gateway, and what it did."""

    name: str
    answered: int
    """While it lasted."""
    recovery_s: float
    """Until every terminal had an answer again."""


@dataclass
class Matrix:
    """An installation under everything at once."""

    place: Installation
    is_long: bool
    groups: list[Group] = field(default_factory=list)
    hostile: list[Hostile] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    memory: dict[int, tuple[float, float]] = field(default_factory=dict)
    """MiB of each gateway process: when seen first, and at most."""

    @property
    def drivers(self) -> list[Driver]:
        return [driver for group in self.groups for driver in group.drivers]

    def lasting(self, short_s: float, long_s: float) -> float:
        return long_s if self.is_long else short_s

    async def phase(self, name: str, fault: Callable[[], Awaitable[None]]) -> None:
        """Let something break and be put right, and wait until every terminal is answered again."""
        before = sum(group.answered for group in self.groups)
        await fault()
        answered = sum(group.answered for group in self.groups) - before
        began, counts = time.monotonic(), [len(driver.answered) for driver in self.drivers]
        both = list(zip(self.drivers, counts, strict=True))
        await until(lambda: all(len(driver.answered) > count for driver, count in both))
        self.phases.append(Phase(name, answered, time.monotonic() - began))

    async def do(self, *acts: Callable[[], object]) -> None:
        """Do what blocks, beside the terminals."""
        for act in acts:
            await asyncio.to_thread(act)

    async def network(self) -> None:
        """Let every network and every peer do its worst at least once."""
        await asyncio.sleep(self.lasting(4, 60))
        ending = [group.proxy for group in self.groups if group.weather.end]
        garbage = [peer for peer in self.hostile if peer.name in GARBAGE]
        await until(lambda: all(each.ended for each in ending) and all(each.closed for each in garbage))

    async def database_gone(self) -> None:
        await self.do(partial(self.place.kill, "database"))
        await asyncio.sleep(self.lasting(2, 60))
        await self.do(partial(self.place.start, "database"))

    async def disk_full(self) -> None:
        """Fill the log while nobody reads it, and see that nothing is answered then."""
        await self.do(partial(self.place.kill, "worker"))
        fillers = [asyncio.create_task(fill(self.place.port, number)) for number in range(FILLERS)]
        before = await self.come_to_rest()
        await asyncio.sleep(self.lasting(1, 20))
        health = await asyncio.to_thread(self.place.ask, "gateway")
        assert health["log"]["is_full"] and not health["ok"] and not health["reading"]
        assert health["log"]["used_bytes"] <= QUOTA
        assert health["answers"] == before, "answered what could not be kept"
        for filler in fillers:
            filler.cancel()
        await self.do(partial(self.place.start, "worker"))

    async def come_to_rest(self) -> int:
        """Wait until the log is full and what had been received has its place in the reserve: ticks are
        written, and nobody is answered any more. Give how many answers there were.
        """
        answers, quiet_ticks, durable = -1, 0, -1

        def is_at_rest() -> bool:
            nonlocal answers, quiet_ticks, durable
            health = self.place.ask("gateway")
            if not health or not health["log"]["is_full"] or health["answers"] != answers:
                answers, quiet_ticks = health.get("answers", -1), 0
            elif health["log"]["durable"] > durable:
                quiet_ticks += 1
            durable = health["log"]["durable"] if health else -1
            return quiet_ticks >= QUIET_TICKS

        await until(is_at_rest)
        return answers

    async def restart(self) -> None:
        await self.do(
            partial(self.place.stop, "gateway"),
            partial(self.place.start, "gateway"),
            self.place.wait_for_gateway,
        )

    async def kill(self) -> None:
        await self.do(
            partial(self.place.kill, "gateway"),
            partial(self.place.start, "gateway"),
            self.place.wait_for_gateway,
        )

    async def slow_log(self) -> None:
        """Go on for a while on a disk whose syncs take 0.3 s."""
        self.place.modules["gateway"] = "tests.faults.slow_gateway"
        await self.restart()
        await asyncio.sleep(self.lasting(3, 30))
        await until(lambda: self.place.ask("gateway").get("sync_ms", 0) > 100)
        self.place.modules["gateway"] = "northwatch"

    async def watch_memory(self) -> None:
        """Note how much memory the gateway uses."""
        while True:
            process = self.place.processes["gateway"]
            try:
                now = psutil.Process(process.pid).memory_info().rss / MIB
            except psutil.Error:
                now = 0.0
            if now and await asyncio.to_thread(self.place.ask, "gateway"):
                first, most = self.memory.get(process.pid, (now, now))
                self.memory[process.pid] = first, max(most, now)
            await asyncio.sleep(0.25)


async def until(condition: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, "it did not come back by itself"
        await asyncio.sleep(0.05)


async def fill(port: int, number: int) -> None:
    """Send heartbeats until the log can take no more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        beat = Frame(0x0002, raw_id_of(f"139777700{number:02}", False), 1, b"").encode()
        writer.write(beat * HEARTBEATS)
        while await reader.read(65536):
            pass
    finally:
        writer.transport.abort()


@asynccontextmanager
async def besieged(place: Installation, *, is_long: bool, seed: int) -> AsyncIterator[Matrix]:
    """Terminals behind every network, and every hostile peer, until the block ends and all is answered."""
    matrix, chance = Matrix(place, is_long), random.Random(seed)
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        for weather in WEATHERS:
            proxy = await stack.enter_async_context(Proxy(weather, place.port, chance))
            numbers = range(len(matrix.drivers), len(matrix.drivers) + (3 if is_long else 1))
            drivers = [Driver(number, EDITIONS[number % 3], proxy.port) for number in numbers]
            matrix.groups.append(Group(proxy, drivers))
        driving = [tasks.create_task(driver.drive(stop, RATE_S)) for driver in matrix.drivers]
        matrix.hostile = [Hostile(name, place.port, chance, act) for name, act in HOSTILE.items()]
        tls_port = int(place.environment["NORTHWATCH_GATEWAY__TLS_PORT"])
        matrix.hostile.append(Hostile("junk on TLS", tls_port, chance, junk))
        others = [tasks.create_task(peer.go_on()) for peer in matrix.hostile]
        others.append(tasks.create_task(matrix.watch_memory()))
        try:
            yield matrix
            stop.set()
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*driving)
        finally:
            for task in (*driving, *others):
                task.cancel()


async def run(place: Installation, *, is_long: bool, seed: int) -> Matrix:
    """Break one thing after another."""
    async with besieged(place, is_long=is_long, seed=seed) as matrix:
        await matrix.phase("bad networks, hostile peers", matrix.network)
        await matrix.phase("database gone", matrix.database_gone)
        await matrix.phase("disk full", matrix.disk_full)
        await matrix.phase("gateway restarted", matrix.restart)
        await matrix.phase("gateway killed", matrix.kill)
        await matrix.phase("log slow", matrix.slow_log)
    return matrix


@pytest.mark.timeout(1800)
def test_nothing_answered_is_lost(request: pytest.FixtureRequest, seed: int) -> None:
    is_long = bool(request.config.getoption("--long"))
    # Not pytest's own directory: the embedded server's account may not enter that.
    directory = Path(tempfile.mkdtemp(prefix="northwatch-faults-"))
    pair = Authority(directory).issue("gateway")
    (tls_port,) = reserve(1)
    tls = {
        "NORTHWATCH_GATEWAY__TLS_PORT": str(tls_port),
        "NORTHWATCH_GATEWAY__TLS_CERTIFICATE": str(pair.certificate),
        "NORTHWATCH_GATEWAY__TLS_KEY": str(pair.key),
    }
    try:
        with Installation(directory, **SETTINGS, **tls) as place:
            place.wait_for_gateway()
            matrix = asyncio.run(run(place, is_long=is_long, seed=seed))
            health = place.ask("gateway")
            place.stop("gateway")
            wait_until_read(place)
            print_tables(matrix)
            assert_promises_kept(matrix, health["mistakes"])
    except BaseException:
        for part in ("gateway", "worker"):
            output = directory / f"{part}.output"
            print(f"--- {part}\n{output.read_text(errors='replace')[-3000:] if output.exists() else ''}")
        raise
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def assert_promises_kept(matrix: Matrix, mistakes: int) -> None:
    """What was answered is there once, memory was bounded, nobody was hurt, and no ticket came of it."""
    total = assert_answered_once(matrix.place, matrix.drivers)
    assert total > len(matrix.drivers)
    for group in matrix.groups:
        assert all(len(each.answered) == each.made + len(each.rivals) for each in group.drivers), (
            group.weather
        )
        assert group.weather.end is None or group.proxy.ended, f"nothing was {group.weather.name}"
    for first, most in matrix.memory.values():
        assert most < first + MEMORY_MIB, "the gateway grew"
    for part in ("gateway", "worker"):
        assert "are missing" not in (matrix.place.directory / f"{part}.output").read_text(errors="replace")
    for peer in matrix.hostile:
        assert peer.closed or peer.name not in GARBAGE, f"nobody minded {peer.name}"
    assert mistakes == 0
    with matrix.place.connect() as database:
        assert database.execute("SELECT count(*) FROM tickets").fetchall() == [(0,)]
        assert database.execute("SELECT count(*) FROM incidents").fetchall() == [(0,)]


def print_tables(matrix: Matrix) -> None:
    """Show what happened, and how often."""
    with matrix.place.connect() as database:
        query = (
            "SELECT identity, count(*), sum(copies) FROM positions p JOIN terminals t ON t.id = terminal_id"
        )
        rows = {
            str(identity): (int(str(count)), int(str(copies)))
            for identity, count, copies in database.execute(f"{query} GROUP BY 1").fetchall()
        }
        events = database.execute("SELECT event, count(*) FROM link_events GROUP BY 1 ORDER BY 1").fetchall()
        pieces = database.execute("SELECT reason, count(*) FROM quarantine GROUP BY 1 ORDER BY 1").fetchall()
    lines: list[Sequence[object]] = [
        ("network", "connections", "ended", "made", "answered", "rows", "sent again")
    ]
    for group in matrix.groups:
        found = [rows.get(driver.identity, (0, 0)) for driver in group.drivers]
        lines.append(
            (
                group.weather.name,
                group.proxy.connections,
                group.proxy.ended,
                sum(driver.made for driver in group.drivers),
                group.answered,
                sum(count for count, _ in found),
                sum(copies - count for count, copies in found),
            )
        )
    print_table(lines)
    print_table(
        [("fault", "answered meanwhile", "all answered again after s")]
        + [(each.name, each.answered, f"{each.recovery_s:.2f}") for each in matrix.phases]
    )
    print_table(
        [("peer", "KiB sent", "closed by the gateway")]
        + [(each.name, each.sent_bytes >> 10, each.closed) for each in matrix.hostile]
    )
    print_table(
        [("gateway process", "MiB at first", "MiB at most")]
        + [(pid, f"{first:.0f}", f"{most:.0f}") for pid, (first, most) in matrix.memory.items()]
    )
    print_table([("link event", "times"), *events])
    print_table([("in quarantine", "pieces"), *pieces])


def print_table(lines: Sequence[Sequence[object]]) -> None:
    widths = [max(len(str(line[column])) for line in lines) for column in range(len(lines[0]))]
    print()
    for line in lines:
        print("  ".join(str(cell).rjust(width) for cell, width in zip(line, widths, strict=True)))
