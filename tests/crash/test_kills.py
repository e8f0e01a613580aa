"""kill -9 of anything at any moment, while people decide: what was answered is there once, and all is as in a
calm pass.
"""

import asyncio
import contextlib
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import LiteralString, TypeAlias

import psycopg
import pytest

from northwatch.wiring import worker_options
from protocol.edition import Edition
from store import decisions
from store.decisions import BLOCKED, SETTING, Decision
from tests.crash.installation import Installation
from tests.crash.promises import CATCH_UP_S, assert_answered_once, assert_told_whole, wait_until_read
from tests.crash.terminals import Driver
from tests.databases import Server
from worker.run import Worker

pytestmark = pytest.mark.crash

EDITIONS = (Edition.E2011, Edition.E2013, Edition.E2019)
TERMINALS = 24
SHORT_KILLS, LONG_KILLS = 5, 120
"""Of each pass."""

SHORT_SILENCE = {
    "NORTHWATCH_SILENCE__MOVING_S": "3",
    "NORTHWATCH_SILENCE__DWELL_S": "1",
    "NORTHWATCH_SILENCE__MASS_LEAST": "6",
    "NORTHWATCH_WORKER__SNAPSHOT_S": "1",
    "NORTHWATCH_GATEWAY__FLEET_REFRESH_S": "0.3",
    "NORTHWATCH_QUARANTINE__KEPT_PER_HOUR": "1000000",
}
"""So that tickets open and close, and snapshots are taken, while things are killed; and that what is owed in
quarantine can be found there."""

SETTINGS = {"silence.moving_s": (2.0, 3.0, 60.0), "silence.dwell_s": (0.0, 1.0, 5.0)}
"""What is decided of each, now this and now that."""
ATTEMPTS = 6000

Facts: TypeAlias = dict[str, Counter[tuple[object, ...]]]

FACTS: dict[str, LiteralString] = {
    "positions": """
        SELECT t.identity, p.reported_at, p.received_at, p.last_received_at, p.placed_at, p.body_hash,
               p.copies, p.lat, p.lon, p.speed_kmh, p.alarm_bits, p.status_bits, p.items, p.serial,
               p.late, p.quality
        FROM positions p JOIN terminals t ON t.id = p.terminal_id""",
    "alarms": """
        SELECT t.identity, a.condition, a.object, a.severity, a.began_at, a.received_at, a.last_seen_at,
               a.ended_at, a.reports, a.late, a.on_desk, a.lat, a.lon
        FROM alarms a JOIN terminals t ON t.id = a.terminal_id""",
    "alarm_changes": """
        SELECT t.identity, a.condition, a.began_at, c.at, c.change
        FROM alarm_changes c JOIN alarms a ON a.id = c.alarm_id JOIN terminals t ON t.id = a.terminal_id""",
    "tickets": """
        SELECT t.identity, k.fault, k.state, k.reason, k.opened_at, k.closed_at, k.closed_because
        FROM tickets k JOIN terminals t ON t.id = k.terminal_id""",
    "link_events": """
        SELECT t.identity, e.at, e.event, e.session, e.peer
        FROM link_events e JOIN terminals t ON t.id = e.terminal_id""",
    "messages": """
        SELECT t.identity, m.received_at, m.msg_id, m.serial, m.edition, m.body, m.position, m.ordinal
        FROM messages m JOIN terminals t ON t.id = m.terminal_id""",
    "pieces": """
        SELECT t.identity, p.received_at, p.hold, p.msg_id, p.number, p.total, p.index, p.raw
        FROM pieces p JOIN terminals t ON t.id = p.terminal_id""",
    "quarantine": "SELECT received_at, peer, msg_id, reason, raw, position, ordinal FROM quarantine",
}
"""What must not depend on crashes: everything but database identifiers and the moments of commits."""


async def drive_and_kill(place: Installation, kills: int, chance: random.Random) -> list[Driver]:
    """Report without pause while one part after another is killed and started again."""
    drivers = [Driver(n, EDITIONS[n % 3], place.port, rests_at=30 + 40 * n) for n in range(TERMINALS)]
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        deciding = tasks.create_task(decide(place, drivers, chance.randrange(1 << 32)))
        for driver in drivers:
            tasks.create_task(driver.drive(stop, rate_s=0.02))
        if len(place.gateways) > 1:
            await go_on_without(place, place.gateways[0], drivers)
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(0.2, 1.5))
            part = chance.choice(place.parts)
            await asyncio.to_thread(place.kill, part)
            await asyncio.sleep(chance.choice((0.0, 0.3, 1.0)))
            await asyncio.to_thread(place.start, part)
            if part in place.gateways:
                await asyncio.to_thread(place.wait_for_gateway)
        deciding.cancel()
        await let_all_speak(place, drivers)
        stop.set()
    return drivers


