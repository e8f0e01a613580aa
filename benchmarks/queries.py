"""What people ask of a large record: a seeded fleet's positions, and how long each question takes.

    python -m benchmarks.queries [--million N] [--keep DIRECTORY] [DSN …]

10,000 terminals drive for a month, N million positions in all (10 unless told otherwise), written in the
order in which a worker would write them. Every question is asked of the monitor's application as a page asks
it, for other terminals, days and places each time, and measured up to the compressed bytes that leave for the
browser; processor time is that of this process and of the server's that work for the database. Beside it
stand the time of the bare query in the server (EXPLAIN ANALYZE), and its plan.

Runs on the embedded PostgreSQL, or on the servers that are given. `--keep` keeps the embedded database in a
directory and uses what it finds there, because a hundred million rows take a while.
"""

import argparse
import asyncio
import math
import os
import re
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any, Final, LiteralString

import httpx
import numpy as np
import psycopg
from fastapi import FastAPI
from psycopg.rows import dict_row
from rich.console import Console
from rich.progress import track

from benchmarks.ingest import SERVER_VARIABLE, Server
from benchmarks.measures import Measure, Options, summary
from benchmarks.rounds import machine, table
from monitor.app import create_app
from monitor.options import MonitorOptions
from monitor.signing import COOKIE
from protocol.words import ACC_ON, POSITIONED
from store import live, people, positions, schema, tracks
from store.embedded import Embedded
from store.placement import Placement, days_of
from store.positions import PositionRows
from store.select import Connection

TERMINALS: Final = 10_000
DAYS: Final = 31
BEGIN: Final = datetime(2026, 5, 1, tzinfo=UTC)
DAY_US: Final = 86_400_000_000
BATCH: Final = 20_000
"""Rows a transaction, as of a busy worker."""
DRIVING: Final = 0.3
"""A vehicle reports during so much of a day, in one shift that begins at a time of its own."""
ASKED: Final = 15
"""Times that each question is asked; the first is shown beside the median."""
STARTS_S: Final = 60
"""So long the monitor may take to read everything for the first time."""
SCREEN: Final = 2_000
"""Points that a screen wants of a track."""


class Story:
    """Where everybody is at any time: a drive around a home, so that areas hold few and many vehicles."""

    def __init__(self, rows: int) -> None:
        chance = np.random.default_rng(808)
        self.per_day = max(1, rows // TERMINALS // DAYS)
        self.home = np.column_stack(
            [chance.uniform(38.8, 43.2, TERMINALS), chance.uniform(119, 125.5, TERMINALS)]
        )
        self.shift_us = (chance.uniform(0, 1 - DRIVING, TERMINALS) * DAY_US).astype(np.int64)
        self.radius = chance.uniform(0.02, 0.4, TERMINALS)
        self.pace = chance.uniform(1, 7, TERMINALS)
        self.items = chance.integers(0, 256, 64, np.uint8)

    def day(self, number: int) -> Iterator[PositionRows]:
        """Give a day's rows in order of time, in batches."""
        step_us = int(DAY_US * DRIVING) // self.per_day
        begin_us = round(BEGIN.timestamp() * 1e6) + number * DAY_US
        at = (self.shift_us[:, None] + np.arange(self.per_day) * step_us).ravel()
        who = np.repeat(np.arange(TERMINALS), self.per_day)
        order = np.argsort(at, kind="stable")
        for first in range(0, len(order), BATCH):
            chosen = order[first : first + BATCH]
            yield self.rows(who[chosen], begin_us + at[chosen], number)

    def rows(self, who: Any, at_us: Any, day: int) -> PositionRows:
        """Make the rows of some reports."""
        count = len(who)
        turn = (at_us % DAY_US) / DAY_US * self.pace[who] * 2 * np.pi + day
        number = np.full(count, 0, np.int32)
        return PositionRows(
            terminal_id=(who + 1).astype(np.int32),
            placed_us=at_us,
            reported_us=at_us,
            reported_raw=at_us.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 2:],
            received_us=at_us + 900_000,
            last_received_us=at_us + 900_000,
            body_hash=(at_us * 31 + who) * -7_046_029_254_386_353_131,
            copies=number + 1,
            lat=np.round(self.home[who, 0] + self.radius[who] * np.sin(turn), 6),
            lon=np.round(self.home[who, 1] + self.radius[who] * np.sin(turn * 1.7), 6),
            speed_kmh=(np.round(np.abs(np.cos(turn)) * 900) / 10).astype(np.float32),
            heading_deg=(np.degrees(turn) % 360).astype(np.int32),
            altitude_m=number + 60,
            alarm_bits=number.astype(np.uint32),
            status_bits=np.full(count, ACC_ON | POSITIONED, np.uint32),
            mileage_km=np.round(12_000 + day * 80 + turn, 1),
            msg_id=number + 0x0200,
            serial=(at_us // 1_000_000 % 65_536).astype(np.int32),
            quality=number,
            authenticated=number == 0,
            late=number != 0,
            repeated=number != 0,
            searched=number != 0,
            items_start=np.zeros(count, np.int64),
            items_length=np.full(count, 24, np.int64),
            data=self.items,
        )


def fill(dsn: str, rows: int, where: str) -> None:
    """Write the story, unless it stands there already."""
    story, placement = Story(rows), Placement()
    with psycopg.connect(dsn, autocommit=True) as connection:
        schema.migrate(connection)
        if connection.execute("SELECT FROM positions LIMIT 1").fetchone():
            return
        _enrol(connection)
        days = track(
            range(DAYS),
            f"{where}: writing {story.per_day * TERMINALS * DAYS:,} positions",
            console=Console(stderr=True),
        )
        for day in days:
            for batch in story.day(day):
                with connection.transaction():
                    placement.ensure(connection, days_of(batch.placed_us))
                    positions.write(connection, batch)
        last = story.rows(np.arange(TERMINALS), np.full(TERMINALS, _us(DAYS) - 1_000_000), DAYS - 1)
        connection.cursor().executemany(
            "UPDATE terminal_states SET lat = %s, lon = %s WHERE terminal_id = %s",
            zip(last.lat.tolist(), last.lon.tolist(), last.terminal_id.tolist(), strict=True),
        )
        connection.execute("VACUUM (FREEZE, ANALYZE)")
        connection.execute("CHECKPOINT")


def _us(day: float) -> int:
    return round(BEGIN.timestamp() * 1e6 + day * DAY_US)


def _enrol(connection: psycopg.Connection[Any]) -> None:
    """Enter terminals and vehicles, each in its own."""
    end = BEGIN + timedelta(days=DAYS)
    for statement in (
        "INSERT INTO terminals (identity, known)"
        " SELECT (13000000000 + n)::text, true FROM generate_series(1, %(n)s) n",
        "INSERT INTO vehicles (plate, plate_color) SELECT '辽A' || n, 2 FROM generate_series(1, %(n)s) n",
        "INSERT INTO installations (terminal_id, vehicle_id, installed_at)"
        " SELECT t.id, v.id, '2020-01-01Z' FROM terminals t JOIN vehicles v ON v.id = t.id",
        "SELECT setseed(0.808)",
        "INSERT INTO terminal_states (terminal_id, link, link_changed_at, mode, lat, lon, fix_at,"
        " reported_at, received_at, last_received_at, speed_kmh, heading_deg, altitude_m, status_bits,"
        " mileage_km)"
        " SELECT id, 'open', %(end)s - random() * interval '9 hours', 'moving', 41, 123, at, at,"
        " at + random() * interval '2 seconds', at + random() * interval '9 seconds', random() * 100,"
        " random() * 359, random() * 300, 3, random() * 100000 FROM (SELECT id,"
        " date_trunc('second', %(end)s - random() * interval '1 minute') AS at FROM terminals) AS reports",
    ):
        connection.execute(statement, {"n": TERMINALS, "end": end})


class Page:
    """A page that asks the monitor's application, with nothing but a socket missing between them."""

    def __init__(self, app: FastAPI, cookie: str) -> None:
        self.center = app.state.center
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://bench/api/v1", cookies={COOKIE: cookie}
        )

    async def get(self, path: str, encoding: str = "zstd", **given: str | int) -> None:
        """Ask, and take the answer as it leaves: compressed."""
        headers = {"Accept-Encoding": encoding}
        async with self._client.stream("GET", path, params=given, headers=headers) as answer:
            answer.raise_for_status()
            async for _ in answer.aiter_raw():
                pass