async def decide(place: Installation, drivers: list[Driver], seed: int) -> None:
    """Change settings, and block terminals for a while, again and again. A database that is killed meanwhile
    may have taken it or not.
    """
    chance = random.Random(seed)
    while True:
        await asyncio.sleep(chance.uniform(0.1, 0.7))
        setting, value = chance.choice(list(SETTINGS.items()))
        driver = chance.choice(drivers[::5])
        said = [
            Decision(SETTING, setting, chance.choice(value)),
            Decision(BLOCKED, driver.identity, chance.random() < 0.3),
        ]
        with contextlib.suppress(psycopg.Error):
            await asyncio.to_thread(_decide, place, said)


def _decide(place: Installation, said: list[Decision]) -> None:
    with place.connect() as database, database.transaction():
        decisions.decide_now(database, "anna", said)


async def let_all_speak(place: Installation, drivers: list[Driver]) -> None:
    """Unblock every terminal: each has to have its answers before the end."""
    for _ in range(ATTEMPTS):
        try:
            _decide(place, [Decision(BLOCKED, driver.identity, False) for driver in drivers])
        except psycopg.Error:  # the database was killed just now
            await asyncio.sleep(0.1)
        else:
            return
    raise TimeoutError("the database does not come back")


async def go_on_without(place: Installation, gateway: str, drivers: list[Driver]) -> None:
    """While one gateway is gone, every terminal that wants to is answered by the others."""
    for each in place.gateways:
        await until(partial(place.is_healthy, each))
    # All listened when the terminals connected, so now each has some of them, and what these said in its log.
    await until(lambda: all(driver.answered for driver in drivers))
    await asyncio.to_thread(place.kill, gateway)
    before = [len(driver.answered) for driver in drivers]
    await until(
        lambda: all(
            driver.is_resting or len(driver.answered) > count
            for driver, count in zip(drivers, before, strict=True)
        )
    )
    await asyncio.to_thread(place.start, gateway)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(CATCH_UP_S):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(0.05)


def facts(dsn: str) -> Facts:
    with psycopg.connect(dsn) as database:
        return {name: Counter(database.execute(query).fetchall()) for name, query in FACTS.items()}


def slots(place: Installation) -> set[object]:
    """The gateways that terminals were connected to."""
    with place.connect() as database:
        return {row[0] for row in database.execute("SELECT session & 255 FROM link_events").fetchall()}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("gateways", [1, 2])
def test_answered_reports_survive_any_kill(
    embedded_server: Server, request: pytest.FixtureRequest, seed: int, gateways: int
) -> None:
    is_long = request.config.getoption("--long")
    # Not pytest's own directory: the embedded server's account may not enter that.
    directory = Path(tempfile.mkdtemp(prefix="northwatch-crash-"))
    try:
        with Installation(directory, gateways=gateways, **SHORT_SILENCE) as place:
            if is_long:  # by the minute it seals what was read, and derives trips and stops
                place.start("keeper")
                place.parts.append("keeper")
            place.wait_for_all_gateways()
            kills = LONG_KILLS if is_long else SHORT_KILLS
            drivers = asyncio.run(drive_and_kill(place, kills, random.Random(seed)))
            for gateway in place.gateways:
                place.kill(gateway)
            wait_until_read(place)
            place.kill("worker")
            if is_long:
                place.command("verify")
            total = assert_answered_once(place, drivers)
            print(f"{assert_told_whole(place, drivers)} messages in pieces were told")
            print(f"{total} reports answered over {sum(place.kills.values())} kills: {place.kills}")
            crashed = facts(place.database.dsn())
            assert slots(place) == set(range(gateways))
            calm = calm_pass(place, embedded_server)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print({name: rows.total() for name, rows in calm.items()})
    for name, rows in calm.items():
        missing, extra = rows - crashed[name], crashed[name] - rows
        assert not missing and not extra, (
            f"{name}: only in the calm pass {missing}, only after crashes {extra}"
        )


def copy_decisions(place: Installation, dsn: str) -> None:
    """Let a fresh database know what people decided, and not when the worker came to it."""
    with place.connect() as live, psycopg.connect(dsn) as calm:
        for columns in ("decision_versions (version, decided_at, decided_by)", "decisions"):
            with (
                live.cursor().copy(f"COPY {columns} TO STDOUT") as rows,
                calm.cursor().copy(f"COPY {columns} FROM STDIN") as copy,
            ):
                for row in rows:
                    copy.write(row)
        newest = decisions.newest(live)
        calm.execute("UPDATE decision_counter SET version = %s", [newest])
    print(f"{newest} versions were decided")


def calm_pass(place: Installation, server: Server) -> Facts:
    """Read the same logs once, without interruption, into a fresh database."""
    dsn = server.clone()
    copy_decisions(place, dsn)
    worker = Worker(worker_options(place.settings()), dsn, place.whole_logs(), place.directory / "calm")
    try:
        while worker.step():
            pass
        worker.close()
        return facts(dsn)
    finally:
        server.drop(dsn)