@asynccontextmanager
async def page(dsn: str) -> AsyncIterator[Page]:
    """Run the monitor's application on a database, for somebody who is signed in."""
    async with await psycopg.AsyncConnection.connect(dsn, row_factory=dict_row) as connection:
        query = "INSERT INTO users (name, role, password_hash) VALUES (%s, 'operator', '') RETURNING id"
        row = await (await connection.execute(query, [f"bench{secrets.token_hex(4)}"])).fetchone()
        assert row is not None
        cookie = await people.open_sign_in(connection, row["id"])
    app = create_app(MonitorOptions(dsn, gateway_url=None, worker_url=None, keeper_url=None))
    async with app.router.lifespan_context(app):
        asker = Page(app, cookie)
        for _ in range(STARTS_S * 10):
            if not asker.center.live.is_complete:
                await asyncio.sleep(0.1)
        yield asker


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, how fast the answer should be there, and the bare query behind it."""

    name: str
    reach_ms: float
    ask: Callable[[Page, int], Awaitable[None]]
    """Asks for the n-th time."""
    query: LiteralString
    given: Callable[[int], dict[str, Any]]


def _vehicle(turn: int) -> int:
    return 1 + turn * 641 % TERMINALS


def _area(turn: int) -> tracks.Area:
    """Ten by ten kilometres somewhere."""
    south, west = 39 + turn * 0.27 % 4, 119.5 + turn * 0.41 % 5.5
    return tracks.Area(((south, west), (south + 0.1, west), (south + 0.1, west + 0.12), (south, west + 0.12)))


def _period(begin_day: float, days: float) -> dict[str, Any]:
    since = BEGIN + timedelta(days=begin_day)
    return {"since": since, "until": since + timedelta(days=days)}


def _hour(turn: int) -> dict[str, Any]:
    return _period(turn * 7 % DAYS + (turn * 5 % 24) / 24, 1 / 24)


def _asked(period: dict[str, Any]) -> dict[str, str]:
    return {"from": period["since"].isoformat(), "to": period["until"].isoformat()}


def _all(encoding: str) -> Callable[[Page, int], Awaitable[None]]:
    async def ask(page: Page, turn: int) -> None:
        page.center.live.sequence += 1  # something has changed: what was encoded before does not count
        await page.get("/live", encoding)

    return ask


async def _all_anew(page: Page, turn: int) -> None:
    async with page.center.database() as connection:
        await live.states(connection, None)


def _track(days: float) -> Callable[[Page, int], Awaitable[None]]:
    async def ask(page: Page, turn: int) -> None:
        period = _asked(_period(turn * 3 % DAYS if days == 1 else 0, days))
        await page.get(f"/vehicles/{_vehicle(turn)}/track", limit=SCREEN, **period)

    return ask


def _visits(period: Callable[[int], dict[str, str]]) -> Callable[[Page, int], Awaitable[None]]:
    async def ask(page: Page, turn: int) -> None:
        corners = _area(turn).corners
        box = ",".join(f"{degrees:.6f}" for degrees in (*corners[0], *corners[2]))
        await page.get("/areas/visits", box=box, **period(turn))

    return ask


QUESTIONS: Final = (
    Question("latest of all 10,000", 50, _all("zstd"), live.STATES, lambda turn: {}),
    Question("the same for a browser without zstd", 50, _all("gzip"), live.STATES, lambda turn: {}),
    Question("the same, read anew by the monitor", 50, _all_anew, live.STATES, lambda turn: {}),
    Question(
        *("a vehicle's day", 20, _track(1), tracks.OF_VEHICLE),
        lambda turn: {"id": _vehicle(turn), **_period(turn * 3 % DAYS, 1)},
    ),
    Question(
        *("a vehicle's month on 2,000 points", 300, _track(DAYS), tracks.OF_VEHICLE),
        lambda turn: {"id": _vehicle(turn), **_period(0, DAYS)},
    ),
    Question(
        *("an area now", 50, _visits(lambda turn: {}), tracks.INSIDE_NOW),
        lambda turn: _area(turn).parameters(),
    ),
    Question(
        *("an area in a past hour", 1000, _visits(lambda turn: _asked(_hour(turn))), tracks.INSIDE_DURING),
        lambda turn: _area(turn).parameters() | _hour(turn),
    ),
)


@dataclass(frozen=True, slots=True)
class Answered:
    """What asking a question again and again came to."""

    question: Question
    took_ms: list[float]
    client_ms: float
    """Processor time of this process, the median …"""
    server_ms: float
    """… and of the server's; not a number where it runs on another machine."""
    bare_ms: float
    plan: str

    def row(self, where: str) -> list[str]:
        """Give the cells of its row."""
        clock = (self.question.reach_ms, median(self.took_ms), self.took_ms[0], max(self.took_ms))
        figures = (*clock, self.client_ms, self.server_ms, self.bare_ms)
        return [where, self.question.name, *(f"{ms:.1f}" for ms in figures)]


async def answers(dsn: str) -> list[Answered]:
    """Ask everything."""
    async with (
        page(dsn) as asker,
        await psycopg.AsyncConnection.connect(dsn, autocommit=True, row_factory=dict_row) as connection,
    ):
        await connection.execute("SET timezone = 'UTC'")
        return [await _answered(asker, connection, question) for question in QUESTIONS]


async def _answered(asker: Page, connection: Connection, question: Question) -> Answered:
    cursor = await connection.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
    servers = [row["pid"] for row in await cursor.fetchall()]
    taken = []
    for turn in range(ASKED):
        begin = np.array([time.perf_counter(), time.process_time(), _cpu_s(servers)])
        await question.ask(asker, turn)
        taken.append(np.array([time.perf_counter(), time.process_time(), _cpu_s(servers)]) - begin)
    took, client, server = (np.array(taken).T * 1000).tolist()
    plans = sorted([await _plan(connection, question, turn) for turn in range(ASKED, ASKED + 3)])
    return Answered(question, took, median(client), median(server), *plans[1])


def _cpu_s(processes: Iterable[int]) -> float:
    """Sum up the processor time of the server's processes, where they run here."""
    try:
        took_ns = [int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in processes]
    except OSError:
        return math.nan
    return sum(took_ns) / 1e9


async def _plan(connection: Connection, question: Question, turn: int) -> tuple[float, str]:
    """Give the server's own time for the bare query, and its plan on a line."""
    explain = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {question.query}"
    cursor = await connection.execute(explain, question.given(turn))
    row = await cursor.fetchone()
    assert row is not None
    (plan,) = row["QUERY PLAN"]
    return plan["Execution Time"], _outline(plan["Plan"])


def _outline(node: dict[str, Any]) -> str:
    """Write a plan as nested calls; what was never run is left out, and the same of many days is one."""
    words = [node.get("Custom Plan Provider", node["Node Type"])]
    if relation := node.get("Relation Name"):
        words.append(re.sub(r"[_0-9]+(_chunk)?$", "", relation))
    inner = [_outline(below) for below in node.get("Plans", ()) if below.get("Actual Loops")]
    counted = [(each, len(list(same))) for each, same in groupby(inner)]
    parts = [f"{count} × {each}" if count > 1 else each for each, count in counted]
    return " ".join(words) + (f"({', '.join(parts)})" if parts else "")


def sizes(dsn: str) -> str:
    """Say how much the positions take."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT pg_database_size(current_database()), (SELECT count(*) FROM positions)"
        ).fetchone()
    assert row is not None
    return f"{row[1]:,} positions, {row[0] / 1e9:.1f} GB, {row[0] / max(row[1], 1):.0f} bytes a position"


HEAD: Final = [
    *("database", "question", "reach ms", "median ms", "first ms", "worst ms"),
    *("processor ms", "server's", "bare query ms"),
]


@contextmanager
def databases(given: Sequence[str], keep: Path | None) -> Iterator[list[tuple[str, str]]]:
    """Give name and address of each database; what was made here goes when it was read."""
    with tempfile.TemporaryDirectory(prefix="northwatch-bench-") as folder:
        embedded = Embedded(keep or Path(folder) / "database")
        embedded.start()
        try:
            found = [("embedded", embedded.dsn())]
            servers = [(f"given {number}", Server("", dsn)) for number, dsn in enumerate(given, 1)]
            with ExitStack() as stack:
                found += [(name, stack.enter_context(server.database())) for name, server in servers]
                yield found
        finally:
            embedded.stop()


def measure(given: Sequence[str], million: float, keep: Path | None = None) -> list[Measure]:
    """Fill every database, ask everything, print the table, and give the rows of the summary."""
    rows: list[list[str]] = []
    plans: list[str] = []
    measures: list[Measure] = []
    with databases(given, keep) as found:
        for where, dsn in found:
            begin = time.perf_counter()
            fill(dsn, int(million * 1e6), where)
            print(f"{where}: {sizes(dsn)}; written in {time.perf_counter() - begin:,.0f} s")
            answered = asyncio.run(answers(dsn))
            rows += [each.row(where) for each in answered]
            plans += [f"{where}, {each.question.name}: {each.plan}" for each in answered]
            reach = [question.reach_ms for question in QUESTIONS]
            took = [median(each.took_ms) for each in answered]
            name = f"{million:g} million positions, {where}: {' · '.join(each.name for each in QUESTIONS)}"
            measures.append(Measure(name, reach, reach, took, "ms", at_most=True))
    print("\n" + table(HEAD, rows) + "\n\nPlans of the bare queries:\n")
    print("\n".join(f"- {plan}" for plan in plans))
    return measures


def run(options: Options) -> list[Measure]:
    given = [each for each in (os.environ.get(SERVER_VARIABLE),) if each]
    return measure(given, 100 if options.long else 10)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queries", description=__doc__)
    parser.add_argument("dsn", nargs="*")
    parser.add_argument("--million", type=float, default=10)
    parser.add_argument("--keep", type=Path, help="directory of the embedded database, made or found")
    options = parser.parse_args()
    print(machine())
    print("\n" + summary(measure(options.dsn, options.million, options.keep)))


if __name__ == "__main__":
    main()
